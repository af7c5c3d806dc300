"""How a competition writes its CSV: a `Dialect` turns the masks of an image into rows, and a row back into a mask.

Inside kit a mask is a canonical run-length encoding: "start length start length …", starts counted from 1 over the
whole image, "" when the mask is empty. Its pixels run in the dialect's order. Only `Dialect` knows other spellings.

    Dialect(key="{id}.jpg")                                                  Carvana: a row an image
    Dialect(("ImageId_ClassId", "EncodedPixels"), "class", "F", key="{id}.jpg_{class}", labels=("1", "2", "3", "4"))
    Dialect(("id", "class", "segmentation"), "class", class_column="class", labels=("stomach", "large_bowel"))
    Dialect(("ImageId", "EncodedPixels"), "instance", "F")                   a row a nucleus
    Dialect(("ImageId", "EncodedPixels"), "instance", "F", 0, relative=True, empty="-1")

The dialects of competitions that kit knows are in known.py.
"""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from kit.submission import runtext

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Dialect:
    """How the CSV of a competition is written.

    columns: the header. They are the key, the mask, and the class where it has a column of its own; in any order,
        but the key comes before the mask.
    rows: "image": one row an image, of one class. "class": a row for each class of each image. "instance": a row for
        each object, several an image; objects of one image must not overlap.
    order: the pixels of a run follow each other along rows ("C") or down columns ("F").
    base: the number of the first pixel, 1 or 0.
    relative: each start counts from the end of the run before it, not from the image's first pixel.
    empty: the cell of an empty mask. keep_empty: whether an empty mask has a row.
    key: how the key is made of the id, and of the class where it has no column: "{id}", "{id}.jpg_{class}".
    class_column: the column of the class, or None.
    labels: the foreground classes as the CSV writes them, class 1 first. Empty: "1", "2", …; `Competition` fills
        them in.
    size: (height, width) of every submitted mask, where the competition wants another size than the images'. None: a
        mask has the size of its image. The CSV of the training masks has the images' own sizes in either case.
    Raises ValueError when these contradict each other.
    """

    columns: tuple[str, ...] = ("img", "rle_mask")
    rows: Literal["image", "class", "instance"] = "image"
    order: Literal["C", "F"] = "C"
    base: Literal[0, 1] = 1
    relative: bool = False
    empty: str = ""
    keep_empty: bool = True
    key: str = "{id}"
    class_column: str | None = None
    labels: tuple[str, ...] = ()
    size: tuple[int, int] | None = None

    def __post_init__(self):
        object.__setattr__(self, "columns", tuple(self.columns))
        object.__setattr__(self, "labels", tuple(self.labels))
        if self.size is not None:
            object.__setattr__(self, "size", _whole_size(self.size))
        _check(self)

    def __repr__(self) -> str:
        # without a size as before there was one: Competition.fingerprint hashes it
        own = [field.name for field in fields(self) if field.name != "size" or self.size is not None]
        return f"Dialect({', '.join(f'{name}={getattr(self, name)!r}' for name in own)})"

    def mask_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the submitted mask of an image of this (height, width)."""
        return image_size if self.size is None else self.size

    @property
    def has_classes(self) -> bool:
        """Whether a row says which class it is of."""
        return self.class_column is not None or "{class}" in self.key

    @property
    def key_column(self) -> str:
        """The column of the key: the first that is not the class's."""
        return next(column for column in self.columns if column != self.class_column)

    @property
    def mask_column(self) -> str:
        """The column of the mask: the last that is not the class's."""
        return next(column for column in reversed(self.columns) if column != self.class_column)

    def with_labels(self, count: int) -> "Dialect":
        """The same dialect with the labels of `count` foreground classes: its own, or "1", "2", …

        Raises ValueError if its own are of another number.
        """
        if not self.has_classes:
            return self
        labels = self.labels or tuple(str(number) for number in range(1, count + 1))
        if len(labels) != count:
            raise ValueError(
                f"the dialect has {len(labels)} labels ({', '.join(labels)}) and the data set {count} foreground "
                "classes. Give a label for each class but the background, class 1 first"
            )
        return replace(self, labels=labels)

    def cells(self, id: str, masks: Sequence[tuple[int, str]]) -> list[Cells]:
        """Return the rows of an image, a cell a column.

        masks: (class index from 1, canonical run lengths in `order`) of each class or object; empty ones may be left
        out. Where empty masks have rows, those that are missing are added.
        Raises ValueError on a class that the dialect cannot write, and on two masks of one class where it has one row.
        """
        filled = [(index, rle) for index, rle in masks if rle]
        for index, _ in masks:
            self._check_class(id, index)
        if self.rows != "instance":
            return self._cells_of_classes(id, filled)
        if filled:
            return [self._row(id, index, rle) for index, rle in filled]
        return [self._row(id, 1, "")] if self.keep_empty else []

    def parse(self, cells: Cells) -> tuple[str, int | None, str]:
        """Undo `cells` for one row -> (id, class index or None where rows have no class, canonical run lengths).

        Raises ValueError on a key, class or mask that this dialect does not write.
        """
        return *self.parse_key(*self.name_of(cells)), self.parse_mask(cells[self.columns.index(self.mask_column)])

    def name_of(self, cells: Cells) -> tuple[str, str | None]:
        """Return what names a row: the cell of its key, and that of the class's column, None where there is none."""
        row = dict(zip(self.columns, cells, strict=True))
        return row[self.key_column], row[self.class_column] if self.class_column else None

    def parse_id(self, cells: Cells) -> str:
        """Return the id of a row, whatever stands in the class's column: a sample may have a placeholder there.

        Raises ValueError on a key that this dialect does not write.
        """
        return self.parse_key(self.name_of(cells)[0])[0]

    def parse_key(self, key: str, label: str | None = None) -> tuple[str, int | None]:
        """Return the id and the class index of a row. label: the cell of the class's column, where there is one."""
        if "{class}" in self.key:
            for index, (start, end) in self._affixes(key):
                if key.startswith(start) and key.endswith(end) and len(key) > len(start) + len(end):
                    return key[len(start) : len(key) - len(end)], index
            known = f" and a class of {', '.join(self.labels)}" if self.labels else " and a class from 1"
            raise ValueError(f"the key {key!r:.90} should be {self.key}, with an id{known}")
        start, end = self.key.split("{id}")
        if not (key.startswith(start) and key.endswith(end) and len(key) > len(start) + len(end)):
            raise ValueError(f"the key {key!r:.90} should be {self.key}, with an id")
        return key[len(start) : len(key) - len(end)], None if label is None else self._class_of(label)

    def parse_mask(self, cell: str) -> str:
        """Return the canonical run lengths of a mask's cell. Raises ValueError if it is no mask of this dialect."""
        if cell == self.empty:
            return ""
        if cell.strip() in runtext.EMPTY_TOKENS:
            raise ValueError(
                f"{cell!r} is no mask here: an empty mask is written {self.empty!r}. Write that, or name the other "
                f"token (Dialect(empty={cell!r}), --empty)"
            )
        if self.base == 1 and not self.relative:
            return cell
        return runtext.to_canonical(cell, self.base, self.relative)

    def format_mask(self, rle: str) -> str:
        """Return the cell of a canonical run-length encoding."""
        if not rle:
            return self.empty
        if self.base == 1 and not self.relative:
            return rle
        return runtext.from_canonical(rle, self.base, self.relative)

    def label(self, index: int) -> str:
        """The class as the CSV writes it. index: from 1."""
        return self.labels[index - 1] if self.labels else str(index)

    def _cells_of_classes(self, id: str, filled: list[tuple[int, str]]) -> list[Cells]:
        masks = dict(filled)
        if len(masks) < len(filled):
            raise ValueError(f"{id!r} has two masks of one class; rows={self.rows!r} has one row for it. Unite them")
        count = len(self.labels) if self.rows == "class" else 1
        if self.keep_empty and not count:
            raise ValueError(
                "the dialect needs its labels to write the rows of empty classes: give labels=(…), or let "
                "Competition fill them in"
            )
        wanted = range(1, count + 1) if self.keep_empty else sorted(masks)
        return [self._row(id, index, masks.get(index, "")) for index in wanted]

    def _row(self, id: str, index: int, rle: str) -> Cells:
        row = {
            self.key_column: self.key.replace("{class}", self.label(index)).replace("{id}", id),
            self.mask_column: self.format_mask(rle),
            self.class_column: self.label(index),
        }
        return tuple(row[column] for column in self.columns)

    def _check_class(self, id: str, index: int) -> None:
        top = (len(self.labels) or None) if self.has_classes else 1
        if index < 1 or (top is not None and index > top):
            raise ValueError(
                f"{id!r} has a mask of class {index}, and the rows hold classes 1 to {top or '…'}. Rows of several "
                'classes need rows="class" with {class} in the key or a class_column, and labels'
            )

    def _class_of(self, label: str) -> int:
        if self.labels and label in self.labels:
            return self.labels.index(label) + 1
        if not self.labels and re.fullmatch("[1-9][0-9]{0,8}", label):
            return int(label)
        expected = ", ".join(self.labels) or "a number from 1"
        raise ValueError(f"unknown class {label!r:.60}, expected {expected}")

    def _affixes(self, key: str):
        """Yield (class index, (text before the id, text after it)) of each class that `key` may name."""
        if self.labels:
            for index, label in enumerate(self.labels, start=1):
                yield index, tuple(self.key.replace("{class}", label).split("{id}"))
            return
        pattern = re.escape(self.key).replace(r"\{id\}", "(?:.+)").replace(r"\{class\}", "([1-9][0-9]{0,8})")
        if match := re.fullmatch(pattern, key, re.DOTALL):
            yield int(match[1]), tuple(self.key.replace("{class}", match[1]).split("{id}"))


