import numpy as np
import pytest

from kit.folds import contiguous_kfold


def runs_of(folds, order):
    """How many runs of one fold there are along `order`."""
    along = folds[order]
    return 1 + np.count_nonzero(along[1:] != along[:-1])


def test_one_volume_is_cut_into_runs_of_about_one_length_in_its_own_order():
    rng = np.random.default_rng(0)
    for n, k in ((20, 5), (30, 5), (23, 4), (5, 5), (7, 2)):
        places = rng.permutation(n) * 3 - 10  # in any order, with gaps
        folds = contiguous_kfold(places.tolist(), k)
        order = np.argsort(places)
        assert runs_of(folds, order) == k
        assert folds[order][0] == 0
        assert (np.diff(folds[order]) >= 0).all()
        sizes = np.bincount(folds, minlength=k)
        assert sizes.max() - sizes.min() <= 1


def test_several_volumes_are_each_cut_and_the_folds_stay_even():
    rng = np.random.default_rng(1)
    for _ in range(50):
        k, count = int(rng.integers(2, 6)), int(rng.integers(1, 6))
        lengths = rng.integers(k, 15, count)
        volumes = np.repeat([f"v{n}" for n in range(count)], lengths)
        places = np.concatenate([rng.permutation(length) for length in lengths]).astype(float)
        mixed = rng.permutation(len(places))
        folds = contiguous_kfold(places[mixed], k, volumes[mixed].tolist())
        for name in set(volumes):
            own = np.flatnonzero(volumes[mixed] == name)
            along = own[np.argsort(places[mixed][own])]
            assert runs_of(folds, along) == k
        sizes = np.bincount(folds, minlength=k)
        assert sizes.max() - sizes.min() <= 2
        np.testing.assert_array_equal(folds, contiguous_kfold(places[mixed], k, volumes[mixed].tolist()))


def test_short_volumes_leave_no_fold_empty():
    assert sorted(contiguous_kfold([0] * 5, 5, [*"abcde"])) == [0, 1, 2, 3, 4]
    assert np.bincount(contiguous_kfold([0, 1, 0, 1, 0], 5, [*"aabbc"])).tolist() == [1] * 5


@pytest.mark.parametrize(
    ("places", "k", "volumes", "told"),
    [
        ([0, 1, 1, 2], 2, None, "place 1: 2 samples"),
        ([0, 1, 1, 2], 2, [*"abbb"], "place 1 of volume b: 2 samples"),
        ([0, float("nan"), 2], 2, None, "those at the positions 1 are not"),
        ([0, 1], 3, None, "3 folds need at least 3 samples, got 2"),
        ([0, 1], 1, None, "expected 2 or more"),
        ([0, 1, 2], 2, [*"ab"], "expected one of each"),
    ],
)
def test_what_cannot_be_cut_is_refused(places, k, volumes, told):
    with pytest.raises(ValueError, match=told):
        contiguous_kfold(places, k, volumes)
