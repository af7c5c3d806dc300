"""COCO's panoptic format: every pixel has a category, and things are counted one by one.

Files: annotations/panoptic_<split>.json, annotations/panoptic_<split>/*.png (or a zip of that name, as COCO packs them)
and <split>/*.jpg (or <split>.zip). A pixel of a PNG holds the id of its segment, R + 256 G + 65536 B; 0 is void. The
JSON says of each segment its category and whether it is a crowd: many things that were outlined as one.
Kirillov et al., "Panoptic Segmentation", CVPR 2019; Caesar et al., "COCO-Stuff", CVPR 2018.

Any data in this format is read. Classes are COCO's 133 categories, or their 27 super-categories: with few images most
categories occur once or never. Classes of things come first.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kit.data.dataset import Dataset
from kit.data.images import decode_image
from kit.data.resize import Resizing
from kit.data.tasks import IGNORED
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.names import nfc
from kit.datasets.reading import check_size
from kit.system.files import check_id, raise_all
from kit.system.segments import Segments

MOST_SEGMENTS = 253  # of an image, in training: they are numbered in u8, from 2, and 255 is padding


class CocoPanoptic(Dataset):
    """The images of a split by id, the name of the image's file; classes for each pixel, and segments.

    split: "train2017", "val2017", or that of other data. supercategories: the classes are these; False: the categories.
    num_things: classes 0 … num_things - 1 are things, the rest is stuff.
    Raises FileNotFoundError without the JSON, and one ValueError with all that is wrong with it or lacks a file.
    """

    name = "coco_panoptic"
    slug = "coco-2017-dataset"

    def __init__(self, data_dir: Path | str, *, split: str = "train2017", supercategories: bool = True):
        self.data, self.split, self.supercategories = DataFolder(data_dir), split, supercategories
        self._annotated = DataFolder(Path(data_dir) / "annotations")
        facts = _read_json(self.data, f"annotations/panoptic_{split}.json")
        problems = []
        self.classes, self.num_things, self._class_of = _classes(facts["categories"], supercategories, problems)
        self.absent = self.classes  # a part of the data may lack some
        self._images = {Path(nfc(image["file_name"])).stem: image for image in facts["images"]}
        masks = {one["image_id"]: one for one in facts["annotations"]}
        self._masks = {id: masks.get(image["id"]) for id, image in self._images.items()}
        self.ids = sorted(self._images)
        problems += [f"{len(facts[name])} {name} in the JSON, and several of an id" for name in _doubled(facts)]
        problems += self._problems()
        raise_all(
            list(dict.fromkeys(problems)),
            f"problems with annotations/panoptic_{split}.json and its files in {data_dir}",
        )
        crowds = sum(one["iscrowd"] for mask in self._masks.values() for one in mask["segments_info"])
        self.notes = (
            f"{self.num_things} classes of things and {len(self.classes) - self.num_things} of stuff, "
            f"{'super-categories' if supercategories else 'categories'} of {len(facts['categories'])}.",
            f"Void is neither trained on nor scored. {crowds} segments are crowds: no thing of a prediction can match "
            "one.",
        )

    def read_image(self, id: str) -> np.ndarray:
        """Read an image -> u8 (H, W, 3) RGB. Raises BadImage, or KeyError for an unknown id."""
        name = self._image_path(id)
        return decode_image(self.data.read(name), name, channels=3)

    def read_mask(self, id: str) -> np.ndarray:
        """Read the class of each pixel -> u8 (H, W), 255 is void; pixels of a crowd have its class. Raises as below."""
        truth = self.read_panoptic(id)
        return np.array([IGNORED, *truth.classes.values()], np.uint8)[truth.labels]

    def read_panoptic(self, id: str) -> Segments:
        """Read the segments of an image: labels int32 (H, W), 0 = void, and 1, 2, … in the order of the JSON.

        Segments of stuff that are of one class are one segment: of a super-category as plant there may be several.
        Raises BadImage, KeyError for an unknown id, and ValueError where the PNG and the JSON do not agree.
        """
        name, segments = self._mask_path(id), self._known(id)["segments_info"]
        pixels = decode_image(self._annotated.read(name), name, channels=3).astype(np.int32)
        found, places = np.unique(pixels @ np.array([1, 256, 65536], np.int32), return_inverse=True)
        listed = {segment["id"] for segment in segments}
        if wrong := (set(found.tolist()) - {0}) ^ listed:
            few = ", ".join(map(str, sorted(wrong)[:5]))
            raise ValueError(f"annotations/{name}: its segments are not those of the JSON; in one of both alone: {few}")
        numbers, classes, crowd = {0: 0}, [], set()
        merged: dict[int, int] = {}  # class of stuff -> its number
        for segment in segments:
            own = self._class_of[segment["category_id"]]
            if own not in merged:
                classes.append(own)
                crowd |= {len(classes)} if segment["iscrowd"] else set()
            numbers[segment["id"]] = merged.get(own, len(classes))
            if own >= self.num_things:
                merged[own] = numbers[segment["id"]]
        table = np.array([numbers[one] for one in found.tolist()], np.int32)
        labels = check_size(table[places.reshape(pixels.shape[:2])], self.shape(id), name, self._image_path(id))
        return Segments.numbered(labels, classes)._replace(crowd=crowd)

    def read_layers(self, id: str, resizing: Resizing = Resizing(None)) -> np.ndarray:  # noqa: B008 (frozen)
        """What training sees of an image -> u8 (h, w, 2): the class of each pixel, and the number of its thing.

        Classes are as in read_mask. Things are numbered from 1; stuff, void, crowds and the padding of `resizing` have
        0. Where an image has more than MOST_SEGMENTS segments the smallest things are void.
        """
        truth = self.read_panoptic(id)
        classes = np.array([IGNORED, *truth.classes.values()])
        areas = np.bincount(truth.labels.reshape(-1), minlength=len(classes))
        things = np.setdiff1d(np.flatnonzero((classes < self.num_things) & (areas > 0)), list(truth.crowd))
        lost = max(0, len(classes) - 1 - MOST_SEGMENTS)
        left_out = things[np.argsort(areas[things], kind="stable")][:lost]
        things = np.setdiff1d(things, left_out)
        layers = np.stack([classes, np.zeros_like(classes)], axis=1)
        layers[things, 1], layers[left_out, 0] = np.arange(1, len(things) + 1), IGNORED
        # one image of codes is resized, so that a pixel's class and thing are of one segment
        segments = np.setdiff1d(np.arange(1, len(classes)), left_out)
        codes, table = np.ones(len(classes), np.uint8), np.full((256, 2), (IGNORED, 0), np.uint8)
        codes[segments] = np.arange(2, len(segments) + 2)
        table[codes[segments]] = layers[segments]
        return table[resizing.mask(codes[truth.labels])]

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, as the JSON says."""
        self._known(id)
        return int(self._images[id]["height"]), int(self._images[id]["width"])

    def fingerprint(self) -> str:
        """SHA-256 over the ids, the classes, the segments, and the paths and contents of images and PNGs."""
        segments = [[id, self._masks[id]["segments_info"]] for id in self.ids]
        masks = fingerprint_of(self._annotated, [self._mask_path(id) for id in self.ids], segments)
        images = [self._image_path(id) for id in self.ids]
        return fingerprint_of(self.data, images, self.ids, self.supercategories, self.classes, masks)

    def _known(self, id: str) -> dict:
        if id not in self._images:
            raise KeyError(f"no image {id!r} in annotations/panoptic_{self.split}.json")
        return self._masks[id]

    def _image_path(self, id: str) -> str:
        self._known(id)
        return f"{self.split}/{self._images[id]['file_name']}"

    def _mask_path(self, id: str) -> str:
        return f"panoptic_{self.split}/{self._known(id)['file_name']}"

    def _problems(self) -> list[str]:
        """Images without segments, files that are missing, categories that are unknown, ids that are unsafe."""
        there = set(map(nfc, self.data.names(self.split)))
        painted = set(map(nfc, self._annotated.names(f"panoptic_{self.split}")))
        problems = []
        for id in self.ids:
            check_id(id)
            name, mask = self._images[id]["file_name"], self._masks[id]
            if mask is None:
                problems.append(f"{name} has no annotation")
                continue
            if nfc(name) not in there:
                problems.append(f"{self.split}/{name} is missing")
            if nfc(mask["file_name"]) not in painted:
                problems.append(f"annotations/panoptic_{self.split}/{mask['file_name']} is missing")
            unknown = {one["category_id"] for one in mask["segments_info"]} - self._class_of.keys()
            problems += [f"{name} has segments of category {one}, which is not listed" for one in sorted(unknown)]
        return problems


