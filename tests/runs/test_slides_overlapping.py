"""A run on slides whose classes overlap. Truth: Predictor and NumPy on whole images."""

import csv
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from any_data import Config
from torch import nn

from kit.data.crops import SlideCrops
from kit.data.resize import Resizing
from kit.datasets import Slides
from kit.folds import kfold
from kit.losses import bce_dice
from kit.prediction import TTA, VIEWS, Frame, Predictor, Rule
from kit.recipe import finish
from kit.runs import Plan, Submission, fit_fold, open_run, read_run
from kit.runs.candidates import FromSlides
from kit.runs.predict import Request, predict
from kit.runs.tuning import tune_run
from kit.scoring import DatasetDice, MeanDicePerClass, MeanIoU
from kit.scoring.overlapping import class_matrices
from kit.submission import Competition, Dialect, rle
from kit.system.objects import components
from kit.training import adamw, supervised, warmup_cosine

NAMES, TILE, RULE = ("red", "bright"), (32, 48), Rule((0.4, 0.6))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 2, 3, padding=1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The run, its images and masks; the test slides are e and f."""
    root, arrays = tmp_path_factory.mktemp("overlapping"), {}
    for folder in ("train", "test", *NAMES):
        (root / "data" / folder).mkdir(parents=True)
    for number, id in enumerate("abcdef"):
        random = np.random.default_rng(number)
        size = 83 + 7 * number, 120 - 11 * number
        blocks = random.random((-(-size[0] // 16), -(-size[1] // 16), 2)) < 0.4
        mask = np.repeat(np.repeat(blocks, 16, 0), 16, 1)[: size[0], : size[1]]
        image = (
            60 + 80 * mask[..., [0]] * np.array([1, 0, 0]) + 80 * mask[..., [1]] + random.integers(0, 30, (*size, 3))
        )
        image = image.astype(np.uint8)
        arrays[id] = image, mask
        where = "test" if id in "ef" else "train"
        tifffile.imwrite(root / f"data/{where}/{id}.tif", image, photometric="rgb", tile=(32, 32))
        for k, name in enumerate(NAMES if where == "train" else ()):
            tifffile.imwrite(root / f"data/{name}/{id}.tif", mask[..., k].astype(np.uint8) * 255, rowsperstrip=9)
    masks = {name: f"{name}/{{id}}.tif" for name in NAMES}
    data = Slides(root / "data", images="train/*.tif", masks=masks, tests="test/*.tif")
    return recipe(data, root), arrays


def recipe(data, root, rule=RULE, rows="class"):
    frame, folds = Frame(Resizing(None), tile=TILE), lambda: kfold(len(data.ids), 2, 0)
    config = Config(root / "runs/overlapping", epochs=4)
    run = open_run(config, data, folds, frame, TTA(VIEWS["hflip"]), "overlapping.py", rule=rule)

    def train(fold):
        model = network()
        crops = SlideCrops(data, run.trained_on(fold), TILE, count=24, seed=run.seed)
        plan = Plan(4, 4, warmup_cosine, samples=crops)
        fit_fold(run, fold, model, adamw(model, 0.02), supervised(bce_dice), plan)

    keep = {"class_column": "class", "labels": NAMES, "keep_empty": rows == "class"}
    dialect = Dialect(("id", "class", "rle"), rows, "F", **keep)
    competition = Competition(data, dialect, data.test_ids, MeanDicePerClass(2))
    finish(run, "all", train, network, Submission(competition, folder=root / "submissions"))
    return run


def test_the_scores_are_those_of_whole_masks(finished):
    run, arrays = finished
    table = pd.read_csv(run.folder / "oof.csv", index_col="id")
    for fold in (0, 1):
        predictor = Predictor.load(run.folder, fold, "cpu")
        for id in table.index[table["fold"] == fold]:
            image, truth = arrays[id]
            mask = predictor.predict(image)
            both = [
                2 * (truth[..., k] & mask[..., k]).sum() / (truth[..., k].sum() + mask[..., k].sum()) for k in (0, 1)
            ]
            assert table.loc[id, "dice"] == pytest.approx(np.mean(both), abs=1e-6)
            assert table.loc[id, "accuracy"] == pytest.approx((truth == mask).mean(), abs=1e-6)
            assert table.loc[id, "area"] == pytest.approx(truth.any(axis=2).mean(), abs=1e-6)
    assert table["dice"].mean() > 0.7
    content = json.loads((run.folder / "report.json").read_text())
    assert content["metric"]["value"] == pytest.approx(table["dice"].mean(), abs=1e-6)
    assert [curve["name"] for curve in content["thresholds"]] == list(NAMES)


def test_the_csv_has_a_row_a_class_and_kit_predict_writes_the_same(finished, tmp_path):
    run, arrays = finished
    path = run.folder.parents[1] / "submissions/overlapping.csv"
    predictor = Predictor.load(run.folder, device="cpu")
    with path.open(newline="") as file:
        rows = {(row["id"], row["class"]): row["rle"] for row in csv.DictReader(file)}
    assert list(rows) == [(id, name) for id in "ef" for name in NAMES]
    for (id, name), text in rows.items():
        mask = predictor.predict(arrays[id][0])[..., NAMES.index(name)]
        np.testing.assert_array_equal(rle.decode(text, mask.shape, "F"), mask)
    predict(Request(run.folder, run.folder.parents[1] / "data/test", tmp_path / "out.csv", devices=("cpu",)))
    assert (tmp_path / "out.csv").read_bytes() == path.read_bytes()


def test_the_rule_of_slides_is_tuned_band_by_band(finished):
    read = read_run(finished[0].folder)
    tuned = tune_run(read)
    assert isinstance(tuned.candidates, FromSlides)
    assert tuned.found.tuned >= tuned.found.default_score == pytest.approx(read.scores.images["dice"].mean())
    assert (tuned.found.best.fill_holes, tuned.found.best.top_area) == (0, 0)
    rules = [Rule((0.4, 0.6)), replace(RULE, min_area=(100, 600)), replace(RULE, keep_largest=True)]
    for rule, counts in zip(rules, tuned.candidates(rules), strict=True):
        for row, id in enumerate(read.ids):
            truth = finished[1][id][1]
            levels = np.concatenate(list(read.levels(id).bands), axis=1)
            np.testing.assert_allclose(counts[row], read.metric.counts(truth, rule.mask(levels, truth.shape[:2])))


def test_without_a_competition_each_class_has_a_file(finished, tmp_path):
    run, arrays = finished
    finish(run, "all", None, network, MeanDicePerClass(2))
    predict(Request(run.folder, run.folder.parents[1] / "data/test", tmp_path / "masks", devices=("cpu",)))
    predictor = Predictor.load(run.folder, device="cpu")
    for id in "ef":
        mask = predictor.predict(arrays[id][0])
        for k, name in enumerate(NAMES):
            np.testing.assert_array_equal(tifffile.imread(tmp_path / f"masks/{id}_{name}.tif"), mask[..., k] * 255)


@pytest.mark.slow
def test_objects_have_rows_and_small_ones_are_left_out(finished, tmp_path):
    """The same run with another rule: it is scored and submitted again."""
    run, arrays = finished
    rule = replace(RULE, min_area=600)
    recipe(run.dataset, run.folder.parents[1], rule, "instance")
    predictor, table = Predictor.load(run.folder, 0, "cpu"), pd.read_csv(run.folder / "oof.csv", index_col="id")
    for id in table.index[table["fold"] == 0]:
        image, truth = arrays[id]
        mask = predictor.predict(image)
        assert (mask != RULE.mask(predictor.predict_levels(image), mask.shape[:2])).any()
        both = (2 * (truth & mask)).sum(axis=(0, 1)) / (truth.sum(axis=(0, 1)) + mask.sum(axis=(0, 1)))
        assert table.loc[id, "dice"] == pytest.approx(both.mean(), abs=1e-6)
    path = run.folder.parents[1] / "submissions/overlapping.csv"
    with path.open(newline="") as file:
        rows = [(row["id"], row["class"], row["rle"]) for row in csv.DictReader(file)]
    expected, predictor = [], Predictor.load(run.folder, device="cpu")
    for id in "ef":
        mask = predictor.predict(arrays[id][0])
        for k, name in enumerate(NAMES):
            labels = components(np.ascontiguousarray(mask[..., k]))
            expected += [(id, name, text) for text in rle.encode_objects(labels, "F")]
    assert rows == expected
    assert len(rows) > 3
    predict(Request(run.folder, run.folder.parents[1] / "data/test", tmp_path / "out.csv", devices=("cpu",)))
    assert (tmp_path / "out.csv").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("metric", [DatasetDice(), MeanDicePerClass(3), MeanIoU(3, overlapping=True)])
def test_counts_of_matrices_are_those_of_masks_that_overlap(metric):
    truth, prediction = np.random.default_rng(0).random((2, 20, 30, 3)) < 0.5
    found = metric.counts_of_matrix(class_matrices(truth, prediction))
    np.testing.assert_array_equal(found, metric.counts(truth, prediction))
