"""Folds of whole groups that are alike in how much of their images is foreground."""

import numpy as np

from kit.data.check import foreground_shares
from kit.data.dataset import Dataset
from kit.folds.kfold import quantile_labels, stratified_group_kfold


def area_group_kfold(dataset: Dataset, k: int, seed: int, bins: int = 4) -> np.ndarray:
    """Folds (n,) that keep each group whole; small and large foregrounds are shared out equally.

    Reads every mask. bins: a group's mean share of foreground is one of so many quantiles.
    Raises ValueError if there are fewer groups than folds, or a mask cannot be read.
    """
    labels = quantile_labels(foreground_shares(dataset), dataset.groups, bins)
    return stratified_group_kfold(labels, dataset.groups, k, seed)
