"""Predictor: networks, how images reach them, and how their probabilities become masks.

    predictor = Predictor.load("runs/mine")                  # or of networks: Predictor([network], frame)
    mask = predictor.predict(image)                          # u8 (H, W), at the image's own size
    for row in predictor.stream(dataset, ids, take): ...     # many images, decoded ahead, taken behind

Out-of-fold predictions, submissions and validation all go through it.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from kit.data.dataset import Dataset
from kit.data.samples import ImageBatch, ImageBatches
from kit.prediction.detecting import are_finite, detections, drawn_levels
from kit.prediction.frame import Frame
from kit.prediction.levels import mean_levels, quantise
from kit.prediction.rule import Rule
from kit.prediction.tiles import Tiled
from kit.prediction.views import TTA, probabilities
from kit.system.files import counted, list_some
from kit.system.threads import Result, ordered_map

Take = Callable[[str, tuple[int, int], np.ndarray], Result]  # id, (height, width) of the image, its levels
_Fetch = Callable[[], tuple[np.ndarray, bool]]

# Pixels of a batch on a CPU, so that what a network makes of it fits the caches: at 512×768 with mirror images, a
# U-Net on MobileNetV2 takes 256 ms an image one by one and 380 ms in fours.
CPU_PIXELS = 400_000
GPU_PIXELS = 8 * 1024 * 1536  # what training at that size leaves room for


class UnreadableImages(ValueError):
    """Images that could not be read, problems by id; all others were predicted."""

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems, images = problems, counted(len(problems), "image")
        super().__init__(f"{images} could not be predicted; all others were:{list_some(list(problems.values()))}")


class Predictor:
    """networks: their levels are averaged; all are on one device. frame: the way of an image to them and back.

    rule: how levels become a mask; with a threshold of each class, or with borders, the logits have a sigmoid each;
    with `detected` the networks give a Detections for each image, and levels are those of kit.prediction.object_levels.
    dtype: of the forward pass. each: streams give the levels of every network, one behind the other, and not their
    mean: (R·K, h, w), as a blend needs them.
    Raises ValueError for a frame without `normalise`, which open_run fills in, and for one with tiles where objects are
    detected.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        frame: Frame,
        tta: TTA = TTA(),  # noqa: B008 (frozen)
        rule: Rule = Rule(),  # noqa: B008
        dtype: torch.dtype = torch.float32,
        each: bool = False,
    ) -> None:
        if not networks:
            raise ValueError("a predictor needs one network or more")
        if frame.normalise is None:
            raise ValueError(
                "the frame has no `normalise`. A run has one that fits its data: Predictor(networks, run.frame); by "
                "hand it is Frame(resizing, normalise=kit.data.normalise.Normalisation(mean, std)), as in training"
            )
        check_tile(frame, rule)
        tiled = [Tiled(network, frame.tile) if frame.tile else network for network in networks]
        self.networks = [network.eval() for network in tiled]
        self.frame, self.tta, self.rule = frame, tta, rule
        self.device, self.dtype = _device_of(networks), dtype
        self._each, self._joined = each, (functools.partial(torch.cat, dim=1) if each else mean_levels)
        self._copying = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None

    @classmethod
    def load(
        cls,
        folder: Path | str,
        folds: Literal["all", "full"] | int | Sequence[int] = "all",
        device: str = "auto",
        tta: TTA | None = None,
    ) -> "Predictor":
        """The predictor of a run folder, which may be read-only and far from its data.

        folds: all that are finished, some, or "full": the networks that were trained on all images. device: "auto",
        "cpu", "cuda:1", … tta: other views than the run's own.
        The rule is the run's own, or the tuned one of rule.json where that is used (kit.prediction.chosen).
        It executes the Python that the run folder keeps in `code`: load only runs that you trust.
        Raises FileNotFoundError or ValueError where the folder lacks what prediction needs.
        """
        from kit.prediction.saved import load_predictor  # here: it imports this file

        return load_predictor(folder, folds, device, tta)

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The mask of one image (H, W, C), at its own size: as Rule.mask says, u8 (H, W) of class indices."""
        return self.rule.mask(self.predict_levels(image), image.shape[:2])

    def predict_levels(self, image: np.ndarray) -> np.ndarray:
        """Levels (K, h, w) of one image at the network's size: u8 of one network, the f32 mean of several.

        Of detected objects u8 (3, H, W) at the image's own size.
        """
        sized = self.frame.resizing.image(image)
        images = torch.from_numpy(np.ascontiguousarray(sized.transpose(2, 0, 1)[None]))
        if self.rule.detected:
            return self.object_levels(images, [image.shape[:2]])[0]
        levels = mean_levels([quantise(one, self.rule.sigmoids) for one in self.probabilities(images)])[0].cpu().numpy()
        return self.frame.content(levels, image.shape[:2])

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> list[Tensor]:
        """Probabilities f32 (N, K, h, w) by each network; images (N, C, h, w) at the network's size, as read.

        Raises FloatingPointError where one is not finite.
        """
        probs = self._forward(self.frame.normalise(images.to(self.device)))
        if not _all_finite(probs):
            raise FloatingPointError("the network gives probabilities that are not finite")
        return probs

    @torch.inference_mode()
    def object_levels(self, images: Tensor, sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        """Levels u8 (3, H, W) of the objects in each image, at its own size of `sizes`; images as of probabilities.

        Raises FloatingPointError where a box, a score or a mask is not finite.
        """
        levels, finite = self._drawn(self._detect(self.frame.normalise(images.to(self.device))), sizes)
        if not finite:
            raise FloatingPointError("the network gives boxes, scores or masks that are not finite")
        return levels

    def stream(self, dataset: Dataset, ids: Sequence[str], take: Take, threads: int = 0) -> Iterator[Result]:
        """take(id, (height, width), levels) of each image of `ids`, in their order.

        threads: they decode ahead, and one more each brings batches to the device and takes what came of them.
        The shape of a batch depends on the network's size, the views and the kind of device alone: a prediction
        depends on it in the last bits, and so must not depend on how many images are left.
        Raises UnreadableImages at the end, listing those that could not be read; all others were taken.
        Raises FloatingPointError at a batch whose probabilities are not finite, naming its images.
        """
        resizing = self.frame.resizing
        count = images_at_once(self.tta, resizing.size, self.device) if resizing.size else 1
        batches = ImageBatches(dataset, ids, resizing, count, threads, pin=self.device.type == "cuda")
        yield from self.stream_batches(batches, take, ahead=threads > 0)

    def stream_batches(self, batches: ImageBatches, take: Take, ahead: bool = False) -> Iterator[Result]:
        """As stream, from batches. ahead: prepare the next batch and take the last one's levels in threads."""
        problems = {}
        prepared = ordered_map(self._prepare, batches, threads=int(ahead))
        run = itertools.starmap(self._run, prepared)
        finished = ordered_map(lambda predicted: self._finish(*predicted, take), run, threads=int(ahead))
        for found, taken in finished:
            problems |= found
            yield from taken
        if problems:
            raise UnreadableImages(problems)

    @torch.inference_mode()
    def _prepare(self, batch: ImageBatch) -> tuple[ImageBatch, Tensor | None, "torch.cuda.Event | None"]:
        """Bring a batch to the device, on a GPU beside the queue of the networks."""
        if not batch.ids:
            return batch, None, None
        with torch.cuda.stream(self._copying):  # does nothing with None
            images = self.frame.normalise(batch.images.to(self.device, non_blocking=True))
            return batch, images, self._copying.record_event() if self._copying else None

    @torch.inference_mode()
    def _run(
        self, batch: ImageBatch, images: Tensor | None, ready: "torch.cuda.Event | None"
    ) -> tuple[ImageBatch, _Fetch | None]:
        if images is None:
            return batch, None
        if ready:
            here = torch.cuda.current_stream(self.device)
            here.wait_event(ready)
            images.record_stream(here)  # its memory is not taken back by the other stream before this one is done
        if self.rule.detected:
            found = self._detect(images)
            return batch, lambda: self._drawn(found, batch.sizes)
        return batch, _fetch_levels(self._forward(images), self.rule.sigmoids, self._joined)

    def _forward(self, images: Tensor) -> list[Tensor]:
        """Probabilities by each network of normalised images."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return [probabilities(network, images, self.tta, self.rule.sigmoids) for network in self.networks]

    def _detect(self, images: Tensor) -> list[list]:
        """What each network finds in normalised images, in each view: by network, image and view."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return [detections(network, images, self.tta) for network in self.networks]

    def _drawn(self, found: list[list], sizes: Sequence[tuple[int, int]]) -> tuple[list[np.ndarray], bool]:
        """The levels of the first images, one a size, and whether all that was found in them is finite."""
        each = list(zip(*found, strict=True))[: len(sizes)]
        if not all(are_finite(views) for image in each for views in image):
            return [], False
        drawn = functools.partial(drawn_levels, each=self._each)
        content = self.frame.resizing.content
        return [drawn(image, content(size), size) for image, size in zip(each, sizes, strict=True)], True

    @torch.inference_mode()
    def _finish(self, batch: ImageBatch, fetch: _Fetch | None, take: Take) -> tuple[dict[str, str], list[Result]]:
        if fetch is None:
            return batch.problems, []
        levels, finite = fetch()
        if not finite:
            what = "boxes" if self.rule.detected else "probabilities"
            raise FloatingPointError(
                f"the network gives {what} that are not finite for one of {', '.join(batch.ids)}: "
                "its weights are damaged, or too large for float16"
            )
        each = zip(batch.ids, batch.sizes, levels, strict=False)
        if self.rule.detected:  # drawn at the image's own size
            return batch.problems, [take(*one) for one in each]
        return batch.problems, [take(id, size, self.frame.content(one, size)) for id, size, one in each]


