"""A data set without groups: it is said once, before training, and in the report."""

import numpy as np
import pytest
from encoded import save

from kit.data import Dataset, check_dataset
from kit.data.dataset import has_groups
from kit.datasets import Folder


class Stripes(Dataset):
    name = "stripes"
    classes = ("background", "stripe")
    ids = ("a", "b", "c", "d")

    def read_image(self, id):
        return np.full((8, 9, 3), ord(id), np.uint8)

    def read_mask(self, id):
        return (np.indices((8, 9))[0] % 2).astype(np.uint8)


class Grouped(Stripes):
    groups = (1, 1, 2, 2)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def test_it_is_said_at_the_first_check_alone(capsys):
    check_dataset(Stripes())
    assert capsys.readouterr().out.startswith("no groups were given: every image is its own. Where several images")
    check_dataset(Stripes())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("groups", [["p", "p", "q", "r"], ["a", "b", "c", "d"]])
def test_given_groups_are_given_also_where_every_image_is_its_own(groups, capsys):
    data = Stripes()
    data.groups = groups
    check_dataset(data)
    check_dataset(Grouped())
    assert capsys.readouterr().out == ""
    assert has_groups(data)
    assert has_groups(Grouped())
    assert not has_groups(Stripes())


def test_folder_knows_whether_groups_were_given(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for id in "ab":
            (tmp_path / folder / f"{id}.png").write_bytes(save(np.ones((4, 5), np.uint8), "PNG"))
    without, given = (Folder(tmp_path, images="images", masks="masks", groups=groups) for groups in (None, "(.)"))
    assert (has_groups(without), has_groups(given)) == (False, True)
    assert without.groups == given.groups == ["a", "b"]
