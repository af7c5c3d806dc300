"""The masks of a submission: well formed, inside their image, not all empty (lint_objects.py: objects apart)."""

import contextlib
from collections.abc import Callable
from dataclasses import replace

from kit.submission import rle as rle_codec
from kit.submission.competition import UnknownSize
from kit.submission.dialect import Dialect
from kit.submission.lint_objects import PARTS, Object, ObjectLint
from kit.submission.lint_order import COMPARE, OrderLint
from kit.submission.problems import Problems
from kit.submission.tables import Row

Shape = tuple[int, int]
SPREADSHEET_LIMIT = 32_767  # characters of a cell


class MaskLint:
    """Checks the masks row by row; `finish` reports what only all rows together show."""

    def __init__(
        self,
        problems: Problems,
        dialect: Dialect,
        shape: Callable[[str], Shape] | None,
        advice: str | None = COMPARE,
        apart: bool = True,
    ):
        self._problems = problems
        self._dialect = dialect
        self._shape_of = shape
        self._order = OrderLint(problems, dialect.order, advice)
        self._mask_at = dialect.columns.index(dialect.mask_column)
        self._rows = self._filled = self._own = self._own_filled = 0  # own: the sample's own rows
        self._shapes: dict[str, Shape | None] = {}
        self._objects = ObjectLint(problems, dialect.order, dialect.keep_empty, apart)

    def check(self, row: Row, where: str, name: tuple[str, int | None] | None, own: bool) -> None:
        """Check one mask. name: (id, class), None for an image of unknown size. own: it is the sample's own row."""
        self._rows += 1
        self._own += own
        shape = None if name is None or self._shape_of is None else self._shape(where, name[0])
        cell = row.cells[self._mask_at]
        if len(cell) == SPREADSHEET_LIMIT:
            what = f"the mask has {len(cell):,} characters, where spreadsheets cut a cell: write the file again"
            self._problems.warning("cut masks", where, what)
        try:
            rle = self._dialect.parse_mask(cell)
            self._filled += bool(rle)
            self._own_filled += bool(rle) and own
            runs = rle_codec.runs(rle, None if shape is None else shape[0] * shape[1])
        except ValueError as error:
            self._problems.error("malformed masks", where, f"{error}{self._other_reading(cell, shape)}")
            return
        if shape is not None and len(runs) and not own:
            self._order.check(runs, shape, row.line)
        if name is not None and self._dialect.rows == "instance":
            self._objects.add(name[0], Object(row.line, where, name[1], runs, own), shape)

    def finish(self, wanted: bool = True) -> None:
        """Report overlaps, empty files, swapped orders and what could not be checked. wanted: there should be rows."""
        self._objects.finish()
        self._check_whole_file(wanted)
        if self._shape_of is None and self._filled:
            what = (
                "the sizes of the images are unknown, so runs are not checked against the image's end, nor rows and "
                "columns against each other. Give them: shapes=…, --shape H W, or --images DIR"
            )
            self._problems.warning("unknown sizes", "", what)
        elif self._shape_of is not None and self._order.finish(self._filled - self._own_filled):
            self._problems.drop(PARTS)  # read in the wrong order, nearly every object falls into parts

    def _check_whole_file(self, wanted: bool) -> None:
        if not self._rows:
            tell = self._problems.error if wanted and self._dialect.keep_empty else self._problems.warning
            tell("empty files", "", "no rows")
        elif self._own == self._rows and self._filled:
            what = f"all {self._rows:,} rows are the sample file's own: nothing was predicted"
            self._problems.warning("empty files", "", what)
        elif not self._filled:
            what = f"all {self._rows:,} masks are empty. After a short training this happens; else look at the report"
            self._problems.warning("empty files", "", what)

    def _other_reading(self, cell: str, shape: Shape | None) -> str:
        """The dialects in which a mask that was refused is right, for the message."""
        dialect, found = self._dialect, []
        for base, relative in ((0, False), (1, False), (0, True), (1, True)):
            other = replace(dialect, base=base, relative=relative)
            with contextlib.suppress(ValueError):
                rle_codec.runs(other.parse_mask(cell), None if shape is None else shape[0] * shape[1])
                found.append(f"base={base}, relative={relative} (--base {base}{' --relative' * relative})")
        if found:
            return f". It is right with {found[0]}, if the competition counts so"
        if self._dialect.size is None:
            return ""
        size = " x ".join(map(str, self._dialect.size))
        return f". Masks are submitted at {size}, not at the images' own sizes (Dialect(size=…))"

    def _shape(self, where: str, id: str) -> Shape | None:
        if id not in self._shapes:
            self._shapes[id] = self._read_shape(where, id)
        return self._shapes[id]

    def _read_shape(self, where: str, id: str) -> Shape | None:
        try:
            return self._shape_of(id)
        except UnknownSize as error:
            what = f"the size of its image is unknown ({error}), so its end is not checked"
            self._problems.warning("images of unknown size", where, what)
            return None
