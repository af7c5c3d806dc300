"""Means over areas: against fractions on small pictures, against OpenCV on large ones."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from kit.data.shrink import shrink


def exactly(image, size):
    """The means as fractions, by the definition: overlaps of old pixels with new ones."""

    def overlaps(length, count):
        cell = Fraction(length, count)
        return [
            [max(Fraction(0), min(old + 1, (new + 1) * cell) - max(old, new * cell)) for old in range(length)]
            for new in range(count)
        ]

    rows, columns = (np.array(overlaps(*sides), object) for sides in zip(image.shape, size, strict=False))
    area = Fraction(image.shape[0] * image.shape[1], size[0] * size[1])
    channels = [rows @ image[..., c].astype(object) @ columns.T / area for c in range(3)]
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 2), (5, 7), (6, 7), (4, 11), (7, 11)])
def test_means_over_areas(size):
    image = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    exact = exactly(image, size)
    half = exact * 2 == (exact * 2).astype(int).astype(object)  # OpenCV rounds these to even at some ratios
    rounded = (exact + Fraction(1, 2)).astype(int)
    found = shrink(image, size)
    assert (found.dtype, found.shape) == (np.uint8, (*size, 3))
    np.testing.assert_array_equal(found[~half], rounded[~half])
    assert np.abs(found.astype(int) - rounded).max() <= 1


def test_like_opencv_at_any_size_and_layout():
    rng = np.random.default_rng(1)
    different = total = 0
    for _ in range(200):
        height, width = rng.integers(1, 120, 2)
        size = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
        image = rng.integers(0, 256, (height, 2 * width, 3), dtype=np.uint8)[:, ::2]
        expected = cv2.resize(image.copy(), size[::-1], interpolation=cv2.INTER_AREA).reshape(*size, 3)
        found = shrink(image, size)
        assert np.abs(found.astype(int) - expected).max() <= 1
        different, total = different + (found != expected).sum(), total + expected.size
    assert different / total < 5e-3  # small pictures have many means that end in a half


@pytest.mark.parametrize("value", [0, 1, 127, 254, 255])
def test_one_colour_stays(value):
    image = np.full((311, 457, 3), value, np.uint8)
    for size in ((100, 200), (310, 456), (7, 450), (311, 17)):
        assert (shrink(image, size) == value).all()
