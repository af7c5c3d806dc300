"""The mask of a slide as a TIFF in tiles, written from its runs: the mask is never whole in memory."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from kit.data.run_masks import RunMask

TILE = 512  # pixels along a tile
BIG = 1 << 31  # bytes from which on a TIFF needs offsets of 64 bits


def write_mask_tiff(file: BinaryIO, mask: RunMask, factor: int = 1) -> None:
    """Write a mask as a grey TIFF of u8 (H, W) in tiles, packed by Deflate.

    factor: by which class numbers are multiplied. kit.datasets.Slides reads the file again.
    """
    import tifffile  # here: few data sets have TIFF files

    height, width = mask.shape
    kind = {"photometric": "minisblack", "metadata": None, "compression": "zlib", "tile": (TILE, TILE)}
    with tifffile.TiffWriter(file, bigtiff=height * width >= BIG) as tiff:
        tiff.write(_tiles(mask, factor), shape=mask.shape, dtype=np.uint8, **kind)


def _tiles(mask: RunMask, factor: int) -> Iterator[bytes]:
    """The packed tiles, row by row; beyond the border they are 0."""
    height, width = mask.shape
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            part = mask.read(y, x, min(TILE, height - y), min(TILE, width - x)) * np.uint8(factor)
            yield zlib.compress(np.pad(part, [(0, TILE - side) for side in part.shape]).tobytes(), 1)
