"""What the CSV files of a competition are: run lengths of training masks, a sample submission, facts of images."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from kit.datasets.files import DataFolder
from kit.datasets.names import nfc
from kit.datasets.patterns import suffix_of
from kit.new.look.spellings import MASK_WORDS, RUNS, Spelling, odd_spelling
from kit.submission.detect import Look, look
from kit.submission.formats import read_columns, read_header
from kit.submission.names import IMAGE_ENDING

LEAST_COVERED = 0.9  # of the images that a table of facts must name
SAMPLE = re.compile(r"submi(?:t|ssion)|(?:^|[^a-z])(?:sample|example|stub|sub)(?:$|[^a-z])", re.IGNORECASE)
TRAINING = re.compile(r"(?:^|[^a-z])train", re.IGNORECASE)


@dataclass
class Table:
    """A CSV. path: below the data's folder; file: where it can be read."""

    path: str
    file: Path
    columns: list[str]
    seen: Look | None = None  # of a table with masks
    odd: Spelling | None = None  # of masks that are written in another way than "start length …"
    is_named_sample: bool = False  # the user says that it is the sample submission

    @property
    def has_masks(self) -> bool:
        """Whether a column holds run lengths, or is named so and empty."""
        if self.seen is None:
            return False
        if self.is_sample:
            return True
        named = any(word in self.seen.mask.lower() for word in MASK_WORDS)
        runs = sum(RUNS.fullmatch(cell) is not None for _, cell in self.seen.masks)
        return 2 * runs > len(self.seen.masks) if self.seen.masks else named

    @property
    def is_sample(self) -> bool:
        """Whether the name of the file says that it is a sample submission. Its folders do not count."""
        name = self.path.rpartition("/")[2].rpartition(".")[0]
        return self.is_named_sample or (SAMPLE.search(name) is not None and TRAINING.search(name) is None)

    def __str__(self) -> str:
        """What it is, in words."""
        if self.odd is not None:
            return f"{self.path}: {self.odd.kind} in the column {self.odd.column}"
        if self.is_sample and self.seen is not None:
            return f"{self.path}: a sample submission, by its name"
        if self.has_masks:
            return f"{self.path}: run lengths in the column {self.seen.mask}"
        return f"{self.path}: no run lengths; columns {', '.join(self.columns)}"


def read_tables(data: DataFolder, paths: Iterable[str], problems: list[str]) -> list[Table]:
    """Look at every CSV; those that cannot be read go to `problems`."""
    tables = []
    for path in paths:
        if suffix_of(path) == "csv":
            file = None
            try:
                file = data.path(path)
                table = Table(path, file, read_header(file))
            except (ValueError, OSError) as error:
                problems.append(with_path(error, path, file))
                continue
            if len(table.columns) > 1:
                _look_at(table, problems)
                tables.append(table)
    return tables


def _look_at(table: Table, problems: list[str]) -> None:
    try:
        table.seen = look(table.file)
        table.odd = odd_spelling(table.path, table.file, table.columns)
    except ValueError as error:  # a table of facts may be anything; one with masks must not
        if any(word in " ".join(table.columns).lower() for word in MASK_WORDS):
            problems.append(with_path(error, table.path, table.file))


def with_path(error: Exception, path: str, file: Path | None) -> str:
    """The message of an error with the file named once, by its path below the data's folder."""
    text = str(error) if file is None else str(error).replace(str(file), path)
    return text if path in text else f"{path}: {text}"


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
    return sum(id_of_key(key, known) is not None for key in keys) / max(1, len(keys))


def names_of_images(table: Table, ids: Collection[str]) -> set[str]:
    """Those of `ids` that a table of masks names."""
    known = set(ids)
    return {id for key in set(table.seen.keys) if (id := id_of_key(nfc(key), known)) is not None}


def keys_without_image(table: Table, ids: Collection[str]) -> list[str]:
    """The keys of a table that are of none of `ids`, each once, in their order."""
    known = set(ids)
    return [key for key in dict.fromkeys(table.seen.keys) if id_of_key(nfc(key), known) is None]


def id_of_key(key: str, known: Collection[str]) -> str | None:
    """Which of the known ids a key is of: itself, without an image's ending, without a class behind a mark; or None."""
    front = key.rpartition("_")[0]
    names = (key, IMAGE_ENDING.sub("", key), front, IMAGE_ENDING.sub("", front))
    return next((name for name in names if name in known), None)
