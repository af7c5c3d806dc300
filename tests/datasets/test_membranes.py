"""ISBI 2012's membranes, in both layouts, drawn; and the real slices where they are."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from miniatures import draw_membranes

from kit.data import BadImage, check_dataset
from kit.data.tiff import decode_tiff_pages
from kit.datasets import Membranes

SHARED = Path(__file__).resolve().parents[3] / "shared/data/membranes"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def test_both_layouts_hold_the_same_slices(tmp_path):
    files = Membranes(draw_membranes(tmp_path / "files", slices=12))
    stack = Membranes(draw_membranes(tmp_path / "stack", slices=12, stack=True))
    assert files.ids == stack.ids == [str(n) for n in range(12)]  # by number: 10 does not come before 2
    assert files.places == list(range(12))
    assert (files.channels, files.task, files.groups) == (("grey",), "binary", files.ids)
    for id in files.ids:
        image, mask = files.read_image(id), files.read_mask(id)
        assert (image.shape, image.dtype, mask.dtype) == ((64, 64, 1), np.uint8, np.uint8)
        assert set(np.unique(mask)) == {0, 1}
        assert image[mask == 1].mean() > image[mask == 0].mean() + 50
        np.testing.assert_array_equal(stack.read_image(id), image)
        np.testing.assert_array_equal(stack.read_mask(id), mask)
    copy = pickle.loads(pickle.dumps(stack))  # as a data worker gets it
    np.testing.assert_array_equal(copy.read_mask("11"), stack.read_mask("11"))
    assert "_stacks" not in vars(pickle.loads(pickle.dumps(stack)))
    before = stack.fingerprint()
    changed = np.stack([stack.read_mask(id) for id in stack.ids])
    changed[3, 5, 5] ^= 1
    tifffile.imwrite(stack.data.root / "train-labels.tif", changed * 255, photometric="minisblack")
    assert Membranes(stack.data.root).fingerprint() != before
    facts = check_dataset(files)
    assert len(facts.mean) == 1


def test_faults_of_the_files_are_listed(tmp_path):
    folder = draw_membranes(tmp_path / "files", slices=4)
    (folder / "label/2.png").unlink()
    shutil.copy(folder / "image/0.png", folder / "image/first.png")
    with pytest.raises(ValueError, match=r"is not named like <number>\.png") as told:
        Membranes(folder)
    assert "image/2.png has no label label/2.png" in str(told.value)
    with pytest.raises(ValueError, match=r"no slices in image/ or image\.zip, and no train-volume\.tif"):
        Membranes(tmp_path)
    stack = draw_membranes(tmp_path / "stack", slices=4, stack=True)
    pages = tifffile.imread(stack / "train-labels.tif")
    tifffile.imwrite(stack / "train-labels.tif", pages[:3], photometric="minisblack")
    with pytest.raises(BadImage, match=r"train-labels\.tif: 3 pages, expected 4 as in train-volume\.tif"):
        Membranes(stack)
    tifffile.imwrite(stack / "train-labels.tif", np.where(pages, 200, 3).astype(np.uint8), photometric="minisblack")
    with pytest.raises(BadImage, match=r"train-labels\.tif, page 1"):
        Membranes(stack).read_mask("1")
    (stack / "train-labels.tif").unlink()
    with pytest.raises(ValueError, match=r"train-labels\.tif is missing"):
        Membranes(stack)


def test_pages_of_a_stack_are_read_strictly(tmp_path):
    pages = np.random.default_rng(0).integers(0, 60000, (3, 20, 30), dtype=np.uint16)
    for options in ({}, {"compression": "zlib"}, {"imagej": True}):
        tifffile.imwrite(tmp_path / "stack.tif", pages, **options, photometric="minisblack")
        found = decode_tiff_pages((tmp_path / "stack.tif").read_bytes(), "stack.tif")
        np.testing.assert_array_equal(np.stack(found)[..., 0], pages)
        whole = (tmp_path / "stack.tif").read_bytes()
        for cut in range(100, len(whole), 97):  # the pixels, or the headers of later pages, are lost
            with pytest.raises(BadImage, match=r"^stack\.tif"):
                decode_tiff_pages(whole[:-cut], "stack.tif")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared slices are not here")
def test_the_real_slices():
    data = Membranes(SHARED)
    assert len(data.ids) == 20
    assert data.shape("19") == (512, 512)
    assert 0.7 < data.read_mask("7").mean() < 0.85
