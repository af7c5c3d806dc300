"""Grey PNG masks of any size, row by row: such a file has no parts, but its rows come one after the other.

Strict as decode_mask: every checksum must hold and every row must be there. Read are 1 and 8 bits of grey, not
interlaced; a mask of a slide in another form is refused with how to save it. (PNG specification, third edition.)
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from kit.data.formats import BadImage, naming_damage
from kit.system.kernels import kernel

MAX_PIXELS = 1 << 36  # nothing takes memory by it
PIECE = 1 << 20  # bytes that are read, and unpacked, together
BAND_BYTES = 1 << 24  # of rows that are given together
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PngHeader(NamedTuple):
    """What the first chunk says."""

    height: int
    width: int
    bits: int
    colour: int
    interlaced: int


def png_header(path: Path) -> PngHeader:
    """The header of a PNG file. Raises BadImage."""
    with path.open("rb") as file, naming_damage(str(path)):
        head = file.read(33)
        if head[:8] != SIGNATURE or head[12:16] != b"IHDR" or len(head) < 33:
            raise ValueError("no PNG header")
        width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head[16:29])
    return PngHeader(height, width, bits, colour, interlaced)


def png_bands(path: Path) -> Iterator[np.ndarray]:
    """Yield the stored values u8 (rows, W) of a grey PNG in bands from the top: 0 and 1, or 0 to 255.

    Raises BadImage for damage, and for another kind of PNG.
    """
    header = png_header(path)
    if header.colour != 0 or header.bits not in {1, 8} or header.interlaced:
        raise BadImage(f"{path}: a large mask of another kind than grey of 1 or 8 bits, not interlaced. Save it so")
    if not 0 < header.height * header.width <= MAX_PIXELS:
        raise BadImage(f"{path}: its header says {header.height}×{header.width} pixels, expected up to 2^36")
    line = 1 + -(-header.width * header.bits // 8)  # bytes of a row, its filter's number in front
    rows, before, done = max(1, BAND_BYTES // line), np.zeros(line - 1, np.uint8), 0
    for data in _in_pieces(path, line, rows):
        with naming_damage(str(path)):
            lines = np.frombuffer(data, np.uint8).reshape(-1, line).copy()
            if _unfilter(lines, before) < 0:
                raise ValueError(f"an unknown filter in one of the rows from {done} on")
            if done + len(lines) > header.height:
                raise ValueError(f"more than {header.height} rows")
        before, done = lines[-1, 1:].copy(), done + len(lines)
        values = np.unpackbits(lines[:, 1:], axis=1) if header.bits == 1 else lines[:, 1:]
        yield np.ascontiguousarray(values[:, : header.width])
    if done != header.height:
        raise BadImage(f"{path}: damaged or cut short: {done} of {header.height} rows. Fetch it again")


def _in_pieces(path: Path, line: int, rows: int) -> Iterator[bytes]:
    """The unpacked bytes in pieces of whole rows."""
    stream, kept = zlib.decompressobj(), bytearray()
    with path.open("rb") as file, naming_damage(str(path)):
        for packed in _packed(file):
            while packed and not stream.eof:
                kept += stream.decompress(packed, PIECE)
                packed = stream.unconsumed_tail
                while len(kept) >= line * rows:
                    yield bytes(kept[: line * rows])
                    del kept[: line * rows]
        if not stream.eof or len(kept) % line:
            raise ValueError("its data ends early")
    if kept:
        yield bytes(kept)


def _packed(file: BinaryIO) -> Iterator[bytes]:
    """The content of the IDAT chunks in pieces, once the checksum of every chunk is known to hold so far."""
    file.seek(8)
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ValueError("no IEND chunk")
        (length,), kind = struct.unpack(">I", head[:4]), head[4:]
        crc, left = zlib.crc32(kind), length
        while left:
            piece = file.read(min(left, PIECE))
            if not piece:
                raise ValueError(f"a chunk {kind!r} ends early")
            crc, left = zlib.crc32(piece, crc), left - len(piece)
            if kind == b"IDAT":
                yield piece
        if file.read(4) != struct.pack(">I", crc):
            raise ValueError(f"the checksum of a chunk {kind!r} does not hold")
        if kind == b"IEND":
            return


@kernel
def _unfilter(lines, before):
    """Undo the filters of lines u8 (rows, 1 + n), a byte a pixel, in place; -1 at an unknown one. before: u8 (n,)."""
    rows, length = lines.shape
    for row in range(rows):
        kind = lines[row, 0]
        if kind > 4:
            return -1
        for at in range(1, length):
            left = np.int64(lines[row, at - 1]) if at > 1 else 0
            up = np.int64(lines[row - 1, at]) if row else np.int64(before[at - 1])
            corner = 0
            if at > 1:
                corner = np.int64(lines[row - 1, at - 1]) if row else np.int64(before[at - 2])
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = up
            elif kind == 3:
                guess = (left + up) // 2
            elif kind == 4:  # Paeth: whichever of the three is nearest to left + up - corner
                by_left, by_up, by_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                guess = left if by_left <= by_up and by_left <= by_corner else up if by_up <= by_corner else corner
            else:
                guess = 0
            lines[row, at] = np.uint8((np.int64(lines[row, at]) + guess) & 255)
    return 0
