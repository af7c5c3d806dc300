"""How a CSV file spells its table: encoding, byte-order mark, separator, blank lines.

Every spelling whose meaning is certain is read. What a competition would not read is a problem all the same.
"""

import csv as csv_module
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.submission.problems import Problems

SEPARATORS = ";\t|"  # what other programs write in place of the comma
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
OTHER_FILES = {b"PK\x03\x04": "a zip archive or an Excel workbook", b"\x1f\x8b": "a gzip archive"}
HEAD = 65536  # bytes from which the encoding and the separator are found

csv_module.field_size_limit(2**28)  # the default, 128 KiB, is less than the encoding of a ragged mask


@dataclass(frozen=True)
class Format:
    """How a file writes its table. encoding: Python's name of it. separator: of the cells."""

    encoding: str
    separator: str


def read_lines(path: Path, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each line that is not blank, the header first.

    What is odd about the file goes to `problems`. Damage does too; it ends the file and sets `problems.unread`.
    Raises OSError when the file cannot be opened.
    """
    form = find_format(path, problems)
    if form is None:
        return
    with path.open(newline="", encoding=form.encoding, errors="surrogateescape") as file:
        reader = csv_module.reader(file, strict=True, delimiter=form.separator)
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    _check_bytes(cells, reader.line_num, problems)
                    yield reader.line_num, cells
                elif len(cells) < 2:
                    problems.warning("blank lines", f"line {reader.line_num}", "a blank line, passed over; delete it")
                else:
                    yield reader.line_num, cells
        except (csv_module.Error, UnicodeError) as error:
            what = f"no valid CSV from here on ({error}); the rest was not read"
            problems.error("rows", f"line {reader.line_num}", what)
            problems.unread = True


def read_columns(path: Path) -> Iterator[dict[str, str]]:
    """Yield each row as {column: cell} without blanks around them, whatever the columns are. Raises as read_rows."""
    return (row for _, row in read_rows(path))


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line of each row, and the row as read_columns does.

    Raises ValueError naming the line of a row of another length, and OSError.
    """
    problems, path = Problems(), Path(path)
    lines = read_lines(path, problems)
    header = [name.strip() for name in next(lines, (1, []))[1]]
    for line, cells in lines:
        if len(cells) != len(header):
            raise ValueError(f"{path}: line {line}: {len(cells)} cells instead of {len(header)}: {shown(cells)}")
        yield line, dict(zip(header, (cell.strip() for cell in cells), strict=True))
    if problems.unread:
        raise ValueError(f"{path}: {problems.list()[0]}")


def read_header(path: Path) -> list[str]:
    """Return the names of the columns; [] of an empty file. Raises ValueError on a file that is no CSV, OSError."""
    problems, path = Problems(), Path(path)
    header = next(read_lines(path, problems), (1, []))[1]
    if problems.unread:
        raise ValueError(f"{path}: {problems.list()[0]}")
    return [name.strip() for name in header]


def find_format(path: Path, problems: Problems) -> Format | None:
    """Find the encoding and the separator from the first bytes; None for a file that is no text."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    if kind := next((kind for start, kind in OTHER_FILES.items() if head.startswith(start)), None):
        problems.error("formats", "line 1", f"no CSV but {kind}: unpack it, or save the table as CSV")
        problems.unread = True
        return None
    encoding = _find_encoding(head)
    if encoding == "utf-8-sig":
        what = (
            "the file begins with a byte-order mark. Most competitions read past it; to be safe write it without "
            '(encoding="utf-8", not "utf-8-sig")'
        )
        problems.warning("formats", "line 1", what)
    elif encoding != "utf-8":
        problems.error("formats", "line 1", "the file is in UTF-16, competitions read UTF-8: save it as CSV UTF-8")
    first = head.decode(encoding, errors="replace").lstrip("\r\n").partition("\n")[0]
    separator = "," if "," in first else next((mark for mark in SEPARATORS if mark in first), ",")
    if separator != ",":
        what = f"cells are separated by {separator!r}, not by ',': write the file with commas"
        problems.error("formats", "line 1", what)
    return Format(encoding, separator)


def shown(cells: list[str]) -> str:
    """The start of a line, for a message."""
    return f"{','.join(cells)!r:.80}"


def _find_encoding(head: bytes) -> str:
    if encoding := next((name for mark, name in MARKS.items() if head.startswith(mark)), None):
        return encoding
    start = head[:200]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) <= len(start) // 3:  # in UTF-16 each second byte of plain text is zero
        return "utf-8"
    return "utf-16-le" if odd > even else "utf-16-be"


def _check_bytes(cells: list[str], line: int, problems: Problems) -> None:
    """Report bytes that are not UTF-8, and how they read in the encoding that most likely wrote them."""
    for cell in cells:
        if not cell.isascii() and any("\udc80" <= character <= "\udcff" for character in cell):
            text = cell.encode(errors="surrogateescape").decode("cp1252", errors="replace")
            what = f"bytes that are not UTF-8. In Latin-1 (Windows-1252) they read {text!r:.60}: save the file as UTF-8"
            problems.error("bytes", f"line {line}", what)
