"""Are the rows of a CSV of true masks right? All that is wrong is listed at once.

Every row: its key and class are known, come once where a mask has one row, and its runs are well formed. Of masks that
may be too large for their image the end is compared with the size. Some hundred masks vote whether rows and columns
are swapped (lint_order.py). Sizes come from the headers of the images, so only as many are read as are needed.
"""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from kit.datasets.masks import Wanted
from kit.submission import rle as rle_codec
from kit.submission.dialect import Dialect
from kit.submission.lint_order import FEW, LEAST_SHARE, vote
from kit.submission.names import one_name
from kit.submission.problems import Problems
from kit.submission.tables import FATAL
from kit.submission.tables import Row as Line

VOTERS = 300  # images whose sizes are read, and whose largest masks vote
KINDS = (*FATAL, "keys", "unknown images", "repeated rows", "malformed masks", "ends", "orders", "missing rows")


class Row(NamedTuple):
    """A mask in a CSV. line: of the file, from 1. index: of the class, from 1. rle: canonical run lengths."""

    line: int
    index: int
    rle: str


class Checks:
    """Collects what is wrong with the rows; `finish` raises it."""

    def __init__(self, dialect: Dialect, wanted: Wanted, lacking: str, file: str):
        self.problems, self._dialect, self._wanted, self._file = Problems(), dialect, wanted, file
        self._lacking = lacking
        label = dialect.class_column
        self._class_at = None if label is None else dialect.columns.index(label)
        self._known = {one_name(id): id for id in wanted.ids}
        self._tests = {one_name(id) for id in wanted.tests}
        self._seen: set[tuple[str, int]] = set()
        self._strange: dict[tuple[str, str | None], int] = {}  # names of rows that are of no image, and their lines
        self._malformed: list[str] = []

    def name(self, line: Line) -> tuple[str, int] | None:
        """The id and the class of a row; None where it is of no image."""
        name = line.key, None if self._class_at is None else line.cells[self._class_at]
        if name in self._strange:
            return None
        try:
            id, index = self._dialect.parse_key(*name)
        except ValueError as error:
            self._strange[name] = line.line
            self.problems.error("keys", f"line {line.line}", str(error))
            return None
        known = self._known.get(one_name(id))
        if known is None:
            self._strange[name] = line.line
            self.problems.error("unknown images", f"line {line.line}", self._why_unknown(id))
            return None
        place = known, index or 1
        if place in self._seen and self._dialect.rows != "instance":
            self.problems.error("repeated rows", f"line {line.line}", f"{', '.join(filter(None, name))} came before")
        self._seen.add(place)
        return place

    @property
    def named(self) -> set[str]:
        """The ids of images that have a row."""
        return {id for id, _ in self._seen}

    def _why_unknown(self, id: str) -> str:
        if one_name(id) in self._tests:
            return f"{id!r:.90} is an image to be predicted, as `tests` says: take it out of one of the two CSVs"
        return f"no image has the id {id!r:.90}"

    def parse(self, line: Line, cell: str) -> str:
        """The canonical run lengths of a mask that is not empty; "" of a malformed one."""
        try:
            rle = self._dialect.parse_mask(cell)
            rle_codec.runs(rle)
        except ValueError as error:
            self.problems.error("malformed masks", f"line {line.line} ({line.key:.90})", str(error))
            self._malformed.append(cell)
            return ""
        return rle

    def finish(self, rows: dict[str, list[Row]]) -> None:
        """Look at ends, orders and missing rows. Raises ValueError with all that was found, and what to do."""
        self._check_sizes(rows)
        if not self.problems.unread:
            self._check_missing()
        key = self._other_key()
        kinds = KINDS if key is None else tuple(kind for kind in KINDS if kind != "missing rows")
        found = [str(problem) for problem in self.problems.list(kinds) if problem.severity == "error"]
        if found:
            lines = "".join(f"\n  {line}" for line in [*found, *self._advice(key)])
            raise ValueError(f"the masks of {self._file} cannot be used:{lines}")

    def _check_sizes(self, rows: dict[str, list[Row]]) -> None:
        """Report masks that leave their image, and rows and columns that look swapped."""
        ids = list(rows)
        some = {ids[at] for at in np.linspace(0, len(ids) - 1, min(len(ids), VOTERS)).astype(int)}
        sizes = {id: size for id in some if (size := self._size(id)) is not None}
        least = min((height * width for height, width in sizes.values()), default=0)
        votes: list[int | None] = []
        for id, own in rows.items():
            ends = [(_end(row.rle), row) for row in own]
            if id not in sizes and max(end for end, _ in ends) > least and (size := self._size(id)) is not None:
                sizes[id] = size
            if id not in sizes:
                continue
            height, width = sizes[id]
            for end, row in ends:
                if end > height * width:
                    what = f"its runs end at pixel {end:,}, the image has {height * width:,} ({height} × {width})"
                    self.problems.error("ends", f"line {row.line} ({id:.90})", what)
            if id in some and max(end for end, _ in ends) <= height * width:
                longest = max(own, key=lambda row: len(row.rle))
                votes.append(vote(rle_codec.runs(longest.rle), (height, width), self._dialect.order))
        self._count(votes)

    def _count(self, votes: Sequence[int | None]) -> None:
        swapped, right, other = votes.count(-1), votes.count(1), "F" if self._dialect.order == "C" else "C"
        able = swapped + right + votes.count(0)
        if swapped >= FEW and swapped > right and swapped >= LEAST_SHARE * able:
            what = (
                f"rows and columns look swapped: {swapped:,} of {swapped + right:,} masks are ragged in order "
                f'"{self._dialect.order}" and smooth in "{other}". Take dataclasses.replace(dialect, order="{other}")'
            )
            self.problems.error("orders", "", what)

    def _check_missing(self) -> None:
        """Report images without a row, and classes without one where each has one."""
        if self._lacking == "empty":
            return
        dialect, labels = self._dialect, range(1, len(self._wanted.foreground) + 1)
        each = dialect.has_classes and dialect.rows == "class" and dialect.keep_empty
        with_rows = self.named
        for id in self._wanted.ids:
            if id not in with_rows and self._lacking == "skip":
                continue
            if id not in with_rows:
                self.problems.error("missing rows", "missing", f"the image {id!r:.90} has no row")
            elif each and (missing := [dialect.label(k) for k in labels if (id, k) not in self._seen]):
                self.problems.error("missing rows", "missing", f"{id!r:.90} has no row of {', '.join(missing)}")

    def _advice(self, key: str | None) -> list[str]:
        """What may be done about all problems of a kind. key: one with which the rows are of known images."""
        advice = []
        if key is not None:
            advice.append(f"The keys are right with dataclasses.replace(dialect, key={key!r})")
        elif self._strange:
            advice.append("Delete rows of images that are not there, or mend the dialect's key")
        if self._dialect.rows == "image" and self.problems.list(("repeated rows",)):
            advice.append("If images have several rows, to be united: dataclasses.replace(dialect, rows='instance')")
        if reading := self._other_reading():
            advice.append(f"The malformed masks are right with dataclasses.replace(dialect, {reading})")
        if key is None and self.problems.list(("missing rows",)):
            advice.append("If an image or class without a row has no object: CsvMasks(…, lacking='empty')")
            if any(id not in self.named for id in self._wanted.ids):
                advice.append("If images without a row are to be left out: CsvMasks(…, lacking='skip')")
        return advice

    def _other_key(self) -> str | None:
        """A key with another ending of the file's name, or none, with which the strange rows are of known images."""
        names = list(self._strange)[:20]
        endings = {""} | {f".{end}" for key, _ in names for end in re.findall(r"\.(\w+)", key)}
        for ending in sorted(endings):
            key = re.sub(r"\{id\}(\.[a-zA-Z]+)?", "{id}" + ending, self._dialect.key)
            if names and key != self._dialect.key and all(self._is_known(key, name) for name in names):
                return key
        return None

    def _is_known(self, key: str, name: tuple[str, str | None]) -> bool:
        with contextlib.suppress(ValueError):
            return one_name(replace(self._dialect, key=key).parse_key(*name)[0]) in self._known
        return False

    def _other_reading(self) -> str | None:
        """Other starts with which the malformed masks are well formed."""
        for base, relative in ((0, False), (1, False), (0, True), (1, True)):
            other = replace(self._dialect, base=base, relative=relative)
            with contextlib.suppress(ValueError):
                for cell in self._malformed[:20]:
                    rle_codec.runs(other.parse_mask(cell))
                return f"base={base}, relative={relative}" if self._malformed else None
        return None

    def _size(self, id: str) -> tuple[int, int] | None:
        try:
            return self._wanted.size(id)
        except (ValueError, OSError):  # a damaged image: the check of the data set names it
            return None


def _end(rle: str) -> int:
    """The last pixel of a mask, from 1."""
    start, length = rle.rsplit(None, 2)[-2:]
    return int(start) + int(length) - 1
