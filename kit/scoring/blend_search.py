"""How weights are found: greedy selection, and continuous weights with a threshold from there.

greedy: Caruana, Niculescu-Mizil, Crew & Ksikes, "Ensemble selection from libraries of models", ICML 2004, sections 2.1
(with replacement) and 2.2: the run whose addition scores best is added, again and again; the best prefix is taken.
Scores are rounded, so that ties are ties. A tie goes to a run that is in use, because that costs no further network,
then to the first.

refine: a pattern search. The share of one member after the other is raised or lowered, and with each move the threshold
that suits it is looked for. Runs that greedy left out stay out, and at most FARTHEST of all weight is moved: greedy
selection has found about where the best weights are, and so few pixels are left that the moves can change.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kit.scoring.blend_pools import Mix, Pool, smallest

STEPS = 25  # more gained nothing measurable in AutoGluon's TabRepo
DIGITS = 6  # of scores that are compared
TOTAL = 512  # of continuous weights
FARTHEST = 1 / 8  # of all weights that the moves together take
SHARES = (1 / 16, 1 / 32, 1 / 128)  # of all weights that a move takes, coarse to fine
ROUNDS = 2  # over the members with moves of one size
MOVED = 5  # members at most whose shares are moved by themselves: those with the largest
NEAR = 8  # levels by which the moves may move the threshold too

Score = Callable[[np.ndarray], np.ndarray]


class Judge(NamedTuple):
    """How blends are compared: by the score of the images `rows`. allowed: whether these runs may be used together."""

    pool: Pool
    rows: np.ndarray
    score: Score
    allowed: Callable[[frozenset[int]], bool] = lambda runs: True

    def of(self, counts: np.ndarray) -> np.ndarray:
        """The rounded scores of counts (..., n, M); no score is below all scores."""
        scores = np.asarray(self.score(counts[..., self.rows, :].sum(axis=-2)), float)
        return np.where(np.isfinite(scores), np.round(scores, DIGITS), -np.inf)

    def of_mix(self, mix: Mix) -> float:
        """The rounded score of one blend."""
        return float(self.of(self.pool.counts(mix)))


def greedy(judge: Judge, start: Mix, layer: int | None = None, steps: int = STEPS) -> Mix:
    """The best prefix of greedy selection with replacement. layer: the class whose weights are chosen; None: all.

    start: says the other classes' weights, and the cuts. Raises ValueError where no run has a score, or is allowed.
    """
    pool, others = judge.pool, _members_elsewhere(start, layer)
    weights, best = np.zeros(pool.runs, int), (-np.inf, None)
    for _ in range(steps):
        used = frozenset(np.flatnonzero(weights).tolist())
        scores = judge.of(pool.steps(start.with_weights(weights, layer), layer))
        for r in range(pool.runs):
            if not judge.allowed(used | others | {r}):
                scores[r] = -np.inf
        if not np.isfinite(scores).any():
            raise ValueError("no run can be chosen: none has a score on these images, or all cost more than the budget")
        equal = np.flatnonzero(scores == scores.max())
        chosen = next((r for r in equal if r in used), equal[0])
        weights[chosen] += 1
        if scores[chosen] > best[0]:
            best = scores[chosen], weights.copy()
    return start.with_weights(smallest(best[1]), layer)


def refine(judge: Judge, start: Mix, layer: int | None = None) -> Mix:
    """Continuous weights and the threshold, from a blend; the blend itself where nothing scores better."""
    pool, members = judge.pool, np.flatnonzero(start.weights[layer or 0])
    best = _best_shift(judge, start, layer, max(map(abs, pool.reach)))
    if len(members) > 1:
        fine = start._replace(shifts=best[1].shifts).with_weights(_scaled(start.weights[layer or 0]), layer)
        best = max(best, _best_shift(judge, fine, layer, NEAR), key=lambda one: one[0])
        close = _Close(judge._replace(pool=pool.around(best[1], layer, FARTHEST, NEAR)), best[1], layer)
        for share in SHARES:
            for _ in range(ROUNDS):
                before, best = best, close.swept(best, share)
                if best == before:
                    break
    mix = best[1].with_weights(smallest(best[1].weights[layer or 0]), layer)
    return mix if best[0] > judge.of_mix(start) else start


class _Close(NamedTuple):
    """The blends close to one, `centre`."""

    judge: Judge
    centre: Mix
    layer: int | None

    def swept(self, best: tuple[float, Mix], share: float) -> tuple[float, Mix]:
        """The score and the blend after the share of each member in turn was raised or lowered where that is better."""
        k = self.layer or 0
        centre = np.array(self.centre.weights[k])
        largest = sorted(np.flatnonzero(centre), key=lambda r: -centre[r])[:MOVED]
        for r in largest:
            for by in (share, -share):
                weights = _moved(best[1].weights[k], r, by)
                if np.abs(weights / weights.sum() - centre / centre.sum()).sum() / 2 > FARTHEST:
                    continue
                found = _best_shift(self.judge, best[1].with_weights(weights, self.layer), self.layer, NEAR)
                if found[0] > best[0]:
                    best = found
                    break
        return best


def _members_elsewhere(mix: Mix, layer: int | None) -> frozenset[int]:
    """The runs that other classes than `layer` use."""
    if layer is None:
        return frozenset()
    return frozenset(mix.with_weights([0] * len(mix.weights[0]), layer).members)


def _best_shift(judge: Judge, mix: Mix, layer: int | None, reach: int) -> tuple[float, Mix]:
    """The score and the blend with the best threshold; of equal ones that with the least move."""
    if judge.pool.reach == (0, 0):
        return judge.of_mix(mix), mix
    shifts, counts = judge.pool.shifted(mix, layer, reach)
    scores = judge.of(counts)
    at = min(range(len(shifts)), key=lambda i: (-scores[i], abs(shifts[i])))
    return float(scores[at]), mix.with_shift(shifts[at], layer)


def _scaled(weights: tuple[int, ...]) -> np.ndarray:
    """Whole weights of sum TOTAL."""
    return _whole(np.array(weights) / sum(weights))


def _moved(weights: tuple[int, ...], run: int, share: float) -> np.ndarray:
    """Whole weights of sum TOTAL with so much more for one run, taken from the others in proportion."""
    part = np.array(weights) / sum(weights)
    own = min(max(part[run] + share, 0.0), 1.0)
    rest = 1 - part[run]
    moved = part * ((1 - own) / rest if rest > 0 else 0.0)
    moved[run] = own
    return _whole(moved / moved.sum()) if moved.any() else np.array(weights)


def _whole(shares: np.ndarray) -> np.ndarray:
    """Whole numbers of sum TOTAL, by largest remainders."""
    whole = np.floor(shares * TOTAL).astype(int)
    for r in np.argsort(whole - shares * TOTAL, kind="stable")[: TOTAL - whole.sum()]:
        whole[r] += 1
    return whole
