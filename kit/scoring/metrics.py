"""The metrics of competitions. A metric counts in each image, and scores sums of these counts.

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
- Pixels with truth 255 are ignored: they are in no count.
- The foreground is every class but 0. An empty truth predicted empty scores 1 in each image; over a data set without
  any foreground too.
- An empty truth with a prediction, and a truth with an empty prediction, score 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from kit.scoring.confusion import confusion_matrix, dice, foreground_scores, mean_iou


class Metric(Protocol):
    """What the report needs of a metric."""

    name: str  # as the report shows it
    ratio: bool  # M = 2, and the score is first / second

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Count in one image: f64 (M,). truth, prediction: u8 (H, W) classes; 255 in truth is ignored."""
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
        return np.array([foreground_scores(_foreground_matrix(truth, prediction))[1], 1.0])


@dataclass(frozen=True)
class DatasetDice:
    """Dice of the foreground over all pixels of all images: every pixel weighs the same (Contrails)."""

    name: ClassVar[str] = "Dice over the data set"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """Twice the hits, and the sizes of truth and prediction together."""
        (_, false), (missed, hits) = _foreground_matrix(truth, prediction)
        return np.array([2.0 * hits, 2.0 * hits + false + missed])


@dataclass(frozen=True)
class DatasetIoU:
    """IoU of the foreground over all pixels of all images."""

    name: ClassVar[str] = "IoU over the data set"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The intersection and the union."""
        (_, false), (missed, hits) = _foreground_matrix(truth, prediction)
        return np.array([float(hits), float(hits + false + missed)])


@dataclass(frozen=True)
class MeanIoU:
    """IoU of each class over all pixels of all images, averaged over the classes, class 0 too (PASCAL VOC)."""

    num_classes: int
    name: ClassVar[str] = "mean IoU over classes"
    ratio: ClassVar[bool] = False

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The confusion matrix, row by row: (K²,)."""
        return confusion_matrix(truth, prediction, self.num_classes).reshape(-1).astype(float)

    def score(self, sums: np.ndarray) -> np.ndarray:
        """(..., K²) -> (...): the mean over the classes in truth or prediction; NaN where there is none."""
        return mean_iou(self._matrices(sums))

    def fix_classes(self, total: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return the score over the classes of `total` (K²,). A class absent from a part keeps the IoU of the total."""
        whole = self._matrices(total)
        return lambda sums: mean_iou(self._matrices(sums), whole)

    def _matrices(self, sums: np.ndarray) -> np.ndarray:
        return np.reshape(sums, (*np.shape(sums)[:-1], self.num_classes, self.num_classes))


@dataclass(frozen=True)
class MeanDicePerClass:
    """Dice of each pair of an image and a foreground class, averaged over all pairs (Severstal, Clouds).

    A class that is in neither truth nor prediction of an image scores 1 there.
    """

    num_classes: int
    name: ClassVar[str] = "mean Dice over images and classes"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The sum of Dice over classes 1 … K-1, and K-1."""
        each = dice(confusion_matrix(truth, prediction, self.num_classes))[1:]
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
        (_, false), (missed, hits) = _foreground_matrix(truth, prediction)
        union = hits + false + missed
        twentieths = np.arange(10, 20)  # in whole numbers, because 0.55 is no exact float
        return np.array([np.mean(20 * hits > twentieths * union) if union else 1.0, 1.0])


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


def _foreground_matrix(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The confusion matrix (2, 2) of background and foreground."""
    truth = np.where(truth == 255, 255, truth > 0).astype(np.uint8)
    return confusion_matrix(truth, (np.asarray(prediction) > 0).astype(np.uint8), 2)
