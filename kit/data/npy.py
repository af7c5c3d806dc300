"""NPY files, NumPy's own format, strict: the array must fill the file exactly, and no object is ever unpickled."""

import io

import numpy as np

from kit.data.formats import BadImage, check_size, naming_damage


def npy_header(data: bytes, name: str) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Shape, dtype, whether the order is Fortran's, and where the array begins. Raises BadImage."""
    found = npy_layout(data, name)
    check_size(*found[0][:2], name)
    return found


def npy_layout(data: bytes, name: str) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """As npy_header, of an array with any number of pixels: for files that are read by regions."""
    file = io.BytesIO(data)
    with naming_damage(name):
        version = np.lib.format.read_magic(file)
        if version not in {(1, 0), (2, 0)}:
            raise ValueError(f"version {version} of the NPY format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    if dtype.kind not in "buif" or len(shape) not in {2, 3}:
        raise BadImage(
            f"{name}: an array of {dtype} {shape}, expected numbers of the shape (height, width) or (height, width, "
            "channels). Save it so, with numpy.moveaxis where the channels come first"
        )
    return shape, dtype, fortran, file.tell()


def decode_npy(data: bytes, name: str) -> np.ndarray:
    """The array as stored, (H, W, C). Raises BadImage."""
    shape, dtype, fortran, begin = npy_header(data, name)
    wanted = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if len(data) - begin != wanted or not wanted:
        raise BadImage(
            f"{name}: damaged or cut short: {len(data) - begin} bytes follow its header, expected {wanted}. "
            "Fetch it again"
        )
    array = np.frombuffer(data, dtype, offset=begin).reshape(shape, order="F" if fortran else "C")
    return array if array.ndim == 3 else array[..., None]
