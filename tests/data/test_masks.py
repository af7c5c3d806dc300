"""Masks by the file's own meaning: palettes, depths, colours. FAULTS 11, 12, 54, 55."""

import io
import struct
import zlib

import numpy as np
import pytest
from encoded import save
from PIL import Image

from kit.data.formats import BadImage
from kit.data.images import decode_image
from kit.data.masks import binary_mask, class_mask, colour_mask, decode_mask, threshold_mask

BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


@pytest.fixture
def disc():
    y, x = np.mgrid[:31, :47]
    return ((y - 14) ** 2 + (x - 20) ** 2 < 100).astype(np.uint8)


def palette(indices, *colours, format="PNG"):
    image = Image.fromarray(indices)
    image.putpalette(np.array(colours, np.uint8).ravel().tolist())
    return decode_mask(save(image, format), "m.png")


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF"])
def test_fault_54_white_is_foreground_wherever_it_stands_in_the_palette(disc, format):
    np.testing.assert_array_equal(binary_mask(palette(1 - disc, WHITE, BLACK, format=format), "m"), disc)
    np.testing.assert_array_equal(binary_mask(palette(disc, BLACK, WHITE, format=format), "m"), disc)
    spread = np.where(disc, 3, 1).astype(np.uint8)
    np.testing.assert_array_equal(binary_mask(palette(spread, RED, BLACK, RED, WHITE, format=format), "m"), disc)


@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_fault_54_what_pillow_itself_reduces_to_two_colours(disc, mode, format):
    image = Image.fromarray(disc * 255).convert(mode).convert("RGB" if mode == "RGB" else "L").quantize(2)
    np.testing.assert_array_equal(binary_mask(decode_mask(save(image, format), "m"), "m"), disc)


def test_fault_54_a_mask_of_one_colour_alone():
    for colour, expected in ((WHITE, 1), (BLACK, 0)):
        image = Image.new("RGB", (9, 7), colour).quantize(2)
        assert (binary_mask(decode_mask(save(image, "PNG"), "m"), "m") == expected).all()


def test_fault_54_black_first_and_one_colour_agree_whichever_is_asked(disc):
    np.testing.assert_array_equal(binary_mask(palette(disc, BLACK, (128, 0, 0)), "m"), disc)
    np.testing.assert_array_equal(binary_mask(palette(disc * 0, BLACK, (128, 0, 0)), "m"), disc * 0)


@pytest.mark.parametrize("colours", [(RED, BLACK), (RED, WHITE), ((0, 0, 9), RED), (BLACK, BLACK)])
def test_fault_54_two_colours_that_say_nothing_are_refused_with_the_choice(disc, colours):
    with pytest.raises(BadImage, match=r"(?s)^m\.png: a palette .*two ways.*class_mask.*colour_mask"):
        binary_mask(palette(disc, *colours), "m.png")


def test_fault_54_colour_mask_is_the_way_out(disc):
    stored = palette(disc, RED, BLACK)
    np.testing.assert_array_equal(colour_mask(stored, {RED: 0, BLACK: 1}, "m"), disc)
    np.testing.assert_array_equal(colour_mask(stored, {RED: 1, BLACK: 255}, "m"), np.where(disc, 255, 1))
    np.testing.assert_array_equal(class_mask(stored, 2, "m"), disc)


def test_indices_of_a_palette_in_colour_are_classes():
    labels = np.random.default_rng(0).integers(0, 6, (12, 15), dtype=np.uint8)
    labels[0, 0] = 255
    colours = np.random.default_rng(1).integers(0, 256, (256, 3))
    np.testing.assert_array_equal(class_mask(palette(labels, *colours), 6, "m"), labels)
    with pytest.raises(BadImage, match="mask values 5, expected 0 to 4"):
        class_mask(palette(labels, *colours), 5, "m")


def test_a_gif_of_grey_labels_gives_the_labels_and_not_the_numbers_of_its_palette():
    labels = np.array([[0, 4, 9], [9, 4, 0]], np.uint8)
    stored = decode_mask(save(labels, "GIF"), "m.gif")
    assert stored.max() == 2  # Pillow numbers the greys anew
    np.testing.assert_array_equal(class_mask(stored, 10, "m"), labels)
    with pytest.raises(BadImage, match=r"^m: a palette"):
        class_mask(stored, 7, "m")  # 9 is no class, and 0 to 2 are not what was saved


def test_black_and_white_palettes_as_classes(disc):
    np.testing.assert_array_equal(class_mask(palette(disc, BLACK, WHITE), 2, "m"), disc)
    for wrong, classes in ((palette(1 - disc, WHITE, BLACK), 2), (palette(disc, BLACK, WHITE), 3)):
        with pytest.raises(BadImage, match=r"^m: a palette"):
            class_mask(wrong, classes, "m")


def test_a_palette_keeps_its_colours_through_a_crop_and_loses_them_in_arithmetic(disc):
    stored = palette(1 - disc, WHITE, BLACK)
    np.testing.assert_array_equal(binary_mask(stored[5:20, 3:], "m"), disc[5:20, 3:])
    assert type(stored + 0) is np.ndarray
    assert type(class_mask(palette(disc, BLACK, RED), 2, "m")) is np.ndarray


def test_threshold_mask_takes_the_greys_of_a_palette(disc):
    np.testing.assert_array_equal(threshold_mask(palette(1 - disc, (250,) * 3, (9,) * 3), 127, "m"), disc)
    np.testing.assert_array_equal(threshold_mask(decode_mask(save(disc > 0, "PNG"), "m"), 127, "m"), disc)  # 1 bit
    with pytest.raises(BadImage, match="expected greys"):
        threshold_mask(palette(disc, BLACK, RED), 127, "m")


