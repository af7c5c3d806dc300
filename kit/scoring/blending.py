"""Which blend of several runs to submit, and what it will score.

    pool = PixelPool(images, metric)                 the runs' levels on the undecided pixels, see blend_pools.py
    found = blend(pool, folds, groups)
    found.chosen.mix.weights, found.chosen.interval

Five ways to blend stand side by side, from the simplest on: the best run alone; the equal mean; the equal mean of the
best k; greedy selection; continuous weights with a threshold, from there; and where classes are decided one by one,
weights of each class. Each is chosen anew on the other folds of every fold and scored on that fold (crossfit.py). The
one with the highest cross-fitted score is the answer, the simpler one where they score alike: a blend of one is an
answer too.

blend_pixels.py   the pixels that a blend can change; blend_classes.py: of classes that compete
blend_pools.py    what a blend counts
blend_search.py   greedy selection, continuous weights
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kit.scoring.blend_pools import Mix, Pool, alike
from kit.scoring.blend_search import DIGITS, STEPS, Judge, greedy, refine
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
    chosen: the answer. gain: its cross-fitted score less that of the best run, with the interval of the difference.
    """

    runs: tuple[Interval, ...]
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    gain: Interval


class Costs(NamedTuple):
    """seconds: of each run, None if unknown. budget: seconds that all members together may cost; None: no limit."""

    seconds: Sequence[float | None]
    budget: float | None = None

    def of(self, members: Iterable[int]) -> float | None:
        """Of these runs together."""
        each = [self.seconds[r] for r in members]
        return None if None in each else float(sum(each))

    def allow(self, members: Iterable[int]) -> bool:
        """Whether these runs are within the budget."""
        cost = self.of(members)
        return self.budget is None or (cost is not None and cost <= self.budget)


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
    costs = costs or Costs([None] * pool.runs)
    lone = _lone(pool, shifts)
    ways = _Ways(pool, lone, costs, steps, classes)
    parts = _parts(pool, folds, groups)
    candidates = []
    for name, choose in ways.by_name().items():
        found = crossfit_search(
            lambda rows, choose=choose: choose(Judge(pool, rows, pool.metric.score, costs.allow)),
            pool.counts, parts, groups, pool.metric, default=lone[0],
        )  # fmt: skip
        members = found.best.members
        scored = interval_of_metric(pool.metric, found.counts, groups)
        facts = found.best, found.tuned, found.picks, found.counts, scored, costs.of(members), costs.allow(members)
        candidates.append(Candidate(name, *facts))
    chosen = max((one for one in candidates if one.is_affordable), key=lambda one: round(one.score, DIGITS))
    gain = gain_of(chosen.counts, candidates[0].counts, groups, pool.metric, level=0.95)
    runs = tuple(interval_of_metric(pool.metric, pool.counts(mix), groups) for mix in lone)
    return Blend(runs, tuple(candidates), chosen, gain)


def enough(held: np.ndarray, groups: Sequence[Hashable]) -> list[int]:
    """The classes that enough images and groups hold for weights of their own. held: bool (n, K)."""
    names = np.array([*map(str, groups)])
    return [
        k
        for k, own in enumerate(np.asarray(held).T)
        if own.sum() >= ENOUGH_IMAGES and len(set(names[own])) >= ENOUGH_GROUPS
    ]


