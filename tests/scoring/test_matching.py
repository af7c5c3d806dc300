"""Pairs of objects, and what became of each, against loops over all pairs of masks."""

import importlib
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import kit.scoring
from kit.scoring import InstanceFBeta, InstancePrecision, Segments, instance_f_beta, instance_precisions, match
from kit.scoring.matching import EXTRA, HIT, MERGED, MISSED, SPLIT, THRESHOLDS
from kit.system.segments import paint

TWENTIETHS = np.arange(10, 20)


def drawn(random):
    """Two small label images: rectangles that are moved, cut, joined or left out; gaps in the labels; empty ones."""
    height, width = random.integers(4, 22, 2)
    images = np.zeros((2, height, width), np.int32)
    for label in random.choice(2**31 - 1, random.integers(0, 7), replace=False) + 1:
        top, left = random.integers((0, 0), (height, width))
        sides = random.integers(1, 9, 2)
        box = np.s_[top : top + sides[0], left : left + sides[1]]
        if random.random() < 0.9:
            images[0][box] = label
        fate, other = random.integers(6), random.integers(1, 2**31 - 1)
        if fate == 0:
            images[1][box] = 77  # one label for several objects: they are joined
        elif fate == 1:
            images[1][box] = other
            images[1][top, left : left + sides[1]] = 77 if other > 2**30 else 5
        elif fate < 5:
            down, right = random.integers(0, 2, 2)
            images[1][top + down : top + down + sides[0], left + right : left + right + sides[1]] = other
    return images


def masks_of(image):
    return {label: image == label for label in np.unique(image).tolist() if label}


class ByHand:
    """The objects of two label images, and the pixels of both and of either of each pair, from masks."""

    def __init__(self, truth, prediction):
        self.true, self.predicted = masks_of(truth), masks_of(prediction)
        self.overlap = np.array(
            [[(a & b).sum() for b in self.predicted.values()] for a in self.true.values()], int
        ).reshape(len(self.true), len(self.predicted))
        areas = [np.array([mask.sum() for mask in masks.values()], int) for masks in (self.true, self.predicted)]
        self.areas = areas
        self.union = areas[0][:, None] + areas[1] - self.overlap
        # more than half of the predicted object is in the true one, and the other way round
        self.in_truth = 2 * self.overlap > areas[1]
        self.in_prediction = 2 * self.overlap > areas[0][:, None]

        pairs = zip(self.overlap.ravel().tolist(), self.union.ravel().tolist(), strict=True)
        self.twentieths = np.array([math.ceil(20 * Fraction(*pair)) - 1 for pair in pairs], int)  # that it is above

    def hits(self, twentieths):
        return (self.twentieths >= twentieths).reshape(self.overlap.shape)


def stardist_precision(truth, prediction, shift):
    """StarDist's formula: an assignment at each threshold, where an IoU of the threshold counts; shifted above it."""
    hand = ByHand(truth, prediction)
    ious, total = hand.overlap / np.maximum(hand.union, 1), sum(hand.overlap.shape)
    found = []
    for threshold in TWENTIETHS / 20 + shift:
        cost = -(ious >= threshold).astype(float) - ious / (2 * max(1, min(ious.shape)))
        hits = np.count_nonzero(ious[linear_sum_assignment(cost)] >= threshold)
        found.append(hits / (total - hits) if total else 1.0)
    return np.array(found)


