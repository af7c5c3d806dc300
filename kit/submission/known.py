"""The dialects of known competitions, each below its name on Kaggle; and the competitions that kit has recipes for.

A dialect is that of the submission. The CSV of the training masks may differ: `CsvMasks` finds another name of the
masks' column, and `dataclasses.replace` says all else.
"""

from pathlib import Path

import numpy as np

from kit.data.dataset import Dataset
from kit.datasets.nuclei import Nuclei, groups_of, kinds_of
from kit.folds.area import area_group_kfold
from kit.folds.kfold import stratified_group_kfold
from kit.folds.tiles import tile_groups
from kit.scoring.instance_metrics import InstancePrecision
from kit.scoring.metrics import MeanDice, PrecisionOverThresholds
from kit.submission.compare import compare_masks
from kit.submission.competition import Competition
from kit.submission.dialect import Dialect
from kit.submission.lint import errors_of
from kit.system.files import raise_all

# carvana-image-masking-challenge
CARVANA = Dialect(columns=("img", "rle_mask"), order="C", key="{id}.jpg")

# tgs-salt-identification-challenge
SALT = Dialect(columns=("id", "rle_mask"), order="F")

# data-science-bowl-2018: a row a nucleus
DSB2018 = Dialect(columns=("ImageId", "EncodedPixels"), rows="instance", order="F")

# airbus-ship-detection: a row a ship; an image without ships has one empty row
AIRBUS = Dialect(columns=("ImageId", "EncodedPixels"), rows="instance", order="F", key="{id}.jpg")

# severstal-steel-defect-detection, as its files are today: four rows an image. train.csv has rows of defects alone:
# CsvMasks("train.csv", SEVERSTAL, lacking="empty")
SEVERSTAL = Dialect(
    columns=("ImageId", "EncodedPixels", "ClassId"),
    rows="class",
    order="F",
    key="{id}.jpg",
    class_column="ClassId",
    labels=("1", "2", "3", "4"),
)

# severstal-steel-defect-detection, as its files were in 2019: four rows an image
SEVERSTAL_2019 = Dialect(
    columns=("ImageId_ClassId", "EncodedPixels"),
    rows="class",
    order="F",
    key="{id}.jpg_{class}",
    labels=("1", "2", "3", "4"),
)

# siim-acr-pneumothorax-segmentation: one row an image, starts count from 0, each from the end of the run before.
# train-rle.csv has several rows of some images: CsvMasks("train-rle.csv", replace(SIIM, rows="instance"))
SIIM = Dialect(columns=("ImageId", "EncodedPixels"), order="F", base=0, relative=True, empty="-1")

# understanding_cloud_organization: masks at a quarter of the images' height and width
CLOUDS = Dialect(
    columns=("Image_Label", "EncodedPixels"),
    rows="class",
    order="F",
    key="{id}.jpg_{class}",
    labels=("Fish", "Flower", "Gravel", "Sugar"),
    size=(350, 525),
)

# uw-madison-gi-tract-image-segmentation: its page says that pixels run down columns; those of train.csv run along rows
UW_MADISON = Dialect(
    columns=("id", "class", "predicted"),
    rows="class",
    order="C",
    class_column="class",
    labels=("large_bowel", "small_bowel", "stomach"),
)

# hubmap-kidney-segmentation; the masks' column of train.csv is "encoding"
HUBMAP = Dialect(columns=("id", "predicted"), order="F")

# google-research-identify-contrails-reduce-global-warming
CONTRAILS = Dialect(columns=("record_id", "encoded_pixels"), order="F", empty="-")

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


def salt(dataset: Dataset) -> Competition:
    """TGS Salt: mean precision over IoU thresholds. dataset: a kit.datasets.Salt."""
    return Competition(dataset, SALT, dataset.test_ids, PrecisionOverThresholds(), dataset.sample_csv)


def grouped_nuclei(data_dir: Path | str) -> Nuclei:
    """Kaggle's files, in the groups of groups.csv; without one, images whose edges fit together are a group.

    All recipes open them here: runs can be compared and blended where their folds are the same. Without groups.csv
    every image is read once. Raises ValueError as Nuclei.
    """
    return Nuclei(data_dir, groups=groups_of(data_dir) or tile_groups(Nuclei(data_dir)))


def nuclei(dataset: Dataset) -> Competition:
    """Data Science Bowl 2018: mean precision of nuclei over IoU thresholds. dataset: a kit.datasets.Nuclei."""
    truth = getattr(dataset, "truth_csv", None)
    return Competition(dataset, DSB2018, dataset.test_ids, InstancePrecision(), dataset.sample_csv, truth)


def nuclei_folds(dataset: Dataset, k: int, seed: int) -> np.ndarray:
    """Folds (n,) of whole groups, each kind of microscopy shared out alike. dataset: a kit.datasets.Nuclei."""
    return stratified_group_kfold(kinds_of(dataset), dataset.groups, k, seed)


def blood_cells(dataset: Dataset) -> Competition:
    """The smears of Test_Data. dataset: a kit.datasets.BloodCells."""
    return Competition(dataset, BLOOD_CELLS, dataset.test_ids, MeanDice())
