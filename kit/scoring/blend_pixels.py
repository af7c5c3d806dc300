"""The pixels of an image on which a blend has a say: the others are counted once, for all blends.

A blend's level is a mean of the runs' levels with weights of 0 or more, so it lies between the lowest and the highest
of them. A pixel that all runs put on one side of every threshold considered stays there, whatever the weights are.
Weights of another sum than 1 are weights of sum 1 at another threshold, so the thresholds considered must cover these.
About one pixel in a hundred is left; counting a blend on these is exact.

All values are whole numbers (see kit.prediction.blended): the enlarged level less the cut, times four times the number
of the image's pixels, so that a weighted sum of 0 or more is foreground. Sums stay below 2^53 and are exact in f64.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kit.system.kernels import kernel

BLOCK = 1024  # pixels that are summed together: they stay in the processor's cache
MOST = 1 << 31


class Layer(NamedTuple):
    """One class of one image, or its one foreground.

    values: i32 or i64 (R, P), of each run at the undecided pixels. truth: u8 (P,), 0 or 1. near: runs disagree at the
    cut itself at the first so many pixels. decided: i64 (2, 2) [truth, prediction], the pixels that are not here.
    rest: i64 (2, 2), those after the first `near`, at the cut. unit: one level in `values`. furthest: the largest
    distance of a value from 0.
    """

    values: np.ndarray
    truth: np.ndarray
    near: int
    decided: np.ndarray
    rest: np.ndarray
    unit: int
    furthest: int


class Pack(NamedTuple):
    """The layers of one class of many images in one piece: counted in one call, without Python between two images.

    values: i32 or i64, of each image its (R, P) along rows, one after the other. truth: u8, the same of (P,).
    ends: i64 (n + 1,), where the pixels of each image begin, and the last ones end. decided: i64 (n, 2, 2), with `rest`
    where that is outside. units: f64 (n,).
    """

    values: np.ndarray
    truth: np.ndarray
    ends: np.ndarray
    decided: np.ndarray
    units: np.ndarray


def pack_of(layers: Sequence[Layer]) -> tuple[Pack, list[Layer]]:
    """The layers of some images together, all their pixels near; and the same layers as views of it."""
    values = np.concatenate([layer.values.reshape(-1) for layer in layers])
    ends = np.cumsum([0, *(layer.truth.size for layer in layers)])
    decided, units = np.stack([layer.decided for layer in layers]), np.array([layer.unit for layer in layers], float)
    truth, runs = np.concatenate([layer.truth for layer in layers]), len(layers[0].values)
    views = [
        layer._replace(values=values[runs * begin : runs * end].reshape(runs, end - begin), truth=truth[begin:end])
        for layer, begin, end in zip(layers, ends[:-1], ends[1:], strict=True)
    ]
    return Pack(values, truth, ends, decided, units), views


def layer_of(sums: np.ndarray, truth: np.ndarray, decided: np.ndarray, unit: int, level: int) -> Layer:
    """The layer of a class.

    sums: i64 (R, P), the enlarged levels at the undecided pixels times `unit`, which is 4HW. truth: u8 (P,) of 0, 1 and
    255, which is in no count. decided: the counts of all other pixels. level: the lowest level of the foreground.
    """
    counted = truth != 255
    values, truth = sums[:, counted] - (2 * level - 1) * (unit // 2), truth[counted]
    low, high = values.min(axis=0, initial=MOST), values.max(axis=0, initial=-MOST)
    far = (low >= 0) | (high < 0)
    order = np.argsort(far, kind="stable")
    near = int((~far).sum())
    values, truth = np.ascontiguousarray(values[:, order]), np.ascontiguousarray(truth[order])
    furthest = int(max(high.max(initial=0), -low.min(initial=0)))
    if furthest + 1 < MOST:
        values = values.astype(np.int32)
    rest = np.zeros((2, 2), np.int64)
    np.add.at(rest, (truth[near:], (values[0, near:] >= 0).astype(int)), 1)
    return Layer(values, truth, near, decided, rest, unit, furthest)


def layer_around(layer: Layer, weights: np.ndarray, share: float, shifts: tuple[int, int]) -> Layer:
    """The layer with the pixels alone that blends close to one blend can change.

    weights: i64 (R,), of that blend. Close are those of the same runs that take at most `share` of all weight from some
    and give it to others, with the cut moved by `shifts`, from the lowest to the highest.
    """
    sides = np.empty(layer.truth.size, np.uint8)
    floor, ceiling = (float(shift) * layer.unit for shift in shifts)
    _sides(layer.values, weights, share, floor, ceiling, layer.unit * 1e-6, sides)
    kept, decided = np.flatnonzero(sides == 2), layer.decided.copy()
    for t in (0, 1):
        for side in (0, 1):
            decided[t, side] += np.count_nonzero((layer.truth == t) & (sides == side))
    values = np.ascontiguousarray(layer.values[:, kept])
    rest = np.zeros((2, 2), np.int64)
    return layer._replace(values=values, truth=layer.truth[kept], near=len(kept), decided=decided, rest=rest)


def counts_at(layer: Layer, weights: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The matrices i64 (S, 2, 2) [truth, prediction] of a blend, with the cut moved by each of `shifts`.

    weights: i64 (R,), not all 0. shifts: whole levels, i64 (S,), rising, within the thresholds considered.
    """
    if len(shifts) == 1 and shifts[0] == 0:
        found = np.zeros((2, 2), np.int64)
        _add_at_cut(layer.values, layer.truth, layer.near, weights, found)
        return (found + layer.decided + layer.rest)[None]
    first, last = int(shifts[0]), int(shifts[-1])
    bins = np.zeros((2, last - first + 2), np.int64)
    _add_bins(layer.values, layer.truth, weights, float(weights.sum() * layer.unit), first, bins)
    below = bins.cumsum(axis=1)[:, shifts - first]
    return np.stack([below, bins.sum(axis=1)[:, None] - below], axis=2).swapaxes(0, 1) + layer.decided


