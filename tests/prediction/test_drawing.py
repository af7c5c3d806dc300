"""Detections drawn into a label image, against torchvision's paste of full-size masks, and by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.ops import batched_nms

from kit.prediction.drawing import best_boxes, draw, without_specks


def detections(boxes, scores=None, classes=None, masks=None):
    boxes, count = np.array(boxes, np.float32).reshape(-1, 4), len(boxes)
    scores = np.linspace(0.9, 0.5, count) if scores is None else scores
    masks = np.ones((count, 28, 28), np.float32) if masks is None else masks
    classes = np.ones(count, int) if classes is None else classes
    return SimpleNamespace(boxes=boxes, scores=np.array(scores), classes=classes, masks=masks)


def blobs(count, seed):
    """Smooth random probabilities (count, 28, 28)."""
    coarse = torch.from_numpy(np.random.default_rng(seed).normal(0.3, 1.5, (count, 1, 6, 6)))
    return torch.nn.functional.interpolate(coarse, size=(28, 28), mode="bicubic").sigmoid()[:, 0].float().numpy()


def pasted(found, size, whole):
    """torchvision's masks f32 (D, H, W). whole: boxes of whole pixels and sides of 28k, given as it counts them."""
    boxes = torch.from_numpy(found.boxes).double()
    if whole:  # it grows a box by 30/28, cuts to whole numbers, and takes a last pixel more
        grown = (boxes[:, 2:] - boxes[:, :2]) / 28
        first, last = (one + one.sign() / 4 for one in (boxes[:, :2] - grown, boxes[:, 2:] + grown - 1))
        centre, half = (first + last) / 2, (last - first) / 2 * 28 / 30
        boxes = torch.cat([centre - half, centre + half], dim=1)
    return paste_masks_in_image(torch.from_numpy(found.masks)[:, None], boxes, size)[:, 0].numpy()


def argmaxed(masks, scores):
    """Each pixel's best-scoring object with a probability of 0.5 or more there, counted from 1; 0 for none."""
    best = np.where(masks >= 0.5, scores[:, None, None], 0)
    return np.where(best.max(axis=0) > 0, best.argmax(axis=0) + 1, 0)


def test_objects_are_drawn_as_torchvision_pastes_them():
    """Of boxes of whole pixels every pixel is the same, partly outside too; of others all but border pixels."""
    rng, size, differ, drawn_pixels = np.random.default_rng(0), (150, 190), 0, 0
    for seed in range(12):
        corners, scores = rng.integers(-20, 130, (6, 2)), rng.permutation(np.linspace(0.3, 0.9, 6))
        for whole in (True, False):
            sides = 28 * rng.integers(1, 4, (6, 2)) if whole else rng.uniform(5, 90, (6, 2))
            moved = corners if whole else corners + rng.random((6, 2))
            found = detections(np.concatenate([moved, moved + sides], axis=1), scores, masks=blobs(6, seed))
            drawn = draw(found, size, box_iou=1.0, taken=1.0)
            own = np.concatenate([[0], drawn.kept + 1])[drawn.labels]
            masks = pasted(found, size, whole)
            wanted = argmaxed(masks, scores)
            wrong = own != wanted
            if whole:
                wrong &= np.abs(masks - 0.5).min(axis=0) > 1e-5  # f32 decides
                assert not wrong.any()
            else:
                differ, drawn_pixels = differ + wrong.sum(), drawn_pixels + (wanted > 0).sum()
    assert 0 < differ < 0.07 * drawn_pixels  # its boxes are a pixel larger, and begin at whole pixels


def test_box_suppression_is_torchvisions():
    rng = np.random.default_rng(1)
    for iou in (0.3, 0.7):
        corners, sides = rng.uniform(0, 20, (80, 2)), rng.uniform(10, 40, (80, 2))
        boxes, classes = np.concatenate([corners, corners + sides], axis=1), rng.integers(1, 3, 80)
        wanted = batched_nms(torch.from_numpy(boxes), torch.linspace(1, 0, 80).double(), torch.from_numpy(classes), iou)
        np.testing.assert_array_equal(np.flatnonzero(best_boxes(boxes, classes, iou)), wanted.sort().values)
        assert 5 < len(wanted) < 75


def test_a_box_is_half_open_and_pixels_go_to_the_best_score():
    found = detections([[2, 1, 6, 4], [4, 0, 9, 3], [-3, -3, 1, 2], [7, 5, 99, 99]], [0.6, 0.9, 0.7, 0.8])
    drawn = draw(found, (6, 10))
    wanted = np.zeros((6, 10), int)
    wanted[1:4, 2:6] = 4
    wanted[:2, :1] = 3
    wanted[5:, 8:] = 2  # the grid is 0 around, so a corner of few pixels lies below 0.5
    wanted[:3, 4:9] = 1
    np.testing.assert_array_equal(drawn.labels, wanted)
    assert drawn.labels.dtype == np.int32
    assert drawn.kept.tolist() == [1, 3, 2, 0]
    # a pixel belongs to the box that holds its centre, so neighbours leave neither a gap nor a shared pixel
    beside = draw(detections([[0, 0, 2.5, 3], [2.5, 0, 5, 3]]), (3, 5)).labels
    np.testing.assert_array_equal(beside, [[1, 1, 2, 2, 2]] * 3)


