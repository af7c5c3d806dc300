"""Boundary F1: how well outlines are drawn, which IoU, a count of areas, hardly tells.

Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013,
averaged as in Badrinarayanan, Kendall and Cipolla, "SegNet", PAMI 2017, section 4: of each class in an image's truth,
precision is the share of the predicted outline that has some true outline of that class within the tolerance, recall
the share of the true outline that has some predicted one. Their harmonic mean is the F1 of the class. Classes in the
image's truth are averaged, then images. The tolerance is 0.75 % of the image's diagonal.

Fixed here, as the papers leave it open:
- The outline of a class is its pixels that have a neighbour of another label above, below, left or right. The edge of
  the picture is no outline. Void is a label of its own, for in PASCAL VOC it is drawn around every object.
- A predicted outline where truth is void counts neither as right nor as wrong, but a true outline may find it.
- Of an empty outline all of it is found: a class that fills truth and prediction scores 1.
"""

import cv2
import numpy as np


def boundary_f1(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, tolerance: float = 0.0075, ignore_index: int = 255
) -> np.ndarray:
    """F1 of the outlines of one image: f64 (K,), NaN for classes that its truth does not have.

    truth, prediction: u8 (H, W) of one shape; tolerance: a share of the diagonal, up to and including it.
    Raises ValueError on other dtypes or shapes, and on truth outside 0 … K-1 that is not `ignore_index`.
    """
    if truth.dtype != np.uint8 or prediction.dtype != np.uint8 or truth.ndim != 2 or truth.shape != prediction.shape:
        raise ValueError(
            "truth and prediction are uint8 (H, W) of one shape, "
            f"got {truth.dtype} {truth.shape} and {prediction.dtype} {prediction.shape}"
        )
    present = np.setdiff1d(truth, [ignore_index])
    if (unknown := present[present >= num_classes]).size:
        raise ValueError(f"truth holds {unknown.tolist()}, expected 0 to {num_classes - 1}, or {ignore_index}")
    disc = _disc(tolerance, truth.shape)
    true_edges, predicted_edges = _edges(truth), _edges(prediction)
    scored = truth != ignore_index
    scores = np.full(num_classes, np.nan)
    for label in present:
        true = true_edges & (truth == label)
        predicted = predicted_edges & (prediction == label)
        precision = _share_near(predicted & scored, true, disc)
        recall = _share_near(true, predicted, disc)
        scores[label] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def mean_boundary_f1(scores: np.ndarray) -> float:
    """The mean over images of each one's mean over the classes in its truth; scores (N, K) of boundary_f1.

    An image without a class in its truth is left out; NaN if that leaves none.
    """
    counts = (~np.isnan(scores)).sum(axis=1)
    sums = np.nansum(scores, axis=1)
    return float((sums[counts > 0] / counts[counts > 0]).mean()) if counts.any() else float("nan")


def _edges(labels: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour of another label above, below, left or right: bool (H, W)."""
    edges = np.zeros(labels.shape, dtype=bool)
    rows, columns = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edges[1:] |= rows
    edges[:-1] |= rows
    edges[:, 1:] |= columns
    edges[:, :-1] |= columns
    return edges


def _disc(tolerance: float, shape: tuple[int, int]) -> np.ndarray:
    """The offsets within `tolerance` of the diagonal, u8 (2 r + 1, 2 r + 1): whole numbers, so nothing is rounded.

    A distance transform would do for any radius, but gives float32; that of a photograph's tolerance is 4 to 17 pixels.
    """
    squared = tolerance**2 * (shape[0] ** 2 + shape[1] ** 2) * (1 + 1e-9)  # 0.0075² × 400² is 9, a hair less in floats
    radius = int(squared**0.5)
    offsets = np.arange(-radius, radius + 1) ** 2
    return (offsets[:, None] + offsets <= squared).astype(np.uint8)


def _share_near(edges: np.ndarray, others: np.ndarray, disc: np.ndarray) -> float:
    """The share of the pixels `edges` that have one of `others` within the disc; 1 of none."""
    total = np.count_nonzero(edges)
    near = cv2.dilate(others.astype(np.uint8), disc)
    return np.count_nonzero(edges & (near > 0)) / total if total else 1.0
