"""A metric's counts of many confusion matrices at once: tuning and blending score thousands of masks of each image."""

import numpy as np

from kit.scoring.metrics import Metric


def counts_of_matrices(metric: Metric, matrices: np.ndarray, overlapping: bool = False) -> np.ndarray:
    """The counts f64 (..., M) of matrices i64 (..., K, K); of overlapping classes (..., K, 2, 2).

    Kit's metrics have counts_of_matrices, which takes all of them together. Of others counts_of_matrix is called for
    each. Raises ValueError where the metric does not count from a confusion matrix.
    """
    matrices = np.asarray(matrices)
    inner = 3 if overlapping else 2
    together = getattr(metric, "counts_of_matrices", None)
    if together is not None:
        return together(matrices if overlapping else matrices[..., None, :, :])
    if not hasattr(metric, "counts_of_matrix"):
        raise ValueError(f"metric {metric.name} does not count from a confusion matrix: it has no counts_of_matrix")
    flat = matrices.reshape(-1, *matrices.shape[-inner:])
    counts = np.array([np.asarray(metric.counts_of_matrix(one), float) for one in flat])
    return counts.reshape(*matrices.shape[:-inner], counts.shape[-1])
