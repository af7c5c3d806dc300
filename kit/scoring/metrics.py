"""The metrics of competitions. A metric counts in each image, and scores sums of these counts.

Those of objects are in instance_metrics.py and panoptic.py.

Counts that add up make everything else cheap: the score of a fold or a group, and the interval, need no image again.
A metric of your own is one small class, for example the share of images without a single wrong pixel:

    class PerfectImages:
        name = "images without an error"
        ratio = True

        def counts(self, truth, prediction):
            return np.array([np.all((truth == prediction) | (truth == 255)), 1.0])

        def score(self, sums):
            return sums[..., 0] / sums[..., 1]

Conventions of the metrics here:
- Masks are of the task's own kind: u8 (H, W) of classes, bool (H, W, K) of classes that overlap, int32 (H, W) with a
  label an object.
- Pixels with truth 255 in u8 are ignored: they are in no count.
- The foreground is every class but 0, every object, and of classes that overlap every pair of a pixel and a class. An
  empty truth predicted empty scores 1 in each image; over a data set without any foreground too.
- An empty truth with a prediction, and a truth with an empty prediction, score 0.

Slides are too large for two masks in memory: there a metric counts from the confusion matrix of the image, by a further
method counts_of_matrix(matrix), i64 (K, K), rows = truth; of classes that overlap (K, 2, 2), one of each. Metrics that
look at borders or objects have none. counts_of_matrices, the same of many matrices (..., L, K, K) -> (..., M), saves
time where thousands of masks are compared: L is the number of classes that overlap, each with a matrix, else 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from kit.scoring import confusion, overlapping
from kit.scoring.confusion import confusion_matrix, dice, foreground_scores
from kit.scoring.overlapping import class_matrices


class Metric(Protocol):
    """What the report needs of a metric."""

    name: str  # as the report shows it
    ratio: bool  # M = 2, and the score is first / second

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Count in one image: f64 (M,). truth, prediction: masks of the data set's task; 255 in u8 truth is ignored."""
        ...

    def score(self, sums: np.ndarray) -> np.ndarray:
        """Score sums of counts (..., M), over any choice of images: (...), higher is better."""
        ...


def score_ratio(sums: np.ndarray) -> np.ndarray:
    """Score first / second of sums (..., 2), 1 where the second is 0: an empty truth predicted empty."""
    sums = np.asarray(sums, float)
    return np.divide(sums[..., 0], sums[..., 1], out=np.ones(sums.shape[:-1]), where=sums[..., 1] > 0)[()]


@dataclass(frozen=True)
class MeanDice:
    """Dice of the foreground in each image, averaged over images (Carvana)."""

    name: ClassVar[str] = "mean Dice over images"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Dice of the image, and 1."""
        return self.counts_of_matrix(_foreground_matrix(truth, prediction))

    def counts_of_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """The same from the confusion matrix i64 (K, K) of the image: slides are counted so."""
        return np.array([foreground_scores(_without_classes(matrix))[1], 1.0])

    def counts_of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The same of many: (..., L, K, K) -> (..., 2)."""
        scores = foreground_scores(_foreground_matrices(matrices))[1]
        return np.stack([scores, np.ones_like(scores)], axis=-1)


@dataclass(frozen=True)
class DatasetDice:
    """Dice of the foreground over all pixels of all images: every pixel weighs the same (Contrails)."""

    name: ClassVar[str] = "Dice over the data set"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Twice the hits, and the sizes of truth and prediction together."""
        return self.counts_of_matrix(_foreground_matrix(truth, prediction))

    def counts_of_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """The same from the confusion matrix i64 (K, K) of the image: slides are counted so."""
        (_, false), (missed, hits) = _without_classes(matrix)
        return np.array([2.0 * hits, 2.0 * hits + false + missed])

    def counts_of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The same of many: (..., L, K, K) -> (..., 2)."""
        hits, wrong = _hits_and_errors(matrices)
        return np.stack([2.0 * hits, 2.0 * hits + wrong], axis=-1)


@dataclass(frozen=True)
class DatasetIoU:
    """IoU of the foreground over all pixels of all images."""

    name: ClassVar[str] = "IoU over the data set"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The intersection and the union."""
        return self.counts_of_matrix(_foreground_matrix(truth, prediction))

    def counts_of_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """The same from the confusion matrix i64 (K, K) of the image: slides are counted so."""
        (_, false), (missed, hits) = _without_classes(matrix)
        return np.array([float(hits), float(hits + false + missed)])

    def counts_of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The same of many: (..., L, K, K) -> (..., 2)."""
        hits, wrong = _hits_and_errors(matrices)
        return np.stack([hits, hits + wrong], axis=-1).astype(float)


