"""Differences between runs on the leaderboard less those in cross-validation: errors of a known size."""

import math

import numpy as np
import pytest
from ledger_facts import run_fact
from scipy import stats

from kit.ledger.shifts import Public, difference, judge, noise, seed_variance, shift

RUNS = 5


def simulated(generator, groups, public, gain=0.0):
    """Facts and public scores of runs on `groups` groups, and on `public` other ones. gain: of the last on the LB."""
    mean = 0.9 + 0.003 * generator.normal(size=RUNS)
    hard = 0.03 * generator.normal(size=groups + public)  # a group is hard for all runs
    own = mean[:, None] + hard + 0.01 * generator.normal(size=(RUNS, groups + public))
    facts = [run_fact(f"run{i}", own[i, :groups], number=i) for i in range(RUNS)]
    scores = {facts[i]["id"]: own[i, groups:].mean() - 0.02 + gain * (i == RUNS - 1) for i in range(RUNS)}
    return facts, scores


def alarms(repeats, groups, public, gain=0.0):
    """The alarms of each simulated ledger."""
    found = []
    for seed in range(repeats):
        facts, scores = simulated(np.random.default_rng([groups, public, seed]), groups, public, gain)
        tests = judge(facts, scores, facts[0], Public(groups=public, stated=True))
        assert len(tests) == RUNS - 1
        found.append([test.run for test in tests if test.alarm])
    return found


@pytest.mark.parametrize("repeats", [400, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("groups", "public"), [(8, 20), (30, 10), (60, 200)])
def test_no_alarm_beyond_five_per_cent_where_all_runs_shift_alike(groups, public, repeats):
    rate = np.mean([bool(found) for found in alarms(repeats, groups, public)])
    print(f"{groups} groups, {public} public: {rate:.4f}")
    assert rate <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / repeats)
    assert rate > 0.005  # the test could raise one


@pytest.mark.parametrize(("groups", "public"), [(12, 40), (60, 200)])
def test_a_run_that_gains_on_the_leaderboard_alone_is_found(groups, public):
    found = alarms(100, groups, public, gain=0.04)
    assert np.mean(["0" * 15 + "4" in one for one in found]) > 0.95
    assert np.mean([bool({*one} - {"0" * 15 + "4"}) for one in found]) <= 0.12


def test_the_error_by_hand():
    generator = np.random.default_rng(0)
    a, b = generator.normal(0.9, 0.02, size=(2, 9))
    runs = [run_fact("a", a, number=0, tests=400), run_fact("b", b, number=1, tests=400)]
    found = difference(runs[1], runs[0])
    variance = np.var(b - a, ddof=1) / 9
    np.testing.assert_allclose([found.value, found.variance, found.df], [(b - a).mean(), variance, 8], rtol=1e-6)
    scores = {runs[0]["id"]: 0.8, runs[1]["id"]: 0.85}
    (test,) = judge(runs, scores, runs[0], Public(share=0.25))  # 100 images, 10 a group: 10 groups
    error = math.sqrt(variance * (1 + 9 / 10))
    value = 0.05 - (b - a).mean()
    np.testing.assert_allclose([test.value, test.error], [value, error], rtol=1e-6)
    np.testing.assert_allclose(test.p, 2 * stats.t.sf(value / error, 8), rtol=1e-5)
    np.testing.assert_allclose(noise(runs, Public(share=0.25)), math.sqrt(variance * 9 / 10), rtol=1e-6)
    offset = shift(runs, scores, Public(share=0.25))
    level = max(math.sqrt(np.var(one, ddof=1) / 9 * (1 + 9 / 10)) for one in (a, b))
    np.testing.assert_allclose(
        [offset["value"], offset["error"]], [0.825 - (a.mean() + b.mean()) / 2, level], rtol=1e-6
    )


def test_seeds_widen_the_error():
    scores = np.random.default_rng(1).normal(0.9, 0.02, size=12)
    runs = [
        run_fact("a", scores, number=0),
        run_fact("b", scores + 0.004, number=1, config={"seed": 1, "plan.augment": "Augment 1"}),
        run_fact("c", scores - 0.001, number=2, config={"lr": 0.2}),
    ]
    assert seed_variance(runs[::2]) is None
    np.testing.assert_allclose(seed_variance(runs), 0.004**2 / 2, rtol=1e-5)
    public = {run["id"]: 0.9 for run in runs}
    plain = judge(runs[::2], public, runs[0], Public())[0]
    wider = judge(runs, public, runs[0], Public())[1]
    np.testing.assert_allclose(wider.error**2 - plain.error**2, 0.004**2, rtol=1e-5)


def test_runs_of_other_images_are_not_tested():
    scores = np.linspace(0.8, 0.9, 5)
    runs = [run_fact("a", scores), run_fact("b", scores + 0.01, number=1, images=3)]
    runs[1]["images"] = "others"
    assert difference(runs[1], runs[0]).variance is None
    assert judge(runs, {run["id"]: 0.9 for run in runs}, runs[0], Public()) == []
