"""True masks as run lengths in a CSV: what `masks` of kit.datasets.Folder may be.

    Folder(…, masks=CsvMasks("train.csv", SALT))
    Folder(…, masks=CsvMasks("train.csv", SEVERSTAL, lacking="empty"), classes=("background", "a", "b", "c", "d"))

The CSV is read whole when the Folder is made, and its rows are checked (csv_checks.py). The run lengths are kept as
text; a mask is decoded when it is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from kit.data.formats import BadImage
from kit.data.shared_pixels import Shared, shared_pixels
from kit.datasets.masks import Wanted
from kit.datasets.objects import label_image
from kit.submission import rle as rle_codec
from kit.submission.csv_checks import Checks, Row
from kit.submission.dialect import Dialect
from kit.submission.formats import read_header
from kit.submission.labels import with_classes
from kit.submission.runtext import EMPTY_TOKENS
from kit.submission.tables import read_table


@dataclass(frozen=True)
class CsvMasks:
    """Masks as run lengths in a CSV below the data's folder, or in a zip there (train.csv.zip).

    file: its path below the folder. dialect: how it is written. Where only the column of the masks has another name
    than in the submission, it is found. Other columns are passed over. All the usual words for an empty mask are read.
    lacking: what an image without a row is: "refuse" it, take its mask for "empty", or "skip" it. Where each class of
    an image has a row, even an empty one (Dialect.keep_empty), the same holds for a class without a row; an image of
    which some classes have none is never skipped.
    """

    file: str
    dialect: Dialect
    lacking: Literal["refuse", "empty", "skip"] = "refuse"

    def __post_init__(self):
        if not isinstance(self.dialect, Dialect):
            raise TypeError(
                f"the dialect of CsvMasks is a {type(self.dialect).__name__}, expected a kit.submission.Dialect: one "
                "of kit.submission.known, or Dialect(columns=…, rows=…, order=…)"
            )
        if self.lacking not in {"refuse", "empty", "skip"}:
            raise ValueError(f"CsvMasks(lacking={self.lacking!r}), expected 'refuse', 'empty' or 'skip'")

    def open_masks(self, wanted: Wanted) -> "CsvRows":
        """Read the CSV. Raises one ValueError with all that is wrong with it, or FileNotFoundError."""
        path = wanted.data.path(str(self.file))
        if path is None:
            there = ", ".join(name for name in wanted.data.files()[0] if name.lower().endswith(".csv")) or "none"
            raise FileNotFoundError(
                f"{wanted.data.root} holds no {self.file}, nor a zip with it; expected the CSV of the masks below that "
                f"folder. CSV files there: {there}"
            )
        dialect = _of_task(_of_header(self.dialect, path, str(self.file)), wanted)
        rows, named = _read(path, dialect, wanted, self.lacking, str(self.file))
        found = CsvRows(str(self.file), dialect, wanted, rows, self.lacking)
        found.skipped = frozenset(wanted.ids) - named if self.lacking == "skip" else frozenset()
        return found


class CsvRows:
    """The masks of a CSV that has been read. path: of the CSV below the data's folder. skipped: see OpenTable."""

    skipped: frozenset[str] = frozenset()

    def __init__(self, path: str, dialect: Dialect, wanted: Wanted, rows: dict[str, list[Row]], lacking: str):
        self.path, self.dialect, self.task, self.foreground = path, dialect, wanted.task, wanted.foreground
        self.facts = "csv", repr(dialect), wanted.task, lacking
        self._rows = rows

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Decode the mask of an image: u8 (H, W), multilabel bool (H, W, K), instances i32 (H, W).

        Raises BadImage naming the line of a run that leaves the image, and for classes that overlap in a multiclass
        mask.
        """
        rows = self._rows.get(id, [])
        if self.task == "instances":
            return label_image(self._objects(id, size), size, f"{self.path}, {id}")
        layers = np.zeros((len(self.foreground), *size), bool)
        for row in rows:
            layers[row.index - 1] |= self._decode(row, size).view(bool)
        if self.task == "multilabel":
            return np.ascontiguousarray(layers.transpose(1, 2, 0))
        if len(layers) == 1:
            return layers[0].view(np.uint8)
        return self._one_label(layers, id)

    def shared_pixels(self, id: str, size: tuple[int, int]) -> Shared:
        """The pixels that rows give to several objects of an image. Raises BadImage as `read`."""
        rows = self._rows.get(id, [])
        if self.task != "instances" or not _overlap([row.rle for row in rows]):
            return Shared()
        objects, name = self._objects(id, size), f"{self.path}, {id}"
        return shared_pixels(objects, label_image(objects, size, name), name)

    def files(self, ids: Sequence[str]) -> list[str]:
        """The path of the CSV."""
        return [self.path]

    def _objects(self, id: str, size: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
        """Of each object of an image the line of its row, and its pixels as label_image takes them."""
        return [(f"line {row.line}", self._pixels(row, size)) for row in self._rows.get(id, [])]

    def _one_label(self, layers: np.ndarray, id: str) -> np.ndarray:
        """Class numbers u8 (H, W) of layers bool (K, H, W) that do not overlap."""
        count = layers.sum(axis=0, dtype=np.uint8)
        if (count > 1).any():
            names = [name for name, layer in zip(self.foreground, layers, strict=True) if layer[count > 1].any()]
            raise BadImage(
                f"{self.path}, {id}: {' and '.join(names)} overlap in {np.count_nonzero(count > 1):,} pixels, expected "
                "one class a pixel. If classes may overlap: task='multilabel', and classes without the background"
            )
        return (layers * np.arange(1, len(layers) + 1, dtype=np.uint8)[:, None, None]).max(axis=0)

    def _decode(self, row: Row, size: tuple[int, int]) -> np.ndarray:
        try:
            return rle_codec.decode(row.rle, size, self.dialect.order)
        except ValueError as error:
            raise BadImage(f"{self.path}, line {row.line}: {error}") from None

    def _pixels(self, row: Row, size: tuple[int, int]) -> np.ndarray:
        """The pixels of an object, int (P,): places in the flat image along rows."""
        try:
            runs = rle_codec.runs(row.rle, size[0] * size[1])
        except ValueError as error:
            raise BadImage(f"{self.path}, line {row.line}: {error}") from None
        starts, lengths = runs[:, 0], runs[:, 1]
        places = np.arange(lengths.sum()) + np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
        return places if self.dialect.order == "C" else places % size[0] * size[1] + places // size[0]


def _overlap(texts: Sequence[str]) -> bool:
    """Whether some pixel is in the runs of several masks of an image, seen without its size."""
    if len(texts) < 2:
        return False
    runs = np.array(" ".join(texts).split(), np.int64).reshape(-1, 2)
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    ends = np.maximum.accumulate(runs.sum(1))
    return bool((runs[1:, 0] < ends[:-1]).any())


def _of_header(dialect: Dialect, path: Path, file: str) -> Dialect:
    """The dialect with the CSV's own name of the column of masks. Raises ValueError for other columns."""
    names, columns = read_header(path), dialect.columns
    missing = [name for name in columns if name not in names]
    others = [name for name in names if name not in columns]
    if missing == [dialect.mask_column] and len(others) == 1:
        return replace(dialect, columns=tuple(others[0] if name in missing else name for name in columns))
    if missing:
        raise ValueError(
            f"{file} has the columns {', '.join(names) or 'none'}; expected {', '.join(columns)}. Name its own in the "
            "dialect: dataclasses.replace(dialect, columns=(…))"
        )
    return dialect


