"""Masks in a CSV that are not written as "start length …" in digits and blanks: named, with what to do."""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

from kit.submission.formats import read_columns
from kit.submission.names import IMAGE_ENDING
from kit.submission.runtext import EMPTY_TOKENS

LOOKED_AT = 400  # rows
MANY = 8  # numbers in a cell from which on it is a mask, whatever its column is called
SHOWN = 40  # characters of a cell in a message
LONG = 20  # characters of a text that may be a coded mask
MASK_WORDS = ("rle", "pixel", "mask", "segment", "encod")
OTHER_WORDS = ("polygon", "contour", "outline", "annotation", "points", "vertices", "runs")
RUNS = re.compile(r" *\d+ +\d+(?: +\d+ +\d+)* *")
POLYGON = re.compile(r"\s*(?:(?:MULTI)?POLYGON|\[\s*[\[({]|\(\s*\(|\{)", re.IGNORECASE)
NUMBERS = re.compile(r"[\[({\s]*\d+(?:\.\d+)?(?:[\s,;:|/x-]+\d+(?:\.\d+)?)+[\s,;\])}]*")
CODED = re.compile(r"[!-~]+")
NAME = re.compile(r"[0-9a-f-]+|\w+", re.IGNORECASE)

SEPARATED = (
    "numbers with other marks than blanks",
    "If they are starts and lengths in turn, put blanks for the other marks, as with pandas: "
    'table[{column!r}] = table[{column!r}].str.findall(r"\\d+").str.join(" ")',
)
POLYGONS = (
    "lists or outlines (polygons)",
    "Fill each outline into an image with cv2.fillPoly and save a mask file for each image; if they are pairs of start "
    'and length: table[{column!r}] = table[{column!r}].str.findall(r"\\d+").str.join(" ")',
)
DECIMAL = (
    "decimal numbers",
    "Starts and lengths are whole numbers. If these are points of outlines, fill each into an image with cv2.fillPoly "
    "and save a mask file for each image",
)
COMPRESSED = (
    "coded text",
    "Decode it, as with pycocotools.mask.decode for the counts of COCO, and save a mask file for each image",
)


class Spelling(NamedTuple):
    """A column with masks that kit does not read. kind, advice: in words."""

    path: str
    column: str
    cell: str
    kind: str
    advice: str

    def __str__(self) -> str:
        return (
            f"{self.path}: the cells of the column {self.column} hold {self.kind}, {_shown(self.cell)!r}; expected "
            f"'start length …' in digits and blanks. {self.advice}"
        )


def _shown(cell: str) -> str:
    return cell if len(cell) <= SHOWN else f"{cell[:SHOWN]} …"


def odd_spelling(path: str, file: Path, columns: list[str]) -> Spelling | None:
    """The first column of masks in another spelling; None where there is none. path: for messages."""
    rows = list(itertools.islice(read_columns(file), LOOKED_AT))
    for column in columns[1:]:
        cells = [row[column] for row in rows if row[column] not in EMPTY_TOKENS]
        kinds = [kind for cell in cells if (kind := _kind_of(cell, column)) is not None]
        if cells and 2 * len(kinds) > len(cells):
            name, advice = max(kinds, key=kinds.count)
            cell = next(cell for cell in cells if _kind_of(cell, column) == (name, advice))
            return Spelling(path, column, cell, name, advice.format(column=column))
    return None


def _kind_of(cell: str, column: str) -> tuple[str, str] | None:
    """What a cell is, where it is a mask in another spelling: (in words, advice)."""
    if RUNS.fullmatch(cell):
        return None
    named = any(word in column.lower() for word in (*MASK_WORDS, *OTHER_WORDS))
    many = len(re.findall(r"\d+", cell)) >= MANY
    if POLYGON.match(cell) and re.search(r"\d", cell) and (named or many):
        return COMPRESSED if '"counts"' in cell else POLYGONS
    if NUMBERS.fullmatch(cell) and re.search(r"[^\d ]", cell) and (named or many):
        return DECIMAL if re.search(r"\d\.\d", cell) else SEPARATED
    is_code = len(cell) >= LONG and CODED.fullmatch(cell) and not NAME.fullmatch(cell)
    return COMPRESSED if named and is_code and "/" not in cell and not IMAGE_ENDING.search(cell) else None
