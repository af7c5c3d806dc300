"""Compare a CSV of true masks with the data set's own masks, pixel by pixel: is the dialect right?

This is the surest check of a dialect. Square images do not show whether rows and columns are swapped; this does.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kit.data.tasks import foreground_of, is_label_image
from kit.submission import rle as rle_codec
from kit.submission.dialect import Dialect
from kit.submission.names import one_name
from kit.submission.problems import Problem, Problems
from kit.submission.tables import read_table
from kit.system.threads import ordered_map

Masks = list[tuple[int | None, str]]  # (class index or None, canonical run lengths) of each row of an image


def compare_masks(dataset: object, csv: Path, dialect: Dialect, ids: Iterable[str] | None = None) -> list[Problem]:
    """Compare a CSV of true masks, as train.csv, with the data set's masks; a problem for each difference.

    dataset: anything with `ids` and `read_mask(id)` -> u8 (H, W) of class indices, 255 ignored; bool (H, W, K) of
    classes that overlap; or int32 (H, W), a label an object. ids: those to compare; None: all. Images that the CSV does
    not have, rows of unknown images and rows that come twice are reported too.
    Where another reading of the numbers fits all masks that differ, the last message names it.
    """
    problems = Problems()
    rows = _masks_by_image(dataset, Path(csv), dialect, problems)
    wanted = list(dataset.ids if ids is None else ids)
    fits: dict[str, int] = {}  # other readings, and how many masks they fit

    def compare(id: str) -> tuple[str, str, list[str]] | None:
        return _difference(id, rows.get(one_name(id)), dataset, dialect)

    wrong = 0
    for id, found in zip(wanted, ordered_map(compare, wanted, 4), strict=True):
        if found is not None:
            wrong += 1
            problems.error(found[0], f"{Path(csv).name}, {id}", found[1])
            for reading in found[2]:
                fits[reading] = fits.get(reading, 0) + 1
    for reading, count in fits.items():
        if count == wrong:
            problems.error("dialects", Path(csv).name, f"read with {reading}, all {count:,} masks that differ agree")
    return problems.list()


def _masks_by_image(dataset: object, csv: Path, dialect: Dialect, problems: Problems) -> dict[str, Masks]:
    known, rows, seen = {one_name(id) for id in dataset.ids}, {}, set()
    for row in read_table(csv, dialect, problems):
        where = f"{csv.name}, line {row.line} ({row.key!r:.90})"
        if row.cells is None:
            continue
        try:
            id, index, rle = dialect.parse(row.cells)
        except ValueError as error:
            problems.error("rows", where, str(error))
            continue
        if one_name(id) not in known:
            problems.error("unknown images", where, "the data set has no such image")
        elif (id, index) in seen and dialect.rows != "instance":
            problems.error("duplicate ids", where, "the id came before")
        seen.add((id, index))
        rows.setdefault(one_name(id), []).append((index, rle))
    return rows


def _difference(id: str, masks: Masks | None, dataset: object, dialect: Dialect) -> tuple[str, str, list[str]] | None:
    """Return (kind, what differs, other readings that fit) of one image, None where all is alike."""
    if masks is None and dialect.keep_empty:
        return "missing images", "no row", []
    try:
        truth = dataset.read_mask(id)
    except Exception as error:  # whatever the data set's own code raises
        known = isinstance(error, ValueError | OSError)
        return "unreadable masks", f"its mask cannot be read: {error if known else repr(error)}", []
    try:
        wrong = _count_wrong(masks or [], truth, dialect.order)
    except ValueError as error:
        return "malformed masks", str(error), _other_readings(masks or [], truth, dialect)
    if not wrong:
        return _object_difference(masks or [], truth, dialect)
    what = f"differs from the data set's mask in {wrong:,} of {math.prod(truth.shape[:2]):,} pixels"
    return "differences", what, _other_readings(masks or [], truth, dialect)


def _object_difference(masks: Masks, truth: np.ndarray, dialect: Dialect) -> tuple[str, str, list[str]] | None:
    """What differs in the objects of one image whose pixels are alike, where rows and mask tell them apart."""
    if dialect.rows != "instance" or dialect.has_classes or not is_label_image(truth):
        return None
    rows, own = {rle for _, rle in masks if rle}, set(rle_codec.encode_objects(truth, dialect.order))
    if rows == own:
        return None
    what = f"has the pixels of the data set's mask, but cut otherwise: {len(rows)} objects, of which "
    return "differences", f"{what}{len(rows & own)} are among the mask's {len(own)}", []


def _count_wrong(masks: Masks, truth: np.ndarray, order: str) -> int:
    """Count the pixels where any class differs. Rows without a class are united and compared with all classes."""
    read: dict[int | None, np.ndarray] = {}
    for index, rle in masks:
        mask = rle_codec.decode(rle, truth.shape[:2], order).view(bool)
        read[index] = read[index] | mask if index in read else mask
    foreground, counted = foreground_of(truth)
    counted = np.ones(foreground.shape, bool) if counted is None else counted
    if None in read or not read or is_label_image(truth):
        united = np.zeros(foreground.shape, bool)
        for mask in read.values():
            united |= mask
        return int(np.count_nonzero((united != foreground) & counted))
    layers = (
        dict(enumerate(np.moveaxis(truth, 2, 0), start=1))
        if truth.ndim == 3
        else {index: truth == index for index in np.unique(truth[counted & foreground]).tolist()}
    )
    nothing, wrong = np.zeros(foreground.shape, bool), np.zeros(foreground.shape, bool)
    for index in {*read, *layers}:
        wrong |= read.get(index, nothing) != layers.get(index, nothing)
    return int(np.count_nonzero(wrong & counted))


def _other_readings(masks: Masks, truth: np.ndarray, dialect: Dialect) -> list[str]:
    """The readings of the same numbers that give the mask exactly."""
    other = "F" if dialect.order == "C" else "C"
    found = []
    for order in (dialect.order, other):
        for shift in (-1, 0, 1):
            if (order, shift) == (dialect.order, 0) or dialect.base - shift not in (0, 1):
                continue
            try:
                moved = [(index, _moved(rle, shift)) for index, rle in masks]
                alike = not _count_wrong(moved, truth, order)
            except ValueError:
                continue
            if alike:
                start = f", base={dialect.base - shift}" if shift else ""
                found.append(f'order="{order}"{start}')
    return found


def _moved(rle: str, pixels: int) -> str:
    numbers = np.array(rle.split(), np.int64)
    numbers[::2] += pixels
    return " ".join(map(str, numbers.tolist()))
