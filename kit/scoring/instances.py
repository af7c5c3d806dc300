"""Scores of the objects of one image over IoU thresholds.

At a threshold t a pair of a true and a predicted object with an IoU above t is a hit (see kit.scoring.matching). TP are
the hits, FP the predicted objects without one, FN the true objects without one. An image scores the mean over
t = .50, .55, … .95 of

    precision   TP / (TP + FP + FN)                                  Data Science Bowl 2018, Sartorius 2021
    F-beta      (1 + b²) TP / ((1 + b²) TP + b² FN + FP)             Airbus Ship Detection 2018: b = 2

Without true and predicted objects both are 1. Objects may have a class each (kit.system.segments.Segments): then a hit
is a pair of one class, as in iMaterialist 2019.
"""

from collections.abc import Sequence

import numpy as np

from kit.scoring.matching import THRESHOLDS, match
from kit.system.objects import components
from kit.system.segments import Segments, as_segments


def instance_precision(
    truth: np.ndarray | Segments, prediction: np.ndarray | Segments, thresholds: Sequence[float] = THRESHOLDS
) -> float:
    """Mean precision of the objects of one image over the IoU thresholds .50, .55, … .95, 0..1.

    truth, prediction: label images (H, W) of whole numbers, 0 for the background and a label an object, gaps allowed;
    or Segments. A pair must have an IoU above the threshold, not equal. Two images without objects score 1; one of
    them alone 0. Raises ValueError on labels below 0, other dtypes, shapes that differ, and thresholds below 0.5.
    """
    return float(np.mean(instance_precisions(truth, prediction, thresholds)))


def instance_precisions(
    truth: np.ndarray | Segments, prediction: np.ndarray | Segments, thresholds: Sequence[float] = THRESHOLDS
) -> np.ndarray:
    """The precision at each threshold, f64 (t,). Arguments and errors are those of `instance_precision`."""
    found = match(truth, prediction)
    hits = found.hits(thresholds)
    return _ratio(hits, len(found.truth) + len(found.prediction) - hits)


def instance_f_beta(
    truth: np.ndarray | Segments,
    prediction: np.ndarray | Segments,
    beta: float = 2.0,
    thresholds: Sequence[float] = THRESHOLDS,
) -> float:
    """Mean F-beta of the objects of one image over the IoU thresholds, 0..1; beta 2 is Airbus's F2.

    beta: how much a missed object weighs against an added one. The others are those of `instance_precision`.
    """
    found = match(truth, prediction)
    hits, weight = found.hits(thresholds), beta * beta
    objects = weight * len(found.truth) + len(found.prediction)  # b² (TP + FN) + TP + FP
    return float(np.mean(_ratio((1 + weight) * hits, np.full(len(hits), objects))))


def instance_precision_per_class(
    truth: np.ndarray | Segments,
    prediction: np.ndarray | Segments,
    num_classes: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> np.ndarray:
    """The same as `instance_precision` of each class by itself: f64 (K,), NaN where a class is in neither.

    num_classes: K; classes are 0 to K - 1, and label images without classes are of class 1. One pass over the pixels
    serves all classes. Raises ValueError for other classes too.
    """
    truth, prediction = as_segments(truth), as_segments(prediction)
    found = match(truth, prediction)
    true, predicted = truth.classes_of(found.truth), prediction.classes_of(found.prediction)
    objects = class_counts(true, num_classes) + class_counts(predicted, num_classes)
    alike = true[found.true_at] == predicted[found.predicted_at]
    hits = [class_counts(true[found.true_at[alike & found.is_hit(t)]], num_classes) for t in thresholds]
    precisions = np.stack([_ratio(each, objects - each) for each in hits], axis=1).mean(axis=1)
    return np.where(objects > 0, precisions, np.nan)


def class_counts(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """How many objects are of each class: i64 (K,). Raises ValueError for classes that are not 0 to K - 1."""
    if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
        wrong = classes.min() if classes.min() < 0 else classes.max()
        raise ValueError(f"an object is of class {wrong}, expected 0 to {num_classes - 1} (num_classes={num_classes})")
    return np.bincount(classes, minlength=num_classes)


def as_labels(mask: np.ndarray) -> np.ndarray:
    """A label image of a mask: int32 as it is; u8 and bool (H, W) by connected components, 255 as background."""
    mask = np.asarray(mask)
    if mask.dtype == np.bool_ or mask.dtype == np.uint8:
        return components((mask > 0) & (mask != 255) if mask.dtype == np.uint8 else mask)
    return mask


def _ratio(hits: np.ndarray, of: np.ndarray) -> np.ndarray:
    """hits / of, 1 where there are no objects at all."""
    return np.divide(hits, of, out=np.ones(np.shape(hits)), where=of > 0)
