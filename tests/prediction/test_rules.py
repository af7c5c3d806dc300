"""Rules of classes that overlap and of objects, and the probabilities that they are given."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from tasks_data import enlarged_by_hand
from torch import nn
from torch.nn import functional as F

from kit.data.normalise import Normalisation
from kit.data.resize import Resizing
from kit.data.tasks import Task
from kit.prediction import TTA, VIEWS, Frame, Predictor, Rule, probabilities, quantise, rule_for
from kit.system.edges import mask_of_edges

SIZE = (61, 83)
EIGHT = np.ones((3, 3))


def smooth(seed, count, size=(23, 31)):
    coarse = torch.from_numpy(np.random.default_rng(seed).random((1, count, 7, 9)))
    return (F.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 0.999).numpy() * 256).astype(np.uint8)


@pytest.mark.parametrize("thresholds", [(0.5,), (0.4, 0.6), [0.3, 0.5, 0.7]])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_threshold_of_each_class_decides_it_alone(thresholds, dtype):
    levels, rule = smooth(1, len(thresholds)).astype(dtype), Rule(thresholds)
    mask = rule.mask(levels, SIZE)
    assert (mask.dtype, mask.shape) == (bool, (*SIZE, len(thresholds)))
    enlarged = enlarged_by_hand(levels, SIZE)
    for k, threshold in enumerate(thresholds):
        near = np.abs(enlarged[k] - (round(256 * threshold) - 0.5)) < 1e-6
        assert ((mask[..., k] == (enlarged[k] >= round(256 * threshold) - 0.5)) | near).all()
        edges = rule.edges(levels, SIZE, "F", k)
        np.testing.assert_array_equal(mask_of_edges(edges, SIZE[::-1]).T, mask[..., k])
    assert Rule(list(thresholds)) == rule == eval(repr(rule))


@pytest.mark.parametrize("min_area", [0, 1, 2, 150, 400])
def test_objects_are_the_components_of_the_foreground(min_area):
    levels = smooth(2, 1)
    found = Rule(0.55, objects=True, min_area=min_area).mask(levels, SIZE)
    labels, count = ndimage.label(Rule(0.55).mask(levels, SIZE), EIGHT)
    kept = [k for k in range(1, count + 1) if (labels == k).sum() >= min_area]
    assert 0 < len(kept) < count or min_area < 3
    assert (found.dtype, sorted(np.unique(found))) == (np.int32, list(range(len(kept) + 1)))
    for k in kept:
        [label] = np.unique(found[labels == k])
        np.testing.assert_array_equal(found == label, labels == k)
    assert not found[~np.isin(labels, kept)].any()


@pytest.mark.parametrize("rule", [Rule(min_area=150), Rule((0.5, 0.5, 0.5), min_area=150)])
def test_small_components_of_every_class_are_left_out(rule):
    levels = smooth(3, 3 if rule.separate else 4)
    usual, found = Rule(rule.threshold).mask(levels, SIZE), rule.mask(levels, SIZE)
    for k in range(1, 4):
        before = usual[..., k - 1] if rule.separate else usual == k
        after = found[..., k - 1] if rule.separate else found == k
        labels = ndimage.label(before, EIGHT)[0]
        areas = np.bincount(labels.ravel())
        assert (areas[1:] >= 150).any()
        np.testing.assert_array_equal(after, (labels > 0) & (areas >= 150)[labels])
    assert (usual != found).any()
    assert rule.edges(levels, SIZE, "C") is None


def test_edges_are_known_only_where_a_class_is_decided_alone():
    levels = smooth(4, 2)
    assert Rule().edges(levels, SIZE, "C") is None
    assert Rule(objects=True).edges(levels[:1], SIZE, "C") is None
    assert Rule().edges(levels[:1], SIZE, "C") is not None


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (lambda: Rule((0.5, 1.0)), r"between 0 and 1, got \(0.5, 1.0\)"),
        (lambda: Rule(()), r"between 0 and 1, got \(\)"),
        (lambda: Rule((0.5, 0.5), objects=True), "objects are of one class"),
        (lambda: Rule(min_area=-1), "0 or more; got -1"),
        (lambda: Rule((0.5, 0.5)).mask(smooth(0, 3), SIZE), "levels of 3 classes, and a rule for 2 thresholds"),
        (lambda: Rule(objects=True).mask(smooth(0, 3), SIZE), "levels of 3 classes, and a rule for objects of one"),
        (lambda: rule_for(Task("multiclass", ("a", "b", "c")), Rule(0.4)), "of several classes the likeliest is taken"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule, told):
    with pytest.raises(ValueError, match=told):
        rule()


def test_the_usual_rule_of_a_task():
    assert rule_for(Task("binary", ("a", "b"))) == rule_for(Task("multiclass", ("a", "b", "c"))) == Rule()
    assert rule_for(Task("multilabel", ("a", "b"))) == Rule((0.5, 0.5))
    assert rule_for(Task("multilabel", ("a",))) == Rule((0.5,))
    assert rule_for(Task("multilabel", ("a", "b")), Rule(0.3, min_area=4)) == Rule((0.3, 0.3), min_area=4)
    assert rule_for(Task("instances", ("a", "b"))) == Rule(objects=True)
    assert rule_for(Task("binary", ("a", "b")), Rule(0.3)) == Rule(0.3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_logit_has_a_sigmoid_where_classes_are_decided_one_by_one(count):
    torch.manual_seed(0)
    network, images = nn.Conv2d(3, count, 3, padding=1), torch.randn(2, 3, 12, 16)
    with torch.no_grad():
        expected = (network(images).sigmoid() + network(images.flip(3)).sigmoid().flip(3)) / 2
    torch.testing.assert_close(probabilities(network, images, TTA(VIEWS["hflip"]), separate=True), expected)
    predictor = Predictor(
        [network],
        Frame(Resizing((12, 16)), normalise=Normalisation((0.5,) * 3, (0.5,) * 3)),
        rule=Rule((0.5,) * count),
    )
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    levels = predictor.predict_levels(image)
    assert levels.shape == (count, 12, 16)
    assert predictor.predict(image).shape == (24, 32, count)


def test_levels_of_classes_that_overlap_may_be_alike():
    probs = torch.full((1, 3, 2, 2), 0.9)
    assert quantise(probs, separate=True).unique().tolist() == [230]
    assert quantise(probs).unique().tolist() == [229, 230]
