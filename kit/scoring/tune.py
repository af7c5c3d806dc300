"""Search the best rule part by part, honestly: the whole search is repeated on the other folds of each fold.

    found = tune(start, axes, counts_of, folds, groups, metric)      a CrossFit

Nothing here knows what a rule is. An axis is a function that gives, for a rule, the rules that differ from it in one
part, the nearest first. The search goes along one axis after the other and begins again until nothing changes.

A part is moved only where that gains: where the one-sided 80 % lower bound of the gain, over the groups of the images
of the search, is above 0. A search that takes every gain, however small, picks parts by luck, and the folds' picks
differ.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

from kit.scoring.crossfit import TIE, CrossFit, Score, best_of, crossfit_search, gain_of, score_of
from kit.scoring.metrics import Metric

Rule = TypeVar("Rule", bound=Hashable)
Axis = Callable[[Rule], Sequence[Rule]]
PASSES = 3  # over all axes


def tune(
    start: Rule,
    axes: Sequence[Axis],
    counts_of: Callable[[Sequence[Rule]], Sequence[np.ndarray]],
    folds: Sequence[int],
    groups: Sequence[Hashable],
    metric: Metric | Score,
) -> CrossFit:
    """Choose a rule on all images, and score it with the rules that the same search chooses on the other folds.

    start: the rule without tuning, which the gain is about. counts_of(rules): of each rule the metric's counts of all
    images, f64 (n, M). folds: int (n,). groups: (n,). Picks are rules.
    """

    def choose(rows: np.ndarray) -> Rule:
        return climb(start, axes, counts_of, rows, groups, metric)

    return crossfit_search(choose, lambda rule: counts_of([rule])[0], folds, groups, metric, start)


def climb(
    start: Rule,
    axes: Sequence[Axis],
    counts_of: Callable[[Sequence[Rule]], Sequence[np.ndarray]],
    rows: np.ndarray,
    groups: Sequence[Hashable],
    metric: Metric | Score,
) -> Rule:
    """The rule where no axis gains any more, from the images whose places are `rows`. The rest is as of tune."""
    now, own = start, [groups[row] for row in rows]
    for _ in range(PASSES):
        before = now
        for axis in axes:
            options = [now, *axis(now)]
            counts = [np.asarray(one, float)[rows] for one in counts_of(options)]
            scores = score_of(metric)(np.stack([one.sum(axis=0) for one in counts]))
            at = best_of(scores, np.arange(len(options)))
            if at and _gains(counts[at], counts[0], own, metric):
                now = options[at]
        if now == before:
            break
    return now


def _gains(counts: np.ndarray, base: np.ndarray, groups: Sequence[Hashable], metric: Metric | Score) -> bool:
    """Whether the gain is sure enough; of fewer than three groups, where nothing can be sure, whether there is one."""
    gain = gain_of(counts, base, groups, metric)
    return (gain.value if gain.low is None else gain.low) > TIE
