"""The search over rules: it finds a gain that is there, leaves luck alone, and is repeated for every fold."""

import numpy as np
import pytest

from kit.scoring import MeanDice, tune
from kit.scoring.crossfit import crossfit_search
from kit.scoring.metrics import score_ratio
from kit.scoring.tune import climb

IMAGES = 60


class Counts:
    """Counts of rules (a, b) of whole numbers: a gains up to 3, b by luck alone; and how often each was asked for."""

    def __init__(self, seed, spread=0.02):
        self.random = np.random.default_rng(seed)
        self.base = self.random.uniform(0.6, 0.9, IMAGES)
        self.luck = self.random.normal(0, spread, (20, IMAGES))
        self.asked = []

    def __call__(self, rules):
        self.asked += rules
        gains = [0.02 * min(a, 3) + self.luck[b] * (b > 0) for a, b in rules]
        return [np.column_stack([self.base + gain, np.ones(IMAGES)]) for gain in gains]


def steps(place, values):
    def axis(rule):
        changed = [(value, rule[1]) if place == 0 else (rule[0], value) for value in values]
        return [one for one in changed if one != rule]

    return axis


AXES = [steps(0, range(6)), steps(1, range(20))]
FOLDS, GROUPS = np.arange(IMAGES) % 5, list(range(IMAGES))


def test_the_search_finds_what_gains_and_takes_the_nearest_of_equal_ones():
    counts = Counts(0, spread=0)
    found = tune((0, 0), AXES, counts, FOLDS, GROUPS, MeanDice())
    assert found.best == (3, 0)
    assert set(found.picks.values()) == {(3, 0)}
    assert found.gain.value == pytest.approx(0.06)
    assert found.is_better
    assert found.agrees()
    assert found.optimism == pytest.approx(0)


def test_the_whole_search_is_repeated_on_the_other_folds():
    counts = Counts(1, spread=0.3)
    found = tune((0, 0), AXES, counts, FOLDS, GROUPS, MeanDice())
    for fold in range(5):
        rows = np.flatnonzero(fold != FOLDS)
        assert found.picks[fold] == climb((0, 0), AXES, counts, rows, GROUPS, score_ratio)
        held = counts([found.picks[fold]])[0][fold == FOLDS]
        np.testing.assert_array_equal(found.counts[fold == FOLDS], held)


def test_a_part_that_gains_nothing_surely_stays_as_it_is():
    """Each group gains or loses the same by the one option: its bound is below 0."""
    gain = np.tile([0.1, -0.09], IMAGES // 2)

    def counts(rules):
        return [np.column_stack([0.5 + gain * rule, np.ones(IMAGES)]) for rule in rules]

    axis = [lambda rule: [1 - rule]]
    assert climb(0, axis, counts, np.arange(IMAGES), GROUPS, score_ratio) == 0
    assert climb(0, axis, counts, np.arange(IMAGES), [0, 1] * (IMAGES // 2), score_ratio) == 1  # two groups: no bound


def errors(seed, groups):
    """The error of the cross-fitted and of the tuned score of a search over rules that are all equal in truth."""
    random = np.random.default_rng(seed)
    hard, own = random.normal(0, 0.01, groups), random.normal(0, 0.004, (12, 12, groups))

    def counts(rules):
        return [np.column_stack([0.9 + hard + own[rule], np.ones(groups)]) for rule in rules]

    axes = [
        lambda rule: [(a, rule[1]) for a in range(12) if a != rule[0]],
        lambda rule: [(rule[0], b) for b in range(12) if b != rule[1]],
    ]
    found = tune((0, 0), axes, counts, np.arange(groups) % 4, list(range(groups)), MeanDice())
    return found.score - 0.9, found.tuned - 0.9


def check_search(groups, competitions):
    found = np.array([errors(seed, groups) for seed in range(1, competitions + 1)])
    mean, error = found.mean(axis=0), found.std(axis=0) / np.sqrt(competitions)
    assert abs(mean[0]) < 3 * error[0] + 0.5e-4, f"cross-fitted {mean[0]:.6f} ± {error[0]:.6f}"
    assert mean[1] > 14e-4, f"tuned {mean[1]:.6f}"


def test_a_whole_search_does_not_flatter():
    check_search(16, 100)


@pytest.mark.slow
def test_a_whole_search_does_not_flatter_in_1000_competitions():
    check_search(16, 1000)


def test_a_search_is_one_kind_of_choice():
    counts = Counts(3)

    def choose(rows):
        return climb((0, 0), AXES, counts, rows, GROUPS, score_ratio)

    found = tune((0, 0), AXES, counts, FOLDS, GROUPS, MeanDice())
    other = crossfit_search(choose, lambda rule: counts([rule])[0], FOLDS, GROUPS, score_ratio, (0, 0))
    assert (found.picks, found.best, found.score, found.gain) == (other.picks, other.best, other.score, other.gain)
