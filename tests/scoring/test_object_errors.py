"""What each kind of error of objects costs: against the scores of each image, and by loops over masks."""

import numpy as np
from squares import scene, scenes

from kit.scoring import instance_f_beta, instance_precisions, match
from kit.scoring.matching import EXTRA, HIT, KINDS, MERGED, MISSED, SPLIT, THRESHOLDS
from kit.scoring.object_errors import ERRORS, FoundObjects


def test_every_object_is_of_the_kind_that_it_was_drawn_as():
    drawn = [scene(seed) for seed in range(12)]
    found = FoundObjects.join(match(truth, prediction) for truth, prediction, _ in drawn)
    for kind in (HIT, MISSED, EXTRA, SPLIT, MERGED):
        assert found.true(kind).tolist() == [counts["true"][KINDS[kind]] for _, _, counts in drawn]
        assert found.predicted(kind).tolist() == [counts["predicted"][KINDS[kind]] for _, _, counts in drawn]
    assert found.true().tolist() == [len(np.unique(truth)) - 1 for truth, _, _ in drawn]
    ious = [sum(iou for iou in match(truth, other).ious if iou > 0.5) for truth, other, _ in drawn]
    np.testing.assert_allclose(found.hit_ious(), ious)


def test_scores_are_those_of_each_image_and_losses_add_up_to_what_is_lost():
    pairs = scenes()
    random = np.random.default_rng(5)
    pairs += [tuple(random.integers(0, 6, (2, 9, 9)).astype(np.int32)) for _ in range(20)]
    found = FoundObjects.join(match(*pair) for pair in pairs)
    for at, threshold in enumerate(THRESHOLDS):
        expected = [instance_precisions(*pair)[at] for pair in pairs]
        np.testing.assert_allclose(found.precision(threshold), expected, rtol=0, atol=1e-15)
    for beta, thresholds in ((1, (0.5,)), (2, THRESHOLDS), (0.5, (0.5, 0.75))):
        expected = np.array([instance_f_beta(*pair, beta, thresholds) for pair in pairs])
        np.testing.assert_allclose(np.mean([found.precision(t, beta) for t in thresholds], axis=0), expected)
        np.testing.assert_allclose(found.losses(thresholds, beta).sum(axis=1), 1 - expected, atol=1e-12)
    precision = np.mean([found.precision(t) for t in THRESHOLDS], axis=0)
    np.testing.assert_allclose(found.losses().sum(axis=1), 1 - precision, atol=1e-12)


def test_the_loss_of_a_kind_is_that_of_its_objects():
    truth, prediction, counts = scene(3)
    true, predicted = counts["true"], counts["predicted"]
    assert min(true["hit"], true["missed"], true["split"], true["merged"], predicted["extra"]) > 0
    found = match(truth, prediction)
    eroded = np.count_nonzero((found.ious > 0.5) & (found.ious < 0.6))
    expected = np.zeros(len(ERRORS))
    for at in range(10):
        fails = 0 if at < 2 else eroded  # 0.5 and 0.55 are below 36/64
        hits = true["hit"] - fails
        lost = [2 * fails, true["missed"], predicted["extra"]]
        lost += [true[kind] + predicted[kind] for kind in ("split", "merged")]
        expected += np.array(lost) / (hits + sum(lost)) / 10
    assert eroded > 0
    np.testing.assert_allclose(FoundObjects.join([found]).losses()[0], expected)


def test_a_run_without_any_object():
    empty = np.zeros((4, 4), np.int32)
    found = FoundObjects.join([match(empty, empty)] * 3)
    assert found.losses().tolist() == [[0] * 5] * 3
    assert found.precision(0.9).tolist() == [1, 1, 1]
    assert len(found.truth.kind) == len(found.prediction.kind) == 0
