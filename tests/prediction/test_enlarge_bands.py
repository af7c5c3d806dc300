"""Enlarging band by band gives what kit.prediction.enlarge gives of the whole map, and NumPy's interpolation."""

import itertools

import numpy as np
import pytest

from kit.prediction.enlarge import enlarge, mask_above
from kit.prediction.enlarge_bands import enlarged_bands, mask_bands
from kit.prediction.rule import Rule

RNG = np.random.default_rng(0)


def cut(levels, rows):
    """Bands of the given numbers of rows, the last taking what is left."""
    starts = np.cumsum([0, *rows])
    starts = [*starts[starts < levels.shape[1]], levels.shape[1]]
    return [levels[:, begin:end] for begin, end in itertools.pairwise(starts)]


def interpolated(levels, scale, size):
    """Each class by np.interp along both sides, at (i + 1/2) / scale - 1/2, f64 (K, H, W)."""
    places = [(np.arange(side) + 0.5) / scale - 0.5 for side in size]
    down = [np.stack([np.interp(places[0], np.arange(len(k)), column) for column in k.T], axis=1) for k in levels]
    return np.stack([np.stack([np.interp(places[1], np.arange(k.shape[1]), row) for row in k]) for k in down])


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rows", [(1,) * 40, (5, 1, 9, 2), (40,), (2, 30)])
def test_bands_of_one_class_are_those_of_the_whole_map(scale, rows):
    levels = RNG.integers(0, 256, (1, 31, 17)).astype(np.uint8)
    size = 31 * scale, 17 * scale
    mask = np.concatenate(list(mask_bands(cut(levels, rows), scale, size, Rule(0.3))))
    np.testing.assert_array_equal(mask, mask_above(levels[0], size, Rule(0.3).cut))
    enlarged = np.concatenate(list(enlarged_bands(cut(levels, rows), scale, size)))
    np.testing.assert_array_equal(enlarged, enlarge(levels[0], size))
    mask = np.concatenate(list(mask_bands(cut(levels, rows), scale, size, Rule())))
    np.testing.assert_array_equal(mask, enlarged >= 128)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("missing", [0, 1])
def test_a_slide_that_is_no_multiple_of_the_scale_is_not_stretched(scale, missing):
    levels = RNG.random((1, 23, 19)).astype(np.float32) * 255
    size = 23 * scale - missing, 19 * scale - missing
    mask = np.concatenate(list(mask_bands(cut(levels, (3, 7, 1)), scale, size, Rule())))
    expected = interpolated(levels, scale, size)[0]
    sure = np.abs(expected - 127.5) > 1e-3
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(mask[sure], expected[sure] >= 127.5)


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_of_several_classes_the_likeliest_is_taken(scale):
    levels = RNG.integers(0, 256, (4, 21, 18)).astype(np.uint8)
    size = 21 * scale, 18 * scale
    mask = np.concatenate(list(mask_bands(cut(levels, (6, 2)), scale, size, Rule())))
    values = interpolated(levels, scale, size)
    ranked = np.sort(values, axis=0)
    sure = ranked[-1] - ranked[-2] > 1e-6
    np.testing.assert_array_equal(mask[sure], values.argmax(axis=0)[sure])
    if scale == 1:
        np.testing.assert_array_equal(mask, levels.argmax(axis=0))


def test_rows_come_as_soon_as_they_can():
    levels = RNG.integers(0, 256, (1, 40, 9)).astype(np.uint8)
    taken = []

    def bands():
        for y in range(0, 40, 10):
            taken.append(y)
            yield levels[:, y : y + 10]

    first = next(mask_bands(bands(), 4, (160, 36), Rule()))
    assert len(taken) == 2  # one ahead, to know the last
    assert len(first) == 10 * 4 - 2
