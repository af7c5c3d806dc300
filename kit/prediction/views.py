"""Test-time augmentation: the mean of what networks give for several views and scales of an image."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class View:
    """One of the eight symmetries of the square: a transpose, then flips."""

    transpose: bool = False
    vertical: bool = False
    horizontal: bool = False

    def apply(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> the same, seen this way; (N, C, W, H) if transposed."""
        images = images.transpose(2, 3) if self.transpose else images
        return images.flip(self._axes()) if self._axes() else images

    def undo(self, maps: Tensor) -> Tensor:
        """The inverse of apply."""
        maps = maps.flip(self._axes()) if self._axes() else maps
        return maps.transpose(2, 3) if self.transpose else maps

    def _axes(self) -> list[int]:
        return [axis for axis, wanted in ((2, self.vertical), (3, self.horizontal)) if wanted]


@dataclass(frozen=True)
class TTA:
    """Test-time augmentation: the views and scales whose probabilities are averaged."""

    views: tuple[View, ...] = (View(),)
    scales: tuple[float, ...] = (1.0,)

    @property
    def cost(self) -> float:
        """What an image costs a network, in forward passes at its own size."""
        return len(self.views) * sum(scale**2 for scale in self.scales)

    def __str__(self) -> str:
        name = next((name for name, views in VIEWS.items() if views == self.views), f"{len(self.views)} views")
        return name if self.scales == (1.0,) else f"{name} at scales {', '.join(map(str, self.scales))}"


VIEWS = {
    "none": (View(),),
    "hflip": (View(), View(horizontal=True)),
    "flips": tuple(View(vertical=v, horizontal=h) for v in (False, True) for h in (False, True)),
    "d4": tuple(View(t, v, h) for t in (False, True) for v in (False, True) for h in (False, True)),
}


@torch.inference_mode()
def probabilities(network: nn.Module, images: Tensor, tta: TTA, separate: bool = False) -> Tensor:
    """Mean probabilities f32 (N, K, H, W) of normalised images over views and scales.

    K is that of the logits; two channels of logits give one, the foreground. separate: each logit is a class by itself.
    Views of one shape go through the network in one batch. Other scales are resized there and back.
    """
    size, parts = images.shape[2:], []
    for scale in tta.scales:
        scaled = images if scale == 1 else resize_maps(images, [max(1, round(side * scale)) for side in size])
        for turned in (False, True):
            views = [view for view in tta.views if view.transpose == turned]
            if views:
                seen = [view.apply(scaled) for view in views]
                batch = torch.cat(seen) if len(seen) > 1 else seen[0]
                maps = activate(network(batch).float(), separate).chunk(len(views))
                parts += [resize_maps(view.undo(part), size) for view, part in zip(views, maps, strict=True)]
    return functools.reduce(torch.add, parts) / len(parts) if len(parts) > 1 else parts[0]


def activate(logits: Tensor, separate: bool = False) -> Tensor:
    """Logits (N, K, H, W) -> probabilities. Of two classes those of the second, (N, 1, H, W), as from one logit.

    separate: classes may overlap, so each logit has a sigmoid, also of two.
    """
    if logits.shape[1] == 1 or separate:
        return logits.sigmoid()
    probs = logits.softmax(dim=1)
    return probs[:, 1:] if logits.shape[1] == 2 else probs


def resize_maps(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (N, K, h, w) to `size` bilinearly, antialiased where it shrinks."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)
