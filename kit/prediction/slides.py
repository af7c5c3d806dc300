"""Slides predicted in a stream: their mask as runs, or their levels in a file that is read by regions.

    runs = predict_slide(predictor, ScaledRegions(open_regions("a.tiff"), scale=4), order="F")
    kit.submission.rle.encode_edges(runs.edges[1], pixels)

Memory holds a row of tiles and the runs, whatever the size of the slide.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from kit.data.formats import BadImage
from kit.data.run_masks import RunMask, run_mask_of
from kit.data.scaled import ScaledRegions
from kit.data.tiff_regions import TiffRegions
from kit.prediction.bands import level_bands
from kit.prediction.enlarge_bands import mask_bands
from kit.prediction.predictor import Predictor
from kit.prediction.store import Store
from kit.system.files import write_atomic

STRIP = 256  # rows of a strip in a file of levels


def predict_slide(predictor: Predictor, image: ScaledRegions, order: str = "C", threads: int = 1) -> RunMask:
    """The mask of a slide at its own size, as runs along rows (order "C") or down columns ("F").

    threads: they read pixels ahead. Raises as level_bands.
    """
    size = image.regions.shape[:2]
    bands = level_bands(predictor, image, threads)
    return run_mask_of(mask_bands(bands, image.scale, size, predictor.rule), size, order)


class SlideStore(Store):
    """The store of the predictions of slides: levels u8 (h, w, K) in one TIFF a slide, in strips of STRIP rows."""

    suffix = ".tif"

    def write_bands(self, id: str, bands: Iterable[np.ndarray], size: tuple[int, int]) -> None:
        """Keep levels u8 (K, rows, w) that come in bands from the top, whole or not at all. size: (h, w) of the map."""
        write_atomic(self.path(id), lambda file: self._write(file, id, bands, size))

    def read_bands(self, id: str, rows: int = STRIP) -> Iterator[np.ndarray]:
        """Yield the levels u8 (K, rows, w) in bands from the top. Raises ValueError if the file is damaged."""
        try:
            levels = TiffRegions(self.path(id))
            if levels.shape[2] != self.channels:
                raise BadImage(f"{levels.shape[2]} classes, expected {self.channels}")
            height, width = levels.shape[:2]
            for y in range(0, height, rows):
                yield np.ascontiguousarray(np.moveaxis(levels.read(y, 0, min(rows, height - y), width), 2, 0))
        except BadImage as error:
            raise ValueError(f"{error}. It is a prediction: delete it and run the same command again") from error

    def write(self, id: str, levels: np.ndarray) -> None:
        """Keep levels u8 (K, h, w) of a slide that fits memory."""
        self.write_bands(id, [levels], levels.shape[1:])

    def read(self, id: str) -> np.ndarray:
        """Raise ValueError: a slide may be larger than memory."""
        raise ValueError(f"{id}: the levels of a slide are read band by band, with read_bands")

    def _write(self, file: BinaryIO, id: str, bands: Iterable[np.ndarray], size: tuple[int, int]) -> None:
        import tifffile  # here: few data sets have TIFF files

        packed = (zlib.compress(strip, 1) for strip in _strips(self._checked(id, bands), size))
        kind = {"photometric": "minisblack", "metadata": None}
        if self.channels > 1:
            kind["planarconfig"] = "contig"
        shape = (*size, self.channels) if self.channels > 1 else size
        with tifffile.TiffWriter(file, bigtiff=True) as tiff:
            tiff.write(packed, shape=shape, dtype=np.uint8, rowsperstrip=STRIP, compression="zlib", **kind)

    def _checked(self, id: str, bands: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for band in bands:
            self.check(id, band)
            yield band


def _strips(bands: Iterable[np.ndarray], size: tuple[int, int]) -> Iterator[bytes]:
    """The bytes of each strip (STRIP, w, K) of bands (K, rows, w) of any height."""
    kept, there = None, 0
    for band in bands:
        rows = np.moveaxis(band, 0, 2)
        kept = rows if kept is None else np.concatenate([kept, rows])
        there += band.shape[1]
        while len(kept) >= STRIP:
            yield np.ascontiguousarray(kept[:STRIP]).tobytes()
            kept = kept[STRIP:]
    if there != size[0]:
        raise ValueError(f"bands of {there} rows in all, expected {size[0]}")
    if len(kept):
        yield np.ascontiguousarray(kept).tobytes()
