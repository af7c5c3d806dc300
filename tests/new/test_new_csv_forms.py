"""`kit new` on CSVs of masks in other forms: columns, keys, spellings, samples; and the recipes for them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from csv_folders import IDS, blob, images, masks, names, of_classes, opened, rows_of, table, text_of, wishes

from kit.new import choose, decide, recipe_text
from kit.new.look.tables import Table

CONFIG = Path(__file__).parents[2] / "pyproject.toml"


def test_a_csv_of_masks_with_other_columns_and_keys_than_the_sample(tmp_path):
    images(tmp_path / "train", IDS)
    images(tmp_path / "test", names(4, "q"))
    rows = [f"{id},{at},{text_of(blob(at))}" for at, id in enumerate(IDS)]
    table(tmp_path / "train.csv", "picture,age,encoding_of_mask", rows)
    table(tmp_path / "sample_submission.csv", "file_name,rle", [f"{id}.png," for id in names(4, "q")])
    choices = choose(tmp_path, wishes())
    assert (choices.goal.dialect.columns, choices.goal.dialect.key) == (("file_name", "rle"), "{id}.png")
    np.testing.assert_array_equal(opened(choices, tmp_path).read_mask(IDS[3]), blob(3))


def test_classes_in_the_keys_of_masks_and_in_a_column_of_the_sample(tmp_path):
    of_classes(tmp_path, in_key=True)
    rows = [f"{id},{label}," for id in names(4, "q") for label in ("liver", "node")]
    table(tmp_path / "sample_submission.csv", "id,organ,rle", rows)
    choices = choose(tmp_path, wishes())
    assert choices.goal.dialect.class_column == "organ"
    assert opened(choices, tmp_path).read_mask(IDS[3]).sum() == blob(3).sum()


def test_slices_that_every_patient_has_are_no_classes(tmp_path):
    ids = [f"p{patient}x_{number}" for patient in range(4) for number in range(3)]
    images(tmp_path / "train", ids)
    table(tmp_path / "train.csv", "file,runs", [f"{id},{text_of(blob(at))}" for at, id in enumerate(ids)])
    tests = [f"q{patient}x_{number}" for patient in range(2) for number in range(3)]
    images(tmp_path / "test", tests)
    table(tmp_path / "sample_submission.csv", "file,runs", [f"{id}," for id in tests])
    choices = choose(tmp_path, wishes())
    assert (choices.meaning.task, choices.goal.dialect.rows) == ("binary", "image")
    assert opened(choices, tmp_path).ids == ids
    for id in tests:
        (tmp_path / f"test/{id}.png").unlink()  # the tests are hidden
    assert choose(tmp_path, wishes()).goal.dialect == choices.goal.dialect


@pytest.mark.parametrize(
    ("path", "is_sample"),
    [
        ("samples/train.csv", False),
        ("submission files/labels.csv", False),
        ("train_samples.csv", False),
        ("samples.csv", False),
        ("subjects.csv", False),
        ("x/stage1_sample_submission.csv", True),
        ("sampleSubmission.csv", True),
        ("sample.csv", True),
        ("submit.csv", True),
        ("test-stub.csv", True),
    ],
)
def test_a_sample_submission_is_known_by_its_own_name(path, is_sample):
    assert Table(path, None, ["id", "rle"]).is_sample == is_sample


def test_a_csv_below_a_folder_of_samples_holds_masks(tmp_path):
    images(tmp_path / "samples/pics", IDS)
    table(tmp_path / "samples/rows.csv", "file,runs", rows_of(IDS))
    assert choose(tmp_path, wishes()).found.mask_table.path == "samples/rows.csv"


def pairs(text):
    numbers = text.split()
    return list(zip(numbers[::2], numbers[1::2], strict=True))


SPELLINGS = {
    "commas": (lambda text: f'"{text.replace(" ", ",")}"', "numbers with other marks than blanks"),
    "semicolons": (lambda text: text.replace(" ", "; "), "numbers with other marks than blanks"),
    "a list": (lambda text: f'"[{text.replace(" ", ", ")}]"', "numbers with other marks than blanks"),
    "pairs": (lambda text: " ".join(map(":".join, pairs(text))), "numbers with other marks than blanks"),
    "tuples": (lambda text: f'"[{", ".join(f"({a}, {b})" for a, b in pairs(text))}]"', "lists or outlines"),
    "polygons": (lambda text: f'"POLYGON (({", ".join(map(" ".join, pairs(text)))}))"', "lists or outlines"),
    "points": (lambda text: " ".join(f"{one}.5" for one in text.split()), "decimal numbers"),
    "coco": (lambda text: "PPYo0h0X1^OcTd;0001O" + "".join(chr(60 + len(text) % 30 + at) for at in range(9)), "coded"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_masks_in_another_spelling_are_named(tmp_path, spelling):
    spell, kind = SPELLINGS[spelling]
    images(tmp_path / "train", IDS)
    rows = [f"{id},{spell(text_of(blob(at)))}" for at, id in enumerate(IDS)]
    table(tmp_path / "labels.csv", "file,mask_text", rows)
    with pytest.raises(
        ValueError, match=f"labels.csv: the cells of the column mask_text hold {kind}(?s:.*)'start leng"
    ):
        choose(tmp_path, wishes())


def test_ends_in_place_of_lengths_are_named(tmp_path):
    images(tmp_path / "train", IDS)
    texts = [" ".join(f"{a} {int(a) + int(b)}" for a, b in pairs(text_of(blob(at)))) for at in range(12)]
    table(tmp_path / "labels.csv", "file,runs", [f"{id},{text}" for id, text in zip(IDS, texts, strict=True)])
    with pytest.raises(ValueError, match="they look like 'start end', expected 'start length'"):
        choose(tmp_path, wishes())


@pytest.mark.parametrize("header", ["id,bbox", "id,mask_file", "id,taken", "id,mask_share"])
def test_facts_are_no_masks_in_another_spelling(tmp_path, header):
    from kit.new.look.spellings import odd_spelling

    cell = {"bbox": '"[3, 4, 20, 30]"', "mask_file": "masks/a_1.png", "taken": "2019-02-03", "mask_share": "0.25"}
    path = table(tmp_path / "a.csv", header, [f"{id},{cell[header.partition(',')[2]]}" for id in IDS])
    assert odd_spelling("a.csv", path, header.split(",")) is None


def test_a_sample_in_another_spelling_is_a_problem(tmp_path):
    images(tmp_path / "train", IDS)
    images(tmp_path / "test", names(3, "q"))
    table(tmp_path / "train.csv", "file,runs", rows_of(IDS))
    table(tmp_path / "sample_submission.csv", "file,runs", [f'{id},"[1, 5]"' for id in names(3, "q")])
    [problem] = choose(tmp_path, wishes()).found.problems
    assert "sample_submission.csv: the cells of the column runs hold" in problem


def test_a_run_of_the_sample_decides_where_counting_begins(tmp_path):
    """Blobs touch no edge, so their runs cannot tell 0 from 1. Mask files without a CSV cannot either."""
    images(tmp_path / "train", IDS)
    images(tmp_path / "test", names(3, "q"))
    table(tmp_path / "train.csv", "file,runs", rows_of(IDS, base=0))
    table(tmp_path / "sample_submission.csv", "file,runs", [f"{id},0 3" for id in names(3, "q")])
    assert choose(tmp_path, wishes()).goal.dialect.base == 0
    table(tmp_path / "sample_submission.csv", "file,runs", [f"{id},1 3" for id in names(3, "q")])
    assert choose(tmp_path, wishes()).goal.dialect.base == 1
    (tmp_path / "train.csv").unlink()
    masks(tmp_path / "truth", IDS)
    assert choose(tmp_path, wishes(order="F")).goal.dialect.base == 1
    table(tmp_path / "sample_submission.csv", "file,runs", [f"{id},0 3" for id in names(3, "q")])
    assert choose(tmp_path, wishes(order="F")).goal.dialect.base == 0
    assert choose(tmp_path, wishes(order="F", base=1)).goal.dialect.base == 1


def test_masks_in_the_sample_tell_the_order(tmp_path):
    images(tmp_path / "train", IDS)
    masks(tmp_path / "truth", IDS)
    images(tmp_path / "test", names(6, "q"))
    rows = [f"{id},{text_of(blob(at + 50))}" for at, id in enumerate(names(6, "q"))]
    table(tmp_path / "sample_submission.csv", "file,runs", rows)
    assert choose(tmp_path, wishes()).goal.dialect.order == "F"


def test_images_in_folders_with_keys_by_name(tmp_path):
    for at, id in enumerate(IDS):
        images(tmp_path / f"train/patient{at % 5}", [id])
    table(tmp_path / "train.csv", "file,runs", rows_of(IDS))
    choices = choose(tmp_path, wishes(order="F"))
    assert choices.found.patterns["images"] == "train/*/{id}.png"
    assert opened(choices, tmp_path).ids == IDS


def test_open_questions_do_not_hide_what_was_found(tmp_path):
    choices = decide(of_classes(tmp_path, size=(48, 48)), wishes(metric="dice"))
    assert [one.flag for one in choices.questions] == ["--order", "--metric"]
    assert [one.is_refused for one in choices.questions] == [False, True]
    assert dict(choices.reasons)["task"].startswith("multilabel")


def named_tests(folder):
    images(folder / "pool", IDS)
    table(folder / "train.csv", "file,runs", [*rows_of(IDS[:7], ending=".png"), f"{IDS[7]}.png,-1"])
    table(folder / "sample_submission.csv", "file,runs", [f"{id}.png," for id in IDS[9:]])
    return wishes(empty="-1")


def other_columns(folder):
    images(folder / "train", IDS)
    images(folder / "test", names(4, "q"))
    rows = [f"{id}.png,{at},{text_of(blob(at))}" for at, id in enumerate(IDS)]
    table(folder / "train.csv", "name_of_the_picture,age_of_the_patient,encoding_of_mask", rows)
    table(folder / "sample_submission.csv", "file_name,rle", [f"{id}," for id in names(4, "q")])
    return wishes()


def some_masks(folder):
    images(folder / "pool", IDS)
    masks(folder / "truth", IDS[:6])
    return wishes()


@pytest.mark.parametrize("draw", [named_tests, other_columns, some_masks])
def test_the_recipe_is_in_the_house_style(tmp_path, draw):
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed; the extra dev brings it")
    folder, recipe = tmp_path / "data", tmp_path / "mine.py"
    text = recipe_text(choose(folder, draw(folder)), Path("data"), Path("recipes/mine.py"))
    assert len(text.splitlines()) <= 120
    recipe.write_text(text)
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        command = [sys.executable, "-m", "ruff", *command, "--config", CONFIG, recipe]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