class _Ways:
    """The ways to blend: each chooses a mix by a judge, from the images that the judge looks at."""

    def __init__(self, pool: Pool, lone: list[Mix], costs: Costs, steps: int, classes: Sequence[int]) -> None:
        self.pool, self.lone, self.costs, self.steps, self.classes = pool, lone, costs, steps, classes
        self._found: dict[tuple[str, bytes], Mix] = {}  # of greedy selection, from which the others go on

    def by_name(self) -> dict[str, Callable[[Judge], Mix]]:
        """The simplest first."""
        ways = {"best run": self.best_run, "equal mean": self.equal_mean}
        if self.pool.runs > 2:
            ways["best k, equal"] = self.best_few
        ways |= {"greedy": self.greedy, "weights and threshold": self.weights}
        return ways | ({"weights of each class": self.of_classes} if self.classes else {})

    def best_run(self, judge: Judge) -> Mix:
        """The run with the highest score."""
        return self.lone[self._order(judge)[0]]

    def equal_mean(self, judge: Judge) -> Mix:
        """All runs, also where they cost more than the budget."""
        return alike([1] * self.pool.runs, self.pool.layers)

    def best_few(self, judge: Judge) -> Mix:
        """The equal mean of the best k runs, 1 < k < R; the best run where the budget allows no two."""
        order = self._order(judge)
        few = [order[:k] for k in range(2, self.pool.runs) if self.costs.allow(order[:k])]
        mixes = [alike(np.isin(range(self.pool.runs), own), self.pool.layers) for own in few]
        return max(mixes, key=judge.of_mix, default=self.lone[order[0]])

    def greedy(self, judge: Judge) -> Mix:
        """Greedy selection, at the pool's cuts."""
        return self._once("greedy", judge, lambda: greedy(judge, self._nothing, steps=self.steps))

    def weights(self, judge: Judge) -> Mix:
        """Continuous weights and a threshold, from what greedy selection found."""
        return self._once("weights", judge, lambda: refine(judge, self.greedy(judge)))

    def of_classes(self, judge: Judge) -> Mix:
        """The same for each of some classes, from weights for all; kept where the score rises."""
        best = self.weights(judge)
        for k in self.classes:
            start = best.with_shift(-best.shifts[k], k)
            own = refine(judge, greedy(judge, start, k, self.steps), k)
            best = own if judge.of_mix(own) > judge.of_mix(best) else best
        return best

    @property
    def _nothing(self) -> Mix:
        return alike([0] * self.pool.runs, self.pool.layers)

    def _order(self, judge: Judge) -> list[int]:
        """The runs within the budget, the best first."""
        scores = [judge.of_mix(mix) for mix in self.lone]
        within = [r for r in range(self.pool.runs) if self.costs.allow([r])]
        if not within:
            raise ValueError(f"every run costs more than the budget of {self.costs.budget:g} seconds, or is not timed")
        return sorted(within, key=lambda r: -scores[r])

    def _once(self, way: str, judge: Judge, choose: Callable[[], Mix]) -> Mix:
        key = way, judge.rows.tobytes()
        if key not in self._found:
            self._found[key] = choose()
        return self._found[key]


def _lone(pool: Pool, shifts: Sequence[Sequence[int]] | None) -> list[Mix]:
    """Each run alone, at its own cuts."""
    own = np.zeros((pool.runs, pool.layers), int) if shifts is None else np.asarray(shifts, int)
    if own.shape != (pool.runs, pool.layers):
        raise ValueError(f"got shifts of shape {own.shape}: expected one of each of {pool.runs} runs and each class")
    units = np.eye(pool.runs, dtype=int)
    return [
        alike(unit, pool.layers)._replace(shifts=tuple(moved)) for unit, moved in zip(units, own.tolist(), strict=True)
    ]


def _parts(pool: Pool, folds: Sequence[int], groups: Sequence[Hashable]) -> np.ndarray:
    """What is left out in turn, int (n,): the folds; with one fold parts of the groups."""
    folds = np.asarray(folds)
    if len(folds) != pool.n or len(groups) != pool.n:
        raise ValueError(f"got {len(folds)} folds and {len(groups)} groups for {pool.n} images: expected one of each")
    if len(np.unique(folds)) > 1:
        return folds
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    if len(places) < 2:
        raise ValueError(
            "all images are of one fold and of one group, so nothing can be chosen on other images than those that it "
            "is scored on: finish a second fold in all runs"
        )
    return np.array([places[group] % PARTS for group in groups])
