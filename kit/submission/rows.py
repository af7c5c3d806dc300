"""The rows of a submission in progress, kept so that a killed prediction resumes where it stopped.

Each process appends to a file of its own, `part-<rank>.csv`; when all are there, `rows_in_order` hands them out
in the order of the sample file, so the submission has the same bytes whatever the number of processes, the order
of arrival or the restarts. The folder belongs to one set of weights: clear it when they change.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from kit.system.files import check_id


def check_name(name: str) -> str:
    """Return `name` if it may stand in a CSV as an id, else raise ValueError.

    Refused: what is no file name (see `kit.system.files.check_id`), because ids become paths elsewhere; and a first
    character that a spreadsheet takes for a formula: = + - @.
    """
    if not isinstance(name, str):
        raise ValueError(f"an id is a str, got {type(name).__name__} {name!r:.40}")
    if check_id(name)[0] in "=+-@":
        raise ValueError(f"the id {name!r} begins with {name[0]}, which a spreadsheet takes for a formula: rename it")
    return name


def format_row(name: str, rle: str) -> bytes:
    """Return the line `name,rle\\n` in UTF-8, the name quoted where CSV demands it.

    Raises ValueError on a name that `check_name` refuses and on an rle of other things than digits and blanks.
    """
    check_name(name)
    encoded = rle.encode(errors="replace") if isinstance(rle, str) else b"?"
    if encoded.translate(None, b"0123456789 "):
        raise ValueError(f"the mask of {name!r} is no run-length encoding: {rle!r:.60}")
    quoted = '"' + name.replace('"', '""') + '"' if '"' in name or "," in name else name
    return b"%b,%b\n" % (quoted.encode(), encoded)


class RowParts:
    """Append rows to `<folder>/part-<rank>.csv`; `done` holds the names that any process finished before.

    A line is handed to the system as soon as it is added, so a killed process loses at most the one that it was
    writing, and so does a full disk; such a torn last line is cut off when its file is opened again.
    Raises ValueError naming file and line when a whole line is no row.
    """

    def __init__(self, folder: Path, rank: int = 0):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"part-{rank}.csv"
        self._file = self.path.open("ab")
        try:
            self._file.truncate(_end_of_last_line(self.path))
            self.done = frozenset(_index(folder))
        except BaseException:
            self._file.close()
            raise

    def add(self, name: str, rle: str) -> None:
        """Append one row. Raises ValueError as `format_row` does."""
        self._file.write(format_row(name, rle))
        self._file.flush()

    def __enter__(self) -> "RowParts":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def rows_in_order(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return (name, rle) of each of `names`, in their order; what else the parts hold is left out.

    Keeps where each row lies, not the rows. Raises ValueError, before the first row, when some are missing
    (naming 20 of them and their number) and when two parts give one name different masks.
    """
    places = _index(Path(folder))
    missing = [name for name in names if name not in places]
    if missing:
        more = f" and {len(missing) - 20:,} more" if len(missing) > 20 else ""
        raise ValueError(
            f"{folder} has no row for {len(missing):,} of {len(names):,} images: {', '.join(missing[:20])}{more}. "
            "Run the prediction again: it resumes"
        )
    return _rows_at([places[name] for name in names])


def _rows_at(places: list[tuple[Path, int]]) -> Iterator[tuple[str, str]]:
    files: dict[Path, BinaryIO] = {}
    try:
        for path, offset in places:
            if path not in files:
                files[path] = path.open("rb")
            yield _read_row(files[path], offset)
    finally:
        for file in files.values():
            file.close()


def _index(folder: Path) -> dict[str, tuple[Path, int]]:
    """Return where each name's row begins: the file and the offset. Torn last lines are passed over."""
    places: dict[str, tuple[Path, int]] = {}
    for path in sorted(folder.glob("part-*.csv")):
        with path.open("rb") as file:
            offset = 0
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                name, rle = _parse_row(line, path, number)
                if name in places:
                    _check_same(name, rle, places[name], path)
                else:
                    places[name] = (path, offset)
                offset += len(line)
    return places


def _check_same(name: str, rle: str, earlier: tuple[Path, int], path: Path) -> None:
    """Two processes may both have done an image around a restart; they must agree."""
    with earlier[0].open("rb") as file:
        if _read_row(file, earlier[1])[1] != rle:
            raise ValueError(
                f"{earlier[0]} and {path} give {name!r} different masks: they come from different weights or "
                f"settings. Delete {path.parent} and predict again"
            )


def _read_row(file: BinaryIO, offset: int) -> tuple[str, str]:
    file.seek(offset)
    return _parse_row(file.readline(), Path(file.name), 0)


def _parse_row(line: bytes, path: Path, number: int) -> tuple[str, str]:
    """Undo `format_row`. The csv module would refuse a mask of more than 128 KiB."""
    try:
        name, _, rle = line.decode().removesuffix("\n").rpartition(",")
        if name.startswith('"'):
            name = name[1:-1].replace('""', '"')
        if format_row(name, rle) != line:
            raise ValueError("not as it was written")
    except ValueError as error:
        raise ValueError(f"{path}, line {number}: no row of a submission ({error}). Delete the file") from None
    return name, rle


def _end_of_last_line(path: Path) -> int:
    """Return the size of `path` without its torn last line: what a kill in the middle of a write leaves."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        position = size
        while position:
            begin = max(position - 65536, 0)
            file.seek(begin)
            found = file.read(position - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            position = begin
    return 0
