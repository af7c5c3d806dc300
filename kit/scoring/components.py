"""A table of the components of predicted masks, from which the score of every area cut follows.

    table = ComponentTable.join([components_of(mask, truth, 2) for mask, truth in …])
    table.hits(least=[64], largest=False)         of each image: the pixels of each truth under what is kept

Leaving a component out moves its pixels from a class to the background, and nothing else. So a row a component, with
its area and its pixels of each truth, gives the confusion matrix of every image at every area cut, exactly, without
another look at an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.system.objects import components, label_pairs, largest_label, window_of


@dataclass(frozen=True)
class ComponentTable:
    """A row a connected component of a foreground class of an image.

    places: i64 (N,), image · L + class, of L foreground classes from 0. areas: i64 (N,), in pixels, those without a
    truth too. largest: bool (N,), whether it is the one that keep_largest would leave of its class in its image.
    pixels: i64 (N, C), of each truth 0 … C-1; pixels of another truth (255) are in none. size: images · L.
    """

    places: np.ndarray
    areas: np.ndarray
    largest: np.ndarray
    pixels: np.ndarray
    size: int

    @classmethod
    def join(cls, parts: Sequence["ComponentTable"]) -> "ComponentTable":
        """The tables of several images as one; the images are counted in this order."""
        starts = np.cumsum([0, *(part.size for part in parts)])
        places = np.concatenate([part.places + start for part, start in zip(parts, starts, strict=False)])
        rest = (np.concatenate([getattr(part, name) for part in parts]) for name in ("areas", "largest", "pixels"))
        return cls(places, *rest, int(starts[-1]))

    def hits(self, least: Sequence[int], largest: bool, present: np.ndarray | None = None) -> np.ndarray:
        """The pixels of each truth that are predicted as each class: i64 (images, L, C).

        least: components of fewer pixels are left out, of each class. largest: all but the largest are. present: bool
        (images, L), False for classes that are left out of an image as a whole.
        """
        classes = len(least)
        kept = self.areas >= np.asarray(least)[self.places % classes]
        if largest:
            kept &= self.largest
        if present is not None:
            kept &= present.reshape(-1)[self.places]
        places, pixels = self.places[kept], self.pixels[kept]
        sums = [np.bincount(places, column, self.size) for column in pixels.T]  # f64 is exact below 2^53
        return np.stack(sums, axis=1).astype(np.int64).reshape(-1, classes, pixels.shape[1])


def components_of(layers: Sequence[np.ndarray], truths: Sequence[np.ndarray], num_truths: int) -> ComponentTable:
    """The table of one image.

    layers: u8 (H, W) of 0 and 1, the mask of each foreground class. truths: u8 (H, W), the truth that each is held
    against: 0 … num_truths - 1, or 255.
    """
    parts = [_of_layer(layer, truth, num_truths) for layer, truth in zip(layers, truths, strict=True)]
    places = np.repeat(np.arange(len(parts)), [len(areas) for areas, _, _ in parts])
    return ComponentTable(places, *(np.concatenate(column) for column in zip(*parts, strict=True)), len(parts))


def _of_layer(layer: np.ndarray, truth: np.ndarray, num_truths: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The areas, which is the largest, and the pixels of each truth of the components of a mask."""
    window = window_of(layer)
    if window is None:
        return np.zeros(0, np.int64), np.zeros(0, bool), np.zeros((0, num_truths), np.int64)
    labels, truth = components(layer[window]), truth[window]
    names, values, counts = label_pairs(labels, truth)
    found = np.zeros((int(labels.max()) + 1, 256), np.int64)
    found[names, values] = counts
    areas = found[1:].sum(axis=1)
    first = largest_label(labels, found.sum(axis=1))
    return areas, np.arange(1, len(areas) + 1) == first, found[1:, :num_truths]


def matrices_of(hits: np.ndarray, totals: np.ndarray, overlapping: bool) -> np.ndarray:
    """The confusion matrices, rows = truth, of images: i64 (n, C, L + 1); of classes that overlap (n, L, C, 2).

    hits: (n, L, C) as ComponentTable.hits gives them. totals: i64 (n, L, C), all pixels of each truth; of classes that
    compete those of the first class are taken.
    """
    if overlapping:
        return np.stack([totals - hits, hits], axis=3)
    left = totals[:, 0] - hits.sum(axis=1)
    return np.concatenate([left[:, :, None], np.swapaxes(hits, 1, 2)], axis=2)
