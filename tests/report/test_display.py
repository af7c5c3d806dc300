"""Images of any dtype and number of channels as RGB, against NumPy."""

import numpy as np
import pytest

from kit.report.display import as_rgb, describe

RGB = ("red", "green", "blue")


def image(dtype, channels, seed=0):
    random = np.random.default_rng(seed)
    return (random.random((30, 40, channels)) * {np.uint8: 255, np.uint16: 4095, np.float32: 7}[dtype]).astype(dtype)


def test_rgb_of_eight_bits_is_shown_as_it_is():
    stored = image(np.uint8, 3)
    np.testing.assert_array_equal(as_rgb(stored), stored)
    np.testing.assert_array_equal(as_rgb(stored, RGB), stored)
    assert describe(stored) == describe(stored, RGB) == ""


@pytest.mark.parametrize(
    ("count", "channels", "picked"),
    [
        (1, None, [0, 0, 0]),
        (2, ("sar", "dem"), [0, 0, 0]),
        (4, None, [0, 1, 2]),
        (12, tuple(f"b{k}" for k in range(12)), [0, 1, 2]),
        (4, ("blue", "green", "red", "nir"), [2, 1, 0]),
        (3, ("blue", "green", "red"), [2, 1, 0]),
        (5, RGB, [0, 1, 2]),  # names that do not fit the image do not count
    ],
)
def test_the_channels_that_are_shown(count, channels, picked):
    stored = image(np.uint8, count)
    shown = as_rgb(stored, channels)
    assert shown.flags.c_contiguous
    np.testing.assert_array_equal(shown, stored[:, :, picked])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_types_are_stretched_between_percentiles(dtype):
    stored = image(dtype, 4)
    shown = as_rgb(stored)
    assert shown.dtype == np.uint8
    for k in range(3):
        channel = stored[:, :, k].astype(float)
        low, high = np.percentile(channel, (1, 99))
        np.testing.assert_array_equal(shown[:, :, k], np.round(np.clip((channel - low) / (high - low), 0, 1) * 255))


def test_flat_sparse_and_infinite_channels_are_shown_without_a_warning():
    stored = np.zeros((20, 30, 3), np.float32)
    stored[0, 0, 0], stored[:, :, 1], stored[3, 4, 2] = 9, 5, np.inf
    stored[5, 6, 2] = np.nan
    shown = as_rgb(stored)
    assert shown[0, 0].tolist() == [255, 0, 0]
    assert shown.sum() == 255
    assert as_rgb(np.full((4, 5, 1), np.nan, np.float32)).max() == 0


def test_the_sentence_names_channels_and_stretching():
    assert describe(image(np.uint8, 1)) == "The images have 1 channel of uint8. Shown here: channel 1 as grey."
    assert describe(image(np.uint8, 3), ("blue", "green", "red")) == ""  # their natural colours
    assert describe(image(np.uint8, 4), (*RGB, "nir")) == (
        "The images have 4 channels of uint8. Shown here: red, green and blue."
    )
    assert describe(image(np.uint16, 12)) == (
        "The images have 12 channels of uint16. Shown here: channel 1, channel 2 and channel 3 as red, green and blue, "
        "each stretched from its 1st to its 99th percentile in the image."
    )


def test_an_image_without_channels_is_refused():
    with pytest.raises(ValueError, match=r"\(height, width, channels\), got \(4, 5\)"):
        as_rgb(np.zeros((4, 5), np.uint8))
