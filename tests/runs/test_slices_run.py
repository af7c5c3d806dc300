"""A run on slices of volumes with overlapping classes in a CSV: check, cache, training, report by volume, CSV, lint."""

import json

import numpy as np
import pytest
from any_data import SIZE, Config, Watched
from numpy_runs import disc, runs_of
from PIL import Image

from kit.data import Resizing, photo_augment
from kit.datasets import Folder, Neighbours
from kit.folds import group_kfold
from kit.losses import bce_dice
from kit.prediction import TTA, Frame
from kit.recipe import finish
from kit.runs import Plan, Submission, fit_fold, open_run
from kit.scoring import MeanDicePerClass
from kit.submission import UW_MADISON, Competition, CsvMasks, lint
from kit.training import adamw, supervised, warmup_cosine

SCANS = "{folder}/case{case}/case{case}_day0/scans/slice_{place:04}_36_24_1.50_1.50.png"


@pytest.fixture
def scans(tmp_path):
    """Four cases of three slices and a test case of two, as UW-Madison lays them out."""
    rng, rows = np.random.default_rng(0), ["id,class,segmentation"]
    for folder, cases in (("train", range(1, 5)), ("test", (9,))):
        for case in cases:
            for place in range(1, 4 if folder == "train" else 3):
                masks = [disc(SIZE, 6 + 2 * case, 9 + 5 * k + place, 4) for k in range(3)]
                image = (sum(masks) * 9000 + rng.integers(0, 4000, SIZE)).astype(np.uint16)
                path = tmp_path / SCANS.format(folder=folder, case=case, place=place)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
                if folder == "train":
                    id = f"case{case}_day0_slice_{place:04}"
                    rows += [f"{id},{k},{runs_of(m, 'C')}" for k, m in zip(UW_MADISON.labels, masks, strict=True)]
    (tmp_path / "train.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.mark.slow
def test_slices_from_the_folder_to_the_csv(scans, tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    slices = Folder(
        scans,
        images="train/*/*/scans/slice_*_*.png",
        tests="test/*/*/scans/slice_*_*.png",
        ids="{2}_slice_{3}",
        masks=CsvMasks("train.csv", UW_MADISON),
        task="multilabel",
        classes=UW_MADISON.labels,
        groups=r"^(case\d+)_",
    )
    data = Neighbours(slices, (-1, 0, 1), volume=r"^(case\d+_day\d+)_", order=r"slice_(\d+)")
    competition = Competition(data, UW_MADISON, data.test_ids, MeanDicePerClass(3))
    config, frame, network = Config(tmp_path / "runs/slices"), Frame(Resizing(SIZE)), lambda: Watched(3, 3)
    run = open_run(config, data, lambda: group_kfold(data.groups, 2, 0), frame, TTA(), "slices.py")

    def train(fold):
        model = network()
        plan = Plan(1, 4, warmup_cosine, photo_augment(dtype=data.dtype, channels=data.channels))
        fit_fold(run, fold, model, adamw(model, 1e-3), supervised(bce_dice), plan)

    finish(run, "all", train, network, Submission(competition))
    report = json.loads((run.folder / "report.json").read_text())
    assert (report["images"], report["volumes"]["count"], report["groups"]) == (12, 4, 4)
    assert 0 <= report["volumes"]["dice_mean"]["value"] <= 1
    [path] = (tmp_path / "submissions").glob("*.csv")
    assert [problem for problem in lint(path, competition) if problem.severity == "error"] == []
    assert path.read_text().count("\n") == 1 + 2 * 3
