"""The out-of-fold predictions of several runs, made ready to be blended."""

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kit.data.resize import single_threaded_cv2
from kit.prediction.blended import blended, enlarged_class, undecided
from kit.prediction.enlarge import sums_at
from kit.prediction.rule import Rule
from kit.runs.finished import FinishedRun
from kit.scoring.blend_classes import ClassPool, Rivals, rivals_of
from kit.scoring.blend_pixels import Layer, layer_of
from kit.scoring.blend_pools import THREADS, MaskPool, Mix, PixelPool, Pool
from kit.scoring.blend_search import SHARES, STEPS
from kit.scoring.blending import searches
from kit.scoring.confusion import confusion_matrix
from kit.system.threads import ordered_map

REACH = 64  # levels by which a threshold may move, down or up: from 0.5 to 0.25 and 0.75
TRIED = 16  # images after which the memory that all of them will take is known
MOST_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # bytes
LONGEST = 3600.0  # seconds that a search by whole masks may take

Progress = Callable[[Iterable, int], Iterable]


class Mixed(NamedTuple):
    """A blend as it makes masks: the weights, and the rule of their levels, with the thresholds that the mix moves.

    tuned: the areas of the rule are of images at their own size (kit.runs.submit.RowsOf).
    """

    mix: Mix
    rule: Rule
    tuned: bool = False


def common_rule(runs: Sequence[FinishedRun]) -> Rule:
    """The rule of a blend: that of the runs, whose threshold may move. Where theirs differ it begins at their mean.

    Raises ValueError where the rules of two runs differ in more than the threshold.
    """
    plain = [dataclasses.replace(run.rule, threshold=0.5) for run in runs]
    for run, rule in zip(runs, plain, strict=True):
        if rule != plain[0]:
            raise ValueError(
                f"{runs[0].folder} and {run.folder} make masks by other rules, {runs[0].rule} and {run.rule}; a blend "
                "has one, and they may differ in the threshold alone. Give the recipes the same Rule and run them "
                "again; finished folds are not trained again"
            )
    first = runs[0].rule
    if is_competing(runs[0]) or {run.rule.threshold for run in runs} == {first.threshold}:
        return first
    total = np.sum([levels_of(run.rule) for run in runs], axis=0)
    mean = (2 * total + len(runs)) // (2 * len(runs))  # rounded, a half up
    return _at_levels(first, mean)


def is_competing(run: FinishedRun) -> bool:
    """Whether a pixel is of the likeliest of several classes, so that there is no threshold."""
    return run.task.outputs > 1 and not run.rule.separate


def levels_of(rule: Rule) -> np.ndarray:
    """The lowest level of the foreground, of each class that is decided by itself: int (K,)."""
    cuts = rule.cuts if rule.separate else [rule.cut]
    return np.array([round(cut + 0.5) for cut in cuts])


def moved_rule(rule: Rule, shifts: Sequence[int]) -> Rule:
    """The rule with its thresholds moved by so many levels, (K,)."""
    if not any(shifts):
        return rule
    return _at_levels(rule, levels_of(rule) + np.array(shifts))


def _at_levels(rule: Rule, levels: np.ndarray) -> Rule:
    """The rule with these lowest levels of the foreground, int (K,)."""
    moved = tuple(float(level) / 256 for level in levels)
    return dataclasses.replace(rule, threshold=moved if rule.separate else moved[0])


def own_shifts(runs: Sequence[FinishedRun]) -> np.ndarray:
    """By how many levels the thresholds of each run are away from those of the common rule: int (R, K)."""
    common = levels_of(common_rule(runs))
    return np.stack([levels_of(run.rule) - common for run in runs])


def pool_of(runs: Sequence[FinishedRun], progress: Progress = lambda items, total: items) -> Pool:
    """The blends of joined runs, see join_runs. progress: wraps the images while they are read.

    Counted on the undecided pixels where the metric and the rule look at pixels alone, else by whole masks.
    Raises ValueError for slides, and where whole masks would take longer than LONGEST.
    """
    first, rule = runs[0], common_rule(runs)
    if first.has_slides:
        raise ValueError(f"{first.folder} holds predictions of slides: blends are of images that memory holds whole")
    for run in runs:
        run.check_truth()
    plain = dataclasses.replace(rule, threshold=0.5) == Rule()
    if not (plain and hasattr(first.metric, "counts_of_matrix")):
        return _mask_pool(runs, rule)
    reach = _reach(runs, rule)
    one = _rivals if is_competing(first) else functools.partial(_layers, levels=levels_of(rule), reach=reach)
    with single_threaded_cv2():
        read = ordered_map(lambda id: one(runs, id), first.ids, THREADS)
        images = []
        for image in progress(read, len(first.ids)):
            images.append(image)
            if len(images) == TRIED:
                _check_memory(runs, images)
    if is_competing(first):
        return ClassPool(images, first.metric)
    return PixelPool(images, first.metric, reach, overlapping=rule.separate)


