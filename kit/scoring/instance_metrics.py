"""The metrics of competitions with a row an object: see kit.scoring.instances for the scores of an image.

Masks are label images int32 (H, W), or Segments, whose objects have a class each. Of masks u8 and bool (H, W) the
objects are the connected components, and pixels with truth 255 in u8 are background in both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kit.scoring.instances import as_labels, instance_f_beta, instance_precision, instance_precision_per_class
from kit.scoring.matching import THRESHOLDS
from kit.scoring.metrics import score_ratio
from kit.system.segments import Segments


@dataclass(frozen=True)
class InstancePrecision:
    """The precision of objects over the IoU thresholds .50, .55, … .95 in each image, averaged over images (DSB 2018).

    Where objects have classes a hit is a pair of one class (iMaterialist 2019).
    """

    name: ClassVar[str] = "mean precision of objects over IoU thresholds"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray | Segments, prediction: np.ndarray | Segments) -> np.ndarray:
        """The precision of the image, and 1."""
        return np.array([instance_precision(*object_masks(truth, prediction)), 1.0])


@dataclass(frozen=True)
class InstanceFBeta:
    """F-beta of objects over IoU thresholds in each image, averaged over images (Airbus Ship Detection 2018: F2).

    beta: how much a missed object weighs against an added one. thresholds: of IoU, 0.5 or more;
    InstanceFBeta(1, (0.5,)) is the mean F1 at 0.5. An image without objects scores 1 where none is predicted, else 0.
    """

    beta: float = 2.0
    thresholds: tuple[float, ...] = THRESHOLDS
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    @property
    def name(self) -> str:
        """As the report shows it."""
        at = "over IoU thresholds" if len(self.thresholds) > 1 else f"at IoU {self.thresholds[0]:g}"
        return f"mean F{self.beta:g} of objects {at}"

    def counts(self, truth: np.ndarray | Segments, prediction: np.ndarray | Segments) -> np.ndarray:
        """F-beta of the image, and 1."""
        return np.array([instance_f_beta(*object_masks(truth, prediction), self.beta, self.thresholds), 1.0])


@dataclass(frozen=True)
class InstancePrecisionPerClass:
    """The precision of the objects of each class over IoU thresholds, averaged over the classes.

    Of a class it is the mean over the images in which truth or prediction hold it. num_classes: K; classes are 0 to
    K - 1, where a background has no objects; objects without a class are of class 1. A class that no image holds is
    left out.
    """

    num_classes: int
    name: ClassVar[str] = "mean precision of objects over classes and IoU thresholds"
    ratio: ClassVar[bool] = False

    def counts(self, truth: np.ndarray | Segments, prediction: np.ndarray | Segments) -> np.ndarray:
        """Of each class the precision, and 1 where it is there, else 0 and 0: (2 K,), all precisions first."""
        each = instance_precision_per_class(*object_masks(truth, prediction), self.num_classes)
        is_there = ~np.isnan(each)
        return np.concatenate([np.where(is_there, each, 0.0), is_there])

    def score(self, sums: np.ndarray) -> np.ndarray:
        """(..., 2 K) -> (...): the mean over the classes that are there; NaN where there is none."""
        return mean_of_classes(self.per_class(sums))

    def per_class(self, sums: np.ndarray) -> np.ndarray:
        """(..., 2 K) -> (..., K): of each class the mean over its images; NaN where no image holds it."""
        total, images = np.split(np.asarray(sums, float), 2, axis=-1)
        return np.divide(total, images, out=np.full(total.shape, np.nan), where=images > 0)

    def fix_classes(self, total: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return the score over the classes of `total` (M,). A class absent from a part keeps its own of it."""
        whole = self.per_class(total)
        return lambda sums: mean_of_classes(self.per_class(sums), whole)


def mean_of_classes(each: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
    """The mean over the last axis without NaN; NaN where there is nothing else. whole: (K,) in the place of NaN."""
    each = np.asarray(each) if whole is None else np.where(np.isnan(each), whole, each)
    is_there = ~np.isnan(each)
    count = is_there.sum(axis=-1)
    total = np.where(is_there, each, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)[()]


def object_masks(
    truth: np.ndarray | Segments, prediction: np.ndarray | Segments
) -> tuple[np.ndarray | Segments, np.ndarray | Segments]:
    """The objects of two masks: label images, or Segments. Pixels with truth 255 in u8 are background in both."""
    if isinstance(truth, Segments) or isinstance(prediction, Segments):
        return truth, prediction
    ignored = truth == 255 if truth.dtype == np.uint8 else None
    if ignored is not None and ignored.any():
        prediction = np.where(ignored, prediction.dtype.type(0), prediction)
    return as_labels(truth), as_labels(prediction)
