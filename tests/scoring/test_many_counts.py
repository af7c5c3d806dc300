"""Counts of many confusion matrices at once, against those of each."""

import numpy as np
import pytest

from kit.scoring import DatasetDice, DatasetIoU, MeanDice, MeanDicePerClass, MeanIoU, PrecisionOverThresholds
from kit.scoring.many_counts import counts_of_matrices

METRICS = [MeanDice(), DatasetDice(), DatasetIoU(), PrecisionOverThresholds()]


@pytest.mark.parametrize("metric", [*METRICS, MeanIoU(3), MeanDicePerClass(3)])
def test_counts_of_many_matrices_are_those_of_each(metric):
    rng = np.random.default_rng(10)
    matrices = rng.integers(0, 50, (4, 5, 3, 3)) * (rng.random((4, 5, 3, 3)) < 0.6)
    matrices[0, 0], matrices[0, 1, 1:] = 0, 0
    found = counts_of_matrices(metric, matrices)
    for i, j in np.ndindex(4, 5):
        np.testing.assert_array_equal(found[i, j], metric.counts_of_matrix(matrices[i, j]))


@pytest.mark.parametrize("metric", [*METRICS, MeanIoU(3, overlapping=True), MeanDicePerClass(3)])
def test_counts_of_many_matrices_of_classes_that_overlap(metric):
    rng = np.random.default_rng(11)
    matrices = rng.integers(0, 50, (6, 3, 2, 2)) * (rng.random((6, 3, 2, 2)) < 0.6)
    found = counts_of_matrices(metric, matrices, overlapping=True)
    for i in range(6):
        np.testing.assert_array_equal(found[i], metric.counts_of_matrix(matrices[i]))


def test_a_metric_of_the_users_own_is_counted_matrix_by_matrix():
    class Accuracy:
        name, ratio = "accuracy", True

        def counts_of_matrix(self, matrix):
            return np.array([np.trace(matrix), matrix.sum()])

    matrices = np.arange(24).reshape(2, 3, 2, 2)
    found = counts_of_matrices(Accuracy(), matrices)
    np.testing.assert_array_equal(found[..., 0], matrices.trace(axis1=-2, axis2=-1))
    with pytest.raises(ValueError, match="does not count from a confusion matrix"):
        counts_of_matrices(type("Own", (), {"name": "own"})(), matrices)
