"""The competitions that kit has recipes for, and their dialects. Each says the name of its competition on Kaggle."""

import numpy as np

from kit.data.dataset import Dataset
from kit.folds.area import area_group_kfold
from kit.scoring.metrics import MeanDice
from kit.submission.compare import compare_masks
from kit.submission.competition import Competition
from kit.submission.dialect import Dialect
from kit.submission.lint import errors_of
from kit.system.files import raise_all

# carvana-image-masking-challenge
CARVANA = Dialect(columns=("img", "rle_mask"), order="C", key="{id}.jpg")

# The blood cells have no competition: their predictions are written in Carvana's way.
BLOOD_CELLS = Dialect(columns=("img", "rle_mask"), order="C", key="{id}.jpg")

COMPARED = 32  # rows of train_masks.csv that are compared with the masks


def carvana(dataset: Dataset) -> Competition:
    """Carvana: mean Dice over images. dataset: a kit.datasets.Carvana."""
    csvs = {"sample_csv": dataset.sample_csv, "truth_csv": dataset.truth_csv}
    return Competition(dataset, CARVANA, dataset.test_ids, MeanDice(), **csvs)


def carvana_folds(dataset: Dataset, k: int, seed: int) -> np.ndarray:
    """Folds (n,) of whole cars, small and large ones shared out equally.

    Where there is a train_masks.csv, some of its rows are compared with the masks first, pixel by pixel. Raises
    ValueError listing the rows that differ, or with fewer cars than folds.
    """
    if dataset.train_csv is not None:
        some = np.random.default_rng(seed).permutation(dataset.ids)[:COMPARED]
        problems = compare_masks(dataset, dataset.train_csv, CARVANA, some.tolist())
        raise_all(errors_of(problems), "differences between train_masks.csv and the masks")
    return area_group_kfold(dataset, k, seed)


def blood_cells(dataset: Dataset) -> Competition:
    """The smears of Test_Data. dataset: a kit.datasets.BloodCells."""
    return Competition(dataset, BLOOD_CELLS, dataset.test_ids, MeanDice())
