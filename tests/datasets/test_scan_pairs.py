"""scan: images and masks whose folders do not show which belong together, and images of several kinds."""

import sys

import numpy as np
import pytest
from encoded import save

from kit.cli import main
from kit.datasets.pairs import find_pairs, is_like_mask
from kit.datasets.scan import scan


def stored(folder, path, array, kind="PNG"):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(save(array, kind))


def drawn(*shape, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(sum(shape)).integers(0, top, shape).astype(dtype)


LAYOUTS = [
    ("scans/train/{}.png", "labels/patient_{}/{}_seg.png"),
    ("{}/ct.png", "truth/{}/ct_mask.png"),  # the stem is there many times: nothing is known
    ("data/a/{}.png", "data/b/{}_GT.png"),
    ("case{}/scan/{}.png", "case{}/manual/{}.png"),
    ("x/{}.png", "y/masks/{}.png"),
]


@pytest.mark.parametrize(("image", "mask"), LAYOUTS)
def test_masks_elsewhere_are_compared_or_it_is_said_that_they_were_not(tmp_path, image, mask):
    for number in ("p1", "p2", "p3"):
        shape = (12, 15)
        stored(tmp_path, image.replace("{}", number), drawn(*shape, 3))
        stored(tmp_path, mask.replace("{}", number), np.zeros((12, 16) if number == "p2" else shape, np.uint8))
    _found, problems, doubts = scan(tmp_path)
    if "ct" in image:
        assert problems == []
        assert any("pairs unknown" in doubt and "Sizes were not compared" in doubt for doubt in doubts)
        return
    wrong, right = mask.replace("{}", "p2"), image.replace("{}", "p2")
    assert problems == [f"{wrong}: (12, 16) pixels (height, width), expected (12, 15) like {right}"]
    assert doubts == []


def test_a_file_beside_pairs_that_has_no_partner_is_a_doubt(tmp_path):
    for id in ("a", "b", "c"):
        stored(tmp_path, f"scans/train/{id}.png", drawn(8, 9))
    for id in ("b", "c", "d"):
        stored(tmp_path, f"labels/{id}_seg.png", np.zeros((8, 9), np.uint8))
    stored(tmp_path, "scans/test/t.png", drawn(8, 9))
    found, problems, doubts = scan(tmp_path)
    assert "scans/train and labels are compared: 2 pairs, found by the names of files." in found
    assert problems == []
    assert doubts == ["scans/train/a.png has no mask in labels", "labels/d_seg.png has no image in scans/train"]


def test_many_masks_an_image_are_not_compared_and_it_is_said(tmp_path):
    for id in ("f00", "ba2"):
        stored(tmp_path, f"train/{id}/images/{id}.png", drawn(8, 9, 3))
        for cell in ("1", "2"):
            stored(tmp_path, f"train/{id}/masks/{id}{cell}.png", np.zeros((8, 9), np.uint8))
    stored(tmp_path, "more/images/one.png", drawn(8, 9, 3))
    assert "no file's name shows which mask is of which image" in scan(tmp_path).doubts[0]
    stored(tmp_path, "more/masks/one.png", np.zeros((8, 9), np.uint8))
    (doubt,) = scan(tmp_path).doubts
    assert "4 files named like masks belong to no image" in doubt


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("images/a.png", False),
        ("labels/images/a.png", False),
        ("images/labels/a.png", True),
        ("a_mask.png", True),
        ("weights/a.png", False),
        ("Train_Masks/a.png", True),
        ("scans/train/a.tif", False),
    ],
)
def test_what_is_like_a_mask(path, expected):
    assert is_like_mask(path) is expected


def test_names_are_paired_only_where_each_is_there_once():
    (pair,) = find_pairs(["x/a.png", "x/b.png", "z/b.png", "labels/a.png", "labels/b.png"])
    assert pair.masks == {"x/a.png": "labels/a.png"}


KINDS = {
    "u16 among u8": (drawn(8, 9, 3), drawn(8, 9, dtype=np.uint16), "uint16, 1 channel; expected uint8, 3 channels"),
    "alpha among RGB": (drawn(8, 9, 3), drawn(8, 9, 4), "uint8, 4 channels; expected uint8, 3 channels"),
    "grey among RGB": (drawn(8, 9, 3), drawn(8, 9), None),
    "opaque alpha": (drawn(8, 9, 3), np.concatenate([drawn(8, 9, 3), np.full((8, 9, 1), 255, np.uint8)], 2), None),
    "grey as RGB": (drawn(8, 9), np.repeat(drawn(8, 9, 1), 3, axis=2), None),
}


@pytest.mark.parametrize(("usual", "odd", "told"), KINDS.values(), ids=KINDS)
def test_images_of_one_folder_are_of_one_kind(tmp_path, usual, odd, told):
    for number in range(4):
        array = odd if number == 2 else usual
        for folder in ("images", "patient3", "patient14"):  # of the last two it is not known what they hold
            stored(tmp_path, f"{folder}/{number}.png", array)
        stored(tmp_path, f"masks/{number}.png", np.zeros((8, 9), np.uint8))
    _found, problems, doubts = scan(tmp_path)
    if told is None:
        assert [*problems, *doubts] == []
        return
    assert problems == [
        f"images/2.png: {told} as most of images. Convert it, or move it to a folder of its own",
    ]
    assert [doubt.split(":")[0] for doubt in doubts] == ["patient14/2.png", "patient3/2.png"]


def test_the_command_never_says_valid_alone_where_it_compared_nothing(tmp_path, monkeypatch, capsys):
    stored(tmp_path, "a.png", drawn(8, 9))
    monkeypatch.setattr(sys, "argv", ["kit", "lint", str(tmp_path)])
    assert main() == 0
    told = capsys.readouterr().out
    assert "warning: pairs unknown" in told
    assert told.endswith(": valid, but see the warnings\n")
