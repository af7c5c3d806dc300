"""A full fit: trained on all images after the folds, resumed bit for bit, submitted with the score to expect."""

import importlib
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from any_data import Config
from safetensors.torch import load_file
from tiny import TinyDataset, tiny_competition, tiny_network
from tiny_run import mask_by_hand

from kit.bundle.weights import copy_run
from kit.data import Resizing, photo_augment
from kit.folds import group_kfold
from kit.losses import bce_dice
from kit.prediction import TTA, VIEWS, Frame, Predictor
from kit.prediction.saved import read_saved, wanted_folds
from kit.recipe import finish
from kit.runs import Plan, Submission, fit_fold, open_run
from kit.scoring import MeanDice, MeanIoU, interval_of_metric
from kit.submission import Dialect, rle
from kit.system.files import short_hash
from kit.training import adamw, repeat_factors, supervised, warmup_cosine

SIZE = (24, 40)
STEPS = []  # after which training is stopped


class Stop(Exception):
    """Stands for a kill."""


def recipe(folder, fold, seed=0, goal="submission", data=None, augment=photo_augment, network=tiny_network, **changes):
    """A recipe with augmentation. Returns the run and the ids that it trained on."""
    data = data or TinyDataset()
    config = Config(folder / "runs/full", fold, seed=seed, **changes)
    make_folds = lambda: group_kfold(data.groups, 2, config.seed)  # noqa: E731
    run = open_run(config, data, make_folds, Frame(Resizing(SIZE)), TTA(VIEWS["hflip"]), "full.py")
    seen, criterion = [], supervised(bce_dice)

    def loss(model, batch):
        if STEPS and len(seen) >= STEPS[0]:
            raise Stop
        seen.append(batch.id)
        return criterion(model, batch)

    def train(fold):
        model = tiny_network(seed=int(torch.initial_seed()))
        often = repeat_factors(run.dataset.read_mask(id) for id in run.trained_on(fold))
        plan = Plan(config.epochs, 4, warmup_cosine, augment(config.seed), weights=often)
        fit_fold(run, fold, model, adamw(model, lr=1e-2), loss, plan)

    competition = tiny_competition(data)
    goals = {"submission": Submission(competition, folder=folder / "csv"), "metric": MeanDice(), "none": None}
    finish(run, fold, train, network, goals.get(goal, goal))
    return run, seen


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Two finished folds, and the folder around them."""
    folder = tmp_path_factory.mktemp("full")
    for fold in (0, 1):
        recipe(folder, fold)
    return folder


@pytest.fixture(scope="module")
def fits(folds):
    """Full fits of two seeds, and what was there before."""
    kept = [path for path in folds.rglob("*") if path.is_file() and path.name != "lock" and "test" not in path.parts]
    before = {path: path.read_bytes() for path in kept}  # rows that are in a CSV are removed
    seen = {seed: recipe(folds, "full", seed)[1] for seed in (0, 1)}
    return folds, before, seen


def test_all_images_are_trained_on_in_every_epoch(fits):
    folder, _, seen = fits
    for batches in seen.values():
        assert len(batches) == 2 * 3  # epochs of 12 images
        assert {id for batch in batches for id in batch} == set(TinyDataset().ids)
    weights = [load_file(folder / f"runs/full/full{seed}/last.safetensors") for seed in (0, 1)]
    assert all((weights[0][name] != weights[1][name]).any() for name in weights[0])
    lines = (folder / "runs/full/full0/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert not any(name.startswith("val_") for name in json.loads(lines[0]) if name != "val_seconds")


def test_the_folds_stay_as_they_are(fits):
    folder, before, _ = fits
    assert [path for path, content in before.items() if path.read_bytes() != content] == []
    run, seen = recipe(folder, "all")
    assert seen == []
    assert run.seed == 0


def test_the_submission_is_the_mean_of_all_seeds(fits):
    folder = fits[0]
    networks = []
    for seed in (0, 1):
        network = tiny_network()
        network.load_state_dict(load_file(folder / f"runs/full/full{seed}/last.safetensors"))
        networks.append(network.eval())
    data = TinyDataset()
    for id, found in zip(data.test_ids, csv_masks(folder), strict=True):
        mask = mask_by_hand(networks, data.read_image(id), SIZE)
        assert np.mean(found != mask) < 0.01  # a level may round to another side


def csv_masks(folder):
    rows = (folder / "csv/full_full.csv").read_text().splitlines()[1:]
    return [rle.decode(row.split(",")[1], TinyDataset().size, Dialect().order) for row in rows]


def test_the_folder_alone_predicts_by_full_fits(fits, tmp_path):
    folder, data = fits[0] / "runs/full", TinyDataset()
    copy_run(folder, read_saved(folder), wanted_folds(folder, "full"), tmp_path / "bundled")
    for predictor in (Predictor.load(folder, "full", "cpu"), Predictor.load(tmp_path / "bundled", device="cpu")):
        assert len(predictor.networks) == 2
        for id, mask in zip(data.test_ids, csv_masks(fits[0]), strict=True):
            np.testing.assert_array_equal(predictor.predict(data.read_image(id)), mask)
    assert wanted_folds(folder, "all") == [0, 1]
    (tmp_path / "bundled/full0/finished.json").unlink()
    assert wanted_folds(tmp_path / "bundled", "all") == ["full1"]


def test_a_folder_without_full_fits_says_so(folds, tmp_path):
    copied = shutil.copytree(folds / "runs/full", tmp_path / "copied", ignore=shutil.ignore_patterns("full?"))
    with pytest.raises(ValueError, match="no network that was trained on all data: run the recipe with --fold full"):
        wanted_folds(copied, "full")


def test_the_submission_states_what_to_expect(fits):
    folder = fits[0]
    stated = json.loads((folder / "csv/full_full.json").read_text())
    report = json.loads((folder / "runs/full/report.json").read_text())
    assert stated["networks"] == ["full0", "full1"]
    for name in ("value", "low", "high", "note"):
        assert stated["expected"][name] == report["metric"][name]
    assert (stated["expected"]["metric"], stated["expected"]["from"]) == ("mean Dice over images", "folds")
    assert (stated["expected"]["folds"], stated["expected"]["of"]) == ([0, 1], 2)
    assert not list((folder / "csv").glob("full_fold*.json"))


def test_the_same_command_does_nothing(fits, capsys):
    folder = fits[0]
    before = (folder / "csv/full_full.csv").read_bytes()
    assert recipe(folder, "full", 1)[1] == []
    said = capsys.readouterr().out
    assert "full1 is finished" in said
    assert "expected score: mean Dice over images 0." in said
    assert (folder / "csv/full_full.csv").read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_stopped_fit_resumes_bit_for_bit(steps, fits, tmp_path):
    for fold in (0, 1):
        recipe(tmp_path, fold, goal="none")
    STEPS.append(steps)
    with pytest.raises(Stop):
        recipe(tmp_path, "full", 1, goal="none")
    STEPS.clear()
    assert not (tmp_path / "runs/full/full1/finished.json").exists()
    _, seen = recipe(tmp_path, "full", 1, goal="none")
    assert len(seen) == (6 if steps < 3 else 3)  # the first epoch's checkpoint
    weights = [load_file(folder / "runs/full/full1/last.safetensors") for folder in (fits[0], tmp_path)]
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value)


def test_folds_come_first(tmp_path):
    with pytest.raises(ValueError, match=r"runs/full has no fold yet: train one first, as by --fold 0"):
        recipe(tmp_path, "full")
    assert not (tmp_path / "runs").exists()


def test_other_settings_than_those_of_the_folds_are_refused(fits):
    with pytest.raises(ValueError, match=r"epochs.*\b2\b.*\b3\b|epochs.*\b3\b.*\b2\b"):
        recipe(fits[0], "full", epochs=3)
    with pytest.raises(ValueError, match=r"lists other ids or groups"):
        recipe(fits[0], "full", data=TinyDataset(cars=5))


def test_a_fold_of_another_seed_is_still_refused(fits):
    with pytest.raises(ValueError, match="seed"):
        recipe(fits[0], 0, seed=1)


def test_without_a_competition_the_score_to_expect_is_printed(tmp_path, capsys):
    run, _ = recipe(tmp_path, 0, goal="metric")
    capsys.readouterr()
    recipe(tmp_path, "full", 7, goal="metric")
    said = capsys.readouterr().out
    assert "expected score: mean Dice over images" in said
    assert "from 1 fold of 2" in said
    with np.load(run.fold_folder(0) / "scores.npz") as arrays:
        groups = [id.split("_")[0] for id in run.held_out(0)]
        value = interval_of_metric(MeanDice(), arrays["counts"], groups).value
    assert f"{value:.4f}" in said


def own_augment(seed):
    def augment(image, mask, epoch, index):
        rng = np.random.default_rng([seed, epoch, index])
        return (image[:, ::-1].copy(), mask[:, ::-1].copy()) if rng.random() < 0.5 else (image, mask)

    return augment


def test_an_augmentation_of_the_users_may_hold_the_seed(tmp_path):
    recipe(tmp_path, 0, goal="none", augment=own_augment)
    run, seen = recipe(tmp_path, "full", 1, goal="none", augment=own_augment)
    assert len(seen) == 2 * 3
    assert (run.folder / "full1/finished.json").exists()


def test_what_to_expect_is_by_the_metric_of_now(fits, tmp_path, capsys):
    folder = shutil.copytree(fits[0], tmp_path / "copied")
    metric = MeanIoU(2)
    recipe(folder, "full", 0, goal=metric)
    said = capsys.readouterr().out
    matrix = np.zeros((2, 2))
    for fold in (0, 1):
        with np.load(folder / f"runs/full/fold{fold}/scores.npz") as arrays:
            matrix += arrays["matrices"].sum(axis=0)
    hits = np.diag(matrix)
    value = np.mean(hits / (matrix.sum(axis=0) + matrix.sum(axis=1) - hits))
    assert f"expected score: {metric.name} {value:.4f}" in said


NETWORK = """
from torch import nn


