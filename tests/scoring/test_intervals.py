"""The interval against its formulas written out plainly, and where the formulas have no answer."""

import time

import numpy as np
import pytest
from scipy import stats

from kit.scoring import (
    DatasetDice,
    Interval,
    MeanIoU,
    confusion_matrix,
    interval,
    interval_of_metric,
    interval_of_score,
    iou,
)
from kit.scoring.compare import compare
from kit.scoring.intervals import degrees_of_freedom, note_text


def plain_interval(numerators, denominators, groups, level=0.95):
    """The formulas as they are printed, with matrices and a loop over the groups."""
    numerators, denominators, groups = map(np.asarray, (numerators, denominators, groups))
    names = sorted(set(groups.tolist()))

    def logit(keep):
        share = numerators[keep].sum() / denominators[keep].sum()
        return np.log(share / (1 - share))

    eta = logit(np.ones(len(groups), bool))
    without = np.array([logit(groups != name) for name in names])
    count = len(names)
    variance = (count - 1) / count * np.sum((without - without.mean()) ** 2)
    w = np.array([denominators[groups == name].sum() for name in names]) / denominators.sum()
    m = np.diag(w / np.sqrt(1 - w)) @ (np.eye(count) - np.outer(np.ones(count), w))
    k = m @ m.T
    df = np.trace(k) ** 2 / np.trace(k @ k)
    reach = stats.t.ppf((1 + level) / 2, max(df, 1)) * np.sqrt(variance)
    return 1 / (1 + np.exp(-eta + reach)), 1 / (1 + np.exp(-eta - reach)), max(df, 1)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("count", [3, 4, 9, 40])
def test_interval_is_the_formula(count, level):
    random = np.random.default_rng(count)
    groups = np.concatenate([np.arange(count), random.integers(0, count, 5 * count)])
    sizes = random.integers(1, 5000, len(groups))
    hits = random.binomial(sizes, random.uniform(0.7, 0.99, count)[groups])
    for numerators, denominators in ((hits / sizes, np.ones(len(groups))), (2 * hits, hits + sizes)):
        found = interval(numerators, denominators, groups, level)
        low, high, df = plain_interval(numerators, denominators, groups, level)
        assert found.value == pytest.approx(numerators.sum() / denominators.sum())
        assert (found.low, found.high, found.df) == pytest.approx((low, high, df))
        assert 0 < found.low < found.value < found.high < 1


def test_degrees_of_freedom_are_those_of_the_matrix_and_one_less_for_equal_sizes():
    for sizes in ([5, 5, 5], [1] * 30):
        assert degrees_of_freedom(np.array(sizes, float)) == pytest.approx(len(sizes) - 1)
    sizes = np.array([1.0, 2, 3, 50, 7])
    w = sizes / sizes.sum()
    m = np.diag(w / np.sqrt(1 - w)) @ (np.eye(5) - np.outer(np.ones(5), w))
    k = m @ m.T
    assert degrees_of_freedom(sizes) == pytest.approx(max(1, np.trace(k) ** 2 / np.trace(k @ k)))
    assert degrees_of_freedom(np.array([1.0, 1, 1e6])) == 1  # never below


def test_names_and_order_of_groups_make_no_difference():
    random = np.random.default_rng(0)
    scores, codes = random.uniform(0.5, 1, 40), random.integers(0, 7, 40)
    expected = interval(scores, np.ones(40), codes)
    order = random.permutation(40)
    assert interval(scores[order], np.ones(40), codes[order]) == pytest.approx((*expected[:4], expected.note))
    assert interval(scores, np.ones(40), [f"patient {code}" for code in codes]) == expected
    assert interval(list(scores), [1] * 40, list(map(int, codes))) == expected


@pytest.mark.parametrize(("groups", "said"), [([0, 0, 0, 0], "one group only"), ([0, 1, 0, 1], "two groups only")])
def test_fewer_than_three_groups_have_no_interval_and_say_so(groups, said):
    for found in (
        interval([0.9, 0.8, 0.7, 1], np.ones(4), groups),
        interval_of_score(np.ones((4, 2)), groups, lambda sums: sums[..., 0] / sums[..., 1]),
    ):
        assert found[1:4] == (None, None, None)
        assert found.note == f"none: {said}, an interval needs three"


def test_a_note_is_said_as_of_no_interval_or_of_the_interval():
    nothing = interval([0.9, 0.7], [1, 1], ["a", "b"]).note
    assert note_text(nothing) == "no interval: two groups only, an interval needs three"
    assert note_text(nothing, " of Dice") == "no interval of Dice: two groups only, an interval needs three"
    assert note_text("one group left out: nothing to score there").startswith("interval: one group left out")
    assert note_text("") == ""


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_perfect_or_empty_score_has_no_interval_and_says_so(score):
    found = interval([score] * 6, [1] * 6, [0, 0, 1, 1, 2, 2])
    assert found == Interval(
        score, None, None, None, f"none: every group scores {score:g}, so there is no spread to measure"
    )
    metric_found = interval_of_score(
        np.full((6, 1), score), [0, 0, 1, 1, 2, 2], lambda sums: sums[..., 0] / max(sums[0, 0], 1), logit=True
    )
    assert metric_found.value == score


