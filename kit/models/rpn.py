"""The region proposal network (RPN): where in an image may objects be?

Paper: Ren, He, Girshick, Sun 2015, "Faster R-CNN", section 3; on the maps of a pyramid, Lin et al. 2017, section 4.1.
At each place of each map stand three boxes of one size and three shapes, the anchors. A 3×3 convolution and two 1×1
convolutions, the same for all maps, give each anchor an objectness and four shifts. The anchors with the best
objectness, moved by their shifts, are the proposals.

Deviations: anchors have whole numbers of pixels and stand at the corners of the map's cells, as in the authors' code;
those that cross the image's edge are trained on (the paper leaves them out); an anchor is background below an IoU of
.3 with every object, and on an object from .7 on, or if no other overlaps that object more, even at a lower IoU.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.boxes import Objects, at_least, clip, decode, encode, match, padded, sample, suppress

LOW, HIGH = 0.3, 0.7  # IoU with an object: background below, object from
SAMPLED, SHARE = 256, 0.5  # anchors of an image that are trained on, and how many of them at most are on objects
OVERLAP = 0.7  # of two proposals of a map
SMALLEST = 1e-3  # side of a proposal in pixels


def anchors_of(
    side: float, ratios: Sequence[float], size: tuple[int, int], stride: int, device: torch.device | None = None
) -> Tensor:
    """The anchors of a map of size (h, w): f32 (h · w · len(ratios), 4), row by row, ratio by ratio.

    Each has about the area side². ratios: height / width.
    """
    roots = torch.tensor(ratios, dtype=torch.float32).sqrt()
    halves = torch.stack([side / roots, side * roots], dim=1) / 2
    shapes = torch.cat([-halves, halves], dim=1).round().to(device)
    rows, columns = (stride * torch.arange(cells, dtype=torch.float32, device=device) for cells in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack([x, y, x, y], dim=-1)
    return (places[:, :, None] + shapes).reshape(-1, 4)


class RPN(nn.Module):
    """Maps of a pyramid -> objectness, shifts and anchors of every place; from these the proposals.

    channels: of the maps. anchor_sizes: side of the anchors on each map. strides: of the maps. proposals: boxes that
    are kept of an image in training and in evaluation; as many of each map take part in the suppression.
    """

    def __init__(
        self,
        channels: int,
        anchor_sizes: Sequence[float],
        ratios: Sequence[float],
        strides: Sequence[int],
        proposals: tuple[int, int],
    ) -> None:
        super().__init__()
        self.anchor_sizes, self.ratios, self.strides, self.proposals = anchor_sizes, ratios, strides, proposals
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, len(ratios), 1)
        self.shifts = nn.Conv2d(channels, 4 * len(ratios), 1)
        for conv in (self.conv, self.objectness, self.shifts):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Maps (N, C, h, w) -> for each objectness logits (N, A), shifts (N, A, 4) and anchors (A, 4)."""
        objectness, shifts, anchors = [], [], []
        for each, side, stride in zip(maps, self.anchor_sizes, self.strides, strict=True):
            hidden = F.relu(self.conv(each))
            objectness.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            shifts.append(self.shifts(hidden).permute(0, 2, 3, 1).reshape(len(each), -1, 4))
            anchors.append(anchors_of(side, self.ratios, each.shape[2:], stride, each.device))
        return objectness, shifts, anchors

    @torch.no_grad()
    def propose(
        self, objectness: list[Tensor], shifts: list[Tensor], anchors: list[Tensor], size: tuple[int, int], count: int
    ) -> list[Tensor]:
        """The proposals of each image, f32 (at most count, 4), the best first, within an image of `size`."""
        scores, moves, places, levels = [], [], [], []
        for level, logits in enumerate(objectness):
            best, index = logits.float().topk(min(count, logits.shape[1]), dim=1)
            scores.append(best.sigmoid())
            moves.append(shifts[level].gather(1, index[..., None].expand(-1, -1, 4)))
            places.append(anchors[level][index])
            levels.append(torch.full_like(index, level))
        scores, moves, places, levels = (torch.cat(each, dim=1) for each in (scores, moves, places, levels))
        boxes = clip(decode(moves.flatten(0, 1), places.flatten(0, 1)), size)
        is_large = at_least(boxes, SMALLEST)
        large, counts = is_large.nonzero()[:, 0], is_large.view(scores.shape).sum(dim=1).tolist()
        parts = (values[large].split(counts) for values in (boxes, scores.flatten(), levels.flatten()))
        return [boxes[suppress(boxes, *each, OVERLAP)[:count]] for boxes, *each in zip(*parts, strict=True)]

    def compare(
        self, objectness: list[Tensor], shifts: list[Tensor], anchors: list[Tensor], truths: Sequence[Objects]
    ) -> dict[str, Tensor]:
        """What the losses compare: logits and shifts of sampled anchors, and what they should be.

        The dict is described at kit.losses.detection.mask_rcnn_losses.
        """
        objectness, shifts, anchors = torch.cat(objectness, dim=1), torch.cat(shifts, dim=1), torch.cat(anchors)
        matched = match(anchors, padded([truth.boxes for truth in truths]), LOW, HIGH, best_of_each=True)
        parts = []
        for image, (positive, negative) in enumerate(sample(matched, SAMPLED, SHARE)):
            drawn, on = torch.cat([positive, negative]), matched[image]
            moves, places, boxes = shifts[image][positive], anchors[positive], truths[image].boxes[on[positive]]
            parts.append((objectness[image][drawn], on[drawn], moves, places, boxes))
        logits, on, moves, places, boxes = (torch.cat(each) for each in zip(*parts, strict=True))
        return {
            "objectness": logits,
            "is_object": (on >= 0).float(),
            "proposals": moves,
            "true_proposals": encode(boxes, places),
        }
