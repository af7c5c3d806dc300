import hashlib
import multiprocessing
import os
import pickle
import re
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from encoded import save

from kit.data.formats import BadImage
from kit.datasets.carvana import Carvana
from kit.datasets.files import DataFolder
from kit.datasets.names import files_by_id
from kit.datasets.places import find_data, require_data
from kit.datasets.studio import draw_studio

REAL = Path(__file__).resolve().parents[3] / "shared/data/carvana"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real photographs in shared/data/carvana")


def make_mask(number: int) -> np.ndarray:
    """An asymmetric ellipse, another for each number; swapped axes would not pass."""
    y, x = np.mgrid[:40, :60]
    return (((y - 15 - number) / 9) ** 2 + ((x - 25) / 20) ** 2 < 1).astype(np.uint8)


def encode_slowly(mask: np.ndarray) -> str:
    """Run lengths along rows, counted from 1, in the plainest form."""
    padded = np.concatenate([[0], mask.ravel(), [0]])
    edges = np.flatnonzero(np.diff(padded)) + 1
    return " ".join(f"{start} {end - start}" for start, end in zip(edges[::2], edges[1::2], strict=True))


@pytest.fixture
def folder(tmp_path):
    """Two cars of two views in train, one in test; Kaggle's layout, with the clutter that systems leave."""
    root = tmp_path / "unpacked"
    for name in ("train", "train_masks", "test", "train_hq"):
        (root / name).mkdir(parents=True)
        (root / name / ".DS_Store").write_bytes(b"x")
        (root / name / "Thumbs.db").write_bytes(b"x")
    (root / "train_hq/odd.txt").write_bytes(b"x")
    (root / "train/__MACOSX").mkdir()
    photo = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    rows = []
    for number, id in enumerate(["fa_01", "fa_02", "0b_01", "0b_02"]):
        (root / f"train/{id}.jpg").write_bytes(save(photo, "JPEG"))
        (root / f"train_masks/{id}_mask.gif").write_bytes(save(make_mask(number), "GIF"))
        rows.append(f"{id}.jpg,{encode_slowly(make_mask(number))}\n")
    (root / "train_masks.csv").write_text("img,rle_mask\n" + "".join(rows))
    for id in ("c_01", "c_02"):
        (root / f"test/{id}.jpg").write_bytes(save(photo, "JPEG"))
    (root / "sample_submission.csv").write_text("img,rle_mask\nc_02.jpg,1 1\nc_01.jpg,1 1\n")
    return root


@pytest.fixture
def zipped(folder, tmp_path, monkeypatch):
    """The same files in Kaggle's zips."""
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "zipped"
    root.mkdir()
    for name in ("train", "train_masks", "test"):
        with zipfile.ZipFile(root / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"__MACOSX/{name}/._fa_01.jpg", b"x")
            archive.mkdir(name)
            for path in sorted((folder / name).glob("*_*")):
                if path.is_file():
                    archive.write(path, f"{name}/{path.name}")
    for name in ("train_masks.csv", "sample_submission.csv"):
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            archive.write(folder / name, name)
    return root


@pytest.fixture(params=["folder", "zipped"])
def carvana(request):
    return Carvana(request.getfixturevalue(request.param))


def test_ids_groups_and_the_order_of_the_sample(carvana):
    assert carvana.ids == ["0b_01", "0b_02", "fa_01", "fa_02"]
    assert carvana.groups == ["0b", "0b", "fa", "fa"]
    assert carvana.test_ids == ["c_02", "c_01"]
    assert carvana.train_csv.read_text().startswith("img,rle_mask\nfa_01.jpg")
    assert carvana.sample_csv.read_text().startswith("img,rle_mask\nc_02.jpg")


def test_images_masks_and_shapes(carvana):
    for number, id in enumerate(["fa_01", "fa_02", "0b_01", "0b_02"]):
        np.testing.assert_array_equal(carvana.read_mask(id), make_mask(number))
        assert carvana.read_image(id).shape == (40, 60, 3)
        assert carvana.shape(id) == (40, 60)
    assert carvana.read_image("c_01").shape == (40, 60, 3)
    with pytest.raises(KeyError, match="no mask of the id 'c_01'"):
        carvana.read_mask("c_01")


