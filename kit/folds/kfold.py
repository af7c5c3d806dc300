"""Seeded K-fold, on scikit-learn's splitters: plain, stratified, grouped and both. One int array each.

`fold[i]` is the fold in which sample i is held out. A *group* (a car, a patient) is never in two
folds: pictures of one car in training and in validation make a score that new cars will not reach.
Fewer than two folds are a ValueError.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold


def kfold(n: int, k: int, seed: int) -> np.ndarray:
    """Folds (n,) of equal size, within one sample."""
    _check_count(k)
    return _held_out(KFold(k, shuffle=True, random_state=seed), n)


def stratified_kfold(labels: Sequence, k: int, seed: int) -> np.ndarray:
    """Folds (n,) with each label's share alike in all. Raises ValueError if a label has under k samples."""
    _check_count(k)
    counts = dict(zip(*np.unique(labels, return_counts=True), strict=True))
    rare = [f"{label!s} ({count})" for label, count in counts.items() if count < k]
    if rare:
        raise ValueError(
            f"{k} folds need {k} samples of each label; too few of: {', '.join(rare)}. Merge labels or lower k"
        )
    return _held_out(StratifiedKFold(k, shuffle=True, random_state=seed), len(labels), labels)


def group_kfold(groups: Sequence, k: int, seed: int) -> np.ndarray:
    """Folds (n,) that keep each group whole. Raises ValueError if there are fewer groups than folds."""
    _check_groups(groups, k)
    return _held_out(GroupKFold(k, shuffle=True, random_state=seed), len(groups), groups=groups)


def stratified_group_kfold(labels: Sequence, groups: Sequence, k: int, seed: int) -> np.ndarray:
    """Folds (n,) that keep each group whole and each label's share as alike as that allows."""
    _check_groups(groups, k)
    return _held_out(StratifiedGroupKFold(k, shuffle=True, random_state=seed), len(labels), labels, groups)


def quantile_labels(values: Sequence[float], groups: Sequence, bins: int) -> np.ndarray:
    """Labels (n,) in 0..bins-1 by the quantile of each group's mean of `values`, to balance folds by a number."""
    names, members = np.unique(groups, return_inverse=True)
    means = np.bincount(members, weights=np.asarray(values, dtype=float)) / np.bincount(members)
    ranks = np.argsort(np.argsort(means, kind="stable"), kind="stable")
    return (ranks * bins // len(names))[members]


def check_leaks(groups: Sequence, folds: Sequence[int]) -> None:
    """Raise ValueError listing every group that stands in more than one fold."""
    seen: dict = {}
    for group, fold in zip(groups, folds, strict=True):
        seen.setdefault(group, set()).add(int(fold))
    leaks = [f"{group}: folds {', '.join(map(str, sorted(found)))}" for group, found in seen.items() if len(found) > 1]
    if leaks:
        more = f"; and {len(leaks) - 20} more" if len(leaks) > 20 else ""
        raise ValueError(
            f"{len(leaks)} groups stand in more than one fold, so scores would leak: {'; '.join(leaks[:20])}{more}"
        )


def _check_count(k: int) -> None:
    if k < 2:
        raise ValueError(f"folds: got {k}, expected 2 or more, so that one is held out and the rest trained on")


def _check_groups(groups: Sequence, k: int) -> None:
    _check_count(k)
    if len(set(groups)) < k:
        raise ValueError(f"{k} folds need at least {k} groups, got {len(set(groups))}")


def _held_out(splitter, n: int, labels=None, groups=None) -> np.ndarray:
    folds = np.full(n, -1)
    for fold, (_, held_out) in enumerate(splitter.split(np.zeros(n), labels, groups)):
        folds[held_out] = fold
    return folds
