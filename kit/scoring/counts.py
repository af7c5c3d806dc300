"""Count what is right and wrong in each held-out image, at the image's own size.

    runs/<run>/fold<k>/oof.csv       one row an image: id, group, fold, iou, dice, accuracy, area
    runs/<run>/fold<k>/scores.npz    the counts behind the rows: a confusion matrix an image; for one foreground class
                                     also the number of pixels of each truth at each level; for classes that overlap
                                     both of each class; the wrong pixels of each kind; whether the foreground touches
                                     the image's edge; the scores of the outlines of each class, the levels in a band
                                     around the true outlines; of classes that compete the levels of the predicted one
                                     and whether it is right; and the counts of the competition's metric

Every later number comes from sums of these counts, so nothing has to look at an image again. The counts of the levels
give the score at any threshold.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from kit.data.dataset import Dataset
from kit.data.regions import has_regions
from kit.data.resize import single_threaded_cv2
from kit.data.tasks import has_background, is_label_image
from kit.prediction.enlarge import enlarge
from kit.prediction.rule import Rule
from kit.prediction.store import Store
from kit.scoring.calibration import band_histogram, confidence_histograms
from kit.scoring.confusion import (
    confusion_matrix,
    foreground_scores,
    level_histogram,
    mean_dice,
    mean_iou,
    pixel_accuracy,
)
from kit.scoring.errors import error_kinds, touches_edge
from kit.scoring.metrics import Metric, check_counts
from kit.scoring.outline_scores import outline_scores
from kit.scoring.overlapping import class_matrices, image_scores
from kit.scoring.slides import class_counts, level_counts
from kit.system.files import write_atomic

THREADS = 4  # that score images: their kernels release the lock of Python
# of Scores, beside the images
ARRAYS = ("matrices", "levels", "counts", "errors", "touches", "outlines", "band", "confidence")
VERSION = 3  # of what is counted; a run that was scored by an earlier kit is scored again
COLUMNS = ("id", "group", "fold", "iou", "dice", "accuracy", "area")


@dataclass(frozen=True)
class Scores:
    """The counts of n images; every field has one row an image, in the same order."""

    images: pd.DataFrame  # COLUMNS
    matrices: np.ndarray  # i64 (n, K, K), rows = truth, at the image's own size; of overlapping classes (n, K, 2, 2)
    levels: np.ndarray | None  # i64 (n, 2, 256) [truth, level], or (n, K, 2, 256); None for several that compete
    counts: np.ndarray | None = None  # f64 (n, M) of the competition's metric; None without one
    errors: np.ndarray | None = None  # i64 (n, 5): the wrong pixels of each of kit.scoring.errors.KINDS; None of slides
    touches: np.ndarray | None = None  # bool (n,): foreground of the truth lies on the image's edge; None of slides
    outlines: np.ndarray | None = None  # f64 (n, K, 4): see kit.scoring.outline_scores; None of slides
    band: np.ndarray | None = None  # as levels, of the pixels around the true outlines; None where levels is, of slides
    confidence: np.ndarray | None = (
        None  # i64 (n, 2, 2, 256) of confidence_histograms; None but of classes that compete
    )

    def write(self, folder: Path) -> None:
        """Write both files into `folder`. oof.csv comes last: where it exists, both are whole."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: array for name, array in arrays.items() if array is not None})
        write_atomic(folder / "scores.npz", buffer.getvalue())
        write_atomic(folder / "oof.csv", self.images.to_csv(index=False))

    @classmethod
    def read(cls, folder: Path) -> "Scores":
        """Read the files that `write` left in `folder`."""
        with np.load(folder / "scores.npz", allow_pickle=False) as arrays:
            images = read_oof_csv(folder / "oof.csv")
            return cls(images, **{name: arrays.get(name) for name in ARRAYS})

    def take(self, rows: Sequence[int]) -> "Scores":
        """Those of some images, in the order of `rows`."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        taken = {name: None if one is None else one[np.asarray(rows, int)] for name, one in arrays.items()}
        return Scores(self.images.iloc[list(rows)].reset_index(drop=True), **taken)

    @classmethod
    def join(cls, parts: Sequence["Scores"]) -> "Scores":
        """Put the scores of several folds one after the other. Arrays that one fold lacks are left out."""
        images = pd.concat([part.images for part in parts], ignore_index=True)
        return cls(images, **{name: _joined([getattr(part, name) for part in parts]) for name in ARRAYS})


def _joined(arrays: Sequence[np.ndarray | None]) -> np.ndarray | None:
    return None if any(array is None for array in arrays) else np.concatenate(arrays)


def read_oof_csv(path: Path) -> pd.DataFrame:
    """Read oof.csv with ids and groups as text: `000123` and `NA` stay as they were written. An empty score is NaN.

    That of a run has one column more than those of its folds: `metric`, the competition's own metric of each image.
    """
    # Python reads what it wrote to the last bit; pandas does so from 3.1 on, and its option for it is deprecated there
    scores = dict.fromkeys([*COLUMNS[3:], "metric"], _number)
    return pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False, converters=scores)


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def score(
    dataset: Dataset,
    store: Store,
    ids: Sequence[str],
    groups: Sequence[str],
    fold: int,
    metric: Metric | None = None,
) -> Scores:
    """Score the stored predictions of `ids` against their truth at full size, image by image in threads.

    Predictions become masks by the store's rule; of objects the rows are about object or none, pixel by pixel.
    metric: the competition's own; its counts of each image are kept beside the others. Raises ValueError naming the
    image where the metric's counts are not what the metric says.
    """
    with ThreadPoolExecutor(THREADS) as pool, single_threaded_cv2():
        counted = list(pool.map(lambda id: _count(dataset, store, id, metric), ids))
    rows = [[id, group, fold, *one.scores] for id, group, one in zip(ids, groups, counted, strict=True)]
    return Scores(
        images=pd.DataFrame(rows, columns=COLUMNS),
        matrices=np.stack([one.matrix for one in counted]),
        levels=None if counted[0].levels is None else np.stack([one.levels for one in counted]),
        counts=None if metric is None else check_counts(metric, [one.counts for one in counted], ids),
        errors=None if counted[0].errors is None else np.stack([one.errors for one in counted]),
        touches=None if counted[0].errors is None else np.array([one.touches for one in counted]),
        outlines=None if counted[0].outlines is None else np.stack([one.outlines for one in counted]),
        band=None if counted[0].band is None else np.stack([one.band for one in counted]),
        confidence=None if counted[0].confidence is None else np.stack([one.confidence for one in counted]),
    )


class _Counted(NamedTuple):
    """What is counted in one image."""

    scores: tuple[float, float, float, float]  # iou, dice, accuracy, area
    matrix: np.ndarray
    levels: np.ndarray | None
    counts: np.ndarray | None
    errors: np.ndarray | None = None
    touches: bool = False
    outlines: np.ndarray | None = None
    band: np.ndarray | None = None
    confidence: np.ndarray | None = None


def _count(dataset: Dataset, store: Store, id: str, metric: Metric | None) -> _Counted:
    if has_regions(dataset):
        return _count_slide(dataset, store, id, metric)
    truth, kept, rule = dataset.read_mask(id), store.read(id), store.rule
    levels, band, confidence, share = None, None, None, None
    if rule.separate:
        prediction = rule.mask(kept, truth.shape[:2])
        matrix, (levels, band) = class_matrices(truth, prediction), _histograms(truth, kept)
        share = float(truth.any(axis=2).mean())
    elif store.channels == 1 or rule.border or rule.detected:
        levels, band, matrix, prediction = _count_foreground(truth, kept, rule)
    else:
        prediction = rule.mask(kept, truth.shape)
        matrix = confusion_matrix(truth, prediction, dataset.num_classes)
        confidence = confidence_histograms(truth, prediction, _of_predicted(kept, prediction))
    counts = None if metric is None else np.asarray(metric.counts(truth, prediction), float)
    share = _share(matrix) if share is None else share
    scores = (*map(float, _scores_of(matrix, rule)), share)
    background = has_background(dataset.classes, getattr(dataset, "task", None))
    errors = error_kinds(truth, prediction, background)
    outlines = outline_scores(truth, prediction, len(matrix), background)
    return _Counted(scores, matrix, levels, counts, errors, touches_edge(truth), outlines, band, confidence)


def _count_foreground(truth: np.ndarray, kept: np.ndarray, rule: Rule) -> tuple[np.ndarray, ...]:
    """The histograms of levels, all and in the band, the matrix and the predicted mask of one foreground.

    Its objects may have labels. Of objects that a network found a pixel's level is the score of its object.
    """
    enlarged = enlarge(kept[0], truth.shape)
    where = (truth > 0).view(np.uint8) if is_label_image(truth) else truth
    levels, band = level_histogram(where, enlarged), band_histogram(where, enlarged)
    if not rule.by_pixel:
        prediction = rule.mask(kept, truth.shape)
        return levels, band, confusion_matrix(where, (prediction > 0).view(np.uint8), 2), prediction
    return levels, band, _matrix_at(levels, rule.cut), (enlarged >= round(rule.cut + 0.5)).astype(np.uint8)


def _of_predicted(kept: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The level of the predicted class at each pixel, u8 (H, W), of classes that compete. kept: u8 (K, h, w)."""
    found = np.zeros(prediction.shape, np.uint8)
    for k, level in enumerate(kept):
        own = prediction == k
        if own.any():
            np.copyto(found, cv2.resize(level, prediction.shape[::-1], interpolation=cv2.INTER_LINEAR), where=own)
    return found


