"""The choice among the ways to blend: what is expected of it is not flattered by the choice."""

import numpy as np
import pytest

from kit.scoring import Costs, MeanDice, blend
from kit.scoring.blend_ways import Ways, lone_runs
from kit.scoring.blending import _best_mix, _fewer, _nested, _parts, searches


class Simulated:
    """A pool of runs that are equally good: the score of a mix is the mean of theirs. scores: (n, R)."""

    layers, reach, metric = 1, (0, 0), MeanDice()

    def __init__(self, scores):
        self.scores, (self.n, self.runs) = scores, scores.shape

    def counts(self, mix):
        weights = np.array(mix.weights[0]) / sum(mix.weights[0])
        return np.column_stack([self.scores @ weights, np.ones(self.n)])

    def steps(self, mix, layer=None):
        more = np.array(mix.weights[0]) + np.eye(self.runs, dtype=int)
        return np.stack([self.counts(mix.with_weights(weights)) for weights in more])

    def around(self, mix, layer, share, reach):
        return self


def equal_runs(seed):
    """The pool, its groups, and the score that all blends have but for luck."""
    rng, groups = np.random.default_rng(seed), np.repeat(np.arange(16), 4)
    base = 0.9 + rng.normal(0, 0.011, 16)[groups]
    luck = rng.normal(0, 0.01, (16, 4))[groups] + rng.normal(0, 0.01, (len(groups), 4))
    return Simulated(base[:, None] + luck), groups, base.mean()


@pytest.mark.slow
def test_what_to_expect_is_not_flattered_by_the_choice_among_the_ways():
    errors, seeds = [], 200
    for seed in range(seeds):
        pool, groups, true = equal_runs(seed)
        found = blend(pool, groups % 5, groups.tolist(), steps=8)
        errors.append([found.chosen.score - true, found.expected.value - true])
    flattered, nested = np.array(errors).T
    spread = [one.std() / np.sqrt(seeds) for one in (flattered - nested, nested)]
    assert (flattered - nested).mean() > 3 * spread[0]
    assert nested.mean() < 2 * spread[1]


@pytest.mark.parametrize("folds", [1, 2, 3, 5, 7])
def test_what_is_scored_has_no_say_in_the_choice_of_the_way(folds):
    """A way that was best through one part of the images alone is not expected to gain there."""
    rng, groups = np.random.default_rng(1), np.arange(70) % 35
    scores = rng.normal(0.8, 0.002, (70, 3))
    asked = []

    class Asked(Ways):
        def choose(self, name, rows):
            asked.append(rows.tobytes())
            return super().choose(name, rows)

    pool = Simulated(scores)
    parts = _fewer(_parts(pool, groups % folds, groups.tolist()), groups.tolist())
    ways = Asked(pool, lone_runs(pool, None), Costs([None] * 3), 5, ())
    mixes, counts, unchosen = _nested(ways, parts)
    assert [*mixes] == np.unique(parts).tolist()
    for part in np.unique(parts):
        changed = scores.copy()
        changed[parts == part] = changed[parts == part][:, ::-1] + rng.normal(0, 0.1, ((parts == part).sum(), 3))
        other = Ways(Simulated(changed), ways.lone, ways.costs, 5, ())
        rows = np.flatnonzero(parts != part)
        assert _best_mix(other, rows, parts) == mixes[part]
    assert unchosen == ()
    assert np.isfinite(counts).all()
    sets = {*asked, *(np.flatnonzero(groups % folds != k).tobytes() for k in range(folds) if folds > 1)}
    assert len(sets) + 1 <= searches(folds) <= len(sets) + 4


def test_what_to_expect_is_what_a_blend_without_each_fold_scores_there():
    pool, groups, _ = equal_runs(7)
    found, held = blend(pool, groups % 5, groups.tolist(), steps=8), np.empty(pool.n)
    for fold in range(5):
        others = groups % 5 != fold
        part = blend(Simulated(pool.scores[others]), groups[others] % 5, groups[others].tolist(), steps=8)
        held[~others] = pool.counts(part.chosen.mix)[~others, 0]
    assert found.expected.value == pytest.approx(held.mean(), abs=1e-12)
