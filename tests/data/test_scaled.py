"""Shrunk regions: the same pixels wherever a region begins. Truth: means by NumPy over the whole, padded image."""

import numpy as np
import pytest

from kit.data.regions import ArrayRegions
from kit.data.run_masks import run_mask_of
from kit.data.scaled import ScaledMask, ScaledRegions

RNG = np.random.default_rng(0)


def by_means(image, scale):
    padded = np.pad(image, ((0, -image.shape[0] % scale), (0, -image.shape[1] % scale), (0, 0)), "edge").astype(float)
    height, width = padded.shape[0] // scale, padded.shape[1] // scale
    return padded.reshape(height, scale, width, scale, -1).mean(axis=(1, 3))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_regions_are_means_over_cells(dtype, scale, channels):
    image = RNG.integers(0, 255, (61, 47, channels)).astype(dtype)
    expected = by_means(image, scale)
    regions = ScaledRegions(ArrayRegions(image), scale)
    assert regions.shape == expected.shape
    for _ in range(10):
        y, x = (int(RNG.integers(0, side)) for side in expected.shape[:2])
        height, width = (int(RNG.integers(1, side - at + 1)) for side, at in zip(expected.shape, (y, x), strict=False))
        found = regions.read(y, x, height, width)
        np.testing.assert_allclose(
            found, expected[y : y + height, x : x + width], atol=0.51 if dtype != "float32" else 1e-3
        )
        np.testing.assert_array_equal(found, regions.read(0, 0, *expected.shape[:2])[y : y + height, x : x + width])


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_mask_of_one_class_goes_by_the_majority_of_several_by_the_centre(scale):
    mask = np.kron(RNG.integers(0, 2, (13, 10)), np.ones((5, 5), np.uint8)).astype(np.uint8)
    found = ScaledMask(run_mask_of([mask], mask.shape, "F"), scale)
    np.testing.assert_array_equal(found.read(0, 0, *found.shape), by_means(mask[..., None], scale)[..., 0] >= 0.5)
    mask = mask * np.uint8(2)
    mask[:20, :9] = 1
    found = ScaledMask(run_mask_of([mask], mask.shape, "C"), scale)
    padded = np.pad(mask, ((0, -65 % scale), (0, -50 % scale)), "edge")
    np.testing.assert_array_equal(found.read(0, 0, *found.shape), padded[scale // 2 :: scale, scale // 2 :: scale])
    np.testing.assert_array_equal(found.read(2, 3, 5, 6), found.read(0, 0, *found.shape)[2:7, 3:9])
