"""Overlapping tiles of images that are larger than what a network was trained on."""

import math

import torch
from torch import Tensor, nn


class Tiled(nn.Module):
    """Runs `net` on overlapping tiles of images that are larger than `tile`, blending the logits.

    tile: (height, width); overlap: share of a tile that its neighbour sees too. A tile's weight falls
    towards its edges, where the network sees least (as in Ronneberger et al. 2015, section 2, but blended),
    and the weights are normalised, so a network that returns its input gives back the image.
    """

    def __init__(self, net: nn.Module, tile: tuple[int, int], overlap: float = 0.25) -> None:
        super().__init__()
        if not 0 <= overlap < 1:
            raise ValueError(f"the overlap of tiles is a share of a tile from 0 to below 1, got {overlap}")
        self.net, self.tile, self.overlap = net, tile, overlap

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        height, width = (min(a, b) for a, b in zip(self.tile, images.shape[2:], strict=True))
        if (height, width) == tuple(images.shape[2:]):
            return self.net(images)
        weight = tile_weights((height, width), images.device)
        total, logits = weight.new_zeros(images.shape[2:]), None
        for top in tile_starts(images.shape[2], height, self.overlap):
            for left in tile_starts(images.shape[3], width, self.overlap):
                rows, columns = slice(top, top + height), slice(left, left + width)
                part = self.net(images[:, :, rows, columns]).float()
                if logits is None:
                    logits = part.new_zeros(*part.shape[:2], *images.shape[2:])
                logits[:, :, rows, columns] += weight * part
                total[rows, columns] += weight
        return logits / total


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along one side: evenly spaced, the first at 0, the last flush with the end."""
    count = 1 + math.ceil((length - tile) / max(1, tile * (1 - overlap)))
    return [round(index * (length - tile) / max(1, count - 1)) for index in range(count)]


def tile_weights(tile: tuple[int, int], device: torch.device) -> Tensor:
    """The weight f32 (height, width) of each pixel of a tile."""
    return torch.outer(_ramp(tile[0], device), _ramp(tile[1], device))


def _ramp(length: int, device: torch.device) -> Tensor:
    """Weights 0..1 over a tile's side, highest in the middle, never zero (a Hann window's inner part)."""
    return torch.hann_window(length + 2, periodic=False, device=device)[1:-1]
