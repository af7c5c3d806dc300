"""The store of out-of-fold (OOF) predictions, and their scores at the pictures' own sizes.

    runs/<recipe>/oof/<id>.png          levels u8 of a held-out picture at the network's size, K classes stacked
    runs/<recipe>/fold<k>/oof.csv       a row an image: id, group, fold, iou, dice, accuracy, area
    runs/<recipe>/fold<k>/scores.npz    the counts behind the rows: a confusion matrix an image and, for one
                                        foreground class, how many pixels of each truth have each level

A picture is predicted only by the network that has not seen its group, so the scores hold for new groups.
The levels' counts give the score at any threshold without another look at a picture.
"""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from kit.data.dataset import Dataset
from kit.data.resize import single_threaded_cv2
from kit.prediction.enlarge import enlarge
from kit.prediction.predictor import FOREGROUND, mask_at
from kit.scoring.confusion import (
    confusion_matrix,
    foreground_scores,
    level_histogram,
    mean_dice,
    mean_iou,
    pixel_accuracy,
)
from kit.system.files import check_id, file_name, write_atomic

COLUMNS = ("id", "group", "fold", "iou", "dice", "accuracy", "area")


class OOFStore:
    """Quantised predictions, one PNG an image: written whole or not at all, readable by any tool."""

    def __init__(self, folder: Path, channels: int = 1) -> None:
        self.folder, self.channels = folder, channels

    def path(self, id: str) -> Path:
        """Where the prediction of `id` is kept. Raises ValueError if the id is no file name."""
        return self.folder / f"{file_name(check_id(id))}.png"

    def __contains__(self, id: str) -> bool:
        return self.path(id).exists()

    def write(self, id: str, levels: np.ndarray) -> None:
        """Keep levels u8 (K, h, w). Raises ValueError where K is not the store's."""
        if len(levels) != self.channels:
            raise ValueError(
                f"{id}: the network tells {len(levels)} classes apart, expected {self.channels}: give it the data's "
                "num_classes (for a foreground 1, or 2)"
            )
        write_atomic(self.path(id), cv2.imencode(".png", levels.reshape(-1, levels.shape[2]))[1].tobytes())

    def read(self, id: str) -> np.ndarray:
        """Levels u8 (K, h, w). Raises ValueError if the file is damaged."""
        data = np.frombuffer(self.path(id).read_bytes(), np.uint8)
        stacked = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if stacked is None or stacked.ndim != 2 or len(stacked) % self.channels:
            raise ValueError(f"{self.path(id)} is damaged; delete it and run the same command again")
        return stacked.reshape(self.channels, -1, stacked.shape[1])

    def forget(self, ids: Sequence[str]) -> None:
        """Remove the predictions of `ids`, because another network will make them."""
        for id in ids:
            self.path(id).unlink(missing_ok=True)


@dataclass(frozen=True)
class Scores:
    """What was counted for some images, row by row alike."""

    images: pd.DataFrame  # COLUMNS
    matrices: np.ndarray  # i64 (n, K, K), rows = truth, at the image's own size
    levels: np.ndarray | None  # i64 (n, 2, 256) [truth, level]; None for more than one foreground class

    def write(self, folder: Path) -> None:
        """Keep them in `folder`: oof.csv last, so that where it is, all is."""
        counts = {"matrices": self.matrices} | ({} if self.levels is None else {"levels": self.levels})
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **counts)
        write_atomic(folder / "scores.npz", buffer.getvalue())
        write_atomic(folder / "oof.csv", self.images.to_csv(index=False))

    @classmethod
    def read(cls, folder: Path) -> "Scores":
        """Read what write kept."""
        with np.load(folder / "scores.npz", allow_pickle=False) as counts:
            return cls(read_oof_csv(folder / "oof.csv"), counts["matrices"], counts.get("levels"))

    @classmethod
    def join(cls, parts: Sequence["Scores"]) -> "Scores":
        """The scores of several folds, one after the other."""
        levels = None if parts[0].levels is None else np.concatenate([part.levels for part in parts])
        images = pd.concat([part.images for part in parts], ignore_index=True)
        return cls(images, np.concatenate([part.matrices for part in parts]), levels)


def read_oof_csv(path: Path) -> pd.DataFrame:
    """oof.csv with ids and groups as they were written: `000123` and `NA` stay text."""
    no_score = dict.fromkeys(COLUMNS[3:], "")
    return pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False, na_values=no_score)


def score(
    competition: Dataset, store: OOFStore, ids: Sequence[str], groups: Sequence[str], fold: int, threads: int = 4
) -> Scores:
    """Score the stored predictions of `ids` against their truth at full size, image by image in threads."""
    with ThreadPoolExecutor(threads) as pool, single_threaded_cv2():
        counted = list(pool.map(_counter(competition, store), ids))
    rows = [[id, group, fold, *values] for id, group, (values, _, _) in zip(ids, groups, counted, strict=True)]
    levels = None if counted[0][2] is None else np.stack([level for _, _, level in counted])
    return Scores(pd.DataFrame(rows, columns=COLUMNS), np.stack([matrix for _, matrix, _ in counted]), levels)


def _counter(competition: Dataset, store: OOFStore) -> Callable[[str], tuple]:
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
    """The truth's foreground share of the picture, 0..1."""
    return float(matrix[1:].sum() / max(1, matrix.sum()))