def _of_task(dialect: Dialect, wanted: Wanted) -> Dialect:
    """The dialect with labels for the classes. Raises ValueError where task, classes and rows do not go together."""
    if wanted.task == "instances" and dialect.rows != "instance":
        raise ValueError(
            f"task='instances' needs a row for each object, and the dialect has rows={dialect.rows!r}. Give a dialect "
            "with rows='instance', or task='binary'"
        )
    return with_classes(dialect, wanted.foreground)


def _read(
    path: Path, dialect: Dialect, wanted: Wanted, lacking: str, file: str
) -> tuple[dict[str, list[Row]], set[str]]:
    """The rows of each image that are not empty, and all ids with a row. Raises one ValueError with all bad rows."""
    checks = Checks(dialect, wanted, lacking, file)
    rows: dict[str, list[Row]] = {}
    mask_at = dialect.columns.index(dialect.mask_column)
    for line in read_table(path, dialect, checks.problems):
        if line.cells is None:
            continue
        named = checks.name(line)
        if named is None:
            continue
        cell = line.cells[mask_at]
        rle = "" if cell in EMPTY_TOKENS else checks.parse(line, cell)
        if rle:
            rows.setdefault(named[0], []).append(Row(line.line, named[1], rle))
    checks.finish(rows)
    return rows, checks.named
