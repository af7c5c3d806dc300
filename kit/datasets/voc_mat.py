"""Reads the labels out of a MATLAB file, version 5: strictly, and only the part of the format that SBD needs.

scipy.io.loadmat is not used, because damaged bytes end its process (a segmentation fault within 8,000 randomly altered
files, SciPy 1.17), and with it a data worker. The format: MathWorks, "MAT-File Format". A file is a header of 128 bytes
and elements. Each element is a tag (type, size) and its data; some are deflated. A matrix is an element of elements:
flags, dimensions, name, then its numbers, or for a struct the names and matrices of its fields. Numbers are stored
column by column.
"""

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
MATRIX, DEFLATED = 14, 15
STRUCT, NUMERIC = 2, range(6, 16)  # classes of a matrix
MAX_INFLATED = 64 << 20  # bytes of one element


def read_labels(content: bytes, variable: str, field: str) -> np.ndarray:
    """Read `field` of the struct `variable`, one matrix of whole numbers 0 to 255: u8 (H, W).

    Raises ValueError for damage, a missing variable or field, and data of another kind. The checksums of deflated
    elements are checked. Nothing in the file is run, and at most MAX_INFLATED bytes are inflated at a time.
    """
    if len(content) < 128 or content[126:128] not in {b"IM", b"MI"}:
        raise ValueError("no MATLAB file of version 5")
    order = "<" if content[126:128] == b"IM" else ">"
    for kind, data in _elements(content[128:], order):
        for inner, matrix in _elements(_inflate(data), order) if kind == DEFLATED else [(kind, data)]:
            if inner == MATRIX and _parts(matrix, order)[2] == variable.encode():
                return _labels(_field(_parts(matrix, order), field, order), order)
    raise ValueError(f"no variable {variable}")


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The types and data of the elements in `data`, up to its end."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError("an element is cut short")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # small: type and size share a word, the data has the other
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            end = start + size + (0 if kind == DEFLATED else -size % 8)
        if start + size > min(end, len(data)):
            raise ValueError("an element is cut short")
        yield kind, data[start : start + size]
        at = end


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, MAX_INFLATED)
    except zlib.error as error:
        raise ValueError(f"deflated data is damaged ({error})") from error
    if not inflater.eof:
        raise ValueError(f"deflated data is cut short, or over {MAX_INFLATED:,} bytes")
    return inflated


def _parts(matrix: bytes, order: str) -> tuple[int, tuple[int, ...], bytes, list[tuple[int, bytes]]]:
    """Class, dimensions, name and the further elements of a matrix."""
    parts = list(_elements(matrix, order))
    if len(parts) < 3 or len(parts[0][1]) != 8 or len(parts[1][1]) % 4:
        raise ValueError("a matrix without flags, dimensions or name")
    dimensions = struct.unpack(f"{order}{len(parts[1][1]) // 4}i", parts[1][1])
    return struct.unpack(f"{order}I", parts[0][1][:4])[0] & 0xFF, dimensions, parts[2][1], parts[3:]


def _field(parts: tuple, field: str, order: str) -> bytes:
    """The matrix that is a field of a struct of one row and column."""
    kind, dimensions, name, rest = parts
    if kind != STRUCT or dimensions != (1, 1) or len(rest) < 2 or len(rest[0][1]) != 4:
        raise ValueError(f"{name.decode('latin-1')} is no struct")
    length = struct.unpack(f"{order}i", rest[0][1])[0]
    names = rest[1][1]
    fields = [names[at : at + length].rstrip(b"\0") for at in range(0, len(names), length)] if length > 0 else []
    if field.encode() not in fields or len(fields) != len(rest) - 2:
        raise ValueError(f"no field {field} of {name.decode('latin-1')}")
    kind, matrix = rest[2 + fields.index(field.encode())]
    if kind != MATRIX or not matrix:
        raise ValueError(f"{field} is empty")
    return matrix


def _labels(matrix: bytes, order: str) -> np.ndarray:
    kind, dimensions, _, rest = _parts(matrix, order)
    if kind not in NUMERIC or len(rest) != 1 or rest[0][0] not in NUMBERS or len(dimensions) != 2:
        raise ValueError(f"a matrix of MATLAB's class {kind} and dimensions {dimensions}, expected numbers (H, W)")
    form = np.dtype(order + NUMBERS[rest[0][0]])
    if min(dimensions) < 1 or math.prod(dimensions) * form.itemsize != len(rest[0][1]):
        raise ValueError(f"{len(rest[0][1])} bytes, expected {dimensions} numbers of {form.itemsize}")
    values = np.frombuffer(rest[0][1], form)
    if not ((values >= 0) & (values <= 255) & (values == np.floor(values))).all():
        raise ValueError(f"numbers from {values.min()} to {values.max()}, expected whole ones from 0 to 255")
    return np.ascontiguousarray(values.astype(np.uint8).reshape(dimensions, order="F"))
