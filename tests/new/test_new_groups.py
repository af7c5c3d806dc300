"""`kit new` and Folder: groups by a table whose rows name a part of each id."""

import cv2
import numpy as np
import pytest
from csv_folders import blob, masks, table

from kit.datasets import Folder
from kit.new import Wishes, choose

IDS = [f"p{patient:02}_slice{number}" for patient in range(1, 7) for number in range(4)]


@pytest.fixture
def scans(tmp_path):
    """Six patients with four slices each, which look alike, and a table with a row a patient."""
    (tmp_path / "im").mkdir()
    for at, id in enumerate(IDS):
        own = np.random.default_rng(at // 4).integers(0, 200, (5, 8, 3), np.uint8)
        image = cv2.resize(own, (64, 40)) + 40 * blob(at)[..., None]
        cv2.imwrite(str(tmp_path / f"im/{id}.png"), image)
    masks(tmp_path / "ma", IDS)
    rows = [f"p{patient:02},{'ab'[patient % 2]},{50 + patient}" for patient in range(1, 9)]
    table(tmp_path / "people.csv", "who,site,age", rows)
    return tmp_path


def open_groups(folder, *groups):
    return list(Folder(folder, images="im/*.png", masks="ma/{id}.png", groups=groups).groups)


def test_a_part_of_the_id_gives_the_group(scans):
    assert open_groups(scans, "people.csv", "who", "who") == [id[:3] for id in sorted(IDS)]
    assert open_groups(scans, "people.csv", "who", "site") == ["ab"[int(id[1:3]) % 2] for id in sorted(IDS)]


def test_whole_ids_come_first_and_parts_stand_between_marks(scans):
    table(scans / "whole.csv", "id,who", [f"{id},{at % 3}" for at, id in enumerate(sorted(IDS))])
    assert open_groups(scans, "whole.csv", "id", "who") == [str(at % 3) for at in range(24)]
    table(scans / "short.csv", "id", [f"p{patient}" for patient in range(10)])
    with pytest.raises(ValueError, match=r"24 problems(?s:.*)neither the whole nor one part of the id p01_slice0"):
        open_groups(scans, "short.csv", "id", "id")


def test_two_parts_of_one_id_are_refused_by_name(scans):
    table(scans / "both.csv", "part,group", [*(f"p{patient:02},x{patient}" for patient in range(1, 7)), "slice3,y"])
    with pytest.raises(
        ValueError, match=r"6 problems(?s:.*)the column part of both\.csv has(?s:.*)p04_slice3"
    ) as caught:
        open_groups(scans, "both.csv", "part", "group")
    assert "p04_slice2" not in str(caught.value)


def test_kit_new_finds_it_and_says_so(scans):
    choices = choose(scans, Wishes(device="cpu"))
    assert choices.groups == r"^([^/_\-. ]+)[_\-. ]"  # of two ways to the same groups the one that needs no table
    assert [choices.grouping.groups[at] for at in (0, 4, 23)] == ["p01", "p02", "p06"]
    asked = choose(scans, Wishes(device="cpu", groups="people.csv:who:site"))
    assert dict(asked.reasons)["groups"].endswith("2 groups")
    assert "who is a part of each id, as p01 of p01_slice0" in dict(asked.reasons)["groups"]
    assert set(asked.grouping.groups) == {"a", "b"}


def test_a_table_of_patients_is_found_where_ids_alone_do_not_show_it(scans):
    """The patient stands in the middle of the id, and the column is called so."""
    for folder in ("im", "ma"):
        for at, path in enumerate(sorted((scans / folder).iterdir())):
            patient, slice_name = path.stem.split("_")
            path.rename(path.with_name(f"v{at % 5}-{patient}-{slice_name}-q{at % 3}.png"))
    rows = (scans / "people.csv").read_text().replace("who", "patient_id")
    (scans / "people.csv").write_text(rows)
    choices = choose(scans, Wishes(device="cpu"))
    assert choices.groups == ("people.csv", "patient_id", "patient_id")
    assert "a part of each id, as p01 of v0-p01-slice0-q0" in dict(choices.reasons)["groups"]


def test_numbers_that_ids_hold_by_chance_are_no_groups(scans):
    (scans / "people.csv").unlink()
    for folder in ("im", "ma"):
        for path in (scans / folder).iterdir():
            path.rename(path.with_name(f"{path.stem.replace('slice', '')}.png"))
    table(scans / "facts.csv", "number,kind", [f"{number},{'xyzw'[number]}" for number in range(4)])
    choices = choose(scans, Wishes(device="cpu"))
    assert not isinstance(choices.groups, tuple)
