"""The heads of Mask R-CNN: RoIAlign, the box head, the mask head, and what they are compared with.

Papers: He et al. 2017, section 3 and figure 4, right (RoIAlign, the mask head); Girshick 2015, "Fast R-CNN" (the box
head); Lin et al. 2017, equation 1 (which map a box is cut from).

RoIAlign divides a box into size × size cells, samples the map at 2 × 2 regular points of each cell by bilinear
interpolation, and takes their mean. Nothing is rounded. tests/models/test_roi_heads.py writes it out in NumPy;
torchvision's operator computes it here.

Deviations: with `aligned` the centre of the map's first cell lies at half a stride, where it is, and not at 0 as in the
paper's code; half a pixel of bias costs a nucleus much of its score.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.boxes import BETWEEN, Objects, areas, counts_of, match, padded, sample

FINEST, LEVEL, SIDE = 2, 4, 224  # equation 1: a box of 224 × 224 is cut from map P4, of stride 2**4; P2 is the finest
SAMPLES = 2  # points a cell, along each side
SHIFT_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the box head's shifts: they are smaller than the RPN's
IOU, SHARE = 0.5, 0.25  # with an object, from which a box is on it; share of the boxes drawn that are, at most
POINTS = 1 << 20  # of a label image looked at together


class RoIAlign(nn.Module):
    """Cut `size` × `size` features for each box out of the map that suits its size.

    aligned: see the head of the file. False computes what torchvision's detectors do.
    """

    def __init__(self, size: int, strides: Sequence[int], aligned: bool) -> None:
        super().__init__()
        self.size, self.strides, self.aligned = size, strides, aligned

    def forward(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Maps (N, C, h, w), one for each stride, boxes (B_i, 4) of N images -> (sum of B_i, C, size, size)."""
        from torchvision.ops import roi_align  # imported here: it takes two seconds

        image = torch.cat([torch.full_like(each[:, :1], i) for i, each in enumerate(boxes)])
        rois = torch.cat([image, torch.cat(list(boxes))], dim=1)
        levels = levels_of(rois[:, 1:], len(maps))
        order = levels.argsort(stable=True)  # so that gradients are summed in the order of the boxes
        parts = rois[order].split(counts_of(levels, len(maps)))
        cuts = [
            roi_align(each.float(), part, self.size, 1 / stride, SAMPLES, self.aligned)
            for each, part, stride in zip(maps, parts, self.strides, strict=True)
        ]
        return torch.cat(cuts)[order.argsort()].to(maps[0].dtype)


def levels_of(boxes: Tensor, count: int) -> Tensor:
    """The map that each box is cut from, 0 the finest of `count`: i64 (B,). Lin et al., equation 1."""
    levels = torch.floor(LEVEL + torch.log2(areas(boxes).sqrt() / SIDE) + 1e-6) - FINEST
    return levels.clamp(0, count - 1).long()


class BoxHead(nn.Module):
    """Features of boxes -> the logits of their classes, and shifts to a better box for each class.

    Two fully connected layers of `hidden`, each with ReLU, and one for each output.
    """

    def __init__(self, channels: int, hidden: int, num_classes: int, size: int = 7) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * size**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.classes = nn.Linear(hidden, num_classes + 1)
        self.shifts = nn.Linear(hidden, 4 * num_classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, 7, 7) -> logits (B, K + 1), class 0 the background, and shifts (B, K, 4)."""
        x = F.relu(self.fc7(F.relu(self.fc6(features.flatten(1)))))
        return self.classes(x), self.shifts(x).unflatten(1, (-1, 4))


class MaskHead(nn.Module):
    """Features of boxes -> a mask for each class, of twice the size: four convolutions, one that doubles, one 1×1."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(4))
        self.enlarge = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.logits = nn.Conv2d(channels, num_classes, 1)
        for conv in (*self.convs, self.enlarge, self.logits):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Features (B, C, 14, 14) and classes (B,) from 1 -> logits (B, 28, 28), each of its box's class."""
        x = features
        for conv in self.convs:
            x = F.relu(conv(x))
        logits = self.logits(F.relu(self.enlarge(x)))
        return logits[torch.arange(len(logits), device=logits.device), classes - 1]


