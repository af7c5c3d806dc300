"""Stratified groups: never an empty fold, scikit-learn's own folds wherever those are valid, even ones elsewhere."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from kit.folds import check_leaks, group_kfold, kfold, stratified_group_kfold, stratified_kfold
from kit.folds.balance import imbalance


def scikit_learns(labels, groups, k, seed):
    folds = np.full(len(labels), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for fold, (_, held_out) in enumerate(
            StratifiedGroupKFold(k, shuffle=True, random_state=seed).split(labels, labels, groups)
        ):
            folds[held_out] = fold
    return folds


def few_groups(seed):
    """Labels, groups and k: 4 groups and as many folds, or at each fourth seed 3 to 8 groups and at most as many."""
    rng = np.random.default_rng(seed)
    count, k = (4, 4) if seed % 4 else (int(rng.integers(3, 9)), None)
    table = rng.integers(0, 3, (count, int(rng.integers(2, 4))))  # samples of each group and label
    table[table.sum(1) == 0, 0] = 1
    groups = np.repeat(np.arange(count), table.sum(1))
    labels = np.concatenate([np.repeat(np.arange(table.shape[1]), row) for row in table])
    return np.unique(labels, return_inverse=True)[1], groups, k or int(rng.integers(2, count + 1))


def evenness(folds, labels, groups, k):
    """The imbalance of `folds`, and the least of all assignments."""
    counts = np.zeros((groups.max() + 1, labels.max() + 1))
    np.add.at(counts, (groups, labels), 1)
    shares = counts / counts.sum(0)
    fold_of_group = np.array([folds[groups == group][0] for group in range(groups.max() + 1)])
    best = min(imbalance(np.array(one), shares, k) for one in partitions(groups.max() + 1, k))
    return imbalance(fold_of_group, shares, k), best


def partitions(count, k):
    """Every way to put `count` groups into k folds of which none is empty, as lists of fold numbers."""

    def extend(start, used):
        if len(start) == count:
            if used == k:
                yield start
            return
        for fold in range(min(used + 1, k)):
            yield from extend([*start, fold], max(used, fold + 1))

    return extend([], 0)


@pytest.mark.slow
def test_no_fold_is_ever_empty_and_valid_folds_stay_scikit_learns():
    emptied = 0
    for seed in range(1000):
        labels, groups, k = few_groups(seed)
        folds = stratified_group_kfold(labels, groups, k, seed)
        assert np.bincount(folds, minlength=k).min() > 0
        assert folds.max() == k - 1
        check_leaks(groups, folds)
        if np.bincount(labels).max() < k:
            continue  # scikit-learn refuses these
        theirs = scikit_learns(labels, groups, k, seed)
        if np.bincount(theirs, minlength=k).min() > 0:
            np.testing.assert_array_equal(folds, theirs)
        else:
            emptied += 1
    assert emptied >= 5


def test_the_repair_alone_is_valid_and_nearly_as_even_as_can_be(monkeypatch):
    """Whatever scikit-learn gives: here all groups in one fold, then random folds of which some are empty."""
    excess = []
    for seed in range(0, 400, 4):
        labels, groups, k = few_groups(seed)
        rng = np.random.default_rng(seed)

        def poor(labels, groups, k, seed, rng=rng):
            return rng.integers(0, rng.integers(1, k + 1), groups.max() + 1)[groups]

        monkeypatch.setattr("kit.folds.balance._scikit_learns", poor)
        folds = stratified_group_kfold(labels, groups, k, seed)
        assert np.bincount(folds, minlength=k).min() > 0
        check_leaks(groups, folds)
        found, best = evenness(folds, labels, groups, k)
        excess.append(found - best)
    assert np.mean(excess) < 0.06  # the imbalance itself is about 0.3


def test_five_patients_five_folds():
    labels = [0, 0, 1, 1, 1, 0, 2, 0, 0, 0, 2]
    groups = [7, 7, 7, 12, 12, 3, 3, 40, 40, 40, 9]
    for seed in range(200):
        assert np.bincount(stratified_group_kfold(labels, groups, 5, seed)).min() > 0


@pytest.mark.parametrize("labels", [list("abcdefgh"), list(range(8)), [0.5, 1.5, 2.25, 3.0, 4.1, 5.0, 6.0, 7.5]])
def test_labels_that_are_all_rarer_than_the_folds(labels):
    folds = stratified_group_kfold(labels, [1, 1, 2, 2, 3, 3, 4, 4], 4, 0)
    assert np.bincount(folds).tolist() == [2, 2, 2, 2]


def test_numbers_and_texts_of_one_order_give_the_same_folds():
    rng = np.random.default_rng(4)
    groups, labels = rng.integers(10, 30, 120), rng.integers(0, 3, 120)
    expected = stratified_group_kfold(labels, groups, 4, 2)
    np.testing.assert_array_equal(stratified_group_kfold([f"l{x}" for x in labels], groups.astype(str), 4, 2), expected)
    np.testing.assert_array_equal(
        stratified_group_kfold(list(map(int, labels)), list(map(int, groups)), 4, 2), expected
    )


@pytest.mark.parametrize("missing", [float("nan"), None, np.float64("nan")])
def test_missing_groups_and_labels_are_refused_by_place(missing):
    groups = ["a", "b", missing, "c", missing, "d"]
    for split in (
        lambda: group_kfold(groups, 2, 0),
        lambda: stratified_group_kfold([0, 1] * 3, groups, 2, 0),
    ):
        with pytest.raises(ValueError, match=r"2 of 6 groups are missing \(NaN or None\), at the positions 2, 4"):
            split()
    with pytest.raises(ValueError, match=r"2 of 6 labels are missing"):
        stratified_kfold(groups, 2, 0)
    with pytest.raises(ValueError, match=r"2 of 6 labels are missing"):
        stratified_group_kfold(groups, range(6), 2, 0)


def test_too_few_samples_or_groups_say_how_many_folds_are_possible():
    with pytest.raises(ValueError, match="5 folds need at least 5 samples, got 3"):
        kfold(3, 5, 0)
    with pytest.raises(ValueError, match="2 folds need at least 2 samples, got 0"):
        stratified_kfold([], 2, 0)
    with pytest.raises(ValueError, match="6 folds need at least 6 groups, got 3: at most 3 folds are possible"):
        stratified_group_kfold([0] * 9, [1, 2, 3] * 3, 6, 0)
    with pytest.raises(ValueError, match="2 folds need at least 2 groups, got 1: no folds are possible"):
        group_kfold(["one"] * 9, 2, 0)
    with pytest.raises(ValueError, match="got 3 labels and 4 groups"):
        stratified_group_kfold([0] * 3, [1, 2, 3, 4], 2, 0)
    with pytest.raises(ValueError, match=r"too few of: 0.1 \(1\), .* and 10 more\. Merge labels"):
        stratified_kfold(np.arange(1, 31) / 10, 5, 0)


def test_groups_that_are_pairs_are_groups():
    groups = [("case1", 1), ("case1", 2), ("case2", 1), ("case1", 1)]
    folds = group_kfold(groups, 3, 0)
    assert folds[0] == folds[3]
    assert sorted(set(folds.tolist())) == [0, 1, 2]
