"""Folder: images and test images that are numbered alike, in the usual layouts."""

import numpy as np
import pytest
from encoded import save
from tiny_run import ALONE

from kit.data import check_dataset
from kit.datasets import Folder
from kit.folds.keeping import keep_folds
from kit.submission import Competition, Dialect
from kit.submission.lint import check_sample

LAYOUTS = {
    "train and test": ("train/{}.png", "masks/{}_mask.png", "test/{}.png", "train/*.png", "masks/{id}_mask.png"),
    "below images": ("images/train/{}.png", "labels/train/{}.png", "images/test/{}.png", "images/train",
                     "labels/train"),
    "one more folder": ("images/{}.png", "masks/{}.png", "test_images/{}.png", "images/*.png", "masks/*.png"),
    "a folder an image": ("train/{}/scan.png", "train/{}/mask.png", "test/{}/scan.png", "train/{id}/scan.png",
                          "train/{id}/mask.png"),
    "masks by patient": ("scans/train/{}.png", "labels/p{}/{}_seg.png", "scans/test/{}.png", "scans/train/*.png",
                         "labels/*/{id}_seg.png"),
    "at the top": ("{}.png", "m/{}.png", "test/{}.png", "*.png", "m/{id}.png"),
}  # fmt: skip
TESTS = ["test/*.png", "images/test", "test_images/*.png", "test/{id}/scan.png", "scans/test/*.png", "test/*.png"]
FRONTS = ["train/", "train/", "images/", "train/", "train/", "train/"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(save(np.full((6, 7), value, np.uint8), "PNG"))


@pytest.mark.parametrize(
    ("layout", "tests", "front"), list(zip(LAYOUTS.values(), TESTS, FRONTS, strict=True)), ids=list(LAYOUTS)
)
def test_images_get_their_folder_and_test_ids_stay_those_of_the_csv(tmp_path, layout, tests, front):
    for number in range(1, 5):
        put(tmp_path / layout[0].replace("{}", str(number)), number)
        put(tmp_path / layout[1].replace("{}", str(number)), number % 2)
    for number in range(3, 7):
        put(tmp_path / layout[2].replace("{}", str(number)), 100 + number)
    seen = []
    data = Folder(
        tmp_path, images=layout[3], masks=layout[4], tests=tests, groups=lambda id: seen.append(id) or int(id) // 3
    )
    assert data.ids == [f"{front}{number}" for number in range(1, 5)]
    assert data.groups == ["0", "0", "1", "1"]
    assert seen == ["1", "2", "3", "4"]  # groups go by what the pattern names
    assert data.test_ids == ["3", "4", "5", "6"]
    assert data.notes == (f"The ids of all training images begin with {front}: 2 test images had the same id as one.",)
    assert [data.read_image(id).max() for id in (*data.ids, *data.test_ids)] == [1, 2, 3, 4, 103, 104, 105, 106]
    assert [data.read_mask(id).max() for id in data.ids] == [1, 0, 1, 0]
    assert check_dataset(data).images == 4
    (tmp_path / "sample.csv").write_text("img,rle_mask\n" + "".join(f"{id},\n" for id in data.test_ids))
    check_sample(Competition(data, Dialect(), data.test_ids, sample_csv=tmp_path / "sample.csv"))


def test_without_a_shared_id_nothing_changes(tmp_path):
    for number in (1, 2):
        put(tmp_path / f"train/{number}.png", 0)
        put(tmp_path / f"masks/{number}.png", 1)
    put(tmp_path / "test/3.png", 0)
    data = Folder(tmp_path, images="train", masks="masks", tests="test")
    assert (data.ids, data.test_ids, data.notes) == (["1", "2"], ["3"], ())


def test_a_test_id_that_has_the_folder_too(tmp_path):
    put(tmp_path / "train/1.png", 5)
    put(tmp_path / "masks/1.png", 1)
    for name in ("1", "train/1"):
        put(tmp_path / f"test/{name}.png", 9)
    data = Folder(tmp_path, images="train", masks="masks", tests="test")
    assert (data.ids, data.test_ids) == (["train/train/1"], ["1", "train/1"])
    assert data.read_image("train/train/1").max() == 5


def test_a_file_that_both_patterns_name_is_refused(tmp_path):
    for number in (1, 2, 3):
        put(tmp_path / f"images/{number}.png", 0)
        put(tmp_path / f"masks/{number}.png", 1)
    with pytest.raises(ValueError, match=r"images/2\.png is an image of `images` and of `tests`") as caught:
        Folder(tmp_path, images="images/*.png", masks="masks/*.png", tests="images/[12].png")
    assert "images/3.png" not in str(caught.value)
    with pytest.raises(ValueError, match="let each pattern match its own files alone"):
        Folder(tmp_path, images="images/*.png", masks="masks/*.png", tests="*/*.png")


def test_a_run_folder_says_when_test_images_came_later_and_renamed_all_others(tmp_path):
    for number in range(1, 5):
        put(tmp_path / f"data/train/{number}.png", number)
        put(tmp_path / f"data/masks/{number}.png", number % 2)
    put(tmp_path / "data/test/1.png", 100)
    patterns = {"images": "train/*.png", "masks": "masks/{id}.png"}
    before = Folder(tmp_path / "data", **patterns)
    later = Folder(tmp_path / "data", **patterns, tests="test/*.png")
    for number, (first, second, when) in enumerate([(before, later, "now"), (later, before, "then")]):
        folder = tmp_path / f"run{number}"
        keep_folds(folder, first, ALONE, lambda: np.arange(4) % 2)
        (folder / "fold0").mkdir()
        (folder / "fold0/finished.json").write_text("{}")
        said = f"they are the same ones, {when} with train/ in front, as in train/1. "
        with pytest.raises(ValueError, match=rf"folds\.csv .*: {said}.*`tests` has changed"):
            keep_folds(folder, second, ALONE, lambda: np.arange(4) % 2)
