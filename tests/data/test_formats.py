"""TIFF, WebP and NPY files of any channels and depth. Truth: the arrays that tifffile, Pillow, OpenCV, NumPy wrote."""

import contextlib
import io
import struct
import zlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tifffile
from encoded import save
from PIL import Image

from kit.data.formats import BadImage
from kit.data.images import decode_image, image_size
from kit.data.lzw import unpack_lzw
from kit.data.tiff import MAX_REST, _inflate, _unpack_bits, read_part

RNG = np.random.default_rng(0)


def pixels(channels, dtype, size=(37, 45)):
    """Half noise, half flat, so that compression has something to do."""
    image = RNG.integers(0, 4000 if dtype != "uint8" else 256, (*size, channels)).astype(dtype)
    image[: size[0] // 2] = image[0, 0]
    return image - 0.25 if np.dtype(dtype).kind == "f" else image


def tiff(image, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, image, **{"photometric": "minisblack"} | options)
    return file.getvalue()


@pytest.mark.slow
def test_a_deflate_strip_is_read_to_its_checksum_also_where_it_holds_more():
    wanted, more = RNG.integers(0, 256, 5000).astype(np.uint8).tobytes(), RNG.integers(0, 9, 3_000_000).astype(np.uint8)
    packed = zlib.compress(wanted + more.tobytes())
    assert _inflate(packed, 5000) == wanted
    with pytest.raises(zlib.error, match="incorrect data check"):
        _inflate(packed[:-1] + bytes([packed[-1] ^ 1]), 5000)
    with pytest.raises(ValueError, match="cut short"):
        _inflate(packed[:-1], 5000)
    with pytest.raises(ValueError, match="does not end"):
        _inflate(zlib.compress(bytes(MAX_REST + 6000)), 5000)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 12])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzma", "rowsperstrip": 5},
        {"tile": (16, 32), "compression": "zlib"},
        {"planarconfig": "separate", "rowsperstrip": 7},
        {"bigtiff": True, "byteorder": ">"},
        {"planarconfig": "separate", "compression": "zlib", "predictor": True, "byteorder": ">", "tile": (16, 16)},
    ],
    ids=["plain", "predictor", "strips", "tiles", "planes", "big", "all"],
)
def test_tiff_gives_back_what_tifffile_wrote(dtype, channels, options):
    image = pixels(channels, dtype)
    options = dict(options)
    if dtype == "float32" and "predictor" in options:
        options["predictor"] = False  # tifffile alone writes none for floats
    written = np.moveaxis(image, -1, 0) if options.get("planarconfig") == "separate" and channels > 1 else image
    if channels == 1:
        options.pop("planarconfig", None)
        written = image[..., 0]
    elif options.get("planarconfig") is None:
        options["planarconfig"] = "contig"
    data = tiff(written, **options)
    decoded = decode_image(data, "x.tif")
    assert decoded.dtype == dtype
    assert decoded.dtype.isnative
    np.testing.assert_array_equal(decoded, image)
    assert image_size(data, "x.tif") == image.shape[:2]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_tiff_of_16_bits_packed_by_lzw_as_opencv_writes_it(channels):
    image = pixels(channels, "uint16")
    ok, data = cv2.imencode(".tif", image[..., [2, 1, 0, 3][:channels] if channels > 1 else [0]])
    assert ok
    assert tifffile.TiffFile(io.BytesIO(data.tobytes())).pages[0].compression == 5
    np.testing.assert_array_equal(decode_image(data.tobytes(), "x"), image)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "raw"])
