"""Run lengths of large masks in a CSV: a row an image, or one for each of its classes."""

import csv
import io
from collections.abc import Sequence

from kit.datasets.files import DataFolder
from kit.datasets.names import nfc

LARGEST = 2**28  # characters of a cell; the default, 128 KiB, is less than a large mask takes


def read_run_table(
    data: DataFolder, table: Sequence[str], classes: Sequence[str], rows: str = "class"
) -> dict[str, dict[int, list[str]]]:
    """The run lengths of each id, by class number, as the cells of a CSV write them: a text a row.

    table: (file, id column, mask column) of one class, a fourth name for the column of the class: its name, or its
    number from 1. An id may be written with its file's suffix. A mask that is empty is "".
    rows: "class": an image has one row of a class; "instance": any number.
    Raises ValueError for a file, column or class that cannot be, and for two rows where there should be one.
    """
    if isinstance(table, str) or len(table) not in {3, 4}:
        raise ValueError(
            f"masks={table!r}, expected a pattern of files, or (file, id column, mask column) of a CSV, with the "
            "column of the class as a fourth where there are several"
        )
    if len(table) == 3 and len(classes) > 2:
        raise ValueError(f"{table[0]} holds masks of {len(classes) - 1} classes: name the column of the class too")
    csv.field_size_limit(max(LARGEST, csv.field_size_limit()))
    try:
        content = data.read(table[0]).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{table[0]} is no CSV in UTF-8: {error}. Save it in that encoding") from error
    read = csv.DictReader(io.StringIO(content, newline=""))
    if missing := [name for name in table[1:] if name not in (read.fieldnames or ())]:
        raise ValueError(f"{table[0]} has no column {', '.join(missing)}; it has {', '.join(read.fieldnames or ())}")
    found: dict[str, dict[int, list[str]]] = {}
    for row in read:
        id, number = _id(row[table[1]]), 1 if len(table) == 3 else class_number(row[table[3]], classes, table[0])
        own = found.setdefault(id, {})
        if number in own and rows == "class":
            raise ValueError(
                f"{table[0]} has two masks of {id} of the class {classes[number]}, expected one. Where each row is an "
                'object, and all are to be united: rows="instance"'
            )
        own.setdefault(number, []).append(_mask(row[table[2]]))
    return found


def _id(cell: str) -> str:
    name, dot, suffix = nfc(cell.strip()).rpartition(".")
    return name if dot and suffix.lower() in {"tif", "tiff", "png", "npy", "jpg", "jpeg"} else nfc(cell.strip())


def class_number(cell: str, classes: Sequence[str], file: str) -> int:
    """The number of a class by its name, or else by its number from 1. Raises ValueError for neither."""
    text = cell.strip()
    if text in classes[1:]:
        return classes.index(text)
    if text.isascii() and text.isdigit() and 1 <= int(text) < len(classes):
        return int(text)
    raise ValueError(f"{file} names the class {text!r}, expected {', '.join(classes[1:])}, or 1 to {len(classes) - 1}")


def _mask(cell: str | None) -> str:
    text = (cell or "").strip()
    return "" if text in {"-1", "nan", "NaN", "1 0", "0 0"} else text
