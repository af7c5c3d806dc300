"""The sign-flip test: how often would two equal runs differ by this much?

Under the null hypothesis the two runs could change places in any group without anybody noticing. So all 2^G ways to
swap them are equally likely, and p is the share of them whose difference is at least as large as the real one (Fisher,
"The Design of Experiments", 1935, section 21). Nothing is assumed about the shape of the differences.

The real difference and its mirror image are always among the 2^G, so p is never below 2/2^G: with fewer than six
groups the test cannot call any difference significant at 5 %.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

MOST_GROUPS = 20  # up to which every way is tried
MOST_COUNTS = 2**24  # sums that are scored at most; a score of many counts is tried at random earlier
RANDOM_FLIPS = 20_000
SEED = 0  # of the random flips
CHUNK = 2**20  # numbers at once


class Flips(NamedTuple):
    """p: of the two-sided test. count: how many ways were tried. exact: all of them, or else random ones (seed 0).

    smallest: the smallest p that this number of groups allows.
    """

    p: float
    count: int
    exact: bool
    smallest: float


def flip_groups(a: np.ndarray, b: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> Flips:
    """Test whether score(Σ b) differs from score(Σ a) by swapping a and b in groups.

    a, b: (G, M), the sums of counts of each group. score: maps sums (..., M) to scores (...).
    """
    groups, width = a.shape
    exact = groups <= MOST_GROUPS and 2 ** (groups - 1) * width <= MOST_COUNTS
    count = 2 ** (groups - 1) if exact else RANDOM_FLIPS
    rows = max(1, CHUNK // max(groups, width))
    random = np.random.default_rng(SEED)
    real = abs(_differences(np.zeros((1, groups)), a, b, score)[0])
    bound, as_large = real - 1e-12 - 1e-9 * real, 0
    for begin in range(0, count, rows):
        numbers = np.arange(begin, min(begin + rows, count))
        swapped = _bits(numbers, groups) if exact else random.integers(0, 2, (len(numbers), groups)).astype(float)
        as_large += int(np.count_nonzero(~(np.abs(_differences(swapped, a, b, score)) < bound)))
    smallest = 2.0 ** (1 - groups)
    return Flips(as_large / count, 2 * count, True, smallest) if exact else _of_random(as_large, count, smallest)


def _of_random(as_large: int, count: int, smallest: float) -> Flips:
    """The real difference counts as one of the ways, so p is never 0 (Phipson and Smyth 2010)."""
    return Flips((as_large + 1) / (count + 1), count, False, max(smallest, 1 / (count + 1)))


def _bits(numbers: np.ndarray, groups: int) -> np.ndarray:
    """Which groups are swapped, f64 (N, G): the last one never, because swapping all the others is the mirror image."""
    return (numbers[:, None] >> np.arange(groups) & 1).astype(float)


def _differences(
    swapped: np.ndarray, a: np.ndarray, b: np.ndarray, score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The difference (N,) of the scores when groups are swapped: f64 (N, G) of 0 and 1."""
    kept = 1 - swapped
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(score(kept @ b + swapped @ a) - score(kept @ a + swapped @ b), float)
