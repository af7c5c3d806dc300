"""Regions of large files: only what they touch is decoded. Truth: the arrays written, and Pillow's decoder."""

import pickle
import struct

import cv2
import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image

from kit.data.formats import BadImage
from kit.data.regions import open_regions
from kit.data.tiff_regions import TiffRegions

RNG = np.random.default_rng(0)
SIZE = (143, 181)


def pixels(channels=3, dtype="uint8", size=SIZE):
    image = RNG.integers(0, 250, (*size, channels)).astype(dtype)
    image[: size[0] // 2] = image[0, 0]
    return image


def same_regions(regions, image):
    """Whether 40 random regions, and the whole, are those of the image."""
    assert regions.shape == image.shape
    assert regions.dtype == image.dtype
    random = np.random.default_rng(1)
    for _ in range(40):
        y, x = random.integers(0, image.shape[0]), random.integers(0, image.shape[1])
        height, width = random.integers(1, image.shape[0] - y + 1), random.integers(1, image.shape[1] - x + 1)
        found = regions.read(int(y), int(x), int(height), int(width))
        assert found.dtype == image.dtype
        np.testing.assert_array_equal(found, image[y : y + height, x : x + width])
    np.testing.assert_array_equal(regions.read(0, 0, *image.shape[:2]), image)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 11},
        {"tile": (32, 48)},
        {"tile": (32, 48), "compression": "zlib", "predictor": 2},
        {"rowsperstrip": 7, "compression": "lzma"},
        {"planarconfig": "separate", "tile": (32, 32), "compression": "zlib"},
        {"planarconfig": "separate", "rowsperstrip": 9},
        {"bigtiff": True, "byteorder": ">", "tile": (64, 16)},
        {"byteorder": ">", "rowsperstrip": 5},
    ],
    ids=["plain", "strips", "tiles", "predictor", "lzma", "planes", "plain planes", "big", "plain big end"],
)
def test_regions_of_a_tiff_are_those_of_the_array(tmp_path, dtype, options):
    image, options = pixels(3, dtype), dict(options)
    if dtype == "float32":
        options.pop("predictor", None)  # tifffile alone writes none for floats
    written = np.moveaxis(image, -1, 0) if "planarconfig" in options else image
    tifffile.imwrite(tmp_path / "a.tif", written, photometric="rgb", **options)
    same_regions(open_regions(tmp_path / "a.tif"), image)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 1, 3, *SIZE), {"photometric": "rgb", "planarconfig": "separate"}),
        ((1, 1, 3, *SIZE), {"photometric": "minisblack"}),
        ((3, *SIZE), {"photometric": "minisblack", "tile": (32, 32)}),
        ((1, 1, *SIZE, 3), {"photometric": "rgb"}),
        ((3, *SIZE), {"imagej": True}),
    ],
    ids=["5 dimensions, planes", "5 dimensions, pages", "pages in tiles", "5 dimensions, pixels", "imagej"],
)
def test_dimensions_of_size_1_and_pages_as_channels(tmp_path, shape, options):
    image = pixels()
    planes = np.moveaxis(image, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", (image if shape[-1] == 3 else planes).reshape(shape), **options)
    same_regions(open_regions(tmp_path / "a.tif"), image)


def test_a_file_in_one_strip_has_small_parts_where_nothing_is_packed(tmp_path):
    image = pixels(3, size=(700, 31))
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", rowsperstrip=700)
    regions = open_regions(tmp_path / "a.tif")
    assert regions.block == (256, 31)
    same_regions(regions, image)
    tifffile.imwrite(tmp_path / "b.tif", image, photometric="rgb", rowsperstrip=700, compression="zlib")
    assert open_regions(tmp_path / "b.tif").block == (700, 31)  # it is unpacked whole


def test_a_pyramid_and_a_thumbnail_give_the_first_image(tmp_path):
    image = pixels()
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(image, tile=(32, 32), photometric="rgb", subifds=1)
        file.write(image[::2, ::2], tile=(32, 32), photometric="rgb", subfiletype=1)
        file.write(image[::4, ::4], photometric="rgb", metadata=None)
    same_regions(open_regions(tmp_path / "a.tif"), image)
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(image[:50], photometric="rgb", metadata=None)
        file.write(image, photometric="rgb", metadata=None)
    with pytest.raises(BadImage, match="the first is not the largest"):
        open_regions(tmp_path / "b.tif")


def jpeg_tiff(path, image, photometric, colours, tables):
    """Tiles of 64×64 as JPEG; tables: kept once in the file."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % 64), (0, -width % 64), (0, 0)), "edge")
    tiles, shared = [], None
    for y in range(0, height, 64):
        for x in range(0, width, 64):
            tile = np.ascontiguousarray(padded[y : y + 64, x : x + 64])
            stream = encoded(tile, colours)
            if tables:
                shared, stream = split(stream)
            tiles.append(stream)
    extra = [(530, "H", 2, (1, 1), True)] + ([(347, "B", len(shared), shared, True)] if tables else [])
    kind = {"shape": image.shape, "dtype": "uint8", "photometric": "rgb", "compression": "zlib"}
    tifffile.imwrite(path, iter(tiles), tile=(64, 64), extratags=extra, **kind)
    with tifffile.TiffFile(path, mode="r+") as file:  # tifffile alone writes no JPEG: the tiles are, the header is not
        file.pages[0].tags["Compression"].overwrite(7)
        file.pages[0].tags["PhotometricInterpretation"].overwrite(6 if photometric == "ycbcr" else 2)


def encoded(tile, colours):
    """A JPEG without a marker of its colours, as slides have them; "RGB": the three channels as they are."""
    if colours == "ycbcr":
        return without_marker(simplejpeg.encode_jpeg(tile, 95, "RGB", "444"))
    # what an encoder makes of this table of colours is `tile`, channel by channel
    stored = cv2.cvtColor(np.ascontiguousarray(tile[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    return without_marker(simplejpeg.encode_jpeg(np.ascontiguousarray(stored), 100, "RGB", "444"))


def segments(stream):
    """(kind, bytes) of each segment before the scan, then the scan."""
    at = 2
    while stream[at + 1] != 0xDA:
        end = at + 2 + struct.unpack_from(">H", stream, at + 2)[0]
        yield stream[at + 1], stream[at:end]
        at = end
    yield 0xDA, stream[at:]


def without_marker(stream):
    return b"\xff\xd8" + b"".join(part for kind, part in segments(stream) if kind != 0xE0)


def split(stream):
    """Tables of quantisation and Huffman codes as a file of their own, and the rest."""
    parts = list(segments(stream))
    tables = b"".join(part for kind, part in parts if kind in (0xDB, 0xC4))
    rest = b"".join(part for kind, part in parts if kind not in (0xDB, 0xC4))
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest


@pytest.mark.parametrize("tables", [False, True])
def test_jpeg_tiles_are_decoded_as_pillow_does(tmp_path, tables):
    image = cv2.GaussianBlur(pixels(), (9, 9), 3)
    jpeg_tiff(tmp_path / "a.tif", image, "ycbcr", "ycbcr", tables)
    expected = np.asarray(Image.open(tmp_path / "a.tif").convert("RGB"))
    assert np.abs(expected.astype(int) - image).mean() < 3
    same_regions(open_regions(tmp_path / "a.tif"), expected)


def test_jpeg_tiles_of_rgb_are_not_taken_for_ycbcr(tmp_path):
    image = cv2.GaussianBlur(pixels(), (9, 9), 3)
    image = (image // 4 + 90).astype(np.uint8)  # colours that both spaces can hold
    jpeg_tiff(tmp_path / "a.tif", image, "rgb", "rgb", True)
    found = open_regions(tmp_path / "a.tif").read(0, 0, *SIZE)
    assert np.abs(found.astype(int) - image).max() < 8


def test_jpeg_strips_of_pillow(tmp_path):
    image = cv2.GaussianBlur(pixels(), (9, 9), 3)
    Image.fromarray(image).save(tmp_path / "a.tif", compression="jpeg", quality=90)
    expected = np.asarray(Image.open(tmp_path / "a.tif").convert("RGB"))
    same_regions(open_regions(tmp_path / "a.tif"), expected)


def test_npy_and_other_formats(tmp_path):
    image = pixels(3, "uint16")
    np.save(tmp_path / "a.npy", image)
    np.save(tmp_path / "f.npy", np.asfortranarray(image[..., 0]))
    Image.fromarray(image[..., 0].astype(np.uint8)).save(tmp_path / "a.png")
    same_regions(open_regions(tmp_path / "a.npy"), image)
    same_regions(open_regions(tmp_path / "f.npy"), image[..., :1])
    same_regions(pickle.loads(pickle.dumps(open_regions(tmp_path / "a.png"))), image[..., :1].astype(np.uint8))
    (tmp_path / "short.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-7])
    with pytest.raises(BadImage, match="cut short"):
        open_regions(tmp_path / "short.npy")


def test_only_touched_tiles_are_decoded_and_kept_up_to_the_bound(tmp_path, monkeypatch):
    image = pixels()
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(32, 32), compression="zlib")
    tile = 32 * 32 * 3
    regions = TiffRegions(tmp_path / "a.tif", cache=3 * tile)
    decoded, decode = [], TiffRegions._decode
    monkeypatch.setattr(TiffRegions, "_decode", lambda self, *rest: decoded.append(1) or decode(self, *rest))
    regions.read(33, 33, 20, 20)
    assert len(decoded) == 1
    regions.read(40, 40, 10, 30)  # the same tile and the next
    assert len(decoded) == 2
    regions.read(0, 0, *SIZE)
    assert len(decoded) == 2 + 5 * 6  # the two had made room by then
    regions.read(130, 170, 5, 5)
    assert len(decoded) == 2 + 5 * 6
    assert regions._kept_bytes == 3 * tile == sum(part.nbytes for part in regions._kept.values())
    same_regions(pickle.loads(pickle.dumps(regions)), image)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_damaged_and_impossible_files_are_refused(tmp_path, compression):
    image, path = pixels(), tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=16, compression=compression)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(BadImage, match=r"a\.tif"):
        open_regions(path).read(0, 0, *SIZE)


def test_a_tile_that_unpacks_to_gigabytes_is_refused_before_memory_is_taken(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64), np.uint8), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        for name, value in (
            ("ImageWidth", 60_000),
            ("ImageLength", 60_000),
            ("TileWidth", 60_000),
            ("TileLength", 60_000),
        ):
            file.pages[0].tags[name].overwrite(value)
    with pytest.raises(BadImage, match=r"strips or tiles of 3,600 MB|damaged"):
        open_regions(path)


def test_what_is_not_supported_says_how_to_save_it(tmp_path):
    Image.fromarray(pixels()).convert("P").save(tmp_path / "a.tif")
    with pytest.raises(BadImage, match="Save it anew"):
        open_regions(tmp_path / "a.tif")


def test_a_region_outside_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", pixels())
    with pytest.raises(ValueError, match="inside the image of 143×181"):
        open_regions(tmp_path / "a.npy").read(140, 0, 4, 4)
