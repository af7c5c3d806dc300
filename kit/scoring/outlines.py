"""Pixels near the outlines of a mask, without a look at the others: what scores of outlines are counted from.

    eroded(mask, width, outside)      the pixels whose square of 2 width + 1 pixels a side lies in the mask
    border_pixels(mask, outside)      the pixels of the mask with a pixel outside it above, below, left or right
    label_edges(labels)               the pixels with a neighbour of another label
    squared_distances(points, others) from each point to the nearest of the others
    where_labels_change(truth, …)     the part of an image that holds all outlines

Distances are whole numbers, squared, so nothing is rounded. The outlines of a network lie close to the true ones, so
the nearest pixel is sought row by row, from the pixel's own row on.
"""

import cv2
import numpy as np

from kit.system.kernels import kernel

STEPS = 64  # rows a point, on average: outlines that lie farther apart are sought in a tree


def eroded(mask: np.ndarray, width: int, outside: bool) -> np.ndarray:
    """The pixels of a mask whose square reaches no pixel outside it: bool (H, W).

    mask: bool or u8 (H, W) of 0 and 1. width: how far the square reaches on each side, 1 or more. outside: whether what
    lies beyond the edge counts as in the mask.
    """
    mask = np.ascontiguousarray(mask).view(np.uint8)
    rows, found = np.zeros(mask.shape, np.uint8), np.zeros(mask.shape, np.uint8)
    _erode(mask, width, outside, rows, found)
    return found.view(np.bool_)


def border_pixels(mask: np.ndarray, outside: bool) -> np.ndarray:
    """The places (row, column) of the border of a mask, in the order of rows: i32 (n, 2).

    mask: bool or u8 (H, W) of 0 and 1. outside: whether what lies beyond the edge counts as in the mask.
    """
    mask = np.ascontiguousarray(mask).view(np.uint8)
    if not mask.size:
        return np.zeros((0, 2), np.int32)
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=int(outside))
    points = np.empty((mask.size, 2), np.int32)  # untouched pages of it cost nothing
    return points[: _find_border(padded, points)].copy()


