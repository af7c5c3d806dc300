"""Tests for kit/cli/lint.py: keys whose last words may be classes, or parts of the names of images."""

import cv2
import numpy as np
import pytest

from kit.cli.lint import Lint

ROWS = [f"h{number}_{end}" for number in range(6) for end in ("near", "far")]


def written(folder, name, keys, header="shot,runs"):
    (folder / name).write_text("\n".join([header, *(f"{key},1 3" for key in keys)]) + "\n")
    return folder / name


def images(folder, names):
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((20, 30), np.uint8))
    return folder


def test_names_of_images_decide(tmp_path, capsys):
    csv = written(tmp_path, "mine.csv", ROWS)
    sample = written(tmp_path, "sample.csv", ROWS)
    whole = Lint(csv, sample, images=images(tmp_path / "a", ROWS))
    assert whole.dialect(sample).key == "{id}"
    assert whole.run() == 0
    assert "a row for each image;" in capsys.readouterr().out
    fronts = Lint(csv, sample, images=images(tmp_path / "b", [f"h{number}" for number in range(6)]))
    assert fronts.dialect(sample).labels == ("near", "far")
    assert fronts.run() == 0


def test_without_images_two_endings_are_read_as_ids_and_that_is_said(tmp_path, capsys):
    sample = written(tmp_path, "sample.csv", ROWS)
    assert Lint(sample, sample).dialect(sample).key == "{id}"
    assert "keys end in _near, _far, and are read as ids of images. If these are classes: --rows class" in (
        capsys.readouterr().out
    )
    assert Lint(sample, sample, rows="class").dialect(sample).labels == ("near", "far")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("keys", "header", "labels"),
    [
        ([f"{number}ab.jpg_{kind}" for number in range(3) for kind in (1, 2, 3, 4)], "ImageId_ClassId,runs", "1234"),
        ([f"{number}ab.jpg_{kind}" for number in range(3) for kind in "ab"], "image,runs", "ab"),
        ([f"{number}ab_{kind}" for number in range(3) for kind in "ab"], "Image_Label,runs", "ab"),
    ],
)
def test_keys_that_say_class_stay(tmp_path, capsys, keys, header, labels):
    sample = written(tmp_path, "sample.csv", keys, header)
    assert Lint(sample, sample).dialect(sample).labels == tuple(labels)
    assert capsys.readouterr().out == ""


def test_more_endings_are_classes_and_that_is_said(tmp_path, capsys):
    sample = written(tmp_path, "sample.csv", [f"{number}x_{kind}" for number in range(4) for kind in "abcd"])
    assert Lint(sample, sample).dialect(sample).labels == tuple("abcd")
    assert "are read as classes. If whole keys are images: --rows image" in capsys.readouterr().out
