"""Regions of an image that is shrunk by a whole number: each new pixel is the mean of scale × scale old ones.

A slide at 40 times magnification shows its objects as well at 10 times, with a sixteenth of the pixels. Where a side
is no multiple of the scale, the last pixels are repeated up to the next one. So pixel i of the slide always lies at
(i + 1/2) / scale - 1/2 of the shrunk image, wherever a region begins.
"""

import numpy as np

from kit.data.regions import Regions
from kit.data.resize import resize_image, resize_mask
from kit.data.run_masks import RunMask

MAX_BYTES = 1 << 26  # of old pixels that are in memory to shrink them


class ScaledRegions(Regions):
    """Regions of `regions` shrunk by `scale`; shape, block and what `read` takes are in pixels of the shrunk image."""

    def __init__(self, regions: Regions, scale: int) -> None:
        if scale < 1:
            raise ValueError(f"scale={scale}, expected a whole number of 1 or more: old pixels along one new one")
        self.regions, self.scale, self.name, self.dtype = regions, scale, regions.name, regions.dtype
        self.shape = (*scaled_size(regions.shape[:2], scale), regions.shape[2])
        self.block = tuple(max(1, side // scale) for side in regions.block)

    def _read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        if self.scale == 1:
            return self.regions.read(y, x, height, width)
        row = width * self.scale**2 * self.shape[2] * self.dtype.itemsize
        step = max(1, MAX_BYTES // row)
        region = np.empty((height, width, self.shape[2]), self.dtype)
        for top in range(0, height, step):
            region[top : top + step] = self._shrunk(y + top, x, min(step, height - top), width)
        return region

    def _shrunk(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        return resize_image(_old_region(self.regions, (y, x), (height, width), self.scale), (height, width))


class ScaledMask:
    """Regions of a RunMask shrunk by `scale`: 1 where at least half of a pixel is; of several classes the centre."""

    def __init__(self, mask: RunMask, scale: int) -> None:
        self.mask, self.scale, self.shape = mask, scale, scaled_size(mask.shape, scale)

    def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """The mask u8 (height, width) of a region inside the shrunk image."""
        if self.scale == 1:
            return self.mask.read(y, x, height, width)
        old = _old_region(self.mask, (y, x), (height, width), self.scale)
        if set(self.mask.edges) <= {1}:
            return resize_mask(old, (height, width))
        return np.ascontiguousarray(old[self.scale // 2 :: self.scale, self.scale // 2 :: self.scale])


class ScaledLayers:
    """The same of classes that overlap, each by itself. count: of the classes, whose numbers begin with 1."""

    def __init__(self, mask: RunMask, scale: int, count: int) -> None:
        self.layers = [ScaledMask(mask.layer(label), scale) for label in range(1, count + 1)]

    def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """The mask u8 (height, width, K) of 0 and 1 of a region inside the shrunk image."""
        return np.stack([layer.read(y, x, height, width) for layer in self.layers], axis=2)


def scaled_size(size: tuple[int, int], scale: int) -> tuple[int, int]:
    """(height, width) of an image shrunk by `scale`, rounded up."""
    return -(-size[0] // scale), -(-size[1] // scale)


def _old_region(source: Regions | RunMask, corner: tuple[int, int], size: tuple[int, int], scale: int) -> np.ndarray:
    """The old pixels of a region in new pixels, the last ones repeated beyond the border."""
    (y, x), (height, width) = (side * scale for side in corner), (side * scale for side in size)
    inside = min(height, source.shape[0] - y), min(width, source.shape[1] - x)
    old = source.read(y, x, *inside)
    if inside == (height, width):
        return old
    return np.pad(old, ((0, height - inside[0]), (0, width - inside[1]), *[(0, 0)] * (old.ndim - 2)), "edge")