def _histograms(truth: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The histograms of levels, all and in the band, of each class that may overlap others: i64 (K, 2, 256) each."""
    layers = [np.ascontiguousarray(truth[..., k]).view(np.uint8) for k in range(len(kept))]
    pairs = [(layer, enlarge(level, truth.shape[:2])) for layer, level in zip(layers, kept, strict=True)]
    return tuple(np.stack([count(*pair) for pair in pairs]) for count in (level_histogram, band_histogram))


def _count_slide(dataset: Dataset, store: Store, id: str, metric: Metric | None) -> _Counted:
    """The same of a slide, band by band. The metric counts from the confusion matrix: check_metric asked for that."""
    levels, rule, share = None, store.rule, None
    if rule.separate:
        levels = np.stack([level_counts(dataset, id, store.read(id), k) for k in range(store.channels)])
        share = dataset.mask(id).covered() / max(1, int(levels[0].sum()))
    elif store.channels == 1:
        levels = level_counts(dataset, id, store.read(id))
    if levels is None or not rule.by_pixel:
        matrix = class_counts(dataset, id, store.read(id), rule)
    elif rule.separate:
        matrix = np.stack([_matrix_at(own, cut) for own, cut in zip(levels, rule.cuts, strict=True)])
    else:
        matrix = _matrix_at(levels, rule.cut)
    counts = None if metric is None else np.asarray(metric.counts_of_matrix(matrix), float)
    share = _share(matrix) if share is None else share
    return _Counted((*map(float, _scores_of(matrix, rule)), share), matrix, levels, counts)


def _scores_of(matrix: np.ndarray, rule: Rule) -> tuple[float, float, float]:
    """IoU, Dice and accuracy of an image's matrix; means over the classes where there are several."""
    if rule.separate:
        return image_scores(matrix)
    if len(matrix) == 2:
        return foreground_scores(matrix)
    return mean_iou(matrix), mean_dice(matrix), pixel_accuracy(matrix)


def _matrix_at(levels: np.ndarray, cut: float) -> np.ndarray:
    """The confusion matrix i64 (2, 2) of a histogram (2, 256) of levels, and of a rule's cut."""
    at = round(cut + 0.5)
    return np.stack([levels[:, :at].sum(axis=1), levels[:, at:].sum(axis=1)], axis=1)


def _share(matrix: np.ndarray) -> float:
    """The share of the truth's foreground in the image, 0..1."""
    return float(matrix[1:].sum() / max(1, matrix.sum()))
