"""The objects of one image, a row each: apart from each other, none empty beside others, each of one part.

All of it is seen from the runs; no mask is decoded.
"""

from typing import NamedTuple

import numpy as np

from kit.data.run_objects import join_pieces
from kit.submission.problems import Problems
from kit.system.kernels import kernel

PARTS = "objects of several parts"  # a kind of problem


class Object(NamedTuple):
    """A row of an image that has several. runs: i64 (R, 2), start from 0 and length."""

    line: int
    where: str
    index: int | None  # of the class, where rows name one
    runs: np.ndarray
    own: bool  # the sample's own row: a placeholder


class ObjectLint:
    """Collects the objects of all images; `finish` reports what is wrong between them.

    keep_empty: whether an image without objects has a row. apart: whether objects of different classes must not overlap
    either; those of one class never may.
    """

    def __init__(self, problems: Problems, order: str, keep_empty: bool, apart: bool):
        self._problems, self._order, self._keep_empty, self._apart = problems, order, keep_empty, apart
        self._images: dict[str, list[Object]] = {}

    def add(self, id: str, each: Object, shape: tuple[int, int] | None) -> None:
        """Add a row, and report an object of several parts. shape: (H, W) of the image, where it is known."""
        self._images.setdefault(id, []).append(each)
        if shape is None or each.own or len(each.runs) < 2:
            return
        parts = count_parts(np.ascontiguousarray(each.runs), shape[1 if self._order == "C" else 0])
        if parts > 1:
            what = f"an object of {parts} parts that do not touch. If they are {parts} objects: a row for each"
            self._problems.warning(PARTS, each.where, what)

    def finish(self) -> None:
        """Report empty rows and overlaps, image by image."""
        for objects in self._images.values():
            if not all(each.own for each in objects):
                self._check_empty(objects)
                self._check_overlaps([each for each in objects if len(each.runs)])

    def _check_empty(self, objects: list[Object]) -> None:
        empty = [each for each in objects if not len(each.runs)]
        if not self._keep_empty:
            for each in empty:
                what = "an empty row, and an image or class without objects has none: delete it"
                self._problems.warning("empty rows", each.where, what)
        elif len(objects) > 1:
            for each in empty[1 if len(empty) == len(objects) else 0 :]:
                what = "an empty row beside other rows of its image. Only an image without objects has one: delete it"
                self._problems.error("empty rows", each.where, what)

    def _check_overlaps(self, filled: list[Object]) -> None:
        found: set[int] = set()
        for index in dict.fromkeys(each.index for each in filled):
            own = [at for at, each in enumerate(filled) if each.index == index]
            for later, earlier, pixel in overlaps([filled[at].runs for at in own]):
                found.add(own[later])
                self._report(filled[own[later]], filled[own[earlier]], pixel, "error")
        if not self._apart or len({each.index for each in filled}) < 2:
            return
        for later, earlier, pixel in overlaps([each.runs for each in filled]):
            if later not in found:
                self._report(filled[later], filled[earlier], pixel, "warning")

    def _report(self, later: Object, earlier: Object, pixel: int, severity: str) -> None:
        what = f"overlaps line {earlier.line}: both hold pixel {pixel + 1}. Give each pixel to one object"
        if severity == "error":
            self._problems.error("overlaps", later.where, what)
        else:
            what += ", unless the competition lets objects of different classes overlap"
            self._problems.warning("overlaps of classes", later.where, what)


def overlaps(masks: list[np.ndarray]) -> list[tuple[int, int, int]]:
    """Return (mask, an earlier one, a pixel of both) of each mask that overlaps a mask before it, by rising mask.

    masks: int (R, 2) each, start from 0 and length; a mask's own runs are apart. Of several earlier masks the first is
    named, and of the pixels of both the first.
    """
    if not masks:
        return []
    runs = np.concatenate(masks).astype(np.int64)
    owner = np.repeat(np.arange(len(masks)), [len(mask) for mask in masks])
    order = np.argsort(runs[:, 0], kind="stable")
    found = _first_overlaps(runs[order, 0], runs[order].sum(1), owner[order], len(masks))
    return [(int(later), int(found[later, 0]), int(found[later, 1])) for later in np.flatnonzero(found[:, 0] >= 0)]


@kernel
def _first_overlaps(starts, ends, owner, count):
    """i64 (count, 2): of each mask the first earlier one that it overlaps, or -1, and the first pixel of both.

    starts, ends, owner: i64 (R,), of all runs by rising start. Each run is compared with those before it that have not
    ended: few, as objects of one image are apart but for faults. Does not check its arguments.
    """
    found = np.full((count, 2), -1, np.int64)
    live, held = np.empty(len(starts), np.int64), 0
    for i in range(len(starts)):
        kept = 0
        for j in range(held):
            other = live[j]
            if ends[other] > starts[i]:
                live[kept] = other
                kept += 1
                later, earlier = max(owner[i], owner[other]), min(owner[i], owner[other])
                if later != earlier and (found[later, 0] < 0 or earlier < found[later, 0]):
                    found[later, 0], found[later, 1] = earlier, starts[i]
        live[kept] = i
        held = kept + 1
    return found


@kernel
def count_parts(runs, along):
    """How many parts a mask has that do not touch, not at a corner either. runs: i64 (R, 2). along: pixels of a line.

    Each run is cut where a line ends. Does not check its arguments.
    """
    count = 0
    for i in range(len(runs)):
        count += (runs[i, 0] + runs[i, 1] - 1) // along - runs[i, 0] // along + 1
    lines, first, last = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    piece = 0
    for i in range(len(runs)):
        at, end = runs[i, 0], runs[i, 0] + runs[i, 1]
        while at < end:
            stop = min(end, (at // along + 1) * along)
            lines[piece], first[piece], last[piece] = at // along, at % along, (stop - 1) % along
            piece += 1
            at = stop
    parents = np.arange(count)
    join_pieces(lines, first, last, parents)
    parts = 0
    for piece in range(count):
        parts += parents[piece] == piece
    return parts
