"""TIFF files with any number of channels, of 8 to 64 bits, strict: every byte of every strip or tile must be there.

tifffile reads the header. The pixels are put together here, because tifffile alone fills missing parts with zeros and
needs a further package for LZW. Read here: grey, RGB and any further channels, no compression, Deflate, LZW, LZMA and
PackBits, with the predictors for whole numbers and floats. What is left (palettes, 1 to 4 bits, CMYK, JPEG inside
TIFF) is Pillow's, which reads at most 8 bits and four channels.
"""

import io
import logging
import lzma
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from kit.data.formats import (
    BadImage,
    check_frames,
    check_orientation,
    check_size,
    naming_damage,
    open_with_pillow,
)
from kit.system.files import counted

if TYPE_CHECKING:
    from tifffile import TiffPage

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # the photometric interpretations that are read here
MAX_BYTES = 1 << 32  # of one decoded image
MAX_REST = 1 << 28  # bytes of a strip or tile behind its pixels


def open_tiff(data: bytes, name: str) -> "TiffPage":
    """The one page of a TIFF file, its header checked as open_with_pillow does. Raises BadImage."""
    import tifffile  # here: few data sets have TIFF files

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is raised here
    with naming_damage(name):
        file = tifffile.TiffFile(io.BytesIO(data))
        page = file.pages[0]
    check_size(page.imagelength, page.imagewidth, name)
    check_frames(_count_frames(file, name), name)
    check_orientation(page.tags.valueof(274, 1), name)
    return page


def decode_tiff(data: bytes, name: str) -> np.ndarray | None:
    """The pixels (H, W, C) in the file's own dtype, or None where Pillow must read the file. Raises BadImage."""
    page = open_tiff(data, name)
    if not _is_read_here(page):
        _check_pillow_keeps_all(page, data, name)
        return None
    if page.imagelength * page.imagewidth * page.samplesperpixel * page.dtype.itemsize > MAX_BYTES:
        raise BadImage(f"{name}: {page.samplesperpixel} channels of {page.dtype} take over 4 GB. Tile or shrink it")
    with naming_damage(name):
        pixels = _read_parts(page, data)
    if page.photometric == WHITE_IS_ZERO:
        pixels = ~pixels if pixels.dtype.kind == "u" else pixels
    return pixels


def decode_tiff_pages(data: bytes, name: str) -> list[np.ndarray]:
    """The pages of a stack, each (H, W, C) in the file's own dtype. decode_tiff refuses files of several pages.

    Raises BadImage for a damaged file, for pixels that only Pillow could read, and where one page stands for a stack.
    """
    import tifffile  # here: few data sets have TIFF files

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file is raised here
    with naming_damage(name):
        file = tifffile.TiffFile(io.BytesIO(data))
        pages = [page.aspage() for page in file.pages]
        if next_header := _header_behind(file, pages[-1]):
            raise ValueError(f"the header of page {len(pages)}, at byte {next_header}, cannot be read")
    if (planes := _count_frames(file, name)) > len(pages):
        raise BadImage(f"{name}: {planes} images behind {counted(len(pages), 'header')}. Save it with a page an image")
    return [_decode_page(page, data, f"{name}, page {number}") for number, page in enumerate(pages)]


def _header_behind(file: object, page: "TiffPage") -> int:
    """Where the header of the page after `page` is; 0 of the last one. tifffile stops in silence where one is lost."""
    tiff, handle = file.tiff, file.filehandle
    handle.seek(page.offset)
    count = struct.unpack(tiff.tagnoformat, handle.read(tiff.tagnosize))[0]
    handle.seek(page.offset + tiff.tagnosize + count * tiff.tagsize)
    return struct.unpack(tiff.offsetformat, handle.read(tiff.offsetsize))[0]


def _decode_page(page: "TiffPage", data: bytes, name: str) -> np.ndarray:
    """The pixels (H, W, C) of one page. Raises BadImage."""
    check_size(page.imagelength, page.imagewidth, name)
    check_orientation(page.tags.valueof(274, 1), name)
    if not _is_read_here(page):
        raise BadImage(f"{name}: expected grey or RGB, uncompressed or by Deflate, LZW, LZMA or PackBits. Save it so")
    if page.nbytes > MAX_BYTES:
        raise BadImage(f"{name}: {page.samplesperpixel} channels of {page.dtype} take over 4 GB. Tile or shrink it")
    with naming_damage(name):
        pixels = _read_parts(page, data)
    return ~pixels if page.photometric == WHITE_IS_ZERO and pixels.dtype.kind == "u" else pixels


