"""CsvMasks: the true masks of a Folder, from the run lengths of each competition's own train.csv."""

import pickle
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy_runs import disc, runs_of
from PIL import Image

from kit.data import BadImage, check_dataset
from kit.datasets import DataFolder, Folder
from kit.datasets.masks import Wanted
from kit.submission import (
    AIRBUS,
    CLOUDS,
    CONTRAILS,
    DSB2018,
    HUBMAP,
    SALT,
    SEVERSTAL,
    SIIM,
    UW_MADISON,
    Competition,
    CsvMasks,
    Dialect,
    compare_masks,
)

SIZE = (24, 36)
IDS = [f"{number:03}a" for number in range(5)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def layers(number: int, count: int) -> list[np.ndarray]:
    """Masks of one image that do not overlap; every third one has none in its last layer."""
    masks = [disc(SIZE, 6 + 2 * number, 6 + 9 * k, 4) for k in range(count)]
    return [*masks[:-1], np.zeros(SIZE, bool)] if number % 3 == 2 else masks


def write(root: Path, header: str, rows: list[str], suffix: str = ".jpg", ids: list[str] = IDS) -> Path:
    (root / "train").mkdir(parents=True)
    for number, id in enumerate(ids):
        Image.fromarray(np.full((*SIZE, 3), 9 * number, np.uint8)).save(root / f"train/{id}{suffix}")
    (root / "train.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def test_an_image_a_row(tmp_path):
    """TGS salt and HuBMAP: the column of the masks has another name in train.csv than in the submission."""
    for name, dialect, header in (("salt", SALT, "id,rle_mask"), ("hubmap", HUBMAP, "id,encoding")):
        rows = [f"{id},{runs_of(layers(n, 1)[0])}" for n, id in enumerate(IDS)]
        data = Folder(write(tmp_path / name, header, rows), images="train", masks=CsvMasks("train.csv", dialect))
        for number, id in enumerate(IDS):
            assert data.read_mask(id).dtype == np.uint8
            np.testing.assert_array_equal(data.read_mask(id), layers(number, 1)[0])
        assert check_dataset(data).pixels[1] == sum(int(layers(n, 1)[0].sum()) for n in range(5))


def test_an_object_a_row(tmp_path):
    """Airbus: one empty row for an image without a ship; and the same as a binary task."""
    rows = []
    for number, id in enumerate(IDS):
        masks = [mask for mask in layers(number, 3) if mask.any()] if number else []
        rows += [f"{id}.jpg,{runs_of(mask)}" for mask in masks] or [f"{id}.jpg,"]
    root = write(tmp_path / "ships", "ImageId,EncodedPixels", rows)
    ships = {"images": "train/*.jpg", "masks": CsvMasks("train.csv", AIRBUS)}
    data = pickle.loads(pickle.dumps(Folder(root, task="instances", **ships)))
    assert data.read_mask(IDS[0]).dtype == np.int32
    assert not data.read_mask(IDS[0]).any()
    assert [int(data.read_mask(id).max()) for id in IDS] == [0, 3, 2, 3, 3]
    for number, id in enumerate(IDS[1:], 1):
        for k, mask in enumerate(layers(number, 3), 1):
            np.testing.assert_array_equal(data.read_mask(id) == k, mask)
    assert check_dataset(data).objects == (0, 3, 2, 3, 3)
    assert compare_masks(data, root / "train.csv", AIRBUS) == []
    binary = Folder(root, classes=("background", "ship"), **ships)
    np.testing.assert_array_equal(binary.read_mask(IDS[3]), np.any(layers(3, 3), axis=0))
    assert binary.fingerprint() != data.fingerprint()


def test_starts_that_are_relative_and_several_rows(tmp_path):
    """SIIM: a blank before -1 and before the name of the column, several rows an image that may overlap."""
    rows = []
    for number, id in enumerate(IDS):
        masks = [disc(SIZE, 8, 9 + k, 5) for k in range(number)]
        rows += [f"{id}, {runs_of(mask, base=0, relative=True)}" for mask in masks] or [f"{id}, -1"]
    root = write(tmp_path / "siim", "ImageId, EncodedPixels", rows, ".png")
    with pytest.raises(ValueError, match=r"line 5: 002a came before(.|\n)*replace\(dialect, rows='instance'\)"):
        Folder(root, images="train/*.png", masks=CsvMasks("train.csv", SIIM))  # the submission has one row an image
    data = Folder(root, images="train/*.png", masks=CsvMasks("train.csv", replace(SIIM, rows="instance")))
    for number, id in enumerate(IDS):
        wanted = np.any([np.zeros(SIZE, bool), *(disc(SIZE, 8, 9 + k, 5) for k in range(number))], axis=0)
        np.testing.assert_array_equal(data.read_mask(id), wanted)


def test_rows_of_defects_alone(tmp_path):
    """Severstal: the columns of train.csv are in another order; only defects have rows."""
    rows = [
        f"{id}.jpg,{k},{runs_of(mask)}"
        for number, id in enumerate(IDS[:-1])
        for k, mask in enumerate(layers(number, 4), 1)
        if mask.any() and k != 2
    ]
    root = write(tmp_path / "steel", "ImageId,ClassId,EncodedPixels", rows)
    names = ("one", "two", "three", "four")
    with pytest.raises(ValueError, match=r"missing rows|'004a' has no row") as refused:
        Folder(root, images="train", masks=CsvMasks("train.csv", SEVERSTAL), task="multilabel", classes=names)
    for told in ("'000a' has no row of 2", "'004a' has no row", "CsvMasks(…, lacking='empty')", "lacking='skip'"):
        assert told in str(refused.value)
    masks = CsvMasks("train.csv", SEVERSTAL, lacking="empty")
    overlapping = Folder(root, images="train", masks=masks, task="multilabel", classes=names)
    competing = Folder(root, images="train", masks=masks, classes=("none", *names), absent="two")
    for number, id in enumerate(IDS):
        wanted = np.zeros((*SIZE, 4), bool)
        for k, mask in enumerate(layers(number, 4) if number < 4 else []):
            wanted[..., k] = mask & (k != 1)
        np.testing.assert_array_equal(overlapping.read_mask(id), wanted)
        numbers = np.where(wanted.any(axis=2), wanted.argmax(axis=2) + 1, 0)
        np.testing.assert_array_equal(competing.read_mask(id), numbers)
        assert competing.read_mask(id).dtype == np.uint8
    assert check_dataset(competing).images == 5
    assert Competition(overlapping, SEVERSTAL).dialect.labels == ("1", "2", "3", "4")


def test_classes_in_the_key_that_overlap(tmp_path):
    """Understanding Clouds: "000a.jpg_Fish"; every class of every image has a row."""
    rows, truth = [], {}
    for number, id in enumerate(IDS):
        truth[id] = np.dstack([disc(SIZE, 12, 10 + 4 * k, 3 + number) for k in range(4)])
        truth[id][..., number % 4] = False
        for k, label in enumerate(CLOUDS.labels):
            rows.append(f"{id}.jpg_{label},{runs_of(truth[id][..., k])}")
    root = write(tmp_path / "clouds", "Image_Label,EncodedPixels", rows)
    masks = CsvMasks("train.csv", CLOUDS)
    data = Folder(root, images="train", masks=masks, task="multilabel", classes=CLOUDS.labels)
    for id, mask in truth.items():
        assert data.read_mask(id).dtype == bool
        np.testing.assert_array_equal(data.read_mask(id), mask)
    competing = Folder(root, images="train", masks=masks, classes=("none", *CLOUDS.labels))
    with pytest.raises(BadImage, match=r"001a: Fish and .* overlap in \d+ pixels.*task='multilabel'"):
        competing.read_mask("001a")
    with pytest.raises(ValueError, match="in another order"):
        Folder(root, images="train", masks=masks, task="multilabel", classes=CLOUDS.labels[::-1])


def test_slices_with_a_column_of_classes(tmp_path):
    """UW-Madison: row-major, ids of a template, overlapping organs, 16 bits, in the zip as Kaggle delivers it."""
    rows, truth = ["id,class,segmentation"], {}
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for number in range(4):
            case, day, place = 101 + number // 2, 20, number % 2 + 1
            folder = f"case{case}/case{case}_day{day}"
            path = tmp_path / "slice.png"
            Image.fromarray(np.full(SIZE, 1000 * number, np.uint16)).save(path)
            archive.write(path, f"train/{folder}/scans/slice_{place:04}_36_24_1.50_1.50.png")
            id = f"case{case}_day{day}_slice_{place:04}"
            truth[id] = np.dstack([disc(SIZE, 8 + number, 10 + 2 * k, 5) for k in range(3)])
            truth[id][..., 2] &= bool(number)
            for k, label in enumerate(UW_MADISON.labels):
                rows.append(f"{id},{label},{runs_of(truth[id][..., k], 'C')}")
    with zipfile.ZipFile(tmp_path / "train.csv.zip", "w") as archive:
        archive.writestr("train.csv", "\n".join(rows))
    data = Folder(
        tmp_path,
        images="train/*/*/scans/slice_*_*.png",
        ids="{2}_slice_{3}",
        masks=CsvMasks("train.csv", UW_MADISON),
        task="multilabel",
        classes=("large_bowel", "small_bowel", "stomach"),
        groups=r"^(case\d+)_",
    )
    assert data.ids == list(truth)
    assert data.groups == ["case101", "case101", "case102", "case102"]
    for id, mask in truth.items():
        assert data.read_image(id).dtype == np.uint16
        np.testing.assert_array_equal(data.read_mask(id), mask)
    check_dataset(data)
    before = data.fingerprint()
    with zipfile.ZipFile(tmp_path / "train.csv.zip", "w") as archive:
        archive.writestr("train.csv", "\n".join([*rows[:-1], f"{id},stomach,1 1"]))
    again = Folder(
        tmp_path, images="train/*/*/scans/slice_*_*.png", ids="{2}_slice_{3}",
        masks=CsvMasks("train.csv", UW_MADISON), task="multilabel",
        classes=("large_bowel", "small_bowel", "stomach"), groups=r"^(case\d+)_",
    )  # fmt: skip
    assert again.fingerprint() != before


def test_ids_of_training_images_that_got_a_folder_in_front(tmp_path):
    rows = [f"{id},{runs_of(layers(n, 1)[0])}" for n, id in enumerate(IDS)]
    root = write(tmp_path, "id,rle_mask", rows)
    (tmp_path / "test").mkdir()
    Image.new("RGB", SIZE).save(tmp_path / f"test/{IDS[0]}.jpg")
    data = Folder(root, images="train", tests="test", masks=CsvMasks("train.csv", SALT))
    assert data.ids[1] == "train/001a"
    np.testing.assert_array_equal(data.read_mask("train/001a"), layers(1, 1)[0])
    with pytest.raises(KeyError):
        data.read_mask("001a")


def test_all_bad_rows_are_listed_at_once(tmp_path):
    mask = runs_of(layers(1, 1)[0])
    rows = [f"{IDS[0]},{mask}", f"{IDS[1]},5 3 6 1", "ghost,1 1", f"{IDS[0]},1 1", f"{IDS[2]},1 2 x", f"{IDS[3]},860 9"]
    root = write(tmp_path, "id,rle_mask", rows)
    with pytest.raises(ValueError, match=r"the masks of train\.csv cannot be used") as refused:
        Folder(root, images="train", masks=CsvMasks("train.csv", SALT))
    for told in (
        "line 3 (001a): malformed run-length encoding: token 3 of 4, '6', starts a run at or before pixel 7",
        "line 4: no image has the id 'ghost'",
        "line 5: 000a came before",
        "line 6 (002a): malformed run-length encoding: token 3 of 3, 'x', should be a start",
        "line 7 (003a): its runs end at pixel 868, the image has 864 (24 × 36)",
        "missing: the image '004a' has no row",
    ):
        assert told in str(refused.value)


ADVICE = {
    "a suffix in the keys": (".jpg", SALT, "key='{id}.jpg'"),
    "no suffix in the keys": ("", replace(SALT, key="{id}.png"), "key='{id}'"),
    "another suffix in the keys": (".png", replace(SALT, key="{id}.jpg"), "key='{id}.png'"),
}


@pytest.mark.parametrize(("suffix", "dialect", "told"), ADVICE.values(), ids=ADVICE)
def test_keys_with_another_suffix_name_the_key_that_helps(tmp_path, suffix, dialect, told):
    root = write(tmp_path, "id,rle_mask", [f"{id}{suffix},1 4" for id in IDS])
    with pytest.raises(ValueError, match="The keys are right with") as refused:
        Folder(root, images="train", masks=CsvMasks("train.csv", dialect))
    assert told in str(refused.value)
    key = told.partition("'")[2][:-1]
    data = Folder(root, images="train", masks=CsvMasks("train.csv", replace(dialect, key=key)))
    assert data.read_mask(IDS[0]).sum() == 4


def test_other_starts_and_a_swapped_order_are_named(tmp_path):
    masks = [disc(SIZE, 10, 12 + 3 * n, 7) for n in range(5)]
    root = write(tmp_path / "a", "id,rle_mask", [f"{id},{runs_of(m, 'C')}" for id, m in zip(IDS, masks, strict=True)])
    with pytest.raises(ValueError, match=r'look swapped: 5 of 5 masks.*dataclasses\.replace\(dialect, order="C"\)'):
        Folder(root, images="train", masks=CsvMasks("train.csv", SALT))
    Folder(root, images="train", masks=CsvMasks("train.csv", replace(SALT, order="C")))
    rows = [f"{id},{runs_of(m | disc(SIZE, 0, 0, 3), base=0)}" for id, m in zip(IDS, masks, strict=True)]
    with pytest.raises(ValueError, match=r"malformed masks are right with .*base=0, relative=False"):
        Folder(write(tmp_path / "b", "id,rle_mask", rows), images="train", masks=CsvMasks("train.csv", SALT))


def test_a_run_past_the_end_of_a_smaller_image_is_found(tmp_path):
    root = write(tmp_path, "id,rle_mask", [f"{id},1 860" for id in IDS])
    Image.new("RGB", (30, 10)).save(root / f"train/{IDS[3]}.jpg")
    with pytest.raises(ValueError, match=r"line 5 \(003a\): its runs end at pixel 860, the image has 300 \(10 × 30\)"):
        Folder(root, images="train", masks=CsvMasks("train.csv", SALT))


def test_what_cannot_be_a_table_of_masks(tmp_path):
    root = write(tmp_path, "a,b", [f"{id},1 4" for id in IDS])
    folder = {"images": "train"}
    with pytest.raises(ValueError, match=r"train\.csv has the columns a, b; expected id, rle_mask\. Name its own"):
        Folder(root, masks=CsvMasks("train.csv", SALT), **folder)
    with pytest.raises(FileNotFoundError, match=r"holds no masks\.csv, nor a zip with it.*there: train\.csv"):
        Folder(root, masks=CsvMasks("masks.csv", SALT), **folder)
    with pytest.raises(TypeError, match=r"is a str, expected a kit\.submission\.Dialect"):
        CsvMasks("train.csv", "salt")
    with pytest.raises(ValueError, match=r"CsvMasks\(lacking='zero'\), expected 'refuse', 'empty' or 'skip'"):
        CsvMasks("train.csv", SALT, lacking="zero")
    with pytest.raises(ValueError, match=r"values=127, lacking='empty': expected no such argument beside a table"):
        Folder(root, masks=CsvMasks("train.csv", SALT), values=127, lacking="empty", **folder)
    own = Dialect(("a", "b"))
    with pytest.raises(ValueError, match="needs a row for each object, and the dialect has rows='image'"):
        Folder(root, masks=CsvMasks("train.csv", own), task="instances", **folder)
    with pytest.raises(ValueError, match=r"3 foreground classes .* the dialect writes rows of one class"):
        Folder(root, masks=CsvMasks("train.csv", own), classes=("none", "x", "y", "z"), **folder)


def test_contrails_write_a_dash_for_no_mask():
    assert CONTRAILS.cells("100", []) == [("100", "-")]
    assert CONTRAILS.cells("100", [(1, "3 2")]) == [("100", "3 2")]


def test_a_large_file_takes_seconds(tmp_path):
    """40,000 rows here; 200,000 take five times as long."""
    cells = [runs_of(layers(number, 1)[0]) for number in range(5)]
    ids = [f"{number:06}" for number in range(20_000)]
    rows = [f"{id},{cells[n % 5]}" for n, id in enumerate(np.repeat(ids, 2))]
    (tmp_path / "train.csv").write_text("\n".join(["ImageId,EncodedPixels", *rows]))
    wanted = Wanted(DataFolder(tmp_path), "instances", ("nucleus",), ids, lambda id: SIZE)
    begin = time.process_time()
    opened = CsvMasks("train.csv", DSB2018).open_masks(wanted)
    assert time.process_time() - begin < 8
    assert opened.read(ids[-1], SIZE).max() == 2