def test_errors_of_one_group_alone_end_the_interval_at_one():
    found = interval([1, 1, 1, 0.6, 1], [1] * 5, list("abcde"))
    error = np.sqrt(4 / 5 * np.sum((np.array([0.9, 0.9, 0.9, 1, 0.9]) - 0.92) ** 2))
    assert found.low == pytest.approx(0.92 - stats.t.ppf(0.975, 4) * error)
    assert found.high == 1
    assert "all errors are in group d: cut at 1" in found.note
    mirrored = interval([0, 0, 0, 0.4, 0], [1] * 5, list("abcde"))
    assert (mirrored.low, mirrored.high) == (0, pytest.approx(1 - found.low))
    assert "all hits are in group d: cut at 0" in mirrored.note


def test_one_group_with_errors_among_thousands_is_found_in_spite_of_rounding():
    scores = np.ones(3000)
    scores[5] = 1 - 1e-13
    assert "all errors are in group 5" in interval(scores, np.ones(3000), range(3000)).note


def test_groups_with_nothing_to_score_are_left_out_and_said():
    top, bottom, groups = [9, 8, 7, 5, 0, 0], [10, 10, 10, 9, 0, 0], [0, 1, 2, 3, 4, 5]
    found, without = interval(top, bottom, groups), interval(top[:4], bottom[:4], groups[:4])
    assert found[:4] == without[:4]
    assert "two groups left out: nothing to score there" in found.note
    assert interval(top[:5], bottom[:5], [0, 0, 1, 1, 2]).note.startswith("none: two groups only")
    nothing = interval([0, 0, 0], [0, 0, 0], [0, 1, 2])
    assert np.isnan(nothing.value)
    assert nothing.note == "none: there is nothing to score"


def test_groups_that_score_alike_have_an_interval_without_width_and_say_so():
    found = interval([0.7] * 8, [1] * 8, range(8))
    assert found.low == pytest.approx(0.7) == found.high
    assert "no spread" in found.note


def test_scores_that_are_no_shares_stay_on_their_own_scale():
    distances = np.array([3.0, 5, 4, 9, 2, 7])
    found = interval(distances, np.ones(6), range(6))
    error = stats.sem(distances)  # the jackknife of a mean is its standard error
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 5, distances.mean(), error))
    assert "own scale" in found.note


def test_skewed_groups_are_warned_of_and_near_normal_ones_are_not():
    random = np.random.default_rng(0)
    skewed = 1 - 0.01 * np.exp(random.standard_normal(25))
    assert "skewed" in interval(skewed, np.ones(25), range(25)).note
    even = 1 - 0.01 * stats.norm.ppf((np.arange(25) + 0.5) / 25, 5)
    assert interval(even, np.ones(25), range(25)).note == ""
    assert "4 groups are too few to check" in interval([0.9, 0.8, 0.85, 0.7], [1] * 4, range(4)).note


def test_a_score_of_sums_takes_the_jackknife_over_itself():
    random = np.random.default_rng(1)
    counts, groups = random.uniform(1, 9, (30, 3)), np.repeat(np.arange(6), 5)

    def score(sums):
        return sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 1]

    found = interval_of_score(counts, groups, score)
    values = np.array([score(counts[groups != name].sum(axis=0)) for name in range(6)])
    error = np.sqrt(5 / 6 * np.sum((values - values.mean()) ** 2))
    whole = score(counts.sum(axis=0))
    reach = stats.t.ppf(0.975, 5) * error
    assert found[:4] == pytest.approx((whole, whole - reach, whole + reach, 5))


def test_a_ratio_as_a_score_on_the_logit_scale_is_the_ratio():
    random = np.random.default_rng(2)
    counts, groups = random.uniform((0, 2), (1, 3), (24, 2)), np.repeat(np.arange(8), 3)
    ratio = interval(counts[:, 0], counts[:, 1], groups)
    score = interval_of_score(counts, groups, lambda sums: sums[..., 0] / sums[..., 1], logit=True)
    assert score[:3] == pytest.approx(ratio[:3], rel=0.02)  # df by images here, by denominators there


def test_a_score_that_one_group_keeps_from_one_ends_there():
    def score(sums):
        return np.sqrt(sums[..., 0] / sums[..., 1])

    counts = np.array([[1.0, 1]] * 4 + [[0.5, 1]])
    found = interval_of_score(counts, range(5), score, logit=True)
    assert found.high == 1
    assert found.low < found.value < 1
    assert "one group alone decides" in found.note
    assert interval_of_score(counts, range(5), score).high > 1  # on its own scale it may lie beyond


