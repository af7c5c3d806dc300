import io
import pickle
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from encoded import save
from miniatures import draw_voc
from PIL import Image

from kit.data.cache import sample_reader
from kit.data.formats import BadImage
from kit.data.resize import Resizing
from kit.data.samples import SegmentationDataset
from kit.datasets.voc import CLASSES, VOC
from kit.datasets.voc_mat import read_labels
from kit.datasets.voc_sbd import MAX_BYTES, SBD

REAL = Path(__file__).resolve().parents[3] / "shared/data/voc"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real VOC in shared/data/voc")
TRAIN = [f"2007_{number:06}" for number in range(1, 9)]
VAL = [f"2008_{number:06}" for number in range(1, 5)]
EXTRA = [f"2009_{number:06}" for number in range(1, 6)]


@pytest.fixture
def folder(tmp_path):
    return draw_voc(tmp_path / "voc", sbd=True)


@pytest.fixture
def root(folder):
    return folder / "VOCdevkit/VOC2012"


@pytest.fixture
def sbd(folder):
    return folder / "benchmark_RELEASE/dataset"


def write_list(root, name, ids):
    (root / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(ids))


def held_out(voc):
    return [id for id, fold in zip(voc.ids, voc.split(), strict=True) if fold == 0]


def trained(voc):
    return [id for id, fold in zip(voc.ids, voc.split(), strict=True) if fold == -1]


def test_the_official_lists(folder):
    voc = VOC(folder)
    assert (trained(voc), held_out(voc)) == (TRAIN, VAL)
    assert voc.ids == voc.groups == TRAIN + VAL
    assert voc.classes == CLASSES
    assert voc.num_classes == len(set(CLASSES)) == 21
    assert [CLASSES[label] for label in (0, 1, 7, 8, 15, 20)] == [
        "background",
        "aeroplane",
        "car",
        "cat",
        "person",
        "tvmonitor",
    ]
    assert voc.notes[0] == "Trained on 8 images (VOC 2012's train), scored on the 4 of val."
    assert voc.notes[2:] == (
        "val has 4 images here, officially 1,449: scores cannot be compared.",
        "train has 8 images here, officially 1,464: scores cannot be compared.",
    )


def test_reads_images_and_palette_indices(folder, root):
    voc, labels = VOC(folder), set()
    for id in voc.ids:
        stored = np.array(Image.open(root / f"SegmentationClass/{id}.png"))
        assert np.array_equal(voc.read_mask(id), stored)
        assert np.array_equal(voc.read_instances(id), np.array(Image.open(root / f"SegmentationObject/{id}.png")))
        assert voc.shape(id) == stored.shape == voc.read_image(id).shape[:2]
        labels |= set(np.unique(stored).tolist())
    assert labels == {0, 1, 7, 8, 15, 255}
    with pytest.raises(KeyError, match="no image '2009_000001' in the lists in use"):
        voc.read_image("2009_000001")


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_finds_the_layouts_and_the_same_fingerprint_in_all(folder, below):
    assert VOC(folder / below).fingerprint() == VOC(folder).fingerprint()


def test_finds_the_layout_of_the_tar_of_2011_and_never_another_years(folder, root, tmp_path):
    told = r"holds no VOC 2011: expected VOCdevkit/VOC2011/ImageSets.*python -m kit download voc2011"
    for data_dir in (folder, root):
        with pytest.raises(FileNotFoundError, match=told):
            VOC(data_dir, year=2011)
    shutil.copytree(root, tmp_path / "old/TrainVal/VOCdevkit/VOC2011")
    assert VOC(tmp_path / "old", year=2011).ids == TRAIN + VAL
    with pytest.raises(ValueError, match="VOC of the year 2013, expected 2011 or 2012"):
        VOC(folder, year=2013)


def test_the_fingerprint_tells_sizes_and_lists_apart(folder, root):
    before = VOC(folder).fingerprint()
    write_list(root, "seg11valid", VAL[2:])
    assert VOC(folder, held_out="seg11valid").fingerprint() != before
    (root / f"SegmentationClass/{VAL[0]}.png").write_bytes(b"longer or shorter")
    assert VOC(folder).fingerprint() != before