def test_tiff_as_pillow_writes_it(compression):
    for image in (pixels(3, "uint8", (90, 120)), pixels(1, "uint16", (300, 211))[..., 0]):
        data = save(image, "TIFF", compression=compression)
        np.testing.assert_array_equal(decode_image(data, "x").squeeze(), image)
        for keep in (len(data) // 2, len(data) - len(data) // 4):
            with pytest.raises(BadImage, match=r"^x\.tif: "):
                decode_image(data[:keep], "x.tif")


def test_tiff_of_jpegs_is_read_by_pillow():
    image = np.repeat(np.arange(64, dtype=np.uint8)[:, None, None] * 3, 64, axis=1).repeat(3, axis=2)
    decoded = decode_image(save(image, "TIFF", compression="jpeg", quality=95), "x")
    assert np.abs(decoded.astype(int) - image).max() < 6


def test_white_is_zero_is_turned_around():
    image = pixels(1, "uint8")[..., 0]
    np.testing.assert_array_equal(decode_image(tiff(255 - image, photometric="miniswhite"), "x")[..., 0], image)


def test_float_predictor_as_the_technical_note_describes_it():
    """Adobe Photoshop TIFF Technical Note 3: bytes by significance, then differences. Written out here."""
    image = (RNG.normal(0, 50, (6, 9, 2))).astype(np.float32)
    rows = []
    for row in image:
        planes = np.frombuffer(row.astype(">f4").tobytes(), np.uint8).reshape(-1, 4).T.ravel()
        rows.append(np.concatenate([planes[:2], planes[2:] - planes[:-2]]).astype(np.uint8))
    data = bytearray(tiff(np.zeros_like(image), planarconfig="contig", compression="zlib", predictor=False))
    packed = zlib.compress(np.concatenate(rows).tobytes())
    page = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0]
    fake = SimpleNamespace(dtype=page.dtype, compression=8, predictor=3, parent=page.parent)
    np.testing.assert_array_equal(read_part(fake, packed, image.shape), image)


def test_more_than_one_plane_is_refused_also_where_one_page_stands_for_many():
    stack = RNG.integers(0, 9, (5, 20, 30), dtype=np.uint16)
    for data in (tiff(stack), tiff(stack, imagej=True), tiff(stack, metadata={"axes": "ZYX"})):
        with pytest.raises(BadImage, match=r"^x: 5 frames or pages.*tifffile\.imread"):
            decode_image(data, "x")


def test_damaged_deflate_and_missing_strips_are_refused():
    image = pixels(12, "uint16")
    data = bytearray(tiff(image, planarconfig="contig", compression="zlib", rowsperstrip=8))
    page = tifffile.TiffFile(io.BytesIO(bytes(data))).pages[0]
    broken = bytearray(data)
    broken[page.dataoffsets[2] + page.databytecounts[2] - 2] ^= 1  # in the checksum
    with pytest.raises(BadImage, match=r"^x: damaged or cut short"):
        decode_image(bytes(broken), "x")
    with pytest.raises(BadImage, match=r"^x: damaged or cut short"):
        decode_image(bytes(data[: page.dataoffsets[-1] + 3]), "x")


def test_lzw_of_random_strings_and_damage():
    for size in (1, 2, 300, 70_000):
        for high in (1, 2, 256):
            image = RNG.integers(0, high, (1, size), dtype=np.uint8)
            data = save(image, "TIFF", compression="tiff_lzw")
            np.testing.assert_array_equal(decode_image(data, "x")[..., 0], image)
    with pytest.raises(ValueError, match="not in the table"):
        unpack_lzw(bytes([0x80, 0x7F, 0xFF, 0xFF]), 100)
    for _ in range(300):  # never out of bounds, whatever the bytes
        with contextlib.suppress(ValueError):
            assert len(unpack_lzw(RNG.bytes(int(RNG.integers(0, 60))), 500)) <= 500