def check_tile(frame: Frame, rule: Rule) -> None:
    """Raise ValueError for tiles where the networks find objects: a tile would cut them."""
    if rule.detected and frame.tile:
        raise ValueError(
            f"the frame has tiles of {frame.tile[0]}×{frame.tile[1]}, and a network that finds objects sees whole "
            "images, so that none is cut: leave `tile` out of the frame"
        )


def images_at_once(tta: TTA, size: tuple[int, int], device: torch.device) -> int:
    """How many images of `size` are in a batch of prediction: as many as make eight views, or CPU_PIXELS or GPU_PIXELS.

    The training batch has no influence: a prediction depends on the shape of its batch in the last bits.
    """
    pixels = CPU_PIXELS if device.type == "cpu" else GPU_PIXELS
    views = max(1, min(8, pixels // (size[0] * size[1])))
    return max(1, views // len(tta.views))


def _device_of(networks: Sequence[nn.Module]) -> torch.device:
    """The device of the first tensor that a network holds; of none, the CPU."""
    tensors = (tensor for network in networks for tensor in (*network.parameters(), *network.buffers()))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _fetch_levels(probs: list[Tensor], separate: bool, joined: Callable[[list[Tensor]], Tensor]) -> _Fetch:
    """A function that brings quantise(probs), `joined`, to the host, (N, K, h, w), and whether all were finite.

    From a GPU the copy begins here, behind this batch and before the next.
    """
    if probs[0].device.type != "cuda":
        return lambda: (joined([quantise(part, separate) for part in probs]).cpu().numpy(), _all_finite(probs))
    finite = torch.stack([part.isfinite().all() for part in probs]).all().to("cpu", non_blocking=True)
    levels = joined([quantise(part, separate) for part in probs]).to("cpu", non_blocking=True)
    copied = torch.cuda.Event(blocking=True)
    copied.record(torch.cuda.current_stream(probs[0].device))

    def fetch() -> tuple[np.ndarray, bool]:
        copied.synchronize()
        return levels.numpy(), bool(finite)

    return fetch


def _all_finite(probs: list[Tensor]) -> bool:
    return all(bool(part.isfinite().all()) for part in probs)
