"""Several runs as one: the weighted mean of their levels, and the pixels on which the weights have a say.

    levels = blended([a, b], weights, size, rule)        what a Rule takes, of one image
    mask = rule.mask(levels, size)
    pixels, above = undecided([a[0], b[0]], size, 64, 192)

The definition, for out-of-fold and test predictions alike. Each run's levels, of whatever size, are enlarged to the
image's own size and averaged there, and the mean counts as rounded, half up, as the levels of a single run do:

    level = ⌊ Σ n_r E_r / Σ n_r + 1/2 ⌋          n_r: the weights, whole numbers; E_r: the enlarged levels of run r

Weights are whole numbers and E_r are whole numbers of 1/(4HW), so all of it is exact: a pixel never depends on the
order of a sum, and a mask made in another way is the same mask. Of classes that compete, E_r are enlarged in f32 as
Rule does it, and their mean is taken in f64, run by run, and kept in f32.

A mean of maps of one size is enlarged once: bilinear enlarging is linear. There `blended` returns another map with the
same mask, c + (Σ n_r l_r - c Σ n_r) / 2^m with the rule's cut c and 2^m ≥ Σ n_r. It is exact in f32 and reaches c where
the mean does.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from kit.prediction.enlarge import enlarge, mask_above, sums_at
from kit.prediction.object_levels import joined
from kit.prediction.rule import Rule

LARGEST_TOTAL = 1 << 14  # of weights, for which the map above is exact in f32


def blended(levels: Sequence[np.ndarray], weights: np.ndarray, size: tuple[int, int], rule: Rule) -> np.ndarray:
    """The levels of a blend, for `rule` alone: Rule.mask(levels, size) and Rule.edges give the blend's mask.

    levels: of each of R runs u8 (K, h, w). weights: whole numbers, 0 or more, (R,) or (1, R); of classes that are
    decided one by one also (K, R). size: (H, W) of the mask. Returns f32 (K, h, w) or u8 (K, H, W); of classes that
    compete f32 (K, H, W); of objects that networks found u8 (3, H, W), joined with these weights. Raises ValueError on
    other weights.
    """
    if rule.detected:
        return joined(levels, _checked(weights, [one[:1] for one in levels])[0])
    each = _checked(weights, levels)
    if len(levels[0]) > 1 and not rule.sigmoids:
        return _mean_of_classes(levels, each[0], size)
    cuts = rule.cuts if rule.separate else [rule.cut] * len(levels[0])
    alike = len({part.shape for part in levels}) == 1
    if alike and each.sum(axis=1).max() <= LARGEST_TOTAL and _has_one_cut(rule):
        parts = np.stack(levels).astype(np.float32)  # sums of whole numbers below 2^24
        return np.stack([_shifted(own, parts[:, k], cut) for k, (own, cut) in enumerate(zip(each, cuts, strict=True))])
    return enlarged_mean(levels, each, size)


def enlarged_mean(levels: Sequence[np.ndarray], weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mean level at the mask's own size, for any rule of classes that are decided one by one: u8 (K, H, W).

    levels, weights: as of `blended`.
    """
    each = _checked(weights, levels)
    return np.stack([_mean_at(own, [part[k] for part in levels], size) for k, own in enumerate(each)])


def weights_of_networks(weights: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The weights of all networks of a blend, (K, networks), run by run: those of a run share its weight alike.

    weights: of the runs, whole numbers (K, R). counts: how many networks of each run take part. Where a class has no
    network with a weight, because those take no part yet, all that do count alike.
    """
    common = math.lcm(*(count for count in counts if count))
    shares = [(r, common // count) for r, count in enumerate(counts) for _ in range(count)]
    found = np.array([[int(own[r]) * share for r, share in shares] for own in weights])
    found[found.sum(axis=1) == 0] = [share for _, share in shares]
    return found


def undecided(
    levels: Sequence[np.ndarray], size: tuple[int, int], low: int, high: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that no blend of runs decides alone, and on which side the others are.

    levels: of each run u8 (h, w). low, high: the lowest and the highest level from which on a pixel may be foreground.
    Returns the places i64 (P,), along rows, of the pixels that are not below `low` in all runs and not at or above
    `high` in all, or a few more; and u8 (H, W), 1 where a pixel is at or above `high` in all runs.
    """
    some, all_above = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    for shape in {level.shape for level in levels}:
        alike = [level for level in levels if level.shape == shape]
        some |= mask_above(np.max(alike, axis=0), size, low - 0.5)  # the mean of maxima is no less than any mean
        all_above &= mask_above(np.min(alike, axis=0), size, high - 0.5)
    return np.flatnonzero(some > all_above), all_above


def _checked(weights: np.ndarray, levels: Sequence[np.ndarray]) -> np.ndarray:
    """The weights i64 (K, R)."""
    each = np.asarray(weights)
    count = len(levels[0])
    if each.ndim == 1 or len(each) == 1:
        each = np.broadcast_to(each, (count, each.shape[-1]))
    is_whole = np.issubdtype(each.dtype, np.integer) and (each >= 0).all()
    if each.shape != (count, len(levels)) or not is_whole or not each.sum(axis=1).all():
        raise ValueError(
            f"weights are whole numbers, 0 or more, one of each of {len(levels)} runs (and {count} classes), and not "
            f"all 0; got {np.asarray(weights).tolist()}"
        )
    return each.astype(np.int64)


def _has_one_cut(rule: Rule) -> bool:
    """Whether the rule asks one thing of a level: that it reaches the threshold."""
    return not rule.border and dataclasses.replace(rule, threshold=0.5, objects=False, min_area=0) == Rule()


def _shifted(weights: np.ndarray, levels: np.ndarray, cut: float) -> np.ndarray:
    """The map f32 (h, w) of the file's head. levels: f32 (R, h, w)."""
    total = int(weights.sum())
    summed = np.tensordot(weights.astype(np.float32), levels, axes=1) - np.float32(cut * total)
    return summed / np.float32(1 << (total - 1).bit_length()) + np.float32(cut)


def _mean_at(weights: np.ndarray, levels: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The mean at the image's own size, u8 (H, W)."""
    used = [(int(n), level) for n, level in zip(weights, levels, strict=True) if n]
    if len(used) == 1:
        return enlarge(used[0][1], size)
    pixels = np.arange(size[0] * size[1])
    total = sum(n for n, _ in used) * 4 * len(pixels)
    sums = sum(n * sums_at(level, size, pixels) for n, level in used)
    return ((2 * sums + total) // (2 * total)).astype(np.uint8).reshape(size)


def _mean_of_classes(levels: Sequence[np.ndarray], weights: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mean at the image's own size of classes that compete, f32 (K, H, W)."""
    total = np.float64(weights.sum())
    mean = np.empty((len(levels[0]), *size), np.float32)
    for k in range(len(mean)):
        summed = np.zeros(size)
        for n, part in zip(weights, levels, strict=True):
            if n:
                summed += np.float64(n) * enlarged_class(part[k], size)
        mean[k] = summed / total
    return mean


def enlarged_class(level: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The levels u8 (h, w) of one of several classes at the image's own size: f32 (H, W), as Rule enlarges them."""
    return cv2.resize(level.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
