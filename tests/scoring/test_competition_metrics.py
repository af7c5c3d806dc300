"""The metrics of competitions against plain code, and what a metric of a user's own is checked for."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from kit.scoring import (
    DatasetDice,
    DatasetIoU,
    MeanDice,
    MeanDicePerClass,
    MeanIoU,
    PrecisionOverThresholds,
    interval_of_metric,
)
from kit.scoring.metrics import check_counts

FOREGROUND = (MeanDice(), DatasetDice(), DatasetIoU(), PrecisionOverThresholds())


class PerfectImages:
    """The metric of the docstring of kit.scoring.metrics."""

    name = "images without an error"
    ratio = True

    def counts(self, truth, prediction):
        return np.array([np.all((truth == prediction) | (truth == 255)), 1.0])

    def score(self, sums):
        return sums[..., 0] / sums[..., 1]


def pairs(num_classes=2, count=12, seed=0):
    """Truths and predictions with ignored pixels; the first is empty in both, the next two in one of them."""
    random = np.random.default_rng(seed)
    truths = random.integers(0, num_classes, (count, 17, 23)).astype(np.uint8)
    wrong = random.random(truths.shape) < random.uniform(0, 0.4, (count, 1, 1))
    predictions = np.where(wrong, random.integers(0, num_classes, truths.shape), truths).astype(np.uint8)
    truths[0], predictions[0], truths[1], predictions[2] = 0, 0, 0, 0
    truths[:, :3, :4] = 255
    return truths, predictions


def score_of(metric, truths, predictions):
    counts = [metric.counts(truth, prediction) for truth, prediction in zip(truths, predictions, strict=True)]
    return float(metric.score(np.sum(counts, axis=0)))


def test_dice_and_iou_of_the_foreground_are_scikit_learns():
    truths, predictions = pairs()
    seen = truths != 255
    each = [f1_score(t[s], p[s], zero_division=1) for t, p, s in zip(truths, predictions, seen, strict=True)]
    assert score_of(MeanDice(), truths, predictions) == pytest.approx(np.mean(each))
    assert score_of(DatasetDice(), truths, predictions) == pytest.approx(f1_score(truths[seen], predictions[seen]))
    assert score_of(DatasetIoU(), truths, predictions) == pytest.approx(jaccard_score(truths[seen], predictions[seen]))


def test_means_over_classes_are_scikit_learns():
    truths, predictions = pairs(4)
    seen = truths != 255
    union = jaccard_score(truths[seen], predictions[seen], average="macro")
    assert score_of(MeanIoU(4), truths, predictions) == pytest.approx(union)
    assert score_of(MeanIoU(6), truths, predictions) == pytest.approx(union)  # two classes that are nowhere
    each = [
        f1_score(t[s] == k, p[s] == k, zero_division=1)
        for t, p, s in zip(truths, predictions, seen, strict=True)
        for k in (1, 2, 3)
    ]
    assert score_of(MeanDicePerClass(4), truths, predictions) == pytest.approx(np.mean(each))


def salt_precision(truth, prediction):
    """TGS salt's metric as its page describes it: a share of thresholds, with the objects given as sets of pixels."""
    kept = truth.ravel() != 255
    true = {i for i in np.flatnonzero(kept) if truth.ravel()[i]}
    found = {i for i in np.flatnonzero(kept) if prediction.ravel()[i]}
    if not true and not found:
        return 1.0
    overlap = len(true & found) / len(true | found)
    return sum(overlap > threshold + 1e-12 for threshold in np.arange(0.5, 1.0, 0.05)) / 10


def test_precision_over_thresholds_is_that_of_a_plain_loop():
    truths, predictions = pairs(count=40, seed=1)
    expected = [salt_precision(*pair) for pair in zip(truths, predictions, strict=True)]
    found = [PrecisionOverThresholds().counts(*pair)[0] for pair in zip(truths, predictions, strict=True)]
    assert found == expected
    assert len(set(expected)) > 5
    assert expected[:3] == [1, 0, 0]