class RoIs(NamedTuple):
    """The R boxes of one image that the heads train on, the P of them that are on objects first.

    boxes: (R, 4). classes: i64 (R,), 0 = background. Of the P on objects: the object's label i64 (P,), and its own box
    (P, 4).
    """

    boxes: Tensor
    classes: Tensor
    labels: Tensor
    true_boxes: Tensor

    @property
    def on_objects(self) -> Tensor:
        """The P boxes that are on objects, (P, 4)."""
        return self.boxes[: len(self.labels)]


def draw_rois(proposals: Sequence[Tensor], truths: Sequence[Objects], count: int) -> list[RoIs]:
    """Of each image up to `count` of the proposals (B, 4) and of the true boxes, so that the heads see each object."""
    given = [torch.cat([boxes, truth.boxes]) for boxes, truth in zip(proposals, truths, strict=True)]
    boxes = padded(given)
    matched = match(boxes, padded([truth.boxes for truth in truths]), IOU, IOU)
    matched = matched.where(areas(boxes) > 0, BETWEEN)  # what fills up is not drawn
    rois = []
    for image, (positive, negative) in enumerate(sample(matched, count, SHARE)):
        truth, objects = truths[image], matched[image][positive]
        drawn = given[image][torch.cat([positive, negative])]
        classes = F.pad(truth.classes[objects], (0, len(negative)))
        rois.append(RoIs(drawn, classes, truth.labels[objects], truth.boxes[objects]))
    return rois


def mask_targets(
    labels: Tensor, images: Tensor, numbers: Tensor, boxes: Tensor, size: int = 28, aligned: bool = True
) -> Tensor:
    """How much of each cell of a box its object covers: f32 (B, size, size), 0..1.

    labels: label images (N, H, W). images: the number of each box's image (B,). numbers: the label of its object (B,).
    boxes: (B, 4).
    This is RoIAlign of the object's mask with as many points in a cell as it has pixels, but no mask is ever made: the
    label image is read at the points, and compared with the object's label there. Memory does not grow with the number
    of objects.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0.0 if aligned else 1.0)  # as in torchvision's operator
    counts = (sides / size).ceil().clamp(min=1).long()  # points of a cell: across, down
    targets = boxes.new_zeros(len(boxes), size, size)
    kinds, index, many = counts.unique(dim=0, return_inverse=True, return_counts=True)
    found = torch.cat([kinds, many[:, None]], dim=1).tolist()
    rows = index.argsort().split([many for _, _, many in found])
    for (across, down, _), alike in zip(found, rows, strict=True):
        for part in alike.split(max(1, POINTS // (size * size * across * down))):
            x = _points(boxes[part, 0], sides[part, 0], size * across, aligned)
            y = _points(boxes[part, 1], sides[part, 1], size * down, aligned)
            hits = _interpolated(labels, images[part], numbers[part], y, x)
            targets[part] = hits.unflatten(2, (size, across)).unflatten(1, (size, down)).mean(dim=(2, 4))
    return targets


def _points(start: Tensor, side: Tensor, count: int, aligned: bool) -> Tensor:
    """The coordinates of `count` points at equal distances along one side of each box, (B, count)."""
    steps = (torch.arange(count, device=start.device) + 0.5) / count
    return start[:, None] + side[:, None] * steps - 0.5 * aligned


def _interpolated(labels: Tensor, images: Tensor, numbers: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """The mask (labels == number) between its pixels, at rows y (B, Y) and columns x (B, X): f32 (B, Y, X)."""
    rows, columns = (_neighbours(at, side) for at, side in zip((y, x), labels.shape[1:], strict=True))
    sum = y.new_zeros(len(numbers), y.shape[1], x.shape[1])
    for row, down in rows:
        for column, across in columns:
            hit = labels[images[:, None, None], row[:, :, None], column[:, None, :]] == numbers[:, None, None]
            sum += hit * (down[:, :, None] * across[:, None, :])
    return sum


def _neighbours(at: Tensor, side: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The two pixels beside each coordinate, and the weight of each; beyond the edge the pixel of the edge."""
    at = at.clamp(0, side - 1)
    low = at.floor().long()
    share = at - low
    return (low, 1 - share), ((low + 1).clamp(max=side - 1), share)
