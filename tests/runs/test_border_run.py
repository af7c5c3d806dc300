"""Whole runs with objects and borders: training on label images, levels, validation, report, CSV, tuning, blends."""

import csv
import functools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from any_data import run_recipe
from torch import nn

from kit.cli import main
from kit.data import Dataset, Resizing, border_target, object_labels, turning_augment
from kit.losses import bce_dice
from kit.prediction import Frame, Predictor, Rule, Store
from kit.prediction.blended import blended
from kit.prediction.saved import read_ruled
from kit.runs import Plan, Submission, load, oof_masks, read_run
from kit.runs.blend import blend_runs
from kit.runs.blend_pool import pool_of
from kit.runs.candidates import FromMasks
from kit.runs.oof import prediction_key, predictor
from kit.runs.pseudo import labeller
from kit.runs.submit import check_submission
from kit.runs.training import check_plan, train_loader
from kit.runs.tuning import tune_run, write_tuned
from kit.scoring import InstancePrecision, MeanDice, Mix, instance_precision
from kit.submission import DSB2018, Competition, Dialect, lint, rle
from kit.submission.score import score
from kit.system.objects import components
from kit.training import warmup_cosine

RULE = Rule(objects=True, border=True)
OWN = Frame(Resizing(None))


class Touching(Dataset):
    """Squares side by side, images of two sizes: red shows objects, green borders, and specks that are neither."""

    name, task, classes = "touching", "instances", ("background", "square")

    def __init__(self, images=8, tests=2):
        self.ids = [f"image_{number:02}" for number in range(images)]
        self.test_ids = [f"test_{number:02}" for number in range(tests)]

    def shape(self, id):
        return (40, 52) if int(id[-2:]) % 2 else (48, 40)

    def read_mask(self, id):
        labels, shift = np.zeros(self.shape(id), np.int32), int(id[-2:]) % 5
        for number in range(6):
            top, left = 3 + shift + 11 * (number // 3), 2 + shift + 11 * (number % 3)
            labels[top : top + 11, left : left + 11] = 10 * number + 1
        return labels

    def read_image(self, id):
        image = np.full((*self.shape(id), 3), 60, np.uint8)
        image[..., :2] += border_target(self.read_mask(id)) * np.uint8(130)
        image[1, 1::6, 0] = 190  # specks
        return image


def shown(bias=0.0):
    """A network that gives red and green as logits."""
    network = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        network.weight[:] = torch.eye(3)[:2, :, None, None] * 5
        network.bias[:] = torch.tensor([bias, bias - 3])
    return network


def recorded(seen):
    """bce_dice that keeps the masks that it is given."""

    def loss(logits, masks):
        seen.append(masks.clone())
        return bce_dice(logits, masks)

    return loss


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, data, seen = tmp_path_factory.mktemp("touching"), Touching(), []
    competition = Competition(data, DSB2018, data.test_ids, InstancePrecision())
    goal, augment = Submission(competition, folder=folder, keep_test=True), turning_augment(0, (24, 24))
    of_plan = {"target": border_target, "crops": 3}
    run = run_recipe(data, folder, shown, recorded(seen), augment, goal, OWN, 1e-9, RULE, **of_plan)
    return run, competition, folder, torch.cat(seen)


def test_the_loss_sees_objects_and_borders_of_crops(whole):
    run, _, _, masks = whole
    assert masks.shape == (2 * 2 * 12, 2, 24, 24)  # folds, epochs, three crops of each of four images
    assert set(masks.unique().tolist()) == {0, 1}
    assert 0 < masks[:, 1].float().mean() < masks[:, 0].float().mean() < 1
    facts = json.loads((run.folder / "settings.json").read_text())
    assert (facts["plan.target"], facts["plan.crops"]) == ("kit.data.borders.border_target", "3")


def test_two_levels_are_kept_and_scored(whole):
    run, _, _, _ = whole
    assert run.channels == 2
    for id, truth, found in oof_masks(run):
        levels = run.store.read(id)
        assert levels.shape == (2, *truth.shape)
        probs = shown()(run.frame.normalise(torch.from_numpy(run.dataset.read_image(id).transpose(2, 0, 1)[None])))
        np.testing.assert_allclose(levels, 256 * probs.sigmoid().detach()[0], atol=1.01)
        np.testing.assert_array_equal(found, RULE.mask(levels, truth.shape))
        assert instance_precision(truth, found) > 2 * instance_precision(truth, components(found > 0))
    report = json.loads((run.folder / "report.json").read_text())
    assert report["metric"]["value"] > 0.4
    assert "by a watershed" in (run.folder / "report.html").read_text()
    values = [instance_precision(truth, components(found > 0)) for _, truth, found in oof_masks(run)]
    name = f"{InstancePrecision.name}, by connected components alone"
    assert report["further"][name] == pytest.approx(np.mean(values))
    held_out = [(truth > 0, found > 0) for id, truth, found in oof_masks(run) if id in run.held_out(0)]
    both, total = sum((t & p).sum() for t, p in held_out), sum(t.sum() + p.sum() for t, p in held_out)
    assert run.history(0)[-1]["val_dice"] == pytest.approx(2 * both / total, abs=0.01)


def test_the_csv_has_a_row_an_object(whole):
    run, competition, folder, _ = whole
    [path] = folder.glob("*.csv")
    assert lint(path, competition) == []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    networks = [load(run, fold, shown()) for fold in (0, 1)]
    for id in run.dataset.test_ids:
        mask = predictor(run, networks).predict(run.dataset.read_image(id))
        texts = {row["EncodedPixels"] for row in rows if row["ImageId"] == id}
        assert texts == {rle.encode(mask == label, "F") for label in range(1, mask.max() + 1)}
    found = score(path, DSB2018, run.dataset.read_mask, run.dataset.test_ids)
    assert found["instance_precision"] > 0.3


def test_tuning_finds_the_least_area_and_says_what_components_alone_give(whole, capsys, monkeypatch):
    run, _, _, _ = whole
    tuned = tune_run(read_run(run.folder))
    assert tuned.parts == ("threshold", "seed", "seed_area", "min_area", "fill_holes")
    assert tuned.used, tuned.why
    assert tuned.found.best.min_area > 1
    assert tuned.found.best.border
    assert tuned.found.score > tuned.found.default_score + 0.2
    truths = {id: run.dataset.read_mask(id) for id in run.dataset.ids}
    for found in (tuned.found, tuned.components):
        masks = {id: found.best.mask(run.store.read(id), truth.shape) for id, truth in truths.items()}
        assert found.tuned == pytest.approx(np.mean([instance_precision(truths[id], masks[id]) for id in masks]))
    assert tuned.components.best.seed is None
    assert tuned.components.score < 0.2 < tuned.found.score
    assert tuned.facts["components"]["cross_fitted"] == tuned.components.score
    monkeypatch.setattr("sys.argv", ["kit", "tune", str(run.folder), "--only", "seed,threshold"])
    assert main() == 0
    assert "components alone" in capsys.readouterr().out
    write_tuned(tuned)
    assert read_ruled(run.folder).rule == tuned.found.best
    loaded = Predictor.load(run.folder).predict(run.dataset.read_image("image_00"))
    assert instance_precision(truths["image_00"], loaded) > 0.9
    (run.folder / "rule.json").unlink()


def test_a_blend_averages_both_levels(whole, tmp_path):
    run, _, _, _ = whole
    [id, *_], random = run.dataset.ids, np.random.default_rng(0)
    maps = [run.store.read(id), random.integers(0, 256, run.store.read(id).shape).astype(np.uint8)]
    mean = blended(maps, np.array([3, 1]), maps[0].shape[1:], RULE)
    np.testing.assert_array_equal(mean, ((6 * maps[0].astype(int) + 2 * maps[1].astype(int) + 4) // 8).astype(np.uint8))
    folders = [shutil.copytree(run.folder, tmp_path / name) for name in ("left", "right")]
    for at, folder in enumerate(folders):  # one run sees no borders in the left half, the other none in the right half
        store = Store(folder / "oof", 2, RULE)
        for each in run.dataset.ids:
            levels = store.read(each)
            levels[0] = levels[0] // 5 * 4  # a border of half a probability then separates objects
            np.array_split(levels[1], 2, axis=1)[at][:] = 0
            store.write(each, levels)
    runs = [read_run(folder) for folder in folders]
    together = pool_of(runs).counts(Mix(((1, 1),), (0,)))[:, 0]
    apart = np.array([pool_of(runs).counts(Mix((weights,), (0,)))[:, 0] for weights in ((1, 0), (0, 1))])
    for each, value, alone in zip(runs[0].ids, together, apart.T, strict=True):
        truth, (left, right) = runs[0].truth(each), [one.levels(each) for one in runs]
        mean = ((left.astype(int) + right + 1) // 2).astype(np.uint8)
        expected = [instance_precision(truth, RULE.mask(levels, truth.shape)) for levels in (mean, left, right)]
        assert [value, *alone] == expected
        assert value > max(alone)
    found = blend_runs(folders, tune=True)  # the specks of both remain in the mean: a rule of its own removes them
    assert found.tuned.used
    assert found.final.rule.min_area > 0
    assert found.expected.value == found.tuned.found.score > found.found.expected.value + 0.1
    assert found.facts()["chosen"]["rule"] == json.loads(json.dumps(found.final.rule.facts))


def test_weights_are_of_images_and_not_of_crops(whole):
    run, _, _, _ = whole
    weights = np.array([1.0, 1e-9, 1e-9, 1e-9])  # one image alone
    loader = train_loader(run, 0, Plan(1, 4, warmup_cosine, None, weights=weights, crops=3, target=object_labels))
    ids = [id for batch in loader for id in batch.id]
    assert (len(ids), set(ids)) == (12, {run.trained_on(0)[0]})


@pytest.mark.parametrize("keep_empty", [True, False])
def test_a_csv_with_a_mask_an_image_is_scored_by_the_metric_of_objects(tmp_path, capsys, keep_empty):
    data = Touching(images=3)
    dialect = Dialect(("id", "rle"), order="F", keep_empty=keep_empty)
    truth = {id: rle.encode((data.read_mask(id) > 0).astype(np.uint8), "F") for id in data.ids}
    rows = [("id", "rle"), *truth.items()]
    for name, lines in (("truth", rows), ("mine", [*rows[:3], (data.ids[2], "")][: 4 if keep_empty else 3])):
        (tmp_path / f"{name}.csv").write_text("".join(f"{id},{text}\n" for id, text in lines))
    own = Competition(data, dialect, data.ids, InstancePrecision(), truth_csv=tmp_path / "truth.csv")
    check_submission(tmp_path / "mine.csv", own)
    assert "mean Dice 0.6667" in (said := capsys.readouterr().out)
    assert "over IoU thresholds 0.6667" in said


def same_folds(run, folder):
    """Copy the folds of a run to `folder`; returns the run's own folder."""
    shutil.copy(run.folder / "folds.csv", folder / "folds.csv")
    return run.folder


def test_a_metric_of_pixels_is_tuned_by_the_objects_masks(whole):
    run = read_run(whole[0].folder)
    masks = {id: run.rule.mask(run.levels(id), run.truth(id).shape) for id in run.ids}
    counts = np.stack([MeanDice().counts(run.truth(id), mask) for id, mask in masks.items()])
    dice = replace(run, metric=MeanDice(), scores=replace(run.scores, counts=counts))
    tuned = tune_run(dice, ["threshold", "min_area"])
    assert isinstance(tuned.candidates, FromMasks)
    assert tuned.found.tuned >= tuned.found.default_score


def test_what_does_not_fit_is_refused(whole, tmp_path):
    run, _, _, _ = whole
    with pytest.raises(ValueError, match="the plan has samples of its own, and target or crops"):
        train_loader(run, 0, Plan(1, 4, warmup_cosine, samples=[], target=border_target))
    with pytest.raises(ValueError, match=r"logits of 1 channel.*the rule borders: expected 2"):
        run_recipe(Touching(), tmp_path, lambda: nn.Conv2d(3, 1, 1), bce_dice, None, None, OWN, rule=RULE)
    for target in (border_target, functools.partial(border_target), lambda labels: np.stack([labels > 0] * 2, axis=2)):
        with pytest.raises(ValueError, match="the rule knows of no borders"):
            run_recipe(Touching(), tmp_path, shown, bce_dice, None, None, OWN, target=target)
    for crops in (0, 2.5):
        with pytest.raises(ValueError, match=f"crops is how often an epoch takes each image, 1 or more; got {crops}"):
            check_plan(run, Plan(1, 4, warmup_cosine, target=border_target, crops=crops))
    finds = replace(run, rule=Rule(objects=True, detected=True))
    check_plan(finds, Plan(1, 4, warmup_cosine, target=object_labels))
    for target, found in ((None, "none"), (border_target, r"one of shape \(8, 8, 2\)|two layers")):
        with pytest.raises(ValueError, match=found):
            check_plan(finds, Plan(1, 4, warmup_cosine, target=target))
    with pytest.raises(ValueError, match="a rule with borders has no part top_area to tune: expected some of thr"):
        tune_run(read_run(run.folder), ["threshold", "top_area"])
    with pytest.raises(ValueError, match="keeps probabilities of objects and of borders"):
        labeller(replace(run, folder=tmp_path, rule=Rule(objects=True)), 0, same_folds(run, tmp_path), [])
    other = replace(run, rule=Rule(objects=True))
    assert prediction_key(other, [0]) != prediction_key(run, [0])  # its levels have one channel
