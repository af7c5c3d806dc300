"""TGS Salt and Data Science Bowl 2018: drawn in Kaggle's layouts, and the real files against their own CSVs."""

import csv
import runpy
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy_runs import disc, runs_of
from PIL import Image

from kit.datasets import Folder, Nuclei, Salt
from kit.datasets.scan import scan
from kit.submission import DSB2018, SALT, CsvMasks, compare_masks
from kit.submission.known import nuclei, salt

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
RECIPES = Path(__file__).parents[2] / "recipes"
SIZE = (101, 101)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_salt_as_kaggle_packs_it(tmp_path):
    masks = {id: disc(SIZE, 30, 20 + 9 * n, 12 * n) for n, id in enumerate("abcd")}
    for n, (id, mask) in enumerate(masks.items()):
        save(tmp_path / f"unpacked/images/{id}.png", np.full((*SIZE, 3), n, np.uint8))
        deep = n % 2
        save(tmp_path / f"unpacked/masks/{id}.png", mask * (np.uint16(65535) if deep else np.uint8(255)))
    root = tmp_path / "salt"
    root.mkdir()
    with zipfile.ZipFile(root / "train.zip", "w") as archive:
        for path in (tmp_path / "unpacked").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path / "unpacked"))
    (root / "train.csv").write_text("id,rle_mask\n" + "".join(f"{id},{runs_of(m)}\n" for id, m in masks.items()))
    data = Salt(root)
    assert (data.name, data.ids, data.test_ids, data.classes[1], data.sample_csv) == (
        "salt",
        [*"abcd"],
        [],
        "salt",
        None,
    )
    for id, mask in masks.items():
        np.testing.assert_array_equal(data.read_mask(id), mask)
    assert compare_masks(data, data.train_csv, SALT) == []
    assert salt(data).dialect == SALT
    assert data.fingerprint() == Salt(root).fingerprint()


def test_recipes_on_nuclei_have_the_same_groups_with_and_without_a_file(tmp_path):
    random = np.random.default_rng(0)
    for id in "xy":  # photographs, each in two tiles
        whole = cv2.GaussianBlur(random.normal(0, 255, (48, 96, 3)), (0, 0), 2) * 1.3 + 120
        whole = (whole + random.normal(0, 2, whole.shape)).clip(0, 255).astype(np.uint8)
        for at, tile in enumerate(np.split(whole, 2, axis=1)):
            save(tmp_path / f"stage1_train/{id}{at}/images/{id}{at}.png", tile)
            save(tmp_path / f"stage1_train/{id}{at}/masks/0.png", disc((48, 48), 20, 15, 5) * np.uint8(255))
    recipes = [runpy.run_path(str(path), run_name="imported") for path in sorted(RECIPES.glob("nuclei_*.py"))]
    assert len(recipes) == 2
    for table, groups in (("", ["x0", "x0", "y0", "y0"]), ("ImageId,group\nx0,1\nx1,2\ny0,1\ny1,1\n", [*"1211"])):
        if table:
            (tmp_path / "groups.csv").write_text(table)
        for recipe in recipes:
            assert recipe["opened"](recipe["Config"](data_dir=tmp_path)).groups == groups


def test_nuclei_as_kaggle_packs_them(tmp_path):
    for id, count in (("a", 1), ("b", 3)):
        save(
            tmp_path / f"stage1_train/{id}/images/{id}.png", np.zeros((40, 50, 4), np.uint8) + np.uint8([1, 2, 3, 255])
        )
        for n in range(count):
            save(tmp_path / f"stage1_train/{id}/masks/{n}.png", disc((40, 50), 9 + 11 * n, 15, 5) * np.uint8(255))
    save(tmp_path / "stage1_test/t/images/t.png", np.zeros((30, 30, 3), np.uint8))
    (tmp_path / "stage1_sample_submission.csv").write_text("ImageId,EncodedPixels\nt,\n")
    data = Nuclei(tmp_path, groups={"a": 1, "b": 1})
    assert (data.name, data.ids, data.test_ids, data.groups) == ("nuclei", ["a", "b"], ["t"], ["1", "1"])
    assert [int(data.read_mask(id).max()) for id in data.ids] == [1, 3]
    assert data.read_image("a").shape == (40, 50, 3)
    assert nuclei(data).metric.name
    found = scan(tmp_path)
    assert "has Data Science Bowl 2018's layout" in found.found
    assert found.problems == []
    save(tmp_path / "stage1_train/b/masks/1.png", np.zeros((40, 51), np.uint8))
    assert scan(tmp_path).problems == [
        "stage1_train/b/masks/1.png: a mask of (40, 51), expected (40, 50) like stage1_train/b/images/b.png"
    ]


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "salt").is_dir(), reason="needs the real salt in shared/data")
def test_the_real_salt_masks_are_those_of_its_csv():
    files = Salt(SHARED / "salt")
    table = Folder(SHARED / "salt", images="train/images", masks=CsvMasks("train.csv", SALT))
    assert (len(files.ids), len(files.test_ids), table.ids) == (1200, 80, files.ids)
    for id in files.ids:
        np.testing.assert_array_equal(files.read_mask(id), table.read_mask(id))


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "nuclei").is_dir(), reason="needs the real nuclei in shared/data")
def test_the_real_nuclei_are_those_of_their_csv():
    data = Nuclei(SHARED / "nuclei", groups=("groups.csv", "ImageId", "group"))
    table = Folder(
        SHARED / "nuclei",
        images="stage1_train/{id}/images/*.png",
        masks=CsvMasks("stage1_train_labels.csv", DSB2018),
        task="instances",
    )
    assert (len(data.ids), len(data.test_ids), len(set(data.groups)), table.ids) == (220, 25, 145, data.ids)
    with (SHARED / "nuclei/stage1_train_labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8501
    for id in data.ids[::20]:
        labels, other = data.read_mask(id), table.read_mask(id)
        shared = np.unique(np.stack([labels.ravel(), other.ravel()]), axis=1)
        assert shared.shape[1] == labels.max() + 1 == other.max() + 1  # a number of one is a number of the other
        flat = (labels > 0).flatten("F")
        for row in (row for row in rows if row["ImageId"] == id):
            starts, lengths = np.array(row["EncodedPixels"].split(), int).reshape(-1, 2).T
            assert all(
                flat[start - 1 : start - 1 + length].all() for start, length in zip(starts, lengths, strict=True)
            )
