"""Faults of masks: 11 to 15, 54 and 55."""

import numpy as np
import pytest
from encoded import save
from PIL import Image

from kit.data.images import BadImage, decode_image
from kit.data.masks import binary_mask, class_mask, decode_mask, threshold_mask
from kit.data.resize import resize_mask
from kit.datasets.carvana import Carvana


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_fault_11_palette_gives_indices(format):
    indices = np.arange(84, dtype=np.uint8).reshape(7, 12) % 21
    image = Image.fromarray(indices)
    image.putpalette(np.random.default_rng(0).integers(0, 256, 63).tolist())
    np.testing.assert_array_equal(decode_mask(save(image, format), "x"), indices)


def test_fault_12_values_by_the_rule_that_is_named(mask):
    np.testing.assert_array_equal(binary_mask(decode_mask(save(mask * 255, "PNG"), "x"), "x"), mask)
    soft = decode_mask(save(Image.fromarray(mask * 255).resize((60, 45), Image.Resampling.BILINEAR), "PNG"), "x")
    jpeg = decode_mask(save(mask * 255, "JPEG", quality=70), "x")
    for values in (soft, jpeg):
        assert len(np.unique(values)) > 2
        with pytest.raises(BadImage, match=r"^m\.jpg: mask values 0, .* expected only 0 and 1, or only 0 and 255"):
            binary_mask(values, "m.jpg")
    np.testing.assert_array_equal(threshold_mask(jpeg, 127, "x"), mask)


def test_fault_13_label_beyond_the_classes():
    values = np.array([[0, 1, 2, 255]], np.uint8)
    np.testing.assert_array_equal(class_mask(values, 3, "x"), values)
    with pytest.raises(BadImage, match=r"^m\.png: mask values 2, expected 0 to 1, or 255"):
        class_mask(values, 2, "m.png")


def test_fault_14_mask_of_another_size(carvana, mask):
    (carvana / "train_masks/a_01_mask.gif").write_bytes(save(mask[:, ::2], "GIF"))
    data = Carvana(carvana)
    with pytest.raises(BadImage, match=r"^train_masks/a_01_mask\.gif: a mask of \(90, 60\), expected \(90, 120\)"):
        data.read_mask("a_01")
    assert len(data.problems()) == 1


def test_fault_15_resizing_invents_no_label():
    rng = np.random.default_rng(0)
    for labels in ([0, 1], [0, 255], [0, 1, 255], [0, 7, 11]):
        mask = rng.choice(np.array(labels, np.uint8), (37, 53))
        for size in ((16, 16), (37, 53), (80, 20), (101, 211), (1, 1)):
            small = resize_mask(mask, size)
            assert small.shape == size
            assert small.dtype == np.uint8
            assert set(np.unique(small)) <= set(labels)


def test_fault_54_a_reduced_palette_in_carvanas_layout(carvana, mask):
    """An image editor's "two colours" may put white first."""
    image = Image.fromarray(1 - mask)
    image.putpalette([255, 255, 255, 0, 0, 0])
    (carvana / "train_masks/a_01_mask.gif").write_bytes(save(image, "GIF"))
    np.testing.assert_array_equal(Carvana(carvana).read_mask("a_01"), mask)


def test_fault_55_a_12_bit_image_in_16_bits_keeps_its_levels():
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for format in ("PNG", "TIFF"):
        decoded = decode_image(save(levels, format), "x")
        assert np.unique(decoded).size == 4096
        assert decoded.dtype == np.uint16


def test_fault_55_masks_of_0_and_65535():
    band = np.zeros((31, 17), np.uint16)
    band[:, 5:9] = 65535
    np.testing.assert_array_equal(binary_mask(decode_mask(save(band, "TIFF"), "x"), "x"), band > 0)
