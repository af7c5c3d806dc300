"""The watershed against scikit-image's and a plain queue, and objects from two levels."""

import dataclasses
import heapq

import cv2
import numpy as np
import pytest

from kit.data import border_target
from kit.data.tasks import Task
from kit.prediction import Rule
from kit.prediction.rule import channels_of, rule_for
from kit.prediction.watershed import find_objects, grow, relabelled, sureness
from kit.scoring import instance_precision
from kit.system.objects import components

OBJECTS = Rule(objects=True, border=True)


def drawn(seed, size, distinct):
    """A mask, seeds in it, and random levels: all different, of at most 256 pixels, or of 32 values."""
    random = np.random.default_rng(seed)
    count = size[0] * size[1]
    levels = (random.permutation(count) if distinct else 8 * random.integers(0, 32, count)).astype(np.uint8)
    mask = cv2.blur(random.random(size), (3, 3)) > random.uniform(0.3, 0.5)
    seeds = np.where(random.random(size) < 0.06, random.integers(1, 40, size), 0) * mask
    return mask.astype(np.uint8), seeds.astype(np.int32), levels.reshape(size)


def by_queue(mask, seeds, levels):
    """The rule in words: the pixel of the highest level first, of equal ones the one that was reached first."""
    labels, queue = np.where(mask > 0, seeds, 0), []
    height, width = mask.shape
    for y, x in np.argwhere(labels):
        heapq.heappush(queue, (-int(levels[y, x]), len(queue), y, x))
    time = len(queue)
    while queue:
        _, _, y, x = heapq.heappop(queue)
        for v in range(max(0, y - 1), min(height, y + 2)):
            for u in range(max(0, x - 1), min(width, x + 2)):
                if mask[v, u] and not labels[v, u]:
                    labels[v, u] = labels[y, x]
                    time += 1
                    heapq.heappush(queue, (-int(levels[v, u]), time, v, u))
    return labels


def discs(seed=0, size=200, count=60):
    random, labels = np.random.default_rng(seed), np.zeros((size, size), np.int32)
    y, x = np.mgrid[:size, :size]
    for label in range(1, count + 1):
        radius, (top, left) = random.uniform(6, 14), random.uniform(0, size, 2)
        labels[(np.hypot(y - top, x - left) < radius) & (labels == 0)] = label
    return relabelled(labels, 20)


def test_the_watershed_is_scikit_image_s():
    """Levels without ties leave no choice, so every pixel must agree; components without a seed are told apart."""
    segmentation = pytest.importorskip("skimage.segmentation", reason="scikit-image is no dependency of kit")
    for seed in range(300):
        mask, seeds, levels = drawn(seed, (16, 16), distinct=True)
        theirs = segmentation.watershed(-levels.astype(int), seeds, connectivity=2, mask=mask > 0)
        found = grow(mask, seeds, levels)
        pairs = set(zip(found[theirs > 0].tolist(), theirs[theirs > 0].tolist(), strict=True))
        assert len(pairs) == len(np.unique(seeds[mask > 0])) - 1 if (seeds * mask).any() else not pairs
        assert len({one for one, _ in pairs}) == len({other for _, other in pairs}) == len(pairs)


def test_among_equal_levels_the_first_that_was_reached_goes_first():
    for seed in range(60):
        mask, seeds, levels = drawn(seed, (17, 23), distinct=False)
        expected = by_queue(mask, seeds, levels)
        alone = components((mask > 0) & (expected == 0))
        expected = np.where(alone > 0, alone + expected.max(), expected)
        np.testing.assert_array_equal(grow(mask, seeds, levels), relabelled(expected))
    whole = grow(np.ones((3, 3), np.uint8), np.zeros((3, 3), np.int32), np.zeros((3, 3), np.uint8))
    assert (whole == 1).all()  # a component without a seed
    assert not grow(*(np.zeros((0, 4), kind) for kind in (np.uint8, np.int32, np.uint8))).size
    with pytest.raises(ValueError, match=r"uint8, int32 and uint8 of one shape"):
        grow(np.ones((3, 3), bool), np.zeros((3, 3), np.int32), np.zeros((3, 3), np.uint8))


