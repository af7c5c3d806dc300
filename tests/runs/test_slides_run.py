"""A run on slides, from the check to the CSV. Truth: the same steps on whole images, by kit's own parts and NumPy."""

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from any_data import COLOURS, nearest_colour
from slides_drawn import draw_slides, kidneys
from slides_run import TILE, network, opened, run_recipe
from torch import nn

from kit.data.crops import SlideCrops
from kit.data.regions import open_regions
from kit.data.resize import Resizing
from kit.data.scaled import ScaledRegions
from kit.datasets import Slides
from kit.losses import bce_dice
from kit.prediction import TTA, Frame, Predictor, predict_slide
from kit.recipe import finish
from kit.runs import Plan, Submission, fit_fold
from kit.runs.oof import oof_masks, predictor
from kit.runs.training import load
from kit.scoring import DatasetDice, InstancePrecision, MeanDice, MeanIoU, confusion_matrix
from kit.submission import Competition, Dialect, rle
from kit.training import adamw, supervised, warmup_cosine


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("kidneys")
    return root, draw_slides(root)


@pytest.fixture(scope="module")
def finished(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "kidneys"
    return run_recipe(kidneys(drawn[0]), folder, keep_test=True)


def levels_of(run, folds, image):
    """The levels (K, h, w) of a whole image by the networks of some folds, and the map enlarged without stretching."""
    padded = np.pad(image, [*((0, side % 2) for side in image.shape[:2]), (0, 0)], "edge")
    small = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, 3).mean(axis=(1, 3))
    small = np.floor(small + 0.5).astype(np.uint8)  # as OpenCV rounds
    own = predictor(run, [load(run, fold, network()) for fold in folds])
    mask = own.rule.mask(own.predict_levels(small), padded.shape[:2])
    return mask[: image.shape[0], : image.shape[1]]


def test_the_scores_are_those_of_whole_masks(finished, drawn):
    table = pd.read_csv(finished.folder / "oof.csv", index_col="id")
    assert sorted(table.index) == ["a", "b", "c", "d"]
    for id in table.index:
        image, truth = drawn[1][id]
        mask = levels_of(finished, [int(table.loc[id, "fold"])], image)
        hits, both = (mask & truth).sum(), mask.sum() + truth.sum()
        assert table.loc[id, "dice"] == pytest.approx(2 * hits / both, abs=1e-6)
        assert table.loc[id, "area"] == pytest.approx(truth.mean(), abs=1e-6)
    assert table["dice"].mean() > 0.6  # it has learnt something: everything foreground gives half of that


def test_the_csv_holds_the_masks_of_whole_images(finished, drawn):
    path = finished.folder.parent / "submissions/kidneys.csv"
    with path.open() as file:
        rows = {row["id"]: row["rle"] for row in csv.DictReader(file)}
    assert list(rows) == ["t1", "t2"]
    for id, text in rows.items():
        image, truth = drawn[1][id]
        mask = levels_of(finished, [0, 1], image)
        np.testing.assert_array_equal(rle.decode(text, truth.shape, "F"), mask)


def test_the_run_folder_alone_predicts_a_slide_in_python(finished, drawn):
    path = finished.folder.parent / "submissions/kidneys.csv"
    with path.open() as file:
        rows = {row["id"]: row["rle"] for row in csv.DictReader(file)}
    slide = ScaledRegions(open_regions(drawn[0] / "test/t1.tif"), 2)
    runs = predict_slide(Predictor.load(finished.folder), slide, "F")
    assert rle.encode_edges(runs.edges[1], np.prod(slide.regions.shape[:2])) == rows["t1"]


def test_the_report_shows_slides_and_says_how(finished):
    content = json.loads((finished.folder / "report.json").read_text())
    assert content["metric"]["name"] == "mean Dice over images"
    assert content["threshold"]["best"]["dice_mean"]["value"] >= content["pooled"]["dice_mean"]["value"] - 1e-9
    page = (finished.folder / "report.html").read_text()
    assert "The images are slides. Networks see tiles of them, shrunk by 2," in page


@pytest.mark.slow
def test_training_resumes_bit_for_bit_and_the_same_command_does_nothing(finished, drawn, tmp_path):
    again = run_recipe(kidneys(drawn[0]), tmp_path / "runs/kidneys")
    name = "fold1/last.safetensors"
    assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()
    one, two = (run.folder.parent / "submissions/kidneys.csv" for run in (again, finished))
    assert one.read_bytes() == two.read_bytes()
    before = (again.folder / "fold0/finished.json").stat().st_mtime_ns
    run_recipe(kidneys(drawn[0]), tmp_path / "runs/kidneys")
    assert (again.folder / "fold0/finished.json").stat().st_mtime_ns == before


def test_another_scale_or_another_crop_is_another_run(finished, drawn, tmp_path):
    folder = tmp_path / "kidneys"
    shutil.copytree(finished.folder, folder)
    with pytest.raises(ValueError, match="images and masks"):
        run_recipe(kidneys(drawn[0], scale=1), folder)
    run = opened(kidneys(drawn[0]), folder)
    model = network()
    samples = SlideCrops(run.dataset, run.trained_on(0), TILE, count=24, foreground=0.9)
    with pytest.raises(ValueError, match=r"plan\.samples"):
        fit_fold(run, 0, model, adamw(model, 0.02), supervised(bce_dice), Plan(3, 4, warmup_cosine, samples=samples))


