"""Anchors and proposals against torchvision's and brute force."""

import numpy as np
import torch
from networks import noise
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import nms

from kit.models.boxes import Objects, iou
from kit.models.rpn import RPN, anchors_of

RATIOS = (0.5, 1.0, 2.0)


def test_anchors_are_torchvisions():
    sizes, strides, image = (8, 16, 33), (4, 8, 16), (64, 96)
    maps = [torch.zeros(1, 1, image[0] // stride, image[1] // stride) for stride in strides]
    theirs = AnchorGenerator(tuple((size,) for size in sizes), (RATIOS,) * 3)
    expected = theirs(ImageList(torch.zeros(1, 3, *image), [image]), maps)[0]
    found = [anchors_of(*each) for each in zip(sizes, [RATIOS] * 3, [m.shape[2:] for m in maps], strides, strict=True)]
    assert torch.equal(torch.cat(found), expected)


def test_an_anchor_by_hand():
    """Area 16² and height twice the width: 11.3 × 22.6, which becomes 12 × 22 at the second cell of the third row."""
    assert anchors_of(16, (2.0,), (3, 4), 8)[2 * 4 + 1].tolist() == [8 - 6, 16 - 11, 8 + 6, 16 + 11]


def rpn(count=50):
    torch.manual_seed(0)
    net = RPN(6, (8, 16), RATIOS, (4, 8), (count, count))
    with torch.no_grad():
        for conv in (net.objectness, net.shifts):
            conv.weight.mul_(40)
    return net


@torch.inference_mode()
def test_proposals_are_the_best_that_do_not_overlap():
    """Against a plain loop over boxes, with suppression of each map for itself."""
    net, size = rpn(), (47, 61)
    maps = [noise(12, 16, channels=6, batch=2), noise(6, 8, channels=6, batch=2)]
    objectness, shifts, anchors = net(maps)
    found = net.propose(objectness, shifts, anchors, size, 50)
    for image in (0, 1):
        boxes, scores = [], []
        for logits, moves, places in zip(objectness, shifts, anchors, strict=True):
            best = np.argsort(-logits[image].numpy())[:50]
            of_map = torch.stack([moved(places[i].numpy(), moves[image, i].numpy(), size) for i in best])
            here = logits[image].sigmoid()[torch.from_numpy(best)]
            kept = nms(of_map, here, 0.7)
            boxes.append(of_map[kept])
            scores.append(here[kept])
        order = torch.cat(scores).argsort(descending=True)[:50]
        torch.testing.assert_close(found[image], torch.cat(boxes)[order], rtol=1e-4, atol=1e-3)


def moved(anchor, shift, size):
    """Girshick et al. 2014, equations 1 to 4, cut off at the image's edges."""
    x0, y0, x1, y1 = anchor
    x, y = (x0 + x1) / 2 + shift[0] * (x1 - x0), (y0 + y1) / 2 + shift[1] * (y1 - y0)
    width, height = (x1 - x0) * np.exp(shift[2]), (y1 - y0) * np.exp(shift[3])
    box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return torch.tensor(np.clip(box, 0, [size[1], size[0]] * 2), dtype=torch.float32)


@torch.inference_mode()
def test_no_anchor_on_padding_becomes_a_proposal():
    """The image ends at 5 × 40: boxes beyond it have no area, and are no proposals."""
    net = rpn()
    objectness, shifts, anchors = net([noise(12, 16, channels=6), noise(6, 8, channels=6)])
    (found,) = net.propose(objectness, shifts, anchors, (5, 40), 50)
    assert len(found)
    assert (found[:, 3] <= 5).all()
    assert ((found[:, 2:] - found[:, :2]) > 0).all()


def test_anchors_on_objects_are_compared_with_their_boxes():
    torch.manual_seed(0)
    net = rpn()
    objectness, shifts, anchors = net([noise(12, 16, channels=6, batch=2), noise(6, 8, channels=6, batch=2)])
    box = torch.tensor([[20.0, 20, 30, 28]])
    truths = [
        Objects(torch.tensor([1]), box, torch.tensor([1])),
        Objects(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]
    found = net.compare(objectness, shifts, anchors, truths)
    on_object = int(found["is_object"].sum())
    assert 1 <= on_object == len(found["proposals"]) == len(found["true_proposals"])
    assert len(found["objectness"]) == 2 * 256
    every = torch.cat(anchors)
    overlaps = iou(box, every)[0]
    best = (overlaps >= 0.7) | (overlaps == overlaps.max())
    right = {tuple(row) for row in shifts_to(box[0], every[best]).round(decimals=4).tolist()}
    assert {tuple(row) for row in found["true_proposals"].round(decimals=4).tolist()} == right


def shifts_to(box, anchors):
    size, center = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
    return torch.cat([((box[2:] + box[:2]) / 2 - center) / size, ((box[2:] - box[:2]) / size).log()], dim=1)