def label_edges(labels: np.ndarray) -> np.ndarray:
    """The places (row, column) of pixels with another label above, below, left or right, row by row: i32 (n, 2).

    labels: u8 (H, W). The edge of the image is no such neighbour.
    """
    if not labels.size:
        return np.zeros((0, 2), np.int32)
    padded = cv2.copyMakeBorder(np.ascontiguousarray(labels), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    points = np.empty((labels.size, 2), np.int32)
    return points[: _find_edges(padded, points)].copy()


def squared_distances(points: np.ndarray, others: np.ndarray, limit: float = np.inf) -> np.ndarray:
    """The squared distance from each point to the nearest of the others: f64 (n,), infinite without any.

    points, others: i32 (n, 2) and (m, 2) of rows and columns, others in the order of rows, as border_pixels gives them.
    limit: squared distances above it may be infinite.
    """
    found = np.full(len(points), np.inf)
    if not len(points) or not len(others):
        return found
    top = int(others[0, 0])
    first = np.searchsorted(others[:, 0], np.arange(top, others[-1, 0] + 2)).astype(np.int64)
    columns = np.ascontiguousarray(others[:, 1])
    most = STEPS * len(points) + 10_000
    if _seek(np.ascontiguousarray(points), columns, first, top, limit, most, found):
        return found
    from scipy.spatial import cKDTree  # imported here: it takes a tenth of a second

    nearest = others[cKDTree(others).query(points)[1]]
    return ((points.astype(np.int64) - nearest) ** 2).sum(axis=1).astype(float)


def where_labels_change(truth: np.ndarray, prediction: np.ndarray) -> tuple[slice, slice]:
    """The part of an image outside which both masks hold their corner's label alone; a pixel more on each side.

    truth, prediction: u8 (H, W). All of the image where the labels of the two corners differ.
    """
    whole = slice(0, truth.shape[0]), slice(0, truth.shape[1])
    if not truth.size or truth[0, 0] != prediction[0, 0]:
        return whole
    return around((truth != truth[0, 0]) | (prediction != truth[0, 0]), 1)


def around(mask: np.ndarray, more: int) -> tuple[slice, slice]:
    """The part of an image that holds all of a mask, bool (H, W), and `more` pixels on each side."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(max(0, y - more), y + height + more), slice(max(0, x - more), x + width + more)


@kernel
def _erode(mask, width, outside, rows, found):
    """Write into `rows` where the row alone reaches nothing outside, and into `found` where the square does not."""
    height, length = mask.shape
    for y in range(height):
        begin = -1
        for x in range(length + 1):
            inside = x < length and mask[y, x] == 1
            if inside and begin < 0:
                begin = x
            elif not inside and begin >= 0:
                low = begin if outside and begin == 0 else begin + width
                high = x if outside and x == length else x - width
                for i in range(low, high):
                    rows[y, i] = 1
                begin = -1
    counts = np.full(length, width if outside else 0, np.int32)
    needed = 2 * width + 1
    for y in range(height + (width if outside else 0)):
        if y < height:
            for x in range(length):
                counts[x] = (counts[x] + 1) * rows[y, x]
        else:
            for x in range(length):
                counts[x] += 1
        if y >= width:
            for x in range(length):
                found[y - width, x] = counts[x] >= needed


@kernel
def _find_border(padded, points):
    """Write the border of a mask that has a pixel more on each side; return how many pixels it has."""
    height, length = padded.shape[0] - 2, padded.shape[1] - 2
    line = np.empty(length, np.uint8)
    count = 0
    for y in range(height):
        above, own, below = padded[y], padded[y + 1], padded[y + 2]
        some = np.uint8(0)
        for x in range(length):
            around = above[x + 1] & below[x + 1] & own[x] & own[x + 2]
            line[x] = own[x + 1] & (around ^ np.uint8(1))
            some |= line[x]
        if some:
            count = _add_line(line, y, points, count)
    return count


@kernel
def _find_edges(padded, points):
    """Write the pixels with a neighbour of another label, of labels that have a pixel more on each side."""
    height, length = padded.shape[0] - 2, padded.shape[1] - 2
    line = np.empty(length, np.uint8)
    count = 0
    for y in range(height):
        above, own, below = padded[y], padded[y + 1], padded[y + 2]
        some = np.uint8(0)
        for x in range(length):
            label = own[x + 1]
            line[x] = (above[x + 1] ^ label) | (below[x + 1] ^ label) | (own[x] ^ label) | (own[x + 2] ^ label)
            some |= line[x]
        if some:
            count = _add_line(line, y, points, count)
    return count


@kernel
def _add_line(line, y, points, count):
    """Write the pixels that are set in the line of row y behind the first `count` points; return how many there are."""
    for x in range(line.size):
        if line[x]:
            points[count, 0] = y
            points[count, 1] = x
            count += 1
    return count


@kernel
def _seek(points, columns, first, top, limit, most, found):
    """Write the squared distances up to `limit`; return False where this takes more than `most` rows.

    columns: of the others, row by row; first: where each row begins in it, from the row `top` on.
    """
    height = first.size - 1
    steps = 0
    for i in range(len(points)):
        row, column = points[i, 0] - top, np.int64(points[i, 1])
        best = np.inf
        reach = 0
        while reach * reach < best and reach * reach <= limit and (row - reach >= 0 or row + reach < height):
            for side in range(2 if reach else 1):
                at = row - reach if side == 0 else row + reach
                if at < 0 or at >= height or first[at] == first[at + 1]:
                    continue
                low, high = first[at], first[at + 1]  # the first column that is not before this one
                while low < high:
                    middle = (low + high) // 2
                    if columns[middle] < column:
                        low = middle + 1
                    else:
                        high = middle
                if low < first[at + 1]:
                    best = min(best, float(reach * reach + (columns[low] - column) ** 2))
                if low > first[at]:
                    best = min(best, float(reach * reach + (columns[low - 1] - column) ** 2))
            reach += 1
            steps += 1
        if steps > most:
            return False
        found[i] = best
    return True
