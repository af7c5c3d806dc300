"""What a blend of runs counts in each image: the candidates that a search compares.

    pool.counts(mix)                    f64 (n, M) the metric's counts of each image
    pool.steps(mix, layer)              (R, n, M) with 1 more of each run
    pool.shifted(mix, layer, reach)     the same with the cut moved by up to `reach` levels, and by how many

layer: the class that is changed, where classes are decided one by one; None changes all of them alike.
"""

import functools
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from kit.scoring.blend_pixels import Layer, Pack, counts_at, counts_of_pack, counts_of_steps, layer_around, pack_of
from kit.scoring.many_counts import counts_of_matrices
from kit.scoring.metrics import Metric

THREADS = min(4, os.cpu_count() or 1)  # the kernels release the lock of Python
PACKS = 4 * THREADS  # of images that are counted together
FEW = 50  # images that are counted without threads
KEPT_BYTES = 1 << 25  # of counts that were asked for before: the searches of several folds share most of them


class Mix(NamedTuple):
    """A blend. weights: whole numbers (K, R), of each class. shifts: (K,) levels by which the cut is moved."""

    weights: tuple[tuple[int, ...], ...]
    shifts: tuple[int, ...]

    @property
    def members(self) -> tuple[int, ...]:
        """The runs that have a weight."""
        return tuple(r for r, each in enumerate(zip(*self.weights, strict=True)) if any(each))

    def with_weights(self, weights: Sequence[int], layer: int | None = None) -> "Mix":
        """Other weights (R,), of one class or of all."""
        own = tuple(map(int, weights))
        return self._replace(weights=tuple(own if layer in (None, k) else old for k, old in enumerate(self.weights)))

    def with_shift(self, by: int, layer: int | None = None) -> "Mix":
        """The cut moved by so many levels more, of one class or of all."""
        return self._replace(shifts=tuple(s + by * (layer in (None, k)) for k, s in enumerate(self.shifts)))


def alike(weights: Sequence[int], layers: int) -> Mix:
    """The blend with the same weights (R,) for all classes, at their own cuts."""
    return Mix((tuple(map(int, weights)),) * layers, (0,) * layers)


class Pool(Protocol):
    """What a search needs. runs: R. layers: K classes that are decided one by one, else 1. n: images.

    reach: by how many levels the cuts may be moved, down and up; (0, 0) where there are none.
    """

    runs: int
    layers: int
    n: int
    reach: tuple[int, int]
    metric: Metric

    def counts(self, mix: Mix) -> np.ndarray:
        """The metric's counts of each image, f64 (n, M)."""
        ...

    def steps(self, mix: Mix, layer: int | None = None) -> np.ndarray:
        """The same with 1 more of each run: (R, n, M)."""
        ...

    def shifted(self, mix: Mix, layer: int | None, reach: int) -> tuple[list[int], np.ndarray]:
        """By how many levels the cuts are moved, S numbers, and the counts (S, n, M)."""
        ...

    def around(self, mix: Mix, layer: int | None, share: float, reach: int) -> "Pool":
        """A pool of the blends close to one, which may be faster: at most `share` of the weight of `layer` is moved
        among its members, and its cut by `reach` levels."""
        ...


class Kept:
    """Arrays that were asked for before, while they take less than KEPT_BYTES; the last used are kept."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._bytes = 0

    def once(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of a key, made where it is not kept."""
        if key in self._arrays:
            self._arrays.move_to_end(key)
            return self._arrays[key]
        found = make()
        self._arrays[key], self._bytes = found, self._bytes + found.nbytes
        while self._bytes > KEPT_BYTES and len(self._arrays) > 1:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return found