def test_what_does_not_work_on_slides_is_said_before_training(drawn, tmp_path):
    data, where = kidneys(drawn[0]), tmp_path / "kidneys"
    with pytest.raises(ValueError, match="a slide is predicted in tiles"):
        opened(data, where, Frame(Resizing((64, 64))))
    with pytest.raises(ValueError, match="a slide is predicted in tiles"):
        opened(data, where, tta=TTA(scales=(1.0, 0.5)))
    run, model = opened(data, where), network()
    with pytest.raises(ValueError, match=r"give the plan samples=kit\.data\.crops\.SlideCrops"):
        fit_fold(run, 0, model, adamw(model, 0.02), supervised(bce_dice), Plan(1, 4, warmup_cosine))
    with pytest.raises(ValueError, match="has no counts_of_matrix"):
        finish(run, 0, None, network, InstancePrecision())
    sized = Competition(data, Dialect(("id", "rle"), order="F", size=(50, 60)), data.test_ids, MeanDice())
    with pytest.raises(ValueError, match="slides are written at their own size"):
        finish(run, 0, None, network, Submission(sized))
    with pytest.raises(ValueError, match="not read whole"):
        next(oof_masks(run))


def test_a_damaged_test_slide_gets_an_empty_row(drawn, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(drawn[0], root)
    path = root / "test/t2.tif"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :])  # in the middle of some tile
    run = run_recipe(kidneys(root), tmp_path / "runs/kidneys", on_bad_image="empty")
    with (run.folder.parent / "submissions/kidneys.csv").open() as file:
        rows = {row["id"]: row["rle"] for row in csv.DictReader(file)}
    assert rows["t1"]
    assert rows["t2"] == ""


@pytest.mark.slow
def test_several_classes_are_scored_and_written(tmp_path):
    """The network knows the colours, so a scale of 1 gives nearly the truth."""
    (tmp_path / "train").mkdir()
    (tmp_path / "masks").mkdir()
    masks = {}
    for number, id in enumerate("abcd"):
        blocks = np.random.default_rng(number).integers(0, 3, (7, 9))
        masks[id] = np.kron(blocks, np.ones((19, 17))).astype(np.uint8)[:, : 150 + number]
        image = COLOURS[masks[id]].astype(np.uint8)
        tifffile.imwrite(tmp_path / f"train/{id}.tif", image, photometric="rgb", tile=(32, 32))
        np.save(tmp_path / f"masks/{id}.npy", masks[id])
    (tmp_path / "test").mkdir()
    for id in "ab":
        shutil.copy(tmp_path / f"train/{id}.tif", tmp_path / "test")
    files = {"images": "train/*.tif", "masks": "masks/{id}.npy", "tests": "test/*.tif"}
    data = Slides(tmp_path, **files, classes=("background", "square", "disc"), scale=2)
    assert data.ids[0] == "train/a"
    run = opened(data, tmp_path / "runs/kidneys")

    def train(fold):
        model = nearest_colour()
        crops = SlideCrops(data, run.trained_on(fold), (32, 32), count=4)
        loss = lambda logits, target: nn.functional.cross_entropy(logits, target)  # noqa: E731
        plan = Plan(1, 4, warmup_cosine, samples=crops, ema_decay=None)
        fit_fold(run, fold, model, adamw(model, 0.0), supervised(loss), plan)

    dialect = Dialect(("id", "rle"), "class", "F", key="{id}_{class}", labels=("square", "disc"))
    competition = Competition(data, dialect, data.test_ids, MeanIoU(3))
    finish(run, "all", train, nearest_colour, Submission(competition, folder=tmp_path / "submissions"))
    table = pd.read_csv(run.folder / "oof.csv")
    assert (table["iou"] > 0.9).all()
    with (tmp_path / "submissions/kidneys.csv").open() as file:
        rows = {row["id"]: row["rle"] for row in csv.DictReader(file)}
    for id in "ab":
        square, disc = (rle.decode(rows[f"{id}_{label}"], masks[id].shape, "F") for label in ("square", "disc"))
        found = square + 2 * disc
        assert np.diag(confusion_matrix(masks[id], found, 3)).sum() > 0.97 * found.size


def test_counts_of_matrices_are_those_of_masks():
    random = np.random.default_rng(0)
    for count, metrics in ((2, [MeanDice(), DatasetDice(), MeanIoU(2)]), (4, [MeanDice(), DatasetDice(), MeanIoU(4)])):
        truth, prediction = (random.integers(0, count, (20, 30)).astype(np.uint8) for _ in range(2))
        truth[:3] = 255
        for metric in metrics:
            found = metric.counts_of_matrix(confusion_matrix(truth, prediction, count))
            np.testing.assert_array_equal(found, metric.counts(truth, prediction))
