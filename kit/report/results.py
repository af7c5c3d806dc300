"""What a run hands to its report, checked so that nothing in it contradicts anything else."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pandas as pd

from kit.data.tasks import has_background
from kit.prediction.rule import Rule
from kit.scoring import confusion, overlapping
from kit.scoring.confusion import foreground_scores
from kit.scoring.counts import COLUMNS
from kit.scoring.metrics import Metric, check_counts
from kit.scoring.object_errors import FoundObjects


@dataclass(frozen=True)
class Results:
    """The results of a run, over the folds finished so far: n images, K classes.

    images: one row an image, with COLUMNS; dice, iou and area are shares in 0..1.
    matrices: i64 (n, K, K) confusion matrices at the images' own size, rows = truth, in the order of `images`; of task
        multilabel (n, K, 2, 2), one of each class.
    levels: i64 (n, 2, 256) pixels by truth and by level; a pixel is foreground at threshold t where its
        level >= round(256 t). Of task multilabel (n, K, 2, 256); None for several classes that compete.
    metric, counts: the competition's metric and its f64 (n, M) counts of each image; None without a competition.
    history: for each fold the lines of its metrics.jsonl. seconds: run time of each stage.
    folds: how many are planned. size: (height, width) of the images for the network, None for each image's own.
    drawn: the toolkit drew the data. classes: K names. notes: further conventions, a sentence each.
    further: the recipe's own scores, by name; of a row of a table {column: score}.
    channels: names of the images' channels, None where unknown.
    read_image -> u8, u16 or f32 (H, W, C); read_truth, read_prediction -> masks of the task's kind.
    volumes: {id: volume} of slices, None for single images.
    errors, touches: of kit.scoring.counts.Scores. brightness: f64 (n,), 0..1, of the images as the page shows them.
    outlines, band, confidence: of kit.scoring.counts.Scores.
    thumbnails: a WebP of each image, by id. They are None where they are unknown.
    task: see kit.data.tasks; None: binary or multiclass by the number of classes. rule: it makes masks of predictions.
    objects: of task instances, the objects of the images in their order. kinds: what the data set calls the kind of
        each image. They are None where they are unknown.
    tuned: what rule.json says, and whether the CSV obeys it: see measure; None without one.
    """

    title: str
    drawn: bool
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    further: dict[str, float | dict[str, float]]
    command: str
    config: dict
    versions: dict
    tta: str
    size: tuple[int, int] | None
    images: pd.DataFrame
    matrices: np.ndarray
    levels: np.ndarray | None
    history: dict[int, list[dict]]
    seconds: dict[str, float]
    folds: int
    read_image: Callable[[str], np.ndarray]
    read_truth: Callable[[str], np.ndarray]
    read_prediction: Callable[[str], np.ndarray]
    metric: Metric | None = None
    counts: np.ndarray | None = None
    channels: tuple[str, ...] | None = None
    volumes: Mapping[str, str] | None = None
    task: str | None = None
    rule: Rule = Rule()  # noqa: RUF009 (frozen)
    errors: np.ndarray | None = None
    touches: np.ndarray | None = None
    outlines: np.ndarray | None = None
    band: np.ndarray | None = None
    confidence: np.ndarray | None = None
    brightness: np.ndarray | None = None
    thumbnails: Mapping[str, bytes] | None = None
    tuned: dict | None = None
    objects: FoundObjects | None = None
    kinds: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError listing everything that does not fit together."""
        if self.task is None:
            object.__setattr__(self, "task", "binary" if len(self.classes) == 2 else "multiclass")
        problems = _sizes(self) or [*_ids(self), *_scores(self), *_metric(self)]
        if problems:
            raise ValueError(f"no report for {self.title}: " + "; ".join(problems))

    @property
    def overlaps(self) -> bool:
        """Whether classes may overlap."""
        return self.task == "multilabel"

    @property
    def averaged(self) -> bool:
        """Whether scores are means over classes, and not those of the one foreground."""
        return len(self.classes) > (1 if self.overlaps else 2)

    @property
    def has_background(self) -> bool:
        """Whether class 0 is a background, so that the images have a foreground."""
        return has_background(self.classes, self.task)

    @property
    def of_classes(self) -> ModuleType:
        """The module whose functions score the matrices: kit.scoring.confusion or overlapping."""
        return overlapping if self.overlaps else confusion


def _sizes(results: Results) -> list[str]:
    images, matrices, levels = results.images, results.matrices, results.levels
    missing = [name for name in COLUMNS if name not in images.columns]
    if missing:
        return [f"the table of images lacks the columns {missing}, expected {list(COLUMNS)}"]
    if not len(images):
        return ["there is no image yet: finish a fold first"]
    if len(matrices) != len(images) or (levels is not None and len(levels) != len(images)):
        counts = f"{len(matrices)} confusion matrices, {'no' if levels is None else len(levels)} histograms"
        return [f"{len(images)} images but {counts}: expected one of each for every image, in the same order"]
    if len(results.classes) != matrices.shape[1]:
        return [f"{len(results.classes)} names of classes, but confusion matrices of {matrices.shape[1]} classes"]
    return []


def _ids(results: Results) -> list[str]:
    images, problems = results.images, []
    if images["id"].duplicated().any():
        problems.append(f"ids more than once: {sorted(set(images['id'][images['id'].duplicated()]))}")
    if images[["id", "group", "fold"]].isna().any(axis=None):
        rows = images[["id", "group", "fold"]].isna().any(axis=1)
        problems.append(f"id, group or fold missing in rows {np.flatnonzero(rows).tolist()}")
    return problems


def _scores(results: Results) -> list[str]:
    images, problems, may_lack = results.images, [], results.averaged and not results.overlaps
    scores = images[["iou", "dice", "area"]]
    wild = ~((scores >= 0) & (scores <= 1) | scores.isna() & may_lack).all(axis=1)
    if wild.any():
        problems.append(f"iou, dice or area outside 0..1 for {list(images['id'][wild])}")
    if not may_lack:
        own = np.nan_to_num(overlapping.mean_dice(results.matrices), nan=1.0) if results.overlaps else None
        expected = foreground_scores(results.matrices)[1] if own is None else own
        wrong = ~np.isclose(expected, images["dice"], atol=1e-4) & ~wild
        if wrong.any():
            names = list(images["id"][wrong])
            problems.append(f"dice is not that of the confusion matrix (rows in another order?) for {names}")
    return problems


def _metric(results: Results) -> list[str]:
    metric, counts, ids = results.metric, results.counts, results.images["id"].tolist()
    if metric is None:
        return []
    if counts is None:
        return [f"there are no counts of the metric {metric.name}: score the folds again with this metric"]
    if len(counts) != len(ids):
        return [f"{len(ids)} images but {len(counts)} counts of the metric {metric.name}"]
    try:
        check_counts(metric, counts, ids)
    except ValueError as error:
        return [str(error)]
    return []