def grey_png(labels, bits):
    """A grey PNG of 2 or 4 bits, written by hand: Pillow writes none."""
    per_byte = 8 // bits
    padded = np.pad(labels, ((0, 0), (0, -labels.shape[1] % per_byte)))
    packed = sum(padded[:, i::per_byte].astype(np.uint8) << (8 - bits * (i + 1)) for i in range(per_byte))
    rows = b"".join(b"\0" + row.tobytes() for row in packed.astype(np.uint8))
    chunks = [
        b"IHDR" + struct.pack(">IIBBBBB", labels.shape[1], labels.shape[0], bits, 0, 0, 0, 0),
        b"IDAT" + zlib.compress(rows),
        b"IEND",
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_of_two_or_four_bits_stay_and_do_not_become_ignored(bits):
    labels = np.random.default_rng(0).integers(0, 2**bits, (11, 13), dtype=np.uint8)
    stored = decode_mask(grey_png(labels, bits), "m")
    np.testing.assert_array_equal(class_mask(stored, 2**bits, "m"), labels)
    step = 255 // (2**bits - 1)
    np.testing.assert_array_equal(threshold_mask(stored, 100, "m"), labels * step > 100)
    np.testing.assert_array_equal(decode_image(grey_png(labels, bits), "m")[..., 0], labels * step)
    two = np.where(labels % 2, 2**bits - 1, 0)
    np.testing.assert_array_equal(binary_mask(decode_mask(grey_png(two, bits), "m"), "m"), labels % 2)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_fault_55_masks_of_16_bits(disc, format):
    np.testing.assert_array_equal(binary_mask(decode_mask(save(disc * np.uint16(65535), format), "m"), "m"), disc)
    assert not binary_mask(decode_mask(save(np.zeros((5, 6), np.uint16), format), "m"), "m").any()
    assert binary_mask(decode_mask(save(np.full((5, 6), 65535, np.uint16), format), "m"), "m").all()
    np.testing.assert_array_equal(class_mask(decode_mask(save(disc * np.uint16(7), format), "m"), 8, "m"), disc * 7)
    soft = (disc * np.uint16(40_000)) + np.uint16(3000)
    np.testing.assert_array_equal(threshold_mask(decode_mask(save(soft, format), "m"), 30_000, "m"), disc)
    faint = (disc * np.uint16(200)).astype(np.uint16)  # all values fit 8 bits, and the file's unit is still 16
    assert not threshold_mask(decode_mask(save(faint, format), "m"), 30_000, "m").any()
    with pytest.raises(BadImage, match=r"^m: mask values 3000, 43000, expected only 0 and 1"):
        binary_mask(decode_mask(save(soft, format), "m"), "m")
    with pytest.raises(BadImage, match=r"^m: mask values 65535, expected 0 to 1.*binary_mask"):
        class_mask(decode_mask(save(disc * np.uint16(65535), format), "m"), 2, "m")


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float32, np.float64])
def test_masks_of_arrays(disc, dtype):
    np.testing.assert_array_equal(binary_mask(decode_mask(npy(disc.astype(dtype)), "m.npy"), "m"), disc)
    np.testing.assert_array_equal(class_mask(decode_mask(npy(disc.astype(dtype)[..., None]), "m.npy"), 2, "m"), disc)


def test_masks_of_arrays_that_hold_something_else(disc):
    soft = disc * 0.8 + 0.1
    np.testing.assert_array_equal(threshold_mask(decode_mask(npy(soft), "m"), 0.5, "m"), disc)
    for rule in (lambda values: binary_mask(values, "m"), lambda values: class_mask(values, 3, "m")):
        with pytest.raises(BadImage, match=r"^m: mask values 0\.1"):
            rule(decode_mask(npy(soft.astype(np.float32)), "m"))
    for bad, told in ((-disc.astype(np.int8), "mask values -1"), (np.where(disc, np.nan, 0), "NaN")):
        with pytest.raises(BadImage, match=told):
            decode_mask(npy(bad), "m")


def test_colours_are_mapped_to_classes_and_unknown_ones_listed():
    colours = np.array([(0, 0, 0), (0, 0, 255), (0, 255, 0), (7, 7, 200)], np.uint8)
    labels = np.random.default_rng(0).integers(0, 3, (8, 9))
    pixels = decode_image(save(colours[labels], "PNG"), "m", channels=3)
    classes = {(0, 0, 0): 255, (0, 0, 255): 1, (0, 255, 0): 1}
    np.testing.assert_array_equal(colour_mask(pixels, classes, "m"), np.array([255, 1, 1])[labels])
    pixels[3, 4] = colours[3]
    with pytest.raises(BadImage, match=r"^m: colours \(7, 7, 200\), which have no class; expected one of \(0, 0, 0\)"):
        colour_mask(pixels, classes, "m")
    with pytest.raises(BadImage, match="expected RGB"):
        colour_mask(pixels[..., 0], classes, "m")
    with pytest.raises(BadImage, match=r"in colour.*colour_mask\(decode_image"):
        decode_mask(save(pixels, "PNG"), "m")


def test_webp_masks(disc):
    data = save(Image.fromarray(disc * 255).convert("RGB"), "WEBP", lossless=True)
    np.testing.assert_array_equal(binary_mask(decode_mask(data, "m"), "m"), disc)
