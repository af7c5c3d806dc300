"""Comparing two runs: against SciPy's paired test, enumeration by hand, numerical integration and printed formulas."""

from itertools import product

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from kit.scoring import (
    DatasetDice,
    MeanDice,
    MeanIoU,
    compare,
    compare_all,
    holm,
    interval_of_metric,
    iou,
    seed_spread,
)
from kit.scoring.compare import SeedSpread, _Law
from kit.scoring.flips import flip_groups
from kit.scoring.metrics import score_ratio


def of_scores(scores):
    """Counts (n, 2) whose score is the mean."""
    return np.column_stack([scores, np.ones(len(scores))])


def two_runs(groups, each=4, seed=0):
    random = np.random.default_rng(seed)
    base = random.normal(0.9, 0.05, groups * each)
    runs = [base + random.normal(shift, 0.01, len(base)) for shift in (0, 0.004)]
    return *runs, np.repeat(np.arange(groups), each)


@pytest.mark.parametrize("count", [3, 6, 17])
def test_equal_groups_are_the_paired_t_test_of_their_means(count):
    a, b, groups = two_runs(count)
    found = compare(of_scores(a), of_scores(b), groups, MeanDice())
    means = [run.reshape(count, -1).mean(axis=1) for run in (a, b)]
    expected = stats.ttest_rel(means[1], means[0])
    ends = expected.confidence_interval(0.95)
    assert found.difference == pytest.approx(b.mean() - a.mean())
    assert (found.p, found.low, found.high, found.df) == pytest.approx((expected.pvalue, *ends, count - 1))
    assert found.error == pytest.approx(stats.sem(means[1] - means[0]))
    assert (found.groups, found.spread, found.about) == (count, None, "these networks")
    assert found.is_significant == (expected.pvalue < 0.05)
    assert compare(of_scores(a), of_scores(b), groups, score_ratio) == found  # a function is a score too
    turned = compare(of_scores(b), of_scores(a), groups, MeanDice())
    assert (turned.difference, turned.p, turned.better) == pytest.approx((-found.difference, found.p, found.worse))


def test_unequal_groups_take_the_jackknife_of_the_difference():
    random = np.random.default_rng(1)
    groups = np.repeat(np.arange(6), [1, 2, 3, 4, 9, 20])
    a, b = (random.integers(50, 90, (39, 2)) * [1.0, 2] + [0, 100] for _ in range(2))
    found = compare(a, b, groups, DatasetDice())

    def difference(keep):
        (a0, a1), (b0, b1) = a[keep].sum(axis=0), b[keep].sum(axis=0)
        return b0 / b1 - a0 / a1

    without = np.array([difference(groups != name) for name in range(6)])
    error = np.sqrt(5 / 6 * np.sum((without - without.mean()) ** 2))
    assert found.difference == pytest.approx(difference(groups < 6))
    assert found.error == pytest.approx(error)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.difference) / error, found.df))
    assert 1 <= found.df < 5


def test_probabilities_and_the_detectable_difference_are_those_of_t():
    a, b, groups = two_runs(9)
    found = compare(of_scores(a), of_scores(b), groups, MeanDice(), margin=0.003)
    law = stats.t(8, found.difference, found.error)
    expected = (law.sf(0.003), law.cdf(-0.003), law.cdf(0.003) - law.cdf(-0.003))
    assert (found.better, found.worse, found.equal) == pytest.approx(expected)
    assert found.detectable == pytest.approx((stats.t.ppf(0.975, 8) + stats.t.ppf(0.8, 8)) * found.error)
    strict = compare(of_scores(a), of_scores(b), groups, MeanDice())
    assert strict.equal == 0
    assert strict.better + strict.worse == pytest.approx(1)


def test_a_true_difference_of_the_detectable_size_is_found_in_four_of_five_cases():
    random = np.random.default_rng(2)
    groups, times = 12, 1500
    d = random.normal(0, 1, (times, groups))
    detectable = (stats.t.ppf(0.975, 11) + stats.t.ppf(0.8, 11)) / np.sqrt(groups)
    a = of_scores(np.zeros(groups))
    found = [compare(a, of_scores(one + detectable), range(groups), score_ratio, flips=False) for one in d]
    assert np.mean([one.detectable for one in found]) == pytest.approx(detectable, rel=0.05)
    assert 0.77 < np.mean([one.is_significant for one in found]) < 0.85


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11])
def test_sign_flips_are_all_of_them(count):
    random = np.random.default_rng(count)
    a, b = random.integers((1, 61), (60, 120), (2, count, 2)).astype(float)
    found = flip_groups(a, b, score_ratio)
    as_large, real = 0, None
    for swapped in product([False, True], repeat=count):
        first = sum(b[g] if swap else a[g] for g, swap in enumerate(swapped))
        second = sum(a[g] if swap else b[g] for g, swap in enumerate(swapped))
        difference = abs(second[0] / second[1] - first[0] / first[1])
        real = difference if real is None else real  # nothing swapped comes first
        as_large += difference >= real - 1e-12
    assert found == (as_large / 2**count, 2**count, True, 2 / 2**count)


