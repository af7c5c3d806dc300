"""Tests for kit/training/sampling.py: rare classes are drawn as often as the paper's formula says."""

import numpy as np
import pytest
import torch

from kit.training import EpochBatches, World, repeat_factors
from kit.training.sampling import draw_by_weight

ALONE = World(0, 1, torch.device("cpu"))


def masks_of(*classes):
    return [np.array([[*own, 255]], np.uint8) for own in classes]


def test_factors_follow_the_formula():
    masks = masks_of(*[(0,)] * 16, (0, 1), (0, 1), (0, 2), (0, 1, 2))
    factors = repeat_factors(masks, threshold=0.4)
    one, two = (0.4 / (3 / 20)) ** 0.5, (0.4 / (2 / 20)) ** 0.5  # of classes 1 and 2
    np.testing.assert_allclose(factors, [1] * 16 + [one, one, two, two])


def test_overlapping_classes_count_where_they_are_shown():
    layers = np.zeros((10, 4, 4, 2), bool)
    layers[:, 0, 0, 0], layers[3, 1, 1, 1] = True, True
    np.testing.assert_allclose(repeat_factors(layers, threshold=0.4), np.where(np.arange(10) == 3, 2.0, 1.0))
    assert repeat_factors(np.zeros((2, 4, 4, 2), bool)).tolist() == [1, 1]  # nothing shown: drawn as any other


def test_an_epoch_keeps_its_length_and_draws_by_weight():
    weights = np.array([1.0, 1.0, 4.0, 2.0])
    counts = np.zeros(4)
    for seed in range(400):
        order = draw_by_weight(weights, np.random.default_rng(seed))
        assert len(order) == 4
        counts += np.bincount(order, minlength=4)
        assert 2 in order  # of weight 4 in 8: twice in every epoch
    np.testing.assert_allclose(counts / 400, weights / 2, atol=0.1)


def test_equal_weights_draw_each_image_once():
    assert sorted(draw_by_weight(np.full(7, 0.3), np.random.default_rng(1))) == list(range(7))


def test_batches_are_drawn_by_weight_and_resume():
    batches = EpochBatches(8, 4, seed=0, world=ALONE, weights=np.array([1.0] * 7 + [9.0]))
    whole = list(batches)
    assert sum(index == 7 for batch in whole for _, index in batch) >= 4
    batches.first_step = 1
    assert list(batches) == whole[1:]
    without = EpochBatches(8, 4, seed=0, world=ALONE)
    assert sorted(index for batch in without for _, index in batch) == list(range(8))


@pytest.mark.parametrize("weights", [np.ones(7), np.zeros(8), np.full(8, np.nan)])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ValueError, match="for each of 8 images"):
        EpochBatches(8, 4, seed=0, world=ALONE, weights=weights)


def test_a_threshold_out_of_range_is_refused():
    with pytest.raises(ValueError, match="0 to 1, got 2"):
        repeat_factors(masks_of((0,)), threshold=2)
