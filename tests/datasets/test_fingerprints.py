"""Fingerprints name what files hold: an edit that keeps a file's size changes them; a copy or a zip does not."""

import functools
import io
import os
import re
import shutil
import zipfile

import numpy as np
import pytest
from encoded import save
from miniatures import draw_blood_cells, draw_camvid, draw_pets, draw_voc
from PIL import Image

from kit.data import check_dataset, data_key
from kit.datasets import VOC, BloodCells, CamVid, Carvana, DataFolder, Folder, ObjectCrops, Pets
from kit.datasets.fingerprints import fingerprint_of


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def plain_tiff(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "TIFF", compression=None)
    return file.getvalue()


WRITERS = {"bmp": lambda array: save(array, "BMP"), "npy": npy, "tif": plain_tiff}


def disc(radius):
    rows, columns = np.mgrid[:24, :31]
    return (np.hypot(rows - 12, columns - 15) < radius).astype(np.uint8)


def mend(path, old, new):
    """Replace the first `old` by `new`, of the same length."""
    content = path.read_bytes()
    assert old in content
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))


def folder_of(root, suffix="bmp", **options):
    return Folder(
        root, images="images/*.bmp", masks=f"masks/{{id}}.{suffix}", tests="tests/*.bmp", name="discs", **options
    )


@pytest.fixture
def discs(request, tmp_path):
    """A root, and the suffix of its masks."""
    rng, root = np.random.default_rng(3), tmp_path / "discs"
    for folder in ("images", "masks", "tests"):
        (root / folder).mkdir(parents=True)
    for number in range(5):
        image = rng.integers(0, 256, (24, 31, 3), np.uint8)
        (root / f"images/p{number}.bmp").write_bytes(save(image, "BMP"))
        (root / f"masks/p{number}.{request.param}").write_bytes(WRITERS[request.param](disc(4 + number)))
        (root / f"tests/t{number}.bmp").write_bytes(save(image[::-1], "BMP"))
    (root / "patients.csv").write_text("id,patient\n" + "".join(f"p{number},{number // 2}\n" for number in range(5)))
    return root, request.param


EVERY_KIND = pytest.mark.parametrize("discs", WRITERS, indirect=True)  # of masks
# where the kind of the masks has no say: what is hashed are the bytes of files, whatever their kind
ONE_KIND = pytest.mark.parametrize(
    "discs", ["bmp", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("npy", "tif"))], indirect=True
)


@EVERY_KIND
def test_a_mask_mended_at_the_same_size(discs):
    root, suffix = discs
    before, key = folder_of(root, suffix).fingerprint(), data_key(folder_of(root, suffix))
    tests = folder_of(root, suffix).test_fingerprint()
    path = root / f"masks/p2.{suffix}"
    size = path.stat().st_size
    path.write_bytes(WRITERS[suffix](disc(9)))
    assert path.stat().st_size == size
    assert folder_of(root, suffix).fingerprint() != before
    assert data_key(folder_of(root, suffix)) != key
    assert folder_of(root, suffix).test_fingerprint() == tests
    path.write_bytes(WRITERS[suffix](disc(6)))
    assert folder_of(root, suffix).fingerprint() == before
    assert data_key(folder_of(root, suffix)) == key


@EVERY_KIND
def test_the_same_object_sees_the_edit(discs):
    root, suffix = discs
    data = folder_of(root, suffix)
    before = data.fingerprint()
    assert data.fingerprint() == before
    (root / f"masks/p2.{suffix}").write_bytes(WRITERS[suffix](disc(9)))
    assert data.fingerprint() != before


@EVERY_KIND
def test_a_test_image_replaced_at_the_same_size(discs):
    root, suffix = discs
    before = folder_of(root, suffix)
    prints = before.fingerprint(), before.test_fingerprint()
    (root / "tests/t3.bmp").write_bytes((root / "tests/t1.bmp").read_bytes())
    after = folder_of(root, suffix)
    assert after.fingerprint() == prints[0]
    assert after.test_fingerprint() != prints[1]


@EVERY_KIND
def test_two_images_that_change_places(discs):
    root, suffix = discs
    before = folder_of(root, suffix).fingerprint()
    first, second = root / "images/p0.bmp", root / "images/p1.bmp"
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert folder_of(root, suffix).fingerprint() != before


@ONE_KIND
def test_groups_of_a_csv_that_keeps_its_size(discs):
    root, suffix = discs
    groups = ("patients.csv", "id", "patient")
    before = folder_of(root, suffix, groups=groups)
    print_before, key = before.fingerprint(), data_key(before)
    mend(root / "patients.csv", b"p3,1", b"p3,2")
    after = folder_of(root, suffix, groups=groups)
    assert after.fingerprint() != print_before
    assert data_key(after) != key


@ONE_KIND
def test_groups_given_as_numbers_are_their_text(discs):
    """The check turns them into text in place; that must not make another data set."""
    data = folder_of(*discs)
    data.groups = [1, 1, 2, 2, 3]
    before = data.fingerprint()
    check_dataset(data)
    assert data.groups[0] == "1"
    assert data.fingerprint() == before


