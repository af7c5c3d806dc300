"""Boundary IoU against the paper's words in plain loops, and on squares whose value is counted by hand."""

import numpy as np
import pytest

from kit.scoring import MeanBoundaryIoU, boundary_iou
from kit.scoring.boundary_iou import strip_width


def plain_strip(mask, width):
    """The pixels of the mask with a pixel outside the mask, or outside the image, within `width` in both directions."""
    height, across = mask.shape
    found = np.zeros(mask.shape, bool)
    for y, x in np.argwhere(mask):
        near = range(-width, width + 1)
        found[y, x] = any(
            not (0 <= y + dy < height and 0 <= x + dx < across) or not mask[y + dy, x + dx]
            for dy in near
            for dx in near
        )
    return found


def plain_boundary_iou(true, predicted, width):
    strips = [plain_strip(mask, width) for mask in (true, predicted)]
    union = np.count_nonzero(strips[0] | strips[1])
    return np.count_nonzero(strips[0] & strips[1]) / union if union else np.nan


def blobs(random, shape, num_classes):
    """Labels with regions a few pixels wide."""
    coarse = random.integers(0, num_classes, (shape[0] // 5 + 1, shape[1] // 5 + 1))
    return np.kron(coarse, np.ones((5, 5), int))[: shape[0], : shape[1]].astype(np.uint8)


@pytest.mark.parametrize(("shape", "share"), [((23, 31), 0.02), ((23, 31), 0.06), ((40, 12), 0.1)])
def test_every_class_is_the_plain_definition(shape, share):
    random = np.random.default_rng(shape[0])
    truth, prediction = (blobs(random, shape, 3) for _ in range(2))
    truth[2:7, 4:9] = 255
    scored = truth != 255
    width = max(1, round((shape[0] ** 2 + shape[1] ** 2) ** 0.5 * share))
    expected = [plain_boundary_iou(truth == k, (prediction == k) & scored, width) for k in range(3)]
    assert boundary_iou(truth, prediction, 4, share) == pytest.approx([*expected, np.nan], nan_ok=True)
    counts = MeanBoundaryIoU(4, share).counts(truth, prediction)
    assert counts == pytest.approx([sum(expected[1:]) + 1, 3])


def test_two_squares_by_hand():
    """20 × 20 against the same one column to the right, strips of 2 pixels: 144 pixels each."""
    truth, prediction = np.zeros((2, 60, 80), np.uint8)
    truth[10:30, 10:30], prediction[10:30, 11:31] = 1, 1
    assert strip_width((60, 80)) == 2
    # rows 10, 11, 28, 29 share 19 columns; the 16 rows between share column 11 on the left and 29 on the right
    shared = 4 * 19 + 16 * 2
    assert boundary_iou(truth, prediction, 2)[1] == pytest.approx(shared / (2 * 144 - shared))


def test_the_edge_of_the_image_is_a_border():
    full = np.ones((30, 40), np.uint8)
    inside = full.copy()
    inside[14:16, 19:21] = 0
    assert strip_width(full.shape) == 1
    ring = 2 * 40 + 2 * 28
    assert boundary_iou(full, inside, 2)[1] == pytest.approx(ring / (ring + 12))
    assert boundary_iou(full, full, 2)[1] == 1


def test_the_width_is_at_least_one_pixel_and_rounded():
    assert [strip_width(shape) for shape in ((3, 4), (60, 80), (1280, 1918), (100, 100))] == [1, 2, 46, 3]
    with pytest.raises(ValueError, match="above 0; got 0"):
        strip_width((3, 4), 0)


def test_empty_masks():
    empty, full = np.zeros((9, 9), np.uint8), np.ones((9, 9), np.uint8)
    assert np.isnan(boundary_iou(empty, empty, 2)[1])
    assert boundary_iou(empty, full, 2)[1] == boundary_iou(full, empty, 2)[1] == 0
    metric = MeanBoundaryIoU()
    sums = metric.counts(empty, empty) + metric.counts(empty, full) + metric.counts(full, full)
    assert metric.score(sums) == pytest.approx(2 / 3)


def test_overlapping_classes_and_objects():
    random = np.random.default_rng(5)
    layers = [np.stack([blobs(random, (23, 31), 2) for _ in range(2)], axis=2).astype(bool) for _ in range(2)]
    expected = [plain_boundary_iou(*(one[..., k] for one in layers), 1) for k in range(2)]
    assert boundary_iou(*layers, 2) == pytest.approx(expected)
    assert MeanBoundaryIoU(2).counts(*layers) == pytest.approx([sum(expected), 2])
    labels = [np.where(one[..., 0], random.integers(1, 900), 0).astype(np.int32) for one in layers]
    assert MeanBoundaryIoU().counts(*labels) == pytest.approx([expected[0], 1])


def test_other_masks_are_refused():
    mask = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match=r"one shape and dtype, got uint8 \(4, 5\) and uint8 \(4, 4\)"):
        boundary_iou(mask, mask[:, :4], 2)
    with pytest.raises(ValueError, match="prediction holds class 2, expected 0 to 1"):
        boundary_iou(mask, mask + 2, 2)
    with pytest.raises(ValueError, match=r"got bool \(4, 5, 3\) and 2 classes"):
        boundary_iou(*np.zeros((2, 4, 5, 3), bool), 2)
