"""The competitions that kit has recipes for, and their dialects. Each says the name of its competition on Kaggle."""

import numpy as np

from kit.data.dataset import Dataset
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
    """Carvana: mean Dice over images. dataset: a kit.datasets.Carvana.

    Where there is a train_masks.csv, some of its rows are compared with the masks first, pixel by pixel. Raises
    ValueError listing the rows that differ.
    """
    masks_csv = dataset.data.path("train_masks.csv")
    if masks_csv is not None:
        some = np.random.default_rng(0).permutation(dataset.ids)[:COMPARED]
        problems = compare_masks(dataset, masks_csv, CARVANA, some.tolist())
        raise_all(errors_of(problems), "differences between train_masks.csv and the masks")
    csvs = {"sample_csv": dataset.sample_csv, "truth_csv": dataset.truth_csv}
    return Competition(dataset, CARVANA, dataset.test_ids, MeanDice(), **csvs)


def blood_cells(dataset: Dataset) -> Competition:
    """The smears of Test_Data. dataset: a kit.datasets.BloodCells."""
    return Competition(dataset, BLOOD_CELLS, dataset.test_ids, MeanDice())
