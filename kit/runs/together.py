"""The networks of a run, or of the runs of a blend, on one device; images predicted by several runs at once."""

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import numpy as np
import torch
from torch import nn

from kit.data.dataset import Dataset
from kit.prediction.predictor import Predictor
from kit.prediction.saved import load_network, predictor_of, read_ruled, read_saved
from kit.prediction.saved_blend import Member
from kit.prediction.views import TTA, VIEWS
from kit.runs.passes import BlendPass, Pass, blend_ladder, ladder
from kit.system.threads import Result
from kit.training.loop import best_dtype

Levels = tuple[str, tuple[int, int], np.ndarray]  # id, (height, width) of the image, of all networks of a run


class Networks:
    """Networks by run, loaded when a pass first needs them. views: a name in VIEWS, or None for the runs' own.

    each: predictors give the levels of every network and not their mean, see Predictor.
    """

    def __init__(self, members: Sequence[Member], views: str | None, device: torch.device, each: bool) -> None:
        self.members, self.device, self.each = members, device, each
        read = read_saved if each else read_ruled  # a blend has the recipes' own views, which its weights are of
        self.saved = [read(one.folder) for one in members]
        self.ttas = [saved.tta if views is None else TTA(VIEWS[views]) for saved in self.saved]
        self._loaded: list[list[nn.Module]] = [[] for _ in members]

    @property
    def steps(self) -> list[Pass] | list[BlendPass]:
        """The passes, from the cheapest to the whole."""
        counts = [len(one.folds) for one in self.members]
        if not self.each:
            return ladder(counts[0], self.ttas[0])
        weights = [sum(one.weights) for one in self.members]
        return blend_ladder(counts, self.ttas, weights, [one.cost for one in self.members])

    def predictors(self, step: Pass | BlendPass) -> list[Predictor | None]:
        """The predictor of each run in a pass; None where it takes no part."""
        return [part and self._predictor(r, part) for r, part in enumerate(step.parts)]

    def _predictor(self, r: int, part: Pass) -> Predictor:
        member, saved, loaded = self.members[r], self.saved[r], self._loaded[r]
        for fold in member.folds[len(loaded) : part.networks]:
            loaded.append(load_network(member.folder, fold, saved).to(self.device))
        return predictor_of(saved, loaded[: part.networks], best_dtype(self.device), part.tta, self.each)


def stream_together(
    used: Sequence[tuple[Predictor, Dataset]],
    ids: Sequence[str],
    take: Callable[[str, tuple[int, int], list[np.ndarray]], Result],
    threads: int = 0,
) -> Iterator[Result]:
    """take(id, (height, width), levels) of each image, levels u8 (K, h, w) of every network, predictor by predictor.

    used: predictors with each=True, and the images as they read them. Each batches images as it does alone, so its
    levels are those that it gives alone. An image that several of them read from one data set is decoded once.
    Raises UnreadableImages at the end, as Predictor.stream; an image that one of them cannot read is left out.
    """
    counts = {id(images): sum(other is images for _, other in used) for _, images in used}
    shared = {id(images): _Shared(images, counts[id(images)]) for _, images in used}
    place = {id: number for number, id in enumerate(ids)}
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(contextlib.closing(one.stream(shared[id(images)], ids, _levels_of, threads)))
            for one, images in used
        ]
        for parts in _aligned(streams, place):
            levels = [
                own
                for (_, _, joined), (one, _) in zip(parts, used, strict=True)
                for own in joined.reshape(len(one.networks), -1, *joined.shape[1:])
            ]
            yield take(*parts[0][:2], levels)


def _levels_of(id: str, size: tuple[int, int], levels: np.ndarray) -> Levels:
    return id, size, levels


def _aligned(streams: Sequence[Iterator[Levels]], place: dict[str, int]) -> Iterator[list[Levels]]:
    """What all streams have of one image, image by image. One that a stream has left out is passed over in all."""
    while True:
        try:
            parts = [next(one) for one in streams]
            while len({part[0] for part in parts}) > 1:
                last = max(place[part[0]] for part in parts)
                parts = [next(s) if place[p[0]] < last else p for s, p in zip(streams, parts, strict=True)]
        except StopIteration:
            for one in streams:  # to their ends, where they raise what they could not read
                collections.deque(one, maxlen=0)
            return
        yield parts


class _Shared(Dataset):
    """Images that each of `readers` reads once: decoded by the first of them, and kept until the last has them."""

    def __init__(self, images: Dataset, readers: int) -> None:
        self.images, self.readers = images, readers
        self.channels, self.dtype = images.channels, images.dtype
        self._lock, self._read = threading.Lock(), {}

    def read_image(self, id: str) -> np.ndarray:
        """The image, or the error that the first reader met."""
        with self._lock:
            is_first = id not in self._read
            future, left = self._read.pop(id, (Future(), self.readers))
            if left > 1:
                self._read[id] = future, left - 1
        if is_first:
            try:
                future.set_result(self.images.read_image(id))
            except Exception as error:
                future.set_exception(error)
        return future.result()