def test_packbits_example_of_the_specification():
    packed = bytes.fromhex("FE AA 02 80 00 2A FD AA 03 80 00 2A 22 F7 AA")  # TIFF 6.0, section 9
    unpacked = bytes.fromhex("AA AA AA 80 00 2A AA AA AA AA 80 00 2A 22 AA AA AA AA AA AA AA AA AA AA")
    assert _unpack_bits(packed, 24) == unpacked


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"lossless": True, "exact": True}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_under_any_name(options, mode):
    image = Image.fromarray(pixels(len(mode), "uint8", (41, 33)))
    data = save(image, "WEBP", **options)
    reference = np.asarray(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_image(data, "train/a.jpg"), reference)
    assert image_size(data, "a.png") == image_size(data[:30] if data[12:16] != b"VP8X" else data, "a") == (41, 33)
    for keep in (len(data) - 1, len(data) // 2, 31, 20):
        with pytest.raises(BadImage, match=r"^a\.jpg: "):
            decode_image(data[:keep], "a.jpg")


def test_webp_animated_turned_or_huge_is_refused_before_memory_is_taken():
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    with pytest.raises(BadImage, match="2 frames"):
        decode_image(save(frames[0], "WEBP", save_all=True, append_images=frames[1:]), "x")
    exif = Image.Exif()
    exif[0x0112] = 3
    with pytest.raises(BadImage, match="EXIF orientation 3"):
        decode_image(save(frames[0], "WEBP", exif=exif), "x")
    data = bytearray(save(frames[0], "WEBP", exif=exif))
    data[24:30] = (16_000 - 1).to_bytes(3, "little") * 2  # the canvas of the extended header
    with pytest.raises(BadImage, match="its header says 16000×16000"):
        image_size(bytes(data), "x")


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32", "float64", "int16", "float16", "bool", "int32"])
def test_npy_of_any_number_type(dtype, order):
    image = np.asarray(RNG.integers(0, 200, (7, 9, 5)).astype(dtype), order=order)
    decoded = decode_image(npy(image), "x.npy")
    assert decoded.dtype == {"uint8": np.uint8, "bool": np.uint8, ">u2": np.uint16}.get(dtype, np.float32)
    np.testing.assert_array_equal(decoded, image * (255 if dtype == "bool" else 1))
    assert decode_image(npy(image[..., 0]), "x.npy").shape == (7, 9, 1)
    assert image_size(npy(image), "x") == (7, 9)


def test_npy_that_is_cut_short_or_holds_no_image():
    image = RNG.integers(0, 200, (7, 9, 5))
    data = npy(image.astype(np.uint8))
    for bad in (data[:-1], data + b"x", data[:40], data[:8]):
        with pytest.raises(BadImage, match=r"^x\.npy: damaged or cut short"):
            decode_image(bad, "x.npy")
    for array in (
        np.zeros(5),
        np.zeros((2, 3, 4, 5)),
        np.array([["a"]]),
        np.array([[{}]], object),
        np.zeros((2, 2), "c8"),
    ):
        with pytest.raises(BadImage, match=r"^x: an array of"):
            decode_image(npy(array), "x")
    with pytest.raises(BadImage, match="0×4 pixels"):
        decode_image(npy(np.zeros((0, 4))), "x")
    with pytest.raises(BadImage, match=r"whole numbers up to 2\^24"):
        decode_image(npy(np.full((2, 2), 2**24 + 1)), "x")
    with pytest.raises(BadImage, match="f32 cannot hold"):
        decode_image(npy(np.full((2, 2), 1e39)), "x")


def test_channels_that_are_asked_for():
    grey, colour = pixels(1, "uint16"), pixels(3, "uint8")
    np.testing.assert_array_equal(decode_image(tiff(grey[..., 0]), "x", channels=3), np.repeat(grey, 3, axis=2))
    same = np.repeat(pixels(1, "uint8"), 3, axis=2)
    np.testing.assert_array_equal(decode_image(save(same, "PNG"), "x", channels=1), same[..., :1])
    opaque = np.dstack([same, np.full(same.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(decode_image(save(opaque, "PNG"), "x", channels=1), same[..., :1])
    four = tiff(pixels(4, "uint8"), planarconfig="contig")  # red, green, blue, near infrared
    for data, wanted, told in (
        (save(colour, "PNG"), 1, "3 channels, expected 1"),
        (save(colour, "PNG"), 4, "3 channels, expected 4"),
        (four, 3, "4 channels, expected 3. The last one is not opaque.*channels=4"),
        (tiff(pixels(12, "uint16"), planarconfig="contig"), 3, "12 channels, expected 3"),
    ):
        with pytest.raises(BadImage, match=f"(?s)^x: {told}"):
            decode_image(data, "x", channels=wanted)


def test_16_bit_grey_with_alpha_in_a_png():
    image = RNG.integers(0, 65536, (5, 6, 2), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", 6, 5, 16, 4, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND"]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )
    np.testing.assert_array_equal(decode_image(data, "x"), image)
