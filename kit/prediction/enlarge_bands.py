"""Bands of levels enlarged by a whole number, in bands: what kit.prediction.enlarge does with a whole map.

    for mask in mask_bands(bands, scale, size, rule):       # u8 (rows, W) of class numbers
    for levels in enlarged_bands(bands, scale, size):       # u8 (rows, W), of one class

The map was made of an image shrunk by `scale` (kit.data.scaled): pixel i of the slide lies at (i + 1/2) / scale - 1/2
of it, whatever the size of the slide. In units of 1/(2 scale) all weights are whole numbers, so sums of u8 are exact.
Of several classes the likeliest is taken after enlarging; of equal ones the first.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from kit.prediction.rule import Rule
from kit.system.kernels import kernel

MAX_BYTES = 1 << 25  # of enlarged rows that are made together


def mask_bands(bands: Iterable[np.ndarray], scale: int, size: tuple[int, int], rule: Rule) -> Iterator[np.ndarray]:
    """Yield the mask u8 (rows, W) of class numbers, band by band; of classes that overlap (K, rows, W) of 0 and 1.

    bands: levels (K, rows, w), u8 or f32, from the top. size: (H, W) of the slide. rule: as of Predictor; of one
    foreground its threshold, of classes that overlap that of each.
    """

    def masks(levels: np.ndarray, top: int, row: int, mask: np.ndarray) -> None:
        _fill_mask(levels, top, row, scale, rule.cut, mask)

    def layers(levels: np.ndarray, top: int, row: int, mask: np.ndarray) -> None:
        for own, cut, layer in zip(levels, rule.cuts, mask, strict=True):
            _fill_mask(own[None], top, row, scale, cut, layer)

    if rule.separate:
        return _rows(bands, scale, size, layers, len(rule.cuts))
    return _rows(bands, scale, size, masks)


def enlarged_bands(bands: Iterable[np.ndarray], scale: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the levels of one foreground at the size of the slide, rounded half up: u8 (rows, W), band by band."""

    def enlarge(levels: np.ndarray, top: int, row: int, enlarged: np.ndarray) -> None:
        _fill_levels(levels[0], top, row, scale, enlarged)

    return _rows(bands, scale, size, enlarge)


def _rows(
    bands: Iterable[np.ndarray],
    scale: int,
    size: tuple[int, int],
    fill: Callable[[np.ndarray, int, int, np.ndarray], None],
    layers: int | None = None,
) -> Iterator[np.ndarray]:
    """Rows of the slide as soon as the two rows of the map that each lies between are there.

    fill(levels, top, row, out): fill `out` (rows, W), or (layers, rows, W), from slide row `row` on; the levels begin
    with row `top` of the map and hold all that is needed. The last row of the map stands for those below it.
    """
    row = top = 0
    kept: np.ndarray | None = None
    for band, is_last in _marking_last(bands):
        _check(band)
        kept = band if kept is None else np.concatenate([kept, band], axis=1)
        kept = np.ascontiguousarray(kept)
        there = top + kept.shape[1]
        if is_last and there != -(-size[0] // scale):
            raise ValueError(f"bands of {there} rows in all, expected {-(-size[0] // scale)} of {size[0]} over {scale}")
        end = size[0] if is_last else min(size[0], _first_row_after(there - 2, scale))
        step = max(1, MAX_BYTES // (size[1] * (layers or 1)))
        for begin in range(row, end, step):
            shape = min(step, end - begin), size[1]
            out = np.empty(shape if layers is None else (layers, *shape), np.uint8)
            fill(kept, top, begin, out)
            yield out
        row = max(row, end)
        before = max(top, min((2 * row + 1 - scale) // (2 * scale), there - 1))
        kept, top = kept[:, before - top :].copy(), before


def _first_row_after(row: int, scale: int) -> int:
    """The first row of the slide that lies behind row `row` + 1 of the map, and so needs the row after."""
    return max(0, -(-(2 * scale * (row + 1) + scale - 1) // 2))


def _marking_last(bands: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, bool]]:
    """Each band, and whether it is the last one."""
    source = itertools.chain(bands, [None])
    before = next(source)
    for band in source:
        yield before, band is None
        before = band


def _check(levels: np.ndarray) -> None:
    if levels.dtype not in (np.uint8, np.float32) or levels.ndim != 3 or not levels.size:
        raise ValueError(f"bands to enlarge are u8 or f32 (K, rows, w), not empty; got {levels.dtype} {levels.shape}")


@kernel
def _place(at, scale, length):
    """The row (or column) of the map before slide pixel `at`, the one after, and how far past, in 1/(2 scale)."""
    place = max(2 * at + 1 - scale, 0)
    before = min(place // (2 * scale), length - 1)
    return before, min(before + 1, length - 1), place - before * 2 * scale


@kernel
def _fill_mask(levels, top, row, scale, cut, mask):
    """Fill mask (rows, W) with the class numbers of the rows from `row` on; levels (K, h, w) begin with row `top`."""
    classes, height, width = levels.shape
    whole = 2.0 * scale
    line = np.empty((classes, width))
    for y in range(mask.shape[0]):
        upper, lower, down = _place(row + y, scale, top + height)
        for k in range(classes):
            for x in range(width):
                line[k, x] = (whole - down) * levels[k, upper - top, x] + down * levels[k, lower - top, x]
        for x in range(mask.shape[1]):
            left, right, past = _place(x, scale, width)
            if classes == 1:
                before, after = line[0, left] - whole * cut, line[0, right] - whole * cut
                mask[y, x] = (whole - past) * before + past * after >= 0
                continue
            best, label = -1.0, 0
            for k in range(classes):
                value = (whole - past) * line[k, left] + past * line[k, right]
                if value > best:
                    best, label = value, k
            mask[y, x] = label


@kernel
def _fill_levels(levels, top, row, scale, enlarged):
    """Fill enlarged (rows, W) with the levels (h, w), which begin with row `top`, rounded half up."""
    height, width = levels.shape
    whole = 2.0 * scale
    line = np.empty(width)
    for y in range(enlarged.shape[0]):
        upper, lower, down = _place(row + y, scale, top + height)
        for x in range(width):
            line[x] = (whole - down) * levels[upper - top, x] + down * levels[lower - top, x]
        for x in range(enlarged.shape[1]):
            left, right, past = _place(x, scale, width)
            total = (whole - past) * line[left] + past * line[right]
            enlarged[y, x] = np.uint8(total / (whole * whole) + 0.5)
