"""From a network to masks at the pictures' own sizes: tiles, test-time augmentation, an ensemble.

    probabilities(models, images, tta)   mean over models, views and scales, at the network's size
    predict(models, batches, tta, take)  -> what `take` makes of levels: the probabilities in 256 steps, uint8
    mask_at(levels, size), rle_at        -> the mask at the original size, or its run-length encoding

Averaging and quantising come before enlarging: bilinear enlarging is linear, so the order of the averages
does not matter, and the OOF store, the report and the submission all start from the very same bytes.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kit.data.normalise import IMAGENET as normalise
from kit.data.samples import ImageBatch
from kit.prediction.enlarge import encode_above, mask_above
from kit.system.files import raise_all
from kit.system.threads import Result, ordered_map

_Fetch = Callable[[], tuple[np.ndarray, bool]]

FOREGROUND = 128  # the level of probability 0.5
# Of a batch on a CPU, whose caches what a network makes of it should fit: at 512×768 with mirror images, a U-Net on
# MobileNetV2 takes 256 ms a picture one by one and 380 ms in fours.
CPU_PIXELS = 400_000
GPU_PIXELS = 8 * 1024 * 1536  # what training at that size leaves room for


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

    def __str__(self) -> str:
        name = next((name for name, views in VIEWS.items() if views == self.views), f"{len(self.views)} views")
        return name if self.scales == (1.0,) else f"{name} at scales {', '.join(map(str, self.scales))}"


VIEWS = {
    "none": (View(),),
    "hflip": (View(), View(horizontal=True)),
    "flips": tuple(View(vertical=v, horizontal=h) for v in (False, True) for h in (False, True)),
    "d4": tuple(View(t, v, h) for t in (False, True) for v in (False, True) for h in (False, True)),
}


class Tiled(nn.Module):
    """Runs `net` on overlapping tiles of pictures that are larger than `tile`, blending the logits.

    tile: (height, width); overlap: share of a tile that its neighbour sees too. A tile's weight falls
    towards its edges, where the network sees least (as in Ronneberger et al. 2015, section 2, but blended),
    and the weights are normalised, so a network that returns its input gives back the picture.
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
        weight = torch.outer(_ramp(height, images.device), _ramp(width, images.device))
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


@torch.inference_mode()
def probabilities(models: Sequence[nn.Module], images: Tensor, tta: TTA) -> Tensor:
    """Mean probabilities f32 (N, K, H, W) of normalised images over models, views and scales.

    K is that of the logits, or 1, the foreground, where they have two channels.
    Views of one shape go through a network in one batch; other scales are resized there and back.
    """
    size, parts = images.shape[2:], []
    for scale in tta.scales:
        scaled = images if scale == 1 else _resize(images, [max(1, round(side * scale)) for side in size])
        for turned in (False, True):
            views = [view for view in tta.views if view.transpose == turned]
            if views:
                seen = [view.apply(scaled) for view in views]
                batch = torch.cat(seen) if len(seen) > 1 else seen[0]
                for model in models:
                    maps = _activate(model(batch).float()).chunk(len(views))
                    parts += [_resize(view.undo(part), size) for view, part in zip(views, maps, strict=True)]
    return functools.reduce(torch.add, parts) / len(parts) if len(parts) > 1 else parts[0]


