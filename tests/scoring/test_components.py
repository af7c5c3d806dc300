"""The table of components against masks made anew and counted by brute force, for every cut."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from kit.scoring import confusion_matrix
from kit.scoring.components import ComponentTable, components_of, matrices_of
from kit.scoring.overlapping import class_matrices
from kit.system.objects import without_small

SIZE = (41, 57)


def blobs(seed, classes):
    """Class numbers u8 (H, W) in many small parts."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((classes, *SIZE)), (0, 1.2, 1.2))
    return np.argmax(noise, axis=0).astype(np.uint8)


def table_of(predictions, truths, classes):
    parts = []
    for prediction, truth in zip(predictions, truths, strict=True):
        layers = [(prediction == k).astype(np.uint8) for k in range(1, classes)]
        parts.append(components_of(layers, [truth] * (classes - 1), classes))
    return ComponentTable.join(parts)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("largest", [False, True])
def test_the_matrices_of_every_cut_are_those_of_the_masks(classes, largest):
    predictions, truths = [blobs(seed, classes) for seed in range(4)], [blobs(seed + 9, classes) for seed in range(4)]
    predictions[3][:] = 0
    for truth in truths[:2]:
        truth[5:9] = 255
    table = table_of(predictions, truths, classes)
    totals = np.stack([np.bincount(truth.ravel(), minlength=256)[:classes] for truth in truths])
    totals = np.repeat(totals[:, None], classes - 1, axis=1)
    for least in itertools.product((0, 1, 7, 40, 10**6), repeat=2):
        areas = [least[k % 2] for k in range(classes - 1)]
        found = matrices_of(table.hits(areas, largest), totals, overlapping=False)
        for prediction, truth, matrix in zip(predictions, truths, found, strict=True):
            mask = prediction.copy()
            for k in range(1, classes):
                own = (prediction == k).astype(np.uint8)
                mask[(own > 0) & (without_small(own, areas[k - 1], largest) == 0)] = 0
            np.testing.assert_array_equal(matrix, confusion_matrix(truth, mask, classes))


def test_classes_that_overlap_have_a_matrix_each():
    predictions = [np.stack([blobs(seed + k, 2) for k in (0, 50, 90)], axis=2).astype(bool) for seed in range(3)]
    truths = [np.stack([blobs(seed + k, 2) for k in (7, 57, 97)], axis=2).astype(bool) for seed in range(3)]
    layers = [[np.ascontiguousarray(one[..., k]).view(np.uint8) for k in range(3)] for one in predictions + truths]
    table = ComponentTable.join([components_of(*pair, 2) for pair in zip(layers[:3], layers[3:], strict=True)])
    totals = np.stack([[[np.sum(~one[..., k]), np.sum(one[..., k])] for k in range(3)] for one in truths])
    present = np.array([[True, True, False], [False, True, True], [True, True, True]])
    found = matrices_of(table.hits([0, 9, 30], False, present), totals, overlapping=True)
    for i, (prediction, truth) in enumerate(zip(predictions, truths, strict=True)):
        mask = np.stack([without_small(layers[i][k], area) for k, area in enumerate([0, 9, 30])], axis=2)
        np.testing.assert_array_equal(found[i], class_matrices(truth, mask.astype(bool) & present[i]))
        assert prediction.any()
