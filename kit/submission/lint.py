"""The submission CSV: write it in a stream, lint it against the sample file, score it where truth exists.

A row is an id and a run-length encoded mask; ids are text and stay as they are (`NA`, `null`, `000123`), an
empty mask is an empty cell. Nothing here holds more than the ids and their lines in memory.
"""

import bisect
import csv as csv_module
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kit.scoring.confusion import confusion_matrix, foreground_scores
from kit.submission import rle as rle_codec
from kit.submission.rows import RowParts, check_name, format_row, rows_in_order
from kit.system.files import write_atomic

__all__ = ["RowParts", "lint", "read_rows", "rows_in_order", "score", "write"]

COLUMNS = ("img", "rle_mask")
SEPARATORS = ";\t|"  # that other programs write in place of the comma
Shape = tuple[int, int]

csv_module.field_size_limit(2**28)  # the default, 128 KiB, is less than the encoding of a ragged mask


def write(rows: Iterable[tuple[str, str]], path: Path, columns: tuple[str, str] = COLUMNS) -> int:
    """Write (name, rle) rows under a header, whole or not at all; return their number.

    The bytes depend on the rows and their order alone. Raises ValueError listing every row that was refused
    (20 of a kind, then their number): a name that is no safe file name, one that a spreadsheet takes for a
    formula (= + - @), one that came before, an rle of other things than digits and blanks.
    """
    problems = _Problems()
    seen: set[str] = set()

    def content(file: BinaryIO) -> None:
        file.write((",".join(columns) + "\n").encode())
        for number, (name, rle) in enumerate(rows, start=1):
            try:
                file.write(format_row(name, rle))
            except ValueError as error:
                problems.add("refused rows", f"row {number}: {error}")
                continue
            if name in seen:
                problems.add("duplicate ids", f"row {number}: {name!r} came before")
            seen.add(name)
        if problems.lines():
            raise ValueError(f"{path} was not written:\n" + "\n".join(problems.lines()))

    write_atomic(Path(path), content)
    return len(seen)


def read_rows(path: Path, columns: tuple[str, str] = COLUMNS) -> Iterator[tuple[str, str]]:
    """Yield (name, rle) as text, row by row. Raises ValueError naming the line of a bad header or row."""
    problems = _Problems()
    for _, name, rle in _rows(Path(path), columns, problems):
        if rle is None or problems.lines():
            break
        yield name, rle
    if problems.lines():
        raise ValueError(f"{path}: {problems.lines()[0]}")


def score(
    csv: Path, read_truth: Callable[[str], np.ndarray | None], order: str, columns: tuple[str, str] = COLUMNS
) -> dict[str, float | None]:
    """Score a submission where truth exists: the number of images, mean Dice and mean IoU over images.

    read_truth: name -> uint8 (H, W) of 0 and 1, 255 ignored; None where there is none. Without any, the means
    are None. Raises ValueError naming the image whose mask is malformed or does not fit.
    """
    ious, dices = [], []
    for name, rle in read_rows(csv, columns):
        truth = read_truth(name)
        if truth is None:
            continue
        try:
            matrix = confusion_matrix(truth, rle_codec.decode(rle, truth.shape, order), num_classes=2)
        except ValueError as error:
            raise ValueError(f"{csv}, {name}: {error}") from None
        image_iou, image_dice, _ = foreground_scores(matrix)
        ious.append(image_iou)
        dices.append(image_dice)
    means = (float(np.mean(dices)), float(np.mean(ious))) if ious else (None, None)
    return {"images": len(ious), "mean_dice": means[0], "mean_iou": means[1]}


def lint(
    csv: Path,
    sample_csv: Path | None,
    shapes: Mapping[str, Shape] | Shape | Callable[[str], Shape],
    order: str,
    columns: tuple[str, str] = COLUMNS,
) -> list[str]:
    """Return all that is wrong with a submission, 20 lines of a kind and then their number; [] when it is valid.

    sample_csv: its ids must all be there, once, in its order; None leaves that unchecked. shapes: (H, W) of all
    images, or a mapping or function from name to (H, W). order: "C" or "F", as the competition reads masks.
    An empty mask is valid; a file of nothing else is reported. Content never raises; a file that cannot be
    opened raises OSError.
    """
    problems = _Problems()
    names = _NameLint(problems, None if sample_csv is None else _sample_places(Path(sample_csv), columns, problems))
    masks = _MaskLint(problems, shapes, order)
    for line, name, rle in _rows(Path(csv), columns, problems):
        where = f"line {line} ({name!r:.80})"
        known = names.check(where, name)
        if rle is not None:
            masks.check(where, rle, name if known else None)
    if not problems.unread:
        names.finish()
        masks.finish()
    return problems.lines()


