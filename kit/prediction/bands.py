"""Levels of an image that is too large for memory: overlapping tiles are blended band by band, from the top.

    for band in level_bands(predictor, slide):      # kit.data.regions.Regions
        ...                                         # levels (K, rows, W); all bands together have H rows

The tiles, their weights and the order of every sum are those of Tiled on the whole image, so on a CPU the levels are
the same. Memory holds a row of tiles: of the image's pixels, and of what the network gave for them, K numbers a pixel.
Where rows of tiles overlap, what is left of the upper one is kept until the lower one is there.

Views that turn the rows of an image upside down meet its tiles from below. What they give is kept unblended, and summed
in their own order, so that it too is what the whole image would have given; only their batches are smaller.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kit.data.formats import BadImage
from kit.data.regions import Regions
from kit.prediction.frame import Frame
from kit.prediction.levels import mean_levels, quantise
from kit.prediction.predictor import Predictor, images_at_once
from kit.prediction.rule import Rule
from kit.prediction.tiles import Tiled, tile_starts, tile_weights
from kit.prediction.views import TTA, View, activate
from kit.system.threads import ordered_map

MIN_ROWS = 64  # that are read at once: each reading moves the pixels that are there


class _Part(NamedTuple):
    """What is left of a tile's weighted logits, in the rows and columns of the image."""

    order: tuple[int, int]  # of its place in the view
    y: int  # first row, column
    x: int
    logits: Tensor  # (K, rows, columns)
    weight: Tensor  # (rows, columns)


def level_bands(
    predictor: Predictor, image: Regions, threads: int = 1, before_tile: Callable[[], None] | None = None
) -> Iterator[np.ndarray]:
    """Yield the levels (K, rows, W) of bands of rows, u8 of one network, the f32 mean of several.

    threads: they read pixels ahead. before_tile: called before each batch of tiles; what it raises ends the prediction.
    Raises ValueError for a predictor without tiles, with resizing or with scales of TTA, which need the whole image;
    FloatingPointError where a probability is not finite.
    """
    frame, tta = predictor.frame, predictor.tta
    check_slides(frame, tta, predictor.rule)
    size, rows = image.shape[:2], _Rows(image, threads, before_tile)
    views = [*(view for view in tta.views if not view.transpose), *(view for view in tta.views if view.transpose)]
    walks = [[_Walk(predictor, network, group, size) for group in _groups(views)] for network in predictor.networks]
    starts = tile_starts(size[0], min(frame.tile[0], size[0]), predictor.networks[0].overlap)
    for begin, end in zip(starts, [*starts[1:], size[0]], strict=True):
        rows.forget(begin)
        yield _band([_mean(walk, views, rows, (begin, end)) for walk in walks], predictor.rule.separate)


def check_slides(frame: Frame, tta: TTA, rule: Rule) -> None:
    """Raise ValueError unless slides can be predicted so: in tiles, and nothing that needs the whole image."""
    if frame.tile is None or frame.resizing.size is not None or tta.scales != (1.0,):
        raise ValueError(
            "a slide is predicted in tiles, at its own size or shrunk by the data set: expected "
            "Frame(Resizing(None), tile=(height, width)) and a TTA without scales, got "
            f"resizing to {frame.resizing}, tile {frame.tile} and scales {tta.scales}"
        )
    check_slide_rule(rule)


def check_slide_rule(rule: Rule) -> None:
    """Raise ValueError for a rule that needs a whole mask in memory."""
    if rule.objects:
        raise ValueError(
            f"slides have masks of classes, and no label images of objects; got {rule}. Where the CSV has a row an "
            'object, give Dialect(rows="instance") and leave `objects` out of the rule'
        )
    if rule.fill_holes > 1 or rule.top_area:
        raise ValueError(
            "a slide is larger than memory, so its holes are not filled and it is not made empty as a whole; got "
            f"{rule}. Leave fill_holes and top_area out of the rule; min_area and keep_largest work"
        )


def _groups(views: Sequence[View]) -> list[list[View]]:
    """The views whose tiles at one place of theirs lie in the same rows of the image: they share a batch."""
    groups: dict[tuple[bool, bool], list[View]] = {}
    for view in views:
        groups.setdefault((view.transpose, view.horizontal if view.transpose else view.vertical), []).append(view)
    return list(groups.values())


def _mean(walks: "list[_Walk]", views: Sequence[View], rows: "_Rows", band: tuple[int, int]) -> Tensor:
    """The mean of the probabilities (1, K, rows, W) of all views of a network."""
    by_view = {}
    for walk in walks:
        by_view |= zip(walk.views, walk.band(rows, *band), strict=True)
    parts = [by_view[view] for view in views]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts) if len(parts) > 1 else total


def _band(probs: Sequence[Tensor], separate: bool) -> np.ndarray:
    if not all(bool(part.isfinite().all()) for part in probs):
        raise FloatingPointError("the network gives probabilities that are not finite")
    return mean_levels([quantise(part, separate) for part in probs])[0].cpu().numpy()