def test_seg11valid_from_its_list_and_trainval_less_it(folder, root):
    with pytest.raises(FileNotFoundError, match=r"seg11valid\.txt is missing: put the list.*year=2011 and sbd_dir"):
        VOC(folder, held_out="seg11valid")
    write_list(root, "seg11valid", VAL[2:])
    assert held_out(VOC(folder, held_out="seg11valid")) == VAL[2:]
    both = VOC(folder, train="trainval", held_out="seg11valid")
    assert (trained(both), held_out(both)) == (TRAIN + VAL[:2], VAL[2:])
    with pytest.raises(ValueError, match="trains on all of val"):
        VOC(folder, train="trainval")


def test_seg11valid_of_2011_is_computed(folder, root, tmp_path):
    shutil.copytree(root, tmp_path / "old/VOC2011")
    voc = VOC(tmp_path / "old", year=2011, held_out="seg11valid", sbd_dir=folder)
    assert held_out(voc) == VAL[1:]  # SBD trains on VAL[0]
    assert "seg11valid is computed: VOC 2011's val less SBD's train." in voc.notes


def test_train_aug_adds_sbd_without_what_is_held_out(folder, root):
    voc = VOC(folder, train="train_aug", sbd_dir=folder)
    assert (trained(voc), held_out(voc)) == (TRAIN + EXTRA, VAL)
    assert "5 masks are SBD's, which have no void; where there is an official one it is used." in voc.notes
    assert 255 in voc.read_mask(TRAIN[0])  # SBD has a mask of it too, without void
    for id in EXTRA:
        assert 255 not in voc.read_mask(id)
        assert set(np.unique(voc.read_mask(id))) <= {0, 1, 7, 8, 15}
        assert voc.read_mask(id).any()
        assert voc.read_image(id).shape[:2] == voc.shape(id) == voc.read_mask(id).shape
        assert np.array_equal(voc.read_instances(id) > 0, voc.read_mask(id) > 0)
    write_list(root, "seg11valid", VAL[2:])
    voc = VOC(folder, train="train_aug", held_out="seg11valid", sbd_dir=folder)
    assert (trained(voc), held_out(voc)) == (TRAIN + VAL[:2] + EXTRA, VAL[2:])
    assert 255 in voc.read_mask(VAL[1])
    with pytest.raises(ValueError, match="train='train_aug' needs SBD; give sbd_dir"):
        VOC(folder, train="train_aug")
    with pytest.raises(FileNotFoundError, match=r"holds no SBD(?s:.*)python -m kit download sbd"):
        VOC(folder, train="train_aug", sbd_dir=root)


def test_sbd_train_is_sbds_list_without_what_is_held_out(folder, root):
    """The list has TRAIN[0], VAL[0] and EXTRA[:3]."""
    voc = VOC(folder, train="sbd_train", sbd_dir=folder)
    assert (trained(voc), held_out(voc)) == ([TRAIN[0], *EXTRA[:3]], VAL)
    assert voc.notes[0] == "Trained on 4 images (SBD's train less the held-out ones), scored on the 4 of val."
    assert voc.notes[2] == "3 masks are SBD's, which have no void; where there is an official one it is used."
    assert voc.notes[4] == "sbd_train has 5 images here, officially 8,498: scores cannot be compared."
    assert [255 in voc.read_mask(id) for id in trained(voc)] == [True, False, False, False]
    write_list(root, "seg11valid", VAL[1:])
    voc = VOC(folder, train="sbd_train", held_out="seg11valid", sbd_dir=folder)
    assert (trained(voc), held_out(voc)) == ([TRAIN[0], VAL[0], *EXTRA[:3]], VAL[1:])
    assert 255 in voc.read_mask(VAL[0])
    assert voc.fingerprint() != VOC(folder, train="train_aug", held_out="seg11valid", sbd_dir=folder).fingerprint()
    with pytest.raises(ValueError, match="train='sbd_train' needs SBD; give sbd_dir"):
        VOC(folder, train="sbd_train")
    with pytest.raises(ValueError, match=r"train='sbd' and held_out='val', expected one of 'train', .*'sbd_train'"):
        VOC(folder, train="sbd")


def test_sbd_never_stands_in_for_an_official_mask_that_is_missing(folder, root):
    """Neither of a held-out image, which would be scored without void, nor where plain train was asked for."""
    (root / f"SegmentationClass/{VAL[1]}.png").unlink()
    (root / f"SegmentationClass/{TRAIN[0]}.png").unlink()
    with pytest.raises(ValueError, match="1 problem with VOC") as caught:
        VOC(folder, train="train_aug", sbd_dir=folder)
    assert f"SegmentationClass/{VAL[1]}.png is missing" in str(caught.value)
    with pytest.raises(ValueError, match="2 problems"):
        VOC(folder, sbd_dir=folder)


