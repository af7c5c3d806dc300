"""`python -m kit new`: what it prints and writes where questions are open, for people and for programs."""

import json

import pytest
from csv_folders import SIZE, blob, images, masks, names, table, text_of

from kit.new import Asked, Wishes, new
from kit.new.look.hints import hint

IDS = names(9)


@pytest.fixture
def square(tmp_path):
    """Square images with rows of two classes, which show no order; empty masks are written in two ways."""
    folder = tmp_path / "data"
    images(folder / "train", IDS, (48, 48))
    images(folder / "test", names(3, "q"), (48, 48))
    rows = [f"{id},{label},{text_of(blob(at, (48, 48)))}" for at, id in enumerate(IDS) for label in "ab"]
    table(folder / "train.csv", "id,kind_class,runs", rows)
    empties = [f"{id},{label},{'-1' if label == 'a' else 'nan'}" for id in names(3, "q") for label in "ab"]
    table(folder / "sample_submission.csv", "id,kind_class,runs", empties)
    return folder


def test_all_questions_come_below_what_was_found(square, tmp_path, capsys):
    recipe = tmp_path / "mine.py"
    assert new(recipe, square, Wishes(device="cpu", metric="dice")) == 1
    lines = capsys.readouterr().out.splitlines()
    starts = [line.split(" ")[0] for line in lines]
    assert starts.index("images") < starts.index("task") < starts.index("size") < starts.index("question")
    assert [line.strip() for line in lines if line.startswith("   ")] == [
        "--empty -1",
        "--empty nan",
        "--order C            along rows",
        "--order F            down columns",
    ]
    assert starts.count("question") == 2
    assert starts.count("refused") == 1
    assert not recipe.exists()


def test_the_answers_write_the_recipe(square, tmp_path, capsys):
    recipe = tmp_path / "mine.py"
    assert new(recipe, square, Wishes(device="cpu", order="F", empty="nan")) == 0
    assert "question" not in capsys.readouterr().out
    assert 'empty="nan"' in recipe.read_text()


def test_questions_for_programs(square, capsys):
    assert new(None, square, Wishes(device="cpu", empty="-1"), as_json=True) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["question"] == facts["questions"][0]
    assert facts["question"]["flag"] == "--order"
    assert [one["value"] for one in facts["question"]["choices"]] == ["C", "F"]
    assert facts["task"] == "multilabel"
    assert new(None, square, Wishes(device="cpu", empty="-1", order="C"), as_json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["question"], facts["questions"]) == (None, [])


def test_without_masks_all_that_is_there_is_listed(tmp_path, capsys):
    images(tmp_path / "scans", IDS)
    table(tmp_path / "notes.csv", "id,age", [f"{id},{at}" for at, id in enumerate(IDS)])
    (tmp_path / "broken.csv").write_bytes(b"PK\x03\x04")
    for as_json in (False, True):
        assert new(None, tmp_path, Wishes(device="cpu"), as_json=as_json) == 1
        text = capsys.readouterr().out
        for told in ("scans/*.png: 9", "notes.csv: no run lengths; columns id, age", "broken.csv", "--masks FILE.csv"):
            assert told in text
        assert text.count("broken.csv: broken.csv") == 0
    assert json.loads(text)["question"]["flag"] == "--masks"


def test_a_wrong_flag_is_called_refused(tmp_path, capsys):
    images(tmp_path / "im", IDS)
    masks(tmp_path / "ma", IDS)
    for said in (Wishes(device="cpu", order="F"), Wishes(Asked(masks="none/*.png"), device="cpu")):
        assert new(None, tmp_path, said) == 1
        assert "refused   " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a/{id}/images/{id}.png", "a/{id}/images/*.png"),  # the file has another name than its folder
        ("a/{id}.png", "a/**/*.png"),
        ("a/u/images/*.jpg", "a/u/images/*.*"),
        ("images/*.png", "**/*.png"),
    ],
)
def test_a_pattern_without_files_gets_a_likely_one(text, meant):
    assert repr(meant) in hint(text, ["a/u/images/1.png", "a/v/images/2.png"])


def test_no_hint_where_nothing_is_near():
    assert hint("b/{id}.tif", ["a/x.png"]) == ""


def test_id_that_would_name_several_images_is_a_wildcard(tmp_path, capsys):
    for patient in range(3):
        images(tmp_path / f"scans/p{patient}", IDS[:4])
        masks(tmp_path / f"outlines/p{patient}", IDS[:4])
    asked = Asked(images="scans/{id}/*.png", masks="outlines/{id}/*.png")
    recipe = tmp_path / "mine.py"
    assert new(recipe, tmp_path, Wishes(asked, device="cpu")) == 0
    assert "are read as scans/*/*.png and outlines/*/*.png" in capsys.readouterr().out
    space = {"__name__": "recipe"}
    exec(compile(recipe.read_text(), recipe, "exec"), space)
    assert len(space["read_data"](tmp_path).ids) == 12
    assert space["read_data"](tmp_path).shape("p1/" + IDS[2]) == SIZE
