"""Boxes: those of a label image, their overlap, their coding as shifts, and which of them are trained on.

A box is x0, y0, x1, y1 in pixels, half-open: the box of a single pixel is one wide and one high, so no object has a box
without area. (torchvision's masks_to_boxes leaves the last row and column out, and a thin object then stops training.)

Papers: Girshick et al. 2014, "Rich feature hierarchies", equations 1 to 4 and 6 to 9 of its appendix C (the coding);
Ren et al. 2015, section 3.1.2 (which boxes are objects) and 3.1.3 (sampling).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

LARGEST = math.log(1000 / 16)  # of a change of width or height: exp of more could overflow
AT_ONCE = 16  # objects of each image compared with all boxes together: memory does not grow with their number
BACKGROUND, BETWEEN = -1, -2


class Objects(NamedTuple):
    """The G objects of a label image: labels i64 (G,), boxes f32 (G, 4), classes i64 (G,) from 1."""

    labels: Tensor
    boxes: Tensor
    classes: Tensor


def objects_of(labels: Tensor, classes: Tensor | None = None) -> list[Objects]:
    """The objects of each label image (N, H, W), by rising label; labels may have gaps, 0 = none.

    classes: the class of each pixel (N, H, W); objects of class 0 are left out. None: all are of class 1.
    """
    labels = labels.long()
    images, rows, columns = labels.nonzero(as_tuple=True)
    base = labels.amax() + 1  # a number for each label of each image
    numbers, index = (images * base + labels[images, rows, columns]).unique(return_inverse=True)
    ends = [
        torch.zeros_like(numbers).scatter_reduce_(0, index, places, how, include_self=False)
        for places, how in ((columns, "amin"), (rows, "amin"), (columns + 1, "amax"), (rows + 1, "amax"))
    ]
    boxes, kinds = torch.stack(ends, dim=1).float(), torch.ones_like(numbers)
    if classes is not None:
        of_pixels = classes[images, rows, columns].long()
        kinds = torch.zeros_like(numbers).scatter_reduce_(0, index, of_pixels, "amax", include_self=False)
        known = (kinds > 0).nonzero()[:, 0]
        numbers, boxes, kinds = numbers[known], boxes[known], kinds[known]
    counts = counts_of(numbers // base, len(labels))
    parts = (values.split(counts) for values in (numbers % base, boxes, kinds))
    return [Objects(*each) for each in zip(*parts, strict=True)]


def counts_of(numbers: Tensor, count: int) -> list[int]:
    """How often each of 0 … count - 1 occurs in numbers (B,). A GPU's queue is waited for once."""
    return (numbers == torch.arange(count, device=numbers.device)[:, None]).sum(dim=1).tolist()


def padded(parts: Sequence[Tensor]) -> Tensor:
    """The boxes (B_i, 4) of N images as one tensor (N, most, 4), filled up with boxes of zeros, which overlap none."""
    return pad_sequence(list(parts), batch_first=True)


def areas(boxes: Tensor) -> Tensor:
    """The areas (..., B) of boxes (..., B, 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each pair of boxes (..., A, 4) and (..., B, 4) -> (..., A, B)."""
    x0, y0, x1, y1 = first[..., None, :].unbind(-1)
    x2, y2, x3, y3 = second[..., None, :, :].unbind(-1)
    width = (torch.minimum(x1, x3) - torch.maximum(x0, x2)).clamp(min=0)
    height = (torch.minimum(y1, y3) - torch.maximum(y0, y2)).clamp(min=0)
    both = width * height
    return both / (areas(first)[..., None] + areas(second)[..., None, :] - both)


def encode(boxes: Tensor, references: Tensor, weights: tuple[float, ...] = (1, 1, 1, 1)) -> Tensor:
    """The shifts (B, 4) that turn reference boxes (B, 4) into boxes (B, 4).

    They are the move of the centre in widths and heights of the reference, and the logarithms of how often its width
    and height go into the box's; each times its weight, which brings all four to like size.
    """
    x, y, width, height = _centres(boxes)
    x0, y0, width0, height0 = _centres(references)
    shifts = ((x - x0) / width0, (y - y0) / height0, (width / width0).log(), (height / height0).log())
    return torch.stack([weight * shift for weight, shift in zip(weights, shifts, strict=True)], dim=1)


