import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from encoded import save
from miniatures import draw_blood_cells
from PIL import Image

from kit.data.formats import BadImage
from kit.datasets.blood_cells import BloodCells
from kit.folds.kfold import check_leaks, group_kfold

REAL = Path(__file__).resolve().parents[3] / "shared/data/blood_cells"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real photographs in shared/data/blood_cells")


@pytest.fixture
def folder(tmp_path):
    return draw_blood_cells(tmp_path / "blood")


def test_ids_by_number_and_groups_of_neighbours(folder):
    cells = BloodCells(folder)
    assert cells.ids == [f"train-{number}" for number in range(0, 60, 5)]
    blocks = [0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5]  # 0–7, 8–18, 19–29, 30–40, 41–51, 52–62
    assert cells.groups == [f"block-{block:02}" for block in blocks]
    assert cells.test_ids == ["smear-0", "smear-1", "smear-2"]
    assert (cells.classes, cells.num_classes) == (("background", "white cell"), 2)
    check_leaks(cells.groups, group_kfold(cells.groups, 4, seed=0))


def test_masks_are_the_blocks_that_were_drawn_before_the_jpeg(folder):
    cells = pickle.loads(pickle.dumps(BloodCells(folder)))
    greys = np.concatenate([np.asarray(Image.open(folder / f"Train_Data/{id}-mask.jpg")).ravel() for id in cells.ids])
    assert len(np.unique(greys)) > 2  # else the threshold would have nothing to do
    for id in cells.ids:
        image, mask = cells.read_image(id), cells.read_mask(id)
        assert image.shape == (64, 64, 3)
        assert mask.shape == cells.shape(id) == (64, 64)
        assert (mask == np.kron(mask[::4, ::4], np.ones((4, 4)))).all()
        assert 0.1 < mask.mean() < 0.4
        assert image[..., 1][mask == 1].mean() < image[..., 1][mask == 0].mean() - 50


def test_test_images_have_sizes_of_their_own_and_no_masks(folder):
    cells = BloodCells(folder)
    assert [cells.shape(id) for id in cells.test_ids] == [(90, 120), (110, 150), (130, 180)]
    assert [cells.read_image(id).shape[:2] for id in cells.test_ids] == [(90, 120), (110, 150), (130, 180)]
    with pytest.raises(KeyError, match="no mask of the id 'smear-0'"):
        cells.read_mask("smear-0")
    with pytest.raises(KeyError, match="no image of the id 'train-99'"):
        cells.read_image("train-99")


def test_test_images_are_optional(tmp_path):
    folder = draw_blood_cells(tmp_path / "blood", tests=0)
    (folder / "Test_Data").rmdir()
    assert BloodCells(folder).test_ids == []


def test_another_size_changes_the_fingerprint(folder):
    before, tests = BloodCells(folder).fingerprint(), BloodCells(folder).test_fingerprint()
    with (folder / "Test_Data/smear-0.jpg").open("ab") as file:
        file.write(b"\0")
    assert BloodCells(folder).fingerprint() == before  # training does not know the test images
    assert BloodCells(folder).test_fingerprint() != tests
    with (folder / "Train_Data/train-5.jpg").open("ab") as file:
        file.write(b"\0")
    assert BloodCells(folder).fingerprint() != before


def test_all_problems_are_told_at_once(folder):
    train, tests = folder / "Train_Data", folder / "Test_Data"
    photograph = (train / "train-10.jpg").read_bytes()
    (train / "train-0.jpg").unlink()
    (train / "train-5-mask.jpg").unlink()
    for name in ("train-10.jpeg", "notes.txt", "cell-7.jpg"):
        (train / name).write_bytes(photograph)
    for name in ("smear.png", "SMEAR-0.jpeg", "train-15.jpg", "a\tb.jpg"):
        (tests / name).write_bytes(photograph)
    with pytest.raises(ValueError, match="9 problems with the files of the blood cells") as caught:
        BloodCells(folder)
    for told in (
        "Train_Data/train-0-mask.jpg has no image Train_Data/train-0.jpg",
        "Train_Data/train-5.jpg has no mask Train_Data/train-5-mask.jpg",
        "Train_Data/train-10.jpg has the same id as Train_Data/train-10.jpeg",
        "Train_Data/'notes.txt' is not named like train-<number>.jpg or train-<number>-mask.jpg",
        "Train_Data/'cell-7.jpg' is not named like",
        "Test_Data/'smear.png' is not named like <name>.jpg",
        "Test_Data/smear-0.jpg has the same id as Test_Data/SMEAR-0.jpeg",
        "Test_Data/train-15.jpg has the id of a train image",
        "Test_Data/'a\\tb.jpg': 'a\\tb' is no file name",
    ):
        assert told in str(caught.value)