class _Problems:
    """What is wrong, by kind, of each kind the first 20 and their number."""

    shown = 20

    def __init__(self):
        self._kinds: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self.unread = False  # the rest of the file, after damage: nothing can be said of what is missing

    def add(self, kind: str, message: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] <= self.shown:
            self._kinds.setdefault(kind, []).append(message)

    def lines(self) -> list[str]:
        found = []
        for kind, messages in self._kinds.items():
            more = self._counts[kind] - len(messages)
            found += [*messages, f"... and {more:,} more {kind}"] if more else messages
        return found


def _rows(path: Path, columns: tuple[str, str], problems: _Problems) -> Iterator[tuple[int, str, str | None]]:
    """Yield (line, name, rle) of each row; a row of other than two cells goes to `problems` and has no rle."""
    with path.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
        reader = csv_module.reader(file, strict=True)
        try:
            header = next(reader, None)
            if separator := _other_separator(header, columns):
                problems.add("headers", f"line 1: cells are separated by {separator!r}, not by ','; nothing was read")
                problems.unread = True
                return
            if header != list(columns):
                problems.add("headers", f"line 1: the header should be {','.join(columns)}, it is {_shown(header)}")
            for cells in reader:
                if len(cells) == 2:
                    yield reader.line_num, cells[0], cells[1]
                    continue
                count = f"{len(cells)} cell{'s' * (len(cells) != 1)}"
                problems.add("rows", f"line {reader.line_num}: {count} instead of 2: {_shown(cells)}")
                if cells:
                    yield reader.line_num, re.split(f"[{SEPARATORS}]", cells[0])[0], None
        except csv_module.Error as error:
            problems.add("rows", f"line {reader.line_num}: no valid CSV from here on ({error}); the rest was not read")
            problems.unread = True


def _other_separator(header: list[str] | None, columns: tuple[str, str]) -> str | None:
    """What stands between the columns' names where it is not a comma, as some spreadsheets write it."""
    return next((mark for mark in SEPARATORS if header == [mark.join(columns)]), None)


def _shown(cells: list[str] | None) -> str:
    return "missing: the file is empty" if cells is None else f"{','.join(cells)!r:.80}"


def _sample_places(path: Path, columns: tuple[str, str], problems: _Problems) -> dict[str, int] | None:
    """Each id of the sample file and its place; None if it cannot be read. What is wrong with it is said as such."""
    own = _Problems()
    places = {name: place for place, (_, name, _) in enumerate(_rows(path, columns, own))}
    for message in own.lines():
        problems.add("problems of the sample file", f"sample file {path.name}: {message}")
    return None if own.unread else places


class _NameLint:
    """Ids: safe ones, each once, each in the sample, in its order, none missing."""

    def __init__(self, problems: _Problems, places: dict[str, int] | None):
        self._problems = problems
        self._places = places
        self._seen: set[str] = set()
        self._found: list[tuple[int, str]] = []  # the place in the sample of each row, and where that row is

    def check(self, where: str, name: str) -> bool:
        """Return whether `name` belongs to the competition, as far as is known."""
        try:
            check_name(name)
        except ValueError as error:
            self._problems.add("unsafe ids", f"{where}: {error}")
        known = self._places is None or name in self._places
        if name in self._seen:
            self._problems.add("duplicate ids", f"{where}: duplicate, the id came before")
        elif not known:
            self._problems.add("unknown ids", f"{where}: unknown, the sample file has no such id")
        elif self._places is not None:
            self._found.append((self._places[name], where))
        self._seen.add(name)
        return known

    def finish(self) -> None:
        for index in _misplaced([place for place, _ in self._found]):
            place, where = self._found[index]
            self._problems.add("reordered ids", f"{where}: reordered, it is row {place + 1} of the sample file")
        for name in self._places or ():
            if name not in self._seen:
                self._problems.add("missing ids", f"missing: {name!r} of the sample file has no row")


