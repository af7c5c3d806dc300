"""Masks of large images as runs: a few megabytes in place of gigabytes, and any region of them in a millisecond.

A run is a stretch of pixels of one class, along rows (order "C") or down columns ("F"). The runs of a class are sorted
and do not overlap. `RunMask.read` finds the runs of each row or column of a region by bisection, whatever the order:
the whole mask is never there, and never transposed.

    RunMask.of_text({1: "1 3 10 5"}, (height, width), "F")      run lengths as competitions write them
    RunCollector("F", (height, width)).add(band) … .mask()       of bands of rows, as they come
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from kit.system.kernels import kernel

IGNORED = 255
NUMBERS = re.compile("[0-9]{1,18}(?: +[0-9]{1,18})*", re.ASCII)


class RunMask:
    """The mask of an image of `shape` (height, width): runs by class number; other pixels are 0.

    order: "C" along rows or "F" down columns. edges: by class number, i64 (2R,), rising: even entries begin a run, odd
    ones are the first pixel after it. Runs of two classes may overlap: `read` then gives the later class number,
    `layer` each class by itself.
    Raises ValueError for runs that are out of order or leave the image.
    """

    def __init__(self, shape: tuple[int, int], order: str, edges: Mapping[int, np.ndarray]) -> None:
        if order not in ("C", "F"):
            raise ValueError(f'order is "C" (along rows) or "F" (down columns), got {order!r}')
        self.shape, self.order = (int(shape[0]), int(shape[1])), order
        self.edges = {label: np.ascontiguousarray(edges[label], np.int64) for label in sorted(edges)}
        for label, own in self.edges.items():
            steps = np.diff(own)
            if not 0 < label <= IGNORED or own.ndim != 1 or len(own) % 2 or (steps[::2] <= 0).any():
                raise ValueError(f"runs of class {label}: expected a class of 1 to 255, and runs that are not empty")
            if (steps[1::2] < 0).any() or (len(own) and (own[0] < 0 or own[-1] > self.shape[0] * self.shape[1])):
                raise ValueError(f"runs of class {label} overlap, are out of order, or leave {self.shape}")

    @classmethod
    def of_text(cls, texts: Mapping[int, str | Sequence[str]], shape: tuple[int, int], order: str) -> "RunMask":
        """The mask of run lengths "start length …" by class number, starts counted from 1; "" has no pixel.

        Several texts of a class, such as one an object, may overlap: they are united.
        Raises ValueError on anything malformed.
        """
        edges = {}
        for label, own in texts.items():
            parts = [_edges_of_text(text) for text in ([own] if isinstance(own, str) else own)]
            edges[label] = parts[0] if len(parts) == 1 else _united([cls(shape, order, {label: p}) for p in parts])
        return cls(shape, order, edges)

    def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """The mask u8 (height, width) of a region inside the image."""
        if not (0 <= y < y + height <= self.shape[0] and 0 <= x < x + width <= self.shape[1]):
            raise ValueError(f"a region of {height}×{width} at row {y}, column {x} is not inside {self.shape}")
        down = self.order == "F"
        lines, first, begin = (width, x, y) if down else (height, y, x)
        region = np.zeros((lines, height if down else width), np.uint8)
        for label, edges in self.edges.items():
            _paint(edges, self.shape[0] if down else self.shape[1], first, begin, label, region)
        return np.ascontiguousarray(region.T) if down else region

    def count(self, label: int) -> int:
        """How many pixels the runs of a class hold."""
        edges = self.edges.get(label, np.empty(0, np.int64))
        return int((edges[1::2] - edges[::2]).sum())

    def layer(self, label: int) -> "RunMask":
        """The mask of 0 and 1 of one class."""
        return RunMask(self.shape, self.order, {1: self.edges[label]} if label in self.edges else {})

    def covered(self) -> int:
        """How many pixels are of any class; those of several count once."""
        every = np.concatenate([np.empty(0, np.int64), *self.edges.values()])
        steps, order = np.tile([1, -1], len(every) // 2), np.argsort(every, kind="stable")
        depth, places = steps[order].cumsum(), every[order]
        return int(np.diff(places)[depth[:-1] > 0].sum())

    def overlaps(self) -> bool:
        """Whether some pixel is of several classes."""
        return self.covered() < sum(map(self.count, self.edges))

    def counts(self) -> np.ndarray:
        """The pixels of each label: i64 (256,). Runs of classes that overlap count for each."""
        found = np.zeros(256, np.int64)
        for label in self.edges:
            found[label] = self.count(label)
        found[0] = self.shape[0] * self.shape[1] - found.sum()
        return found

    def pixel(self, label: int, number: int) -> tuple[int, int]:
        """Row and column of the pixel of a class with this number, 0 to count(label) - 1, in the order of the runs."""
        edges = self.edges[label]
        ends = (edges[1::2] - edges[::2]).cumsum()
        run = int(np.searchsorted(ends, number, "right"))
        place = int(edges[2 * run + 1] - (ends[run] - number))
        along = self.shape[0] if self.order == "F" else self.shape[1]
        line, at = divmod(place, along)
        return (at, line) if self.order == "F" else (line, at)

    def relabelled(self, labels: Mapping[int, int]) -> "RunMask":
        """The same mask with other class numbers: {old: new}. Runs of new class 0 are left out."""
        joined: dict[int, list[np.ndarray]] = {}
        for old, edges in self.edges.items():
            if labels[old]:
                joined.setdefault(labels[old], []).append(edges)
        return RunMask(self.shape, self.order, {label: _without_pairs(parts) for label, parts in joined.items()})


class RunCollector:
    """Makes runs of a mask that comes in bands of whole rows, from the top; holds the runs alone.

    order "C": the runs follow from each row. "F": where a column changes from one row to the next is noted as a place
    in the order of columns, and the places are sorted at the end. So one walk over rows serves both orders, and files
    and tiles are read in the order in which they lie. It holds 16 bytes for each run.
    """

    def __init__(self, order: str, shape: tuple[int, int]) -> None:
        self.order, self.shape, self._row = order, shape, 0
        self._last = np.zeros(shape[1], np.uint8)  # "F": the row before the next band; "C": its last pixel
        self._edges: dict[int, list[np.ndarray]] = {}

    def add(self, band: np.ndarray) -> "RunCollector":
        """Add the next rows: u8 (rows, W) of class numbers."""
        height, width = self.shape
        if band.ndim != 2 or band.shape[1] != width or band.dtype != np.uint8 or self._row + len(band) > height:
            raise ValueError(f"{band.dtype} rows {band.shape} after row {self._row}, expected u8 rows of {self.shape}")
        if self.order == "F":
            before = np.concatenate([self._last[None], band[:-1]])
            rows, columns = np.nonzero(band != before)
            self._note(columns * height + rows + self._row, before[rows, columns], band[rows, columns])
            self._last = band[-1].copy()
        else:
            flat = np.ascontiguousarray(band).reshape(-1)
            changed = np.flatnonzero(flat[1:] != flat[:-1]) + 1
            changed = changed if flat[0] == self._last[-1] else np.concatenate([[0], changed])
            before = np.where(changed > 0, flat[changed - 1], self._last[-1])
            self._note(changed + self._row * width, before, flat[changed])
            self._last = flat[-1:].copy()
        self._row += len(band)
        return self

    def mask(self) -> RunMask:
        """The whole mask. Raises ValueError where rows are missing."""
        height, width = self.shape
        if self._row != height:
            raise ValueError(f"{self._row} rows were added, expected {height}")
        if self.order == "F":
            columns = np.flatnonzero(self._last)
            self._note((columns + 1) * height, self._last[columns], np.zeros(len(columns), np.uint8))
        elif self._last[-1]:
            self._note(np.array([height * width]), self._last[-1:], np.zeros(1, np.uint8))
        self._last = np.zeros(width, np.uint8)
        return RunMask(self.shape, self.order, {label: _without_pairs(parts) for label, parts in self._edges.items()})

    def _note(self, places: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        """Keep the places at which the label changes, under both labels."""
        for label in np.flatnonzero(np.bincount(before, minlength=256) + np.bincount(after, minlength=256)).tolist():
            if label:
                self._edges.setdefault(label, []).append(places[(before == label) | (after == label)])


def run_mask_of(bands: Iterable[np.ndarray], shape: tuple[int, int], order: str = "C") -> RunMask:
    """The runs of a mask that comes in bands of rows u8 (rows, W)."""
    collector = RunCollector(order, shape)
    for band in bands:
        collector.add(band)
    return collector.mask()


def _without_pairs(parts: list[np.ndarray]) -> np.ndarray:
    """All edges in order. An end and a start at one place are one run: both are left out."""
    edges = np.sort(np.concatenate(parts), kind="stable")
    places, counts = np.unique(edges, return_counts=True)
    return places[counts % 2 == 1]


def _united(masks: Sequence[RunMask]) -> np.ndarray:
    """The edges of all pixels that are in one of these masks of one class or in several."""
    every = np.concatenate([np.empty(0, np.int64), *(edges for mask in masks for edges in mask.edges.values())])
    steps = np.tile([1, -1], len(every) // 2)
    order = np.lexsort((-steps, every))  # a run that begins where another ends continues it
    depth, steps = steps[order].cumsum(), steps[order]
    return every[order][((depth == 1) & (steps == 1)) | (depth == 0)]


def _edges_of_text(text: str) -> np.ndarray:
    text = text.strip(" ")
    if text and not NUMBERS.fullmatch(text):
        raise ValueError(f'malformed run-length encoding: expected "start length …" in digits and blanks: {text!r:.60}')
    numbers = np.array(text.split(), np.int64)
    if len(numbers) % 2:
        raise ValueError(f"malformed run-length encoding: {len(numbers)} numbers, each start needs a length")
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    return np.column_stack([starts, starts + lengths]).reshape(-1)


@kernel
def _paint(edges, along, first, begin, label, region):
    """Paint the runs of one label into region (lines, pixels): lines from `first` on, each from pixel `begin` on."""
    lines, pixels = region.shape
    runs = edges.size // 2
    for line in range(lines):
        start = (first + line) * along + begin
        end = start + pixels
        low, high = 0, runs
        while low < high:  # the first run that ends behind `start`
            middle = (low + high) // 2
            if edges[2 * middle + 1] > start:
                high = middle
            else:
                low = middle + 1
        while low < runs and edges[2 * low] < end:
            for at in range(max(edges[2 * low], start), min(edges[2 * low + 1], end)):
                region[line, at - start] = label
            low += 1
