"""The part of an image with most errors, and images at the size of a drawing."""

import cv2
import numpy as np


def resize(image: np.ndarray, size: tuple[int, int], enlarge: int = cv2.INTER_CUBIC) -> np.ndarray:
    """The image at `size` (width, height), by the mean of its pixels where it shrinks."""
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < image.shape[1] else enlarge)


def error_window(wrong: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice]:
    """The window with most wrong pixels, of `shape` / 4, or larger where errors fill more than half of that."""
    for zoom in (4, 2, 1):
        height, width = (max(1, min(wrong.shape[i], shape[i] // zoom)) for i in (0, 1))
        sums = cv2.boxFilter(wrong.astype(np.float32), -1, (width, height), normalize=False, anchor=(0, 0))
        inside = sums[: wrong.shape[0] - height + 1, : wrong.shape[1] - width + 1]
        top, left = np.unravel_index(inside.argmax(), inside.shape)
        if inside[top, left] <= height * width / 2:
            break
    rows, columns = np.nonzero(wrong[top : top + height, left : left + width])
    if rows.size:  # the first of equal sums has the errors at its end: bring them to the middle
        top = _around(top + rows.min(), top + rows.max(), height, wrong.shape[0])
        left = _around(left + columns.min(), left + columns.max(), width, wrong.shape[1])
    return slice(top, top + height), slice(left, left + width)


def _around(first: int, last: int, side: int, whole: int) -> int:
    """The start of a span of `side` pixels with `first` to `last` in its middle, inside 0 to `whole`."""
    return int(np.clip((first + last + 1 - side) // 2, 0, whole - side))