def test_a_image_to_train_on_and_held_out_is_refused(folder, root):
    write_list(root, "train", [*TRAIN, VAL[0], VAL[3]])
    for options in ({}, {"train": "train_aug", "sbd_dir": folder}):
        with pytest.raises(ValueError, match="2 problems") as caught:
            VOC(folder, **options)
        assert all(f"{id} is in train.txt and in val" in str(caught.value) for id in (VAL[0], VAL[3]))


def test_every_problem_is_listed_at_once(folder, root, sbd):
    (root / f"JPEGImages/{TRAIN[2]}.jpg").unlink()
    (root / f"SegmentationClass/{VAL[1]}.png").unlink()
    (sbd / f"cls/{EXTRA[3]}.mat").unlink()
    write_list(root, "val", [*VAL, VAL[0], "../../x", "", f" {TRAIN[3]} "])
    with pytest.raises(ValueError, match="6 problems with VOC 2012's files") as caught:
        VOC(folder, train="train_aug", sbd_dir=folder)
    for told in (
        f"JPEGImages/{TRAIN[2]}.jpg is missing, as is SBD's img/{TRAIN[2]}.jpg",
        f"SegmentationClass/{VAL[1]}.png is missing",
        f"SegmentationClass/{EXTRA[3]}.png is missing, as is SBD's cls/{EXTRA[3]}.mat",
        f"val.txt, line 5: {VAL[0]} is listed twice",
        "val.txt, line 6: '../../x' is no file name",
        f"{TRAIN[3]} is in train.txt and in val",
    ):
        assert told in str(caught.value)
    write_list(root, "train", [])
    with pytest.raises(ValueError, match=r"train\.txt lists no image"):
        VOC(folder)


def test_bad_masks_are_refused_by_name(folder, root):
    voc = VOC(folder)
    path = root / f"SegmentationClass/{TRAIN[0]}.png"
    path.write_bytes(save(np.full(voc.shape(TRAIN[0]), 21, np.uint8), "PNG"))
    with pytest.raises(BadImage, match=rf"{TRAIN[0]}\.png: mask values 21, expected 0 to 20"):
        voc.read_mask(TRAIN[0])
    path.write_bytes(save(np.zeros((5, 6), np.uint8), "PNG"))
    with pytest.raises(BadImage, match=rf"{TRAIN[0]}\.png: a mask of \(5, 6\), expected \(\d+, \d+\) like JPEGImages"):
        voc.read_mask(TRAIN[0])
    path.write_bytes(save(Image.open(root / f"SegmentationClass/{TRAIN[1]}.png").convert("RGB"), "PNG"))
    with pytest.raises(BadImage, match="a mask in colour"):
        voc.read_mask(TRAIN[0])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"GTcls": {"Segmentation": np.zeros((3, 4), np.uint8)}}, r"a mask of \(3, 4\), expected"),
        ({"GTcls": {"Segmentation": np.full((3, 4), 21, np.uint8)}}, "mask values 21, expected 0 to 20"),
        ({"GTcls": {"Segmentation": np.full((3, 4), -1, np.int16)}}, "numbers from -1 to -1, expected whole ones"),
        (
            {"GTcls": {"Segmentation": np.full((3, 4), 0.5)}},
            "numbers from 0.5 to 0.5, expected whole ones from 0 to 255",
        ),
        ({"GTcls": {"Segmentation": np.full((3, 4), np.nan)}}, "numbers from nan to nan"),
        ({"GTcls": {"Segmentation": np.zeros((3, 4, 2), np.uint8)}}, r"dimensions \(3, 4, 2\), expected numbers"),
        ({"GTcls": {"Segmentation": "a text"}}, "a matrix of MATLAB's class 4 and"),
        ({"GTcls": {"Boundaries": np.zeros((3, 4), np.uint8)}}, "no field Segmentation of GTcls"),
        ({"GTcls": np.zeros((3, 4), np.uint8)}, "GTcls is no struct"),
        ({"Other": 1}, "no variable GTcls"),
    ],
)
def test_mat_files_that_hold_something_else_are_refused_by_name(folder, sbd, content, told):
    voc = VOC(folder, train="train_aug", sbd_dir=folder)
    scipy.io.savemat(sbd / f"cls/{EXTRA[0]}.mat", content)
    with pytest.raises(BadImage, match=rf"cls/{EXTRA[0]}\.mat: .*{told}"):
        voc.read_mask(EXTRA[0])


