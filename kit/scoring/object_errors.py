"""All objects of many images, and what became of each: scores at IoU thresholds, and what each kind of error costs.

    found = FoundObjects.join([match(truth, prediction) for truth, prediction in pairs])
    found.precision(0.75)                    (n,) of each image the precision of its objects
    found.losses(THRESHOLDS)                 (n, 5) what each image loses by each of ERRORS

An object is of one kind, at an IoU of 0.5: see kit.scoring.matching. The scores are those of kit.scoring.instances: the
loss of an image at a threshold is

    1 - TP / (TP + FP + FN)  =  (FP + FN) / (TP + FP + FN)

so every object that is no hit there loses as much as another one, and the loss is shared out to their kinds without a
rest. An object that is a hit at 0.5, and none at a higher threshold, has an inexact outline.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kit.scoring.matching import EXTRA, HIT, MERGED, MISSED, SPLIT, THRESHOLDS, Matching, ObjectTable

ERRORS = ("inexact", "missed", "extra", "split", "merged")
HALF = 0.5  # the IoU at which an object is of a kind


class Objects(NamedTuple):
    """A row an object, image by image. image: i64 (N,), its place; area: i64, pixels; iou: f64, the best; kind: u8."""

    image: np.ndarray
    area: np.ndarray
    iou: np.ndarray
    kind: np.ndarray


@dataclass(frozen=True)
class FoundObjects:
    """The true and the predicted objects of n images. images: n."""

    truth: Objects
    prediction: Objects
    images: int

    @classmethod
    def join(cls, matchings: Iterable[Matching]) -> "FoundObjects":
        """Those of several images, in this order."""
        pairs = [(one.of_truth(HALF), one.of_prediction(HALF)) for one in matchings]
        return cls(_joined([true for true, _ in pairs]), _joined([predicted for _, predicted in pairs]), len(pairs))

    def true(self, *kinds: int) -> np.ndarray:
        """How many true objects of some kinds each image has: f64 (n,); without kinds all."""
        return self._count(self.truth, kinds)

    def predicted(self, *kinds: int) -> np.ndarray:
        """The same of predicted objects."""
        return self._count(self.prediction, kinds)

    def hits(self, threshold: float = HALF) -> np.ndarray:
        """The pairs of each image with an IoU above the threshold, f64 (n,)."""
        return np.bincount(self.truth.image[_is_hit(self.truth, threshold)], minlength=self.images).astype(float)

    def hit_ious(self) -> np.ndarray:
        """The sum of the IoUs of the hits of each image, f64 (n,)."""
        inside = self.truth.kind == HIT
        return np.bincount(self.truth.image[inside], self.truth.iou[inside], minlength=self.images)

    def precision(self, threshold: float = HALF, beta: float | None = None) -> np.ndarray:
        """TP / (TP + FP + FN) of each image at a threshold, f64 (n,); with beta F-beta. 1 without objects."""
        hits, (of_missed, of_added) = self.hits(threshold), _weights(beta)
        missed, added = self.true() - hits, self.predicted() - hits
        whole = (1 if beta is None else of_missed + of_added) * hits
        total = whole + of_missed * missed + of_added * added
        return np.divide(whole, total, out=np.ones(self.images), where=total > 0)

    def losses(self, thresholds: Sequence[float] = THRESHOLDS, beta: float | None = None) -> np.ndarray:
        """What each image loses by each of ERRORS, f64 (n, 5): the rows add up to 1 - the mean over the thresholds."""
        lost = np.zeros((self.images, len(ERRORS)))
        for threshold in thresholds:
            hits, weights = self.hits(threshold), _weights(beta)
            wrong = np.zeros_like(lost)
            for objects, weight in zip((self.truth, self.prediction), weights, strict=True):
                left = ~_is_hit(objects, threshold)
                places = objects.image[left] * len(ERRORS) + _ERROR_OF[objects.kind[left]]
                wrong += weight * np.bincount(places, minlength=lost.size).reshape(lost.shape)
            total = (1 if beta is None else sum(weights)) * hits + wrong.sum(axis=1)
            lost += wrong / np.maximum(total, 1e-300)[:, None]
        return lost / len(thresholds)

    def _count(self, objects: Objects, kinds: Sequence[int]) -> np.ndarray:
        inside = np.isin(objects.kind, kinds) if kinds else slice(None)
        return np.bincount(objects.image[inside], minlength=self.images).astype(float)


_ERROR_OF = np.zeros(6, np.int64)  # by kind; of a hit that is none at a higher threshold: inexact
_ERROR_OF[[HIT, MISSED, EXTRA, SPLIT, MERGED]] = range(5)


def _weights(beta: float | None) -> tuple[float, float]:
    """How much a missed and an added object weigh."""
    return (1.0, 1.0) if beta is None else (beta * beta, 1.0)


def _is_hit(objects: Objects, threshold: float) -> np.ndarray:
    """Whether each object is in a pair above the threshold.

    An IoU is a quotient of whole numbers, so it is rounded as the usual thresholds are: 11/20 is 0.55.
    """
    return (objects.kind == HIT) & (objects.iou > threshold)


def _joined(tables: Sequence[ObjectTable]) -> Objects:
    counts = [len(table.labels) for table in tables]
    columns = ("areas", "ious", "kinds")
    joined = (np.concatenate([getattr(table, name) for table in tables] or [np.zeros(0)]) for name in columns)
    return Objects(np.repeat(np.arange(len(tables)), counts), *joined)
