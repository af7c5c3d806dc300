"""Regions of large TIFF files: only the tiles or strips that a region touches are read and decoded.

Read here: whole numbers and floats of 8 to 64 bits, grey, RGB and any further channels, side by side or as planes, and
pages of equal size as channels; no compression, Deflate, LZW, LZMA, PackBits and JPEG. The header costs little: what it
claims must be in the file, and no part may unpack to more than MAX_PART.
"""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from kit.data.formats import BadImage, check_orientation, naming_damage
from kit.data.jpeg_parts import YCBCR, decode_jpeg_part
from kit.data.regions import Regions
from kit.data.tiff import BLACK_IS_ZERO, RGB, UNPACK, WHITE_IS_ZERO, read_part

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

JPEG, NONE = 7, 1  # TIFF's numbers of compressions
MAX_PIXELS = 1 << 36  # of a slide; nothing takes memory by it
MAX_PART = 1 << 28  # bytes of one decoded tile or strip
CACHE_BYTES = 1 << 24  # of decoded tiles and strips that are kept of a file: a process may have many open
MAX_CHANNELS = 256
PLAIN_ROWS = 256  # of a strip that is not packed, and may be the whole image: any row of it is read alone


class TiffRegions(Regions):
    """Regions of one TIFF file. Picklable; each process opens the file for itself, and threads may read at once.

    cache: bytes of decoded tiles and strips that are kept, those used last.
    Raises BadImage for a file that is damaged, ambiguous or not supported.
    """

    def __init__(self, path: Path, cache: int = CACHE_BYTES) -> None:
        import tifffile  # here: few data sets have TIFF files

        self.path, self.name, self._limit = Path(path), str(path), cache
        with naming_damage(self.name), tifffile.TiffFile(self.path) as file:
            pages = _pages_of(file, self.name)
            self._page = pages[0]
            self._offsets = [np.array(page.dataoffsets, np.int64) for page in pages]
            self._counts = [np.array(page.databytecounts, np.int64) for page in pages]
            self._tables = self._page.jpegtables or b""
        page, self._pages = self._page, len(pages)
        self.planes = page.samplesperpixel if page.planarconfig == 2 else 1
        self.shape = page.imagelength, page.imagewidth, page.samplesperpixel * self._pages
        self.dtype = np.dtype(page.dtype).newbyteorder("=")
        self._rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        rows = min(self._rows, PLAIN_ROWS) if self._is_plain() else self._rows
        self.block = rows, page.tilewidth if page.is_tiled else page.imagewidth
        self._check_parts()
        self._reset()

    def _reset(self) -> None:
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._kept_bytes, self._lock = 0, threading.Lock()

    def __getstate__(self) -> dict:
        hidden = {"_kept", "_kept_bytes", "_lock", "_page"}
        return {name: value for name, value in self.__dict__.items() if name not in hidden}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["path"], state["_limit"])

    def _read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        region = np.empty((height, width, self.shape[2]), self.dtype)
        stored = self._page.samplesperpixel // self.planes  # channels in a part
        read = self._read_rows if self._is_plain() else self._read_parts
        with self.path.open("rb") as file:  # for each region: threads and forked processes share no position in it
            for channel in range(0, self.shape[2], stored):
                read(file, channel, (y, x), region[..., channel : channel + stored])
        return ~region if self._page.photometric == WHITE_IS_ZERO and self.dtype.kind == "u" else region

    def _read_parts(self, file: BinaryIO, channel: int, corner: tuple[int, int], out: np.ndarray) -> None:
        """Fill `out` (height, width, channels of a part) from the decoded parts that it touches."""
        (y, x), (rows, columns) = corner, self.block
        height, width = out.shape[:2]
        for top in range(y // rows * rows, y + height, rows):
            for left in range(x // columns * columns, x + width, columns):
                part = self._part(file, channel, (top // rows, left // columns))
                begin, first = max(y, top), max(x, left)
                end, last = min(y + height, top + rows), min(x + width, left + columns)
                out[begin - y : end - y, first - x : last - x] = part[
                    begin - top : end - top, first - left : last - left
                ]

    def _read_rows(self, file: BinaryIO, channel: int, corner: tuple[int, int], out: np.ndarray) -> None:
        """Fill `out` from strips that are not compressed: only the bytes of the region are read."""
        y, x = corner
        step = self.dtype.itemsize * out.shape[2]
        stored = self.dtype.newbyteorder(self._page.parent.byteorder)
        for row in range(len(out)):
            number, inside = divmod(y + row, self._rows)
            offset, _ = self._place(channel, number, 0)
            file.seek(offset + (inside * self.shape[1] + x) * step)
            data = file.read(out.shape[1] * step)
            if len(data) < out.shape[1] * step:
                raise BadImage(f"{self.name}: cut short in row {y + row}. Fetch it again")
            out[row] = np.frombuffer(data, stored).reshape(out.shape[1:])

    def _part(self, file: BinaryIO, channel: int, place: tuple[int, int]) -> np.ndarray:
        """One decoded tile or strip (rows, columns, C), from the cache if it is there."""
        row, (offset, count) = place[0], self._place(channel, *place)
        key = offset, count
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        file.seek(offset)
        packed = file.read(count)
        with naming_damage(self.name):
            if not count or len(packed) < count:
                raise ValueError(f"the part at row {row * self.block[0]} has {len(packed)} of {count} bytes")
            part = self._decode(packed, row)
        self._keep(key, part)
        return part

    def _decode(self, packed: bytes, row: int) -> np.ndarray:
        page, (rows, columns) = self._page, self.block
        height = rows if page.is_tiled else min(rows, self.shape[0] - row * rows)
        shape = height, columns, page.samplesperpixel // self.planes
        if page.compression == JPEG:
            return decode_jpeg_part(packed, self._tables, page.photometric, shape)
        return read_part(page, packed, shape)

    def _keep(self, key: tuple[int, int], part: np.ndarray) -> None:
        if part.nbytes > self._limit:
            return
        with self._lock:
            if key not in self._kept:
                self._kept[key] = part
                self._kept_bytes += part.nbytes
            while self._kept_bytes > self._limit:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes

    def _place(self, channel: int, row: int, column: int) -> tuple[int, int]:
        """Where a part begins in the file, and how many bytes it has."""
        page, plane = divmod(channel, self._page.samplesperpixel)
        down, across = self._grid()
        index = ((plane if self.planes > 1 else 0) * down + row) * across + column
        return int(self._offsets[page][index]), int(self._counts[page][index])

    def _grid(self) -> tuple[int, int]:
        """How many parts there are down and across."""
        return -(-self.shape[0] // self._rows), -(-self.shape[1] // self.block[1])

    def _is_plain(self) -> bool:
        page = self._page
        return page.compression == NONE and page.predictor == 1 and not page.is_tiled

    def _check_parts(self) -> None:
        """Raise BadImage unless every part is inside the file and small enough to be decoded."""
        page, (down, across) = self._page, self._grid()
        part = self.block[0] * self.block[1] * (page.samplesperpixel // self.planes) * self.dtype.itemsize
        if not self._is_plain() and part > MAX_PART:
            raise BadImage(
                f"{self.name}: strips or tiles of {part / 1e6:,.0f} MB, expected at most {MAX_PART / 1e6:,.0f}. Save "
                "it in tiles, as by tifffile.imwrite(file, image, tile=(512, 512), compression='zlib')"
            )
        size, wanted = self.path.stat().st_size, self.planes * down * across
        for offsets, counts in zip(self._offsets, self._counts, strict=True):
            if not len(offsets) == len(counts) == wanted:
                raise BadImage(f"{self.name}: damaged: {len(offsets)} strips or tiles, expected {wanted}")
            if (offsets < 0).any() or (counts < 0).any() or (counts > size - np.minimum(offsets, size)).any():
                raise BadImage(f"{self.name}: cut short: strips or tiles lie beyond its {size} bytes. Fetch it again")
        if self._is_plain():
            self._check_plain()

    def _check_plain(self) -> None:
        """Raise BadImage unless strips that are not compressed hold all of their rows."""
        row = self.shape[1] * (self._page.samplesperpixel // self.planes) * self.dtype.itemsize
        down = self._grid()[0]
        rows = np.minimum(self._rows, self.shape[0] - np.arange(down) * self._rows)
        if any((counts.reshape(self.planes, down) < rows * row).any() for counts in self._counts):
            raise BadImage(f"{self.name}: damaged: strips hold fewer bytes than their rows. Fetch it again")


def _pages_of(file: "TiffFile", name: str) -> list["TiffPage"]:
    """The one page of the image, or the pages that are its channels. Raises BadImage where they are in doubt."""
    series = file.series[0].levels[0]
    pages, page = list(series.pages), file.series[0].pages[0].keyframe
    pixels = page.imagelength * page.imagewidth
    if not 0 < pixels <= MAX_PIXELS:
        raise BadImage(f"{name}: its header says {page.imagelength}×{page.imagewidth} pixels, expected up to 2^36")
    others = [(other.keyframe.imagelength, other.keyframe.imagewidth) for other in file.series[1:]]
    if any(height * width >= pixels for height, width in others):
        raise BadImage(
            f"{name}: {len(file.series)} images, and the first is not the largest ({others}). Save the one that is "
            "meant on its own"
        )
    count = int(np.prod(series.shape, dtype=np.int64)) // (pixels * page.samplesperpixel)
    if count != len(pages) or any(one is None for one in pages) or page.imagedepth > 1:
        raise BadImage(f"{name}: its header names {count} planes in {len(pages)} pages. Save it anew in tiles")
    if len(pages) * page.samplesperpixel > MAX_CHANNELS or (len(pages) > 1 and page.samplesperpixel > 1):
        raise BadImage(
            f"{name}: {len(pages)} pages of {page.samplesperpixel} channels, expected one image, or a page a channel"
        )
    check_orientation(page.tags.valueof(274, 1), name)
    _check_kind(page, name)
    return pages


def _check_kind(page: "TiffPage", name: str) -> None:
    """Raise BadImage for pixels that cannot be read here."""
    photometric, compression = int(page.photometric), int(page.compression)
    whole = page.dtype is not None and page.bitspersample == page.dtype.itemsize * 8 and page.dtype.kind in "uif"
    known = compression in UNPACK and photometric in {WHITE_IS_ZERO, BLACK_IS_ZERO, RGB}
    jpeg = compression == JPEG and photometric in {BLACK_IS_ZERO, RGB, YCBCR} and page.dtype == np.uint8
    if not (whole and (known or jpeg) and page.predictor in (1, 2, 3) and page.fillorder == 1):
        raise BadImage(
            f"{name}: a TIFF of {page.samplesperpixel} channels of {page.bitspersample} bits, {page.photometric!r}, "
            f"compressed by {page.compression!r}. Regions are read of grey and RGB, of 8 bits or more, without "
            "compression or with Deflate, LZW, LZMA, PackBits or JPEG. Save it anew so, in tiles"
        )
