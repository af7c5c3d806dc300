import io
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from encoded import save
from PIL import Image

from kit.data.images import (
    MAX_PIXELS,
    BadImage,
    decode_image,
    image_size,
)
from kit.data.masks import binary_mask, class_mask, decode_mask, threshold_mask
from kit.data.resize import resize_image, resize_mask

CARVANA = Path(__file__).resolve().parents[3] / "shared/data/carvana"


@pytest.fixture
def photo():
    y, x = np.mgrid[:90, :120]
    return np.stack([x * 2, y * 2, 255 - x], axis=2).astype(np.uint8)


@pytest.fixture
def labels():
    return np.arange(48, dtype=np.uint8).reshape(6, 8) % 5


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_back(photo, format):
    decoded = decode_image(save(photo, format), "x.jpg")
    np.testing.assert_array_equal(decoded, photo)
    assert decoded.flags.writeable


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 40}])
def test_jpeg_agrees_with_pillow(photo, options):
    data = save(photo, "JPEG", **options)
    difference = np.abs(decode_image(data, "x").astype(int) - np.asarray(Image.open(io.BytesIO(data))))
    assert difference.max() <= 2


def test_gif_image_has_its_palette_colours(photo):
    image = Image.fromarray(photo).quantize(16)
    np.testing.assert_array_equal(decode_image(save(image, "GIF"), "x.gif"), np.asarray(image.convert("RGB")))


def test_16_bit_grey_and_16_bit_colour_keep_every_bit():
    grey = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        decoded = decode_image(save(grey, format), "x")
        assert (decoded.dtype, decoded.shape) == (np.uint16, (1, 4, 1))
        np.testing.assert_array_equal(decoded[..., 0], grey)
        np.testing.assert_array_equal(decode_image(save(grey, format), "x", channels=3), np.dstack([grey] * 3))
    colour = np.random.default_rng(0).integers(0, 65536, (6, 7, 4), dtype=np.uint16)
    for channels, order in ((3, [2, 1, 0]), (4, [2, 1, 0, 3])):
        ok, data = cv2.imencode(".png", colour[..., :channels])
        assert ok
        np.testing.assert_array_equal(decode_image(data.tobytes(), "x"), colour[..., order])


def test_palette_with_transparency_keeps_its_colours(photo):
    image = Image.fromarray(photo).quantize(8)
    data = save(image, "PNG", transparency=bytes([0, 128] * 4))
    np.testing.assert_array_equal(decode_image(data, "x"), np.asarray(image.convert("RGB")))


def test_trailing_bytes_after_a_jpeg_are_no_damage(photo):
    data = save(photo, "JPEG")
    np.testing.assert_array_equal(decode_image(data + data, "x"), decode_image(data, "x"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_image_size_is_height_and_width(photo, format):
    data = save(Image.fromarray(photo).convert("L"), format)
    assert image_size(data, "x") == (90, 120)


def test_image_size_needs_the_header_alone(photo):
    assert image_size(save(photo, "JPEG")[:700], "x") == (90, 120)
    assert image_size(save(photo, "PNG")[:60], "x") == (90, 120)


def test_mask_palettes_greys_and_bits_are_read_as_stored(labels):
    palette = Image.fromarray(labels)
    palette.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9, 255, 255, 255])
    np.testing.assert_array_equal(decode_mask(save(palette, "PNG"), "x"), labels)
    np.testing.assert_array_equal(decode_mask(save(palette, "GIF"), "x"), labels)
    np.testing.assert_array_equal(decode_mask(save(labels, "PNG"), "x"), labels)
    np.testing.assert_array_equal(decode_mask(save(labels > 2, "PNG"), "x"), labels > 2)
    np.testing.assert_array_equal(decode_mask(save(labels.astype(np.uint16), "PNG"), "x"), labels)
    np.testing.assert_array_equal(decode_mask(save(labels.astype(np.int32), "TIFF"), "x"), labels)


def test_mask_with_equal_channels_is_read_and_in_colour_refused(labels):
    grey = np.repeat(labels[..., None], 3, axis=2)
    opaque = np.dstack([grey, np.full_like(labels, 255)])
    np.testing.assert_array_equal(decode_mask(save(grey, "PNG"), "x"), labels)
    np.testing.assert_array_equal(decode_mask(save(opaque, "PNG"), "x"), labels)
    grey[0, 0, 1] += 1
    with pytest.raises(BadImage, match=r"^x\.png: a mask in colour"):
        decode_mask(save(grey, "PNG"), "x.png")
    with pytest.raises(BadImage, match=r"^x\.png: a mask with transparency"):
        decode_mask(save(np.dstack([opaque[..., :3], labels]), "PNG"), "x.png")


