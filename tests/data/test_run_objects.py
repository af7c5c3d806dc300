"""Objects of masks as runs. Truth: kit.system.objects on the whole mask, which is OpenCV's."""

import numpy as np
import pytest

from kit.data.run_masks import RunMask, run_mask_of
from kit.data.run_objects import RunObjects, without_small_objects
from kit.submission import rle
from kit.system.objects import components, without_small

SHAPES = ((1, 1), (1, 40), (40, 1), (37, 53), (64, 64))


def drawn(seed, shape, share, cell=1):
    noise = np.random.default_rng(seed).random((-(-shape[0] // cell), -(-shape[1] // cell))) < share
    return np.repeat(np.repeat(noise, cell, 0), cell, 1)[: shape[0], : shape[1]].astype(np.uint8)


def both(mask, order):
    return [run_mask_of([mask], mask.shape, one) for one in ("C", order)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.45, 0.7, 1.0])
def test_the_runs_of_each_object_are_those_of_the_whole_mask(order, shape, share):
    for seed, cell in ((0, 1), (1, 1), (2, 3)):
        mask = drawn(seed, shape, share, cell)
        rows, lines = both(mask, order)
        objects, labels = RunObjects(rows), components(mask)
        found = [rle.encode_edges(edges, mask.size) for edges in objects.edges(lines)]
        assert found == rle.encode_objects(labels, order)
        assert sorted(objects.areas) == sorted(np.bincount(labels.ravel())[1:])
        large = [rle.encode_edges(edges, mask.size) for edges in objects.edges(lines, 6)]
        assert large == rle.encode_objects(components(mask, 6), order)


@pytest.mark.parametrize("order", ["C", "F"])
def test_spirals_and_combs_are_one_object(order):
    comb = np.zeros((9, 21), np.uint8)
    comb[:, ::2], comb[8] = 1, 1
    spiral = np.zeros((15, 15), np.uint8)
    spiral[0], spiral[:, 14], spiral[14], spiral[2:, 0], spiral[2, :13], spiral[2:13, 12], spiral[12, 2:13] = (1,) * 7
    for mask in (comb, comb[::-1], comb.T, spiral, spiral[::-1], spiral.T):
        rows, lines = both(np.ascontiguousarray(mask), order)
        assert len(RunObjects(rows).edges(lines)) == components(np.ascontiguousarray(mask)).max() == 1


@pytest.mark.parametrize("order", ["C", "F"])
def test_small_objects_of_each_class_are_left_out(order):
    labels = drawn(3, (50, 61), 0.3, 2) + 2 * drawn(4, (50, 61), 0.2, 2)
    rows, lines = both(labels, order)
    found = without_small_objects(rows, lines, dict.fromkeys((1, 2, 3), 9))
    for label in (1, 2, 3):
        expected = without_small((labels == label).view(np.uint8), 9)
        assert 0 < expected.sum() < (labels == label).sum()
        np.testing.assert_array_equal(found.layer(label).read(0, 0, 50, 61), expected)
        assert rle.encode_edges(found.edges[label], labels.size) == rle.encode(expected, order)
    assert without_small_objects(rows, lines, dict.fromkeys((1, 2, 3), 10**6)).edges == {}
    found = without_small_objects(rows, lines, {1: 0, 2: 30, 3: 9}, largest=True)
    for label, area in ((1, 0), (2, 30), (3, 9)):
        expected = without_small((labels == label).view(np.uint8), area, largest=True)
        np.testing.assert_array_equal(found.layer(label).read(0, 0, 50, 61), expected)


def test_runs_down_columns_are_refused():
    with pytest.raises(ValueError, match="in runs along rows"):
        RunObjects(RunMask((3, 3), "F", {}))
