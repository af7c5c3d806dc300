"""Shares out whole groups over folds so that every fold has each label in about the same share, and no fold is empty.

scikit-learn's StratifiedGroupKFold decides for each group in turn which fold it evens out most, and so can leave a
fold empty: in 89 of 2,393 random splits of 5 to 8 groups. Its folds are used wherever all of them hold something.
Elsewhere its folds of further seeds are tried, and its own repaired by moving groups into the empty folds; the most
even of these is used.
"""

import warnings

import numpy as np

TRIES = 20  # further seeds


def stratify_groups(labels: np.ndarray, groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Folds (n,) of whole groups, none empty. labels, groups: int (n,) from 0, every number used, at least k groups."""
    first = _scikit_learns(labels, groups, k, seed)
    if not _empty(first, k).size:
        return first
    shares = _shares(labels, groups)
    candidates = [_fill_empty(first, groups, shares, k)]
    for other in np.random.SeedSequence(seed).generate_state(TRIES):
        folds = _scikit_learns(labels, groups, k, int(other))
        if not _empty(folds, k).size:
            candidates.append(folds)
    return min(candidates, key=lambda folds: imbalance(_of_groups(folds, groups), shares, k))


def imbalance(fold_of_group: np.ndarray, shares: np.ndarray, k: int) -> float:
    """The deviation over folds of a label's share, mean over labels: 0 is perfect. It is StratifiedGroupKFold's own.

    fold_of_group: int (G,). shares: f64 (G, L), of all samples of a label those in each group.
    """
    held = np.zeros((k, shares.shape[1]))
    np.add.at(held, fold_of_group, shares)
    return float(held.std(axis=0).mean())


def _scikit_learns(labels: np.ndarray, groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """StratifiedGroupKFold's folds, which may leave one empty. Where every label is rarer than k, of sizes alone."""
    from sklearn.model_selection import StratifiedGroupKFold  # here: it takes a second

    if np.bincount(labels).max() < k:  # scikit-learn refuses
        labels = np.zeros_like(labels)
    folds = np.full(len(labels), -1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # some folds lack it: whole groups allow no more
        splitter = StratifiedGroupKFold(k, shuffle=True, random_state=seed)
        for fold, (_, held_out) in enumerate(splitter.split(labels, labels, groups)):
            folds[held_out] = fold
    return folds


def _shares(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Of all samples of a label, the share in each group: f64 (G, L)."""
    counts = np.zeros((groups.max() + 1, labels.max() + 1))
    np.add.at(counts, (groups, labels), 1)
    return counts / counts.sum(axis=0)


def _empty(folds: np.ndarray, k: int) -> np.ndarray:
    return np.flatnonzero(np.bincount(folds, minlength=k) == 0)


def _of_groups(folds: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The fold of each group, int (G,)."""
    found = np.zeros(groups.max() + 1, int)
    found[groups] = folds
    return found


def _fill_empty(folds: np.ndarray, groups: np.ndarray, shares: np.ndarray, k: int) -> np.ndarray:
    """Move into each empty fold the group whose move leaves the folds most even, of those that are not alone."""
    fold_of_group = _of_groups(folds, groups)
    for empty in _empty(folds, k):
        sizes = np.bincount(fold_of_group, minlength=k)
        trials = []
        for group in np.flatnonzero(sizes[fold_of_group] > 1):
            trial = fold_of_group.copy()
            trial[group] = empty
            trials.append((imbalance(trial, shares, k), trial))
        fold_of_group = min(trials, key=lambda pair: pair[0])[1]
    return fold_of_group[groups]