@pytest.mark.parametrize(
    ("missed", "precision"), [(0, 1), (1, 1), (5, 0.9), (9, 0.9), (10, 0.8), (45, 0.1), (49, 0.1), (50, 0)]
)
def test_an_iou_equal_to_a_threshold_does_not_exceed_it(missed, precision):
    """100 pixels of truth: IoU is 1 - missed / 100; 0.95, 0.55 and 0.5 are thresholds."""
    truth, prediction = np.ones((2, 10, 10), np.uint8)
    prediction.reshape(-1)[:missed] = 0
    assert PrecisionOverThresholds().counts(truth, prediction)[0] == pytest.approx(precision)


@pytest.mark.parametrize("metric", FOREGROUND, ids=lambda metric: metric.name)
def test_empty_truths_and_predictions_score_as_stated(metric):
    empty, full = np.zeros((5, 6), np.uint8), np.ones((5, 6), np.uint8)
    assert score_of(metric, [empty], [empty]) == 1
    assert score_of(metric, [np.full_like(empty, 255)], [full]) == 1  # every pixel is ignored
    assert score_of(metric, [full], [full]) == 1
    assert score_of(metric, [empty], [full]) == score_of(metric, [full], [empty]) == 0


@pytest.mark.parametrize(
    "metric", [*FOREGROUND, MeanIoU(3), MeanDicePerClass(3), PerfectImages()], ids=lambda m: m.name
)
def test_every_metric_keeps_its_promises_and_has_an_interval(metric):
    truths, predictions = pairs(3 if "class" in metric.name else 2)
    predictions[5] = truths[5]
    counts = [metric.counts(*pair) for pair in zip(truths, predictions, strict=True)]
    counts = check_counts(metric, counts, [f"image{row}" for row in range(len(counts))])
    assert np.shape(metric.score(counts)) == (12,)
    found = interval_of_metric(metric, counts, np.arange(12) % 6)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(score_of(metric, truths, predictions))


def broken(counts=lambda: np.array([0.5, 1.0]), score=lambda sums: sums[..., 0] / sums[..., 1], ratio=True):
    return type("Broken", (), {"name": "mine", "ratio": ratio, "counts": counts, "score": staticmethod(score)})()


def test_a_metric_that_breaks_its_promises_is_refused_by_name():
    good, ids = [np.array([0.5, 1.0]), np.array([0.25, 1.0])], ["a", "b"]
    with pytest.raises(ValueError, match=r"mine: the counts of b have shape \(3,\), expected \(2,\), because ratio"):
        check_counts(broken(), [good[0], np.ones(3)], ids)
    with pytest.raises(ValueError, match=r"the counts of b have shape \(2,\), expected \(M,\), the same for every"):
        check_counts(broken(ratio=False), [np.ones(3), good[1]], ids)
    with pytest.raises(ValueError, match=r"the counts of a have shape \(\), expected \(M,\)"):
        check_counts(broken(ratio=False), [0.5, 0.5], ids)
    with pytest.raises(ValueError, match=r"the counts of b are \[nan, 1.0\], expected finite numbers, the second 0 or"):
        check_counts(broken(), [good[0], np.array([np.nan, 1])], ids)
    with pytest.raises(ValueError, match=r"the counts of a are \[1.0, -1.0\]"):
        check_counts(broken(), [np.array([1.0, -1]), good[1]], ids)
    with pytest.raises(ValueError, match=r"its score of sums of shape \(2, 2\) has shape \(\), expected \(2,\)"):
        check_counts(broken(score=lambda sums: sums[0, 0]), good, ids)
    with pytest.raises(ValueError, match=r"\[0.75, 2.0\] is 0.625, expected first / second, 0.375"):
        check_counts(broken(score=lambda sums: 1 - sums[..., 0] / sums[..., 1]), good, ids)
    assert check_counts(broken(ratio=False), [np.array([-1.0, 2])] * 2, ids).tolist() == [[-1, 2]] * 2


def test_other_labels_are_refused():
    with pytest.raises(ValueError, match="prediction holds 3; expected classes 0 to 2"):
        MeanIoU(3).counts(np.zeros((2, 2), np.uint8), np.full((2, 2), 3, np.uint8))
