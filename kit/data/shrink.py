"""RGB images at a smaller size: each new pixel is the mean of the area that it covers."""

import functools

import cv2
import numpy as np

from kit.system.kernels import kernel


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink u8 (H, W, 3) to `size` (height, width), neither side larger: u8, means over areas, rounded.

    The result is that of cv2.resize with INTER_AREA, except for single levels where a mean lies within 1e-6 of a half.
    It is two and a half times as fast where the ratio of the sizes is no whole number. Where it is one, OpenCV is
    faster, and does the work. Raises ValueError on another dtype or shape: the kernel would read out of bounds.
    """
    (height, width), (rows, columns) = image.shape[:2], size
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image to shrink is u8 (H, W, 3), got {image.dtype} {image.shape}")
    if not (0 < rows <= height and 0 < columns <= width):
        raise ValueError(f"an image of {height}×{width} cannot be shrunk to {rows}×{columns}")
    if height % rows == 0 and width % columns == 0:
        return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA).reshape(rows, columns, 3)
    first, weights = _cells(width, columns)
    shrunk = np.empty((rows, columns, 3), np.uint8)
    _shrink(np.ascontiguousarray(image).reshape(height, -1), first * 3, weights / height, shrunk)
    return shrunk


@functools.lru_cache(64)
def _cells(length: int, shrunk: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new pixel of a side: the first old pixel that it covers, and the weights of that one and the next.

    i64 (n,) and f64 (n, T). T is the largest number of old pixels that a new one covers. A new pixel that covers fewer
    has weights of zero at the end. The last ones begin earlier, so that none of their T old pixels lies outside.
    """
    ends = np.arange(shrunk + 1) * length  # of the cells, in units of 1/shrunk of an old pixel
    first = ends[:-1] // shrunk
    taps = int(((ends[1:] - 1) // shrunk - first).max()) + 1
    first = np.minimum(first, length - taps)
    old = (first[:, None] + np.arange(taps)) * shrunk
    overlap = np.minimum(old + shrunk, ends[1:, None]) - np.maximum(old, ends[:-1, None])
    return first, np.maximum(overlap, 0) / length


@kernel
def _shrink(image, first, weights, shrunk):
    """image u8 (H, 3W) -> shrunk u8 (h, w, 3): sum down the columns into one row, then along that row."""
    height, rows = image.shape[0], shrunk.shape[0]
    sums = np.empty(image.shape[1], np.float32)  # whole numbers, exact up to 65,793 rows
    for row in range(rows):
        begin, end = row * height, (row + 1) * height  # in units of 1/rows of an old row
        sums[:] = 0
        for y in range(begin // rows, (end - 1) // rows + 1):
            weight = np.float32(min((y + 1) * rows, end) - max(y * rows, begin))
            for i in range(sums.size):
                sums[i] += weight * np.float32(image[y, i])
        for column in range(first.size):
            at = first[column]
            red = green = blue = 0.5
            for tap in range(weights.shape[1]):
                weight = weights[column, tap]
                red += weight * sums[at]
                green += weight * sums[at + 1]
                blue += weight * sums[at + 2]
                at += 3
            shrunk[row, column, 0] = np.uint8(red)
            shrunk[row, column, 1] = np.uint8(green)
            shrunk[row, column, 2] = np.uint8(blue)