class Net(nn.Conv2d):
    def forward(self, x):
        return {sign} * super().forward(x)


def network():
    return Net(3, 1, 3, padding=1)
"""


@pytest.fixture
def edit_network(tmp_path, monkeypatch):
    """Writes a module with a network and imports it anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def edit(sign):
        (tmp_path / "edited_network.py").write_text(NETWORK.format(sign=sign))
        sys.modules.pop("edited_network", None)
        importlib.invalidate_caches()
        return importlib.import_module("edited_network").network

    yield edit
    sys.modules.pop("edited_network", None)


@pytest.mark.slow
def test_an_edited_network_belongs_to_the_folds_first(edit_network, tmp_path):
    network, data = edit_network(1), TinyDataset()
    recipe(tmp_path, 0, network=network)
    recipe(tmp_path, "full", 0, network=network)
    network = edit_network(-1)
    with pytest.raises(ValueError, match=r"no fold of .*full is finished by the recipe and settings of now"):
        recipe(tmp_path, "full", 1, network=network)
    assert not (tmp_path / "runs/full/full1").exists()
    assert recipe(tmp_path, 0, network=network)[1] == []  # predicted again
    with pytest.raises(ValueError, match=r"full0\) were made by other code of the recipe than"):
        Predictor.load(tmp_path / "runs/full", "full", "cpu")
    assert recipe(tmp_path, "full", 0, network=network)[1] == []
    assert wanted_folds(tmp_path / "runs/full", "full") == ["full0"]
    predictor = Predictor.load(tmp_path / "runs/full", "full", "cpu")
    for id, mask in zip(data.test_ids, csv_masks(tmp_path), strict=True):
        np.testing.assert_array_equal(predictor.predict(data.read_image(id)), mask)


def test_a_tuned_rule_in_use_moves_what_to_expect(fits):
    folder = fits[0] / "runs/full"
    names = ("key", "recipe", "metric")
    facts = [json.loads((folder / f"fold{fold}/finished.json").read_text()) for fold in (0, 1)]
    key = short_hash([(fold, *(one[name] for name in names)) for fold, one in enumerate(facts)])
    before = json.loads((fits[0] / "csv/full_full.json").read_text())["expected"]
    rule = {"format": 1, "rule": {"threshold": 0.5}, "used": True, "why": "", "key": key}
    (folder / "rule.json").write_text(json.dumps({**rule, "cross_fitted": before["value"] + 0.01}))
    try:
        recipe(fits[0], "full", 0)
        after = json.loads((fits[0] / "csv/full_full.json").read_text())["expected"]
    finally:
        (folder / "rule.json").unlink()
    assert after["from"] == "cross-fitted rule"
    np.testing.assert_allclose(after["value"] - before["value"], 0.01)
