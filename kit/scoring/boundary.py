"""Boundary F1: how well outlines are drawn. IoU counts areas and hardly shows it.

Csurka, Larlus and Perronnin, "What is a good evaluation measure for semantic segmentation?", BMVC 2013, averaged as in
Badrinarayanan, Kendall and Cipolla, "SegNet", PAMI 2017, section 4. For each class in the truth of an image, precision
is the share of the predicted outline that has a true outline of that class within the tolerance. Recall is the share
of the true outline that has a predicted one. Their harmonic mean is the F1 of the class. It is averaged over the
classes in the image's truth, then over images. The tolerance is 0.75 % of the image's diagonal.

The papers leave these points open. Here:
- The outline of a class is its pixels that have a neighbour of another label above, below, left or right. The edge of
  the image is no outline. Void is a label of its own, because PASCAL VOC draws it around every object.
- A predicted outline where truth is void counts neither as right nor as wrong. A true outline may still find it.
- An empty outline counts as found whole: a class that fills truth and prediction scores 1.
"""

import numpy as np

from kit.scoring.outlines import label_edges, squared_distances, where_labels_change

TOLERANCE = 0.0075  # of the diagonal


def boundary_f1(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, tolerance: float = TOLERANCE, ignore_index: int = 255
) -> np.ndarray:
    """F1 of the outlines of one image: f64 (K,), NaN for classes that its truth does not have.

    truth, prediction: u8 (H, W) of one shape. tolerance: a share of the diagonal; a distance equal to it still counts.
    Raises ValueError on other dtypes or shapes, and on truth outside 0 … K-1 that is not `ignore_index`.
    """
    if truth.dtype != np.uint8 or prediction.dtype != np.uint8 or truth.ndim != 2 or truth.shape != prediction.shape:
        raise ValueError(
            "truth and prediction are uint8 (H, W) of one shape, "
            f"got {truth.dtype} {truth.shape} and {prediction.dtype} {prediction.shape}"
        )
    squared = tolerance**2 * (truth.shape[0] ** 2 + truth.shape[1] ** 2) * (1 + 1e-9)  # 0.0075² × 400² is 9, or less
    box = where_labels_change(truth, prediction)  # a class that fills all the rest has no outline there
    corner, truth, prediction = truth[:1, :1], truth[box], prediction[box]
    edges = [label_edges(mask) for mask in (truth, prediction)]
    labels = [mask[*points.T] for mask, points in zip((truth, prediction), edges, strict=True)]
    present = np.setdiff1d(np.union1d(labels[0], corner), [ignore_index])  # a label without an edge is the only one
    if (unknown := present[present >= num_classes]).size:
        raise ValueError(f"truth holds {unknown.tolist()}, expected 0 to {num_classes - 1}, or {ignore_index}")
    counted = truth[*edges[1].T] != ignore_index
    scores = np.full(num_classes, np.nan)
    for label in present:
        true, own = edges[0][labels[0] == label], labels[1] == label
        precision = _share_near(edges[1][own & counted], true, squared)
        recall = _share_near(true, edges[1][own], squared)
        scores[label] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def mean_boundary_f1(scores: np.ndarray) -> float:
    """Return the mean over images of the mean over the classes in an image's truth. scores: (N, K) of boundary_f1.

    An image without a class in its truth is left out. The result is NaN where no image is left.
    """
    counts = (~np.isnan(scores)).sum(axis=1)
    sums = np.nansum(scores, axis=1)
    return float((sums[counts > 0] / counts[counts > 0]).mean()) if counts.any() else float("nan")


def _share_near(edges: np.ndarray, others: np.ndarray, squared: float) -> float:
    """The share of the pixels `edges` with one of `others` within a squared distance; 1 where there are no edges."""
    near = np.count_nonzero(squared_distances(edges, others, squared) <= squared)
    return near / len(edges) if len(edges) else 1.0
