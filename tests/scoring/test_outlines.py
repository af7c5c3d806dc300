"""Erosion, borders and nearest pixels against OpenCV and all pairs; the scores of an image against their own files."""

import cv2
import numpy as np
import pytest

from kit.scoring import boundary_f1, boundary_iou, hd95, outlines, surface_dice
from kit.scoring.outline_scores import MEASURES, outline_scores
from kit.scoring.outlines import border_pixels, eroded, label_edges, squared_distances


def blocks(random, classes=2, shape=(24, 33)):
    labels = random.integers(classes, size=(6, 8)).astype(np.uint8)
    return np.kron(labels, np.ones((4, 5), np.uint8))[: shape[0], : shape[1]]


@pytest.mark.parametrize("outside", [False, True])
def test_erosion_is_opencvs(outside):
    random = np.random.default_rng(0)
    for _ in range(30):
        mask = blocks(random, shape=(random.integers(1, 25), random.integers(1, 34)))
        width = int(random.integers(1, 8))
        padded = cv2.copyMakeBorder(mask, *[width] * 4, cv2.BORDER_CONSTANT, value=int(outside))
        expected = cv2.erode(padded, np.ones([2 * width + 1] * 2, np.uint8))[width:-width, width:-width]
        np.testing.assert_array_equal(eroded(mask > 0, width, outside), expected > 0)


def test_borders_and_edges_are_those_of_shifted_masks():
    random = np.random.default_rng(1)
    for _ in range(20):
        labels = blocks(random, 3, (random.integers(1, 25), random.integers(1, 34)))
        around = np.pad(labels, 1, mode="edge")
        shifted = np.array([around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]])
        np.testing.assert_array_equal(label_edges(labels), np.argwhere((shifted != labels).any(axis=0)))
        mask = labels == 1
        for outside in (False, True):
            around = np.pad(mask, 1, constant_values=outside)
            inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
            np.testing.assert_array_equal(border_pixels(mask, outside), np.argwhere(mask & ~inner))


def test_nearest_pixels_are_those_of_all_pairs_near_and_far(monkeypatch):
    random = np.random.default_rng(2)
    for case in range(40):
        if case == 20:
            monkeypatch.setattr(outlines, "STEPS", -10_000)  # as for outlines that lie far apart: by a tree
        points, others = (np.argwhere(random.random((30, 40)) < share).astype(np.int32) for share in (0.1, 0.01))
        others[:, 0] += random.integers(60)
        if not len(others):
            continue
        expected = ((points[:, None] - others[None]) ** 2).sum(axis=2).min(axis=1)
        np.testing.assert_array_equal(squared_distances(points, others), expected)
        found = squared_distances(points, others, limit=25)
        np.testing.assert_array_equal(found <= 25, expected <= 25)
        np.testing.assert_array_equal(found[expected <= 25], expected[expected <= 25])
    assert np.isinf(squared_distances(points, others[:0])).all()


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("classes", [2, 4])
def test_scores_of_an_image_are_those_of_each_measure_alone(classes, background):
    random = np.random.default_rng(classes)
    for void in (False, True, True):
        truth, prediction = np.zeros((2, 50, 60), np.uint8)
        for mask in (truth, prediction):
            mask[9:33, 8:41] = blocks(random, classes)
        if void:  # at the corner too
            truth[:12, :15] = 255
        found = outline_scores(truth, prediction, classes, background)
        first = int(background)
        expected = {
            "boundary_iou": boundary_iou(truth, prediction, classes),
            "boundary_f1": boundary_f1(truth, prediction, classes),
            "surface": surface_dice(truth, prediction, classes, 2.0),
        }
        for name, values in expected.items():
            start = 0 if name == "boundary_f1" else first
            np.testing.assert_array_equal(found[start:, MEASURES.index(name)], values[start:])
        distances = hd95(truth, prediction, classes)
        np.testing.assert_array_equal(found[first:, 3], np.where(np.isnan(distances), np.inf, distances)[first:])
        assert np.isnan(found[:first, [0, 2, 3]]).all()


def test_empty_masks_objects_and_classes_that_overlap():
    empty, some = np.zeros((2, 20, 30), np.uint8)
    some[5:9, 4:20] = 1
    np.testing.assert_array_equal(outline_scores(empty, empty, 2)[1], [np.nan] * 4)
    np.testing.assert_array_equal(outline_scores(empty, some, 2)[1], [0, np.nan, 0, np.inf])
    np.testing.assert_array_equal(outline_scores(some, empty, 2)[1], [0, 0, 0, np.inf])
    np.testing.assert_array_equal(outline_scores(some, some, 2)[1], [1, 1, 1, 0])
    numbered = np.where(some, np.arange(30) // 8, 0).astype(np.int32)
    moved = np.roll(some, 1, axis=1)
    expected = outline_scores((numbered > 0).astype(np.uint8), moved, 2)
    np.testing.assert_array_equal(outline_scores(numbered, moved.astype(np.int32), 2), expected)
    layers = [np.stack(pair, axis=2).view(np.bool_) for pair in ((some, empty, some), (moved, empty, empty))]
    expected = [outline_scores(a, b, 2)[1] for a, b in ((some, moved), (empty, empty), (some, empty))]
    np.testing.assert_array_equal(outline_scores(*layers, 3), expected)