def predict(
    models: Sequence[nn.Module],
    batches: Iterable[ImageBatch],
    tta: TTA,
    device: torch.device,
    dtype: torch.dtype,
    take: Callable[[str, tuple[int, int], np.ndarray], Result],
    ahead: bool = False,
) -> Iterator[Result]:
    """take(id, original size, levels u8 (K, h, w)) of each picture, in the order of the batches.

    ahead: bring the next batch to the device, and take what came of the last one, in two threads while the networks
    work. Raises ValueError at the end, listing the pictures that could not be read; FloatingPointError at a batch
    whose probabilities are not finite, naming its pictures.
    """
    copying = torch.cuda.Stream(device) if device.type == "cuda" else None  # beside the queue of the networks

    @torch.inference_mode()
    def prepare(batch: ImageBatch) -> tuple[ImageBatch, Tensor | None, torch.cuda.Event | None]:
        if not batch.ids:
            return batch, None, None
        with torch.cuda.stream(copying):  # does nothing with None
            images = normalise(batch.images.to(device, non_blocking=True))
            return batch, images, copying.record_event() if copying else None

    @torch.inference_mode()
    def run(
        batch: ImageBatch, images: Tensor | None, ready: torch.cuda.Event | None
    ) -> tuple[ImageBatch, _Fetch | None]:
        if images is None:
            return batch, None
        if ready:
            here = torch.cuda.current_stream(device)
            here.wait_event(ready)
            images.record_stream(here)  # its memory is not taken back by the other stream before this one is done
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return batch, _fetch_levels(probabilities(models, images, tta))

    @torch.inference_mode()
    def finish(predicted: tuple[ImageBatch, _Fetch | None]) -> tuple[list[str], list[Result]]:
        batch, fetch = predicted
        if fetch is None:
            return batch.problems, []
        levels, finite = fetch()
        if not finite:
            raise FloatingPointError(
                f"the network gives no finite probabilities for one of {', '.join(batch.ids)}: "
                "its weights are damaged, or too large for float16"
            )
        return batch.problems, [take(*one) for one in zip(batch.ids, batch.sizes, levels, strict=False)]

    problems = []
    for model in models:
        model.eval()
    prepared = ordered_map(prepare, batches, threads=int(ahead))
    for told, taken in ordered_map(finish, itertools.starmap(run, prepared), threads=int(ahead)):
        problems += told
        yield from taken
    raise_all(problems, "pictures could not be predicted; all others were")


def _fetch_levels(probs: Tensor) -> _Fetch:
    """What brings quantise(probs) to the host, u8 (N, K, h, w), and whether all of `probs` was finite.

    From a GPU the copy is begun here, behind this batch and before the next.
    """
    if probs.device.type != "cuda":
        return lambda: (quantise(probs).cpu().numpy(), bool(probs.isfinite().all()))
    levels, finite = (part.to("cpu", non_blocking=True) for part in (quantise(probs), probs.isfinite().all()))
    copied = torch.cuda.Event(blocking=True)
    copied.record(torch.cuda.current_stream(probs.device))

    def fetch() -> tuple[np.ndarray, bool]:
        copied.synchronize()
        return levels.numpy(), bool(finite)

    return fetch


def quantise(probs: Tensor) -> Tensor:
    """Probabilities f32 (N, K, H, W) -> levels u8: a level holds [level/256, (level+1)/256), so 0.5 starts at 128.

    K > 1: classes that share the likeliest one's level go one down, so that it stays the likeliest.
    """
    levels = (probs * 256).clamp_(max=255).to(torch.uint8)
    if probs.shape[1] > 1:
        winner = probs.argmax(dim=1, keepdim=True)  # of probability 1/K or more, so of level 1 or more up to K = 256
        tied = (levels == levels.gather(1, winner)).scatter(1, winner, value=False)
        levels -= tied.to(torch.uint8)
    return levels


def mask_at(levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask u8 (H, W) at the original size. levels u8 (K, h, w): K = 1 by threshold, else the likeliest class."""
    if len(levels) == 1:
        return mask_above(levels[0], size, FOREGROUND - 0.5)  # what is enlarged is then rounded
    scores = [cv2.resize(level.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) for level in levels]
    return np.argmax(scores, axis=0).astype(np.uint8)


def rle_at(levels: np.ndarray, size: tuple[int, int], order: str) -> str:
    """The run-length encoding, in `order` "C" or "F", of the foreground of levels u8 (1, h, w) at the original size."""
    return encode_above(levels[0], size, FOREGROUND - 0.5, order)


def pictures_at_once(tta: TTA, size: tuple[int, int], device: torch.device) -> int:
    """Images of `size` in a batch of prediction: as many as make eight views, or as many pixels as suit it; or one.

    The training batch has no say: a prediction depends on the shape of its batch in the last bits.
    """
    pixels = CPU_PIXELS if device.type == "cpu" else GPU_PIXELS
    views = max(1, min(8, pixels // (size[0] * size[1])))
    return max(1, views // len(tta.views))


def _activate(logits: Tensor) -> Tensor:
    """(N, K, H, W) -> probabilities; of two classes those of the second, (N, 1, H, W), as from one logit."""
    if logits.shape[1] == 1:
        return logits.sigmoid()
    probs = logits.softmax(dim=1)
    return probs[:, 1:] if logits.shape[1] == 2 else probs


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False, antialias=True)


def _ramp(length: int, device: torch.device) -> Tensor:
    """Weights 0..1 over a tile's side, highest in the middle, never zero (a Hann window's inner part)."""
    return torch.hann_window(length + 2, periodic=False, device=device)[1:-1]
