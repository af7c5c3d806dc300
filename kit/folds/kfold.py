"""Seeded K-fold on scikit-learn's splitters: plain, stratified, grouped, and stratified with groups.

Each function returns one int array (n,): `fold[i]` is the fold in which sample i is held out. A *group* (a car, a
patient) is never in two folds: images of one car in training and in validation give a score that new cars will not
reach. No fold is ever empty. The same arguments always give the same folds.
"""

import operator
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kit.folds.balance import stratify_groups
from kit.system.files import counted


def kfold(n: int, k: int, seed: int) -> np.ndarray:
    """Folds (n,) whose sizes differ by one sample at most. Raises ValueError if there are fewer samples than folds."""
    from sklearn.model_selection import KFold  # here: it takes a second, and most commands make no folds

    check_count(k, n)
    return _held_out(KFold(k, shuffle=True, random_state=seed), n)


def stratified_kfold(labels: Sequence, k: int, seed: int) -> np.ndarray:
    """Folds (n,) that share out the samples of each label equally.

    Raises ValueError if a label has fewer samples than there are folds, or a label is missing (NaN, None).
    """
    from sklearn.model_selection import StratifiedKFold

    names, codes = _encode(labels, "labels")
    check_count(k, len(codes))
    counts = np.bincount(codes)
    rare = [f"{name!s} ({count})" for name, count in zip(names, counts, strict=True) if count < k]
    if rare:
        raise ValueError(
            f"{k} folds need {k} samples of each label; too few of: {_join(rare)}. Merge labels (quantile_labels "
            "turns numbers into a few), or make at most as many folds as the rarest label has samples"
        )
    return _held_out(StratifiedKFold(k, shuffle=True, random_state=seed), len(codes), codes)


def group_kfold(groups: Sequence, k: int, seed: int) -> np.ndarray:
    """Folds (n,) that keep each group whole, with the same number of groups in each fold, give or take one.

    Raises ValueError if there are fewer groups than folds, or a group is missing (NaN, None).
    """
    from sklearn.model_selection import GroupKFold

    codes = _encode_groups(groups, k)
    return _held_out(GroupKFold(k, shuffle=True, random_state=seed), len(codes), groups=codes)


def stratified_group_kfold(labels: Sequence, groups: Sequence, k: int, seed: int) -> np.ndarray:
    """Folds (n,) that keep each group whole and share out each label as equally as whole groups allow.

    A label may be rarer than k: some folds then lack it. Raises ValueError if there are fewer groups than folds, or a
    label or group is missing (NaN, None).
    """
    if len(labels) != len(groups):
        raise ValueError(f"got {len(labels)} labels and {len(groups)} groups, expected one of each for every sample")
    group_codes = _encode_groups(groups, k)
    return stratify_groups(_encode(labels, "labels")[1], group_codes, k, seed)


def quantile_labels(values: Sequence[float], groups: Sequence, bins: int) -> np.ndarray:
    """Labels (n,) in 0..bins-1: the quantile of each group's mean of `values`. They balance folds by a number.

    All samples of a group get one label. Raises ValueError for values that are not finite.
    """
    values = np.asarray(values, dtype=float)
    if bad := np.flatnonzero(~np.isfinite(values)).tolist():
        raise ValueError(f"{counted(len(bad), 'value')} not finite, at the positions {_join(map(str, bad))}")
    names, members = _encode(groups, "groups")
    means = np.bincount(members, weights=values) / np.bincount(members)
    ranks = np.argsort(np.argsort(means, kind="stable"), kind="stable")
    return (ranks * bins // len(names))[members]


def check_leaks(groups: Sequence, folds: Sequence[int]) -> None:
    """Raise ValueError listing every group that is in more than one fold."""
    seen: dict = {}
    for group, fold in zip(groups, folds, strict=True):
        seen.setdefault(group, set()).add(int(fold))
    leaks = [f"{group}: folds {', '.join(map(str, sorted(found)))}" for group, found in seen.items() if len(found) > 1]
    if leaks:
        more = f"; and {len(leaks) - 20} more" if len(leaks) > 20 else ""
        raise ValueError(
            f"{counted(len(leaks), 'group')} in more than one fold, so scores would leak: {'; '.join(leaks[:20])}{more}"
        )


def check_count(k: int, n: int) -> None:
    """Raise ValueError unless k is 2 or more and there are at least k samples."""
    if operator.index(k) < 2:
        raise ValueError(f"folds: got {k}, expected 2 or more, so that one is held out and the rest trained on")
    if n < k:
        raise ValueError(f"{k} folds need at least {counted(k, 'sample')}, got {n}")


def _encode_groups(groups: Sequence, k: int) -> np.ndarray:
    """Group numbers (n,), at least k different ones."""
    names, codes = _encode(groups, "groups")
    if len(names) < k and k >= 2:
        possible = f"at most {len(names)} folds are possible" if len(names) > 1 else "no folds are possible"
        raise ValueError(f"{k} folds need at least {k} groups, got {len(names)}: {possible}")
    check_count(k, len(codes))
    return codes


def _encode(values: Sequence, what: str) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values, sorted, and the index of each sample's value among them, int (n,).

    Numbers keep their order as numbers. Raises ValueError for missing values: NumPy would take all NaN for one group.
    """
    values = list(values)
    if bad := np.flatnonzero([pd.api.types.is_scalar(value) and pd.isna(value) for value in values]).tolist():
        raise ValueError(
            f"{len(bad)} of {len(values)} {what} are missing (NaN or None), at the positions {_join(map(str, bad))}. "
            f"Fill them in" + (": a sample that belongs with no other is a group of its own" * (what == "groups"))
        )
    array = np.asarray(values) if values else np.zeros(0, int)
    if array.ndim != 1:  # of tuples; each tuple is one value
        array = np.asarray([repr(value) for value in values])
    return np.unique(array, return_inverse=True)


def _join(items) -> str:
    items = list(items)
    return ", ".join(items[:20]) + (f" and {len(items) - 20} more" if len(items) > 20 else "")


def _held_out(splitter, n: int, labels=None, groups=None) -> np.ndarray:
    folds = np.full(n, -1)
    for fold, (_, held_out) in enumerate(splitter.split(np.zeros(n), labels, groups)):
        folds[held_out] = fold
    return folds
