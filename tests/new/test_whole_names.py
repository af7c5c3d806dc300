"""Tests for kit/new/look/whole_names.py: images whose names end in one of a few words, and CSVs with their names."""

import pytest
from csv_folders import blob, images, masks, table, text_of
from test_new_csv import opened, wishes

from kit.new import choose
from kit.new.look.file_sets import file_sets, split_ending
from kit.new.look.questions import OpenQuestion

PAIRS = [f"b{number:02}{mark}" for number in range(8) for mark in ("_near", "_far")]


def rows_of(ids, every=PAIRS):
    return [f"{id},{text_of(blob(every.index(id)))}" for id in ids]


@pytest.mark.parametrize("said", [{}, {"masks": "runs.csv"}, {"task": "binary"}])
@pytest.mark.parametrize("in_parts", [False, True])
def test_keys_that_are_whole_names_of_images_are_ids(tmp_path, said, in_parts):
    images(tmp_path / ("train" if in_parts else "pool"), PAIRS if not in_parts else PAIRS[:12])
    images(tmp_path / ("test" if in_parts else "pool"), PAIRS[12:]) if in_parts else None
    table(tmp_path / "runs.csv", "shot,runs", rows_of(PAIRS[:12]))
    table(tmp_path / "sample_submission.csv", "shot,runs", [f"{id},1 1" for id in PAIRS[12:]])
    table(tmp_path / "boats.csv", "boat,harbour_site", [f"b{number:02},h{number // 2}" for number in range(8)])
    choices = choose(tmp_path, wishes(**said))
    data = opened(choices, tmp_path)
    assert (choices.meaning.task, data.ids, data.test_ids) == ("binary", sorted(PAIRS[:12]), sorted(PAIRS[12:]))
    assert choices.goal.dialect.key == "{id}"
    for id in ("b03_near", "b03_far"):
        assert (data.read_mask(id) == blob(PAIRS.index(id))).all()
    assert choices.found.unused == []
    assert choices.grouping is None or choices.grouping.count <= 6


@pytest.mark.parametrize("end", ["", "_mask"])
def test_masks_that_have_the_whole_names_of_images(tmp_path, end):
    images(tmp_path / "scans", PAIRS)
    masks(tmp_path / "truth", [f"{id}{end}" for id in PAIRS])
    choices = choose(tmp_path, wishes())
    data = opened(choices, tmp_path)
    assert (choices.meaning.task, data.ids) == ("binary", sorted(PAIRS))
    assert (data.read_mask("b05_far") == blob(PAIRS.index("b05_far"))).all()


def test_where_names_without_their_endings_are_images_too_it_asks(tmp_path):
    fronts = sorted({id.partition("_")[0] for id in PAIRS})
    images(tmp_path / "zoomed", PAIRS)
    images(tmp_path / "whole", fronts)
    table(tmp_path / "runs.csv", "shot,runs", rows_of(PAIRS))
    with pytest.raises(OpenQuestion, match=r"b00_(near|far) may be of an image of") as error:
        choose(tmp_path, wishes())
    assert [value for value, _ in error.value.question.choices] == ["'zoomed/*.png'", "'whole/*.png'"]
    assert choose(tmp_path, wishes(images="zoomed/*.png")).meaning.task == "binary"
    choices = choose(tmp_path, wishes(images="whole/*.png"))
    assert (choices.found.ids, choices.meaning.task) == (fronts, "multilabel")
    assert choices.meaning.classes == ("near", "far")


def test_classes_at_the_end_of_keys_stay_classes(tmp_path):
    """A key that is the name of no image ends in a class, as before."""
    images(tmp_path / "pool", sorted({id.partition("_")[0] for id in PAIRS}))
    table(tmp_path / "runs.csv", "shot,runs", rows_of(PAIRS))
    choices = choose(tmp_path, wishes(order="F"))
    assert (choices.meaning.task, choices.meaning.classes) == ("multilabel", ("near", "far"))


def test_the_ending_of_a_pattern():
    assert split_ending("a/*_left.png") == ("a/*.png", "_left")
    assert split_ending("a/*.png") == ("a/*.png", "")
    assert split_ending("a_b/*/x.png") == ("a_b/*/x.png", "")
    assert [one.pattern for one in file_sets([f"p/{id}.png" for id in PAIRS])] == ["p/*_far.png", "p/*_near.png"]
