"""What the CSV files of a competition are: run lengths of training masks, a sample submission, facts of the images."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from kit.datasets.files import DataFolder
from kit.datasets.names import nfc
from kit.datasets.patterns import suffix_of
from kit.submission.detect import Look, look
from kit.submission.formats import read_columns, read_header
from kit.submission.names import IMAGE_ENDING

LEAST_COVERED = 0.9  # of the images that a table of facts must name
RUNS = re.compile(r" ?\d+ \d+(?: \d+ \d+)* ?")
MASK_WORDS = ("rle", "pixel", "mask", "segment", "encod")


@dataclass
class Table:
    """A CSV. path: below the data's folder; file: where it can be read."""

    path: str
    file: Path
    columns: list[str]
    seen: Look | None = None  # of a table with masks

    @property
    def has_masks(self) -> bool:
        """Whether a column holds run lengths, or is named so and empty."""
        if self.seen is None:
            return False
        if self.is_sample:
            return True
        named = any(word in self.seen.mask.lower() for word in MASK_WORDS)
        return bool(RUNS.fullmatch(self.seen.masks[0][1])) if self.seen.masks else named

    @property
    def is_sample(self) -> bool:
        """Whether its name says that it is a sample submission."""
        return any(word in self.path.lower() for word in ("sample", "submission", "stub"))


def read_tables(data: DataFolder, paths: Iterable[str], problems: list[str]) -> list[Table]:
    """Look at every CSV; those that cannot be read go to `problems`."""
    tables = []
    for path in paths:
        if suffix_of(path) == "csv":
            try:
                file = data.path(path)
                table = Table(path, file, read_header(file))
            except (ValueError, OSError) as error:
                problems.append(str(error))
                continue
            if len(table.columns) > 1:
                try:
                    table.seen = look(file)
                except ValueError as error:  # a table of facts may be anything; one with masks must not
                    if any(word in " ".join(table.columns).lower() for word in MASK_WORDS):
                        problems.append(str(error))
                tables.append(table)
    return tables


def facts_of(table: Table, ids: Collection[str]) -> tuple[str, dict[str, dict[str, str]]] | None:
    """The column of ids and the rows by id, of a table that has one row for nearly every image; else None."""
    rows = list(read_columns(table.file))
    for column in table.columns:
        by_id = {}
        for row in rows:
            name = nfc(row[column])
            by_id[name] = row
            by_id.setdefault(IMAGE_ENDING.sub("", name), row)
        covered = sum(name in by_id for name in ids) >= LEAST_COVERED * len(ids)
        if covered and len({row[column] for row in rows}) >= LEAST_COVERED * len(rows):
            return column, by_id
    return None


def ids_in(table: Table, ids: Collection[str]) -> float:
    """The share of a table's keys that begin with one of `ids`, in any spelling of the key: 0..1."""
    known, keys = set(ids), {nfc(key) for key in table.seen.keys} if table.seen else set()
    return sum(_names(key) & known != set() for key in keys) / max(1, len(keys))


def names_of_images(table: Table, ids: Collection[str]) -> set[str]:
    """Those of `ids` that a table of masks names."""
    known = set(ids)
    return {name for key in table.seen.keys for name in _names(nfc(key)) if name in known}


def _names(key: str) -> set[str]:
    """The ids that a key may be of: itself, without an image's ending, without a class behind a mark."""
    front = key.rpartition("_")[0]
    return {key, IMAGE_ENDING.sub("", key), front, IMAGE_ENDING.sub("", front)}
