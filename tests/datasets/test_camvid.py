import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from encoded import save
from miniatures import draw_camvid
from PIL import Image

from kit.data.cache import sample_reader
from kit.data.formats import BadImage
from kit.data.resize import Resizing
from kit.data.samples import SegmentationDataset
from kit.datasets.camvid import CLASSES, CamVid

REAL = Path(__file__).resolve().parents[3] / "shared/data/camvid"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real CamVid in shared/data/camvid")


@pytest.fixture
def folder(tmp_path):
    return draw_camvid(tmp_path / "camvid", test=3)


def test_lists_train_then_what_is_held_out(folder):
    camvid = CamVid(folder)
    assert camvid.ids[:2] == ["0001TP_000000", "0001TP_000060"]
    assert camvid.ids[8:] == ["0016E5_000000", "0016E5_000030", "0016E5_000060", "0016E5_000090"]
    assert camvid.split().tolist() == [-1] * 8 + [0] * 4
    assert camvid.groups == [id[:6] for id in camvid.ids]
    assert camvid.num_classes == len(camvid.classes) == 11
    assert camvid.classes == CLASSES
    assert camvid.notes[0] == "Trained on the 8 images of train/, scored on the 4 of val/."


def test_test_may_be_held_out_instead_of_val(folder):
    camvid = CamVid(folder, held_out="test")
    assert camvid.ids[8:] == ["Seq05VD_000000", "Seq05VD_000030", "Seq05VD_000060"]
    assert camvid.split().tolist() == [-1] * 8 + [0] * 3
    assert camvid.groups[-1] == "Seq05VD"
    assert camvid.fingerprint() != CamVid(folder).fingerprint()
    with pytest.raises(ValueError, match="held_out is 'train', expected 'val' or 'test'"):
        CamVid(folder, held_out="train")


def test_reads_images_and_labels_with_void_as_255(folder):
    camvid = CamVid(folder)
    for id in camvid.ids:
        part = "train" if id in camvid.ids[:8] else "val"
        stored = np.array(Image.open(folder / f"{part}annot" / f"{id}.png"))
        mask = camvid.read_mask(id)
        assert np.array_equal(mask, np.where(stored == 11, 255, stored))
        assert sorted(np.unique(mask)) == [*range(11), 255]
        assert np.array_equal(camvid.read_image(id), np.array(Image.open(folder / part / f"{id}.png")))
        assert camvid.shape(id) == mask.shape == (72, 96)


def test_every_problem_is_listed_at_once(folder):
    (folder / "train/0001TP_000000.png").unlink()
    (folder / "valannot/0016E5_000030.png").unlink()
    (folder / "train/notes.txt").write_bytes(b"x")
    (folder / "train/0006R0_000030.JPG").write_bytes(b"x")
    (folder / "val/0001TP_000060.png").write_bytes(b"x")
    (folder / "valannot/0001TP_000060.png").write_bytes(b"x")
    with pytest.raises(ValueError, match="5 problems with CamVid's files") as caught:
        CamVid(folder)
    message = str(caught.value)
    assert "trainannot/0001TP_000000.png has no image train/0001TP_000000.png" in message
    assert "val/0016E5_000030.png has no labels valannot/0016E5_000030.png" in message
    assert "train/'notes.txt' is not named like <sequence>_<frame>.png" in message
    assert "train/0006R0_000030.png has the same id as train/0006R0_000030.JPG" in message
    assert "val/0001TP_000060.png is also in train: train/0001TP_000060.png" in message


def test_missing_folders_are_named(folder):
    with pytest.raises(ValueError, match=r"no files in val/ or val\.zip(?s:.*)no files in valannot/"):
        CamVid(draw_camvid(folder.parent / "less", held_out=0))


def test_bad_labels_are_refused_by_name(folder):
    id, camvid = "0016E5_000030", CamVid(folder)
    path = folder / f"valannot/{id}.png"
    good = np.array(Image.open(path))
    path.write_bytes(save(np.where(good == 3, 12, good).astype(np.uint8), "PNG"))
    with pytest.raises(BadImage, match=rf"valannot/{id}\.png: mask values 12, expected 0 to 11"):
        camvid.read_mask(id)
    path.write_bytes(save(good[1:], "PNG"))
    with pytest.raises(BadImage, match=rf"valannot/{id}\.png: a mask of \(71, 96\), expected \(72, 96\) like val/{id}"):
        camvid.read_mask(id)
    with pytest.raises(KeyError, match="no mask of the id 'x' in"):
        camvid.read_mask("x")


def test_fingerprint_tells_sizes_and_names_apart_and_zips_are_the_same(folder):
    camvid = CamVid(folder)
    before = camvid.fingerprint()
    for part in ("train", "valannot"):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for path in (folder / part).iterdir():
                archive.write(path, f"{part}/{path.name}")
                path.unlink()
        (folder / part).rmdir()
    assert CamVid(folder).fingerprint() == before
    assert CamVid(folder).read_image(camvid.ids[0]).shape == (72, 96, 3)
    (folder / "val/0016E5_000000.png").write_bytes(b"longer or shorter")
    assert CamVid(folder).fingerprint() != before


def test_trains_through_kits_own_reader_and_travels_to_workers(folder):
    camvid = pickle.loads(pickle.dumps(CamVid(folder)))
    sample = SegmentationDataset(sample_reader(camvid, Resizing((36, 48)), cache=None), camvid.ids)[3]
    assert sample.image.shape == (3, 36, 48)
    assert sample.mask.shape == (36, 48)
    assert set(sample.mask.unique().tolist()) <= {*range(11), 255}


@needs_real
def test_the_real_data():
    camvid = CamVid(REAL)
    assert np.bincount(camvid.split() + 1).tolist() == [367, 101]
    assert {group: camvid.groups.count(group) for group in set(camvid.groups)} == {
        "0001TP": 62,
        "0006R0": 101,
        "0016E5": 305,
    }
    counts = np.zeros(256, int)
    for id in camvid.ids[::25]:
        assert camvid.read_image(id).shape == (360, 480, 3)
        counts += np.bincount(camvid.read_mask(id).ravel(), minlength=256)
    assert (counts[:11] > 0).all()
    assert counts[11:255].sum() == 0
    assert counts[:11].argmax() in {CLASSES.index("road"), CLASSES.index("building")}
