"""Faults 9, 10, 58, 59, 63 and 64 as anyone's folder and its folds meet them."""

import os
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
from encoded import save

from kit.datasets import Folder
from kit.folds import check_leaks, freeze_folds, group_kfold, keep_folds, stratified_group_kfold

ALONE = SimpleNamespace(main=True, wait=lambda: None)
IMAGE, MASK = save(np.zeros((8, 10, 3), np.uint8), "PNG"), save(np.eye(8, 10, dtype=np.uint8), "PNG")


@pytest.fixture
def scans(tmp_path):
    """Twelve scans in folders of patients and days: scans/<patient>/day<day>/<number>.png, labels/ alike."""
    root = tmp_path / "scans"
    for number in range(12):
        for folder, content in (("scans", IMAGE), ("labels", MASK)):
            path = root / f"{folder}/{number // 3}/day{number % 3}/{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def opened(root, **changes):
    return Folder(root, **{"images": "scans", "masks": "labels", "groups": lambda id: int(id.split("/")[0])} | changes)


def test_fault_09_and_10_scans_without_partner_and_pipes_are_listed_together(scans):
    (scans / "labels/0/day0/000.png").unlink()
    (scans / "scans/3/day2/011.png").unlink()
    if os.name == "posix":
        os.mkfifo(scans / "scans/1/day0/pipe.png")
        (scans / "labels/1/loop").symlink_to("../1")
    with pytest.raises(ValueError, match="problems with the files in") as refused:
        opened(scans)
    for told in ("scans/0/day0/000.png has no mask labels/0/day0/000.*", "labels/3/day2/011.png has no image"):
        assert told in str(refused.value)
    if os.name == "posix":
        assert "scans/1/day0/pipe.png (a pipe or device)" in str(refused.value)
        assert "labels/1/loop (a link to a folder that it lies in)" in str(refused.value)


def test_fault_58_ids_with_slashes_and_patients_by_number_reach_folds_csv(scans, tmp_path):
    data = opened(scans)
    assert data.ids[0] == "0/day0/000"
    folds = keep_folds(tmp_path / "run", data, ALONE, lambda: group_kfold(data.groups, 4, 0))
    check_leaks(data.groups, folds)
    assert np.bincount(folds).tolist() == [3, 3, 3, 3]
    freeze_folds(tmp_path / "run", 0, folds, ALONE)
    (tmp_path / "run/fold0/finished.json").write_text("{}")
    again = keep_folds(tmp_path / "run", opened(scans), ALONE, lambda: folds)
    np.testing.assert_array_equal(again, folds)


def test_fault_58_patients_that_are_missing_are_listed_by_id(scans):
    with pytest.raises(ValueError, match=r"3 problems(?s:.*)gives nothing for the id 2/day1/007"):
        opened(scans, groups=lambda id: float("nan") if id.startswith("2/") else id[0])


@pytest.mark.parametrize("counts", [[[1, 1], [0, 2], [2, 0], [0, 1], [1, 0]], [[0, 1]] * 4, [[5, 0], [1, 0], [1, 0]]])
def test_fault_59_as_many_folds_as_patients(counts):
    groups = [number for number, row in enumerate(counts) for _ in range(sum(row))]
    labels = [label for row in counts for label, count in enumerate(row) for _ in range(count)]
    for seed in range(60):
        folds = stratified_group_kfold(labels, groups, len(counts), seed)
        assert np.bincount(folds, minlength=len(counts)).min() > 0
        check_leaks(groups, folds)


def test_fault_63_a_folder_copied_by_way_of_another_system(scans, tmp_path):
    for folder, form in (("scans", "NFD"), ("labels", "NFC")):
        (scans / folder / "0").rename(scans / folder / unicodedata.normalize(form, "Zoë Ångström"))
    data = opened(scans, groups=lambda id: id.split("/")[0])
    assert len(data.ids) == 12
    assert "Zo\u00eb \u00c5ngstr\u00f6m" in data.groups
    for id in data.ids:
        assert data.read_image(id).shape[:2] == data.read_mask(id).shape == data.shape(id)


def test_fault_64_two_runs_with_other_folds_in_one_folder(scans, tmp_path):
    data, run = opened(scans), tmp_path / "run"
    first = keep_folds(run, data, ALONE, lambda: group_kfold(data.groups, 2, 0))
    freeze_folds(run, 0, first, ALONE)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"has 2 folds of 6, 6 images and is frozen.* asks for 4 folds of 3, 3, 3, 3"):
        keep_folds(run, data, ALONE, lambda: group_kfold(data.groups, 4, 0))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
