"""Blends of classes that compete: the likeliest of the mean is taken at every pixel.

Where one class leads another in all runs, it leads it in every blend. So at a pixel only the classes are kept that are
led by no other in all runs, and a pixel with one such class is decided. The counts of blends on the others are exact:
the mean is taken as kit.prediction.blended takes it, in f64, run by run, kept in f32.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from kit.scoring.blend_pools import THREADS, Kept, Mix, smallest
from kit.scoring.many_counts import counts_of_matrices
from kit.scoring.metrics import Metric
from kit.system.kernels import kernel

MARGIN = 2.0**-10  # levels by which a class must lead: far above the rounding of f32


class Rivals(NamedTuple):
    """The undecided pixels of an image.

    starts: i64 (P + 1,), where the classes of each pixel begin. classes: u8 (E,), rising. values: f32 (R, E), their
    levels in each run. truth: u8 (P,). decided: i64 (K, K) [truth, prediction], of all other pixels.
    """

    starts: np.ndarray
    classes: np.ndarray
    values: np.ndarray
    truth: np.ndarray
    decided: np.ndarray


def rivals_of(levels: np.ndarray, truth: np.ndarray) -> Rivals:
    """The undecided pixels.

    levels: f32 (R, K, H, W), at the image's own size. truth: u8 (H, W), 255 = ignored. Raises ValueError on other types
    and where truth holds other classes.
    """
    runs, classes = levels.shape[:2]
    if levels.dtype != np.float32 or truth.dtype != np.uint8 or truth.shape != levels.shape[2:]:
        raise ValueError(
            f"levels are f32 (R, K, H, W) and truth is u8 (H, W), got {levels.dtype} {levels.shape} and {truth.dtype} "
            f"{truth.shape}"
        )
    alien = np.setdiff1d(truth[truth >= classes], [255])
    if alien.size:
        raise ValueError(f"truth holds {alien.tolist()}; expected classes 0 to {classes - 1}, and 255 to ignore")
    flat = np.ascontiguousarray(levels).reshape(runs, classes, -1)
    decided, room = np.zeros((classes, classes), np.int64), np.zeros((truth.size, classes), np.bool_)
    _find_rivals(flat, truth.reshape(-1), room, decided)
    pixels = np.flatnonzero(room.any(axis=1))
    own = room[pixels]
    places, kept = np.nonzero(own)
    starts = np.concatenate([[0], own.sum(axis=1).cumsum()])
    values = np.ascontiguousarray(flat[:, kept, pixels[places]])
    return Rivals(starts, kept.astype(np.uint8), values, truth.reshape(-1)[pixels], decided)


class ClassPool:
    """Blends of classes that compete, counted on the undecided pixels alone.

    images: of each image. metric: it must count from confusion matrices.
    """

    layers, reach = 1, (0, 0)

    def __init__(self, images: Sequence[Rivals], metric: Metric) -> None:
        self.images, self.metric = images, metric
        self.n, self.runs = len(images), len(images[0].values)
        self._kept = Kept()
        self._threads = ThreadPoolExecutor(THREADS)

    def counts(self, mix: Mix) -> np.ndarray:
        """The metric's counts of each image, f64 (n, M)."""
        own = smallest(mix.weights[0])

        def make() -> np.ndarray:
            weights = np.array(own)
            matrices = np.stack(list(self._threads.map(lambda image: matrix_of(image, weights), self.images)))
            return counts_of_matrices(self.metric, matrices)

        return self._kept.once(own, make)

    def steps(self, mix: Mix, layer: int | None = None) -> np.ndarray:
        """The same with 1 more of each run, (R, n, M)."""
        more = np.array(mix.weights[0]) + np.eye(self.runs, dtype=int)
        return np.stack([self.counts(mix.with_weights(weights)) for weights in more])

    def shifted(self, mix: Mix, layer: int | None, reach: int) -> tuple[list[int], np.ndarray]:
        """There is no threshold to move."""
        return [0], self.counts(mix)[None]

    def around(self, mix: Mix, layer: int | None, share: float, reach: int) -> "ClassPool":
        """The pool itself."""
        return self


def matrix_of(image: Rivals, weights: np.ndarray) -> np.ndarray:
    """The confusion matrix i64 (K, K) of a blend. weights: i64 (R,), not all 0."""
    found = image.decided.copy()
    _add_likeliest(image.starts, image.classes, image.values, image.truth, weights.astype(np.float64), found)
    return found


@kernel
def _find_rivals(levels, truth, room, decided):
    """Mark the classes that may lead at each pixel that counts; count the pixels where there is one."""
    runs, classes = levels.shape[:2]
    for p in range(truth.size):
        if truth[p] == 255:
            continue
        first = 0
        for k in range(1, classes):
            if levels[0, k, p] > levels[0, first, p]:
                first = k
        leads = True
        for r in range(runs):
            for k in range(classes):
                leads = leads and (k == first or levels[r, first, p] >= levels[r, k, p] + MARGIN)
        if leads:
            decided[truth[p], first] += 1
            continue
        for k in range(classes):
            is_led = False
            for j in range(classes):
                ahead = j != k
                for r in range(runs):
                    ahead = ahead and levels[r, j, p] >= levels[r, k, p] + MARGIN
                is_led = is_led or ahead
            room[p, k] = not is_led


@kernel
def _add_likeliest(starts, classes, values, truth, weights, found):
    total = weights.sum()
    for p in range(truth.size):
        best, highest = np.uint8(0), np.float32(-1.0)
        for e in range(starts[p], starts[p + 1]):
            summed = 0.0
            for r in range(weights.size):
                if weights[r] > 0:
                    summed += weights[r] * values[r, e]
            mean = np.float32(summed / total)
            if mean > highest:
                best, highest = classes[e], mean
        found[truth[p], best] += 1