class PanopticReader:
    """A reader for SegmentationDataset: image and layers (h, w, 2), as read_layers says, at the network's size.

    SegmentationDataset(PanopticReader(data, frame.resizing), ids, augment): the batch's mask is u8 (N, 2, h, w).
    """

    def __init__(self, dataset: CocoPanoptic, resizing: Resizing) -> None:
        self.dataset, self.resizing = dataset, resizing

    def __call__(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Image (h, w, 3) and layers u8 (h, w, 2) of `id`."""
        image = self.resizing.image(self.dataset.read_image(id))
        return image, self.dataset.read_layers(id, self.resizing)


def _read_json(data: DataFolder, name: str) -> dict:
    """The content of the JSON. Raises FileNotFoundError without it, ValueError where it is not COCO's panoptic one."""
    try:
        facts = json.loads(data.read(name))
        lists: Mapping[str, tuple[str, ...]] = {
            "categories": ("id", "name", "supercategory", "isthing"),
            "images": ("id", "file_name", "height", "width"),
            "annotations": ("image_id", "file_name", "segments_info"),
        }
        for key, fields in lists.items():
            _ = [one[field] for one in facts[key] for field in fields]
        for one in [one for mask in facts["annotations"] for one in mask["segments_info"]]:
            _ = one["id"], one["category_id"], one["iscrowd"]
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{data.root / name} is no JSON of COCO's panoptic format ({what})") from error
    return facts


def _classes(
    categories: list[dict], supercategories: bool, problems: list[str]
) -> tuple[tuple[str, ...], int, dict[int, int]]:
    """The names of the classes, how many are things, and the class of each category."""
    field, kinds = "supercategory" if supercategories else "name", {}
    for one in categories:
        name, is_thing = one[field], bool(one["isthing"])
        if kinds.setdefault(name, is_thing) != is_thing:
            problems.append(f"{name} has categories of things and of stuff: take the categories, supercategories=False")
    names = [name for is_thing in (True, False) for name, own in kinds.items() if own == is_thing]
    return tuple(names), sum(kinds.values()), {one["id"]: names.index(one[field]) for one in categories}


def _doubled(facts: dict) -> list[str]:
    """The lists of the JSON in which an id occurs twice."""
    keys = {"categories": "id", "images": "id", "annotations": "image_id"}
    found = [name for name, key in keys.items() if len({one[key] for one in facts[name]}) < len(facts[name])]
    stems = {Path(image["file_name"]).stem for image in facts["images"]}
    return found + ["names of images"] * (len(stems) < len(facts["images"]) and "images" not in found)
