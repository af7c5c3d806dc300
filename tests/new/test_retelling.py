"""Tests for kit/new/look/retelling.py: ids that the sample submission makes of several parts of a path."""

import pytest
from csv_folders import images, masks, table
from test_new_csv import opened, wishes

from kit.new import choose
from kit.new.look.questions import OpenQuestion

SLICES = [f"z{number}" for number in range(3)]
TRAIN, TEST = [f"ship{number}" for number in range(6)], [f"ship{number}" for number in range(6, 8)]


def drawn(folder, name="{}"):
    """Ships with mask files, and two to predict."""
    for ship in (*TRAIN, *TEST):
        part = folder / ("train" if ship in TRAIN else "test") / ship
        images(part / "img", [name.format(one) for one in SLICES])
        if ship in TRAIN:
            masks(part / "lab", [name.format(one) for one in SLICES])
    return folder


@pytest.mark.parametrize(
    ("key", "name"), [("{}_{}", "{}"), ("{}-cut-{}", "cut_{}"), ("{}_{}.png", "{}"), ("{}_{}_hull", "{}")]
)
def test_the_sample_joins_the_parts_of_a_path(tmp_path, key, name):
    drawn(tmp_path, name)
    rows = [f"{key.format(ship, one)}," for ship in TEST for one in SLICES]
    table(tmp_path / "sample_submission.csv", "id,runs", rows)
    choices = choose(tmp_path, wishes(order="F"))
    data = opened(choices, tmp_path)
    plain = key.removesuffix(".png").removesuffix("_hull")
    assert data.ids == sorted(plain.format(ship, one) for ship in TRAIN for one in SLICES)
    assert data.test_ids == sorted(plain.format(ship, one) for ship in TEST for one in SLICES)
    assert not any("sample_submission" in doubt for doubt in choices.doubts)
    assert data.read_mask(data.ids[0]).any()
    if choices.groups:
        assert len(set(data.groups)) == len(TRAIN)


def test_a_sample_of_other_names_is_asked_about(tmp_path):
    drawn(tmp_path)
    table(tmp_path / "sample_submission.csv", "id,runs", [f"row{number}," for number in range(6)])
    with pytest.raises(OpenQuestion, match=r"'row0', and the tests of test/\S+ have ids as 'ship6/img/z0'") as error:
        choose(tmp_path, wishes(order="F"))
    assert error.value.question.flag == "--tests"
