"""What is an image, a mask, a data set?

tasks.py          Task: binary, multiclass, multilabel, instances, and what follows from it
dataset.py        Dataset, the base class of all data sets; data_key
identity.py       the code and the values that decide how a data set is read
check.py          check_dataset: all that a data set returns, read and checked once; Facts
declared.py       the part of it that needs no file: ids, groups, classes, channels
sample_checks.py  the part of it that looks at one image or mask
images.py         decode_image, image_size: strict decoding
masks.py          decode_mask, and the rules that make class numbers of what is stored
formats.py        a format by its first bytes, the checks of its header
tiff.py, lzw.py   TIFF with any number of channels; npy.py: NumPy's own format
resize.py         Resizing: images and masks at the network's size
shrink.py         the compiled kernel that shrinks RGB
cache.py          sample_reader: the images at their size, from the files or a cache on the disk; own_sizes.py
label_images.py   label images on their way to training
shared_pixels.py  pixels that are in several objects, which a label image gives to one
borders.py        border_target: objects and the borders between those that touch
normalise.py      Normalisation, on the device
augment.py        paired image and mask transforms, seeded for every sample
regions.py        open_regions: parts of files that are too large to decode whole; tiff_regions.py, jpeg_parts.py
run_masks.py      RunMask: masks of slides as runs, and any region of them; png_rows.py: large PNG masks row by row
run_objects.py    RunObjects: the connected components of such a mask
scaled.py         regions of a slide, and of its mask, shrunk
mask_tiff.py      the mask of a slide as a TIFF in tiles
crops.py          SlideCrops: random crops of slides, for training
check_slides.py   the part of check_dataset that reads slides in bands
samples.py        SegmentationDataset, ImageBatches: what a network trains on and predicts
"""

import importlib

_FILES = {  # a public name and its file; imported when first used, because PyTorch takes seconds
    "Dataset": "dataset",
    "RGB": "dataset",
    "data_key": "dataset",
    "Facts": "check",
    "check_dataset": "check",
    "foreground_shares": "check",
    "BadImage": "formats",
    "decode_image": "images",
    "image_size": "images",
    "binary_mask": "masks",
    "class_mask": "masks",
    "colour_mask": "masks",
    "decode_mask": "masks",
    "threshold_mask": "masks",
    "Resizing": "resize",
    "sample_reader": "cache",
    "foreground_target": "label_images",
    "object_labels": "label_images",
    "resize_labels": "label_images",
    "whole_objects": "label_images",
    "border_target": "borders",
    "RunMask": "run_masks",
    "ScaledRegions": "scaled",
    "SlideCrops": "crops",
    "open_regions": "regions",
    "Augment": "augment",
    "cell_augment": "augment",
    "photo_augment": "augment",
    "turning_augment": "augment",
    "IMAGENET": "normalise",
    "Normalisation": "normalise",
    "normalisation_of": "normalise",
    "ImageBatch": "samples",
    "ImageBatches": "samples",
    "Sample": "samples",
    "SegmentationDataset": "samples",
    "collate_samples": "samples",
}
__all__ = list(_FILES)


def __getattr__(name: str) -> object:
    if name not in _FILES:
        raise AttributeError(f"module 'kit.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"kit.data.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
