"""The distances of each pixel to its nearest and its second nearest cell, exactly, in two passes over the image.

The first pass finds the two nearest cells of each pixel in its own column, the second the two nearest over all columns.
That is enough: a cell that is third in its column is third at best.
"""

import numpy as np

from kit.system.kernels import kernel

FAR = 1 << 40  # larger than any squared distance


def two_distances(instances: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances in pixels to the nearest and second nearest cell of instances (H, W), 0 being none: f64 (H, W) each.

    Infinite where there is no such cell, where its column is more than `reach` away, and inside cells.
    """
    instances = np.ascontiguousarray(instances, np.int64)
    numbers, squares = (np.zeros((*instances.shape, 2), np.int64) for _ in range(2))
    _along_columns(instances, numbers, squares)
    near, second = (np.full(instances.shape, np.inf) for _ in range(2))
    _along_rows(instances, numbers, squares, reach, near, second)
    return near, second


@kernel
def _closer(first, a, other, b, number, square):
    """The two nearest of the cells `first` at a, `other` at b and `number` at `square`, which may be one of them."""
    if square < a:
        if number != first:
            other, b = first, a
        first, a = number, square
    elif square < b and number != first:
        other, b = number, square
    return first, a, other, b


@kernel
def _along_columns(instances, numbers, squares):
    """instances i64 (H, W) -> numbers i64 (H, W, 2) of the two nearest cells of the column, their squared distances."""
    height, width = instances.shape
    squares[:] = FAR
    for step in (1, -1):  # downwards, then upwards
        last, rows = np.zeros((width, 2), np.int64), np.zeros((width, 2), np.int64)
        for y in range(height) if step > 0 else range(height - 1, -1, -1):
            for x in range(width):
                number = instances[y, x]
                if number:
                    if number != last[x, 0]:
                        last[x, 1], rows[x, 1] = last[x, 0], rows[x, 0]
                        last[x, 0] = number
                    rows[x, 0] = y
                first, a, other, b = numbers[y, x, 0], squares[y, x, 0], numbers[y, x, 1], squares[y, x, 1]
                for k in range(2):
                    if last[x, k]:
                        first, a, other, b = _closer(first, a, other, b, last[x, k], (y - rows[x, k]) ** 2)
                numbers[y, x, 0], squares[y, x, 0], numbers[y, x, 1], squares[y, x, 1] = first, a, other, b


@kernel
def _along_rows(instances, numbers, squares, reach, near, second):
    """Fill near and second f64 (H, W) from what _along_columns found; a column further away than `second` is none."""
    height, width = instances.shape
    for y in range(height):
        for x in range(width):
            if instances[y, x]:
                continue
            first, a, other, b = 0, FAR, 0, FAR
            for away in range(min(reach, width) + 1):
                if away * away >= b:
                    break
                for column in (x - away, x + away):
                    if 0 <= column < width:
                        for k in range(2):
                            number, square = numbers[y, column, k], squares[y, column, k] + away * away
                            if number:
                                first, a, other, b = _closer(first, a, other, b, number, square)
            if first:
                near[y, x] = np.sqrt(a)
            if other:
                second[y, x] = np.sqrt(b)
