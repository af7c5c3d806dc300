"""Several runs as one: exact means, and the pixels that no weights change."""

import numpy as np
import pytest

from kit.prediction import Rule, blended
from kit.prediction.blended import undecided
from kit.prediction.levels import mean_levels

SIZES = [(9, 13), (9, 13), (12, 20)]


def enlarged_by_hand(level, size):
    """The enlarged levels times 4HW, in whole numbers, by the formula of enlarge.py."""

    def weights(length, enlarged):
        matrix = np.zeros((enlarged, length), object)
        for i in range(enlarged):
            place = min(max((2 * i + 1) * length - enlarged, 0), (length - 1) * 2 * enlarged)
            before, past = divmod(place, 2 * enlarged)
            matrix[i, before] += 2 * enlarged - past
            if past:
                matrix[i, before + 1] += past
        return matrix

    rows, columns = weights(level.shape[0], size[0]), weights(level.shape[1], size[1])
    return rows.dot(level.astype(object)).dot(columns.T)


def mask_by_hand(levels, weights, size, cut):
    """Whether the weighted mean of the enlarged levels, rounded half up, reaches a level."""
    sums = sum(n * enlarged_by_hand(level[0], size) for n, level in zip(weights, levels, strict=True))
    whole = sum(weights) * 4 * size[0] * size[1]
    return np.array((2 * sums + whole) // (2 * whole) >= cut).astype(np.uint8)


def smooth(rng, shape, channels=1):
    return np.sort(rng.integers(0, 256, (channels, *shape)), axis=2).astype(np.uint8)


@pytest.mark.parametrize("size", [(31, 47), (9, 13), (5, 8)])
@pytest.mark.parametrize("runs", [2, 3], ids=["one size", "two sizes"])
def test_a_mask_is_that_of_the_exact_mean(size, runs):
    rng = np.random.default_rng(runs)
    for _ in range(10):
        levels = [smooth(rng, SIZES[r]) for r in range(runs)]
        weights = rng.integers(0, 40, runs)
        weights[0] += 1
        cut = int(rng.integers(60, 200))
        rule = Rule(cut / 256)
        found = rule.mask(blended(levels, weights, size, rule), size)
        np.testing.assert_array_equal(found, mask_by_hand(levels, weights.tolist(), size, cut))


def test_values_on_the_threshold_reach_it_in_maps_of_one_size_and_of_two():
    """127 and 128 in turn: the mean is 127.5 everywhere."""
    one = (127 + np.indices((8, 8)).sum(axis=0) % 2).astype(np.uint8)[None]
    other = 255 - one
    for levels in ([one, other], [one, other, np.full((1, 5, 5), 127, np.uint8), np.full((1, 5, 5), 128, np.uint8)]):
        weights = np.ones(len(levels), int) * 7
        assert Rule().mask(blended(levels, weights, (24, 24), Rule()), (24, 24)).all()


def test_a_blend_of_one_run_is_that_run():
    rng = np.random.default_rng(0)
    for rule in (Rule(), Rule(0.3), Rule(min_area=9), Rule(objects=True, min_area=3)):
        levels = [smooth(rng, (9, 13)), smooth(rng, (9, 13)), smooth(rng, (7, 7))]
        for r in range(3):
            weights = 3 * np.eye(3, dtype=int)[r]
            mask = rule.mask(blended(levels, weights, (31, 47), rule), (31, 47))
            np.testing.assert_array_equal(mask, rule.mask(levels[r], (31, 47)))
    levels = [rng.integers(0, 256, (4, 9, 13)).astype(np.uint8) for _ in range(2)]
    mask = Rule().mask(blended(levels, np.array([0, 2]), (31, 47), Rule()), (31, 47))
    np.testing.assert_array_equal(mask, Rule().mask(levels[1], (31, 47)))


def test_equal_weights_are_the_mean_of_networks():
    """A quarter of a sum is exact in f32, so the mean of four networks has the same mask."""
    rng = np.random.default_rng(1)
    levels = [smooth(rng, (16, 24)) for _ in range(4)]
    found = Rule().mask(blended(levels, np.array([5, 5, 5, 5]), (40, 61), Rule()), (40, 61))
    np.testing.assert_array_equal(found, Rule().mask(mean_levels(levels), (40, 61)))


def test_classes_that_overlap_have_weights_of_their_own():
    rng = np.random.default_rng(2)
    rule = Rule((0.5, 0.3))
    levels = [smooth(rng, shape, 2) for shape in SIZES]
    weights = np.array([[1, 2, 3], [0, 5, 1]])
    mask = rule.mask(blended(levels, weights, (31, 47), rule), (31, 47))
    for k, cut in enumerate((128, 77)):
        own = [level[k : k + 1] for level in levels]
        np.testing.assert_array_equal(mask[..., k], mask_by_hand(own, weights[k].tolist(), (31, 47), cut))


def test_the_likeliest_class_of_the_mean():
    rng = np.random.default_rng(3)
    levels = [rng.integers(0, 256, (3, 8, 8)).astype(np.uint8) for _ in range(2)]
    mean = (levels[0].astype(float) * 3 + levels[1]) / 4
    found = Rule().mask(blended(levels, np.array([3, 1]), (8, 8), Rule()), (8, 8))
    np.testing.assert_array_equal(found, mean.argmax(axis=0))


def test_decided_pixels_are_decided_for_all_weights_and_thresholds():
    rng = np.random.default_rng(4)
    size, low, high = (31, 47), 90, 150
    for _ in range(10):
        levels = [smooth(rng, shape) for shape in SIZES]
        pixels, above = undecided([level[0] for level in levels], size, low, high)
        decided = np.ones(size, bool)
        decided.reshape(-1)[pixels] = False
        assert 0 < decided.mean() < 1
        for _ in range(10):
            rule = Rule(rng.integers(low, high + 1) / 256)
            weights = rng.integers(0, 9, 3) + np.eye(3, dtype=int)[0]
            mask = rule.mask(blended(levels, weights, size, rule), size)
            np.testing.assert_array_equal(mask[decided], above[decided])


@pytest.mark.parametrize("weights", [[1.0, 2.0], [0, 0], [1, -1], [1, 2, 3], [[1, 2], [1, 2]]])
def test_other_weights_are_refused(weights):
    levels = [np.zeros((1, 4, 4), np.uint8)] * 2
    with pytest.raises(ValueError, match="weights are whole numbers, 0 or more, one of each of 2 runs"):
        blended(levels, np.array(weights), (8, 8), Rule())