def test_an_object_that_lost_its_pixels_is_dropped_and_gives_back_the_rest():
    boxes, classes = [[0, 0, 10, 10], [4, 0, 14, 10], [0, 0, 10, 9], [3, 0, 13, 10]], np.array([1, 1, 2, 2])
    found = detections(boxes, classes=classes)
    assert draw(found, (10, 20), taken=0.3).kept.tolist() == [0]  # the others lost 60, 100 and 70 %
    drawn = draw(found, (10, 20), taken=0.7)
    assert drawn.kept.tolist() == [0, 1]  # the third and the fourth lost all
    assert np.bincount(drawn.labels.ravel()).tolist() == [60, 100, 40]
    found.boxes[1] = 30, 0, 40, 10  # outside: what it had taken is free again
    assert draw(found, (10, 20), taken=0.7).kept.tolist() == [0, 3]
    assert draw(found, (10, 20), taken=0.7, least_score=0.8).kept.tolist() == [0]
    given_back = draw(detections([*boxes[:2], [10, 0, 14, 10]]), (10, 20), taken=0.3)
    assert given_back.kept.tolist() == [0, 2]
    assert np.bincount(given_back.labels.ravel()).tolist() == [60, 100, 40]
    with_box_rule = draw(detections(boxes[:3]), (10, 20), taken=1.0, box_iou=0.4).kept.tolist()
    assert with_box_rule == [0]  # of one class; IoU with the first 0.43 and 0.9


def test_specks_of_objects_are_background():
    labels = np.zeros((20, 30), np.int32)
    labels[2:10, 2:12] = 3  # 80 pixels
    labels[12:15, 4:7] = 3  # 9 of 98: a speck
    labels[5, 20:29], labels[7, 20:22], labels[9, 20] = 7, 7, 7  # 9, 2 and 1 of 12: one speck
    labels[18, 1] = 8
    kept = without_specks(labels)
    wanted = labels.copy()
    wanted[12:15, 4:7] = wanted[9, 20] = 0
    np.testing.assert_array_equal(kept, wanted)


def test_there_is_no_limit_to_the_number_of_objects_and_slivers_draw_nothing():
    y, x = np.mgrid[0:400:10, 0:500:10]
    boxes = np.stack([x, y, x + 8, y + 8], axis=-1).reshape(-1, 4)
    drawn = draw(detections(boxes), (400, 500))
    assert len(drawn.kept) == drawn.labels.max() == 2000
    slivers = [[3, 3, 3, 9], [5, 5, 4, 9], [1.6, 0, 2.4, 9], [50, 50, 60, 60], [-9, 0, 0, 9]]
    for found in (detections(slivers), detections(np.zeros((0, 4)))):
        drawn = draw(found, (10, 10))
        assert not drawn.labels.any()
        assert len(drawn.kept) == 0
    huge = draw(detections([[-1e9, -1e9, 1e9, 1e9]]), (10, 10))
    assert (huge.labels == 1).all()


def test_soft_masks_are_enlarged_and_label_images_are_not_resized():
    """Half size and back: a label image by its nearest pixels loses what a soft mask keeps (DESIGN of issue 16)."""
    import cv2

    side, grid = 48, np.zeros((28, 28), np.float32)
    y, x = np.mgrid[:side, :side] + 0.5
    truth = ((y - 24) ** 2 / 20.3**2 + (x - 24) ** 2 / 17.6**2 < 1).astype(np.uint8)
    grid = cv2.resize(truth.astype(np.float32), (28, 28), interpolation=cv2.INTER_AREA)
    soft = draw(detections([[0, 0, side, side]], masks=grid[None]), (side, side)).labels > 0
    near = cv2.resize(cv2.resize(truth, (28, 28), interpolation=cv2.INTER_NEAREST), (side, side), interpolation=0) > 0
    ious = [np.count_nonzero(one & (truth > 0)) / np.count_nonzero(one | (truth > 0)) for one in (soft, near)]
    assert ious[0] > 0.97 > ious[1] + 0.04


def test_detections_that_cannot_be_drawn_are_refused():
    found = detections([[0, 0, 5, 5]])
    found.masks = found.masks[0]
    with pytest.raises(ValueError, match=r"expected boxes \(D, 4\), scores \(D,\), classes \(D,\) and masks \(D, M, M"):
        draw(found, (5, 5))
    with pytest.raises(ValueError, match=r"the scores of detections are not all finite"):
        draw(detections([[0, 0, 5, 5]], [np.nan]), (5, 5))


def test_tensors_of_any_dtype_are_drawn():
    found = detections([[0, 0, 5, 5]])
    for dtype in (torch.float64, torch.bfloat16):
        tensors = {name: torch.as_tensor(one).to(dtype) for name, one in vars(found).items() if name != "classes"}
        tensors["masks"].requires_grad_()
        assert draw(SimpleNamespace(**tensors, classes=torch.ones(1).long()), (5, 5)).labels.all()
