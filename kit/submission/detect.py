"""Find the dialect of a competition from its own files: the sample submission, and the CSV of the training masks.

The sample says how rows look: columns, keys, classes, empty masks. The training masks say how the numbers are meant:
order, first number, relative starts. What the files do not say is not guessed; the error names the choices.
A dialect that was written by hand is compared with the same files by check_numbers.py.
"""

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from kit.data.tasks import foreground_of
from kit.submission import rle as rle_codec
from kit.submission import runtext
from kit.submission.competition import UnknownSize, shape_reader
from kit.submission.dialect import Dialect
from kit.submission.formats import read_header, read_rows
from kit.submission.lint_order import LEAST_SHARE, vote
from kit.submission.names import IMAGE_ENDING
from kit.system.files import list_some

CLASS_NAMES = ("class", "label", "category", "type")  # in the name of a class's column
ENOUGH = 400  # masks that are looked at
FEWEST, ODD = 4, 0.05  # masks, and the share of wrong ones, at which all others say how they are written


@dataclass
class Look:
    """What the cells of a CSV show. The names of its columns; class_column is None where there is none."""

    key: str
    mask: str
    class_column: str | None
    keys: list[str] = field(default_factory=list)  # of the rows, as they come
    labels: dict[str, None] = field(default_factory=dict)  # of the class's column, in the order of their first rows
    empties: set[str] = field(default_factory=set)
    masks: list[tuple[str, str]] = field(default_factory=list)  # (key, cell) of the first filled ones
    lines: dict[tuple[str, str], int] = field(default_factory=dict)  # of each of `masks`, its line in the file
    repeats: bool = False  # whether a key, with its class, has several rows


def detect(
    train_csv: Path | None,
    sample_csv: Path,
    shapes: object = None,
    read_mask: Callable[[str], np.ndarray] | None = None,
    order: Literal["C", "F"] | None = None,
    base: Literal[0, 1] | None = None,
) -> Dialect:
    """Return the dialect of a competition.

    train_csv: the true masks of training images; its columns may differ from the sample's. shapes: (H, W) of all
    images, or a mapping or function from id to it. read_mask: id -> u8 (H, W), for data whose masks are also files, or
    bool (H, W, K), or i32 (H, W) of objects; with it the order of square images is found too. order, base: those of
    the pixels, where you know them; None: they are found.
    Found from the sample: columns, class column and key; from both: labels, the empty cell and rows. Found from the
    training masks: order, base and relative. base is 1 unless the masks say 0.
    Two things no file says. Where an image has several rows in the training CSV, each is taken for an object; give
    rows="image" to the dialect where the competition unites them. Masks are taken to have the sizes of their images;
    give size=(H, W) where the competition wants another.
    Raises ValueError naming the choices where the data cannot tell.
    """
    sample = look(sample_csv)
    train = None if train_csv is None else look(train_csv)
    dialect = dialect_of(sample, read_header(sample_csv), train)
    if train is None or not train.masks:
        if order is not None:
            return replace(dialect, order=order, base=1 if base is None else base)
        raise ValueError(
            f"{train_csv or sample_csv} holds no masks, so it cannot tell how pixels are numbered. Give the CSV of the "
            'training masks, or write the dialect: order="C" (along rows) or "F" (down columns), base=1 or 0'
        )
    return with_numbers(dialect, train, shape_reader(shapes), read_mask, order, base)


def look(csv: Path, columns: Iterable[str] | None = None) -> Look:
    """Read a CSV and note what its cells show. columns: of the key, the mask and perhaps the class; None: all."""
    rows = read_rows(Path(csv))
    first = list(itertools.islice(rows, ENOUGH))
    names = read_header(csv)
    seen_columns = [name for name in names if columns is None or name in set(columns)]
    found, seen = _find_columns(csv, seen_columns, [row for _, row in first]), set()
    for line, row in itertools.chain(first, rows):
        key, cell = row[found.key], row[found.mask]
        label = row[found.class_column] if found.class_column else None
        found.repeats |= (key, label) in seen
        seen.add((key, label))
        found.keys.append(key)
        if label is not None:
            found.labels.setdefault(label)
        if cell in runtext.EMPTY_TOKENS:
            found.empties.add(cell)
        elif len(found.masks) < ENOUGH:
            found.masks.append((key, cell))
            found.lines.setdefault((key, cell), line)
    words = {cell for _, cell in found.masks}
    if len(words) == 1 and re.fullmatch("[A-Za-z_]+", next(iter(words))):  # every mask is empty, by a word of its own
        found.empties, found.masks = found.empties | words, []
    return found


