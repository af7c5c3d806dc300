"""Which blend of several runs to submit, and what it will score.

    pool = PixelPool(images, metric)                 the runs' levels on the undecided pixels, see blend_pools.py
    found = blend(pool, folds, groups)
    found.chosen.mix.weights, found.expected

Five ways to blend stand side by side, from the simplest on: the best run alone; the equal mean; the equal mean of the
best k; greedy selection; continuous weights with a threshold, from there; and where classes are decided one by one,
weights of each class. Each is chosen anew on the other folds of every fold and scored on that fold (crossfit.py). The
one with the highest cross-fitted score is the answer, the simpler one where they score alike: a blend of one is an
answer too.

The highest of several scores flatters. So what to expect of the answer is nested: for each fold the way too is chosen
on the other folds, by cross-fitting among these, and the mix that it chooses there is scored on the fold.

blend_ways.py     the ways to blend
blend_pixels.py   the pixels that a blend can change; blend_classes.py: of classes that compete
blend_pools.py    what a blend counts
blend_search.py   greedy selection, continuous weights
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from kit.scoring.blend_pools import Mix, Pool
from kit.scoring.blend_search import DIGITS, STEPS
from kit.scoring.blend_ways import Costs, Ways, lone_runs
from kit.scoring.crossfit import crossfit_search, gain_of
from kit.scoring.intervals import Interval, interval_of_metric

PARTS = 5  # of groups, where there are no folds to cross-fit
ENOUGH_IMAGES, ENOUGH_GROUPS = 20, 5  # that hold a class, for weights of its own


class Candidate(NamedTuple):
    """A row of the table.

    mix: chosen on all images, the one to use. tuned: its score on these, which flatters. picks: what was chosen without
    each fold. counts: f64 (n, M), of each image with the pick of its fold. interval: around their score, the
    cross-fitted one. cost: seconds of the members together, None if unknown. is_affordable: within the budget.
    """

    name: str
    mix: Mix
    tuned: float
    picks: dict[int, Mix]
    counts: np.ndarray
    interval: Interval
    cost: float | None
    is_affordable: bool

    @property
    def score(self) -> float:
        """The cross-fitted score."""
        return self.interval.value


class Blend(NamedTuple):
    """What `blend` found.

    runs: of each run alone its score; nothing is chosen there. candidates: the ways to blend, the simplest first.
    chosen: the answer. expected: the nested score, which the choice among the candidates does not flatter. gain: this
    score less the cross-fitted one of the best run, with the interval of the difference.
    parts: int (n,), what was left out in turn for `expected`. nested: of each part the mix that the whole choice makes
    of the other images. counts: f64 (n, M), of each image with the mix of its part. unchosen: the parts whose mix is
    the best run, because the ways to blend cannot be cross-fitted on the other images: these are one part, or without
    one of theirs they have no score.
    """

    runs: tuple[Interval, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    expected: Interval
    gain: Interval
    parts: np.ndarray
    nested: dict[int, Mix]
    counts: np.ndarray
    unchosen: tuple[int, ...] = ()


def blend(
    pool: Pool,
    folds: Sequence[int],
    groups: Sequence[Hashable],
    *,
    shifts: Sequence[Sequence[int]] | None = None,
    costs: Costs | None = None,
    steps: int = STEPS,
    classes: Sequence[int] = (),
) -> Blend:
    """Choose a blend of the runs of a pool.

    folds: (n,), in which fold an image was held out; where that is one fold for all, parts of the groups stand in for
    folds. groups: (n,). shifts: (R, K), by how many levels the cuts of each run alone are away from the pool's; without
    they are the same. costs: of the runs. steps: of greedy selection. classes: those that may have own weights,
    see `enough`.
    Raises ValueError where lengths differ, where there are neither two folds nor two groups, and where no run is within
    the budget.
    """
    costs, lone = costs or Costs([None] * pool.runs), lone_runs(pool, shifts)
    ways, parts = Ways(pool, lone, costs, steps, classes), _parts(pool, folds, groups)
    candidates = tuple(_candidate(name, ways, parts, groups) for name in ways.by_name())
    chosen = max((one for one in candidates if one.is_affordable), key=lambda one: _rounded(one.score))
    parts = _fewer(parts, groups)
    nested, counts, unchosen = _nested(ways, parts)
    return Blend(
        tuple(interval_of_metric(pool.metric, pool.counts(mix), groups) for mix in lone),
        candidates,
        chosen,
        interval_of_metric(pool.metric, counts, groups),
        gain_of(counts, candidates[0].counts, groups, pool.metric, level=0.95),
        parts,
        nested,
        counts,
        unchosen,
    )


def searches(folds: int) -> int:
    """On how many sets of images `blend` searches: all, all but each fold, all but each two parts; see _fewer.

    An upper bound: some of these sets may be the same. One fold is cross-fitted as PARTS are.
    """
    folds = folds if folds > 1 else PARTS
    nested = folds if 2 < folds <= PARTS else PARTS
    return 1 + folds + nested * (nested - 1) // 2 + (nested if nested != folds else 0)


def enough(held: np.ndarray, groups: Sequence[Hashable]) -> list[int]:
    """The classes that enough images and groups hold for weights of their own. held: bool (n, K)."""
    names = np.array([*map(str, groups)])
    return [
        k
        for k, own in enumerate(np.asarray(held).T)
        if own.sum() >= ENOUGH_IMAGES and len(set(names[own])) >= ENOUGH_GROUPS
    ]


def _parts(pool: Pool, folds: Sequence[int], groups: Sequence[Hashable]) -> np.ndarray:
    """What is left out in turn, int (n,): the folds; with one fold parts of the groups."""
    folds = np.asarray(folds)
    if len(folds) != pool.n or len(groups) != pool.n:
        raise ValueError(f"got {len(folds)} folds and {len(groups)} groups for {pool.n} images: expected one of each")
    if len(np.unique(folds)) > 1:
        return folds
    if len(set(groups)) < 2:
        raise ValueError(
            "all images are of one fold and of one group, so nothing can be chosen on other images than those that it "
            "is scored on: finish a second fold in all runs"
        )
    return _of_groups(groups)


def _of_groups(groups: Sequence[Hashable]) -> np.ndarray:
    """PARTS parts of the groups, int (n,)."""
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return np.array([places[group] % PARTS for group in groups])


def _candidate(name: str, ways: Ways, parts: np.ndarray, groups: Sequence[Hashable]) -> Candidate:
    """What a way chooses on all images, and its cross-fitted score."""
    pool, costs = ways.pool, ways.costs
    found = crossfit_search(
        lambda rows: ways.choose(name, rows), pool.counts, parts, groups, pool.metric, default=ways.lone[0]
    )
    members, scored = found.best.members, interval_of_metric(pool.metric, found.counts, groups)
    facts = found.best, found.tuned, found.picks, found.counts, scored, costs.of(members), costs.allow(members)
    return Candidate(name, *facts)


def _nested(ways: Ways, parts: np.ndarray) -> tuple[dict[int, Mix], np.ndarray, tuple[int, ...]]:
    """Of each part the mix that the whole choice, of the way too, makes of the other parts, and its counts (n, M).

    The simplest way's where the choice cannot be made; last, the parts of which this is so.
    """
    pool, counts, mixes, unchosen = ways.pool, None, {}, []
    for part in np.unique(parts).tolist():
        own, others = np.flatnonzero(parts == part), np.flatnonzero(parts != part)
        mix = _best_mix(ways, others, parts)
        if mix is None:
            unchosen.append(part)
            mix = ways.choose(next(iter(ways.by_name())), others)
        mixes[part] = mix
        found = pool.counts(mixes[part])
        counts = np.empty_like(found) if counts is None else counts
        counts[own] = found[own]
    return mixes, counts, tuple(unchosen)


def _best_mix(ways: Ways, rows: np.ndarray, parts: np.ndarray) -> Mix | None:
    """The mix of the way with the highest cross-fitted score on the images `rows`.

    None where these are of one part, or where some parts without another have no score.
    """
    pool = ways.pool
    splits = [(rows[parts[rows] != part], rows[parts[rows] == part]) for part in np.unique(parts[rows])]
    if len(splits) < 2 or not all(ways.can_choose(others) for others, _ in splits):
        return None
    best, highest = None, -np.inf
    for name in ways.by_name():
        mix = ways.choose(name, rows)
        if not ways.costs.allow(mix.members):
            continue
        sums = [pool.counts(ways.choose(name, others))[own].sum(axis=0) for others, own in splits]
        score = _rounded(float(pool.metric.score(np.sum(sums, axis=0))))
        if best is None or score > highest:
            best, highest = mix, score
    return best


def _fewer(parts: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """The parts of the nested choice, which is searched without each two of them: 3 to PARTS, int (n,).

    Of more, several together; of two folds parts of the groups.
    """
    numbers, places = np.unique(parts, return_inverse=True)
    return _of_groups(groups) if len(numbers) < 3 else places % PARTS


def _rounded(score: float) -> float:
    return round(score, DIGITS) if np.isfinite(score) else -np.inf
