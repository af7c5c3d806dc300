"""Which true and which predicted objects are the same one: pairs by IoU, and what became of each object.

    found = match(truth, prediction)
    found.hits(THRESHOLDS)               at each threshold: the pairs with an IoU above it
    found.errors(0.5)                    hits, misses, extras, splits, merges
    found.of_truth(0.5).kinds            of each true object: hit, missed, split or merged

One pass over both label images counts the pixels of each pair of labels; all else follows from these counts. A hit is a
pair with an IoU above the threshold, not equal to it, as Kaggle counts. From 0.5 on an object is in one hit at most, so
there is nothing to assign. Thresholds are compared in whole numbers, because 0.55 is no exact float.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from kit.system.objects import label_pairs
from kit.system.segments import Segments, as_segments, paint

THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
HIT, MISSED, EXTRA, SPLIT, MERGED = range(1, 6)
KINDS = ("", "hit", "missed", "extra", "split", "merged")  # what became of an object: KINDS[kind]


class Errors(NamedTuple):
    """How many objects of an image were found, at one threshold.

    misses: true objects without a hit; extras: predicted ones without. splits: true objects that hold most of each of
    two or more predicted ones. merges: predicted objects that hold most of each of two or more true ones. An object
    that is split or merged may be a hit all the same, where one of its parts is large enough.
    """

    hits: int
    misses: int
    extras: int
    splits: int
    merges: int

    @property
    def precision(self) -> float:
        """The share of the predicted objects that are hits; 1 without any."""
        return self.hits / (self.hits + self.extras) if self.hits + self.extras else 1.0

    @property
    def recall(self) -> float:
        """The share of the true objects that are hits; 1 without any."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 1.0

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FN + FP); 1 where truth and prediction are empty."""
        objects = 2 * self.hits + self.misses + self.extras
        return 2 * self.hits / objects if objects else 1.0


class ObjectTable(NamedTuple):
    """The objects of one of two label images, a row each, by rising labels; N of them.

    labels: i64 (N,). areas: i64 (N,), pixels. ious: f64 (N,), the largest IoU with an object of the other image.
    partners: i64 (N,), the label of that object, 0 where none is met. parts: i64 (N,), the objects of the other image
    of which more than half lies in this one. kinds: u8 (N,), see Matching.of_truth.
    """

    labels: np.ndarray
    areas: np.ndarray
    ious: np.ndarray
    partners: np.ndarray
    parts: np.ndarray
    kinds: np.ndarray

    def paint(self, labels: np.ndarray) -> np.ndarray:
        """What became of the object at each pixel of its label image: u8 (H, W), 0 where there is none."""
        return paint(labels, self.labels, self.kinds)


@dataclass(frozen=True, eq=False)
class Matching:
    """The objects of two label images, T true and P predicted ones, and the M pairs of them that share pixels.

    truth, prediction: i64 (T,) and (P,), the labels, rising. true_areas, predicted_areas: i64, pixels. true_at,
    predicted_at: i64 (M,), the pair's places among these. overlap: i64 (M,), the pixels of both. true_classes,
    predicted_classes: i64 (T,) and (P,); None where objects have no class.
    """

    truth: np.ndarray
    prediction: np.ndarray
    true_areas: np.ndarray
    predicted_areas: np.ndarray
    true_at: np.ndarray
    predicted_at: np.ndarray
    overlap: np.ndarray
    true_classes: np.ndarray | None = None
    predicted_classes: np.ndarray | None = None

    @property
    def alike(self) -> np.ndarray | None:
        """bool (M,): the pairs of one class; None where objects have no class."""
        if self.true_classes is None:
            return None
        return self.true_classes[self.true_at] == self.predicted_classes[self.predicted_at]

    @functools.cached_property
    def union(self) -> np.ndarray:
        """i64 (M,): the pixels of either."""
        return self.true_areas[self.true_at] + self.predicted_areas[self.predicted_at] - self.overlap

    @property
    def ious(self) -> np.ndarray:
        """f64 (M,): the IoU of each pair, whatever the classes are."""
        return self.overlap / self.union

    def is_hit(self, threshold: float) -> np.ndarray:
        """bool (M,): the pairs of one class with an IoU above the threshold. Raises ValueError below 0.5."""
        numerator, denominator = whole((threshold,))
        above, alike = denominator * self.overlap > numerator * self.union, self.alike
        return above if alike is None else above & alike

    def hits(self, thresholds: Sequence[float] = THRESHOLDS) -> np.ndarray:
        """i64 (t,): the hits at each threshold. Raises ValueError below 0.5."""
        numerators, denominators = whole(tuple(thresholds))
        some, alike = 2 * self.overlap > self.union, self.alike
        if alike is not None:
            some &= alike
        overlap, union = self.overlap[some, None], self.union[some, None]
        return np.count_nonzero(denominators * overlap > numerators * union, axis=0)

    def errors(self, threshold: float = 0.5) -> Errors:
        """Count what became of the objects at a threshold."""
        hits = int(np.count_nonzero(self.is_hit(threshold)))
        true_parts, predicted_parts = self._parts()
        splits, merges = (int(np.count_nonzero(parts > 1)) for parts in (true_parts, predicted_parts))
        return Errors(hits, len(self.truth) - hits, len(self.prediction) - hits, splits, merges)

    def of_class(self, index: int) -> "Matching":
        """The objects of one class and the pairs of them, by themselves. Raises ValueError without classes."""
        if self.true_classes is None:
            raise ValueError("these objects have no class: match two kit.scoring.Segments")
        true, predicted = self.true_classes == index, self.predicted_classes == index
        pairs = true[self.true_at] & predicted[self.predicted_at]
        places = np.cumsum(true) - 1, np.cumsum(predicted) - 1
        return Matching(
            self.truth[true],
            self.prediction[predicted],
            self.true_areas[true],
            self.predicted_areas[predicted],
            places[0][self.true_at[pairs]],
            places[1][self.predicted_at[pairs]],
            self.overlap[pairs],
        )

    def of_truth(self, threshold: float = 0.5) -> ObjectTable:
        """The true objects. Each is of one kind, the first that holds:

        hit: in a pair above the threshold. split: it holds most of each of two or more predicted objects. merged: most
        of it lies in a predicted object that holds most of other true ones too. missed: the others.
        """
        return self._objects(threshold, MISSED, swapped=False)

    def of_prediction(self, threshold: float = 0.5) -> ObjectTable:
        """The predicted objects. Each is of one kind, the first that holds:

        hit: as of_truth. merged: it holds most of each of two or more true objects. split: most of it lies in a true
        object that holds most of other predicted ones too. extra: the others.
        """
        return self._objects(threshold, EXTRA, swapped=True)

    def _objects(self, threshold: float, rest: int, swapped: bool) -> ObjectTable:
        of_truth = (self.truth, self.true_areas, self.true_at)
        of_prediction = (self.prediction, self.predicted_areas, self.predicted_at)
        (labels, areas, at), (others, _, others_at) = (of_truth, of_prediction)[:: -1 if swapped else 1]
        parts, other_parts = self._parts()[:: -1 if swapped else 1]
        ious, partners = np.zeros(len(labels)), np.zeros(len(labels), np.int64)
        order = np.argsort(self.ious, kind="stable")  # of several writes to one place the last one stays
        ious[at[order]], partners[at[order]] = self.ious[order], others[others_at[order]]
        kinds = np.full(len(labels), rest, np.uint8)
        inside = (2 * self.overlap > areas[at]) & (other_parts[others_at] > 1)
        kinds[at[inside]] = SPLIT if swapped else MERGED
        kinds[parts > 1] = MERGED if swapped else SPLIT
        kinds[at[self.is_hit(threshold)]] = HIT
        return ObjectTable(labels, areas, ious, partners, parts, kinds)

    def _parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each true and of each predicted object how many of the others have more than half of their pixels in it.

        Objects of another class count too: a split is a matter of pixels.
        """
        in_truth = 2 * self.overlap > self.predicted_areas[self.predicted_at]
        in_prediction = 2 * self.overlap > self.true_areas[self.true_at]
        return (
            np.bincount(self.true_at[in_truth], minlength=len(self.truth)),
            np.bincount(self.predicted_at[in_prediction], minlength=len(self.prediction)),
        )


