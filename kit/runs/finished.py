"""A finished run, read from its folder alone: neither data set, recipe nor weights are needed.

    run = read_run("runs/mine")
    run.scores.counts                                   (n, M) the metric's counts of each held-out image
    run.metric.counts(run.truth(id), run.rule.mask(run.levels(id), size))

Reading a run whose metric is a class of the user's executes the Python that the folder keeps in `code`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kit.data.tasks import Task
from kit.prediction.chosen import chosen_on
from kit.prediction.rebuild import rebuild
from kit.prediction.rule import Rule, channels_of
from kit.prediction.saved import CODE, SavedRun, read_saved, scored_folds
from kit.prediction.slides import SlideLevels, SlideStore
from kit.prediction.store import Store
from kit.runs.testing import STORES, read_sizes
from kit.runs.truth import Truth
from kit.scoring.counts import Scores
from kit.scoring.metrics import MeanDice, MeanDicePerClass, Metric
from kit.submission.dialect import Dialect
from kit.system.files import counted, list_some
from kit.system.run_folder import read_json


@dataclass(frozen=True)
class FinishedRun:
    """The finished folds of a run.

    saved: predictor.json. metric: the competition's own; without one mean Dice, over images, and over classes where
    there are several. scores: of all held-out images, fold by fold; its counts are the metric's. levels_in: the folder
    of the levels.
    """

    folder: Path
    saved: SavedRun
    metric: Metric
    folds: tuple[int, ...]
    scores: Scores
    levels_in: str = "oof"

    @property
    def name(self) -> str:
        """How the run is called in tables: its folder's name."""
        return self.folder.resolve().name

    @property
    def task(self) -> Task:
        """What the masks are."""
        return Task(self.saved.task, self.saved.classes)

    @property
    def rule(self) -> Rule:
        """How the run's predictions became the masks that `scores` are of."""
        return self.saved.rule

    @property
    def dialect(self) -> Dialect | None:
        """How its competition writes a CSV."""
        return self.saved.dialect

    @property
    def test_ids(self) -> tuple[str, ...]:
        """The test ids, in the order of the rows."""
        return self.saved.ids

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the held-out images, in the order of `scores`."""
        return tuple(self.scores.images["id"])

    @property
    def groups(self) -> tuple[str, ...]:
        """The group of each."""
        return tuple(self.scores.images["group"])

    @property
    def fold_of(self) -> np.ndarray:
        """The fold of each, int (n,)."""
        return self.scores.images["fold"].to_numpy(int)

    @property
    def has_slides(self) -> bool:
        """Whether the images are slides, which are not read whole."""
        return self.saved.scale is not None

    @functools.cached_property
    def key(self) -> str:
        """A name of all out-of-fold predictions and of how they were scored: what a rule or weights are chosen on."""
        return chosen_on(self.folder, self.folds)

    @functools.cached_property
    def data(self) -> dict[str, str]:
        """What names the data that the run was trained on, as in config.json."""
        kept = read_json(self.folder / "config.json").get("identity", {})
        return {name: value for name, value in kept.items() if name.startswith("data.")}

    def levels(self, id: str) -> np.ndarray | SlideLevels:
        """The out-of-fold levels of an image: u8 (K, h, w); of a slide in bands."""
        return self._store(self.folder / self.levels_in).read(id)

    def truth(self, id: str) -> np.ndarray:
        """The mask of a held-out image at its own size, of the task's kind; of a slide a RunMask.

        Raises FileNotFoundError where a run of an earlier kit has not kept it.
        """
        return Truth(self.folder, self.task, self.has_slides).read(id)

    def check_truth(self) -> None:
        """Raise FileNotFoundError unless the masks of all held-out images are kept."""
        if lost := Truth(self.folder, self.task, self.has_slides).missing(self.ids):
            raise FileNotFoundError(
                f"{self.folder} lacks the true masks of {counted(len(lost), 'held-out image')}:{list_some(lost, 5)}\n"
                "Run the recipe with this run folder once more: it keeps them; finished folds are not trained again"
            )

    def of_folds(self, folds: Sequence[int]) -> "FinishedRun":
        """The same run with some of its folds alone."""
        kept = replace(self, folds=tuple(fold for fold in self.folds if fold in folds))
        return kept.of_rows(np.flatnonzero(np.isin(self.fold_of, list(folds))))

    def of_rows(self, rows: Sequence[int]) -> "FinishedRun":
        """The same run with some of its images, in this order."""
        return replace(self, scores=self.scores.take(rows))

    def tests(self, fold: int) -> Store | None:
        """The test predictions of a fold by the run's settings of now; None where they are not kept."""
        name = read_json(self.folder / STORES).get(str(fold))
        folder = self.folder / "test" / (name or "none")
        return self._store(folder) if folder.is_dir() else None

    @functools.cached_property
    def test_sizes(self) -> dict[str, tuple[int, int]]:
        """The sizes (height, width) of the test images by id, kept beside their predictions; {} where none are."""
        return read_sizes(self.folder)

    def _store(self, folder: Path) -> Store:
        channels = channels_of(self.task, self.rule)
        if self.has_slides:
            return SlideStore(folder, channels, self.rule, self.saved.scale)
        return Store(folder, channels, self.rule)


def read_run(folder: Path | str, metric: Metric | None = None) -> FinishedRun:
    """Read a run folder. metric: the run's, where it is at hand; else it is made from what the folder keeps.

    Raises FileNotFoundError or ValueError where no fold is finished or files are damaged.
    """
    folder = Path(folder)
    saved = read_saved(folder)
    folds = tuple(scored_folds(folder, saved))
    if not folds:
        raise ValueError(f"no fold of {folder} is finished; run the recipe")
    scored = {read_json(folder / f"fold{fold}/finished.json").get("metric") for fold in folds}
    if len(scored) > 1:
        raise ValueError(f"the folds of {folder} were scored by several metrics or rules: run the recipe once more")
    scores = Scores.join([Scores.read(folder / f"fold{fold}") for fold in folds])
    task, metric = Task(saved.task, saved.classes), metric or _metric_of(folder, saved, scores)
    metric, counts = with_metric(task, metric, scores)
    return FinishedRun(folder, saved, metric, folds, replace(scores, counts=counts))


def _metric_of(folder: Path, saved: SavedRun, scores: Scores) -> Metric | None:
    """The run's metric; None where it has none."""
    if saved.metric is not None:
        try:
            return rebuild(saved.metric, folder.resolve() / CODE)()
        except Exception as error:  # whatever the user's code raises
            what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise ValueError(
                f"the metric of {folder} could not be made from the code in {folder / CODE} ({what}). Install what it "
                "imports; or run the recipe with this run folder once more, which keeps the metric and its code anew: "
                "finished folds are not trained again"
            ) from error
    if scores.counts is not None:
        raise ValueError(
            f"{folder} does not say how its metric is made. Run the recipe with this run folder once more: it keeps "
            "the metric where that is a frozen dataclass; finished folds are not trained again"
        )
    return None


def _usual_metric(task: Task) -> Metric:
    return MeanDice() if task.outputs == 1 else MeanDicePerClass(len(task.classes))


def with_metric(task: Task, metric: Metric | None, scores: Scores) -> tuple[Metric, np.ndarray]:
    """A run's metric and its counts (n, M). Without one it is mean Dice, whose counts follow from the matrices."""
    if metric is not None and scores.counts is not None:
        return metric, scores.counts
    usual = _usual_metric(task)
    return usual, np.stack([usual.counts_of_matrix(matrix) for matrix in scores.matrices])