class _Walk:
    """One network over the tiles of some views that share rows, from the top of the image to its end."""

    def __init__(self, predictor: Predictor, network: Tiled, views: Sequence[View], size: tuple[int, int]) -> None:
        self.predictor, self.network, self.views, self.size = predictor, network, views, size
        seen = size[::-1] if views[0].transpose else size
        self.tile = tuple(min(a, b) for a, b in zip(network.tile, seen, strict=True))
        starts = [tile_starts(whole, side, network.overlap) for whole, side in zip(seen, self.tile, strict=True)]
        by_row: dict[int, list[tuple[int, int]]] = {}
        for place in ((top, left) for top in starts[0] for left in starts[1]):
            by_row.setdefault(_corner(views[0], place, self.tile, size)[0], []).append(place)
        self.waiting = sorted(by_row.items())  # rows of tiles: their first row in the image, and their places
        whole = self.tile == tuple(seen)  # then Tiled blends nothing
        self.weight = torch.ones(self.tile, device=predictor.device) if whole else self._ramps()
        self.parts: list[list[_Part]] = [[] for _ in views]
        on_cpu = predictor.device.type == "cpu"  # there the same calls as on the whole image
        self.at_once = 1 if on_cpu else images_at_once(predictor.tta, self.tile, predictor.device)

    def _ramps(self) -> Tensor:
        return tile_weights(self.tile, self.predictor.device)

    @torch.inference_mode()
    def band(self, rows: "_Rows", begin: int, end: int) -> list[Tensor]:
        """The probabilities (1, K, rows, W) of rows `begin` to `end` by each view."""
        while self.waiting and self.waiting[0][0] < end:
            y, places = self.waiting.pop(0)
            for at in range(0, len(places), self.at_once):
                self._run(rows, y, places[at : at + self.at_once])
        separate = self.predictor.rule.separate
        blended = [activate(self._blend(parts, begin, end), separate) for parts in self.parts]
        self.parts = [[_below(part, end) for part in parts if part.y + len(part.weight) > end] for parts in self.parts]
        return blended

    def _run(self, rows: "_Rows", y: int, places: Sequence[tuple[int, int]]) -> None:
        """Predict the tiles at `places` of the views, whose first row in the image is y, and keep what they give."""
        rows.before_tile()
        predictor, tiles, corners = self.predictor, [], []
        height, width = self.tile[::-1] if self.views[0].transpose else self.tile
        for place in places:
            for view in self.views:
                x = _corner(view, place, self.tile, self.size)[1]
                pixels = np.ascontiguousarray(rows.read(y, y + height)[:, x : x + width].transpose(2, 0, 1))
                tile = predictor.frame.normalise(torch.from_numpy(pixels)[None].to(predictor.device))
                tiles.append(view.apply(tile))
                corners.append((view, place, x))
        with torch.autocast(predictor.device.type, predictor.dtype, enabled=predictor.dtype != torch.float32):
            logits = self.network.net(torch.cat(tiles) if len(tiles) > 1 else tiles[0]).float()
        for number, (view, place, x) in enumerate(corners):
            weighted = view.undo(self.weight * logits[number : number + 1])[0]
            weight = view.undo(self.weight[None, None])[0, 0]
            self.parts[self.views.index(view)].append(_Part(place, y, x, weighted, weight))

    def _blend(self, parts: Sequence[_Part], begin: int, end: int) -> Tensor:
        """The blended logits (1, K, rows, W) of the rows `begin` to `end`."""
        shape = end - begin, self.size[1]
        logits, total = parts[0].logits.new_zeros(len(parts[0].logits), *shape), parts[0].weight.new_zeros(shape)
        for part in sorted(parts, key=lambda part: part.order):
            top, bottom = max(part.y, begin), min(part.y + len(part.weight), end)
            if top < bottom:
                here, own = slice(top - begin, bottom - begin), slice(top - part.y, bottom - part.y)
                columns = slice(part.x, part.x + part.weight.shape[1])
                logits[:, here, columns] += part.logits[:, own]
                total[here, columns] += part.weight[own]
        return (logits / total)[None]


def _corner(view: View, place: tuple[int, int], tile: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Row and column in the image (height, width) of the first pixel of a tile that is at `place` in the view."""
    seen = size[::-1] if view.transpose else size
    flipped = view.vertical, view.horizontal
    y, x = (
        whole - begin - side if flip else begin
        for whole, begin, side, flip in zip(seen, place, tile, flipped, strict=True)
    )
    return (x, y) if view.transpose else (y, x)


def _below(part: _Part, row: int) -> _Part:
    """What is left of a part from a row on, in memory of its own."""
    skipped = max(0, row - part.y)
    if not skipped:
        return part
    return part._replace(
        y=part.y + skipped, logits=part.logits[:, skipped:].clone(), weight=part.weight[skipped:].clone()
    )


class _Rows:
    """The pixels of some rows (rows, W, C), read once from the top in whole blocks of the file."""

    def __init__(self, image: Regions, threads: int, before_tile: Callable[[], None] | None) -> None:
        self.before_tile = before_tile or (lambda: None)
        (height, width), self._name = image.shape[:2], image.name
        step = min(height, -(-MIN_ROWS // image.block[0]) * image.block[0])
        blocks = [(y, min(step, height - y)) for y in range(0, height, step)]
        self._source = ordered_map(lambda block: image.read(block[0], 0, block[1], width), blocks, threads)
        self._begin, self._pixels = 0, np.empty((0, width, image.shape[2]), image.dtype)

    def read(self, begin: int, end: int) -> np.ndarray:
        """The rows from `begin` to `end`; none of them was forgotten. Raises BadImage."""
        while self._begin + len(self._pixels) < end:
            try:
                block = next(self._source)
            except OSError as error:
                raise BadImage(f"{self._name}: {error}") from error
            self._pixels = np.concatenate([self._pixels, block])
        return self._pixels[begin - self._begin : end - self._begin]

    def forget(self, row: int) -> None:
        """Drop the rows before `row`."""
        skipped = min(max(0, row - self._begin), len(self._pixels))
        self._pixels = self._pixels[skipped:].copy()
        self._begin += skipped
