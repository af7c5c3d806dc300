"""Boxes against brute force and torchvision: of label images, overlap, coding, matching, sampling."""

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

from kit.models.boxes import BACKGROUND, BETWEEN, clip, decode, encode, iou, match, objects_of, padded, sample


def boxes(count, seed, side=60):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, side, (count, 2)), rng.uniform(0.5, side / 2, (count, 2))
    return torch.from_numpy(np.hstack([corner, corner + size]).astype(np.float32))


def brute_objects(labels, classes):
    """Label, half-open box and class of each object, by looking for each by itself."""
    found = []
    for label in sorted(set(labels.ravel().tolist()) - {0}):
        rows, columns = np.nonzero(labels == label)
        kind = classes[rows[0], columns[0]]
        if kind:
            found.append((label, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], kind))
    return found


def test_objects_of_a_label_image_with_gaps_single_pixels_and_edges():
    rng = np.random.default_rng(0)
    for number in range(50):
        shape = rng.integers(1, 25, 2)
        labels = rng.choice([0, 0, 0, 1, 7, 300, 2**31 - 1, *range(20, 26)], shape)
        kinds = {label: rng.integers(0, 3) for label in np.unique(labels)}
        classes = np.vectorize(kinds.get)(labels)
        if number < 25:  # without classes all are of class 1
            classes = np.ones_like(labels)
        expected = brute_objects(labels, classes)
        # beside an image without objects and one of one large object
        batch = torch.from_numpy(np.stack([labels, 0 * labels, 0 * labels + 5, labels]))
        given = None if number < 25 else torch.from_numpy(np.stack([classes, classes, 0 * classes + 1, classes]))
        found, none, one, again = objects_of(batch, given)
        assert (len(none.labels), one.labels.tolist()) == (0, [5])
        assert all(map(torch.equal, found, again))
        assert found.labels.tolist() == [label for label, _, _ in expected]
        assert found.boxes.tolist() == [box for _, box, _ in expected]
        assert found.classes.tolist() == [kind for _, _, kind in expected]
        assert (found.boxes[:, 2:] - found.boxes[:, :2] >= 1).all()  # a single pixel has a box too


def test_no_objects():
    found = objects_of(torch.zeros(2, 5, 6, dtype=torch.int64))
    for each in found:
        assert [tuple(values.shape) for values in each] == [(0,), (0, 4), (0,)]
    nothing = padded([each.boxes for each in found])
    assert match(boxes(4, 0), nothing, 0.3, 0.7, best_of_each=True).tolist() == [[BACKGROUND] * 4] * 2


def test_overlap_and_coding_are_torchvisions_and_decoding_goes_back():
    first, second = boxes(40, 1), boxes(40, 2)
    torch.testing.assert_close(iou(first, second), box_iou(first, second))
    for weights in ((1, 1, 1, 1), (10, 10, 5, 5)):
        coder = BoxCoder(weights)
        shifts = encode(first, second, weights)
        torch.testing.assert_close(shifts, coder.encode_single(first, second))
        torch.testing.assert_close(decode(shifts, second, weights), first, rtol=1e-4, atol=1e-4)
        of_classes = torch.stack([shifts, -shifts, 9 * shifts], dim=1)  # the last is cut off before it is exp
        found = decode(of_classes, second, weights).flatten(1)
        torch.testing.assert_close(found, coder.decode_single(of_classes.flatten(1), second))
    assert decode(torch.full((1, 4), 1e30), second[:1]).diff().isfinite().all()


def test_a_hand_made_shift():
    """From (0, 0)-(10, 20) to (10, 10)-(30, 30): the centre moves 1.5 widths and half a height, the width doubles."""
    shifts = encode(torch.tensor([[10.0, 10, 30, 30]]), torch.tensor([[0.0, 0, 10, 20]]))
    torch.testing.assert_close(shifts, torch.tensor([[1.5, 0.5, float(np.log(2)), 0.0]]))


@pytest.mark.parametrize("count", [5, 16, 45])  # of objects: fewer and more than are compared together
def test_matching_is_torchvisions(count):
    for seed in range(20):
        anchors, objects = boxes(200, seed), boxes(count, 1000 + seed)
        objects[0] = anchors[3]  # a box that fits exactly
        for low, high, best in ((0.3, 0.7, True), (0.5, 0.5, False)):
            expected = Matcher(high, low, allow_low_quality_matches=best)(box_iou(objects, anchors))
            together = padded([objects, objects[:1], objects[:0]])  # images of fewer objects, and of none
            found, one, none = match(anchors, together, low, high, best_of_each=best)
            assert torch.equal(found, expected)
            moved = torch.stack([anchors, anchors.flip(0), anchors])  # boxes of each image
            assert torch.equal(match(moved, together, low, high, best_of_each=best)[1], one.flip(0))
            assert (one[3], none.max()) == (0, BACKGROUND)
            assert found[3] == 0
            assert (BETWEEN in found) == (low < high)


def test_an_object_that_no_box_overlaps_makes_no_box_its_own():
    far = torch.tensor([[900.0, 900, 910, 910]])
    assert (match(boxes(9, 0), far[None], 0.3, 0.7, best_of_each=True) == BACKGROUND).all()


def test_sampling_draws_a_share_of_objects_and_fills_up_with_background():
    matched = torch.tensor([BACKGROUND] * 50 + [BETWEEN] * 20 + [0, 1, 2] * 10)
    for count, share, on_objects, background in ((40, 0.25, 10, 30), (40, 0.9, 30, 10), (500, 0.5, 30, 50)):
        torch.manual_seed(0)
        together = torch.stack([matched, matched.clamp(max=BACKGROUND)])  # the second image without objects
        [(positive, negative), (none, few)] = sample(together, count, share)
        assert (len(none), len(few)) == (0, min(count, 80))
        assert (len(positive), len(negative)) == (on_objects, background)
        assert (matched[positive] >= 0).all()
        assert (matched[negative] == BACKGROUND).all()
        assert len({*positive.tolist(), *negative.tolist()}) == on_objects + background
    torch.manual_seed(1)
    assert not torch.equal(sample(matched[None], 40, 0.25)[0][0], positive[:10])


def test_boxes_are_cut_off_at_the_edges_of_the_image():
    wild = torch.tensor([[-5.0, -7, 12, 500], [30, 40, 90, 60]])
    assert clip(wild, (50, 80)).tolist() == [[0, 0, 12, 50], [30, 40, 80, 50]]
