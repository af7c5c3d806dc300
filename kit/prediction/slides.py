"""Slides predicted in a stream: their mask as runs, or their levels in a file that is read by regions.

    predictor = Predictor.load("runs/mine")
    runs = predict_slide(predictor, ScaledRegions(open_regions("a.tiff"), scale=4), order="F")
    text = kit.submission.rle.encode_edges(runs.edges[1], height * width)

Memory holds a row of tiles and the runs, whatever the size of the slide.
"""

import contextlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kit.data.dataset import Dataset
from kit.data.formats import BadImage
from kit.data.regions import has_regions
from kit.data.run_masks import RunCollector, RunMask
from kit.data.run_objects import RunObjects, without_small_objects
from kit.data.sample_checks import name_error
from kit.data.scaled import ScaledRegions
from kit.data.tiff_regions import TiffRegions
from kit.prediction.bands import check_slide_rule, level_bands
from kit.prediction.enlarge_bands import mask_bands
from kit.prediction.levels import mean_levels
from kit.prediction.object_levels import joined
from kit.prediction.predictor import Predictor, Take, UnreadableImages
from kit.prediction.rule import Rule
from kit.prediction.store import Store
from kit.system.files import write_atomic
from kit.system.threads import Result

STRIP = 256  # rows of a strip in a file of levels
BAND_PIXELS = 1 << 25  # of a mask that are in memory together


