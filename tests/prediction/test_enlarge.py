"""Enlarging: against torch's `interpolate` in float64, and against fractions where pixels lie on the threshold."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kit.prediction.enlarge import edges_above, enlarge, mask_above
from kit.submission import rle


def encode_above(values, size, threshold, order="C"):
    return rle.encode_edges(edges_above(values, size, threshold, order), size[0] * size[1])


SIZES = [(1, 1), (1, 40), (40, 1), (7, 9), (13, 8), (16, 16), (5, 64), (33, 130)]
ENLARGED = [(1, 1), (1, 97), (97, 1), (13, 17), (32, 32), (131, 97), (64, 200)]


def smooth(rng, size):
    """A map with a few hills, as networks give them."""
    hills = rng.normal(size=(1, 1, 1 + size[0] // 6, 1 + size[1] // 6)).astype(np.float32)
    return F.interpolate(torch.from_numpy(hills), size=size, mode="bicubic")[0, 0].numpy()


def interpolated(values, size):
    values = torch.from_numpy(np.ascontiguousarray(values))[None, None].double()
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def exactly(values, size):
    """The enlarged map as fractions: the definition, pixel by pixel."""

    def place(pixel, length, enlarged):
        at = max(Fraction(2 * pixel + 1, 2) * length / enlarged - Fraction(1, 2), Fraction(0))
        before = min(int(at), length - 1)
        return before, min(before + 1, length - 1), at - before

    rows = [place(y, values.shape[0], size[0]) for y in range(size[0])]
    columns = [place(x, values.shape[1], size[1]) for x in range(size[1])]
    v = [[Fraction(float(value)) for value in row] for row in values]
    return [
        [
            (1 - down) * ((1 - along) * v[top][left] + along * v[top][right])
            + down * ((1 - along) * v[bottom][left] + along * v[bottom][right])
            for left, right, along in columns
        ]
        for top, bottom, down in rows
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("enlarged", ENLARGED)
def test_masks_and_encodings_are_those_of_torchs_interpolation(size, enlarged):
    rng = np.random.default_rng(sum(size) + sum(enlarged))
    for values in (rng.normal(size=size).astype(np.float32), smooth(rng, size), smooth(rng, size[::-1]).T):
        for threshold in (0.0, 0.3):
            expected = interpolated(values, enlarged) >= np.float32(threshold)
            mask = mask_above(values, enlarged, threshold)
            assert mask.dtype == np.uint8
            np.testing.assert_array_equal(mask, expected)
            for order in "CF":
                assert encode_above(values, enlarged, threshold, order) == rle.encode(expected, order)


@pytest.mark.parametrize("size", SIZES[3:6])
@pytest.mark.parametrize("enlarged", [(1, 5), (13, 17), (21, 10), (32, 32)])
def test_pixels_on_the_threshold_are_found_exactly(size, enlarged):
    """Levels of few values meet the threshold often: 0 and 255 halfway, 127 and 128 too."""
    rng = np.random.default_rng(0)
    ties = 0
    for values in ((0, 255), (127, 128), (0, 51, 102, 153, 204, 255), range(256)):
        levels = rng.choice(np.array(values, np.uint8), size)
        exact = exactly(levels, enlarged)
        ties += sum(value == Fraction(255, 2) for row in exact for value in row)
        expected = np.array([[value >= Fraction(255, 2) for value in row] for row in exact])
        np.testing.assert_array_equal(mask_above(levels, enlarged, 127.5), expected)
        rounded = np.array([[int(value + Fraction(1, 2)) for value in row] for row in exact])
        np.testing.assert_array_equal(enlarge(levels, enlarged), rounded)
        for order in "CF":
            assert encode_above(levels, enlarged, 127.5, order) == rle.encode(expected, order)
    assert ties or (size, enlarged) != ((16, 16), (32, 32))


@pytest.mark.parametrize("threshold", [0.5, 100.0, 127.5, 128.0, 255.0])
def test_masks_are_the_enlarged_levels_cut(threshold):
    """For thresholds of whole levels the rounded map cannot say; halves can."""
    rng = np.random.default_rng(1)
    levels = rng.integers(0, 256, (40, 60), dtype=np.uint8)
    expected = interpolated(levels, (131, 197)) >= threshold
    np.testing.assert_array_equal(mask_above(levels, (131, 197), threshold), expected)
    if threshold % 1 == 0.5:
        np.testing.assert_array_equal(enlarge(levels, (131, 197)) >= threshold, expected)


def test_plain_and_single_values():
    for value, expected in ((0, ""), (127, ""), (128, "1 20"), (255, "1 20")):
        assert encode_above(np.full((2, 3), value, np.uint8), (4, 5), 127.5) == expected
    spot = np.zeros((9, 9), np.float32)
    spot[4, 4] = np.nan
    assert encode_above(spot, (18, 18), 1.0) == ""
    spot[4, 4] = 2.0
    assert mask_above(spot, (18, 18), 1.0).sum() == (interpolated(spot, (18, 18)) >= 1).sum() > 0
    assert enlarge(np.full((3, 3), 7, np.uint8), (3, 3)).tolist() == [[7] * 3] * 3


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros((0, 4), np.uint8)])
def test_other_maps_are_refused(values):
    with pytest.raises(ValueError, match="u8 or f32"):
        mask_above(values, (4, 4), 0.5)
    with pytest.raises(ValueError, match="order"):
        encode_above(np.zeros((2, 2), np.float32), (4, 4), 0.5, "K")