def match(truth: np.ndarray | Segments, prediction: np.ndarray | Segments) -> Matching:
    """Find the objects of two label images and the pairs of them that share pixels, in one pass over both.

    truth, prediction: whole numbers (H, W), 0 for none and a label an object, gaps allowed; or Segments, whose objects
    have a class each, where a hit needs one class. Memory is that of the pairs. Raises ValueError on labels below 0,
    other dtypes, shapes that differ, and labels without a class.
    """
    classed = isinstance(truth, Segments) or isinstance(prediction, Segments)
    truth, prediction = as_segments(truth), as_segments(prediction)
    first, second, pixels = label_pairs(truth.labels, prediction.labels)
    true, true_areas, true_at = _grouped(first, pixels)
    order = np.argsort(second, kind="stable")
    predicted, predicted_areas, predicted_at = _grouped(second[order], pixels[order])
    places = np.empty_like(predicted_at)
    places[order] = predicted_at
    both = (true_at >= 0) & (places >= 0)
    classes = (truth.classes_of(true), prediction.classes_of(predicted)) if classed else ()
    pairs = true_at[both], places[both], pixels[both]
    return Matching(true, predicted, true_areas, predicted_areas, *pairs, *classes)


def _grouped(labels: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels above 0 of sorted ones, once each, their pixels, and the place of each; -1 where it is 0."""
    if not len(labels):
        return labels, labels, labels
    is_new = np.empty(len(labels), bool)
    is_new[0], is_new[1:] = True, labels[1:] != labels[:-1]
    starts, at = np.flatnonzero(is_new), np.cumsum(is_new) - 1
    skipped = int(labels[0] == 0)
    return labels[starts[skipped:]], np.add.reduceat(pixels, starts)[skipped:], at - skipped


@functools.lru_cache(64)
def whole(thresholds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The thresholds as numerators and denominators, i64 (t,) each. Raises ValueError for one below 0.5 or above 1."""
    if not all(0.5 <= threshold <= 1 for threshold in thresholds):
        raise ValueError(
            f"thresholds of IoU are 0.5 to 1, got {', '.join(map(str, thresholds))}: below 0.5 an object may be in "
            "several pairs, which would have to be assigned"
        )
    exact = [Fraction(threshold).limit_denominator(10_000) for threshold in thresholds]
    return np.array([one.numerator for one in exact]), np.array([one.denominator for one in exact])