@dataclass(frozen=True)
class SlideLevels:
    """The levels of a slide, in bands that can be taken once.

    bands: (K, rows, w), u8 or f32, from the top. size: (h, w) of the map. scale: old pixels along one of the map.
    """

    bands: Iterable[np.ndarray]
    size: tuple[int, int]
    scale: int

    def runs(self, size: tuple[int, int], rule: Rule, order: str) -> RunMask:
        """The mask at the slide's `size` (H, W), as runs along rows (order "C") or down columns ("F")."""
        return self._in_orders(size, rule, [order])[-1]

    def objects(self, size: tuple[int, int], rule: Rule, order: str) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the class number and the runs, edges i64 (2R,), of each connected component of each class."""
        masks = self._in_orders(size, rule, ["C", order] if order == "F" else ["C"])
        rows, mask = masks[0], masks[-1]
        for label in mask.edges:
            yield from ((label, edges) for edges in RunObjects(rows.layer(label)).edges(mask.layer(label)))

    def masks(self, size: tuple[int, int], rule: Rule) -> Iterator[np.ndarray]:
        """Yield the mask at the slide's `size` (H, W) in bands u8 (rows, W) of class numbers.

        Of classes that overlap in bands (K, rows, W) of 0 and 1. Runs come first where components are left out.
        """
        check_slide_rule(rule)
        if not rule.has_components:
            yield from mask_bands(self.bands, self.scale, size, rule)
            return
        runs, step = self.runs(size, rule, "C"), max(1, BAND_PIXELS // size[1])
        layers = [runs.layer(label) for label in range(1, len(rule.cuts) + 1)] if rule.separate else [runs]
        for y in range(0, size[0], step):
            parts = [layer.read(y, 0, min(step, size[0] - y), size[1]) for layer in layers]
            yield np.stack(parts) if rule.separate else parts[0]

    def _in_orders(self, size: tuple[int, int], rule: Rule, orders: Sequence[str]) -> list[RunMask]:
        """The mask with runs in each of some orders, of one walk over the bands."""
        check_slide_rule(rule)
        wanted = ["C", *orders] if rule.has_components else list(orders)
        count = len(rule.cuts) if rule.separate else 1
        collectors = [[RunCollector(order, size) for _ in range(count)] for order in wanted]
        for band in mask_bands(self.bands, self.scale, size, rule):
            for each in collectors:
                for collector, layer in zip(each, band if rule.separate else band[None], strict=True):
                    collector.add(layer)
        found = [_united([one.mask() for one in each], rule.separate) for each in collectors]
        if rule.has_components:
            least = {label: rule.least_area(label - 1) for label in found[0].edges}
            return [without_small_objects(found[0], mask, least, rule.keep_largest) for mask in found[1:]]
        return found


def _united(layers: list[RunMask], separate: bool) -> RunMask:
    """The mask of class numbers of a mask, or of one of 0 and 1 for each class."""
    if not separate:
        return layers[0]
    edges = {label: mask.edges[1] for label, mask in enumerate(layers, start=1) if mask.edges}
    return RunMask(layers[0].shape, layers[0].order, edges)


def predict_slide(predictor: Predictor, image: ScaledRegions, order: str = "C", threads: int = 1) -> RunMask:
    """The mask of a slide at its own size, as runs along rows (order "C") or down columns ("F").

    threads: they read pixels ahead. Raises as level_bands.
    """
    return slide_levels(predictor, image, threads).runs(image.regions.shape[:2], predictor.rule, order)


def slide_levels(
    predictor: Predictor, image: ScaledRegions, threads: int = 1, before_tile: Callable[[], None] | None = None
) -> SlideLevels:
    """The levels of a slide; they are predicted as they are taken. before_tile: as of level_bands."""
    return SlideLevels(level_bands(predictor, image, threads, before_tile), image.shape[:2], image.scale)


def stream(
    predictor: Predictor, dataset: Dataset, ids: Sequence[str], take: Take, threads: int = 0
) -> Iterator[Result]:
    """Predictor.stream, and the same of slides: `take` gets SlideLevels there, and takes all of their bands.

    A slide with damaged parts counts as an image that cannot be read. Raises as Predictor.stream.
    """
    if not has_regions(dataset):
        yield from predictor.stream(dataset, ids, take, threads)
        return
    problems = {}
    for id in ids:
        try:
            image = open_slide(dataset, id)
            taken = take(id, image.regions.shape[:2], slide_levels(predictor, image, max(1, min(4, threads))))
        except BadImage as error:
            problems[id] = name_error(id, error)
        else:
            yield taken
    if problems:
        raise UnreadableImages(problems)


def mean_of_levels(levels: Sequence[np.ndarray | SlideLevels], rule: Rule) -> np.ndarray | SlideLevels:
    """mean_levels, also of slides; of objects that networks found they are joined."""
    if rule.detected:
        return joined(levels)
    if not isinstance(levels[0], SlideLevels):
        return mean_levels(levels)
    bands = (mean_levels(parts) for parts in zip(*(one.bands for one in levels), strict=True))
    return SlideLevels(bands, levels[0].size, levels[0].scale)


def store_of(dataset: Dataset, folder: Path, channels: int, rule: Rule) -> Store:
    """The store of predictions that suits a data set."""
    if has_regions(dataset):
        return SlideStore(folder, channels, rule, dataset.scale)
    return Store(folder, channels, rule)


class SlideStore(Store):
    """The store of the predictions of slides: levels u8 (h, w, K) in one TIFF a slide, in strips of STRIP rows.

    scale: of the data set.
    """

    suffix = ".tif"

    def __init__(self, folder: Path, channels: int = 1, rule: Rule = Rule(), scale: int = 1) -> None:  # noqa: B008
        super().__init__(folder, channels, rule)
        self.scale = scale

    def write(self, id: str, levels: SlideLevels) -> None:
        """Keep the levels u8 of a slide, whole or not at all. Raises ValueError where K is not the store's."""
        write_atomic(self.path(id), lambda file: self._write(file, id, levels))

    def read(self, id: str) -> SlideLevels:
        """The levels of a slide, read as they are taken. Raises ValueError if the file is damaged."""
        with self._naming_damage():
            stored = TiffRegions(self.path(id))
        if stored.shape[2] != self.channels:
            raise ValueError(
                f"{self.path(id)} holds {stored.shape[2]} classes, expected {self.channels}; delete it and run the "
                "same command again"
            )
        return SlideLevels(self._bands(stored), stored.shape[:2], self.scale)

    def mask(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Raise ValueError: a slide may be larger than memory."""
        raise ValueError(f"{id}: the mask of a slide is not made whole; take read(id).masks(size, rule) band by band")

    def _bands(self, stored: TiffRegions) -> Iterator[np.ndarray]:
        height, width = stored.shape[:2]
        for y in range(0, height, STRIP):
            with self._naming_damage():
                band = stored.read(y, 0, min(STRIP, height - y), width)
            yield np.ascontiguousarray(np.moveaxis(band, 2, 0))

    @contextlib.contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except BadImage as error:
            raise ValueError(f"{error}. It is a prediction: delete it and run the same command again") from error

    def _write(self, file: BinaryIO, id: str, levels: SlideLevels) -> None:
        import tifffile  # here: few data sets have TIFF files

        packed = (zlib.compress(strip, 1) for strip in _strips(levels, lambda band: self.check(id, band)))
        kind = {"photometric": "minisblack", "metadata": None}
        if self.channels > 1:
            kind["planarconfig"] = "contig"
        shape = (*levels.size, self.channels) if self.channels > 1 else levels.size
        with tifffile.TiffWriter(file, bigtiff=True) as tiff:
            tiff.write(packed, shape=shape, dtype=np.uint8, rowsperstrip=STRIP, compression="zlib", **kind)


def open_slide(dataset: Dataset, id: str) -> ScaledRegions:
    """The slide of an id.

    Raises BadImage for whatever the data set's own code raises, and where it is not as in training.
    """
    try:
        image = dataset.regions(id)
    except Exception as error:
        raise BadImage(name_error(id, error)) from error
    if image.shape[2] != len(dataset.channels) or dataset.dtype not in {None, image.dtype.name}:
        raise BadImage(
            f"{id}: a slide of {image.shape[2]} channels of {image.dtype}, expected {len(dataset.channels)} of "
            f"{dataset.dtype} as the training slides"
        )
    return image


def _strips(levels: SlideLevels, check: Callable[[np.ndarray], None]) -> Iterator[bytes]:
    """The bytes of each strip (STRIP, w, K) of bands (K, rows, w) of any height."""
    kept, there = None, 0
    for band in levels.bands:
        check(band)
        rows = np.moveaxis(band, 0, 2)
        kept = rows if kept is None else np.concatenate([kept, rows])
        there += band.shape[1]
        while len(kept) >= STRIP:
            yield np.ascontiguousarray(kept[:STRIP]).tobytes()
            kept = kept[STRIP:]
    if there != levels.size[0]:
        raise ValueError(f"bands of {there} rows in all, expected {levels.size[0]}")
    if len(kept):
        yield np.ascontiguousarray(kept).tobytes()