def _misplaced(places: list[int]) -> list[int]:
    """Which of different `places` must move for the rest to rise: all but a longest rising part (patience sorting)."""
    lowest, last = [], []  # of the rising parts of each length: the lowest end, and its index
    before = []  # the index that comes before each in its part
    for index, place in enumerate(places):
        length = bisect.bisect(lowest, place)
        before.append(last[length - 1] if length else -1)
        lowest[length : length + 1], last[length : length + 1] = [place], [index]
    index, rising = last[-1] if last else -1, set()
    while index >= 0:
        rising.add(index)
        index = before[index]
    return [index for index in range(len(places)) if index not in rising]


class _MaskLint:
    """Masks: well formed, inside their image, not all empty, and in the order that they are read in.

    Whether rows and columns were swapped shows in how ragged the mask is. In the right order a line of pixels is
    much like the line before; read in the other order, the runs of neighbouring lines lie shifted against each
    other. So each mask is compared with itself one line of W pixels and one line of H pixels earlier, and votes
    for the order in which less than a third as many pixels differ. Square images, or nearly so, cannot tell.
    Images of fewer than 8 lines, or more than twice as long one way, do not vote: theirs could mislead, as a shift
    by the short side leaves a long run mostly in place.
    """

    def __init__(self, problems: _Problems, shapes: Mapping | Shape | Callable[[str], Shape], order: str):
        if order not in ("C", "F"):
            raise ValueError(f'order is "C" (along rows) or "F" (down columns), got {order!r}')
        self._problems = problems
        self._shapes = shapes
        self._order = order
        self._rows = self._filled = self._swapped = self._right = 0

    def check(self, where: str, rle: str, name: str | None) -> None:
        """Check one mask; without a `name` its image's size is unknown."""
        self._rows += 1
        self._filled += bool(rle)
        shape = None if name is None else self._shape(where, name)
        try:
            runs = rle_codec.runs(rle, None if shape is None else shape[0] * shape[1])
        except ValueError as error:
            self._problems.add("malformed masks", f"{where}: {error}")
            return
        if shape is not None and len(runs) and 8 <= min(shape) <= max(shape) <= 2 * min(shape):
            self._vote(runs, shape)

    def finish(self) -> None:
        if not self._filled:
            self._problems.add("empty files", f"all {self._rows:,} masks are empty" if self._rows else "no rows")
        if self._swapped > self._right:
            other = "F" if self._order == "C" else "C"
            self._problems.add(
                "orders",
                f"rows and columns look swapped: {self._swapped:,} of {self._swapped + self._right:,} masks are "
                f'ragged in order "{self._order}" and smooth in "{other}". Encode them in order '
                f'"{self._order}", or check that shapes are (height, width)',
            )

    def _shape(self, where: str, name: str) -> Shape | None:
        try:
            if isinstance(self._shapes, Mapping):
                shape = self._shapes[name]
            else:
                shape = self._shapes(name) if callable(self._shapes) else self._shapes
            height, width = (operator.index(side) for side in shape)
        except (LookupError, ValueError, TypeError, OSError) as error:
            self._problems.add("images of unknown size", f"{where}: the size of its image is unknown ({error!r:.200})")
            return None
        return height, width

    def _vote(self, runs: np.ndarray, shape: Shape) -> None:
        along, across = shape if self._order == "F" else shape[::-1]
        pixels = along * across
        claimed, other = _raggedness(runs, pixels, along), _raggedness(runs, pixels, across)
        self._swapped += other * 3 < claimed
        self._right += claimed * 3 < other


def _raggedness(runs: np.ndarray, pixels: int, line: int) -> float:
    """Return the share of pixels that differ from the pixel `line` earlier, of those that have one.

    runs: int64 (R, 2) of an image of so many `pixels`. The number of mask pixels before a position grows along
    the runs and is level between them; from it follows how many lie in a stretch, so no mask is decoded.
    """
    starts, lengths = runs[:, 0], runs[:, 1]
    edges = np.column_stack([starts, starts + lengths]).reshape(-1)
    counts = np.repeat(np.cumsum(lengths), 2)
    counts[::2] -= lengths

    def before(position: np.ndarray | int) -> np.ndarray:
        return np.interp(position, edges, counts)

    in_both = (before(edges[1::2] - line) - before(edges[::2] - line)).sum()
    later, earlier = counts[-1] - before(line), before(pixels - line)
    return float(later + earlier - 2 * in_both) / (pixels - line)