def _count_frames(file: object, name: str) -> int:
    """Pages, or planes where one page stands for a stack, as ImageJ and tifffile write large ones."""
    with naming_damage(name):
        page = file.pages[0]
        planes = int(np.prod(file.series[0].shape, dtype=np.int64) // np.prod(page.shape, dtype=np.int64))
        return max(len(file.pages), planes, page.imagedepth)


def _is_read_here(page: "TiffPage") -> bool:
    return (
        page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
        and page.dtype is not None
        and page.bitspersample == page.dtype.itemsize * 8
        and page.dtype.kind in "uif"
        and page.compression in UNPACK
        and page.predictor in (1, 2, 3)
        and page.fillorder == 1
    )


def _check_pillow_keeps_all(page: "TiffPage", data: bytes, name: str) -> None:
    """Raise BadImage where Pillow would drop channels or bits without a word."""
    bands = len(open_with_pillow(data, name).getbands())
    alike = page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or bands == page.samplesperpixel
    if not alike or (page.bitspersample > 8 and page.samplesperpixel > 1):
        raise BadImage(
            f"{name}: a TIFF of {page.samplesperpixel} channels of {page.bitspersample} bits, compressed by "
            f"{page.compression.name}, expected none, Deflate, LZW, LZMA or PackBits. Save it anew so"
        )


def _read_parts(page: "TiffPage", data: bytes) -> np.ndarray:
    """Put the strips or tiles of `page` together -> (H, W, C)."""
    height, width, channels = page.imagelength, page.imagewidth, page.samplesperpixel
    planes = channels if page.planarconfig == 2 else 1
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (min(page.rowsperstrip, height), width)
    grid = [(plane, y, x) for plane in range(planes) for y in range(0, height, rows) for x in range(0, width, columns)]
    if not len(page.dataoffsets) == len(page.databytecounts) == len(grid):
        raise ValueError(f"{len(page.dataoffsets)} strips or tiles, expected {len(grid)}")
    pixels = np.empty((planes, height, width, channels // planes), page.dtype)
    for (plane, y, x), begin, count in zip(grid, page.dataoffsets, page.databytecounts, strict=True):
        shape = (rows if page.is_tiled else min(rows, height - y), columns, channels // planes)
        packed = data[begin : begin + count]
        if len(packed) < count:
            raise ValueError(f"the part at row {y} ends after {len(packed)} of {count} bytes")
        part = read_part(page, packed, shape)
        pixels[plane, y : y + rows, x : x + columns] = part[: height - y, : width - x]
    return pixels[0] if planes == 1 else np.ascontiguousarray(np.moveaxis(pixels[..., 0], 0, -1))


def read_part(page: "TiffPage", packed: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decompress one strip or tile -> (rows, columns, channels)."""
    size = int(np.prod(shape)) * page.dtype.itemsize
    unpacked = UNPACK[page.compression](packed, size)
    if len(unpacked) < size:
        raise ValueError(f"a strip or tile holds {len(unpacked)} of {size} bytes")
    values = np.frombuffer(unpacked, np.uint8, size)
    if page.predictor == 3:  # differences of bytes, the most significant bytes of a row first
        table = values.reshape(shape[0], -1, shape[2]).cumsum(axis=1, dtype=np.uint8)
        table = table.reshape(shape[0], page.dtype.itemsize, -1).transpose(0, 2, 1)
        return np.ascontiguousarray(table).view(page.dtype.newbyteorder(">")).reshape(shape)
    values = values.view(page.dtype.newbyteorder(page.parent.byteorder)).reshape(shape)
    if page.predictor == 2:  # differences to the pixel on the left, modulo the type's range
        whole = np.dtype(f"u{page.dtype.itemsize}")
        return values.astype(page.dtype).view(whole).cumsum(axis=1, dtype=whole).view(page.dtype)
    return values


def _unpack_lzw(packed: bytes, size: int) -> np.ndarray:
    from kit.data.lzw import unpack_lzw  # here: it compiles a kernel

    return unpack_lzw(packed, size)


def _unpack_bits(packed: bytes, size: int) -> bytes:
    """PackBits: a count n below 128 and n + 1 bytes, or 257 - n times the byte that follows; 128 means nothing."""
    unpacked, at = bytearray(), 0
    while at < len(packed) and len(unpacked) < size:
        count = packed[at]
        if count < 128:
            unpacked += packed[at + 1 : at + 2 + count]
            at += 2 + count
        else:
            unpacked += packed[at + 1 : at + 2] * (257 - count if count > 128 else 0)
            at += 2 if count > 128 else 1
    return bytes(unpacked)


def _inflate(packed: bytes, size: int) -> bytes:
    """The first `size` bytes of a Deflate stream, which is read to its checksum: a last strip may hold more rows."""
    stream = zlib.decompressobj()
    unpacked, left = stream.decompress(packed, size), MAX_REST  # never all: a small file may unpack to gigabytes
    while not stream.eof:
        more = stream.decompress(stream.unconsumed_tail, 1 << 20)
        left -= len(more)
        if left < 0 or not (more or stream.eof):
            raise ValueError("a Deflate stream is cut short" if left >= 0 else "a Deflate stream does not end")
    return unpacked


def _unpack_lzma(packed: bytes, size: int) -> bytes:
    return lzma.LZMADecompressor().decompress(packed, size)


UNPACK = {  # by the number of the compression
    1: lambda packed, size: packed,
    5: _unpack_lzw,
    8: _inflate,
    32773: _unpack_bits,
    32946: _inflate,
    34925: _unpack_lzma,
}
