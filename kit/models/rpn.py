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

from kit.models.boxes import Objects, at_least, clip, decode, encode, match, sample, suppress

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
        scores, boxes, levels = [], [], []
        for level, (logits, moves, places) in enumerate(zip(objectness, shifts, anchors, strict=True)):
            best, index = logits.float().topk(min(count, logits.shape[1]), dim=1)
            scores.append(best.sigmoid())
            chosen = [clip(decode(move[i], places[i]), size) for move, i in zip(moves, index, strict=True)]
            boxes.append(torch.stack(chosen))
            levels.append(torch.full_like(index[0], level))
        scores, boxes, levels = torch.cat(scores, dim=1), torch.cat(boxes, dim=1), torch.cat(levels)
        return [self._suppress(*each, levels, count) for each in zip(boxes, scores, strict=True)]

    def _suppress(self, boxes: Tensor, scores: Tensor, levels: Tensor, count: int) -> Tensor:
        large = at_least(boxes, SMALLEST)
        boxes = boxes[large]
        return boxes[suppress(boxes, scores[large], levels[large], OVERLAP)[:count]]

    def compare(
        self, objectness: list[Tensor], shifts: list[Tensor], anchors: list[Tensor], truths: Sequence[Objects]
    ) -> dict[str, Tensor]:
        """What the losses compare: logits and shifts of sampled anchors, and what they should be.

        The dict is described at kit.losses.detection.mask_rcnn_losses.
        """
        objectness, shifts, anchors = torch.cat(objectness, dim=1), torch.cat(shifts, dim=1), torch.cat(anchors)
        parts = []
        for logits, moves, truth in zip(objectness, shifts, truths, strict=True):
            matched = match(anchors, truth.boxes, LOW, HIGH, best_of_each=True)
            positive, negative = sample(matched, SAMPLED, SHARE)
            drawn = torch.cat([positive, negative])
            parts.append(
                {
                    "objectness": logits[drawn],
                    "is_object": (matched[drawn] >= 0).float(),
                    "proposals": moves[positive],
                    "true_proposals": encode(truth.boxes[matched[positive]], anchors[positive]),
                }
            )
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