@ONE_KIND
def test_touched_copied_and_zipped_files_are_the_same(discs, tmp_path):
    root, suffix = discs
    data = folder_of(root, suffix)
    before = data.fingerprint(), data.test_fingerprint(), data_key(data)
    for path in root.rglob("*.*"):
        os.utime(path, (10**9, 10**9))
    copy = tmp_path / "elsewhere/discs"
    shutil.copytree(root, copy)
    nested, flat = (tmp_path / form / "discs" for form in ("nested", "flat"))
    for place, prefix in ((nested, True), (flat, False)):
        place.mkdir(parents=True)
        for part in ("images", "masks", "tests"):
            with zipfile.ZipFile(place / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for path in (root / part).iterdir():
                    archive.write(path, f"{part}/{path.name}" if prefix else path.name)
    for place in (root, copy, nested, flat):
        found = folder_of(place, suffix)
        assert (found.fingerprint(), found.test_fingerprint(), data_key(found)) == before, place


def test_a_zip_is_named_without_reading_its_files(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("train/é.bin", b"123456789")
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    data = DataFolder(tmp_path)
    assert data.contents(["train/e\u0301.bin"]) == {"train/e\u0301.bin": (0xCBF43926, 9)}  # CRC-32's check value
    with pytest.raises(FileNotFoundError, match=r"train/b\.bin is missing, as is b\.bin in"):
        data.contents(["train/b.bin"])
    with pytest.raises(FileNotFoundError, match=r"test/b\.bin is missing, and there is no"):
        data.contents(["test/b.bin"])


def test_a_zip_whose_member_changed_at_the_same_size(tmp_path):
    prints = set()
    for content in (b"1 2 3", b"1 2 4"):
        with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
            archive.writestr("a.txt", content)
        prints.add(fingerprint_of(DataFolder(tmp_path), ["train/a.txt"]))
    assert len(prints) == 2


def test_paths_their_order_and_facts_count(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"the same")
    data = DataFolder(tmp_path)
    calls = [(["a", "b"],), (["b", "a"],), (["a", "c"],), (["a"],), ([],), (["a", "b"], 1), (["a", "b"], (1,))]
    assert len({fingerprint_of(data, *call) for call in calls}) == len(calls)


def draw_carvana(root):
    """Files in Carvana's layout; a fingerprint does not decode them."""
    for number in range(3):
        for name in ("train/c_0{}.jpg", "train_masks/c_0{}_mask.gif", "test/d_0{}.jpg"):
            path = root / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{name} {number}".encode())
    (root / "train_masks.csv").write_text("img,rle_mask\n")
    return root


KNOWN = {  # how the files are drawn and read; which of them the fingerprints do not cover; which are for tests
    "camvid": (draw_camvid, CamVid, None, None),
    "pets": (draw_pets, Pets, r"annotations/\w+\.txt|unlisted", None),
    "voc": (draw_voc, VOC, r"ImageSets|SegmentationObject", None),
    "blood cells": (draw_blood_cells, BloodCells, None, r"Test_Data/"),
    "carvana": (draw_carvana, Carvana, r"train_masks\.csv", r"^test/"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_one_bit_of_any_file_in_use_changes_the_fingerprint(name, tmp_path):
    """The fingerprint of training or of tests, never both. Lists are covered by what they say."""
    draw, read, others, tests = KNOWN[name]
    root = draw(tmp_path / "data")
    data = read(root)
    before = data.fingerprint(), data.test_fingerprint()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        content, place = path.read_bytes(), path.relative_to(root).as_posix()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        changed = tuple(
            one != other for one, other in zip(before, (data.fingerprint(), data.test_fingerprint()), strict=True)
        )
        path.write_bytes(content)
        is_other, is_test = (bool(pattern and re.search(pattern, place)) for pattern in (others, tests))
        assert changed == (not is_other and not is_test, is_test), place
    assert (data.fingerprint(), data.test_fingerprint()) == before


def test_masks_and_images_of_sbd(tmp_path):
    root = draw_voc(tmp_path, sbd=True)
    read = functools.partial(VOC, root, train="train_aug", sbd_dir=root)
    before = read().fingerprint()
    for part in ("cls", "img"):
        path = next((root / f"benchmark_RELEASE/dataset/{part}").glob("2009_000001.*"))
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert read().fingerprint() != before
        path.write_bytes(content)
    assert read().fingerprint() == before


def test_lists_of_voc_that_keep_their_sizes(tmp_path):
    """An image of train and one of val change places."""
    root = draw_voc(tmp_path)
    train, val = (root / f"VOCdevkit/VOC2012/ImageSets/Segmentation/{name}.txt" for name in ("train", "val"))
    before = VOC(root).fingerprint()
    mend(train, b"2007_000002", b"2008_000002")
    mend(val, b"2008_000002", b"2007_000002")
    assert VOC(root).fingerprint() != before


def test_crops_of_objects_follow_voc(tmp_path):
    root = draw_voc(tmp_path)
    voc = VOC(root)
    crops = ObjectCrops(voc, voc.ids)
    before = crops.fingerprint()
    path = root / f"VOCdevkit/VOC2012/JPEGImages/{voc.ids[0]}.jpg"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert crops.fingerprint() != before
