"""Kinds of wrong pixels, against a plain loop over all pixels and borders."""

import numpy as np
import pytest
import scipy.ndimage

from kit.scoring.errors import KINDS, NEAR, error_kinds, touches_edge


def untouched(mask, other):
    """The pixels of connected parts of a mask that hold no pixel of the other one."""
    parts, count = scipy.ndimage.label(mask, np.ones((3, 3)))
    alone = [k for k in range(1, count + 1) if not (other & (parts == k)).any()]
    return np.isin(parts, alone)


def by_hand(truth, prediction, has_objects=False):
    height, width = truth.shape
    counted = np.ones(truth.shape, bool) if has_objects else truth != 255
    beside = [
        (y, x)
        for y in range(height)
        for x in range(width)
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
        if 0 <= y + dy < height and 0 <= x + dx < width and counted[y, x] and counted[y + dy, x + dx]
        if truth[y, x] != truth[y + dy, x + dx]
    ]
    found = dict.fromkeys(KINDS, 0)
    one, other = ((mask > 0) & counted for mask in (truth, prediction))
    alone = untouched(one, other) | untouched(other, one)
    full = [bool(((mask > 0) & counted).any()) for mask in (truth, prediction)]
    for y in range(height):
        for x in range(width):
            t, p = int(truth[y, x]), int(prediction[y, x])
            if has_objects:
                t, p = int(t > 0), int(p > 0)
            if not counted[y, x] or t == p:
                continue
            near = not alone[y, x] and any((y - v) ** 2 + (x - u) ** 2 <= (NEAR - 1) ** 2 for v, u in beside)
            kind = (
                "empty"
                if full[0] != full[1]
                else "boundary"
                if near
                else "missed"
                if p == 0
                else "extra"
                if t == 0
                else "swapped"
            )
            found[kind] += 1
    return [found[kind] for kind in KINDS]


def blobs(rng, values, size=(23, 31)):
    mask = np.zeros(size, np.int64)
    for value in values:
        y, x = rng.integers(0, size[0] - 6), rng.integers(0, size[1] - 6)
        mask[y : y + rng.integers(4, 14), x : x + rng.integers(4, 14)] = value
    return mask


@pytest.mark.parametrize("seed", range(12))
def test_classes_as_a_plain_loop_counts_them(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = blobs(rng, [1, 2, 255]).astype(np.uint8), blobs(rng, [1, 2]).astype(np.uint8)
    assert error_kinds(truth, prediction).tolist() == by_hand(truth, prediction)


@pytest.mark.parametrize("seed", range(4))
def test_objects_and_classes_that_overlap(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = blobs(rng, [7, 300, 9000]).astype(np.int32), blobs(rng, [255, 2]).astype(np.int32)
    assert error_kinds(truth, prediction).tolist() == by_hand(truth, prediction, has_objects=True)
    layers = [(blobs(rng, [1]) > 0, blobs(rng, [1] * (k < 2)) > 0) for k in range(3)]
    stacked = (np.stack([pair[side] for pair in layers], axis=2) for side in (0, 1))
    expected = np.sum([by_hand(*(layer.astype(np.uint8) for layer in pair)) for pair in layers], axis=0)
    assert error_kinds(*stacked).tolist() == expected.tolist()


def test_one_side_empty_and_nothing_wrong():
    truth = np.zeros((9, 9), np.uint8)
    truth[4:6, 4:6] = 1
    assert error_kinds(truth, truth).tolist() == [0] * 5
    assert error_kinds(truth, truth * 0).tolist() == [0, 0, 0, 0, 4]
    assert error_kinds(truth * 0, truth).tolist() == [0, 0, 0, 0, 4]
    assert error_kinds(truth * 0, truth * 0).tolist() == [0] * 5


def test_the_edge_of_the_image():
    truth = np.zeros((6, 8), np.uint8)
    truth[1:5, 1:7] = 1
    truth[0] = 255
    assert not touches_edge(truth)
    labels = truth.astype(np.int32)
    assert touches_edge(labels)  # 255 is a label like others
    for place in ((5, 3), (2, 0), (2, 7)):
        edge = truth.copy()
        edge[place] = 1
        assert touches_edge(edge)
    layers = np.zeros((6, 8, 2), bool)
    assert not touches_edge(layers)
    layers[5, 4, 1] = True
    assert touches_edge(layers)


def test_small_objects_that_are_missed_whole_are_missed_and_not_near_a_border():
    truth = np.zeros((40, 60), np.uint8)
    for left in (5, 25, 45):
        truth[10:16, left : left + 6] = 1
    prediction = np.where(np.arange(60) < 20, truth, 0).astype(np.uint8)
    prediction[30:34, 50:54] = 1
    assert error_kinds(truth, prediction).tolist() == [0, 2 * 36, 16, 0, 0]


def test_without_a_background_no_class_is_missed():
    truth, prediction = np.zeros((2, 20, 30), np.uint8)
    truth[:, 15:] = 1
    prediction[:, 11:] = 1
    assert error_kinds(truth, prediction, background=False).tolist() == [20 * 3, 0, 0, 20, 0]
    assert error_kinds(truth, prediction).tolist() == [20 * 3, 0, 20, 0, 0]
    assert error_kinds(truth, truth * 0 + 2, background=False)[[1, 2, 4]].tolist() == [0, 0, 0]
