"""Count what is right and wrong in each held-out image, at the image's own size.

    runs/<run>/fold<k>/oof.csv       one row an image: id, group, fold, iou, dice, accuracy, area
    runs/<run>/fold<k>/scores.npz    the counts behind the rows: a confusion matrix an image; for one foreground class
                                     also the number of pixels of each truth at each level; and the counts of the
                                     competition's metric

Every later number comes from sums of these counts, so nothing has to look at an image again. The counts of the levels
give the score at any threshold.
"""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.data.images import single_threaded_cv2
from kit.data.samples import Competition
from kit.prediction.enlarge import enlarge
from kit.prediction.predictor import FOREGROUND, mask_at
from kit.prediction.store import OOFStore
from kit.scoring.confusion import (
    confusion_matrix,
    foreground_scores,
    level_histogram,
    mean_dice,
    mean_iou,
    pixel_accuracy,
)
from kit.system.files import write_atomic

COLUMNS = ("id", "group", "fold", "iou", "dice", "accuracy", "area")


@dataclass(frozen=True)
class Scores:
    """The counts of n images; every field has one row an image, in the same order."""

    images: pd.DataFrame  # COLUMNS
    matrices: np.ndarray  # i64 (n, K, K), rows = truth, at the image's own size
    levels: np.ndarray | None  # i64 (n, 2, 256) [truth, level]; None for more than one foreground class

    def write(self, folder: Path) -> None:
        """Write both files into `folder`. oof.csv comes last: where it exists, both are whole."""
        counts = {"matrices": self.matrices} | ({} if self.levels is None else {"levels": self.levels})
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **counts)
        write_atomic(folder / "scores.npz", buffer.getvalue())
        write_atomic(folder / "oof.csv", self.images.to_csv(index=False))

    @classmethod
    def read(cls, folder: Path) -> "Scores":
        """Read the files that `write` left in `folder`."""
        with np.load(folder / "scores.npz", allow_pickle=False) as counts:
            return cls(read_oof_csv(folder / "oof.csv"), counts["matrices"], counts.get("levels"))

    @classmethod
    def join(cls, parts: Sequence["Scores"]) -> "Scores":
        """Put the scores of several folds one after the other."""
        levels = None if parts[0].levels is None else np.concatenate([part.levels for part in parts])
        images = pd.concat([part.images for part in parts], ignore_index=True)
        return cls(images, np.concatenate([part.matrices for part in parts]), levels)


def read_oof_csv(path: Path) -> pd.DataFrame:
    """Read oof.csv with ids and groups as text: `000123` and `NA` stay as they were written."""
    no_score = dict.fromkeys(COLUMNS[3:], "")
    return pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False, na_values=no_score)


def score(
    competition: Competition, store: OOFStore, ids: Sequence[str], groups: Sequence[str], fold: int, threads: int = 4
) -> Scores:
    """Score the stored predictions of `ids` against their truth at full size, image by image in threads."""
    with ThreadPoolExecutor(threads) as pool, single_threaded_cv2():
        counted = list(pool.map(_counter(competition, store), ids))
    rows = [[id, group, fold, *values] for id, group, (values, _, _) in zip(ids, groups, counted, strict=True)]
    levels = None if counted[0][2] is None else np.stack([level for _, _, level in counted])
    return Scores(pd.DataFrame(rows, columns=COLUMNS), np.stack([matrix for _, matrix, _ in counted]), levels)


def _counter(competition: Competition, store: OOFStore) -> Callable[[str], tuple]:
    def binary(id: str) -> tuple:
        truth = competition.read_mask(id)
        levels = level_histogram(truth, enlarge(store.read(id)[0], truth.shape))
        matrix = np.stack([levels[:, :FOREGROUND].sum(axis=1), levels[:, FOREGROUND:].sum(axis=1)], axis=1)
        return (*foreground_scores(matrix), _share(matrix)), matrix, levels

    def many(id: str) -> tuple:
        truth = competition.read_mask(id)
        matrix = confusion_matrix(truth, mask_at(store.read(id), truth.shape), competition.num_classes)
        values = mean_iou(matrix), mean_dice(matrix), pixel_accuracy(matrix), _share(matrix)
        return values, matrix, None

    return binary if store.channels == 1 else many


def _share(matrix: np.ndarray) -> float:
    """The share of the truth's foreground in the image, 0..1."""
    return float(matrix[1:].sum() / max(1, matrix.sum()))
