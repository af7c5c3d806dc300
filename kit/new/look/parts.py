"""A look into large files: some regions of those that can be read in parts, and only a few others whole."""

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kit.data.formats import MAX_PIXELS, BadImage
from kit.data.images import decode_image
from kit.data.regions import open_regions
from kit.datasets.files import DataFolder
from kit.datasets.patterns import suffix_of
from kit.datasets.reading import read_size

LARGE = 16_000_000  # pixels from which on a file is not read whole to look at it
WHOLE = 150_000_000  # pixels of large files, of kinds that cannot be read in parts, that are read whole all the same
SIDE, PLACES = 512, 4  # of a region; regions down and along
LARGE_FILE = 1 << 26  # bytes from which on a header is read without the rest of the file
IN_PARTS = ("tif", "tiff", "npy")


class TooLarge(ValueError):
    """A file that would have to be read whole for a look."""


class Parts:
    """Reads files for a look at what they hold. sizes: (height, width) of those that are known, by path."""

    def __init__(self, data: DataFolder, sizes: Mapping[str, tuple[int, int]] | None = None) -> None:
        self.data, self.sizes, self.left = data, {} if sizes is None else sizes, WHOLE
        self._lock = threading.Lock()

    def read(self, path: str) -> np.ndarray:
        """An image (H, W, C), or the mosaic of some of its regions. Raises BadImage, OSError or TooLarge."""
        part = self.part(path)
        return decode_image(self.data.read(path), path) if part is None else part

    def part(self, path: str) -> np.ndarray | None:
        """A mosaic (h, w, C) of regions of a large file; None for a file that may be read whole.

        Raises BadImage, OSError, or TooLarge where enough such files were read whole.
        """
        size = self.sizes.get(path) or size_of(self.data, path)
        if size[0] * size[1] <= LARGE:
            return None
        if can_be_read_in_parts(self.data, path):
            return _mosaic(self.data.root / path)
        with self._lock:
            if size[0] * size[1] > min(self.left, MAX_PIXELS):
                raise TooLarge(f"{path}: {size[0]}×{size[1]} pixels are not read for a look")
            self.left -= size[0] * size[1]
        return None


def can_be_read_in_parts(data: DataFolder, path: str) -> bool:
    """Whether a file is of a kind whose regions can be read, and lies in no zip."""
    return suffix_of(path) in IN_PARTS and (data.root / path).is_file()


def size_of(data: DataFolder, path: str) -> tuple[int, int]:
    """(H, W) of an image by its header. Raises BadImage or OSError."""
    file = data.root / path
    if can_be_read_in_parts(data, path) and file.stat().st_size >= LARGE_FILE:
        return open_regions(file).shape[:2]
    return read_size(data, path)


def _mosaic(path: Path) -> np.ndarray:
    """Regions of a file, spread evenly and put together as they lie."""
    regions = open_regions(path)
    sides = [min(SIDE, side) for side in regions.shape[:2]]
    starts = [
        np.linspace(0, side - own, PLACES).astype(int).tolist()
        for side, own in zip(regions.shape[:2], sides, strict=True)
    ]
    if regions.dtype.kind not in "buf":
        raise BadImage(f"{path}: pixels of {regions.dtype}, expected whole numbers without a sign, or floats")
    return np.vstack([np.hstack([regions.read(y, x, *sides) for x in starts[1]]) for y in starts[0]])