def test_mat_files_are_read_as_scipy_reads_them(sbd):
    path, rng = sbd / f"inst/{EXTRA[0]}.mat", np.random.default_rng(0)
    boundaries = np.empty((20, 1), object)
    boundaries[:] = scipy.sparse.eye(4).tocsc()
    for dtype in (np.uint8, np.int8, np.uint16, np.int32, np.float32, np.float64):
        for shape in ((1, 1), (1, 3), (3, 1), (37, 52)):
            labels = rng.integers(0, 21, shape).astype(dtype)
            fields = {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": 15}
            for compressed in (False, True):
                scipy.io.savemat(path, {"before": "x", "GTinst": fields}, do_compression=compressed)
                assert np.array_equal(SBD(sbd).read_instances(EXTRA[0]), labels)
                assert np.array_equal(scipy.io.loadmat(path)["GTinst"]["Segmentation"][0, 0], labels)


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_mat_files_are_refused_or_read_and_nothing_else(sbd, compressed):
    """SciPy's reader ends the process on some files of this kind."""
    file, refused, rng = io.BytesIO(), 0, np.random.default_rng(0)
    fields = {"Boundaries": np.zeros((3, 3)), "Segmentation": rng.integers(0, 9, (9, 30)).astype(np.uint8)}
    scipy.io.savemat(file, {"GTcls": fields}, do_compression=compressed)
    content = file.getvalue()
    damaged = [content[:length] for length in range(len(content))]
    for _ in range(1500):
        altered = bytearray(content)
        altered[rng.integers(126, len(content))] = rng.integers(256)
        damaged.append(bytes(altered))
    for bad in damaged:
        try:
            assert read_labels(bad, "GTcls", "Segmentation").size == 9 * 30
        except ValueError:
            refused += 1
    assert refused > len(damaged) * (0.9 if compressed else 0.3)


@pytest.mark.parametrize("content", [b"", b"<html>", b"x" * (MAX_BYTES + 1)])
def test_files_that_are_no_mat_files_are_refused_by_name(sbd, content):
    (sbd / f"cls/{EXTRA[0]}.mat").write_bytes(content)
    with pytest.raises(BadImage, match=rf"^cls/{EXTRA[0]}\.mat: .*Fetch it again"):
        SBD(sbd).read_mask(EXTRA[0])


def test_a_mat_file_that_inflates_without_end_is_refused(sbd):
    content = (sbd / f"cls/{EXTRA[0]}.mat").read_bytes()[:128]
    bomb = zlib.compress(struct.pack("<II", 14, 70 << 20) + bytes(70 << 20), 9)
    (sbd / f"cls/{EXTRA[0]}.mat").write_bytes(content + struct.pack("<II", 15, len(bomb)) + bomb)
    with pytest.raises(BadImage, match="cut short, or over 67,108,864 bytes"):
        SBD(sbd).read_mask(EXTRA[0])


def test_trains_through_kits_own_reader_and_travels_to_workers(folder):
    voc = pickle.loads(pickle.dumps(VOC(folder, train="train_aug", sbd_dir=folder)))
    assert 255 in voc.read_mask(TRAIN[0])
    assert 255 not in voc.read_mask(EXTRA[0])
    sample = SegmentationDataset(sample_reader(voc, Resizing((48, 64)), cache=None), voc.ids)[0]
    assert sample.image.shape == (3, 48, 64)
    assert set(sample.mask.unique().tolist()) <= {0, 1, 7, 8, 15, 255}


@needs_real
def test_the_real_data():
    voc = VOC(REAL)
    assert np.bincount(voc.split() + 1).tolist() == [250, 90]
    assert len(held_out(VOC(REAL, held_out="seg11valid"))) == 50
    assert len(trained(VOC(REAL, train="trainval", held_out="seg11valid"))) == 250 + 90 - 50
    counts = np.zeros(256, int)
    for id in voc.ids[::10]:
        mask = voc.read_mask(id)
        assert voc.read_image(id).shape == (*mask.shape, 3)
        counts += np.bincount(mask.ravel(), minlength=256)
    assert counts[:21].argmax() == 0
    assert 0.02 < counts[255] / counts.sum() < 0.12  # the outlines
    assert np.array_equal(np.unique(voc.read_mask("2007_000063")), [0, 9, 12, 255])  # a chair and a dog