def counts_of_pack(pack: Pack, weights: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """The same of all images of a pack: i64 (n, S, 2, 2)."""
    first, last = int(shifts[0]), int(shifts[-1])
    bins = np.zeros((len(pack.units), 2, last - first + 2), np.int64)
    _add_bins_of_images(pack.values, pack.truth, pack.ends, weights, pack.units * float(weights.sum()), first, bins)
    below = bins.cumsum(axis=2)[..., shifts - first]
    found = np.stack([below, bins.sum(axis=2)[..., None] - below], axis=3)  # (n, truth, S, prediction)
    return found.swapaxes(1, 2) + pack.decided[:, None]


def counts_of_steps(layer: Layer, weights: np.ndarray) -> np.ndarray:
    """The matrices i64 (R, 2, 2) at the cut, of the blends with 1 more of each run. weights: i64 (R,), may be all 0."""
    found = np.zeros((len(layer.values), 2, 2), np.int64)
    _add_steps(layer.values, layer.truth, layer.near, weights, float(layer.furthest), found)
    return found + layer.decided + layer.rest


@kernel
def _sum_block(values, weights, begin, end, sums):
    """Write the weighted sums of the pixels from begin to end."""
    count = end - begin
    sums[:count] = 0.0
    for r in range(weights.size):
        if weights[r]:
            weight, row = float(weights[r]), values[r, begin:end]
            for i in range(count):
                sums[i] += weight * row[i]


@kernel
def _ends_of_block(values, weights, begin, end, low, high):
    """Write the lowest and the highest value of each pixel, of the runs that have a weight."""
    count = end - begin
    low[:count], high[:count] = np.inf, -np.inf
    for r in range(weights.size):
        if weights[r]:
            row = values[r, begin:end]
            for i in range(count):
                low[i] = min(low[i], float(row[i]))
                high[i] = max(high[i], float(row[i]))


@kernel
def _sides(values, weights, share, floor, ceiling, margin, sides):
    """Write for each pixel 0 or 1, its side while the blend stays close, or 2 where it may change.

    floor, ceiling: the lowest and the highest cut, in units of `values`.
    """
    sums, low, high = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    total = float(weights.sum())
    for begin in range(0, sides.size, BLOCK):
        end = min(begin + BLOCK, sides.size)
        _sum_block(values, weights, begin, end, sums)
        _ends_of_block(values, weights, begin, end, low, high)
        for i in range(end - begin):
            mean, way = sums[i] / total, share * (high[i] - low[i]) + margin
            sides[begin + i] = 1 if mean - way >= ceiling else 0 if mean + way < floor else 2


@kernel
def _add_at_cut(values, truth, near, weights, found):
    sums = np.empty(BLOCK)
    for begin in range(0, near, BLOCK):
        end = min(begin + BLOCK, near)
        _sum_block(values, weights, begin, end, sums)
        hits = above = true = 0
        for i in range(end - begin):
            reached = np.int64(sums[i] >= 0)
            above += reached
            true += truth[begin + i]
            hits += reached & truth[begin + i]
        found[1, 1] += hits
        found[1, 0] += true - hits
        found[0, 1] += above - hits
        found[0, 0] += end - begin - true - above + hits


@kernel
def _add_bins(values, truth, weights, level, first, bins):
    """Count by how many whole levels each blended value is above the cut.

    Bin i holds those below a cut moved by first + i that are not in bin i - 1; the last one those above all cuts.
    Neighbours are counted in two tables in turn, because a count that has just been written is slow to read again.
    """
    sums, places = np.empty(BLOCK), np.empty(BLOCK, np.int32)
    shift, last = float(1 - first), float(bins.shape[1] - 1)
    odd = np.zeros_like(bins)
    for begin in range(0, truth.size, BLOCK):
        end = min(begin + BLOCK, truth.size)
        _sum_block(values, weights, begin, end, sums)
        for i in range(end - begin):
            sums[i] = min(max(np.floor(sums[i] / level) + shift, 0.0), last)
        for i in range(end - begin):
            places[i] = np.int32(sums[i])
        for i in range(0, end - begin - 1, 2):
            bins[truth[begin + i], places[i]] += 1
            odd[truth[begin + i + 1], places[i + 1]] += 1
        if (end - begin) % 2:
            bins[truth[end - 1], places[end - begin - 1]] += 1
    bins += odd


@kernel
def _add_bins_of_images(values, truth, ends, weights, levels, first, bins):
    for n in range(levels.size):
        begin, end = ends[n], ends[n + 1]
        own = values[begin * weights.size : end * weights.size].reshape(weights.size, end - begin)
        _add_bins(own, truth[begin:end], weights, levels[n], first, bins[n])


@kernel
def _add_steps(values, truth, near, weights, furthest, found):
    """Add the counts of each step: where a run's value reaches what the sum of the others leaves to be reached.

    furthest: no value is further from 0. What is left, a whole number, is kept within that, so that it is of the type
    of the values, and many are compared at once.
    """
    sums, left = np.empty(BLOCK), np.empty(BLOCK, values.dtype)
    for begin in range(0, near, BLOCK):
        end = min(begin + BLOCK, near)
        count, marks = end - begin, truth[begin:end]
        _sum_block(values, weights, begin, end, sums)
        for i in range(count):
            left[i] = min(max(-sums[i], -furthest), furthest + 1)
        true = 0
        for i in range(count):
            true += marks[i]
        for r in range(values.shape[0]):
            row = values[r, begin:end]
            above = hits = 0
            for i in range(count):
                reached = row[i] >= left[i]
                above += reached
                hits += reached & marks[i]
            found[r, 1, 1] += hits
            found[r, 1, 0] += true - hits
            found[r, 0, 1] += above - hits
            found[r, 0, 0] += count - true - above + hits
