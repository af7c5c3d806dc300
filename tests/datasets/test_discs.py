"""The drawn competition of touching discs: its files, its groups and folds, and what makes it hard."""

import csv

import numpy as np
import pytest

from kit.datasets.discs import KINDS, LEAST_AREA, TILE, Discs, draw_discs
from kit.datasets.nuclei import Nuclei, groups_of, kinds_of
from kit.scoring import instance_precision
from kit.submission import DSB2018, compare_masks
from kit.submission.known import nuclei, nuclei_folds
from kit.system.objects import components


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    return Discs(draw_discs(tmp_path_factory.mktemp("discs") / "data", 6, 1))


def test_the_files_are_kaggle_s(discs):
    assert (len(discs.ids), len(discs.test_ids), len(set(discs.groups)), discs.drawn) == (24, 4, 6, True)
    assert compare_masks(discs, discs.train_csv, DSB2018) == []
    for id in (*discs.ids[:4], *discs.test_ids):
        assert discs.read_image(id).shape == (*TILE, 3)
    for id in discs.ids:
        areas = np.bincount(discs.read_mask(id).ravel())[1:]
        assert areas.size
        assert areas.min() >= LEAST_AREA
    competition = nuclei(discs)
    assert competition.truth_csv.is_file()
    rows = csv.DictReader(competition.truth_csv.read_text().splitlines())
    assert {row["ImageId"] for row in rows} == {*discs.test_ids}
    assert nuclei(Nuclei(discs.data.root)).truth_csv is None  # of Kaggle's files nothing more is read
    assert groups_of(discs.data.root) == ("groups.csv", "ImageId", "group")


def test_components_count_discs_that_touch_as_one(discs):
    masks = [discs.read_mask(id) for id in discs.ids]
    assert np.mean([instance_precision(mask, components(mask > 0)) for mask in masks]) < 0.5


def test_folds_hold_whole_photographs_of_both_kinds(discs, tmp_path):
    folds, kinds = nuclei_folds(discs, 3, 0), np.array(kinds_of(discs))
    assert {*kinds} == {*KINDS}
    for fold in range(3):
        groups = {group for group, own in zip(discs.groups, folds, strict=True) if own == fold}
        assert groups.isdisjoint(group for group, own in zip(discs.groups, folds, strict=True) if own != fold)
        assert {*kinds[folds == fold]} == {*KINDS}
    (discs.data.root / "groups.csv").rename(tmp_path / "groups.csv")
    try:
        looks = np.array(kinds_of(Nuclei(discs.data.root)))
    finally:
        (tmp_path / "groups.csv").rename(discs.data.root / "groups.csv")
    pairs = {*zip(kinds.tolist(), looks.tolist(), strict=True)}
    assert pairs == {("dark", "dark grey"), ("stained", "bright coloured")}


def test_the_same_arguments_draw_the_same_files(discs, tmp_path):
    fewer = Discs(draw_discs(tmp_path / "fewer", 1, 1))
    assert {*fewer.ids} < {*discs.ids}
    assert fewer.test_ids == discs.test_ids
    for id in (*fewer.ids, *fewer.test_ids):
        np.testing.assert_array_equal(fewer.read_image(id), discs.read_image(id))
    for id in fewer.ids:
        np.testing.assert_array_equal(fewer.read_mask(id), discs.read_mask(id))
    draw_discs(tmp_path / "fewer", 1, 1)  # it is there
    with pytest.raises(FileExistsError, match="holds the drawing"):
        draw_discs(tmp_path / "fewer", 7, 1)
    with pytest.raises(ValueError, match="expected a photograph or more of each"):
        draw_discs(tmp_path / "none", 0)
