"""RoIAlign written out in NumPy, as the oracle of the operator in use; what the mask head is trained on."""

import numpy as np
import pytest
import torch
from networks import noise
from torchvision.ops import roi_align

from kit.models.boxes import Objects
from kit.models.roi_heads import MaskHead, RoIAlign, draw_rois, levels_of, mask_targets

STRIDES = (4, 8, 16, 32)


def numpy_roi_align(features, box, size, scale, samples, aligned):
    """Features (C, H, W), a box in pixels of the image -> (C, size, size). samples: points a cell, (down, across)."""
    x0, y0, x1, y1 = box * scale - 0.5 * aligned
    cell_height, cell_width = (y1 - y0) / size, (x1 - x0) / size
    if not aligned:
        cell_height, cell_width = max(y1 - y0, 1) / size, max(x1 - x0, 1) / size
    cut = np.zeros((len(features), size, size))
    for row in range(size):
        for column in range(size):
            for i in range(samples[0]):
                for j in range(samples[1]):
                    y = y0 + cell_height * (row + (i + 0.5) / samples[0])
                    x = x0 + cell_width * (column + (j + 0.5) / samples[1])
                    cut[:, row, column] += bilinear(features, y, x)
    return cut / (samples[0] * samples[1])


def bilinear(features, y, x):
    y, x = (np.clip(at, 0, side - 1) for at, side in zip((y, x), features.shape[1:], strict=True))
    top, left = int(y), int(x)
    bottom, right = min(top + 1, features.shape[1] - 1), min(left + 1, features.shape[2] - 1)
    upper = (1 - (x - left)) * features[:, top, left] + (x - left) * features[:, top, right]
    lower = (1 - (x - left)) * features[:, bottom, left] + (x - left) * features[:, bottom, right]
    return (1 - (y - top)) * upper + (y - top) * lower


