"""Where predictions go: a CSV that is valid at every moment, or a folder of masks."""

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from kit.data.dataset import Dataset
from kit.data.mask_tiff import write_mask_tiff
from kit.data.run_masks import RunMask
from kit.prediction.rule import Rule
from kit.prediction.slides import SlideLevels
from kit.submission.dialect import Cells, Dialect
from kit.submission.lint import lint
from kit.submission.problems import Problem
from kit.submission.rows import ordered_rows
from kit.submission.tables import write
from kit.system.files import file_name, write_atomic

SECONDS = 5.0  # between two writings, at least
SHARE = 20  # a writing that took a second is not repeated for so many


class Table:
    """The rows of all images: empty masks at first, then what was predicted last. The file is always whole.

    sample_csv: its keys in its order; None: the order of `ids`.
    """

    def __init__(self, path: Path, dialect: Dialect, ids: Sequence[str], sample_csv: Path | None) -> None:
        self.path, self.dialect, self.ids, self.sample_csv = path, dialect, ids, sample_csv
        self.rows: dict[str, list[Cells]] = {}
        self.took, self._written, self._is_new = 0.0, float("-inf"), True

    def put(self, id: str, rows: list[Cells]) -> None:
        """Take the rows of an image, and write the file if the last time is long ago."""
        self.rows[id], self._is_new = rows, True
        if time.monotonic() - self._written > max(SECONDS, SHARE * self.took):
            self.write()

    def write(self) -> None:
        """Write the file, whole or not at all, where it has changed."""
        if self._is_new:
            started = time.monotonic()
            write(ordered_rows(self.ids, self._read, self.dialect, self.sample_csv), self.path, self.dialect)
            self._written, self._is_new = time.monotonic(), False
            self.took = self._written - started

    def check(self, images: Dataset) -> list[Problem]:
        """What the linter says of the file."""
        return lint(self.path, self.dialect, self.sample_csv, images.shape)

    def _read(self, id: str) -> list[Cells]:
        return self.rows[id] if id in self.rows else self.dialect.cells(id, [])


class MasksIn:
    """Writes a mask as PNG files in a folder: <id>.png, 0 and 255, class numbers, or u16 numbers of objects.

    Of classes that overlap each has a file, <id>_<class>.png. A slash in an id becomes %2F.
    """

    def __init__(self, folder: Path, rule: Rule, classes: Sequence[str]) -> None:
        self.folder, self.rule, self.classes = folder, rule, tuple(classes)

    def __call__(self, id: str, size: tuple[int, int], levels: np.ndarray) -> tuple[str, list[Cells]]:
        """Write the mask of the levels; the id, and no rows."""
        self.write(id, self.rule.mask(levels, size))
        return id, []

    def write(self, id: str, mask: np.ndarray) -> None:
        """Write one mask, u8 (H, W), bool (H, W, K) or int32 (H, W)."""
        if mask.ndim == 3:
            for name, layer in zip(self.classes, np.moveaxis(mask, 2, 0), strict=True):
                self._write(f"{file_name(id)}_{file_name(name)}", layer * np.uint8(255))
        elif mask.dtype == np.int32:
            self._write(file_name(id), mask.astype(np.uint16))
        else:
            self._write(file_name(id), mask * np.uint8(255) if len(self.classes) == 2 else mask)

    def write_empty(self, id: str, size: tuple[int, int]) -> None:
        """Write the mask (H, W) of an image without foreground."""
        self.write(id, np.zeros((*size, len(self.classes)), bool) if self.rule.separate else np.zeros(size, np.uint8))

    def _write(self, name: str, pixels: np.ndarray) -> None:
        write_atomic(self.folder / f"{name}.png", cv2.imencode(".png", np.ascontiguousarray(pixels))[1].tobytes())


class SlideMasksIn:
    """Writes the mask of a slide as a tiled TIFF in a folder: <id>.tif, 0 and 255, or class numbers.

    Of classes that overlap each has a file, <id>_<class>.tif. Files are written once a slide is done. A slash in an id
    becomes %2F.
    """

    def __init__(self, folder: Path, rule: Rule, classes: Sequence[str]) -> None:
        self.folder, self.rule, self.classes = folder, rule, tuple(classes)

    def __call__(self, id: str, size: tuple[int, int], levels: SlideLevels) -> tuple[str, list[Cells]]:
        """Write the mask of the levels; the id, and no rows."""
        self.write(id, levels.runs(size, self.rule, "C"))
        return id, []

    def write(self, id: str, mask: RunMask) -> None:
        """Write one mask."""
        if self.rule.separate:
            for label, name in enumerate(self.classes, start=1):
                self._write(f"{file_name(id)}_{file_name(name)}", mask.layer(label), 255)
        else:
            self._write(file_name(id), mask, 255 if len(self.classes) == 2 else 1)

    def _write(self, name: str, mask: RunMask, factor: int) -> None:
        write_atomic(self.folder / f"{name}.tif", lambda file: write_mask_tiff(file, mask, factor))

    def write_empty(self, id: str, size: tuple[int, int]) -> None:
        """Write the mask (H, W) of a slide without foreground."""
        self.write(id, RunMask(size, "C", {}))
