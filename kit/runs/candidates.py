"""The metric's counts of a finished run's images under any rule, for tuning: as few looks at an image as can be.

    counts_of = candidates(run)
    counts_of([Rule(0.4), Rule(min_area=64)])       of each rule f64 (n, M), in the order of run.ids

FromTables      the metric counts from confusion matrices: from a table of the components of each image, see
                kit.scoring.components. An area cut, keep_largest and top_area need no further look; a new threshold or
                size of holes needs one
FromMasks       any other metric, as of objects: every rule's mask of every image
FromSlides      slides, whose masks are not made whole
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from kit.data.resize import single_threaded_cv2
from kit.data.tasks import is_label_image
from kit.prediction.enlarge import enlarge
from kit.prediction.rule import Rule
from kit.prediction.watershed import relabelled
from kit.runs.finished import FinishedRun
from kit.scoring.components import ComponentTable, components_of, matrices_of
from kit.scoring.metrics import check_counts
from kit.scoring.slides import matrix_of_mask

THREADS = 4  # that look at images: their kernels release the lock of Python
MOST_BYTES, MOST_MATRICES = 1 << 29, 100_000  # that are kept
WITHOUT_PARTS = {"objects": False, "min_area": 0, "keep_largest": False, "top": 0.5, "top_area": 0}


class Candidates:
    """Counts by rule, each counted once while memory lasts. looks: how many images were read, each time."""

    is_fast = False  # whether area cuts cost nothing, so that a fine grid can be tried

    def __init__(self, run: FinishedRun) -> None:
        self.run, self.looks, self.tried = run, 0, 0
        self.known: dict[Rule, np.ndarray] = {}

    def __call__(self, rules: Sequence[Rule]) -> list[np.ndarray]:
        """The counts f64 (n, M) of each rule."""
        new = [rule for rule in dict.fromkeys(rules) if rule not in self.known]
        if new:
            counts = dict(zip(new, self.count(new), strict=True))
            self.tried += len(new)
            found = [counts[rule] if rule in counts else self.known[rule] for rule in rules]
            self._remember(counts)
            return found
        return [self.known[rule] for rule in rules]

    def _remember(self, counts: dict[Rule, np.ndarray]) -> None:
        """Keep these counts, and forget the oldest where that is too much."""
        self.known |= counts
        size = sum(one.nbytes for one in self.known.values())
        for rule in list(self.known)[:-1]:
            if size <= MOST_BYTES:
                return
            size -= self.known.pop(rule).nbytes

    def count(self, rules: Sequence[Rule]) -> list[np.ndarray]:
        """The same of rules that are not known, with one look at each image."""
        found = self.look(lambda id: self.count_image(id, rules))
        return [check_counts(self.run.metric, rows, self.run.ids) for rows in zip(*found, strict=True)]

    def count_image(self, id: str, rules: Sequence[Rule]) -> list[np.ndarray]:
        """The counts (M,) of one image by each rule."""
        raise NotImplementedError

    def look(self, see: Callable[[str], object]) -> list:
        """What see(id) gives of each image, in threads."""
        self.looks += len(self.run.ids)
        with ThreadPoolExecutor(THREADS) as pool, single_threaded_cv2():
            seen = pool.map(see, self.run.ids)
            return list(tqdm(seen, "images", total=len(self.run.ids), leave=False, disable=None))


class FromMasks(Candidates):
    """Every rule's mask of every image. Rules with borders that differ in min_area alone share a watershed."""

    def count_image(self, id: str, rules: Sequence[Rule]) -> list[np.ndarray]:
        """The metric of every mask."""
        truth, levels = self.run.truth(id), self.run.levels(id)
        made = functools.lru_cache(4)(lambda rule: rule.mask(levels, truth.shape[:2]))

        def mask(rule: Rule) -> np.ndarray:
            if not rule.border or rule.keep_largest:
                return made(rule)
            return relabelled(made(dataclasses.replace(rule, min_area=0)), rule.min_area)

        return [np.asarray(self.run.metric.counts(truth, mask(rule)), float) for rule in rules]


class FromSlides(Candidates):
    """Every rule's mask of every slide, band by band."""

    def count_image(self, id: str, rules: Sequence[Rule]) -> list[np.ndarray]:
        """The metric of every matrix; the levels are read for each, because bands can be taken once."""
        truth, count = self.run.truth(id), len(self.run.task.classes)
        matrices = (matrix_of_mask(truth, self.run.levels(id), rule, count) for rule in rules)
        return [np.asarray(self.run.metric.counts_of_matrix(matrix), float) for matrix in matrices]


