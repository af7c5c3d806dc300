"""The rows of a submission CSV: written in a stream, read by the columns' names.

A key is text and stays as it is (`NA`, `null`, `000123`). Nothing here holds more than the keys in memory.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kit.submission.dialect import Cells, Dialect
from kit.submission.formats import SEPARATORS, read_lines, shown
from kit.submission.problems import Problems
from kit.system.files import check_id, counted, write_atomic

BLANKS = " \xa0"  # a tab is none: check_key refuses it, as spreadsheets take what follows for a formula
FATAL = ("headers", "rows", "bytes")  # kinds of errors after which a row is not certain


class Row(NamedTuple):
    """A row of a CSV. line: of the file, from 1. cells: in the order of the dialect's columns; None: not read."""

    line: int
    cells: Cells | None
    key: str  # what stands where the key should be, also in a row that was not read


class _Columns(NamedTuple):
    """Where the dialect's columns stand in the file, and how many cells a row of the file has."""

    places: list[int]
    width: int


def check_key(key: str) -> str:
    """Return `key` if it may stand in a CSV, else raise ValueError.

    Refused: an unsafe file name, because ids become paths elsewhere (see `kit.system.files.check_id`; slashes inside
    are allowed); and a first character that a spreadsheet takes for a formula: = + - @.
    """
    if not isinstance(key, str):
        raise ValueError(f"an id is a str, got {type(key).__name__} {key!r:.40}")
    if check_id(key)[0] in "=+-@":
        raise ValueError(f"the id {key!r:.90} begins with {key[0]}, which a spreadsheet takes for a formula: rename it")
    return key


def format_row(cells: Cells, dialect: Dialect) -> bytes:
    """Return a row as a line in UTF-8, its cells quoted where CSV demands it.

    Raises ValueError on another number of cells than columns, on a key or class that `check_key` refuses, and on a
    mask of other things than digits and blanks that is not the empty cell.
    """
    if len(cells) != len(dialect.columns):
        raise ValueError(f"{len(cells)} cells for {len(dialect.columns)} columns ({','.join(dialect.columns)})")
    for column, cell in zip(dialect.columns, cells, strict=True):
        if column != dialect.mask_column:
            check_key(cell)
        elif cell != dialect.empty and not (isinstance(cell, str) and _is_numbers(cell)):
            key = cells[dialect.columns.index(dialect.key_column)]
            raise ValueError(f"the mask of {key!r} is no run-length encoding: {cell!r:.60}")
    return join_cells(cells)


def write(rows: Iterable[Cells], path: Path, dialect: Dialect) -> int:
    """Write rows under the dialect's header, whole or not at all; return their number.

    rows: as `Dialect.cells` makes them. The bytes depend on the rows and their order alone.
    Raises ValueError listing every row that was refused (20 of a kind, then their number): see `format_row`; and a key
    that came before, where the dialect has one row for it.
    """
    problems, seen, count = Problems(), set(), 0
    mask_at = dialect.columns.index(dialect.mask_column)

    def content(file: BinaryIO) -> None:
        nonlocal count
        file.write(join_cells(dialect.columns))
        for count, cells in enumerate(rows, start=1):
            try:
                file.write(format_row(cells, dialect))
            except ValueError as error:
                problems.error("refused rows", f"row {count}", str(error))
                continue
            name = cells[:mask_at] + cells[mask_at + 1 :]
            if name in seen and dialect.rows != "instance":
                problems.error("duplicate ids", f"row {count}", f"{','.join(name)!r} came before")
            seen.add(name)
        if found := problems.list():
            raise ValueError(f"{path} was not written:\n" + "\n".join(map(str, found)))

    write_atomic(Path(path), content)
    return count


def read_rows(path: Path, dialect: Dialect) -> Iterator[Cells]:
    """Yield the cells of each row, in the order of the dialect's columns.

    Columns that the dialect does not name are passed over. A byte-order mark, another separator, blank lines and
    blanks around cells are no obstacle. Raises ValueError naming the line of a bad header or row.
    """
    problems = Problems()
    for row in read_table(Path(path), dialect, problems):
        if row.cells is None or problems.first(FATAL):
            break
        yield row.cells
    if problems.unread or problems.first(FATAL):
        raise ValueError(f"{path}: {problems.first(FATAL) or problems.list()[0]}")