def test_a_score_that_a_group_alone_carries_has_no_interval():
    counts = np.array([[3.0, 5], [0, 0.01], [0, 0.01], [0, 0.01]])

    def score(sums):
        return sums[..., 0] / np.where(sums[..., 1] > 1, 5, np.nan)

    found = interval_of_score(counts, list("abcd"), score)
    assert found == Interval(0.6, None, None, None, "none: without group a there is no score")
    counts[1:] = 0
    found = interval_of_score(counts, list("abcd"), score)
    assert found == Interval(0.6, None, None, None, "none: one group only, an interval needs three")


def test_mean_iou_keeps_the_classes_of_the_whole_data_when_a_group_is_left_out():
    """Class 2 is in group 0 alone: it counts with its IoU of the whole data in each score without a group."""
    random = np.random.default_rng(3)
    matrices = random.integers(50, 90, (8, 4, 4)) + 400 * np.eye(4, dtype=int)
    groups = np.repeat(np.arange(4), 2)
    matrices[groups > 0, 2], matrices[groups > 0, :, 2] = 0, 0
    matrices[:, 3], matrices[:, :, 3] = 0, 0  # class 3 is nowhere
    metric = MeanIoU(4)
    found = interval_of_metric(metric, matrices.reshape(8, -1), groups)
    whole = iou(matrices.sum(axis=0))
    values = []
    for name in range(4):
        part = iou(matrices[groups != name].sum(axis=0))
        values.append(np.mean([part[k] if k < 2 or name > 0 else whole[k] for k in range(3)]))
    logits = np.log(np.divide(values, 1 - np.array(values)))
    eta = np.log(whole[:3].mean() / (1 - whole[:3].mean()))
    reach = stats.t.ppf(0.975, 3) * np.sqrt(3 / 4 * np.sum((logits - logits.mean()) ** 2))
    assert found.value == pytest.approx(whole[:3].mean())
    assert (found.low, found.high) == pytest.approx((1 / (1 + np.exp(reach - eta)), 1 / (1 + np.exp(-reach - eta))))


def test_a_metric_of_an_empty_data_set_keeps_its_own_value():
    counts = np.array([DatasetDice().counts(np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8))] * 4)
    found = interval_of_metric(DatasetDice(), counts, range(4))
    assert found == Interval(1.0, None, None, None, "none: there is nothing to score")


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3,\) and 3 groups: expected one numerator"):
        interval([1, 1, 1], [1, 1], [0, 1, 2])
    with pytest.raises(ValueError, match=r"shape \(3, 2\) and 2 groups"):
        interval([1, 1, 1], [1, 1, 1], [0, 1])
    with pytest.raises(ValueError, match=r"position 1 holds \[nan, 1.0\]: give an image without a score 0"):
        interval([1, np.nan, 1], [1, 1, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="got -2 at position 2"):
        interval([1, 1, 1], [1, 1, -2], [0, 1, 2])
    with pytest.raises(ValueError, match="position 1 has no group"):
        interval([1, 1, 1], [1, 1, 1], [0, float("nan"), 2])
    with pytest.raises(ValueError, match="position 2 has no group"):
        interval([1, 1, 1], [1, 1, 1], ["a", "b", None])
    with pytest.raises(ValueError, match=r"level is a share between 0 and 1 such as 0\.95, got 95"):
        interval([1, 1, 1], [1, 1, 1], [0, 1, 2], level=95)


def test_five_thousand_images_in_groups_of_their_own_are_fast():
    random = np.random.default_rng(0)
    scores, truth = random.uniform(0.8, 1, 5000), random.integers(0, 21, (50, 60)).astype(np.uint8)
    matrices = np.tile(confusion_matrix(truth, np.roll(truth, 1), 21).reshape(-1), (5000, 1))
    began = time.perf_counter()
    interval(scores, np.ones(5000), range(5000))
    interval_of_metric(MeanIoU(21), matrices, range(5000))
    assert time.perf_counter() - began < 3  # about 0.3 s


@pytest.mark.parametrize("rest", [0.0, 0.01])
def test_groups_with_nothing_to_score_give_no_degrees_of_freedom(rest):
    rng = np.random.default_rng(0)
    sizes = np.repeat([100.0, 100.0, 100.0, *[rest] * 27], 2)
    counts = np.column_stack([sizes * rng.uniform(0.5, 0.9, 60), sizes])
    groups = np.repeat(np.arange(30), 2).tolist()

    def score(sums):
        return sums[..., 0] / sums[..., 1]

    found = interval_of_score(counts, groups, score, sizes=sizes)
    alone = interval_of_score(counts[:6], groups[:6], score)
    assert found.df == pytest.approx(2, abs=0.01)
    if rest == 0:
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
    assert compare(counts, counts[:, [1, 1]] * [0.5, 1], groups, DatasetDice()).df == pytest.approx(2, abs=0.01)
