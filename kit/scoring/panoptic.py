"""Panoptic quality (Kirillov et al. 2018, "Panoptic Segmentation", equation 1).

Of each class, over all images:

                Σ IoU of the TP                 TP
    SQ · RQ  =  ---------------  ·  -------------------------  =  PQ
                      TP             TP + 1/2 FP + 1/2 FN

A TP is a pair of a true and a predicted segment of one class with an IoU above 0.5. Then (section 4.2 of the paper):

- Void, the pixels with label 0 in truth, is taken out of the union.
- A crowd region of the truth never matches, and is no FN.
- An unmatched prediction is no FP where more than half of its pixels are void or in a crowd region of its class.

A class without TP, FP and FN is left out of the mean over classes. The counts of images add up, as those of other
metrics: Σ IoU, TP, FP and FN of each class. The results are those of panopticapi, COCO's own evaluation, but where an
image has several crowd regions of one class: there all of them count, and panopticapi takes one of them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from kit.scoring.instance_metrics import mean_of_classes, object_masks
from kit.scoring.instances import class_counts
from kit.scoring.matching import match
from kit.system.segments import Segments, as_segments


class PanopticScores(NamedTuple):
    """PQ = SQ · RQ, each f64 of the same shape; NaN where there is no TP, FP or FN. SQ is 0 without a TP."""

    pq: np.ndarray
    sq: np.ndarray
    rq: np.ndarray


def panoptic_counts(truth: np.ndarray | Segments, prediction: np.ndarray | Segments, num_classes: int) -> np.ndarray:
    """Count in one image: f64 (K, 4), of each class Σ IoU of the TP, TP, FP and FN.

    truth, prediction: Segments, label images (H, W) with a class of each label; label 0 is void in truth, and
    undecided in a prediction. The truth may have crowd regions. Label images alone are of class 1. num_classes: K;
    classes are 0 to K - 1. Raises ValueError for other classes, labels without a class, labels below 0, other dtypes
    and shapes that differ.
    """
    truth, prediction = as_segments(truth), as_segments(prediction)
    found = match(truth, prediction)
    true, predicted = truth.classes_of(found.truth), prediction.classes_of(found.prediction)
    is_crowd = np.isin(found.truth, list(truth.crowd))
    pair_is_crowd, alike = is_crowd[found.true_at], true[found.true_at] == predicted[found.predicted_at]
    void = found.predicted_areas - _sums(found.predicted_at, found.overlap, len(predicted))
    union = found.union - void[found.predicted_at]
    hit = alike & ~pair_is_crowd & (2 * found.overlap > union)
    in_crowd = alike & pair_is_crowd
    ignored = void + _sums(found.predicted_at[in_crowd], found.overlap[in_crowd], len(predicted))
    is_missed, is_added = ~is_crowd, 2 * ignored <= found.predicted_areas
    is_missed[found.true_at[hit]], is_added[found.predicted_at[hit]] = False, False
    of_hits = true[found.true_at[hit]]
    counts = [class_counts(classes, num_classes) for classes in (of_hits, predicted[is_added], true[is_missed])]
    class_counts(np.concatenate([true, predicted]), num_classes)  # crowds and ignored segments are checked too
    ious = np.bincount(of_hits, found.overlap[hit] / union[hit], minlength=num_classes)
    return np.stack([ious, *counts], axis=1).astype(float)


def panoptic_quality(truth: np.ndarray | Segments, prediction: np.ndarray | Segments, num_classes: int) -> float:
    """PQ of one image, the mean over its classes, 0..1; NaN without any. Arguments as `panoptic_counts`.

    Over several images add the counts of all before they are scored: PQ is no mean over images.
    """
    return float(mean_of_classes(panoptic_scores(panoptic_counts(truth, prediction, num_classes)).pq))


def panoptic_scores(sums: np.ndarray) -> PanopticScores:
    """PQ, SQ and RQ of each class from sums (..., K, 4) of `panoptic_counts`: (..., K) each."""
    ious, hits, added, missed = np.moveaxis(np.asarray(sums, float), -1, 0)
    half = hits + 0.5 * added + 0.5 * missed
    is_there, empty = half > 0, np.full(half.shape, np.nan)
    sq = np.divide(ious, hits, out=np.where(is_there, 0.0, np.nan), where=hits > 0)
    return PanopticScores(
        np.divide(ious, half, out=empty.copy(), where=is_there), sq, np.divide(hits, half, out=empty, where=is_there)
    )


def panoptic_means(sums: np.ndarray, things: Collection[int]) -> dict[str, PanopticScores]:
    """PQ, SQ and RQ averaged over all classes, over the things, and over the others: "all", "things", "stuff".

    sums: (..., K, 4) of `panoptic_counts`; each score is (...). NaN where no class is there.
    """
    scores = panoptic_scores(sums)
    is_thing = np.isin(np.arange(scores.pq.shape[-1]), list(things))
    parts = {"all": np.full(is_thing.shape, True), "things": is_thing, "stuff": ~is_thing}
    return {name: PanopticScores(*(mean_of_classes(one[..., part]) for one in scores)) for name, part in parts.items()}


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic quality, averaged over classes.

    num_classes: K; classes are 0 to K - 1. classes: those that are averaged, as the things alone; None: all. of: what
    they are called in the name.
    """

    num_classes: int
    classes: tuple[int, ...] | None = None
    of: str = ""
    ratio: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """As the report shows it."""
        return f"panoptic quality of {self.of}" if self.of else "panoptic quality"

    def counts(self, truth: np.ndarray | Segments, prediction: np.ndarray | Segments) -> np.ndarray:
        """`panoptic_counts`, row by row: (4 K,)."""
        return panoptic_counts(*object_masks(truth, prediction), self.num_classes).reshape(-1)

    def score(self, sums: np.ndarray) -> np.ndarray:
        """(..., 4 K) -> (...): the mean PQ of the classes that are there; NaN where there is none."""
        return mean_of_classes(self._per_class(sums))

    def fix_classes(self, total: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return the score over the classes of `total` (M,). A class absent from a part keeps the PQ of the total."""
        whole = self._per_class(total)
        return lambda sums: mean_of_classes(self._per_class(sums), whole)

    def _per_class(self, sums: np.ndarray) -> np.ndarray:
        each = panoptic_scores(np.reshape(sums, (*np.shape(sums)[:-1], self.num_classes, 4))).pq
        return each if self.classes is None else each[..., list(self.classes)]


def _sums(places: np.ndarray, pixels: np.ndarray, count: int) -> np.ndarray:
    """The sum of the pixels of each place: i64 (count,)."""
    return np.bincount(places, pixels, minlength=count).astype(np.int64)
