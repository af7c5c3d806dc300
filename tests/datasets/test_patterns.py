"""Tests for kit/datasets/patterns.py: alternatives in braces, and the spellings of suffixes."""

import re

import cv2
import numpy as np
import pytest

from kit.datasets import Folder
from kit.datasets.patterns import Pattern


@pytest.mark.parametrize(
    ("pattern", "path", "id"),
    [
        ("{train,val}/*.png", "train/a1.png", "train/a1"),
        ("{train,val}/*.png", "val/a1.PNG", "val/a1"),
        ("{train,val}/*.png", "test/a1.png", None),
        ("data/{a,b}_x/*.jpg", "data/b_x/1.jpeg", "b_x/1"),
        ("part{,2}/*.tif", "part2/1.TIFF", "part2/1"),
        ("part{,2}/*.tif", "part/1.tif", "part/1"),
        ("{a.b,c}/*.png", "axb/1.png", None),
        ("*_mask.jpg", "7_mask.JPEG", "7"),
        ("*_mask.jpg", "7_MASK.jpg", None),
        ("images/*.jpg", "images/7.png", None),
        ("{id}/scan.npy", "p1/scan.NPY", "p1"),
        ("images/*.csv", "images/a.CSV", None),  # no image
        ("images/*", "images/a.b.Jpg", "a.b"),
        ("images/*.{tif,png}", "images/a.b.PNG", "a.b"),
        ("images/*.{tif,png}", "images/a.TIFF", "a"),
        ("images/*_{x.jpg,y.csv}", "images/a_x.JFIF", "a_x"),
        ("images/*_{x.jpg,y.csv}", "images/a_X.jpg", None),
        ("images/*.jp{,e}g", "images/a.b.JPG", "a.b"),
        ("images/*_{x.jpg,y.csv}", "images/a_y.CSV", None),  # no image
        ("images/*.tif{,f}", "images/a.TIF", "a"),
        ("{id}.{npy,png}", "p1.NPY", "p1"),
    ],
)
def test_alternatives_and_suffixes(pattern, path, id):
    pattern = Pattern(pattern)
    assert (pattern.id_of(path) if pattern.match(path) else None) == id


def test_alternatives_without_a_comma_or_with_a_slash_are_refused():
    for text in ("{train}/*.png", "{a/b,c}/*.png"):
        with pytest.raises(ValueError, match=re.escape("{train,val}")):
            Pattern(text)


def test_a_folder_reads_two_of_three_parts(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        for folder in (part, f"{part}_masks"):
            (tmp_path / folder).mkdir()
            for number in range(3):
                cv2.imwrite(str(tmp_path / folder / f"{number}.png"), rng.integers(0, 2, (8, 9), np.uint8))
    data = Folder(tmp_path, images="{train,val}/*.png", masks="{train,val}_masks/*.png", tests="test/*.png")
    assert data.ids == [f"{part}/{number}" for part in ("train", "val") for number in range(3)]
    assert data.test_ids == ["0", "1", "2"]
    for id in data.ids:
        part, number = id.split("/")
        np.testing.assert_array_equal(data.read_mask(id), cv2.imread(str(tmp_path / f"{part}_masks/{number}.png"), 0))


@pytest.mark.parametrize(
    ("pattern", "paths", "missing"),
    [
        ("{a,b}/{c,d}/*.png", ["a/c/1.png", "b/c/1.png"], ["d"]),
        ("{a,b}/{c,d}/*.png", ["a/c/1.png", "b/d/1.png"], []),
        ("{id}/{x, y}.png", ["1/x.png"], [" y"]),
        ("part{,2}/*.tif", ["part2/1.tif"], [""]),
        ("*.{tif,jpeg}", ["1.JPG", "2.tiff"], []),
        ("*.png", ["1.png"], []),
    ],
)
def test_alternatives_that_no_path_has(pattern, paths, missing):
    assert Pattern(pattern).missing(paths) == missing


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": "{early,lat}/*.png"}, "no file has 'lat' of '{early,lat}/*.png'"),
        ({"masks": "{earl,late}_m/*.png"}, "no file has 'earl' of '{earl,late}_m/*.png'"),
        ({"images": "{early, late}/*.png"}, "no blank beside the comma, or take out ' late'"),
        ({"tests": "new/*.{bmp,png}"}, "no file has 'bmp' of 'new/*.{bmp,png}'"),
    ],
)
def test_an_alternative_without_a_file_is_refused(tmp_path, changed, message):
    for folder in ("early", "late", "early_m", "late_m", "new"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), np.zeros((4, 5), np.uint8))
    asked = {"images": "{early,late}/*.png", "masks": "{early,late}_m/*.png", "tests": "new/*.{png,PNG}"}
    assert len(Folder(tmp_path, **asked).ids) == 2
    with pytest.raises(ValueError, match=re.escape(message)):
        Folder(tmp_path, **asked | changed)
