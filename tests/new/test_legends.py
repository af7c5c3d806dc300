"""Tests for kit/new/look/legends.py: names of classes in JSON and text files."""

import json

import cv2
import numpy as np
import pytest

from kit.datasets.files import DataFolder
from kit.new import Wishes, choose
from kit.new.look.legends import Legend, read_legends

NAMES = {1: "hull", 2: "mast"}


def draw(folder, name, text):
    """Images with masks of 0, 1 and 2, a sample with class labels in another order, and the file."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks", "test"):
        (folder / part).mkdir()
    for number in range(8):
        mask = np.zeros((40, 56), np.uint8)
        mask[4:20, 6:22], mask[22:36, 30:50] = 1, 2
        image = cv2.GaussianBlur(rng.integers(0, 256, (40, 56, 3), np.uint8), (3, 3), 1)
        for path, one in ((f"images/a{number}", image), (f"test/t{number}", image), (f"masks/a{number}", mask)):
            cv2.imwrite(str(folder / f"{path}.png"), one)
    lines = [f"t{number},{label}," for number in range(8) for label in ("mast", "hull")]
    (folder / "sample_submission.csv").write_text("\n".join(["id,class,rle", *lines]) + "\n")
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("parts.json", json.dumps({"1": "hull", "2": "mast"})),
        ("parts.json", json.dumps({"labels": {"mast": 2, "hull": 1, "sea": 0}})),
        ("meta.json", json.dumps({"info": {}, "categories": [{"id": 2, "name": "mast"}, {"id": 1, "name": "hull"}]})),
        ("classes.json", json.dumps(["hull", "mast"])),
        ("classes.txt", "hull\nmast\n"),
        ("names.txt", "# of the masks\n0: sea\n1: hull\n2: mast\n"),
        ("notes.txt", "mast = 2\nhull = 1\n"),
    ],
)
def test_a_file_names_the_classes_and_orders_the_labels(tmp_path, name, text):
    choices = choose(draw(tmp_path, name, text), Wishes(order="F", device="cpu"))
    assert choices.meaning.classes == ("sea" if "sea" in text else "background", "hull", "mast")
    assert choices.goal.dialect.labels == ("hull", "mast")
    assert f"named by {name}" in choices.meaning.reasons
    assert not any(name in one for one in choices.found.unused)


@pytest.mark.parametrize(("name", "text"), [("labels.json", '{"7": "sail"}'), ("class_map.yaml", "1: hull")])
def test_a_file_that_is_not_used_is_named(tmp_path, name, text):
    choices = choose(draw(tmp_path, name, text), Wishes(order="F", device="cpu", classes=("sea", "hull", "mast")))
    assert [one for one in choices.found.unused if one.startswith(name)]


def test_other_files_are_no_legends(tmp_path):
    for name, text in {"a.json": "{", "b.json": "[1, 2]", "train.txt": "s1\ns2\n", "c.txt": "", "d.json": "{}"}.items():
        (tmp_path / name).write_text(text)
    data = DataFolder(tmp_path)
    assert read_legends(data, data.files()[0]) == []


def test_colours_and_values_without_a_name():
    legend = Legend("x.json", {(255, 0, 0): "a", (0, 0, 9): "b"})
    assert legend.of([(0, 0, 0), (0, 0, 9)]) == {(0, 0, 0): "background", (0, 0, 9): "b"}
    assert legend.of([(0, 0, 0), (1, 1, 1)]) is None
