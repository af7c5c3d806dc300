"""Samples of labelled images and of images with pseudo-labels: the probabilities that networks gave them.

A pseudo-label is soft: a pixel of probability 0.7 is foreground in 70 % of the epochs, drawn anew each time from
(seed, epoch, index). The expected loss is then that of the soft label for every loss that is linear in the mask, as
cross-entropy is, and near it for Dice, whose sums run over many pixels. Masks stay whole numbers, so each loss, metric
and augmentation works as it is. Pixels whose probability says little are ignored (255).
Hard labels at 0.5 would make confident errors out of doubts.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from kit.data.resize import Resizing
from kit.data.samples import Sample, SegmentationDataset
from kit.system.files import short_hash

IGNORED = 255
DRAWS = 2  # makes these random numbers others than those of augmentation and of crops
Levels = Callable[[str], list[np.ndarray]]


class PseudoSamples(TorchDataset):
    """All labelled samples once an epoch, and so many drawn from the others that these are `share` of all.

    labelled: samples with true masks; its augmentation is used for both. read_image(id) -> (H, W, C) of `ids`, at the
    image's own size. levels(id): of one or more networks, each u8 (K, h, w) over the whole image. Their mean is the
    label.
    separate: classes may overlap, so each is drawn by itself and no pixel can be ignored. undecided: the probabilities
    between which a pixel is ignored; of several classes those of the likeliest one up to the upper end.
    key: names the labels; a checkpoint of others is refused.
    Raises ValueError for a share outside 0..1 or without ids.
    """

    def __init__(
        self,
        labelled: SegmentationDataset,
        ids: Sequence[str],
        read_image: Callable[[str], np.ndarray],
        levels: Levels,
        resizing: Resizing,
        *,
        share: float = 0.5,
        undecided: tuple[float, float] = (0.4, 0.6),
        separate: bool = False,
        seed: int = 0,
        key: object = "",
    ) -> None:
        low, high = undecided
        if not (0 < share < 1 and 0 <= low <= high <= 1 and ids):
            raise ValueError(
                f"pseudo-labels of {len(ids)} images, share {share}, undecided {undecided}: expected an image or more, "
                "a share above 0 and below 1, and two probabilities in order"
            )
        self.labelled, self.ids, self.read_image, self.levels = labelled, list(ids), read_image, levels
        self.resizing, self.share, self.undecided, self.separate, self.seed = resizing, share, undecided, separate, seed
        self.key = short_hash(key)

    def __repr__(self) -> str:
        """The settings: a run compares them when it is resumed, and all but the labels between folds."""
        low, high = self.undecided
        return f"Pseudo({self.share:.3g}, {low:.3g} to {high:.3g}, u8 ({len(self.ids)},) {self.key})"

    def __len__(self) -> int:
        return round(len(self.labelled) / (1 - self.share))

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if index < len(self.labelled):
            return self.labelled[epoch, index]
        rng = np.random.default_rng([self.seed, epoch, index, DRAWS])
        id = self._drawn(epoch, index - len(self.labelled))
        image = self.read_image(id)
        mask = self._mask(id, image.shape[:2], rng)
        image = self.resizing.image(image)
        if self.labelled.augment is not None:
            image, mask = self.labelled.augment(image, mask, epoch, index)
        layers = mask if mask.ndim == 2 else mask.transpose(2, 0, 1)
        rows, labels = (torch.from_numpy(np.array(array, order="C")) for array in (image, layers))
        return Sample(rows.permute(2, 0, 1), labels, id)

    def _drawn(self, epoch: int, place: int) -> str:
        """The image at a place: in each round over all of them another order, so that all are drawn alike often."""
        count, start = len(self.ids), epoch * (len(self) - len(self.labelled)) + place
        order = np.random.default_rng([self.seed, start // count, DRAWS]).permutation(count)
        return self.ids[order[start % count]]

    def _mask(self, id: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """The label drawn at the network's size: u8 (h, w) or of separate classes (h, w, K)."""
        rows, columns = self.resizing.content(shape)
        size = rows.stop - rows.start, columns.stop - columns.start
        own = draw(mean_levels(self.levels(id), size), self.undecided, self.separate, rng)
        if self.resizing.size is None or own.shape[:2] == tuple(self.resizing.size):
            return own
        mask = np.full((*self.resizing.size, *own.shape[2:]), 0 if self.separate else IGNORED, np.uint8)
        mask[rows, columns] = own
        return mask


def mean_levels(levels: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The mean f32 (K, *size) of levels u8 (K, h, w), each brought to `size` first, bilinear."""
    return np.mean([np.stack([_brought(layer, size) for layer in one]) for one in levels], axis=0)


def _brought(layer: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(layer.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)


def draw(levels: np.ndarray, undecided: tuple[float, float], separate: bool, rng: np.random.Generator) -> np.ndarray:
    """A mask u8 (h, w) drawn from levels f32 (K, h, w), 0..255; of separate classes (h, w, K)."""
    if separate:
        return (rng.random(levels.shape) * 255 < levels).astype(np.uint8).transpose(1, 2, 0)
    low, high = undecided
    if len(levels) == 1:
        mask = (rng.random(levels.shape[1:]) * 255 < levels[0]).astype(np.uint8)
        mask[(levels[0] > 255 * low) & (levels[0] < 255 * high)] = IGNORED
        return mask
    ends = np.cumsum(levels, axis=0)
    mask = (rng.random(levels.shape[1:]) * ends[-1] >= ends[:-1]).sum(axis=0).astype(np.uint8)
    mask[levels.max(axis=0) < 255 * high] = IGNORED
    return mask
