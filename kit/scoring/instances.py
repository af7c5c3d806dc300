"""Precision of objects over IoU thresholds: Data Science Bowl 2018.

At a threshold t a pair of a true and a predicted object with an IoU above t is a hit. From t = 0.5 on an object is in
one such pair at most. The precision at t is TP / (TP + FP + FN), with the hits TP, the predicted objects without one FP
and the true objects without one FN; the score of an image is the mean over t = .50, .55, … .95.
"""

import numpy as np

from kit.system.objects import components, label_pairs

TWENTIETHS = np.arange(10, 20)  # the thresholds in whole numbers, because 0.55 is no exact float


def instance_precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean precision of the objects of one image over the IoU thresholds .50, .55, … .95, 0..1.

    truth, prediction: label images (H, W) of whole numbers, 0 for the background and a label an object, gaps allowed.
    A pair must have an IoU above the threshold, not equal. Two images without objects score 1; one of them alone 0.
    Raises ValueError on labels below 0, other dtypes and shapes that differ.
    """
    true, predicted, overlap, union = object_overlaps(truth, prediction)
    if not true and not predicted:
        return 1.0
    hits = np.count_nonzero(20 * overlap[:, None] > TWENTIETHS * union[:, None], axis=0)
    return float(np.mean(hits / (true + predicted - hits)))


def object_overlaps(truth: np.ndarray, prediction: np.ndarray) -> tuple[int, int, np.ndarray, np.ndarray]:
    """The number of true and of predicted objects, and of each pair that meets intersection and union, int64 (P,)."""
    first, second, pixels = label_pairs(truth, prediction)
    true, true_at = np.unique(first, return_inverse=True)
    predicted, predicted_at = np.unique(second, return_inverse=True)
    areas = np.bincount(true_at, pixels)[true_at] + np.bincount(predicted_at, pixels)[predicted_at]
    both = (first > 0) & (second > 0)
    overlap = pixels[both]
    union = areas[both].astype(np.int64) - overlap  # sums of pixels are whole numbers far below 2^53
    return int(np.count_nonzero(true)), int(np.count_nonzero(predicted)), overlap, union


def unmatched(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the true and the predicted objects are that have no partner with an IoU above 0.5: bool (H, W) each."""
    first, second, pixels = label_pairs(truth, prediction)
    areas = [np.bincount(np.unique(one, return_inverse=True)[1], pixels) for one in (first, second)]
    places = [np.unique(one, return_inverse=True)[1] for one in (first, second)]
    union = areas[0][places[0]] + areas[1][places[1]] - pixels
    hit = (first > 0) & (second > 0) & (2 * pixels > union)
    return (truth > 0) & ~np.isin(truth, first[hit]), (prediction > 0) & ~np.isin(prediction, second[hit])


def as_labels(mask: np.ndarray) -> np.ndarray:
    """A label image of a mask: int32 as it is; u8 and bool (H, W) by connected components, 255 as background."""
    mask = np.asarray(mask)
    if mask.dtype == np.bool_ or mask.dtype == np.uint8:
        return components((mask > 0) & (mask != 255) if mask.dtype == np.uint8 else mask)
    return mask
