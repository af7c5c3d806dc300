"""The ways to blend, from the simplest on: the best run, equal means, greedy selection, continuous weights."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kit.scoring.blend_pools import Mix, Pool, alike
from kit.scoring.blend_search import Judge, greedy, refine


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


class Ways:
    """The ways to blend: each chooses a mix from the images that it may look at, once for the same images.

    lone: of each run alone, see lone_runs. The rest is as of kit.scoring.blending.blend.
    """

    def __init__(self, pool: Pool, lone: list[Mix], costs: Costs, steps: int, classes: Sequence[int]) -> None:
        self.pool, self.lone, self.costs, self.steps, self.classes = pool, lone, costs, steps, classes
        self._found: dict[tuple[str, bytes], Mix] = {}

    def choose(self, name: str, rows: np.ndarray) -> Mix:
        """What a way chooses from the images whose places are in `rows`, int (m,)."""
        judge = Judge(self.pool, rows, self.pool.metric.score, self.costs.allow)
        return self._once(name, judge, lambda: self.by_name()[name](judge))

    def can_choose(self, rows: np.ndarray) -> bool:
        """Whether a run has a score on these images."""
        return bool(
            np.isfinite(Judge(self.pool, rows, self.pool.metric.score).of(self.pool.steps(self._nothing))).any()
        )

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
        return self._once("greedy from nothing", judge, lambda: greedy(judge, self._nothing, steps=self.steps))

    def weights(self, judge: Judge) -> Mix:
        """Continuous weights and a threshold, from what greedy selection found."""
        return self._once("refined", judge, lambda: refine(judge, self.greedy(judge)))

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


def lone_runs(pool: Pool, shifts: Sequence[Sequence[int]] | None) -> list[Mix]:
    """Each run alone, at its own cuts."""
    own = np.zeros((pool.runs, pool.layers), int) if shifts is None else np.asarray(shifts, int)
    if own.shape != (pool.runs, pool.layers):
        raise ValueError(f"got shifts of shape {own.shape}: expected one of each of {pool.runs} runs and each class")
    units = np.eye(pool.runs, dtype=int)
    return [
        alike(unit, pool.layers)._replace(shifts=tuple(moved)) for unit, moved in zip(units, own.tolist(), strict=True)
    ]
