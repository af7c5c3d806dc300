"""`kit new` on real folders beside kit's own data sets: the decisions agree, or the difference is named here."""

from pathlib import Path

import numpy as np
import pytest

from kit.datasets import Nuclei, Salt
from kit.datasets.blood_cells import BloodCells
from kit.datasets.camvid import CamVid
from kit.datasets.carvana import Carvana
from kit.datasets.pets import Pets
from kit.datasets.voc import VOC
from kit.new import Wishes, choose
from kit.submission import known

DATA = Path(__file__).parents[3] / "shared/data"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chosen():
    """choose() of a real folder, once."""
    made = {}

    def find(name):
        if not (DATA / name).is_dir():
            pytest.skip(f"the real {name} data are not there")
        if name not in made:
            made[name] = choose(DATA / name, Wishes(device="cpu"))
        return made[name]

    return find


def partition(groups):
    """Groups as numbers in the order of their first image: equal for two spellings of the same groups."""
    first = {}
    return [first.setdefault(group, len(first)) for group in groups]


def groups_of(choices, dataset):
    own = dict(zip(choices.found.ids, choices.grouping.groups, strict=True))
    return partition(own[id] for id in sorted(dataset.ids)), partition(
        dict(zip(dataset.ids, dataset.groups, strict=True))[id] for id in sorted(dataset.ids)
    )


def test_carvana(chosen):
    choices, dataset = chosen("carvana"), Carvana(DATA / "carvana")
    assert choices.found.ids == sorted(dataset.ids)
    assert sorted(choices.found.tests) == sorted(dataset.test_ids)
    assert choices.meaning.task == "binary"
    own, wanted = groups_of(choices, dataset)
    assert own == wanted  # a car's 16 views
    assert choices.goal.dialect == known.CARVANA
    assert choices.goal.metric == "dice"
    assert choices.found.sides.is_upright


def test_salt(chosen):
    choices, dataset = chosen("salt"), Salt(DATA / "salt")
    assert choices.found.ids == sorted(dataset.ids)
    assert choices.meaning.task == "binary"
    assert choices.groups is None  # ids are random, and no table groups them
    assert choices.goal.dialect == known.SALT
    assert choices.goal.metric == "dice"  # the competition's own, over IoU thresholds, no file names: --metric


def test_nuclei(chosen):
    choices, dataset = chosen("nuclei"), Nuclei(DATA / "nuclei", groups=("groups.csv", "ImageId", "group"))
    assert choices.found.ids == sorted(dataset.ids)
    assert choices.meaning.task == "instances"
    assert choices.groups == ("groups.csv", "ImageId", "group")  # not the six clusters of the same table
    assert choices.goal.dialect == known.DSB2018
    assert not choices.found.sides.is_upright


def test_camvid(chosen):
    choices, dataset = chosen("camvid"), CamVid(DATA / "camvid")
    names = {id.rpartition("/")[2]: id for id in choices.found.ids}  # train/ and val/ are part of the ids here
    assert sorted(names) == sorted(dataset.ids)
    held = [0 if names[id] in choices.found.split else -1 for id in dataset.ids]
    np.testing.assert_array_equal(held, dataset.split())
    assert choices.weighted
    assert len(choices.meaning.classes) == dataset.num_classes + 1  # that 11 is void, no file says


def test_blood_cells(chosen):
    choices, dataset = chosen("blood_cells"), BloodCells(DATA / "blood_cells")
    assert choices.found.ids == sorted(dataset.ids)
    assert sorted(choices.found.tests) == sorted(dataset.test_ids)
    assert choices.meaning.values == 127
    assert choices.groups is None  # BloodCells groups neighbouring numbers, which were found by hand to overlap


def test_pets(chosen):
    choices, dataset = chosen("pets"), Pets(DATA / "pets")
    assert choices.found.ids == sorted(dataset.ids)
    assert choices.meaning.values[2] == 0  # the background fills the edges
    assert choices.groups is None  # a breed's images are hardly more alike than others; Pets also knows two twins
    assert choices.doubts  # and that is said
    np.testing.assert_array_equal([0 if id in choices.found.split else -1 for id in dataset.ids], dataset.split())


def test_voc(chosen):
    choices, dataset = chosen("voc"), VOC(DATA / "voc")
    assert set(choices.found.ids) == set(dataset.ids)
    assert len(choices.meaning.classes) == dataset.num_classes
    assert choices.groups is None
    held = [0 if id in choices.found.split else -1 for id in dataset.ids]
    np.testing.assert_array_equal(held, dataset.split())