def dialect_of(sample: Look, columns: list[str], train: Look | None = None) -> Dialect:
    """Return what a sample says of its dialect; order, base and relative stay as they are by default.

    Raises ValueError where empty masks are written in two ways.
    """
    if sample.class_column:
        key, labels = f"{{id}}{_common_ending(sample.keys)}", _labels_of(sample, train)
    else:
        key, labels = _find_key(sample.keys)
    classes = bool(labels)
    instances = sample.repeats or (train is not None and not classes and train.class_column is None and train.repeats)
    empties = sample.empties or (set() if train is None else train.empties)
    if len(empties) > 1:
        raise ValueError(
            f"empty masks are written in {len(empties)} ways, {', '.join(map(repr, sorted(empties)))}: name the one "
            "that the competition reads, Dialect(empty=…) or --empty"
        )
    return Dialect(
        columns=tuple(name for name in columns if name in (sample.key, sample.mask, sample.class_column)),
        rows="instance" if instances else "class" if classes else "image",
        empty=next(iter(empties), ""),
        keep_empty=not (instances and classes),
        key=key,
        class_column=sample.class_column,
        labels=labels,
    )


def _labels_of(sample: Look, train: Look | None) -> tuple[str, ...]:
    """The classes of a class's column: the sample's, or those of the training CSV where it has more.

    A hidden test set has a sample without rows, and a sample may hold a placeholder for the class. Raises ValueError
    where neither file has a row.
    """
    own, others = tuple(sample.labels), () if train is None or not train.class_column else tuple(train.labels)
    labels = own if len(own) >= len(others) else others
    if not labels:
        raise ValueError(
            f"no row names a class in the column {sample.class_column!r}: name the classes, Dialect(labels=…), or give "
            "the CSV of the training masks"
        )
    return tuple(sorted(labels, key=int)) if all(re.fullmatch("[0-9]{1,9}", label) for label in labels) else labels


def _find_columns(csv: Path, names: list[str], rows: list[dict[str, str]]) -> Look:
    """Find which column is which: the mask's by its cells, the class's by its name or because every id has each of its
    values once; the key is the first other one.
    """
    if len(names) < 2:
        raise ValueError(
            f"{csv}: a submission has a column of keys and one of masks, the header is {','.join(names)!r:.90}"
        )
    filled = {name: sum(_is_mask(row[name]) for row in rows) for name in names[1:]}
    likely = [name for name in names[1:] if rows and filled[name] > 0.5 * len(rows)]
    blank = [
        name for name in names[1:] if all(_is_mask(row[name]) or row[name] in runtext.EMPTY_TOKENS for row in rows)
    ]
    known = [name for name in names[1:] if any(word in name.casefold() for word in ("rle", "pixel", "mask", "segment"))]
    candidates = [name for name in likely or known or blank if not _is_class(name)] or names[-1:]
    rest = [name for name in names if name != candidates[0]]
    classes = [name for name in rest[1:] if _is_class(name)] or [
        name for name in rest[1:] if _tells_apart([(row[rest[0]], row[name]) for row in rows])
    ]
    return Look(rest[0], candidates[0], classes[0] if classes else None)


