import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from python_path import python_path
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

from kit.folds.kfold import check_leaks, group_kfold, kfold, quantile_labels, stratified_group_kfold, stratified_kfold

N, K = 103, 5
LABELS = np.random.default_rng(0).permutation([0] * 60 + [1] * 33 + [2] * 10).tolist()
GROUPS = [f"car{number}" for number in np.random.default_rng(1).integers(0, 31, N)]

SPLITS = {
    "plain": (lambda seed: kfold(N, K, seed), KFold),
    "stratified": (lambda seed: stratified_kfold(LABELS, K, seed), StratifiedKFold),
    "grouped": (lambda seed: group_kfold(GROUPS, K, seed), GroupKFold),
    "both": (lambda seed: stratified_group_kfold(LABELS, GROUPS, K, seed), StratifiedGroupKFold),
}


@pytest.mark.parametrize(("split", "splitter"), SPLITS.values(), ids=SPLITS)
def test_folds_are_scikit_learns_and_follow_the_seed(split, splitter):
    folds = split(7)
    groups = GROUPS if "Group" in splitter.__name__ else None
    for fold, (_, held_out) in enumerate(splitter(K, shuffle=True, random_state=7).split(LABELS, LABELS, groups)):
        np.testing.assert_array_equal(np.flatnonzero(folds == fold), held_out)
    assert sorted(set(folds.tolist())) == list(range(K))
    np.testing.assert_array_equal(folds, split(7))
    assert (folds != split(8)).any()


def test_plain_and_stratified_folds_are_of_equal_size():
    assert sorted(np.bincount(kfold(N, K, 0))) == [20, 20, 21, 21, 21]
    folds = stratified_kfold(LABELS, K, 0)
    for label in range(3):
        counts = np.bincount(folds[np.array(LABELS) == label], minlength=K)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("split", ["grouped", "both"])
def test_groups_stay_whole(split):
    folds = SPLITS[split][0](3)
    for group in set(GROUPS):
        assert len({fold for fold, own in zip(folds, GROUPS, strict=True) if own == group}) == 1
    check_leaks(GROUPS, folds)


def test_stratified_groups_are_more_alike_than_groups_alone():
    def spread(folds):
        shares = [np.mean(np.array(LABELS)[folds == fold] == 0) for fold in range(K)]
        return max(shares) - min(shares)

    both = [spread(stratified_group_kfold(LABELS, GROUPS, K, seed)) for seed in range(10)]
    alone = [spread(group_kfold(GROUPS, K, seed)) for seed in range(10)]
    assert np.mean(both) < np.mean(alone) / 2


@pytest.mark.slow
def test_folds_do_not_depend_on_the_process():
    """Sets of strings come in another order in every process; folds must not."""
    code = "import test_folds; print([split(5).tolist() for split, _ in test_folds.SPLITS.values()])"
    here = Path(__file__).parent  # and its parent, of which this file imports
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": python_path(here, here.parent)}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert found.strip() == str([split(5).tolist() for split, _ in SPLITS.values()])


def test_too_few_of_something_is_told():
    with pytest.raises(ValueError, match=r"too few of: rare \(2\), scarce \(1\)"):
        stratified_kfold(["common"] * 20 + ["rare"] * 2 + ["scarce"], 5, 0)
    for split in (lambda: group_kfold(list("aabbcc"), 4, 0), lambda: stratified_group_kfold([0] * 6, "aabbcc", 4, 0)):
        with pytest.raises(ValueError, match="4 folds need at least 4 groups, got 3"):
            split()


def test_one_fold_is_refused():
    for split in (
        lambda: kfold(6, 1, 0),
        lambda: stratified_kfold("aabbcc", 1, 0),
        lambda: group_kfold("aabbcc", 1, 0),
        lambda: stratified_group_kfold([0] * 6, "aabbcc", 1, 0),
    ):
        with pytest.raises(ValueError, match="folds: got 1, expected 2 or more"):
            split()


def test_quantile_labels_split_groups_evenly_by_their_mean():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(32), 16))
    means = rng.permutation(np.linspace(0.05, 0.6, 32))
    labels = quantile_labels(means[groups] + rng.normal(0, 1e-4, groups.size), groups, bins=4)
    assert np.bincount(labels).tolist() == [128] * 4  # eight groups of sixteen in each
    by_group = [set(labels[groups == group].tolist()) for group in range(32)]
    expected = np.searchsorted(np.quantile(means, [0.25, 0.5, 0.75]), means)
    assert by_group == [{label} for label in expected]


def test_quantile_labels_balance_the_folds():
    rng = np.random.default_rng(1)
    groups = np.repeat([f"car{i}" for i in range(40)], 4)
    values = np.repeat(rng.lognormal(0, 1, 40), 4)
    labels = quantile_labels(values, groups, bins=4)

    def worst(folds_of):
        return np.mean([np.ptp([values[folds_of(seed) == k].mean() for k in range(4)]) for seed in range(10)])

    balanced = worst(lambda seed: stratified_group_kfold(labels, groups, 4, seed))
    assert balanced < worst(lambda seed: group_kfold(groups, 4, seed))


def test_quantile_labels_with_ties_and_few_groups():
    assert sorted(quantile_labels([1.0] * 4, list("abcd"), 2).tolist()) == [0, 0, 1, 1]
    assert quantile_labels([3, 3, 1, 1], ["x", "x", "y", "y"], 4).tolist() == [2, 2, 0, 0]
    assert quantile_labels([1] * 5 + [2], [*"xxxxx", "y"], 2).tolist() == [0] * 5 + [1]  # by the mean, not the sum