def test_mask_values_beyond_the_classes_are_refused_by_the_rules_in_16_bits_too(labels):
    wide = decode_mask(save(np.array([[0, 300], [256, 1]], np.uint16), "PNG"), "x")
    with pytest.raises(BadImage, match=r"^x: mask values 256, 300, expected 0 to 254, or 255"):
        class_mask(wide, 255, "x")
    _, colour = cv2.imencode(".png", np.repeat(labels[..., None], 3, axis=2).astype(np.uint16))
    np.testing.assert_array_equal(decode_mask(colour.tobytes(), "x"), labels)
    with pytest.raises(BadImage, match=r"^x: mask values 70000, expected 0 to 255, or to 65535"):
        decode_mask(save(np.array([[0, 70_000]], np.int32), "TIFF"), "x")


def test_jpeg_masks_grey_or_colour(labels):
    grey = np.kron(labels % 2, np.ones((16, 16), np.uint8)) * 255
    for data in (save(grey, "JPEG"), save(np.repeat(grey[..., None], 3, axis=2), "JPEG")):
        np.testing.assert_array_equal(threshold_mask(decode_mask(data, "x"), 127, "x"), grey // 255)


def test_binary_mask_rules():
    for values, expected in [
        ([0, 1], [0, 1]),
        ([0, 255], [0, 1]),
        ([0, 0], [0, 0]),
        ([1, 1], [1, 1]),
        ([255] * 2, [1, 1]),
    ]:
        mask = binary_mask(np.array([values], np.uint8), "x")
        np.testing.assert_array_equal(mask, [expected])
        assert mask.dtype == np.uint8
    for values in ([1, 255], [0, 2], [0, 254]):
        with pytest.raises(BadImage, match=f"^x: mask values {values[0]}, {values[1]}, expected"):
            binary_mask(np.array([values], np.uint8), "x")


def test_at_most_ten_values_are_shown():
    with pytest.raises(BadImage, match=r"values 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … \(30 in all\)"):
        binary_mask(np.arange(30, dtype=np.uint8)[None], "x")


def test_threshold_mask_is_strict_and_refuses_a_pointless_threshold():
    values = np.array([[0, 127, 128, 255]], np.uint8)
    np.testing.assert_array_equal(threshold_mask(values, 127, "x"), [[0, 0, 1, 1]])
    for threshold in (-1, 255):
        with pytest.raises(ValueError, match=r"^x: a threshold of"):
            threshold_mask(values, threshold, "x")


def test_shrunk_binary_mask_is_the_majority_of_each_cell():
    mask = (np.random.default_rng(0).random((12, 20)) < 0.5).astype(np.uint8)
    cells = mask.reshape(6, 2, 10, 2).sum((1, 3))
    np.testing.assert_array_equal(resize_mask(mask, (6, 10)), cells >= 2)
    assert resize_mask(np.ones((7, 9), np.uint8), (3, 4)).all()


@pytest.mark.parametrize("size", [(3, 4), (5, 9), (13, 6), (14, 22), (7, 11)])
def test_resized_labels_come_from_the_centre_of_each_cell(size):
    labels = np.arange(77, dtype=np.uint8).reshape(7, 11)
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip(size, labels.shape, strict=True))
    np.testing.assert_array_equal(resize_mask(labels, size), labels[np.ix_(rows, columns)])


@pytest.mark.parametrize("size", [(512, 768), (320, 480)])
def test_a_disc_comes_back_where_it_was(size):
    y, x = np.mgrid[:1280, :1918]
    disc = ((y - 611) ** 2 + (x - 1000) ** 2 < 400**2).astype(np.uint8)

    def bring_up(small):
        return cv2.resize(small.astype(np.float32), (1918, 1280), interpolation=cv2.INTER_LINEAR) >= 0.5

    ours = bring_up(resize_mask(disc, size))
    np.testing.assert_allclose(np.argwhere(ours).mean(0), [611, 1000], atol=0.25)
    exact = cv2.resize(disc, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    assert (ours != disc).sum() <= (bring_up(exact) != disc).sum()


def test_resize_image_averages_when_it_shrinks(photo):
    mean = photo.reshape(45, 2, 60, 2, 3).mean((1, 3))
    assert np.abs(resize_image(photo, (45, 60)) - mean).max() <= 0.5
    assert resize_image(photo, (100, 60)).shape == (100, 60, 3)


def test_a_header_at_the_limit_of_pixels_is_let_through():
    def header(height, width):
        chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))

    end = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", 0)
    assert image_size(header(10_000, MAX_PIXELS // 10_000) + end, "x") == (10_000, 10_000)
    with pytest.raises(BadImage, match="pixels"):
        image_size(header(10_000, MAX_PIXELS // 10_000 + 1) + end, "x")


@pytest.mark.skipif(not CARVANA.is_dir(), reason="needs the real photographs in shared/data/carvana")
def test_the_checks_cost_little_beside_decoding():
    data = next((CARVANA / "train").glob("*.jpg")).read_bytes()

    def seconds(decode):
        start = time.thread_time()  # other processes do not count
        decode()
        return time.thread_time() - start

    # in turns, so that other work on the machine slows both
    pairs = [
        (seconds(lambda: decode_image(data, "x")), seconds(lambda: simplejpeg.decode_jpeg(data))) for _ in range(30)
    ]
    checked, plain = np.min(pairs, axis=0)
    assert checked < plain + 0.001
