"""Large grey PNG masks row by row. Truth: Pillow, and OpenCV's and Pillow's files with every filter."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kit.data import png_rows
from kit.data.formats import BadImage
from kit.data.png_rows import png_bands

RNG = np.random.default_rng(0)


def filtered_png(values, kinds):
    """A PNG whose rows go through the given filters, as its specification defines them."""
    height, width = values.shape
    lines, wide = [], values.astype(int)
    for y in range(height):
        left = np.r_[0, wide[y, :-1]]
        up = wide[y - 1] if y else np.zeros(width, int)
        corner = np.r_[0, up[:-1]]
        nearest = np.abs(np.stack([left, up, corner]) - (left + up - corner)).argmin(axis=0)
        paeth = np.choose(nearest, [left, up, corner])
        guess = [0, left, up, (left + up) // 2, paeth][kinds[y]]
        lines.append(bytes([kinds[y]]) + ((wide[y] - guess) % 256).astype(np.uint8).tobytes())
    return png([zlib.compress(b"".join(lines))], width, height)


def png(parts, width, height, bits=8):
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)), *((b"IDAT", part) for part in parts)]
    chunks.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_every_filter(tmp_path, monkeypatch, rows):
    values = RNG.integers(0, 256, (43, 31)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(filtered_png(values, RNG.integers(0, 5, 43)))
    np.testing.assert_array_equal(np.asarray(Image.open(path)), values)
    monkeypatch.setattr(png_rows, "BAND_BYTES", 32 * rows)
    monkeypatch.setattr(png_rows, "PIECE", 50)
    bands = list(png_bands(path))
    assert {len(band) for band in bands[:-1]} <= {rows}
    np.testing.assert_array_equal(np.concatenate(bands), values)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_files_of_pillow(tmp_path, mode):
    values = np.kron(RNG.integers(0, 2, (9, 8)), np.ones((7, 5), int)).astype(np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(values * 255).convert(mode).save(path)
    np.testing.assert_array_equal(np.concatenate(list(png_bands(path))), values * (255 if mode == "L" else 1))


def test_damage_is_found(tmp_path):
    data = filtered_png(RNG.integers(0, 256, (40, 30)).astype(np.uint8), [4] * 40)
    path = tmp_path / "a.png"
    for place in (20, 300, len(data) - 6):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BadImage, match=r"a\.png"):
            list(png_bands(path))
    path.write_bytes(data[:-20])
    with pytest.raises(BadImage, match="damaged or cut short"):
        list(png_bands(path))
    short = png([zlib.compress(bytes(31) * 39)], 30, 40)
    path.write_bytes(short)
    with pytest.raises(BadImage, match="39 of 40 rows"):
        list(png_bands(path))
    path.write_bytes(png([zlib.compress(b"\5" + bytes(30))], 30, 1))
    with pytest.raises(BadImage, match="unknown filter"):
        list(png_bands(path))


@pytest.mark.slow
def test_a_small_file_that_unpacks_to_gigabytes_takes_no_memory(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png([zlib.compress(bytes(1 << 28), 9)], 100, 3))
    with pytest.raises(BadImage, match="more than 3 rows"):
        list(png_bands(path))


def test_other_kinds_are_refused(tmp_path):
    for mode in ("RGB", "P", "I;16"):
        file = io.BytesIO()
        Image.new(mode, (8, 8)).save(file, "png")
        path = tmp_path / "a.png"
        path.write_bytes(file.getvalue())
        with pytest.raises(BadImage, match="Save it so"):
            list(png_bands(path))
