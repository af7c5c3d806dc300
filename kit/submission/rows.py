"""The rows of a submission in progress, kept so that a killed prediction resumes where it stopped.

Each process appends to a file of its own, `part-<rank>.csv`. When all images are there, `rows_in_order` gives their
rows in the order of the sample file. So the submission has the same bytes whatever the number of processes, the order
of arrival or the restarts. The folder belongs to one set of weights and one dialect: clear it when they change.

A part holds a block an image: a line with the number of rows and the id, then the rows. A block is written at once.
An image may have no row at all; its block says so.
"""

import contextlib
import functools
import io
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kit.submission.dialect import Cells, Dialect
from kit.submission.names import one_name
from kit.submission.tables import check_key, join_cells, read_rows, split_cells

Places = dict[str, "_Block | None"]  # by id; None: its masks are empty


class _Block(NamedTuple):
    """Where the rows of an image are: the file, and the offset and size of its block in bytes."""

    path: Path
    offset: int
    size: int


class RowParts:
    """Append the rows of images to `<folder>/part-<rank>.csv`; `done` holds the ids that any process finished before.

    A block is handed to the system as soon as it is added. So a killed process, or a full disk, loses at most the
    image that it was writing; such a torn last block is cut off when its file is opened again.
    Raises ValueError naming file and line when a whole line is no row.
    """

    def __init__(self, folder: Path, rank: int = 0):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"part-{rank}.csv"
        self._file = self.path.open("ab", buffering=0)
        try:
            self._file.truncate(sum(block.size for _, block in _blocks(self.path)))
            self.done = frozenset(_index(folder))
        except BaseException:
            self._file.close()
            raise

    def add(self, id: str, rows: Sequence[Cells]) -> None:
        """Append all rows of one image, as `Dialect.cells` makes them.

        Raises ValueError on an unsafe id and on a cell with a line break.
        """
        left = memoryview(_format_block(id, rows))
        while left:  # the system may take a part of it, as on a disk that is nearly full
            left = left[self._file.write(left) :]

    def __enter__(self) -> "RowParts":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def rows_in_order(
    folder: Path, ids: Sequence[str], dialect: Dialect, sample_csv: Path | None = None, empty: Collection[str] = ()
) -> Iterator[Cells]:
    """Return the rows of `ids`, ready for `write`; what else the parts hold is left out.

    In the order of the sample file's keys, and in its spelling of them; else image by image in the order of `ids`.
    empty: ids whose masks are empty where the parts do not have them, because their images cannot be read.
    Rows that the sample does not have come last, and keys of it that no image has are left out: `lint` reports both.
    Keeps where each image lies, not its rows. Raises ValueError, before the first row, when images are missing
    (naming 20 of them and their number) and when two parts give one image different rows.
    """
    places = _index(Path(folder))
    missing = [id for id in ids if id not in places and id not in empty]
    if missing:
        more = f" and {len(missing) - 20:,} more" if len(missing) > 20 else ""
        raise ValueError(
            f"{folder} has no rows for {len(missing):,} of {len(ids):,} images: {', '.join(missing[:20])}{more}. "
            "Run the prediction again: it resumes"
        )
    places = {id: places.get(id) for id in ids}
    return _of_parts(places, dialect, sample_csv)


def ids_of_sample(sample_csv: Path, dialect: Dialect) -> list[str]:
    """The ids that a sample file asks for, each once, in its order; keys that the dialect does not write are left out.

    Raises ValueError naming the line of a bad header or row.
    """
    ids: dict[str, None] = {}
    for cells in read_rows(Path(sample_csv), dialect):
        with contextlib.suppress(ValueError):
            ids.setdefault(dialect.parse_id(cells))
    return list(ids)


def ordered_rows(
    ids: Collection[str], read: Callable[[str], list[Cells]], dialect: Dialect, sample_csv: Path | None = None
) -> Iterator[Cells]:
    """Yield the rows of `ids`: in the order of the sample file's keys, and in its spelling of them; else as they come.

    read: id -> the rows of the image, as Dialect.cells makes them; called anew for each row of the sample.
    """
    if sample_csv is None:
        for id in ids:
            yield from read(id)
        return
    names = {one_name(id): id for id in ids}
    given: dict[str, set[int | None]] = {}  # the classes of each image that were yielded
    at, by_image = dialect.columns.index(dialect.key_column), dialect.rows == "instance" or not dialect.has_classes
    for sample in read_rows(sample_csv, dialect):
        id, index = _image_of(sample, names, dialect, by_image)
        if id is None or index in given.setdefault(id, set()):
            continue
        given[id].add(index)
        for row in read(id):
            if by_image or dialect.parse_key(*dialect.name_of(row))[1] == index:
                # the key of another class of the same image is spelled otherwise
                yield row if by_image and "{class}" in dialect.key else (*row[:at], sample[at], *row[at + 1 :])
    for id in ids:
        if by_image and id in given:
            continue
        for row in read(id):
            if by_image or dialect.parse_key(*dialect.name_of(row))[1] not in given.get(id, ()):
                yield row