def test_perfect_levels_give_the_objects_back():
    truth = discs()
    levels = np.moveaxis(border_target(truth), 2, 0) * np.uint8(255)
    found, alone = (rule.mask(levels, truth.shape) for rule in (OBJECTS, dataclasses.replace(OBJECTS, seed=None)))
    assert found.dtype == np.int32
    assert instance_precision(truth, found) > 0.85 > 0.3 > instance_precision(truth, alone)
    np.testing.assert_array_equal(found > 0, truth > 0)
    np.testing.assert_array_equal(alone, components(truth > 0))
    np.testing.assert_array_equal(found, OBJECTS.mask(levels.astype(np.float32), truth.shape))
    large = OBJECTS.mask(levels, (400, 400))
    doubled = cv2.resize(truth.astype(np.uint16), (400, 400), interpolation=cv2.INTER_NEAREST)
    assert instance_precision(doubled, large) > 0.75


def test_each_part_of_the_rule_does_what_it_says():
    random, truth = np.random.default_rng(3), discs(3)
    soft = [cv2.GaussianBlur(255.0 * layer, (0, 0), 1.5) for layer in np.moveaxis(border_target(truth), 2, 0)]
    levels = np.clip(np.stack(soft) + random.normal(0, 25, (2, *truth.shape)), 0, 255).astype(np.uint8)
    rule = Rule(0.4, objects=True, border=True, seed=0.6, seed_area=9, min_area=30, fill_holes=20)
    mask = dataclasses.replace(rule, seed=None, min_area=0).mask(levels, truth.shape) > 0
    difference = np.maximum(levels[0].astype(int) - levels[1], 0)
    surest = sureness(levels, truth.shape)
    np.testing.assert_array_equal(surest, difference)
    seeds = components((difference >= round(0.6 * 256) - 0.5) & mask, 9)
    expected = relabelled(grow(mask.view(np.uint8), seeds, surest), 30)
    np.testing.assert_array_equal(rule.mask(levels, truth.shape), expected)
    assert np.bincount(expected.ravel())[1:].min() >= 30
    largest = dataclasses.replace(rule, keep_largest=True).mask(levels, truth.shape)
    assert set(np.unique(largest)) == {0, 1}
    assert (largest > 0).sum() == np.bincount(expected.ravel())[1:].max()
    assert rule.scaled(4) == dataclasses.replace(rule, seed_area=36, min_area=120, fill_holes=80)
    nothing = find_objects(np.zeros((4, 5), np.uint8), np.zeros((2, 4, 5), np.uint8), 127.5)
    assert nothing.shape == (4, 5)
    assert not nothing.any()


def test_old_rules_are_named_as_before():
    assert repr(Rule(objects=True)) == "Rule(threshold=0.5, objects=True, min_area=0)"
    assert OBJECTS.facts.keys() == {"threshold", "objects", "min_area", "border"}
    assert Rule(**OBJECTS.facts) == OBJECTS
    task = Task("instances", ("background", "nucleus"))
    assert (channels_of(task, rule_for(task)), channels_of(task, rule_for(task, OBJECTS))) == (1, 2)
    assert (OBJECTS.sigmoids, rule_for(task).sigmoids, Rule((0.5, 0.5)).sigmoids) == (True, False, True)
    for wrong, told in (
        ({"border": True}, "border is of objects"),
        ({"objects": True, "border": True, "seed": 1.0}, "seed is a probability"),
        ({"objects": True, "border": True, "seed_area": -1}, "seed_area is a number of pixels"),
    ):
        with pytest.raises(ValueError, match=told):
            Rule(**wrong)
    with pytest.raises(ValueError, match="levels of 1 classes, and a rule for objects and borders"):
        OBJECTS.mask(np.zeros((1, 3, 3), np.uint8), (3, 3))
    with pytest.raises(ValueError, match="has no objects"):
        rule_for(Task("binary", ("background", "car")), OBJECTS)