class PixelPool:
    """Blends counted on the undecided pixels alone: exact, and hundreds of times faster than making masks.

    images: of each of n images its K layers, see blend_pixels.py. metric: it must count from confusion matrices.
    reach: the levels (down, up) by which a cut may be moved so that the layers' decided pixels stay decided.
    overlapping: classes have a matrix each, also where there is one class only. packs: of each class the same layers,
    where images have so few pixels that they are counted many at a time.
    """

    def __init__(
        self,
        images: Sequence[Sequence[Layer]],
        metric: Metric,
        reach: tuple[int, int] = (-64, 64),
        overlapping: bool = False,
        packs: Sequence[Sequence[Pack]] = (),
    ) -> None:
        self.images, self.metric, self.reach, self.overlapping = images, metric, reach, overlapping
        self.n, self.layers, self.runs = len(images), len(images[0]), len(images[0][0].values)
        self._kept = Kept()
        self._threads = ThreadPoolExecutor(THREADS)
        self._packs = packs or [[]] * self.layers

    def counts(self, mix: Mix) -> np.ndarray:
        """The metric's counts of each image, f64 (n, M)."""
        return self._counts([self._at(k, mix)[0] for k in range(self.layers)])

    def steps(self, mix: Mix, layer: int | None = None) -> np.ndarray:
        """The same with 1 more of each run, (R, n, M), at the cuts themselves."""
        parts = [
            self._steps(k, mix.weights[k])
            if layer in (None, k)
            else np.broadcast_to(self._at(k, mix), (self.runs, self.n, 2, 2))
            for k in range(self.layers)
        ]
        return self._counts(parts)

    def shifted(self, mix: Mix, layer: int | None, reach: int) -> tuple[list[int], np.ndarray]:
        """By how many levels the cuts are moved, S numbers, and the counts (S, n, M)."""
        moved = [s for k, s in enumerate(mix.shifts) if layer in (None, k)]
        first, last = max(-reach, self.reach[0] - min(moved)), min(reach, self.reach[1] - max(moved))
        shifts = range(first, last + 1)
        parts = [
            self._at(k, mix, shifts)
            if layer in (None, k)
            else np.broadcast_to(self._at(k, mix), (len(shifts), self.n, 2, 2))
            for k in range(self.layers)
        ]
        return list(shifts), self._counts(parts)

    def around(self, mix: Mix, layer: int | None, share: float, reach: int) -> "PixelPool":
        """The pool of blends close to one, on fewer pixels: of the same runs, see layer_around."""
        own = [k for k in range(self.layers) if layer in (None, k)]
        low, high = (max(self.reach[0], mix.shifts[own[0]] - reach), min(self.reach[1], mix.shifts[own[0]] + reach))

        def narrowed(layers: Sequence[Layer]) -> list[Layer]:
            return [
                layer_around(one, np.array(mix.weights[k]), share, (low, high)) if k in own else one
                for k, one in enumerate(layers)
            ]

        images, packs = [], [[] for _ in range(self.layers)]
        for rows in np.array_split(np.arange(self.n), min(PACKS, self.n)):
            parts = [[*layers] for layers in self._threads.map(narrowed, [self.images[i] for i in rows])]
            for k in own:  # the layers of other classes stay those of this pool
                pack, views = pack_of([layers[k] for layers in parts])
                packs[k].append(pack)
                for layers, view in zip(parts, views, strict=True):
                    layers[k] = view
            images += parts
        return PixelPool(images, self.metric, (low, high), self.overlapping, packs)

    def _counts(self, parts: list[np.ndarray]) -> np.ndarray:
        """The counts (..., M) of each layer's matrices (..., 2, 2)."""
        if self.overlapping:
            return counts_of_matrices(self.metric, np.stack(parts, axis=-3), overlapping=True)
        return counts_of_matrices(self.metric, parts[0])

    def _at(self, k: int, mix: Mix, by: Sequence[int] = (0,)) -> np.ndarray:
        """The matrices (S, n, 2, 2) of a class with its cut moved further."""
        weights, shifts = np.array(mix.weights[k]), np.array(by) + mix.shifts[k]
        key = k, mix.weights[k], int(shifts[0]), len(shifts)
        if packs := self._packs[k]:
            count = functools.partial(counts_of_pack, weights=weights, shifts=shifts)
            return self._kept.once(key, lambda: np.concatenate([*self._threads.map(count, packs)])).swapaxes(0, 1)
        return self._once(key, lambda layers: counts_at(layers[k], weights, shifts)).swapaxes(0, 1)

    def _steps(self, k: int, weights: tuple[int, ...]) -> np.ndarray:
        """The matrices (R, n, 2, 2) of a class."""
        each = np.array(weights)
        return self._once((k, weights), lambda layers: counts_of_steps(layers[k], each)).swapaxes(0, 1)

    def _once(self, key: tuple, count: Callable[[Sequence[Layer]], np.ndarray]) -> np.ndarray:
        """What is counted in every image, (n, ...), in threads; kept while there is room."""

        def make() -> np.ndarray:
            parts = np.array_split(np.arange(self.n), 8 * THREADS if self.n > FEW else 1)
            mapped = self._threads.map if self.n > FEW else map
            counted = mapped(lambda rows: [count(self.images[i]) for i in rows], parts)
            return np.stack([one for part in counted for one in part])

        return self._kept.once(key, make)


class MaskPool:
    """Blends counted by whole masks: for metrics that look at borders or objects, and for any other rule.

    count(i, weights i64 (K, R), shifts) -> f64 (M,): the metric's counts of image i.
    """

    def __init__(
        self,
        count: Callable[[int, np.ndarray, tuple[int, ...]], np.ndarray],
        sizes: tuple[int, int, int],
        metric: Metric,
        reach: tuple[int, int] = (-64, 64),
    ) -> None:
        self._count, self.metric, self.reach = count, metric, reach
        self.n, self.layers, self.runs = sizes
        self._kept = Kept()
        self._threads = ThreadPoolExecutor(THREADS)

    def counts(self, mix: Mix) -> np.ndarray:
        """The metric's counts of each image, f64 (n, M)."""
        weights = np.array(mix.weights)

        def make() -> np.ndarray:
            return np.stack(list(self._threads.map(lambda i: self._count(i, weights, mix.shifts), range(self.n))))

        return self._kept.once(mix, make)

    def steps(self, mix: Mix, layer: int | None = None) -> np.ndarray:
        """The same with 1 more of each run, (R, n, M), at the cuts themselves."""
        more = np.eye(self.runs, dtype=int)
        bases = [np.array(mix.weights[layer or 0]) + one for one in more]
        return np.stack([self.counts(self._plain(mix.with_weights(weights, layer))) for weights in bases])

    def shifted(self, mix: Mix, layer: int | None, reach: int) -> tuple[list[int], np.ndarray]:
        """By how many levels the cuts are moved, and the counts (S, n, M). A few of them: each is a mask."""
        moved = [s for k, s in enumerate(mix.shifts) if layer in (None, k)]
        steps = sorted({0, *(sign * reach // part for sign in (-1, 1) for part in (1, 2, 4))})
        shifts = [s for s in steps if self.reach[0] - min(moved) <= s <= self.reach[1] - max(moved)]
        return shifts, np.stack([self.counts(self._plain(mix.with_shift(s, layer))) for s in shifts])

    def around(self, mix: Mix, layer: int | None, share: float, reach: int) -> "MaskPool":
        """The pool itself."""
        return self

    @staticmethod
    def _plain(mix: Mix) -> Mix:
        """The same blend in its smallest numbers: counted once."""
        return mix._replace(weights=tuple(smallest(own) for own in mix.weights))


def smallest(weights: Sequence[int]) -> tuple[int, ...]:
    """The weights without a common factor."""
    return tuple(int(n) for n in np.array(weights) // max(1, np.gcd.reduce(np.array(weights))))
