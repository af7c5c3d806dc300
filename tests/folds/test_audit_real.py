"""The audit of the real data beside the project: changed copies, the pets' own duplicates, split cars, frames."""

import time
from pathlib import Path

import numpy as np
import pytest
from changed_images import Planted

from kit.datasets import CamVid, Carvana, Nuclei, Pets, Salt
from kit.folds import audit
from kit.folds.looks import look_at
from kit.folds.twins import group_twins

REAL = Path(__file__).parents[2].parent / "shared/data"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the project")]


@pytest.mark.parametrize("kind", [Carvana, Pets])
def test_changed_copies_of_ten_images_are_found_and_nothing_else(kind):
    """Among half of the images; that all of them have no other copies is shown below."""
    dataset = kind(REAL / kind.name)
    sources = [dataset.ids[k] for k in np.random.default_rng(15).permutation(len(dataset.ids))[:10]]
    planted = Planted(dataset, sources, ids={*dataset.ids[::2], *sources})
    found = audit(planted, planted.folds)
    pairs = [{one.first.partition("+")[0], one.second.partition("+")[0]} for one in found.copies]
    known = [{"Abyssinian_122", "Abyssinian_172"}, {"Abyssinian_11", "Abyssinian_177"}]
    assert [pair for pair in pairs if len(pair) == 2 and pair not in known] == []
    leaking = {id for one in found.fails for id in (one.first, one.second)}
    assert set(planted.planted) - leaking == set()


def test_the_two_duplicate_pairs_of_the_pets_are_found_and_nothing_else():
    found = audit(Pets(REAL / "pets"))
    pairs = {(one.first, one.second) for one in found.copies}
    assert pairs == {("Abyssinian_11", "Abyssinian_177"), ("Abyssinian_122", "Abyssinian_172")}


def test_most_of_eight_split_cars_are_among_the_first_twenty_pairs_shown():
    dataset = Carvana(REAL / "carvana")
    looks = look_at(dataset, dataset.ids)
    cars = sorted(set(dataset.groups))
    for seed in range(5):
        split = set(np.random.default_rng(seed).permutation(cars)[:8].tolist())
        halves = np.random.default_rng(seed).permutation(16) // 8
        groups = {
            id: f"{group}-{halves[int(id.rpartition('_')[2]) - 1]}" if group in split else group
            for id, group in zip(dataset.ids, dataset.groups, strict=True)
        }
        twins = [{one.first.partition("-")[0], one.second.partition("-")[0]} for one in group_twins(looks, groups)]
        assert len(twins) == 20
        assert sum({car} in twins for car in split) >= 7


def test_the_frames_of_camvid_are_series_and_no_copies():
    dataset = CamVid(REAL / "camvid")
    found = audit(dataset, np.arange(len(dataset.ids)) // 7 % 5)
    assert found.copies == []
    assert {one.name.partition("_")[0] for one in found.sequences} == {"0001TP", "0006R0", "0016E5"}
    assert all(one.is_split for one in found.sequences)


@pytest.mark.parametrize("kind", [Salt, Nuclei])
def test_no_copy_is_reported_where_there_is_none(kind):
    assert audit(kind(REAL / kind.name)).copies == []


def test_the_512_cars_take_at_most_forty_seconds_and_have_no_copies():
    dataset = Carvana(REAL / "carvana")
    begin = time.process_time()
    assert audit(dataset, np.arange(len(dataset.ids)) // 16 % 5).copies == []
    assert time.process_time() - begin < 80  # of two cores: 40 s where nothing else runs
