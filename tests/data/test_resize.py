"""Resizing against NumPy: means over areas of any dtype and channels, and the padding that keeps the ratio."""

import cv2
import numpy as np
import pytest

from kit.data.resize import Resizing, resize_image, resize_mask
from kit.data.shrink import shrink

RNG = np.random.default_rng(0)
TOPS = {"uint8": 255, "uint16": 65535, "float32": 1e4}


def overlaps(length, count):
    """How much of each old pixel each new one covers, f64 (count, length)."""
    ends = np.arange(count + 1) * length / count
    old = np.arange(length)
    return np.clip(np.minimum(old + 1, ends[1:, None]) - np.maximum(old, ends[:-1, None]), 0, None) * count / length


def area_means(image, size):
    rows, columns = (overlaps(*pair) for pair in zip(image.shape, size, strict=False))
    return np.einsum("yi,xj,ijc->yxc", rows, columns, image.astype(np.float64))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12, 600])
def test_shrinking_gives_means_over_areas(dtype, channels):
    image = (RNG.random((24, 33, channels)) * TOPS[dtype]).astype(dtype)
    for size in ((12, 11), (7, 13), (24, 10), (1, 1), (23, 33)):
        resized = resize_image(image, size)
        assert (resized.dtype, resized.shape) == (image.dtype, (*size, channels))
        tolerance = 1e-6 * TOPS[dtype] if dtype == "float32" else 0.51
        np.testing.assert_allclose(resized, area_means(image, size), atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 4, 12])
def test_enlarging_is_bilinear_between_centres(dtype, channels):
    image = (RNG.random((6, 9, channels)) * TOPS[dtype]).astype(dtype)

    def weights(length, count):
        at = np.clip((np.arange(count) + 0.5) * length / count - 0.5, 0, length - 1)
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(length)))

    expected = np.einsum("yi,xj,ijc->yxc", weights(6, 13), weights(9, 20), image.astype(np.float64))
    # OpenCV's weights have 11 bits for u8
    np.testing.assert_allclose(resize_image(image, (13, 20)), expected, atol=0.004 * TOPS[dtype])


def test_rgb_u8_takes_the_same_kernel_as_ever():
    image = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_image(image, (17, 23)), shrink(image, (17, 23)))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 3), np.uint16),
        np.zeros((9, 9, 1), np.uint8),
        np.zeros((9, 9, 3, 1), np.uint8),
        np.zeros((9, 9, 3), bool),
    ],
)
def test_the_kernel_takes_no_array_of_another_type_or_shape(image):
    with pytest.raises(ValueError, match=r"an image to shrink is u8 \(H, W, 3\)"):
        shrink(image, (4, 5))
    if image.ndim != 3 or image.dtype == bool:
        with pytest.raises(ValueError, match=r"an image to resize is u8, u16 or f32 \(H, W, C\)"):
            resize_image(image, (4, 5))


def test_views_of_any_strides_are_read_rightly():
    image = RNG.integers(0, 65536, (30, 44, 6), dtype=np.uint16)
    for view in (image[::-1], image[:, ::2], image[..., ::-1], image.transpose(1, 0, 2), image[..., 1:4]):
        np.testing.assert_array_equal(resize_image(view, (11, 13)), resize_image(view.copy(), (11, 13)))
    with pytest.raises(ValueError, match="cannot be shrunk to"):
        shrink(np.zeros((9, 9, 3), np.uint8), (10, 9))


@pytest.mark.parametrize(
    "mask", [np.zeros((4, 4), np.int64), np.zeros((4, 4, 1), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_masks_of_another_type_are_refused(mask):
    with pytest.raises(ValueError, match=r"a mask to resize is u8 \(H, W\)"):
        resize_mask(mask, (2, 2))


SHAPES = [(101, 101), (1280, 1918), (300, 40), (40, 300), (1, 7), (64, 96), (13, 5000)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(64, 96), (96, 64), (33, 33), (1, 1)])
def test_keep_ratio_shrinks_both_sides_alike_and_pads_around(shape, size):
    resizing = Resizing(size, keep_ratio=True)
    rows, columns = resizing.content(shape)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    assert height == size[0] or width == size[1]  # one side is full
    scale = min(size[0] / shape[0], size[1] / shape[1])
    assert abs(height - max(1, shape[0] * scale)) <= 0.5
    assert abs(width - max(1, shape[1] * scale)) <= 0.5
    assert 0 <= rows.start <= size[0] - rows.stop <= rows.start + 1  # centred
    assert 0 <= columns.start <= size[1] - columns.stop <= columns.start + 1
    image, mask = RNG.integers(0, 256, (*shape, 2), dtype=np.uint8), np.ones(shape, np.uint8)
    resized, padded = resizing.image(image), resizing.mask(mask)
    assert resized.shape == (*size, 2)
    np.testing.assert_array_equal(resized[rows, columns], resize_image(image, (height, width)))
    expected = np.full(size, 255)
    expected[rows, columns] = 1
    np.testing.assert_array_equal(padded, expected)


def test_padding_mirrors_the_image_as_numpy_does():
    image = RNG.random((20, 60, 5)).astype(np.float32)
    resizing = Resizing((40, 30), keep_ratio=True)  # 10 rows of 40, padded by more than there are
    rows, columns = resizing.content((20, 60))
    inner = resize_image(image, (10, 30))
    assert (columns.start, columns.stop, rows.stop - rows.start) == (0, 30, 10)
    expected = np.pad(inner, ((rows.start, 40 - rows.stop), (0, 0), (0, 0)), "reflect")
    np.testing.assert_array_equal(resizing.image(image), expected)


def test_what_the_content_holds_comes_back_to_its_place():
    """A disc to the network's size and back: by the ratio kept, it lies where it was."""
    y, x = np.mgrid[:300, :500]
    disc = ((y - 110) ** 2 + (x - 330) ** 2 < 80**2).astype(np.uint8)
    resizing = Resizing((128, 128), keep_ratio=True)
    rows, columns = resizing.content(disc.shape)
    inner = resizing.mask(disc)[rows, columns].astype(np.float32)
    back = cv2.resize(inner, (500, 300), interpolation=cv2.INTER_LINEAR) >= 0.5
    np.testing.assert_allclose(np.argwhere(back).mean(0), [110, 330], atol=0.5)
    assert (back != disc).mean() < 0.01


def test_stretching_and_own_sizes():
    image, mask = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8), np.zeros((20, 30), np.uint8)
    assert Resizing(None).image(image) is image
    assert Resizing(None, keep_ratio=True).mask(mask) is mask
    assert Resizing(None).content((20, 30)) == (slice(0, 20), slice(0, 30))
    assert Resizing((8, 9)).content((20, 30)) == (slice(0, 8), slice(0, 9))
    np.testing.assert_array_equal(Resizing((8, 9)).image(image), resize_image(image, (8, 9)))
    names = {str(Resizing(size, keep)) for size in (None, (8, 9)) for keep in (False, True)}
    assert names == {"own", "own-ratio", "8x9", "8x9-ratio"}
