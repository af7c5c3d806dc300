"""Tests for kit/new/look/file_sets.py, pairing.py and roles.py: names alone."""

import pytest

from kit.new.look.file_sets import FileSet, file_sets
from kit.new.look.pairing import pair_sets

LAYOUTS = {
    "parallel folders": (
        [f"{folder}/{n:03}.png" for folder in ("images", "masks") for n in range(9)],
        {"images/*.png": 9, "masks/*.png": 9},
    ),
    "an ending": (
        [f"data/{n}{end}" for end in (".jpg", "_mask.png", "-GT.bmp") for n in "abcde"],
        {"data/*.jpg": 5, "data/*_mask.png": 5, "data/*-GT.bmp": 5},
    ),
    "a folder an image": (
        [f"train/{id}/{part}/{n}.png" for id in "pqrst" for part in ("images", "masks") for n in range(3)],
        {"train/*/images/*.png": 15, "train/*/masks/*.png": 15},
    ),
    "few cases, numbered": (
        [f"scans/case{case}/day{day}/slice_{n}.png" for case in (7, 12) for day in (1, 30) for n in range(4)],
        {"scans/*/*/*.png": 16},
    ),
    "two patients by name": (
        [f"test/Patient {who}/Field {n}/DAPI.tif" for who in ("Yara P", "Zed Q") for n in (1, 2)],
        {"test/*/*/DAPI.tif": 4},
    ),
    "a file a channel": (
        [f"train/{record}/band_{band}.npy" for record in range(100, 106) for band in ("08", "14")],
        {"train/*/band_08.npy": 6, "train/*/band_14.npy": 6},
    ),
    "a file a class": (
        [f"masks/{n}_{name}.png" for n in ("x1", "x2", "x3") for name in ("liver", "spleen")],
        {"masks/*_liver.png": 3, "masks/*_spleen.png": 3},
    ),
    "slices by number are no classes": (
        [f"train/p{patient}-slice{number}.png" for patient in "ab" for number in range(4)],
        {"train/*.png": 8},
    ),
    "a file a channel by its ending": (
        [f"train/{id}_ch{number}.tif" for id in "abc" for number in (1, 2)],
        {"train/*_ch1.tif": 3, "train/*_ch2.tif": 3},
    ),
    "views by number are no classes": (
        [f"train/{car}_{view:02}.jpg" for car in "ab" for view in range(4)],
        {"train/*.jpg": 8},
    ),
    "a lone file": (["volume.tif", "notes/readme.png"], {"volume.tif": 1, "notes/readme.png": 1}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_a_layout_become_a_few_patterns(layout):
    paths, expected = LAYOUTS[layout]
    found = file_sets(paths)
    assert {one.pattern: len(one.paths) for one in found} == expected
    assert sorted(path for one in found for path in one.paths) == sorted(paths)  # each file in one set


def named(pattern, *paths):
    return FileSet(pattern, paths)


@pytest.mark.parametrize(
    ("images", "masks", "patterns", "many"),
    [
        (
            named("a/*.jpg", "a/1.jpg", "a/2.jpg"),
            named("b/*.png", "b/1.png", "b/2.png"),
            ("a/*.jpg", "b/{id}.png"),
            False,
        ),
        (
            named("t/*/images/*.png", "t/u/images/u.png", "t/v/images/v.png"),
            named("t/*/masks/*.png", "t/u/masks/1.png", "t/u/masks/2.png", "t/v/masks/1.png"),
            ("t/{id}/images/*.png", "t/{id}/masks/*.png"),
            True,
        ),
        (
            named("*/scan/*.tif", "p1/scan/a.tif", "p2/scan/a.tif"),
            named("*/label/*_seg.tif", "p1/label/a_seg.tif", "p2/label/a_seg.tif"),
            ("*/scan/*.tif", "*/label/*_seg.tif"),
            False,
        ),
    ],
)
def test_sets_pair_by_the_text_of_their_wildcards(images, masks, patterns, many):
    pair = pair_sets(images, masks)
    assert pair.patterns() == patterns
    assert pair.is_many == many
    assert sorted(pair.shared) == sorted(images.paths)


def test_sets_of_other_names_do_not_pair():
    assert (
        pair_sets(named("a/*.jpg", "a/1.jpg", "a/2.jpg", "a/3.jpg"), named("b/*.png", "b/7.png", "b/3.png", "b/8.png"))
        is None
    )