def test_sign_flips_of_a_mean_are_those_of_scipy():
    a, b, groups = two_runs(10, each=1)
    found = compare(of_scores(a), of_scores(b), groups, MeanDice()).flips
    expected = stats.permutation_test((b - a,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.smallest == 2**-9


def test_five_groups_cannot_be_significant_by_signs_and_six_can():
    for count, p in ((5, 0.0625), (6, 0.03125)):
        better = compare(
            of_scores(np.full(count, 0.5)), of_scores(0.6 + np.arange(count) / 100), range(count), MeanDice()
        )
        assert better.flips.p == better.flips.smallest == p


def test_many_groups_are_flipped_at_random_always_in_the_same_way():
    a, b, groups = two_runs(40, each=1)
    b -= (b - a).mean() - 0.003
    found = compare(of_scores(a), of_scores(b), groups, MeanDice())
    assert (found.flips.exact, found.flips.count) == (False, 20_000)
    assert found.flips.p == pytest.approx(found.p, abs=0.015)  # of normal differences both tests are alike
    assert compare(of_scores(a), of_scores(b), groups, MeanDice()).flips == found.flips
    certain = compare(of_scores(a), of_scores(a + 0.1), groups, MeanDice()).flips
    assert certain.p == certain.smallest == 1 / 20_001


def by_hand_holm(p):
    """The smallest level at which each hypothesis is rejected, found by going down from 1."""
    adjusted = []
    for one in range(len(p)):
        for level in np.linspace(1, 0, 10_001):
            rejected = set()
            for rank, place in enumerate(np.argsort(p)):
                if p[place] > level / (len(p) - rank) * (1 + 1e-12):
                    break
                rejected.add(int(place))
            if one not in rejected:
                break
        adjusted.append(level)
    return adjusted


def test_holm_is_the_procedure_step_by_step():
    for p in ([0.01, 0.04, 0.03, 0.005], [0.2, 0.02, 0.6], [0.04], [0.01, 0.01, 0.01]):
        assert holm(p) == pytest.approx(np.clip(by_hand_holm(p), 0, 1), abs=2e-4)
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert holm([]) == []


def of_seeds(count, groups=10, seed=3, sigma=0.002):
    random = np.random.default_rng(seed)
    return np.stack([of_scores(random.normal(0.9 + random.normal(0, sigma), 0.002, groups)) for _ in range(count)])


def test_seeds_widen_the_error_by_their_spread():
    a, b = of_seeds(2), of_seeds(3, seed=4)
    found = compare(a, b, range(10), MeanDice())
    means = [run[..., 0].mean(axis=1) for run in (a, b)]
    variance = (np.var(means[0], ddof=1) + 2 * np.var(means[1], ddof=1)) / 3
    assert found.spread == pytest.approx((variance, 3))
    d = b[..., 0].mean(axis=0) - a[..., 0].mean(axis=0)
    v = np.var(d, ddof=1) / 10
    assert found.difference == pytest.approx(d.mean())
    assert found.error == pytest.approx(np.sqrt(v + variance * (1 / 2 + 1 / 3)))
    assert (found.about, found.df) == ("the recipes", pytest.approx(9))
    share = variance * (1 / 2 + 1 / 3) / found.error**2
    reach = found.error * ((1 - share) * stats.t.ppf(0.975, 9) + share * stats.t.ppf(0.975, 3))
    assert (found.low, found.high) == pytest.approx((d.mean() - reach, d.mean() + reach))
    assert found.flips == compare(a.mean(axis=0), b.mean(axis=0), range(10), MeanDice()).flips


def test_the_law_of_both_parts_inverts_its_quantiles():
    law = _Law(0.5, (11, 2), 0.6 * 0.25)
    for q in (1e-9, 0.001, 0.1, 0.5, 0.8, 0.999):
        expected = 0.5 * (0.4 * stats.t.ppf(q, 11) + 0.6 * stats.t.ppf(q, 2))
        assert law.quantile(q) == pytest.approx(expected, abs=1e-12)
        assert law.below(expected) == pytest.approx(q, rel=1e-6)
        found = optimize.brentq(lambda p: 0.5 * (0.4 * stats.t.ppf(p, 11) + 0.6 * stats.t.ppf(p, 2)) - 0.3, 0.5, 0.999)
        assert law.below(0.3) == pytest.approx(found)
    density = lambda x: (law.below(x + 1e-4) - law.below(x - 1e-4)) / 2e-4  # noqa: E731
    assert integrate.quad(density, -0.7, 0.7, limit=200)[0] == pytest.approx(law.below(0.7) - law.below(-0.7), abs=1e-5)


def test_one_recipe_with_seeds_lends_its_spread_to_the_others():
    recipes = {"one": of_seeds(1)[0], "two": of_seeds(2, seed=5), "three": of_seeds(1, seed=6)}
    spread = seed_spread([recipes["one"][None], recipes["two"], recipes["three"]], MeanDice())
    assert spread.df == 1
    found = compare_all(recipes, range(10), MeanDice())
    assert [(pair.a, pair.b) for pair in found] == [("one", "two"), ("one", "three"), ("two", "three")]
    assert {pair.found.spread for pair in found} == {spread}
    assert [pair.holm for pair in found] == holm([pair.found.p for pair in found])
    alone = compare(recipes["one"], recipes["three"][0], range(10), MeanDice(), spread=spread)
    assert found[1].found == alone
    v = np.var(recipes["three"][0, :, 0] - recipes["one"][:, 0], ddof=1) / 10
    assert alone.error == pytest.approx(np.sqrt(v + 2 * spread.variance))
    assert seed_spread([of_seeds(1), of_seeds(1)], MeanDice()) is None


def test_a_mean_over_classes_keeps_the_classes_of_each_whole_run():
    """Class 2 is in group 0 alone."""
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(5), 2)
    runs = []
    for _ in range(2):
        matrices = random.integers(1, 40, (10, 3, 3)) + 300 * np.eye(3, dtype=int)
        matrices[groups > 0, 2], matrices[groups > 0, :, 2] = 0, 0
        runs.append(matrices.reshape(10, 9).astype(float))
    found = compare(*runs, groups, MeanIoU(3))
    scores = [interval_of_metric(MeanIoU(3), run, groups).value for run in runs]
    assert found.difference == pytest.approx(scores[1] - scores[0])

    def score(run, name):
        """Mean IoU without a group; class 2 keeps its IoU of the whole where it is in no other group."""
        whole, part = (iou(run[keep].sum(axis=0).reshape(3, 3)) for keep in (groups >= 0, groups != name))
        return np.where(np.isnan(part), whole, part).mean()

    without = np.array([score(runs[1], name) - score(runs[0], name) for name in range(5)])
    assert found.error == pytest.approx(np.sqrt(4 / 5 * np.sum((without - without.mean()) ** 2)))


def test_where_nothing_can_be_said_the_note_says_why():
    a, b, groups = two_runs(2)
    found = compare(of_scores(a), of_scores(b), groups, MeanDice())
    assert found.note == "none: two groups only, an interval needs three"
    assert found[1:10] == (None,) * 9
    assert found.flips.smallest == 0.5
    assert not found.is_significant
    a, _, groups = two_runs(5)
    same = compare(of_scores(a), of_scores(a), groups, MeanDice())
    assert (same.difference, same.p, same.equal, same.better, same.flips.p) == (0, 1, 1, 0, 1)
    assert "no spread to measure" in same.note
    shifted = compare(of_scores(np.full(8, 0.5)), of_scores(np.full(8, 0.75)), range(8), MeanDice())
    assert (shifted.difference, shifted.p, shifted.better) == (0.25, None, None)


def test_what_does_not_fit_is_refused():
    a, b, groups = two_runs(3)
    with pytest.raises(ValueError, match=r"of 11 images, because .* got \(1, 12, 2\)"):
        compare(of_scores(a), of_scores(b), groups[:-1], MeanDice())
    with pytest.raises(ValueError, match=r"of one shape are compared, got \(12, 2\) and \(12, 3\)"):
        compare(of_scores(a), np.ones((12, 3)), groups, MeanDice())
    with pytest.raises(ValueError, match="margin is 0 or more, got -1"):
        compare(of_scores(a), of_scores(b), groups, MeanDice(), margin=-1)
    with pytest.raises(ValueError, match="margin is 0 or more, got nan"):
        compare(of_scores(a), of_scores(b), groups, MeanDice(), margin=float("nan"))


def test_a_spread_of_no_size_changes_nothing_but_the_words():
    a, b, groups = two_runs(7)
    plain = compare(of_scores(a), of_scores(b), groups, MeanDice())
    found = compare(of_scores(a), of_scores(b), groups, MeanDice(), spread=SeedSpread(0.0, 2))
    assert (found.p, found.low, found.better) == pytest.approx((plain.p, plain.low, plain.better))
    assert found.about == "the recipes"
