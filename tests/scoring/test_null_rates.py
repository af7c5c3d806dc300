"""How often `compare` calls a difference significant at 5 % where there is none: simulated competitions.

normal, unequal       the groups' differences are normal; equal sizes, or 1 to 60 images a group
one seed, two seeds   each recipe has an own score in each group, each seed of it a shift of its own, and each seed in
                      each group too. One seed a side is about the networks, so only their shifts are null there.
                      The seed sd is given as a share of the sd of the groups' differences.

The slow tests run 4,000 competitions a cell, of recipes 1,000 in each of 96 cells, and print the table:
pytest -m slow -s tests/scoring/test_null_rates.py
"""

import time

import numpy as np
import pytest

from kit.scoring import compare
from kit.scoring.metrics import score_ratio

GROUPS = (3, 5, 6, 7, 10, 15, 20, 32, 64)
SIZES = (1, 2, 4, 8, 16, 30, 60)
SEEDS = {"two against two": (2, 2), "two against one": (2, 1), "three against three": (3, 3)}
SHIFTS = (0.0, 0.25, 0.5, 1.0)  # the sd of seeds, as a share of the sd of differences between groups


def of_scores(scores, sizes=None):
    """Counts (..., 2): sums over the images of a group, and how many they are."""
    sizes = np.ones(scores.shape) if sizes is None else np.broadcast_to(sizes, scores.shape)
    return np.stack([scores * sizes, sizes], axis=-1)


def rates(runs, groups, flips=False):
    """The share of significant differences by t, and by the sign-flip test. runs: pairs of counts of a and b."""
    found = [compare(a, b, groups, score_ratio, flips=flips) for a, b in runs]
    return np.mean([one.is_significant for one in found]), np.mean([flips and one.flips.p <= 0.05 for one in found])


def of_networks(count, times, unequal=False):
    """Rates of single networks: only the groups differ."""
    random = np.random.default_rng([count, unequal])
    sizes = random.choice(SIZES, (times, count)) if unequal else np.ones((times, count), int)
    scores = 0.9 + 0.03 * random.standard_normal((times, 1, count)) + 0.002 * random.standard_normal((times, 2, count))
    if not unequal:
        return rates(of_scores(scores), range(count), flips=count <= 12)
    images = [(np.repeat(np.arange(count), own), one) for own, one in zip(sizes, scores, strict=True)]
    found = [compare(*of_scores(one[:, groups]), groups, score_ratio, flips=False) for groups, one in images]
    return np.mean([one.is_significant for one in found]), 0.0


def of_recipes(count, times, seeds, shift, seen):
    """Rates of recipes. seen: the share of the groups' variance that comes from the seeds, and not from the recipes."""
    random = np.random.default_rng([count, *seeds, round(100 * shift), round(100 * seen)])
    own = random.standard_normal((times, 2, 1, count)) * np.sqrt((1 - seen) / 2)
    most = max(seeds)
    scores = own + random.standard_normal((times, 2, most, count)) * np.sqrt(seen / 2)
    scores = 0.9 + 0.002 * (scores + shift * random.standard_normal((times, 2, most, 1)))
    return rates([(of_scores(a[: seeds[0]]), of_scores(b[: seeds[1]])) for a, b in scores], range(count))[0]


@pytest.mark.parametrize("count", [3, 7, 20])
def test_null_rates_of_few_simulations(count):
    by_t, by_flips = of_networks(count, 600)
    assert 0.05 - 0.027 <= by_t <= 0.05 + 0.027  # three standard errors of a share of 600
    assert by_flips <= 0.05 + 0.027
    assert of_networks(count, 300, unequal=True)[0] <= 0.06 + 0.04


@pytest.mark.parametrize("seeds", SEEDS.values(), ids=SEEDS)
def test_null_rates_of_recipes_of_few_simulations(seeds):
    assert of_recipes(32, 600, seeds, 0.5, 0.5) <= 0.07 + 0.01


def test_one_network_a_recipe_says_nothing_of_recipes():
    """The reason for the words "these networks": with one seed each a null difference is often significant."""
    assert of_recipes(32, 300, (1, 1), 0.25, 0.0) > 0.15


@pytest.mark.slow
def test_null_rates_of_networks():
    failed = []
    for unequal in (False, True):
        for count in GROUPS:
            began = time.process_time()
            by_t, by_flips = of_networks(count, 4000, unequal)
            seconds = time.process_time() - began
            tail = f", by sign flips {100 * by_flips:.1f} %" if count <= 12 and not unequal else ""
            line = f"{'unequal' if unequal else 'normal':8} G={count:2}: {100 * by_t:.1f} %{tail} ({seconds:.0f} s)"
            print(line, flush=True)
            low, high = (0.0 if unequal else 0.04), 0.06
            if not low <= by_t <= high or by_flips > 0.06 or seconds > 60 or (by_flips > 0 and count < 6):
                failed.append(line)
    assert not failed, failed


@pytest.mark.slow
@pytest.mark.parametrize("seeds", SEEDS.values(), ids=SEEDS)
def test_null_rates_of_recipes(seeds):
    """At most 7 % in a cell, and three standard errors of a share of 1,000; over all numbers of groups 6.5 %.

    The last are shares of 4,000, with a standard error of 0.35 %.
    """
    times, counts = 1000, (6, 12, 32, 64)
    most = 0.07 + 3 * np.sqrt(0.07 * 0.93 / times)
    failed = []
    for seen in (0.0, 1.0):
        name = f"{seeds} seeds, {100 * seen:3.0f} % of the groups' variance from seeds"
        found = np.array([[of_recipes(count, times, seeds, shift, seen) for shift in SHIFTS] for count in counts])
        rows = [(f"G={count:2}", row, most) for count, row in zip(counts, found, strict=True)]
        for groups, rates_of_shifts, limit in (*rows, ("all", found.mean(axis=0), 0.065)):
            line = f"{name}, {groups}: " + ", ".join(f"{100 * rate:.1f} %" for rate in rates_of_shifts)
            print(line, flush=True)
            if max(rates_of_shifts) > limit:
                failed.append(line)
    assert not failed, failed
