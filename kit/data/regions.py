"""Regions of images that are too large to decode whole, such as slides of 30,000 × 40,000 pixels.

    slide = open_regions("train/a.tiff")
    slide.shape                           # (30000, 40000, 3)
    slide.read(5000, 8000, 512, 512)      # rows 5000 to 5511, columns 8000 to 8511

Of a TIFF only the tiles or strips are decoded that the region touches; see tiff_regions.py. An NPY file is mapped into
memory. Any other file is decoded whole, once. Files are opened by their path and never read whole before that.
"""

from pathlib import Path

import numpy as np

from kit.data.formats import BadImage, format_of, naming_damage
from kit.data.images import decode_image
from kit.data.npy import npy_layout

HEAD_BYTES = 65536  # of a file, where its format and the header of an NPY file are found


class Regions:
    """An image of which parts are read.

    shape: (H, W, C). dtype: of what `read` gives. block: (rows, columns) of the parts in which the file keeps the
    pixels; regions that begin and end with them cost least. name: of the file, for messages.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    block: tuple[int, int]
    name: str

    def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """The pixels (height, width, C) whose first row is y and first column x.

        Raises ValueError for a region that is empty or leaves the image, BadImage for damaged parts.
        """
        if not (0 <= y < y + height <= self.shape[0] and 0 <= x < x + width <= self.shape[1]):
            raise ValueError(
                f"{self.name}: a region of {height}×{width} pixels at row {y}, column {x}, expected one inside the "
                f"image of {self.shape[0]}×{self.shape[1]}"
            )
        return self._read(y, x, height, width)

    def _read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        raise NotImplementedError


def has_regions(dataset: object) -> bool:
    """Whether the images of a data set are slides, as those of kit.datasets.Slides: nothing reads them whole.

    Such a data set has regions(id), a kit.data.scaled.ScaledRegions; mask(id), a kit.data.run_masks.RunMask at the
    slide's own size; scale, that of all regions; validation, the most tiles of a slide that validation looks at.
    """
    return callable(getattr(dataset, "regions", None)) and callable(getattr(dataset, "mask", None))


class ArrayRegions(Regions):
    """Regions of an array (H, W, C) in memory."""

    def __init__(self, array: np.ndarray, name: str = "array") -> None:
        self.array, self.name, self.shape = array, name, array.shape
        self.dtype, self.block = array.dtype.newbyteorder("="), array.shape[:2]

    def _read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        return np.array(self.array[y : y + height, x : x + width], self.dtype, order="C")


class FileRegions(Regions):
    """Regions of an NPY file that is mapped into memory, or of a file that is decoded whole. Picklable, by its path."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self._array: np.ndarray | None = _load(path)
        self.shape, self.dtype = self._array.shape, self._array.dtype.newbyteorder("=")
        self.block = (min(256, self.shape[0]), self.shape[1])

    def _read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        if self._array is None:
            self._array = _load(self.path)
        return np.array(self._array[y : y + height, x : x + width], self.dtype, order="C")

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_array": None}


def open_regions(path: Path | str) -> Regions:
    """Open an image file to read regions of it. Its pixels keep the file's own channels and dtype.

    TIFF: one image of any size, tiled or in strips; its channels may be planes or pages of equal size. Of a file with
    several images, as a pyramid with a thumbnail, the first is taken and the others must be smaller.
    NPY: an array (H, W) or (H, W, C). Any other format: as decode_image reads it, so at most MAX_PIXELS.
    Raises BadImage for what is damaged, ambiguous or not supported, with the file's name; OSError.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if format_of(head, str(path)) == "TIFF":
        from kit.data.tiff_regions import TiffRegions  # here: few data sets have TIFF files

        return TiffRegions(path)
    return FileRegions(path)


def _load(path: Path) -> np.ndarray:
    """The array (H, W, C) of a file; that of an NPY file is mapped into memory."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if format_of(head, str(path)) != "NPY":
        return decode_image(path.read_bytes(), str(path))
    shape, dtype, fortran, begin = npy_layout(head, str(path))
    wanted, found = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, path.stat().st_size - begin
    if found != wanted or not wanted:
        raise BadImage(
            f"{path}: damaged or cut short: {found} bytes follow its header, expected {wanted}. Fetch it again"
        )
    with naming_damage(str(path)):
        array = np.memmap(path, dtype, "r", begin, shape, "F" if fortran else "C")
    return array if array.ndim == 3 else array[..., None]