def test_an_empty_folder_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match=r"no photographs in Train_Data/ or Train_Data\.zip"):
        BloodCells(tmp_path)


def test_a_mask_of_another_size_is_refused(folder):
    (folder / "Train_Data/train-5-mask.jpg").write_bytes(save(np.zeros((64, 60), np.uint8), "JPEG"))
    with pytest.raises(BadImage, match=r"train-5-mask\.jpg: a mask of \(64, 60\), expected \(64, 64\)"):
        BloodCells(folder).read_mask("train-5")


def unexplained(first: np.ndarray, second: np.ndarray, down: int, right: int) -> float:
    """The squared difference of what two greys share when the second lies `down` and `right`, over its variance."""
    height, width = first.shape
    ours = first[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)].astype(float)
    theirs = second[max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)]
    return float(np.mean((ours - theirs) ** 2) / ours.var())


@needs_real
def test_real_data():
    cells = BloodCells(REAL)
    assert (len(cells.ids), len(set(cells.groups)), len(cells.test_ids)) == (164, 16, 61)
    assert {cells.shape(id) for id in cells.ids} == {(128, 128)}
    masks = np.stack([cells.read_mask(id) for id in cells.ids])
    assert (masks == masks[:, ::4, ::4].repeat(4, 1).repeat(4, 2)).all()  # 32×32, enlarged
    assert 0.15 < masks.mean() < 0.25
    widths = [cells.shape(id)[1] for id in cells.test_ids]
    assert (min(widths), max(widths)) == (318, 2150)


@needs_real
def test_real_images_that_overlap_are_in_one_group():
    cells = BloodCells(REAL)
    groups = dict(zip(cells.ids, cells.groups, strict=True))
    for first, second, down, right in ((8, 9, -85, 24), (57, 58, -30, 8), (160, 161, -106, 55)):
        pair = [f"train-{number}" for number in (first, second)]
        greens = [cells.read_image(id)[..., 1] for id in pair]
        assert unexplained(*greens, down, right) < 0.01
        assert unexplained(*greens, down + 3, right) > 0.05  # so 1 % is no accident
        assert groups[pair[0]] == groups[pair[1]]


@needs_real
def test_train_images_cut_from_one_test_image_are_in_one_group():
    cells = BloodCells(REAL)
    groups = dict(zip(cells.ids, cells.groups, strict=True))
    for test, cuts in (
        ("1468054105", {25: (56, 46), 26: (590, 438), 27: (222, 1048)}),  # (down, right) from the test image's corner
        ("1468054306", {30: (478, 100), 31: (46, 400), 32: (308, 1190)}),
        ("E04FFD273493", {98: (36, 92), 99: (552, 430)}),
        ("D0F6DE661D63", {126: (182, 190), 127: (164, 324), 128: (18, 478)}),
    ):
        whole = cells.read_image(test)[..., 1]
        for number, (down, right) in cuts.items():
            green = cells.read_image(f"train-{number}")[32:96, 32:96, 1]  # the place is known to within 2 pixels
            around = whole[down + 28 : down + 100, right + 28 : right + 100]
            assert cv2.matchTemplate(around, green, cv2.TM_CCOEFF_NORMED).max() > 0.95
        assert len({groups[f"train-{number}"] for number in cuts}) == 1
