"""Scores of classes that overlap against scikit-learn, class by class."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, recall_score

from kit.scoring import DatasetDice, DatasetIoU, MeanDice, MeanDicePerClass, MeanIoU, overlapping
from kit.scoring.overlapping import class_matrices, image_scores


def pairs(count=3, images=6):
    random = np.random.default_rng(count)
    truths = random.random((images, 13, 17, count)) < 0.4
    predictions = truths ^ (random.random(truths.shape) < 0.2)
    truths[0], predictions[0] = False, False
    truths[:, :, :, -1] = predictions[:, :, :, -1] = False  # a class that is nowhere
    return truths, predictions


def flat(masks, k):
    return masks[..., k].ravel()


def test_scores_of_classes_are_scikit_learns():
    truths, predictions = pairs()
    total = np.sum([class_matrices(t, p) for t, p in zip(truths, predictions, strict=True)], axis=0)
    each = {name: [] for name in ("iou", "dice", "recall", "pixels")}
    for k in range(2):
        pair = flat(truths, k), flat(predictions, k)
        each["iou"].append(jaccard_score(*pair))
        each["dice"].append(f1_score(*pair))
        each["recall"].append(recall_score(*pair))
        each["pixels"].append(pair[0].sum())
    np.testing.assert_allclose(overlapping.iou(total), [*each["iou"], np.nan])
    np.testing.assert_allclose(overlapping.dice(total), [*each["dice"], np.nan])
    assert overlapping.mean_iou(total) == pytest.approx(np.mean(each["iou"]))
    assert overlapping.mean_dice(total) == pytest.approx(np.mean(each["dice"]))
    assert overlapping.mean_accuracy(total) == pytest.approx(np.mean(each["recall"]))
    weighted = np.average(each["iou"], weights=each["pixels"])
    assert overlapping.frequency_weighted_iou(total) == pytest.approx(weighted)
    assert overlapping.pixel_accuracy(total) == pytest.approx(accuracy_score(truths.ravel(), predictions.ravel()))


def test_a_class_that_a_part_lacks_keeps_the_score_of_the_whole():
    truths, predictions = pairs()
    truths[1, :, :, 0] = predictions[1, :, :, 0] = False
    matrices = np.stack([class_matrices(t, p) for t, p in zip(truths, predictions, strict=True)])
    whole = matrices.sum(axis=0)
    expected = (overlapping.iou(whole)[0] + overlapping.iou(matrices[1])[1]) / 2
    assert overlapping.mean_iou(matrices[1], whole) == pytest.approx(expected)
    np.testing.assert_allclose(overlapping.mean_iou(matrices)[1], overlapping.iou(matrices[1])[1])


def test_an_image_without_any_class_scores_1():
    truths, predictions = pairs()
    assert image_scores(class_matrices(truths[0], predictions[0])) == (1, 1, 1)
    with pytest.raises(ValueError, match=r"are \(H, W, K\), got \(13, 17, 3\) and \(13, 17, 2\)"):
        class_matrices(truths[0], predictions[0, :, :, :2])


def score_of(metric, truths, predictions):
    counts = [metric.counts(truth, prediction) for truth, prediction in zip(truths, predictions, strict=True)]
    return float(metric.score(np.sum(counts, axis=0)))


def test_metrics_take_masks_of_classes_that_overlap():
    truths, predictions = pairs()
    everything = truths.ravel(), predictions.ravel()
    assert score_of(DatasetDice(), truths, predictions) == pytest.approx(f1_score(*everything))
    assert score_of(DatasetIoU(), truths, predictions) == pytest.approx(jaccard_score(*everything))
    each = [f1_score(t.ravel(), p.ravel(), zero_division=1) for t, p in zip(truths, predictions, strict=True)]
    assert score_of(MeanDice(), truths, predictions) == pytest.approx(np.mean(each))
    each = [
        f1_score(flat(t, k), flat(p, k), zero_division=1)
        for t, p in zip(truths, predictions, strict=True)
        for k in range(3)
    ]
    assert score_of(MeanDicePerClass(3), truths, predictions) == pytest.approx(np.mean(each))
    ious = [jaccard_score(flat(truths, k), flat(predictions, k)) for k in range(2)]
    assert score_of(MeanIoU(3, overlapping=True), truths, predictions) == pytest.approx(np.mean(ious))
    with pytest.raises(ValueError, match=r"do not overlap \(H, W\): MeanIoU\(3, overlapping=False\)"):
        MeanIoU(3, overlapping=True).counts(truths[0, :, :, 0], predictions[0, :, :, 0])
