"""Names in both Unicode spellings, on the disk and in zips; files however deep; what is no file."""

import os
import shutil
import unicodedata
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from encoded import save
from miniatures import draw_camvid, draw_pets, draw_voc

from kit.datasets import VOC, CamVid, Carvana, DataFolder, Folder, Pets
from kit.datasets.fingerprints import fingerprint_of


def nfc(text):
    return unicodedata.normalize("NFC", text)


def nfd(text):
    return unicodedata.normalize("NFD", text)


def rename(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


@pytest.fixture
def cars(tmp_path):
    """Carvana's layout; the names of photographs are decomposed, those of masks and of the CSV composed."""
    root = tmp_path / "cars"
    photo, mask = save(np.zeros((20, 30, 3), np.uint8), "JPEG"), save(np.eye(20, 30, dtype=np.uint8), "GIF")
    for folder in ("train", "train_masks", "test"):
        (root / folder).mkdir(parents=True)
    for car in ("citroën", "škoda", "plain"):
        (root / "train" / nfd(f"{car}_01.jpg")).write_bytes(photo)
        (root / "train_masks" / nfc(f"{car}_01_mask.gif")).write_bytes(mask)
    (root / "test" / nfd("peugeöt_02.jpg")).write_bytes(photo)
    (root / "sample_submission.csv").write_text(nfc("img,rle_mask\npeugeöt_02.jpg,1 1\n"), encoding="utf-8")
    return root


def test_an_image_finds_its_mask_and_its_row_whatever_the_spelling(cars, tmp_path):
    data = Carvana(cars)
    assert data.ids == ["citroën_01", "plain_01", "škoda_01"]
    assert all(id == nfc(id) for id in data.ids + data.groups + data.test_ids)
    assert data.test_ids == ["peugeöt_02"]
    assert data.problems() == []
    before = data.fingerprint()
    for path in sorted((cars / "train").iterdir()):
        rename(path, nfc(path.name))
    assert Carvana(cars).fingerprint() == before
    with zipfile.ZipFile(cars / "train.zip", "w") as archive:
        for path in sorted((cars / "train").iterdir()):
            archive.write(path, nfd(f"train/{path.name}"))
    shutil.rmtree(cars / "train")
    assert Carvana(cars).fingerprint() == before
    assert Carvana(cars).problems() == []


def test_one_name_in_two_spellings_is_told_with_advice_that_loses_nothing(cars):
    twin = cars / "train" / nfc("škoda_01.jpg")
    twin.write_bytes(b"another")
    with pytest.raises(ValueError, match="1 problem with") as refused:
        Carvana(cars)
    assert r"'train/s\u030ckoda_01.jpg' and 'train/\u0161koda_01.jpg' are one name in two Unicode" in str(refused.value)
    assert "keep one, and move the other elsewhere" in str(refused.value)
    with pytest.raises(ValueError, match="are one name in two Unicode spellings"):
        Folder(cars, images="train/*.jpg", masks="train_masks/{id}_mask.gif")


def test_lists_and_files_of_other_data_sets(tmp_path):
    """Ids of a list in one spelling, files in the other."""
    voc = draw_voc(tmp_path / "voc") / "VOCdevkit/VOC2012"
    lists = voc / "ImageSets/Segmentation/train.txt"
    lists.write_text(lists.read_text().replace("2007_000001", nfd("hôtel")), encoding="utf-8")
    rename(voc / "JPEGImages/2007_000001.jpg", nfc("hôtel.jpg"))
    rename(voc / "SegmentationClass/2007_000001.png", nfd("hôtel.png"))
    data = VOC(tmp_path / "voc")
    assert nfc("hôtel") in data.ids
    assert data.read_image(nfc("hôtel")).shape[:2] == data.read_mask(nfc("hôtel")).shape
    assert len(data.fingerprint()) == 64

    pets = draw_pets(tmp_path / "pets")
    trainval = pets / "annotations/trainval.txt"
    trainval.write_text("\ufeff" + trainval.read_text().replace("Siamese_1 ", nfc("Siamése_1 ")), encoding="utf-8")
    rename(pets / "images/Siamese_1.jpg", nfd("Siamése_1.jpg"))
    rename(pets / "annotations/trimaps/Siamese_1.png", nfd("Siamése_1.png"))
    data = Pets(pets)
    assert data.read_mask(nfc("Siamése_1")).shape == data.shape(nfc("Siamése_1"))

    camvid = draw_camvid(tmp_path / "camvid")
    rename(camvid / "train/0001TP_000000.png", nfd("0001TP_é.png"))
    rename(camvid / "trainannot/0001TP_000000.png", nfc("0001TP_é.png"))
    data = CamVid(camvid)
    assert data.read_mask(nfc("0001TP_é")).shape == (72, 96)


def test_folder_pairs_both_spellings(tmp_path):
    for folder, name in (("images", nfd("Bär/é 1.png")), ("masks", nfc("Bär/é 1.png"))):
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(save(np.eye(5, 6, dtype=np.uint8), "PNG"))
    for masks in ("masks", "masks/{id}.png", "masks/*/*.png"):
        data = Folder(tmp_path, images="images/*/*.png", masks=masks, groups=nfd("^(Bär)/"))
        assert data.groups == [nfc("Bär")]
        assert data.ids == [nfc("Bär/é 1")]
        np.testing.assert_array_equal(data.read_mask(data.ids[0]), np.eye(5, 6))
        assert len(data.fingerprint()) == 64


@pytest.fixture
def deep(tmp_path):
    for name in ("a/b/c.png", "a/b/d.png", "e.png", ".hidden/x.png", "a/__MACOSX/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("z/in/f.png", b"in a zip")
        archive.writestr("__MACOSX/._f.png", b"x")
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("t.csv", b"id\n1\n")
    return tmp_path


def test_files_however_deep_and_in_zips(deep):
    data = DataFolder(deep)
    assert data.files()[0] == ["a/b/c.png", "a/b/d.png", "e.png", "t.csv", "z/in/f.png"]
    assert data.files("a")[0] == data.files("a/b")[0] == ["a/b/c.png", "a/b/d.png"]
    assert data.files("z")[0] == data.files("z/in")[0] == ["z/in/f.png"]
    assert data.files("nowhere") == ([], [])
    assert data.read("z/in/f.png") == b"in a zip"
    assert data.read("a/b/c.png", 3) == b"a/b"
    assert data.read("t.csv") == b"id\n1\n"
    contents = {path: data.read(path) for path in data.files()[0]}
    assert data.contents(contents) == {path: (zlib.crc32(content), len(content)) for path, content in contents.items()}
    assert data.names("a/b") == ["c.png", "d.png"]
    assert data.names("z/in") == ["f.png"]
    with pytest.raises(FileNotFoundError, match=r"q/x\.png is missing, and there is no .*q\.zip"):
        data.read("q/x.png")
    with pytest.raises(FileNotFoundError, match=r"z/in/g\.png is missing, as is in/g\.png in .*z\.zip"):
        data.read("z/in/g.png")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a//b", "a/./b", "a\\b", "", "a/b/"])
def test_a_path_never_leads_out_of_the_folder(deep, path):
    with pytest.raises(ValueError, match="is no file name"):
        DataFolder(deep).read(path)


@pytest.mark.parametrize("member", ["z/../../x.png", "/etc/x.png", "z/..\\x.png"])
def test_a_zip_whose_members_lead_out_is_refused_as_a_whole(deep, member):
    with zipfile.ZipFile(deep / "z.zip", "a") as archive:
        archive.writestr(member, b"x")
    with pytest.raises(ValueError, match=r"z\.zip holds links, paths, or a name twice"):
        DataFolder(deep).files()


def test_folders_among_files_are_named_with_what_to_do(deep):
    with pytest.raises(ValueError, match=r"(?s)no regular files\. Move them elsewhere; .*Folder:\n  b \(a folder\)"):
        DataFolder(deep).names("a")
    with pytest.raises(ValueError, match=r"(?s)z\.zip holds .*expected files of z alone\..*in/f\.png"):
        DataFolder(deep).names("z")


@pytest.mark.skipif(os.name != "posix", reason="links as on POSIX")
def test_a_link_to_another_disk_is_followed_and_a_loop_is_not(deep, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("disk")
    (elsewhere / "g.png").write_bytes(b"x")
    (elsewhere / "back").symlink_to(deep)
    (deep / "more").symlink_to(elsewhere)
    files, odd = DataFolder(deep).files()
    assert "more/g.png" in files
    assert odd == ["more/back (a link to a folder that it lies in)"]


def test_the_number_of_files_is_bounded(deep, monkeypatch):
    monkeypatch.setattr("kit.datasets.walking.MAX_FILES", 2)
    with pytest.raises(ValueError, match="holds more than 2 files; name a smaller folder"):
        DataFolder(deep).files()


def test_a_fingerprint_is_of_names_and_contents(deep):
    first = fingerprint_of(DataFolder(deep), ["a/b/c.png", "z/in/f.png"])
    (deep / "a/b/c.png").write_bytes(b"a/b/C.png")
    assert fingerprint_of(DataFolder(deep), ["a/b/c.png", "z/in/f.png"]) != first