def _of_parts(places: Places, dialect: Dialect, sample_csv: Path | None) -> Iterator[Cells]:
    """Yield the rows of the images in their order."""
    with _Reader(places, dialect) as read:
        yield from ordered_rows(places, read, dialect, sample_csv)


def _image_of(sample: Cells, names: dict[str, str], dialect: Dialect, by_image: bool) -> tuple[str | None, int | None]:
    """Return the id and the class that a row of the sample is of; (None, None) where no image has it.

    by_image: all rows of an image belong together; then the class is None.
    """
    try:
        if by_image:
            return names.get(one_name(dialect.parse_id(sample))), None
        id, index = dialect.parse_key(*dialect.name_of(sample))
    except ValueError:
        return None, None
    return names.get(one_name(id)), index


class _Reader:
    """Reads the rows of an image by its id; those of the last few images are kept."""

    def __init__(self, places: Places, dialect: Dialect):
        self._places, self._dialect = places, dialect
        self._files: dict[Path, BinaryIO] = {}
        self.read = functools.lru_cache(16)(self._read)

    def __call__(self, id: str) -> list[Cells]:
        return self.read(id)

    def __enter__(self) -> "_Reader":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()

    def _read(self, id: str) -> list[Cells]:
        block = self._places[id]
        if block is None:
            return self._dialect.cells(id, [])
        if block.path not in self._files:
            self._files[block.path] = block.path.open("rb")
        file = self._files[block.path]
        file.seek(block.offset)
        return _parse_block(io.BytesIO(file.read(block.size)), block.path, 0)[1]


def _index(folder: Path) -> Places:
    """Return where the block of each image lies. Torn last blocks are passed over."""
    places: Places = {}
    for path in sorted(folder.glob("part-*.csv")):
        for id, block in _blocks(path):
            if places.setdefault(id, block) != block:
                _check_same(id, places[id], block)
    return places


def _blocks(path: Path) -> Iterator[tuple[str, _Block]]:
    """Yield the id and the place of each whole block of a part."""
    offset, line = 0, 1
    with path.open("rb") as file:
        while (block := _parse_block(file, path, line)) is not None:
            end = file.tell()
            yield block[0], _Block(path, offset, end - offset)
            offset, line = end, line + 1 + len(block[1])


def _check_same(id: str, earlier: _Block, later: _Block) -> None:
    """Raise ValueError unless both hold the same rows: two processes may both do an image around a restart."""
    contents = []
    for block in (earlier, later):
        with block.path.open("rb") as file:
            file.seek(block.offset)
            contents.append(file.read(block.size))
    if contents[0] != contents[1]:
        raise ValueError(
            f"{earlier.path} and {later.path} give {id!r} different rows: they come from different weights or "
            f"settings. Delete {later.path.parent} and predict again"
        )


def _format_block(id: str, rows: Sequence[Cells]) -> bytes:
    lines = [(str(len(rows)), check_key(id)), *rows]
    for cells in lines:
        if any(not isinstance(cell, str) or "\n" in cell or "\r" in cell for cell in cells):
            raise ValueError(f"the cells of {id!r} are texts without a line break, got {cells!r:.90}")
    return b"".join(map(join_cells, lines))


def _parse_block(file: BinaryIO, path: Path, number: int) -> tuple[str, list[Cells]] | None:
    """Undo `_format_block`; None at the end of the file or of a torn block. number: of its first line."""
    head = _parse_line(file, path, number)
    if head is None:
        return None
    if len(head) != 2 or not (head[0].isascii() and head[0].isdigit()):
        raise ValueError(f"{path}, line {number}: no rows of a submission ({','.join(head)!r:.60}). Delete the file")
    rows = []
    for line in range(number + 1, number + 1 + int(head[0])):
        cells = _parse_line(file, path, line)
        if cells is None:
            return None
        rows.append(cells)
    return head[1], rows


def _parse_line(file: BinaryIO, path: Path, number: int) -> Cells | None:
    """Return the cells of the next line; None where it is torn or missing."""
    line = file.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        cells = split_cells(line)
        if b'"' in line and join_cells(cells) != line:
            raise ValueError("not as it was written")
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: no row of a submission ({error}). Delete the file") from None
    return cells