def decode(shifts: Tensor, references: Tensor, weights: tuple[float, ...] = (1, 1, 1, 1)) -> Tensor:
    """The boxes (B, ..., 4) to which shifts (B, ..., 4) move reference boxes (B, 4): `encode` backwards, in float32."""
    references = references.view(len(references), *[1] * (shifts.ndim - 2), 4)
    x0, y0, width0, height0 = _centres(references)
    x, y, width, height = (shifts.float()[..., i] / weights[i] for i in range(4))
    x, y = x * width0 + x0, y * height0 + y0
    half_width = width.clamp(max=LARGEST).exp() * width0 / 2
    half_height = height.clamp(max=LARGEST).exp() * height0 / 2
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=-1)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x0, y0, x1, y1 = boxes.unbind(-1)
    width, height = x1 - x0, y1 - y0
    return x0 + width / 2, y0 + height / 2, width, height


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) cut off at the edges of an image of size (height, width)."""
    height, width = size
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack([x0.clamp(0, width), y0.clamp(0, height), x1.clamp(0, width), y1.clamp(0, height)], dim=-1)


def at_least(boxes: Tensor, side: float) -> Tensor:
    """Which boxes (..., 4) are at least `side` wide and high: bool (...). NaN is not."""
    return ((boxes[..., 2:] - boxes[..., :2]) >= side).all(dim=-1)


def suppress(boxes: Tensor, scores: Tensor, kinds: Tensor, overlap: float) -> Tensor:
    """Indices of the boxes kept, best first: each drops those of its kind that overlap it more (IoU > overlap)."""
    from torchvision.ops import batched_nms  # imported here: it takes two seconds

    return batched_nms(boxes, scores.float(), kinds, overlap)


def match(boxes: Tensor, objects: Tensor, low: float, high: float, best_of_each: bool = False) -> Tensor:
    """Which object of its image each box is on: its index, BACKGROUND, or BETWEEN: i64 (N, B).

    boxes (B, 4), the same for all images, or (N, B, 4); objects (N, G, 4), `padded`.
    A box is on the object that it overlaps most if their IoU is at least `high`; below `low` it is background, between
    it is not trained on. best_of_each: also on an object is a box that no other overlaps some object more.
    """
    most = boxes.new_zeros(len(objects), boxes.shape[-2])
    index, is_best = torch.zeros_like(most, dtype=torch.int64), torch.zeros_like(most, dtype=torch.bool)
    for first in range(0, objects.shape[1], AT_ONCE):
        overlaps = iou(objects[:, first : first + AT_ONCE], boxes)
        here, at = overlaps.max(dim=1)
        index = torch.where(here > most, first + at, index)
        most = torch.maximum(most, here)
        if best_of_each:
            largest = overlaps.amax(dim=2, keepdim=True)
            is_best |= (overlaps == largest.where(largest > 0, 2)).any(dim=1)  # no box is best without any overlap
    unsure = torch.where(most < low, BACKGROUND, BETWEEN)
    return torch.where((most >= high) | is_best, index, unsure)


def sample(matched: Tensor, count: int, share: float) -> list[tuple[Tensor, Tensor]]:
    """Draw up to `count` boxes of each image: indices of those on objects, at most the `share`, and of background.

    matched: i64 (N, B) as `match` gives it. Drawn by torch's random numbers.
    """
    kinds = torch.stack([matched >= 0, matched == BACKGROUND])
    counts = kinds.sum(dim=2).tolist()
    parts = (which.nonzero()[:, 1].split(of_image) for which, of_image in zip(kinds, counts, strict=True))
    drawn = []
    for on_object, background in zip(*parts, strict=True):
        positive = _draw(on_object, int(count * share))
        drawn.append((positive, _draw(background, count - len(positive))))
    return drawn


def _draw(indices: Tensor, count: int) -> Tensor:
    return indices[torch.randperm(len(indices), device=indices.device)[:count]]