def _whole_size(size: object) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(f"no dialect: size is (height, width) of the submitted masks, 1 or more each; got {size!r}")
    return height, width


def _check(dialect: Dialect) -> None:
    """Raise one ValueError with all that does not fit together."""
    problems = [*_column_problems(dialect), *_key_problems(dialect), *_mask_problems(dialect)]
    if problems:
        raise ValueError("no dialect: " + "; ".join(problems))


def _column_problems(dialect: Dialect):
    columns, own = dialect.columns, dialect.class_column
    if len(set(columns)) < len(columns) or not all(columns):
        yield f"columns are different names that are not empty, got {columns}"
    if own is not None and own not in columns:
        yield f"class_column={own!r} is none of the columns {columns}"
    elif len(columns) != (2 if own is None else 3):
        yield (
            f"columns are the key, the mask and, with class_column, the class; got {columns}. Name the class's with "
            "class_column; kit writes no other columns"
        )


def _key_problems(dialect: Dialect):
    key, labels = dialect.key, dialect.labels
    if key.count("{id}") != 1 or key.count("{class}") > 1:
        yield f'key holds {{id}} once, and {{class}} at most once, as "{{id}}.jpg_{{class}}"; got {key!r}'
        return
    if "{class}" in key and dialect.class_column is not None:
        yield f"the class is in the key {key!r} or in the column {dialect.class_column!r}, not in both"
    if dialect.rows not in ("image", "class", "instance"):
        yield f'rows is "image", "class" or "instance", got {dialect.rows!r}'
    elif dialect.rows == "image" and dialect.has_classes:
        yield 'rows="image" has no classes: give rows="class" or "instance"'
    elif dialect.rows == "class" and not dialect.has_classes:
        yield 'rows="class" needs the class in the key ("{id}_{class}") or a class_column'
    elif dialect.rows == "instance" and dialect.has_classes and dialect.keep_empty:
        yield 'rows="instance" with classes has no row for an image without objects: give keep_empty=False'
    if len(set(labels)) < len(labels) or not all(isinstance(label, str) and label.strip() == label for label in labels):
        yield f"labels are different texts without blanks around them, got {labels}"
    elif "{class}" in key and _is_ambiguous(key, labels):
        yield f"the key {key!r} can be read in two ways with the labels {labels or '1, 2, …'}: put a mark between"


def _is_ambiguous(key: str, labels: tuple[str, ...]) -> bool:
    """Whether a key may be of two ids: the end (or the start) of one class is that of another."""
    start, end = key.split("{id}")
    affix = end if "{class}" in end else start
    if not labels:
        between = affix.split("{class}")[0 if affix is end else 1]
        return not between or (between[-1] if affix is end else between[0]).isdigit()
    texts = [affix.replace("{class}", label) for label in labels]
    fits = str.endswith if affix is end else str.startswith
    return any(a is not b and fits(a, b) for a in texts for b in texts) or "" in texts


def _mask_problems(dialect: Dialect):
    if dialect.order not in ("C", "F"):
        yield f'order is "C" (along rows) or "F" (down columns), got {dialect.order!r}'
    if dialect.base not in (0, 1):
        yield f"base is 1 or 0, got {dialect.base!r}"
    if dialect.empty not in runtext.EMPTY_TOKENS and not re.fullmatch("[A-Za-z_]+", dialect.empty):
        tokens = ", ".join(map(repr, sorted(runtext.EMPTY_TOKENS)))
        yield f"empty is {tokens} or a word, got {dialect.empty!r}: it must not be a mask"