@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_written_out(aligned):
    """Boxes of all sizes on two images: each is cut from the map that equation 1 of Lin et al. says."""
    maps = [noise(192 // stride, 256 // stride, batch=2, channels=3, seed=stride) for stride in STRIDES]
    boxes = [
        torch.tensor([[3.2, 5.7, 40.1, 30.9], [0, 0, 256, 192], [250, 180, 256, 192]]),
        torch.tensor([[10.0, 20, 11, 90], [0, 0, 150, 150]]),
    ]
    found = RoIAlign(7, STRIDES, aligned)(maps, boxes)
    assert found.shape == (5, 3, 7, 7)
    row = 0
    for image, each in enumerate(boxes):
        for box in each.numpy():
            root = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            level = int(np.clip(np.floor(4 + np.log2(root / 224)), 2, 5)) - 2
            features = maps[level][image].numpy()
            expected = numpy_roi_align(features, box.astype(float), 7, 1 / STRIDES[level], (2, 2), aligned)
            np.testing.assert_allclose(found[row].numpy(), expected, atol=2e-5)
            row += 1


def test_larger_boxes_come_from_coarser_maps():
    sides = torch.tensor([1.0, 111, 112, 223, 224, 447, 448, 5000])
    boxes = torch.stack([torch.zeros(8), torch.zeros(8), sides, sides], dim=1)
    assert levels_of(boxes, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_gradients_reach_the_maps_and_no_box_gives_no_features():
    maps = [noise(64 // stride, 64 // stride, channels=2).requires_grad_() for stride in STRIDES]
    cut = RoIAlign(7, STRIDES, True)
    cut(maps, [torch.tensor([[0.0, 0, 60, 60]])]).sum().backward()
    assert maps[0].grad.abs().sum() > 0
    assert cut(maps, [torch.zeros(0, 4)]).shape == (0, 2, 7, 7)


def drawn_objects(rng, shape=(90, 120), count=12):
    labels = np.zeros(shape, np.int64)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for number in range(count):
        y, x, radius = rng.integers(0, shape[0]), rng.integers(0, shape[1]), rng.uniform(1, 45 / (1 + number))
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 3 * number + 2
    return labels


@pytest.mark.parametrize("aligned", [True, False])
def test_mask_targets_are_roi_align_of_each_mask(aligned):
    """By torchvision's operator with as many points as pixels, on masks that are made here one by one."""
    rng = np.random.default_rng(0)
    labels = drawn_objects(rng)
    numbers = rng.choice(np.unique(labels)[1:], 40)
    corner = rng.uniform(0, (119, 89), (40, 2))
    boxes = torch.from_numpy(np.hstack([corner, rng.uniform(corner + 0.5, (120, 90))]).astype(np.float32))
    boxes[0] = torch.tensor([0, 0, 120, 90])
    masks = [torch.from_numpy(labels == number).float()[None, None] for number in numbers]
    expected = [
        roi_align(mask, [box[None]], 28, 1.0, -1, aligned)[0, 0] for mask, box in zip(masks, boxes, strict=True)
    ]
    images = torch.arange(40) % 3  # the same objects in the first and the last, none in the one between
    batch = torch.from_numpy(np.stack([labels, 0 * labels, labels]))
    found = mask_targets(batch, images, torch.from_numpy(numbers), boxes, aligned=aligned)
    assert not found[images == 1].any()
    found[images == 1] = torch.stack(expected)[images == 1]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-4)
    exact = numpy_roi_align((labels == numbers[0])[None].astype(float), boxes[0].numpy(), 28, 1.0, (4, 5), aligned)
    np.testing.assert_allclose(found[0].numpy(), exact[0], atol=1e-4)


def test_aligned_targets_have_no_bias():
    """A left half is a left half: exactly 14 of 28 columns. Half a pixel off, the object loses a third of one."""
    labels = torch.zeros(40, 40, dtype=torch.int64)
    labels[:, :20] = 5
    given = labels[None], torch.tensor([0]), torch.tensor([5]), torch.tensor([[0.0, 0, 40, 40]])
    assert mask_targets(*given)[0].mean() == pytest.approx(0.5, abs=1e-6)
    assert mask_targets(*given, aligned=False)[0].mean() == pytest.approx(0.4885, abs=1e-3)


def test_every_object_is_among_the_boxes_that_the_heads_train_on():
    torch.manual_seed(0)
    objects = torch.tensor([[5.0, 5, 20, 20], [30, 30, 80, 50]])
    truth = Objects(torch.tensor([4, 9]), objects, torch.tensor([2, 1]))
    proposals = torch.tensor([[6.0, 5, 20, 21], [100, 100, 120, 120], [40, 40, 41, 41]])
    nothing = Objects(*(each[:0] for each in truth))
    rois, empty, few = draw_rois([proposals, proposals[:0], proposals[:1]], [truth, nothing, nothing], 16)
    assert (len(empty.boxes), few.boxes.tolist(), few.classes.tolist()) == (0, proposals[:1].tolist(), [0])
    assert rois.boxes.shape == (5, 4)
    assert sorted(rois.labels.tolist()) == [4, 4, 9]
    assert rois.classes.tolist() == [2 if label == 4 else 1 for label in rois.labels] + [0, 0]
    exact = (rois.true_boxes == rois.on_objects).all(dim=1)
    assert exact.sum() == 2
    assert sorted(rois.on_objects[exact].tolist()) == objects.tolist()


def test_a_mask_is_that_of_its_class():
    torch.manual_seed(0)
    head = MaskHead(8, 3)
    features, classes = noise(14, 14, batch=4, channels=8), torch.tensor([1, 3, 2, 3])
    found = head(features, classes)
    assert found.shape == (4, 28, 28)
    with torch.no_grad():
        head.logits.weight[2].zero_()
        changed = head(features, classes)
    assert [torch.equal(*each) for each in zip(found, changed, strict=True)] == [True, False, True, False]
