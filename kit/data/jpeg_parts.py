"""JPEG tiles inside TIFF (TIFF technical note 2): each lacks the tables, which the file holds once.

The colours are those that the TIFF names. A tile says nothing of them, or the wrong thing: Aperio's are RGB without a
marker, and decoders take three unmarked channels for YCbCr. So markers of colour are left out and one is put in.
"""

import struct

import numpy as np
import simplejpeg

START, END, SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
COLOUR_MARKERS = {0xE0, 0xEE}  # JFIF's and Adobe's
LONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
RGB, YCBCR = 2, 6  # TIFF's photometric interpretations


def decode_jpeg_part(packed: bytes, tables: bytes, photometric: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode one strip or tile -> u8 `shape`. Raises ValueError for damage, and for another size than `shape`."""
    stream = complete_stream(packed, tables, photometric)
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(stream)
    channels = 1 if colorspace.upper() == "GRAY" else 3
    if (height, width, channels) != tuple(shape) or colorspace in {"CMYK", "YCCK"}:
        raise ValueError(f"a JPEG of {height}×{width} pixels in {colorspace}, expected {shape}")
    return simplejpeg.decode_jpeg(stream, "GRAY" if channels == 1 else "RGB", strict=True)


def complete_stream(packed: bytes, tables: bytes, photometric: int) -> bytes:
    """A JPEG file of a tile and the tables. Raises ValueError where the tile is no JPEG."""
    if packed[:2] != START:
        raise ValueError(f"a JPEG tile begins with {packed[:2]!r}")
    shared = tables[2:-2] if tables[:2] == START and tables[-2:] == END else b""
    transform = bytes([1 if photometric == YCBCR else 0])
    adobe = b"\xff\xee" + struct.pack(">H", 14) + b"Adobe" + struct.pack(">HHH", 100, 0, 0) + transform
    marker = adobe if photometric in {RGB, YCBCR} else b""
    return START + marker + shared + _without_colour_markers(packed)


def _without_colour_markers(packed: bytes) -> bytes:
    """What follows the start of a JPEG, without the segments that name its colours."""
    kept, at = [], 2
    while at + 4 <= len(packed):
        if packed[at] != 0xFF:
            raise ValueError(f"a JPEG tile has no marker at byte {at}")
        kind = packed[at + 1]
        if kind == 0xFF or kind in LONE:  # a fill byte, or a marker alone
            at += 1 if kind == 0xFF else 2
            continue
        if kind == SCAN:
            break
        end = at + 2 + struct.unpack_from(">H", packed, at + 2)[0]
        if kind not in COLOUR_MARKERS:
            kept.append(packed[at:end])
        at = end
    return b"".join(kept) + packed[at:]
