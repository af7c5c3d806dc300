"""Objects of large masks: the connected components of runs, and the runs of each. The mask itself is never there.

    objects = RunObjects(rows)               # a mask of 0 and 1 as runs along rows
    objects.areas                            # pixels of each
    objects.edges(columns)                   # the runs of each, down columns

Each run is cut where its row ends. A piece is of the same object as the pieces of the row above that it touches, also
at a corner (union-find). Memory is that of the runs.
"""

from collections.abc import Mapping

import numpy as np

from kit.data.run_masks import RunMask
from kit.system.kernels import kernel


class RunObjects:
    """The connected components of a mask of 0 and 1 with runs along rows; pixels that touch at a corner are connected.

    numbers: of the object of each piece, from 1, in the order of their first pixels. areas: i64 (N,), pixels of each.
    Raises ValueError for runs down columns.
    """

    def __init__(self, mask: RunMask) -> None:
        if mask.order != "C":
            raise ValueError("objects are found in runs along rows; the mask has runs down columns")
        self.shape, (self.begins, self.ends) = mask.shape, _pieces(mask)
        width = mask.shape[1]
        self.numbers = _components(self.begins // width, self.begins % width, (self.ends - 1) % width)
        self.areas = np.bincount(self.numbers, self.ends - self.begins)[1:].astype(np.int64)

    def edges(self, mask: RunMask, min_area: int = 1, largest: bool = False) -> list[np.ndarray]:
        """The runs of each object of `min_area` pixels or more, edges i64 (2R,), sorted by the first pixel.

        mask: the same pixels, in any order, which is that of the runs. largest: of the largest object alone; of several
        that are as large the one that begins first, row by row.
        """
        begins, ends = _pieces(mask)
        if not len(begins):
            return []
        numbers = self._numbers_of(begins, mask.order)
        order = np.lexsort((begins, numbers))
        numbers, begins, ends = numbers[order], begins[order], ends[order]
        follows = (numbers[1:] == numbers[:-1]) & (begins[1:] == ends[:-1])  # a run that was cut
        pairs = np.column_stack([begins[np.append(True, ~follows)], ends[np.append(~follows, True)]])
        owners = numbers[np.append(True, ~follows)]
        places = np.searchsorted(owners, np.arange(1, len(self.areas) + 2))
        by_place = np.argsort(pairs[places[:-1], 0])
        kept = self.areas >= min_area
        if largest:
            kept &= np.arange(len(kept)) == np.argmax(self.areas)
        large = by_place[kept[by_place]]
        return [pairs[places[one] : places[one + 1]].reshape(-1) for one in large.tolist()]

    def _numbers_of(self, places: np.ndarray, order: str) -> np.ndarray:
        """The objects of foreground pixels, given by their places in this order."""
        height, width = self.shape
        along_rows = places if order == "C" else places % height * width + places // height
        return self.numbers[np.searchsorted(self.begins, along_rows, "right") - 1]


def without_small_objects(rows: RunMask, mask: RunMask, min_area: Mapping[int, int], largest: bool = False) -> RunMask:
    """A mask without connected components of fewer pixels, each class by itself.

    rows: the same mask with runs along rows. min_area: of each label. largest: only the largest is kept of each class.
    """
    kept = {}
    for label in mask.edges:
        parts = RunObjects(rows.layer(label)).edges(mask.layer(label), min_area[label], largest)
        if parts:
            kept[label] = _joined(np.concatenate(parts))
    return RunMask(mask.shape, mask.order, kept)


def _joined(edges: np.ndarray) -> np.ndarray:
    """Runs in rising order; those that follow each other are one."""
    places, counts = np.unique(edges, return_counts=True)
    return places[counts == 1]


def _pieces(mask: RunMask) -> tuple[np.ndarray, np.ndarray]:
    """Where each run begins and ends, cut where a row (or column) ends: i64 (P,) each, rising."""
    edges, along = mask.edges.get(1, np.empty(0, np.int64)), mask.shape[1 if mask.order == "C" else 0]
    begins, ends = edges[::2], edges[1::2]
    counts = (ends - 1) // along - begins // along + 1  # of pieces
    first = np.repeat(begins // along, counts)
    first += np.arange(len(first)) - np.repeat(counts.cumsum() - counts, counts)  # the line of each piece
    starts = np.maximum(np.repeat(begins, counts), first * along)
    return starts, np.minimum(np.repeat(ends, counts), (first + 1) * along)


def _components(rows: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """The number of the object of each piece: i64 (P,), from 1. first, last: columns, both inside the piece."""
    parents = np.arange(len(rows))
    join_pieces(rows, first, last, parents)
    return np.unique(parents, return_inverse=True)[1] + 1


@kernel
def join_pieces(rows, first, last, parents):
    """Point each piece to the first piece of its object; pieces that touch at a corner are of one.

    rows, first, last: i64 (P,), the line of each piece, rising, and its first and last place in it.
    """
    low = 0
    for i in range(rows.size):
        above = rows[i] - 1
        while low < i and (rows[low] < above or (rows[low] == above and last[low] < first[i] - 1)):
            low += 1
        j = low
        while j < i and rows[j] == above and first[j] <= last[i] + 1:
            a, b = _root(parents, i), _root(parents, j)
            parents[max(a, b)] = min(a, b)
            j += 1
    for i in range(rows.size):
        parents[i] = _root(parents, i)


@kernel
def _root(parents, at):
    """The piece that stands for the object of piece `at`; halves the way to it."""
    while parents[at] != at:
        parents[at] = parents[parents[at]]
        at = parents[at]
    return at
