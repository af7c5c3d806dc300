"""A map enlarged to an image's own size, and where it then reaches a threshold.

    enlarge(levels, size)                -> the levels at that size, every pixel
    mask_above(map, size, threshold)     -> the mask of where the enlarged map reaches the threshold
    edges_above(map, size, threshold)    -> the edges of that mask, without an image in between
    sums_at(map, size, pixels)           -> the enlarged levels at some pixels, exact

Enlarging is bilinear between the centres of pixels, as torch's `interpolate` with align_corners=False does it: pixel i
of N lies at (i + 1/2) n/N - 1/2 in a map of n, and a place beyond the outermost centres takes their value. That is a
whole number of 1/(2N), so weights are whole numbers too and sums of levels are exact: a pixel that lies on the
threshold reaches it at every size, and the four functions agree on every pixel.

A cell is the square between four centres. Where all four reach the threshold, or none does, so do all pixels of the
cell, or none. Only the cells whose corners disagree are computed: one in a hundred for a car.
"""

import functools
import math

import numpy as np

from kit.system.edges import mask_of_edges, new_edges
from kit.system.kernels import kernel


def enlarge(levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Levels u8 (h, w) at `size` (height, width), rounded half up: u8 (H, W). The slow path of the two below."""
    if levels.shape == tuple(size):
        return levels
    enlarged = np.empty(size, np.uint8)
    rows, columns = _places(levels.shape[0], size[0]), _places(levels.shape[1], size[1])
    _fill_in(np.ascontiguousarray(levels), *rows, *columns, enlarged)
    return enlarged


def mask_above(values: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    """The mask u8 (H, W) of 0 and 1: where `values` (h, w), u8 or f32, enlarged to `size` reach `threshold`.

    The sums of u8 are exact, those of f32 are rounded as f64. NaN reaches nothing. Raises ValueError on another type.
    """
    return mask_of_edges(_edges(values, size, threshold), size)


def edges_above(values: np.ndarray, size: tuple[int, int], threshold: float, order: str = "C") -> np.ndarray:
    """The edges of mask_above along its rows (order "C"), or along those of its transpose (order "F").

    See kit.system.edges. Run lengths made from them cost a fortieth of enlarging, comparing and encoding.
    Raises ValueError on another order, and as mask_above.
    """
    if order == "F":
        values, size = values.T, size[::-1]
    elif order != "C":
        raise ValueError(f'order is "C" (along rows) or "F" (down columns), got {order!r}')
    return _edges(values, size, threshold)


def sums_at(levels: np.ndarray, size: tuple[int, int], pixels: np.ndarray) -> np.ndarray:
    """Levels u8 (h, w) enlarged to `size` (H, W), times 4HW, at `pixels`: i64 (P,), exact.

    pixels: i64 (P,), places counted along rows.
    """
    sums = np.empty(len(pixels), np.int64)
    rows, columns = _places(levels.shape[0], size[0]), _places(levels.shape[1], size[1])
    _sum_at(np.ascontiguousarray(levels), *rows, *columns, np.ascontiguousarray(pixels, np.int64), sums)
    return sums


def _edges(values: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    """Where the mask changes along its rows: even entries begin a run, odd ones end it."""
    values = np.ascontiguousarray(values)
    if values.dtype not in (np.uint8, np.float32) or values.ndim != 2 or not values.size:
        raise ValueError(f"a map to enlarge is u8 or f32 (h, w), not empty; got {values.dtype} {values.shape}")
    height, width = values.shape
    corner = math.ceil(threshold) if values.dtype == np.uint8 else np.float32(threshold)
    above = np.empty((height, -(-width // 8) * 8 + 8), np.uint8)  # whole words, and one more to look ahead into
    np.greater_equal(values, corner, out=above[:, :width].view(np.bool_))
    above[:, width:] = above[:, width - 1 :][:, :1]  # the map ends in its outermost values
    rows, columns = _places(height, size[0]), _places(width, size[1])
    first = np.searchsorted(columns[0], np.arange(width + 1))  # the first pixel of each cell
    edges = new_edges(size[0] * size[1])
    level = float(threshold if values.dtype == np.uint8 else corner)
    return edges[: _find_edges(values, level, above, above.view(np.uint64), rows, (*columns, first), edges)]


@functools.lru_cache(64)  # images of a few sizes come by the thousand
def _places(length: int, enlarged: int) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel of an enlarged side the centre before it, i64, and how far it is past that one, in 1/(2N)."""
    place = np.maximum((2 * np.arange(enlarged) + 1) * length - enlarged, 0)
    before = np.minimum(place // (2 * enlarged), length - 1)
    past = (place - before * 2 * enlarged).astype(np.float64)
    before.flags.writeable = past.flags.writeable = False
    return before, past


@kernel
def _find_edges(values, threshold, above, words, rows, columns, edges):
    """Write where the enlarged map crosses the threshold; return how many times.

    above: whether each value reaches the threshold, a byte each, the last one of a row repeated; words: eight of these.
    rows, columns: their _places; with those of the columns the first pixel of each cell.
    """
    cells, row_weights = rows
    columns, column_weights, first = columns
    height, width = cells.size, columns.size
    mixed = np.empty(first.size + 8, np.int64)
    whole_row, whole_column = 2.0 * height, 2.0 * width
    count = mixed_count = 0
    value = np.uint8(0)
    strip = -1
    for y in range(height):
        upper = cells[y]
        lower = min(upper + 1, values.shape[0] - 1)
        if upper != strip:  # the first of the rows between these two of the map
            strip = upper
            mixed_count = _find_mixed(above[upper], above[lower], words[upper], words[lower], mixed, values.shape[1])
        begin = y * width
        x = 0
        down = row_weights[y]
        up = whole_row - down
        for i in range(mixed_count):
            left = mixed[i]
            right = min(left + 1, values.shape[1] - 1)
            if x < first[left] and above[upper, columns[x]] != value:  # cells before this one, all alike
                value ^= 1
                edges[count] = begin + x
                count += 1
            before = up * (values[upper, left] - threshold) + down * (values[lower, left] - threshold)
            after = up * (values[upper, right] - threshold) + down * (values[lower, right] - threshold)
            for x in range(first[left], first[left + 1]):
                reached = (whole_column - column_weights[x]) * before + column_weights[x] * after >= 0
                edges[count] = begin + x
                count += reached != value
                value = np.uint8(reached)
            x = first[left + 1]
        if x < width and above[upper, columns[x]] != value:
            value ^= 1
            edges[count] = begin + x
            count += 1
    if value:
        edges[count] = height * width
        count += 1
    return count


@kernel
def _find_mixed(upper, lower, upper_words, lower_words, mixed, width):
    """Write the cells between two rows of the map whose four corners disagree; return how many there are."""
    count = 0
    for word in range(upper_words.size - 1):
        begin = word * 8
        alike = np.uint64(0x0101010101010101) * np.uint64(upper[begin])
        after = begin + 8
        if (
            upper_words[word] == alike
            and lower_words[word] == alike
            and upper[after] == upper[begin]
            and lower[after] == upper[begin]
        ):
            continue
        for cell in range(begin, min(after, width)):
            corners = upper[cell] + lower[cell] + upper[cell + 1] + lower[cell + 1]
            mixed[count] = cell
            count += (corners != 0) & (corners != 4)
    return count


@kernel
def _fill_in(levels, rows, row_weights, columns, column_weights, enlarged):
    """Write every pixel of the enlarged levels."""
    height, width = enlarged.shape
    whole_row, whole_column = 2.0 * height, 2.0 * width
    line = np.empty(levels.shape[1] + 1)
    for y in range(height):
        upper, down = rows[y], row_weights[y]
        lower = min(upper + 1, levels.shape[0] - 1)
        for x in range(levels.shape[1]):
            line[x] = (whole_row - down) * levels[upper, x] + down * levels[lower, x]
        line[-1] = line[-2]
        for x in range(width):
            left, right = line[columns[x]], line[columns[x] + 1]
            total = (whole_column - column_weights[x]) * left + column_weights[x] * right
            enlarged[y, x] = np.uint8(total / (whole_row * whole_column) + 0.5)


@kernel
def _sum_at(levels, rows, row_weights, columns, column_weights, pixels, sums):
    """Write the enlarged levels of some pixels, times four times their number in all."""
    height, width = rows.size, columns.size
    bottom, end = levels.shape[0] - 1, levels.shape[1] - 1
    for i in range(pixels.size):
        y, x = pixels[i] // width, pixels[i] % width
        upper, left = rows[y], columns[x]
        lower, right = min(upper + 1, bottom), min(left + 1, end)
        down, along = np.int64(row_weights[y]), np.int64(column_weights[x])
        before = (2 * height - down) * levels[upper, left] + down * levels[lower, left]
        after = (2 * height - down) * levels[upper, right] + down * levels[lower, right]
        sums[i] = (2 * width - along) * before + along * after