def _tells_apart(pairs: list[tuple[str, str]]) -> bool:
    """Whether a column tells the rows of an id apart as a class does: pairs (id, value), each id with every value.

    The last id may lack some, because only the first rows are looked at.
    """
    values: dict[str, list[str]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    every = {value for _, value in pairs}
    whole = [sorted(own) for own in list(values.values())[:-1]]
    return len(every) > 1 and "" not in every and bool(whole) and all(own == sorted(every) for own in whole)


def _is_class(name: str) -> bool:
    return any(word in name.casefold() for word in CLASS_NAMES)


def _is_mask(cell: str) -> bool:
    numbers = cell.split()
    return len(numbers) >= 2 and len(numbers) % 2 == 0 and all(number.isdecimal() for number in numbers)


def _find_key(keys: list[str]) -> tuple[str, tuple[str, ...]]:
    """Return the key's form and the labels in it: "{id}.jpg_{class}" where each id comes with the same few endings."""
    split = [key.rpartition("_") for key in keys]
    if any(IMAGE_ENDING.search(key) for key in keys):  # "car_01.jpg" to "car_16.jpg" are images, not classes
        return f"{{id}}{_common_ending(keys)}", ()
    endings = dict.fromkeys(ending for _, _, ending in split)
    stems = {stem for stem, _, _ in split}
    every = len(set(keys)) == len(stems) * len(endings)
    if 2 <= len(endings) <= 100 and every and len(stems) > 1 and all(stem for stem, _, _ in split):
        return f"{{id}}{_common_ending(stems)}_{{class}}", tuple(endings)
    return f"{{id}}{_common_ending(keys)}", ()


def _common_ending(names: Iterable[str]) -> str:
    """The image's ending, as ".jpg", where all names have the same."""
    endings = {match[0] if (match := IMAGE_ENDING.search(name)) else "" for name in names}
    return endings.pop() if len(endings) == 1 else ""


class UnknownOrder(ValueError):
    """The masks do not show the order of the pixels."""


def with_numbers(
    dialect: Dialect,
    train: Look,
    shape: Callable | None,
    read_mask: Callable[[str], np.ndarray] | None,
    order: str | None = None,
    base: int | None = None,
) -> Dialect:
    """Return the dialect with order, base and relative as the training masks have them.

    Arguments as of `detect`; train.masks must not be empty. Raises UnknownOrder, or ValueError where nothing fits.
    """
    readings = [replace(dialect, base=0, relative=True), replace(dialect, base=0), replace(dialect, base=1)]
    asked = [reading for reading in readings if base in (None, reading.base)]
    fitting = [reading for reading in asked if _all_fit(reading, train, shape)]
    if not fitting:
        fits_other = base is not None and any(_all_fit(reading, train, shape) for reading in readings)
        odd = "" if fits_other else _odd_rows(train, shape, asked)
        raise ValueError(_why_none_fits(train, shape, base, odd))
    if read_mask is not None:
        return _by_masks(fitting, train, read_mask, order or "CF")
    absolute = [reading for reading in fitting if not reading.relative] or fitting
    if order is None:
        order = order_of(absolute[-1], train, _needed(shape))
    ordered = [replace(reading, order=order) for reading in absolute]
    return max(ordered, key=lambda each: (0 if shape is None else touches(each, train, shape), each.base))


def _why_none_fits(train: Look, shape: Callable | None, base: int | None, odd: str) -> str:
    """Why no reading of the training masks fits, in words. odd: a few that are wrong where all others are right."""
    numbers = [[int(number) for number in cell.split()] for _, cell in train.masks if _is_mask(cell)]
    if max(map(len, numbers), default=0) > 2 and all(a < b for own in numbers for a, b in itertools.pairwise(own)):
        return (
            f"the numbers of each training mask rise from first to last, as {train.masks[0][1]!r:.60}: they look like "
            "'start end', expected 'start length'. Write length = end - start (+ 1 where the end is part of the run)"
        )
    counted = "counted from 1 or 0, absolute or relative" if base is None else f"counted from {base}"
    return odd or (
        f"the training masks are no run lengths that leave no image, {counted}: {train.masks[0][1]!r:.60}"
        f"{'. Check that shapes are (height, width)' * (shape is not None)}"
    )


def _odd_rows(train: Look, shape: Callable | None, readings: list[Dialect]) -> str:
    """The rows that are wrong in the reading in which nearly all others are right, each with its line; "" else."""
    misfits = [(_misfits(reading, train, shape), reading) for reading in reversed(readings)]  # of equals, the usual one
    odd, reading = min(misfits, key=lambda one: len(one[0]))
    if len(train.masks) < FEWEST or len(odd) > max(1, ODD * len(train.masks)):
        return ""
    counted = f"with {'relative' if reading.relative else 'absolute'} starts from {reading.base}"
    return (
        f"{'a training mask is' if len(odd) == 1 else f'{len(odd)} training masks are'} wrong, and the other "
        f"{len(train.masks) - len(odd):,} that were read are run lengths in their images, {counted}: mend or delete "
        f"{'its row' if len(odd) == 1 else 'their rows'}:{list_some(odd)}"
    )


def _misfits(reading: Dialect, train: Look, shape: Callable | None) -> list[str]:
    """What is wrong with each mask that is no run lengths inside its image."""
    found = []
    for key, cell in train.masks:
        size = _of_key(shape, key, reading)
        try:
            _runs(reading, cell, None if size is None else size[0] * size[1])
        except ValueError as error:
            line = train.lines.get((key, cell))
            where = f"{key:.90}" if line is None else f"line {line} ({key:.90})"
            found.append(f"{where}: {error}{f' ({size[0]} × {size[1]})' * (size is not None)}")
    return found


def _needed(shape: Callable | None) -> Callable:
    if shape is None:
        raise UnknownOrder(
            'the order, "C" (along rows) or "F" (down columns), shows only with shapes or masks: give '
            "shapes=(H, W), or a mapping from id, or read_mask"
        )
    return shape


def _runs(reading: Dialect, cell: str, pixels: int | None = None) -> np.ndarray:
    return rle_codec.runs(reading.parse_mask(cell), pixels)


def _all_fit(reading: Dialect, train: Look, shape: Callable | None) -> bool:
    sizes = [_of_key(shape, key, reading) for key, _ in train.masks]
    try:
        for size, (_, cell) in zip(sizes, train.masks, strict=True):
            _runs(reading, cell, None if size is None else size[0] * size[1])
    except ValueError:
        return False
    return True


def _of_key(read: Callable | None, key: str, dialect: Dialect):
    """What `read` gives for the image of a key of the training CSV, whose keys may be written in another way."""
    if read is None:
        return None
    names = [key, IMAGE_ENDING.sub("", key)]
    for form in (dialect.key, dialect.key.replace("_{class}", "")):
        try:
            names.append(replace(dialect, key=form).parse_key(key)[0])
        except ValueError:
            continue
    names, why = list(dict.fromkeys(names)), []
    for name in names:
        try:
            return read(name)
        except (LookupError, UnknownSize) as error:
            why.append(f"{name!r}: {error if isinstance(error, UnknownSize) else repr(error)}")
    raise ValueError(f"no image or size was found for the key {key!r:.90} of the training CSV:{list_some(why)}")


def order_of(reading: Dialect, train: Look, shape: Callable) -> str:
    """The order in which most masks are smooth. Raises UnknownOrder where they cannot tell."""
    votes = {"C": 0, "F": 0}
    for key, cell in train.masks:
        size = _of_key(shape, key, reading)
        runs = _runs(reading, cell)
        for order in votes:
            votes[order] += vote(runs, size, order) == 1
    (first, most), (_, least) = sorted(votes.items(), key=lambda item: -item[1])
    if most < 2 * least or most < LEAST_SHARE / 2 * len(train.masks) or most == 0:
        raise UnknownOrder(
            f'order="C" (along rows) and order="F" (down columns) fit {votes["C"]} and {votes["F"]} of '
            f"{len(train.masks)} training masks: square images and thin masks cannot tell. Give read_mask where masks "
            "are also files, or write the order yourself"
        )
    return first


def touches(reading: Dialect, train: Look, shape: Callable) -> int:
    """Count the runs that begin or end exactly with a line: with the wrong first number they miss it by a pixel."""
    count = 0
    for key, cell in train.masks:
        height, width = _of_key(shape, key, reading)
        line = width if reading.order == "C" else height
        runs = _runs(reading, cell)
        count += int((runs[:, 0] % line == 0).sum() + (runs.sum(1) % line == 0).sum())
    return count


def _by_masks(fitting: list[Dialect], train: Look, read_mask: Callable[[str], np.ndarray], orders: str) -> Dialect:
    """Return the one reading in which the cells are the masks. Rows of one image are united."""
    cells: dict[str, list[str]] = {}
    for key, cell in train.masks:
        cells.setdefault(key, []).append(cell)
    if len(train.masks) == ENOUGH:
        cells.pop(train.masks[-1][0])  # its further rows were not kept
    found = []
    for reading in (replace(each, order=order) for each in reversed(fitting) for order in orders):
        if all(_is_mask_of(reading, key, texts, read_mask) for key, texts in list(cells.items())[:40]):
            found.append(reading)
    if len(found) == 1:
        return found[0]
    choices = " or ".join(f'order="{each.order}", base={each.base}, relative={each.relative}' for each in found)
    if found:
        raise UnknownOrder(f"the masks fit {choices}: name it in the dialect")
    raise ValueError("the masks that were read differ from the training CSV in either order: is it of the same images?")


def _is_mask_of(reading: Dialect, key: str, texts: list[str], read_mask: Callable[[str], np.ndarray]) -> bool:
    truth = _of_key(read_mask, key, reading)
    foreground, counted = foreground_of(truth)
    union = np.zeros(foreground.shape, np.uint8)
    try:
        for text in texts:
            union |= rle_codec.decode(reading.parse_mask(text), union.shape, reading.order)
    except ValueError:
        return False
    alike = union.view(bool) == foreground
    return bool((alike if counted is None else alike[counted]).all())
