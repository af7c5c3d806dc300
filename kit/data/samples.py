"""From a data set to the samples of training and the batches of prediction.

dataset.read_image(id), read_mask(id)  ->  at the network's size, from the cache (see cache.py)
SegmentationDataset[(epoch, index)]    ->  Sample(image (C, H, W) in its own dtype, mask u8 (H, W), id)
ImageBatches                           ->  ImageBatch(images (N, C, H, W), ids, their own sizes)
Normalisation(images)                  ->  f32 on the device (see normalise.py)
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import default_collate

from kit.data.dataset import RGB, Dataset
from kit.data.resize import Resizing, single_threaded_cv2
from kit.data.sample_checks import check_image, name_error
from kit.system.threads import ordered_map


class Sample(NamedTuple):
    """One training sample, or a batch of them after collation (then with N in front, and a list of ids)."""

    image: Tensor  # u8, u16 or f32 (C, H, W)
    mask: Tensor  # u8 (H, W), 255 = ignored; of classes that overlap (K, H, W) of 0 and 1; or what a target gives
    id: str


class ImageBatch(NamedTuple):
    """A batch of images to predict, and the problems with those that cannot be."""

    images: (
        Tensor  # (N, C, H, W) in their own dtype; filled up with the last one where there are fewer ids; (0,) if none
    )
    ids: list[str]
    sizes: list[tuple[int, int]]  # (height, width) of the originals
    problems: dict[str, str]  # by id


class SegmentationDataset(TorchDataset):
    """Samples of a data set at the network's size.

    read(id) -> image (H, W, C) and mask u8 (H, W) or (H, W, K), both at the network's size (see cache.sample_reader).
    Index with a plain number, or with (epoch, index) as EpochBatches gives. The augmentation then differs between
    epochs, and the workers keep no state.
    target: a function of the mask after augmentation, (h, w) or (h, w, K) -> what the loss sees, of any dtype, also
    (h, w) or (h, w, K). It gets label images as int32 (see kit.data.label_images); None: the loss sees the mask.
    """

    target: Callable[[np.ndarray], np.ndarray] | None = None

    def __init__(
        self,
        read: Callable[[str], tuple[np.ndarray, np.ndarray]],
        ids: Sequence[str],
        augment: Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray]] | None = None,
        target: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self.read, self.ids, self.augment = read, list(ids), augment
        if target is not None:  # else it is no setting of a run, as before there were any
            self.target = target

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        image, mask = self.read(self.ids[index])
        if self.augment is not None:
            image, mask = self.augment(image, mask, epoch, index)
        if self.target is not None:
            mask = self.target(mask.astype(np.int32) if mask.dtype == np.uint16 else mask)
        layers = mask if mask.ndim == 2 else mask.transpose(2, 0, 1)
        # copies: of a turned view, or of the cache's own memory
        rows, labels = (torch.from_numpy(np.array(array, order="C")) for array in (image, layers))
        return Sample(rows.permute(2, 0, 1), labels, self.ids[index])


def collate_samples(samples: list[Sample]) -> Sample:
    """Samples -> a batch, channels last in memory. Raises ValueError where their sizes differ, naming them."""
    sizes = {sample.id: tuple(sample.mask.shape[-2:]) for sample in samples}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{id} {height}×{width}" for id, (height, width) in sizes.items())
        raise ValueError(
            f"images of several sizes in a batch ({listed}): resize to one size, Resizing((H, W)), or use a batch size "
            "of 1"
        )
    images = default_collate([sample.image.permute(1, 2, 0) for sample in samples]).permute(0, 3, 1, 2)
    return Sample(images, default_collate([sample.mask for sample in samples]), [sample.id for sample in samples])


class ImageBatches:
    """Batches of images to predict, read ahead in threads.

    resizing: how they come to the network's size; where they keep their own, `count` is 1. count: images in a batch, in
    the last one too: kernels are chosen by the shape of a batch, and the prediction of an image must not depend on how
    many are left. An image that cannot be read is listed in its batch's `problems`: a bad one among 100,000 must not
    cost the night's work on the others. pin: keep batches in memory that a GPU can copy from by itself.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        resizing: Resizing,
        count: int,
        threads: int = 0,
        pin: bool = False,
    ) -> None:
        self.dataset, self.resizing, self.count, self.threads, self.pin = dataset, resizing, count, threads, pin
        self.batches = [ids[start : start + count] for start in range(0, len(ids), count)]

    def __iter__(self) -> Iterator[ImageBatch]:
        with single_threaded_cv2() if self.threads else contextlib.nullcontext():
            yield from ordered_map(self.read, self.batches, self.threads)

    def read(self, ids: Sequence[str]) -> ImageBatch:
        """Read one batch."""
        good, problems = [], {}
        for id in ids:
            try:
                image = self.dataset.read_image(id)
                check_image(id, image, getattr(self.dataset, "channels", RGB), getattr(self.dataset, "dtype", None))
            except Exception as error:  # whatever the data set's own code raises
                problems[id] = name_error(id, error)
            else:
                good.append((id, image.shape[:2], self.resizing.image(image)))
        if not good:
            return ImageBatch(torch.empty(0, dtype=torch.uint8), [], [], problems)
        kept, sizes, images = zip(*good, strict=True)
        filled = np.stack([*images, *images[-1:] * (self.count - len(images))])
        batch = torch.from_numpy(filled).permute(0, 3, 1, 2)
        return ImageBatch(batch.pin_memory() if self.pin else batch, list(kept), list(sizes), problems)