@dataclass(frozen=True)
class MeanIoU:
    """IoU of each class over all pixels of all images, averaged over the classes, class 0 too (PASCAL VOC).

    overlapping: the masks are bool (H, W, K), num_classes is K, and there is no class 0.
    """

    num_classes: int
    overlapping: bool = False
    name: ClassVar[str] = "mean IoU over classes"
    ratio: ClassVar[bool] = False

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The confusion matrix, row by row, (K²,); of overlapping classes that of each, (4 K,).

        Raises ValueError on masks of the other kind.
        """
        if (np.ndim(truth) == 3) != self.overlapping:
            kind = "overlapping classes (H, W, K)" if np.ndim(truth) == 3 else "classes that do not overlap (H, W)"
            raise ValueError(
                f"the masks are of {kind}: MeanIoU({self.num_classes}, overlapping={not self.overlapping})"
            )
        if self.overlapping:
            return class_matrices(truth, prediction).reshape(-1).astype(float)
        return self.counts_of_matrix(confusion_matrix(truth, prediction, self.num_classes))

    def counts_of_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """The same from the confusion matrix i64 (K, K) of the image: slides are counted so."""
        return matrix.reshape(-1).astype(float)

    def counts_of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The same of many: (..., L, K, K) -> (..., M)."""
        return np.reshape(matrices, (*np.shape(matrices)[:-3], -1)).astype(float)

    def score(self, sums: np.ndarray) -> np.ndarray:
        """(..., M) -> (...): the mean over the classes in truth or prediction; NaN where there is none."""
        return self._mean(self._matrices(sums))

    def fix_classes(self, total: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return the score over the classes of `total` (M,). A class absent from a part keeps the IoU of the total."""
        whole = self._matrices(total)
        return lambda sums: self._mean(self._matrices(sums), whole)

    def _mean(self, matrices: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
        return (overlapping if self.overlapping else confusion).mean_iou(matrices, whole)

    def _matrices(self, sums: np.ndarray) -> np.ndarray:
        shape = (self.num_classes, 2, 2) if self.overlapping else (self.num_classes, self.num_classes)
        return np.reshape(sums, (*np.shape(sums)[:-1], *shape))


@dataclass(frozen=True)
class MeanDicePerClass:
    """Dice of each pair of an image and a foreground class, averaged over all pairs (Severstal, Clouds).

    A class that is in neither truth nor prediction of an image scores 1 there. Of classes that overlap, num_classes
    is K and all of them count.
    """

    num_classes: int
    name: ClassVar[str] = "mean Dice over images and classes"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The sum of Dice over classes 1 … K-1, and K-1; of classes that overlap over all K, and K."""
        if np.ndim(truth) == 3:
            return self._counts(overlapping.dice(class_matrices(truth, prediction)))
        return self.counts_of_matrix(confusion_matrix(truth, prediction, self.num_classes))

    def counts_of_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """The same from the confusion matrix i64 (K, K) of the image: slides are counted so."""
        return self._counts(overlapping.dice(matrix) if matrix.ndim == 3 else dice(matrix)[1:])

    def counts_of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The same of many: (..., L, K, K) -> (..., 2)."""
        each = dice(matrices)[..., 1:]
        each = np.where(np.isnan(each), 1.0, each).reshape(*each.shape[:-2], -1)
        return np.stack([each.sum(axis=-1), np.full(each.shape[:-1], float(each.shape[-1]))], axis=-1)

    def _counts(self, each: np.ndarray) -> np.ndarray:
        return np.array([np.where(np.isnan(each), 1.0, each).sum(), float(len(each))])


@dataclass(frozen=True)
class PrecisionOverThresholds:
    """The share of the thresholds .50, .55, … .95 that the IoU of an image exceeds, averaged over images (TGS salt).

    Truth and prediction both empty score 1; one of them empty scores 0. The IoU must be above the threshold, not equal.
    """

    name: ClassVar[str] = "mean precision over IoU thresholds"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The precision of the image, and 1."""
        return self.counts_of_matrix(_foreground_matrix(truth, prediction))

    def counts_of_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """The same from the confusion matrix i64 (K, K) of the image: slides are counted so."""
        (_, false), (missed, hits) = _without_classes(matrix)
        union = hits + false + missed
        twentieths = np.arange(10, 20)  # in whole numbers, because 0.55 is no exact float
        return np.array([np.mean(20 * hits > twentieths * union) if union else 1.0, 1.0])

    def counts_of_matrices(self, matrices: np.ndarray) -> np.ndarray:
        """The same of many: (..., L, K, K) -> (..., 2)."""
        hits, wrong = _hits_and_errors(matrices)
        exceeded = 20 * hits[..., None] > np.arange(10, 20) * (hits + wrong)[..., None]
        precision = np.where(hits + wrong > 0, exceeded.mean(axis=-1), 1.0)
        return np.stack([precision, np.ones_like(precision)], axis=-1)


def __getattr__(name: str) -> object:
    """InstancePrecision, which earlier runs name here: kit.scoring.instance_metrics, which imports this file."""
    if name != "InstancePrecision":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kit.scoring.instance_metrics import InstancePrecision

    return InstancePrecision


def check_counts(metric: Metric, counts: Sequence[np.ndarray], ids: Sequence[str]) -> np.ndarray:
    """Return the counts that a metric gave for `ids` as f64 (n, M).

    Raises ValueError where the counts or the score are not what the metric says: of shapes that differ, not finite, or
    with ratio=True and a score that is not first / second.
    """
    shapes = [np.shape(row) for row in counts]
    first = (2,) if metric.ratio else shapes[0]
    for id, shape in zip(ids, shapes, strict=True):
        if shape != first or len(shape) != 1:
            wanted = "(2,), because ratio is True" if metric.ratio else "(M,), the same for every image"
            raise ValueError(f"metric {metric.name}: the counts of {id} have shape {shape}, expected {wanted}")
    counts = np.array(counts, float)
    wrong = ~np.isfinite(counts).all(axis=1) | (metric.ratio & (counts[:, -1] < 0))
    if wrong.any():
        row, rule = int(np.argmax(wrong)), ", the second 0 or more" if metric.ratio else ""
        raise ValueError(
            f"metric {metric.name}: the counts of {ids[row]} are {counts[row].tolist()}, expected finite numbers{rule}"
        )
    _check_score(metric, counts.sum(axis=0))
    return counts


def scores_of_images(metric: Metric, counts: np.ndarray) -> np.ndarray:
    """The score of each image alone: counts f64 (n, M) -> f64 (n,), NaN where there is nothing to score."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(metric.score(counts), float)


def _check_score(metric: Metric, total: np.ndarray) -> None:
    found = np.asarray(metric.score(np.stack([total, total])))
    if found.shape != (2,):
        raise ValueError(
            f"metric {metric.name}: its score of sums of shape (2, {len(total)}) has shape {found.shape}, expected "
            "(2,). Index the sums from the end: sums[..., 0]"
        )
    if metric.ratio and total[1] > 0 and not np.isclose(found[0], total[0] / total[1]):
        raise ValueError(
            f"metric {metric.name}: its score of the sums {total.tolist()} is {found[0]:g}, expected first / second, "
            f"{total[0] / total[1]:g}, because ratio is True. Set ratio = False if the score is another one"
        )


def _without_classes(matrix: np.ndarray) -> np.ndarray:
    """The matrix (2, 2) of background and foreground of one of K classes."""
    if matrix.ndim == 3:  # of classes that overlap: all pairs of a pixel and a class
        return matrix.sum(axis=0)
    if len(matrix) == 2:
        return matrix
    return np.array([[matrix[:1, :1].sum(), matrix[:1, 1:].sum()], [matrix[1:, :1].sum(), matrix[1:, 1:].sum()]])


def _foreground_matrices(matrices: np.ndarray) -> np.ndarray:
    """The matrices (..., 2, 2) of background and foreground of (..., L, K, K)."""
    whole = np.asarray(matrices).sum(axis=-3)
    if whole.shape[-1] == 2:
        return whole
    parts = [[whole[..., :1, :1], whole[..., :1, 1:]], [whole[..., 1:, :1], whole[..., 1:, 1:]]]
    return np.stack([np.stack([part.sum(axis=(-2, -1)) for part in row], axis=-1) for row in parts], axis=-2)


def _hits_and_errors(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = _foreground_matrices(matrices)
    return found[..., 1, 1], found[..., 0, 1] + found[..., 1, 0]


def _foreground_matrix(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The confusion matrix (2, 2) of background and foreground. 255 is a label like others in a label image."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    ignored = (truth == 255) & (truth.dtype != np.int32)
    truth = np.where(ignored, 255, truth > 0).astype(np.uint8)
    return confusion_matrix(truth, (np.asarray(prediction) > 0).astype(np.uint8), 2)