@pytest.mark.parametrize("pairs", [400, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_pairs_are_matched_as_by_hand(pairs):
    random, kinds, exact = np.random.default_rng(0), np.zeros(6, int), 0
    for number in range(pairs):
        truth, prediction = drawn(random)
        hand, found = ByHand(truth, prediction), match(truth, prediction)
        assert found.truth.tolist() == list(hand.true)
        assert found.prediction.tolist() == list(hand.predicted)
        np.testing.assert_array_equal(found.true_areas, hand.areas[0])
        np.testing.assert_array_equal(found.predicted_areas, hand.areas[1])
        at = np.nonzero(hand.overlap)
        np.testing.assert_array_equal((found.true_at, found.predicted_at), at)
        np.testing.assert_array_equal((found.overlap, found.union), (hand.overlap[at], hand.union[at]))
        hits = np.array([hand.hits(number).sum() for number in TWENTIETHS])
        np.testing.assert_array_equal(found.hits(), hits)
        objects = len(hand.true) + len(hand.predicted)
        precisions = [Fraction(int(one), objects - int(one)) if objects else 1 for one in hits]
        assert instance_precisions(truth, prediction).tolist() == [float(one) for one in precisions]
        f2 = [5 * one / (4 * len(hand.true) + len(hand.predicted)) if objects else 1 for one in hits]
        assert instance_f_beta(truth, prediction) == pytest.approx(np.mean(f2), abs=1e-15)
        if number < 300:
            shifted = stardist_precision(truth, prediction, 1e-9)
            np.testing.assert_allclose(instance_precisions(truth, prediction), shifted, atol=1e-15)
            exact += (stardist_precision(truth, prediction, 0) != shifted).any()
        twentieths = int(TWENTIETHS[number % 10])
        check_errors(hand, found, twentieths, kinds)
    assert (kinds[1:] > 50).all()  # every kind of error has been met
    assert exact > 10  # images with an IoU of a threshold exactly


def check_errors(hand, found, twentieths, kinds):
    """The counts, and the kind, the best partner and the parts of every object."""
    is_hit = hand.hits(twentieths)
    splits, merges = hand.in_truth.sum(1), hand.in_prediction.sum(0)
    errors, hits = found.errors(twentieths / 20), int(is_hit.sum())
    assert errors == (hits, len(splits) - hits, len(merges) - hits, (splits > 1).sum(), (merges > 1).sum())
    tables = found.of_truth(twentieths / 20), found.of_prediction(twentieths / 20)
    sides = [(hand, is_hit, splits, merges, hand.in_prediction, (SPLIT, MERGED, MISSED))]
    sides.append((hand, is_hit.T, merges, splits, hand.in_truth.T, (MERGED, SPLIT, EXTRA)))
    for side, (table, (_, hit, parts, other_parts, inside, names)) in enumerate(zip(tables, sides, strict=True)):
        others = list((hand.predicted, hand.true)[side])
        ious = (hand.overlap / np.maximum(hand.union, 1)).T if side else hand.overlap / np.maximum(hand.union, 1)
        np.testing.assert_array_equal(table.parts, parts)
        for at, row in enumerate(ious):
            best = row.max(initial=0)
            assert table.ious[at] == best
            assert (table.partners[at] == 0) if best == 0 else (row[others.index(table.partners[at])] == best)
            in_part = any(inside[at, other] and other_parts[other] > 1 for other in range(len(others)))
            kind = HIT if hit[at].any() else names[0] if parts[at] > 1 else names[1] if in_part else names[2]
            assert table.kinds[at] == kind
        kinds += np.bincount(table.kinds, minlength=6)


def test_an_iou_of_a_threshold_exactly_is_no_hit_there():
    for twentieths in range(10, 21):
        truth, prediction = np.zeros((2, 3, 50), np.int32)
        truth[1, 10:30], prediction[1, 10 : 10 + twentieths] = 2**31 - 1, 3
        expected = (twentieths > TWENTIETHS).astype(float)
        np.testing.assert_array_equal(instance_precisions(truth, prediction), expected)
        np.testing.assert_array_equal(instance_precisions(prediction, truth), expected)
    third = np.repeat([1, 1, 2], 7)[None], np.repeat([1, 1, 0], 7)[None]
    assert match(*third).hits((2 / 3,)) == [1]
    with pytest.raises(ValueError, match=r"thresholds of IoU are 0.5 to 1, got 0.3: below 0.5 an object may"):
        match(truth, prediction).hits((0.3,))


def test_images_of_any_layout_and_labels_in_any_place():
    random = np.random.default_rng(1)
    large = np.repeat(np.repeat(random.integers(0, 9, (40, 50)), 5, 0), 7, 1)
    other = np.roll(large, 3, 1)
    expected = match(large, other)
    layouts = [
        lambda image: np.asfortranarray(image),
        lambda image: image.astype(np.uint16),
        lambda image: image[:, 1:],
    ]
    layouts += [lambda image: image.astype(np.int32)[1:, :], lambda image: image.astype(np.int32).ravel()[1:][None]]
    for layout in layouts:
        own, pair = match(layout(large), layout(other)), (np.ascontiguousarray(layout(one)) for one in (large, other))
        pairs, counts = np.unique(np.stack([one.ravel() for one in pair]), axis=1, return_counts=True)
        both = (pairs > 0).all(axis=0)
        np.testing.assert_array_equal(own.overlap, counts[both])
        np.testing.assert_array_equal(own.truth[own.true_at], pairs[0][both])
    np.testing.assert_array_equal(match(np.asfortranarray(large), other).overlap, expected.overlap)
    for at in (0, 5, 16, 1234, large.size - 1):
        wrong = large.astype(np.int32)
        wrong.flat[at] = -3
        with pytest.raises(ValueError, match="got -3 to 8"):
            match(large, wrong)


def test_masks_of_pycocotools_and_hotcoco_have_the_same_ious():
    random = np.random.default_rng(3)
    truth, prediction = drawn(random)
    found = match(truth, prediction)
    dense = np.zeros((len(found.truth), len(found.prediction)))
    dense[found.true_at, found.predicted_at] = found.ious
    assert dense.size
    for package in ("pycocotools.mask", "hotcoco.mask"):
        mask = pytest.importorskip(package, reason="a peer of the benchmarks: pip install -e '.[bench]'")
        coded = [
            [mask.encode(np.asfortranarray(one.astype(np.uint8))) for one in masks_of(image).values()]
            for image in (truth, prediction)
        ]
        np.testing.assert_allclose(mask.iou(*coded, [0] * len(coded[1])), dense, atol=1e-12)


def test_a_hit_needs_one_class():
    labels = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((4, 5), int)).astype(np.int32)
    truth = Segments.numbered(labels, [1, 1, 2, 2, 3, 3])
    prediction = Segments(labels + 10, {11: 1, 12: 2, 13: 2, 14: 2, 15: 3, 16: 1, 99: 4})
    found = match(truth, prediction)
    assert found.errors() == (4, 2, 2, 0, 0)
    assert found.of_truth().kinds.tolist() == [HIT, MISSED, HIT, HIT, HIT, MISSED]
    np.testing.assert_array_equal(found.hits(), [4] * 10)
    assert match(labels, labels + 10).hits((0.5,)) == [6]
    assert InstancePrecision().counts(truth, prediction).tolist() == [4 / 8, 1]
    assert InstanceFBeta().counts(truth, prediction)[0] == pytest.approx(5 * 4 / (4 * 6 + 6))
    assert [found.of_class(k).errors() for k in range(1, 4)] == [(1, 1, 1, 0, 0), (2, 0, 1, 0, 0), (1, 1, 0, 0, 0)]
    assert found.of_class(1).of_prediction().labels.tolist() == [11, 16]
    with pytest.raises(ValueError, match="these objects have no class"):
        match(labels, labels).of_class(1)
    with pytest.raises(ValueError, match="labels without a class: 15, 16"):
        match(truth, Segments(labels + 10, {11: 1, 12: 1, 13: 2, 14: 4}))


def test_kinds_are_painted_at_their_pixels():
    truth = np.zeros((12, 30), np.int32)
    truth[1:5, 1:9], truth[1:5, 12:20], truth[7:11, 1:5], truth[7:11, 5:10], truth[7:11, 20:24] = (
        4,
        900,
        7,
        2**31 - 1,
        6,
    )
    prediction = np.zeros_like(truth)
    prediction[1:5, 1:9], prediction[1:5, 12:16], prediction[1:5, 16:20], prediction[7:11, 1:10] = 1, 2, 3, 4
    prediction[7:11, 25:29] = 2**30
    found = match(truth, prediction)
    painted = found.of_truth(0.6).paint(truth)
    for label, kind in {4: HIT, 900: SPLIT, 7: MERGED, 2**31 - 1: MERGED, 6: MISSED, 0: 0}.items():
        assert (painted[truth == label] == kind).all()
    painted = found.of_prediction(0.6).paint(prediction)
    for label, kind in {1: HIT, 2: SPLIT, 3: SPLIT, 4: MERGED, 2**30: EXTRA, 0: 0}.items():
        assert (painted[prediction == label] == kind).all()
    assert found.errors(0.6) == (1, 4, 4, 1, 1)
    assert found.errors(0.6).f1 == pytest.approx(2 / 10)
    assert found.of_truth(0.5).kinds.tolist() == [HIT, MISSED, MERGED, SPLIT, HIT]  # 20 of 36 pixels: the larger half
    small = np.array([[3, 0, 5]])
    assert paint(small, np.array([3]), np.array([2.5])).tolist() == [[2.5, 0, 0]]
    assert paint(small, np.array([], int), np.array([], np.uint8)).tolist() == [[0, 0, 0]]


def test_metrics_of_images_without_ships():
    nothing, ship = np.zeros((8, 9), np.int32), np.eye(8, 9, dtype=np.int32)
    f2 = InstanceFBeta()
    assert [f2.counts(a, b)[0] for a in (nothing, ship) for b in (nothing, ship)] == [1, 0, 0, 1]
    ships = np.diag(np.arange(1, 7))
    found = np.where(ships > 4, 0, ships) + np.eye(6, k=1, dtype=int) * (ships.shape[0] + np.arange(6))
    hits, missed, added = 4, 2, 5
    assert f2.counts(ships, found)[0] == pytest.approx(5 * hits / (5 * hits + 4 * missed + added))
    f1 = InstanceFBeta(1, (0.5,))
    assert f1.counts(ships, found)[0] == pytest.approx(match(ships, found).errors().f1)
    assert (f2.name, f1.name) == ("mean F2 of objects over IoU thresholds", "mean F1 of objects at IoU 0.5")
    assert len(THRESHOLDS) == 10


@pytest.mark.parametrize("label", [-1, -2, -(2**31)])
def test_labels_below_0_are_refused_wherever_they_stand(label):
    for place in (0, 5, 399):
        wrong, right = np.zeros((20, 20), np.int32), np.zeros((20, 20), np.int32)
        wrong.reshape(-1)[place] = label
        for pair in ((wrong, right), (right, wrong), (wrong, wrong)):
            with pytest.raises(ValueError, match="labels are 0 to"):
                match(*pair)
    everywhere = np.full((20, 20), label, np.int32)
    with pytest.raises(ValueError, match="labels are 0 to"):
        match(np.zeros_like(everywhere), everywhere)


def test_earlier_runs_find_the_metric_where_they_name_it():
    named = importlib.import_module("kit.scoring.metrics")
    assert named.InstancePrecision is kit.scoring.InstancePrecision
    assert not hasattr(named, "InstancePrecisions")
