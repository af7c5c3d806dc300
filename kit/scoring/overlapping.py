"""Scores of classes that may overlap: each class has a matrix of its own, pixels with it and without it.

matrices[k, t, p] counts the pixels with class k (t = 1) or without it that are predicted with it (p = 1) or without it.
The functions have the names and the conventions of confusion.py, and are of all K classes: there is no background.
They take any leading dimensions: (N, K, 2, 2) scores N images at once.
"""

import numpy as np

from kit.scoring import confusion
from kit.scoring.confusion import confusion_matrix, mean_known


def class_matrices(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count the pixels of each class in truth (rows) and prediction (columns): int64 (K, 2, 2).

    truth, prediction: bool or u8 (…, K) of one shape; of u8 255 in truth is ignored. Raises ValueError on other shapes.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape or truth.ndim < 2:
        raise ValueError(f"masks of overlapping classes are (H, W, K), got {truth.shape} and {prediction.shape}")
    return np.stack([confusion_matrix(truth[..., k], prediction[..., k], 2) for k in range(truth.shape[-1])])


def iou(matrices: np.ndarray) -> np.ndarray:
    """Return intersection over union of each class: float64 (..., K); NaN where it is in neither."""
    return confusion.iou(matrices)[..., 1]


def dice(matrices: np.ndarray) -> np.ndarray:
    """Return Dice of each class: float64 (..., K); NaN where it is in neither."""
    return confusion.dice(matrices)[..., 1]


def mean_iou(matrices: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
    """Return the mean IoU over the classes that are in truth or prediction: float64 (...). whole: as in confusion."""
    return mean_known(iou(matrices), None if whole is None else iou(whole))


def mean_dice(matrices: np.ndarray, whole: np.ndarray | None = None) -> np.ndarray:
    """Return the mean Dice over the classes that are in truth or prediction: float64 (...). whole: as in confusion."""
    return mean_known(dice(matrices), None if whole is None else dice(whole))


def accuracies(matrices: np.ndarray) -> np.ndarray:
    """Return the share of each class's true pixels that are predicted: float64 (..., K); NaN where there is none."""
    hits, truth = matrices[..., 1, 1], matrices[..., 1, :].sum(axis=-1)
    return np.divide(hits, truth, out=np.full(truth.shape, np.nan), where=truth > 0)


def pixel_accuracy(matrices: np.ndarray) -> np.ndarray:
    """Return the share of all pairs of a pixel and a class that are predicted right: float64 (...)."""
    return confusion.pixel_accuracy(matrices.sum(axis=-3))


def mean_accuracy(matrices: np.ndarray) -> np.ndarray:
    """Return the mean of the accuracies over the classes in truth: float64 (...)."""
    return mean_known(accuracies(matrices))


def frequency_weighted_iou(matrices: np.ndarray) -> np.ndarray:
    """Return the mean IoU weighted by how many pixels of truth each class has: float64 (...); NaN without any."""
    truth = matrices[..., 1, :].sum(axis=-1)
    weighted, total = truth * np.nan_to_num(iou(matrices)), truth.sum(axis=-1)
    return np.divide(weighted.sum(axis=-1), total, out=np.full(total.shape, np.nan), where=total > 0)[()]


def image_scores(matrices: np.ndarray) -> tuple[float, float, float]:
    """Return mean IoU and mean Dice of an image's matrices (K, 2, 2), and pixel accuracy.

    Means over the classes in truth or prediction; an image without any, predicted empty, scores 1.
    """
    found = mean_iou(matrices), mean_dice(matrices), pixel_accuracy(matrices)
    return tuple(1.0 if np.isnan(score) else float(score) for score in found)