def _reach(runs: Sequence[FinishedRun], rule: Rule) -> tuple[int, int]:
    """By how many levels every threshold may move, down and up; that of each run is within it."""
    levels, moved = levels_of(rule), own_shifts(runs)
    low, high = min(-REACH, moved.min()), max(REACH, moved.max())
    return int(max(low, 1 - levels.min())), int(min(high, 255 - levels.max()))


def _layers(runs: Sequence[FinishedRun], id: str, levels: np.ndarray, reach: tuple[int, int]) -> list[Layer]:
    """The layers of an image, one a class that is decided by itself."""
    truth, maps = runs[0].truth(id), [run.levels(id) for run in runs]
    layers = np.moveaxis(truth, 2, 0) if truth.ndim == 3 else [truth]
    return [
        _layer([own[k] for own in maps], np.ascontiguousarray(layer).view(np.uint8), int(level), reach)
        for k, (layer, level) in enumerate(zip(layers, levels, strict=True))
    ]


def _layer(maps: list[np.ndarray], truth: np.ndarray, level: int, reach: tuple[int, int]) -> Layer:
    size = truth.shape
    pixels, above = undecided(maps, size, level + reach[0], level + reach[1])
    own = truth.reshape(-1)[pixels]
    decided = confusion_matrix(truth, above, 2) - confusion_matrix(own, above.reshape(-1)[pixels], 2)
    sums = np.stack([sums_at(one, size, pixels) for one in maps])
    return layer_of(sums, own, decided, 4 * size[0] * size[1], level)


def _rivals(runs: Sequence[FinishedRun], id: str) -> Rivals:
    """The same of classes that compete."""
    truth = runs[0].truth(id)
    maps = [[enlarged_class(level, truth.shape) for level in run.levels(id)] for run in runs]
    return rivals_of(np.array(maps), truth)


def _check_memory(runs: Sequence[FinishedRun], images: Sequence[list[Layer] | Rivals]) -> None:
    """Raise ValueError where the undecided pixels of all images need too much memory, saying which runs leave many."""
    layers = [part for image in images for part in ([image] if isinstance(image, Rivals) else image)]
    taken = sum(part.values.nbytes + part.truth.nbytes for part in layers) / len(images) * len(runs[0].ids)
    if taken <= MOST_MEMORY:
        return
    shares = []
    for run in runs:
        levels = np.concatenate([run.levels(id).reshape(-1) for id in run.ids[:TRIED]])
        shares.append(f"{run.folder} {np.mean((levels >= 128 - REACH) & (levels < 128 + REACH)):.1%}")
    raise ValueError(
        f"the pixels on which these runs differ, or are unsure, would take {taken / 1e9:.1f} GB of memory, more than "
        f"half of what this machine has. Of each run's pixels these have a probability between 0.25 and 0.75: "
        f"{', '.join(shares)}. Leave out a run that is unsure of most pixels: it does not help a blend"
    )


def _mask_pool(runs: Sequence[FinishedRun], rule: Rule) -> MaskPool:
    """Blends counted by whole masks, after the time that they would take was measured."""
    first, competing = runs[0], is_competing(runs[0])
    reach = (0, 0) if competing else _reach(runs, rule)

    def count(i: int, weights: np.ndarray, shifts: tuple[int, ...]) -> np.ndarray:
        truth = first.truth(first.ids[i])
        maps = [run.levels(first.ids[i]) for run in runs]
        moved = rule if competing else moved_rule(rule, shifts)
        mask = moved.mask(blended(maps, weights, truth.shape[:2], moved), truth.shape[:2])
        return np.asarray(first.metric.counts(truth, mask), float)

    layers = len(levels_of(rule))
    pool = MaskPool(count, (len(first.ids), layers, len(runs)), first.metric, reach)
    _check_time(runs, pool, count)
    return pool


def _check_time(runs: Sequence[FinishedRun], pool: MaskPool, count: Callable) -> None:
    """Raise ValueError where a search would take too long."""
    weights, shifts = np.ones((pool.layers, pool.runs), int), (0,) * pool.layers
    count(0, weights, shifts)
    started, tried = time.perf_counter(), range(0, pool.n, max(1, pool.n // 5))
    for i in tried:
        count(i, weights, shifts)
    each = (time.perf_counter() - started) / len(tried)
    blends = (
        searches(len(runs[0].folds)) * pool.runs * (STEPS / 2 + 6 * len(SHARES))
    )  # the searches share about half of what they try
    seconds = blends * pool.n * each / THREADS
    if seconds > LONGEST:
        raise ValueError(
            f"the metric {pool.metric.name}, or the rule, needs the whole mask of every image of every blend that is "
            f"tried: about {seconds / 3600:.0f} h for {pool.runs} runs. Blend fewer runs, or runs of the best networks"
        )