def test_whole_data_has_no_problems(carvana):
    assert carvana.problems() == []


def test_folders_and_zips_have_one_fingerprint_and_another_file_changes_it(folder, zipped):
    before = Carvana(folder).fingerprint()
    assert before == Carvana(zipped).fingerprint()
    assert len(before) == len(hashlib.sha256().hexdigest())
    tests = Carvana(folder).test_fingerprint()
    assert tests == Carvana(zipped).test_fingerprint()
    with (folder / "test/c_01.jpg").open("ab") as file:
        file.write(b"\0")
    assert Carvana(folder).fingerprint() == before  # training does not know the test images
    assert Carvana(folder).test_fingerprint() != tests
    with (folder / "train/0b_01.jpg").open("ab") as file:
        file.write(b"\0")
    assert Carvana(folder).fingerprint() != before


def test_pickled_and_threaded_reads_agree(carvana):
    expected = [carvana.read_mask(id) for id in carvana.ids]  # the zip is open in this process now
    copy = pickle.loads(pickle.dumps(carvana))
    with ThreadPoolExecutor(8) as pool:
        for id, mask in zip(carvana.ids * 20, pool.map(copy.read_mask, carvana.ids * 20), strict=True):
            np.testing.assert_array_equal(mask, expected[carvana.ids.index(id)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_readers_do_not_share_a_position_in_the_zip(zipped):
    data = Carvana(zipped)
    expected = [data.read_mask(id).tobytes() for id in data.ids]
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(_read_all, [(data, 30)] * 3, chunksize=1)
    assert found == [expected * 30] * 3


def _read_all(job):
    data, times = job
    return [data.read_mask(id).tobytes() for id in data.ids * times]


def test_a_folder_wins_over_a_zip(zipped):
    (zipped / "sample_submission.csv").write_text("img,rle_mask\nc_01.jpg,1 1\n")
    assert Carvana(zipped).test_ids == ["c_01"]


def test_zip_without_its_inner_folder(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.write(folder / "train/fa_01.jpg", "fa_01.jpg")
    data = DataFolder(tmp_path)
    assert data.names("train") == ["fa_01.jpg"]
    assert data.read("train/fa_01.jpg") == (folder / "train/fa_01.jpg").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"train/fa_02\.jpg is missing"):
        data.read("train/fa_02.jpg")


def test_broken_zips_are_named(zipped):
    whole = (zipped / "train.zip").read_bytes()
    (zipped / "train.zip").write_bytes(whole[:-50])
    with pytest.raises(ValueError, match=r"train\.zip is damaged or cut short"):
        Carvana(zipped)
    start = whole.index(b"train/fa_01.jpg") + len("train/fa_01.jpg")
    for at in (start, start + 1, start + 300, start + 2000):
        (zipped / "train.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        (problem,) = Carvana(zipped).problems()
        assert "train.zip: fa_01.jpg cannot be read" in problem


def test_the_sample_is_copied_out_of_its_zip_once(zipped, tmp_path):
    first = Carvana(zipped).sample_csv
    assert first.is_relative_to(tmp_path / "cache")
    written = first.stat().st_mtime_ns
    assert Carvana(zipped).sample_csv == first
    assert first.stat().st_mtime_ns == written


def test_test_set_and_sample_are_optional(folder):
    (folder / "sample_submission.csv").unlink()
    data = Carvana(folder)
    assert (data.test_ids, data.sample_csv) == (["c_01", "c_02"], None)
    for path in sorted((folder / "test").iterdir()):
        path.unlink()
    (folder / "test").rmdir()
    (folder / "train_masks.csv").unlink()
    data = Carvana(folder)
    assert data.test_ids == []
    assert data.problems() == []
    assert data.train_csv is None


def test_empty_folder_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match=r"no photographs in train/ or train\.zip"):
        Carvana(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id,rle\nc_01.jpg,1 1\n", "starts with 'id,rle', expected img,rle_mask"),
        (b"", "starts with ''"),
        (b"img,rle_mask\nc_01.jpg\n", "row 2: 1 cells, expected 2"),
        (b"img,rle_mask\n\xff\xfe,1 1\n", "cannot be read as CSV in UTF-8"),
    ],
)
def test_a_sample_that_cannot_be_read(folder, content, told):
    (folder / "sample_submission.csv").write_bytes(content)
    with pytest.raises(ValueError, match=told):
        Carvana(folder)


def test_an_image_in_train_and_test_is_refused(folder):
    (folder / "test/fa_01.jpg").write_bytes((folder / "test/c_01.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"test/fa_01\.jpg is also in train"):
        Carvana(folder)


def test_masks_of_other_values_are_refused(folder):
    (folder / "train_masks/fa_01_mask.gif").write_bytes(save(make_mask(0) * 3, "PNG"))
    with pytest.raises(BadImage, match=r"^train_masks/fa_01_mask\.gif: mask values 0, 3"):
        Carvana(folder).read_mask("fa_01")


def test_find_data_keeps_its_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KIT_DATA", raising=False)
    assert find_data("carvana", "no-such-slug") is None
    (tmp_path / "data/carvana").mkdir(parents=True)
    assert find_data("carvana", "no-such-slug") == Path("data/carvana")
    (tmp_path / "kept/carvana").mkdir(parents=True)
    monkeypatch.setenv("KIT_DATA", str(tmp_path / "kept"))
    assert find_data("carvana", "no-such-slug") == tmp_path / "kept/carvana"
    assert find_data("other", "no-such-slug") is None
    assert find_data("carvana", "no-such-slug", tmp_path) == tmp_path
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder; expected the folder of .*--data-dir"):
        find_data("carvana", "no-such-slug", "nowhere")


def test_required_data_that_are_nowhere_are_told_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KIT_DATA", raising=False)

    class Elsewhere:
        name, slug = "carvana", "no-such-slug"

    with pytest.raises(FileNotFoundError, match=r"no carvana data in .*data/carvana, .*python -m kit download carvana"):
        require_data(Elsewhere)
    (tmp_path / "data/carvana").mkdir(parents=True)
    assert require_data(Elsewhere) == Path("data/carvana")


def test_files_by_id_tells_what_is_misnamed_unsafe_or_double():
    problems, pattern = [], re.compile(r"(.+)\.jpe?g", re.IGNORECASE)
    names = ["A.jpeg", "a.jpg", "b.JPG", "b.png", "c\td.jpg", "...jpg"]
    found = files_by_id(names, "train", pattern, "<name>.jpg", problems)
    assert found == {"A": "train/A.jpeg", "b": "train/b.JPG"}
    assert [problem.split(": expected")[0] for problem in problems] == [
        "train/a.jpg has the same id as train/A.jpeg",
        "train/'b.png' is not named like <name>.jpg",
        "train/'c\\td.jpg': 'c\\td' is no file name",
        "train/'...jpg': '..' is no file name",
    ]


@pytest.mark.slow
def test_what_kit_drew_is_drawn_and_other_data_are_not(folder, zipped, tmp_path):
    assert not Carvana(folder).drawn
    assert not Carvana(zipped).drawn
    assert Carvana(draw_studio(tmp_path / "studio", cars=1, test_cars=1, size=(48, 72))).drawn


@needs_real
def test_real_data():
    start = time.perf_counter()
    data = Carvana(REAL)
    assert time.perf_counter() - start < 1
    assert (len(data.ids), len(set(data.groups)), len(data.test_ids)) == (512, 32, 45)
    some = data.ids[::32]
    assert {data.shape(id) for id in some + data.test_ids} == {(1280, 1918)}
    assert data.problems(some) == []
    assert 0.05 < data.read_mask(some[0]).mean() < 0.5