class FromTables(Candidates):
    """The counts from tables of components, a table for each way to make the components."""

    is_fast = True

    def __init__(self, run: FinishedRun) -> None:
        super().__init__(run)
        self.overlaps = run.task.overlaps
        self.classes = run.task.outputs if self.overlaps else max(1, run.task.outputs - 1)
        self.num_truths = 2 if self.overlaps else max(2, run.task.outputs)
        self.tables: dict[Rule, ComponentTable] = {}
        self.totals = self.above = None
        self.by_matrix: dict[bytes, np.ndarray] = {}

    def count(self, rules: Sequence[Rule]) -> list[np.ndarray]:
        """Make the tables that are lacking, with one look at each image, and count from them."""
        bases = dict.fromkeys(_base(rule) for rule in rules)
        if lacking := [base for base in bases if base not in self.tables]:
            self._make(lacking)
        return [self._from_table(rule) for rule in rules]

    def _make(self, bases: Sequence[Rule]) -> None:
        found = self.look(lambda id: self._see(id, bases))
        for base, parts in zip(bases, zip(*(tables for tables, _, _ in found), strict=True), strict=True):
            self.tables[base] = ComponentTable.join(parts)
        if self.totals is None:
            self.totals = np.stack([totals for _, totals, _ in found])
            self.above = np.stack([above for _, _, above in found])

    def _see(self, id: str, bases: Sequence[Rule]) -> tuple[list[ComponentTable], np.ndarray, np.ndarray]:
        """Of an image its table of each base, the pixels of each truth (L, C), and those at or above each level."""
        truth, levels = self.run.truth(id), self.run.levels(id)
        size, truths = truth.shape[:2], self._truths(truth)
        tables = []
        for base in bases:
            mask = base.mask(levels, size)
            layers = [mask == k for k in range(1, self.classes + 1)]
            if self.overlaps:
                layers = np.moveaxis(mask, 2, 0)
            layers = [np.ascontiguousarray(layer).view(np.uint8) for layer in layers]
            tables.append(components_of(layers, truths, self.num_truths))
        if self.totals is not None:
            return tables, self.totals, self.above
        totals = np.stack([np.bincount(one.reshape(-1), minlength=256)[: self.num_truths] for one in truths])
        return tables, totals, np.stack([_above(level, size) for level in levels[-self.classes :]])

    def _truths(self, truth: np.ndarray) -> list[np.ndarray]:
        """The truth u8 (H, W) that each foreground class is held against."""
        if self.overlaps:
            return [np.ascontiguousarray(truth[..., k]).view(np.uint8) for k in range(self.classes)]
        return [(truth > 0).view(np.uint8) if is_label_image(truth) else truth] * self.classes

    def _from_table(self, rule: Rule) -> np.ndarray:
        least = [rule.least_area(k) for k in range(self.classes)]
        present = self.above[..., round(rule.top_cut + 0.5)] >= rule.top_area if rule.top_area else None
        hits = self.tables[_base(rule)].hits(least, rule.keep_largest, present)
        return np.stack([self._counts(matrix) for matrix in matrices_of(hits, self.totals, self.overlaps)])

    def _counts(self, matrix: np.ndarray) -> np.ndarray:
        """The metric's counts of a matrix; many rules leave most images as they are."""
        key = matrix.tobytes()
        if (found := self.by_matrix.get(key)) is None:
            if len(self.by_matrix) > MOST_MATRICES:
                self.by_matrix.clear()
            found = self.by_matrix[key] = np.asarray(self.run.metric.counts_of_matrix(matrix), float)
        return found


def candidates(run: FinishedRun) -> Candidates:
    """The fastest of the three that counts as the run was scored.

    Raises ValueError where none does: then levels, masks or metric are not those of the scores.
    """
    if found := first_that_counts(run, kinds_of(run)):
        return found
    raise ValueError(
        f"{run.folder}: the kept predictions and true masks do not give the scores that the run has. Run the recipe "
        "with this run folder once more: it scores the finished folds again without training"
    )


def first_that_counts(run: FinishedRun, kinds: Sequence[type[Candidates]]) -> Candidates | None:
    """The first of `kinds` whose counts of the run's own rule are those of its scores; None where none has them."""
    for kind in kinds:
        found = kind(run)
        with np.errstate(invalid="ignore"):
            if np.allclose(found([run.rule])[0], run.scores.counts, rtol=1e-9, atol=1e-9):
                return found
    return None


def kinds_of(run: FinishedRun) -> list[type[Candidates]]:
    """The ways to count a run's masks that its metric and rule allow, the fastest first."""
    if run.has_slides:
        return [FromSlides]
    can_count = callable(getattr(run.metric, "counts_of_matrix", None))
    by_tables = can_count and not (run.rule.detected or run.rule.border)  # whose objects are no connected components
    return [FromTables, FromMasks] if by_tables else [FromMasks]


def _base(rule: Rule) -> Rule:
    """The rule that makes the components: without the parts that leave some out."""
    return dataclasses.replace(rule, **WITHOUT_PARTS)


def _above(level: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """How many pixels of the enlarged level are at or above each of 257 steps: i64 (257,)."""
    counts = np.bincount(enlarge(level, size).reshape(-1), minlength=257)
    return counts[::-1].cumsum()[::-1]