def read_table(path: Path, dialect: Dialect, problems: Problems) -> Iterator[Row]:
    """Yield each row. Oddities of the file, and rows that could not be read, go to `problems`.

    Raises OSError when the file cannot be opened.
    """
    lines = read_lines(path, problems)
    header = next(lines, None)
    if header is None:
        if not problems.unread:
            problems.error("headers", "line 1", f"{_expected(dialect)}, it is missing: the file is empty")
            problems.unread = True
        return
    columns = _find_columns(header[1], dialect, problems)
    if columns is None:
        problems.unread = True
        return
    if _is_row(header[1], columns, dialect):
        yield _read(*header, columns, dialect, problems)
    for line, cells in lines:
        yield _read(line, cells, columns, dialect, problems)


def _read(line: int, cells: list[str], columns: _Columns, dialect: Dialect, problems: Problems) -> Row:
    """Return one row, its cells in the dialect's order and without blanks around them."""
    where = f"line {line}"
    if len(cells) != columns.width:
        problems.error("rows", where, f"{counted(len(cells), 'cell')} instead of {columns.width}: {shown(cells)}")
        key = cells[0]
        for mark in SEPARATORS:
            key = key.partition(mark)[0]
        return Row(line, None, key.strip(BLANKS))
    chosen = [cells[place] for place in columns.places]
    clean = tuple(cell.strip(BLANKS) for cell in chosen)
    for name, cell, short in zip(dialect.columns, chosen, clean, strict=True):
        if cell != short and (name != dialect.mask_column or not short):
            problems.error("blanks", where, f"blanks around {name}, {cell!r:.60}: write {short!r:.60}")
    return Row(line, clean, clean[dialect.columns.index(dialect.key_column)])


def _find_columns(header: list[str], dialect: Dialect, problems: Problems) -> _Columns | None:
    """Return where the dialect's columns are: by name, else by place; None if there are too few."""
    names, wanted = [name.strip() for name in header], list(dialect.columns)
    in_place = _Columns(list(range(len(wanted))), len(header))
    if header == wanted:
        return in_place
    if all(names.count(name) == 1 for name in wanted):
        if names != header:
            problems.error("blanks", "line 1", f"blanks around the columns' names: write {','.join(names)}")
        if extra := [name for name in names if name not in wanted]:
            what = f"the header has more columns than {','.join(wanted)}: {', '.join(extra)}. Leave them out"
            problems.error("columns", "line 1", what)
        elif names != wanted:
            problems.warning("columns", "line 1", f"{_expected(dialect)}, it is {shown(header)}: read by name")
        return _Columns([names.index(name) for name in wanted], len(header))
    looks = " The first line looks like a row: put the header above it" if _is_row(header, in_place, dialect) else ""
    own = f"--columns {' '.join(names)} (in Python Dialect(columns=…))"
    flag = "" if looks else f". Rename the columns, or name the competition's own: {own}"
    problems.error("headers", "line 1", f"{_expected(dialect)}, it is {shown(header)}{looks and '.'}{looks or flag}")
    return in_place if len(header) == len(wanted) else None


def _is_row(cells: list[str], columns: _Columns, dialect: Dialect) -> bool:
    """Whether a header is a row: where the mask's name should be there is a mask."""
    place = columns.places[dialect.columns.index(dialect.mask_column)]
    cell = cells[place].strip() if place < len(cells) else ""
    return len(cells) == len(dialect.columns) and bool(cell) and (_is_numbers(cell) or cell == dialect.empty)


def _expected(dialect: Dialect) -> str:
    return f"the header should be {','.join(dialect.columns)}"


def _is_numbers(cell: str) -> bool:
    return not cell.encode(errors="replace").translate(None, b"0123456789 ")


def join_cells(cells: Iterable[str]) -> bytes:
    """Return a line of CSV in UTF-8."""
    return (",".join(map(_quoted, cells)) + "\n").encode()


def split_cells(line: bytes) -> Cells:
    """Undo `join_cells`. Raises ValueError on a line that is no CSV in UTF-8."""
    if b'"' not in line and b"\r" not in line:  # as almost every line: four times as fast
        return tuple(line.decode().removesuffix("\n").split(","))
    try:
        (cells,) = csv.reader([line.decode()], strict=True)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return tuple(cells)


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if '"' in cell or "," in cell else cell
