"""The CSV holds the very masks that were predicted: decoded, every row gives back every pixel."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TinyCompetition, tiny_network, triple

from kit.data.resize import Resizing
from kit.data.samples import ImageBatches
from kit.datasets.carvana import Carvana
from kit.prediction.predictor import TTA, VIEWS, mask_at, pictures_at_once, predict
from kit.runs.run import Run
from kit.runs.submit import submit
from kit.submission import errors_of, known, lint
from kit.submission.rle import decode
from kit.training.checkpoint import load_weights, save_weights
from kit.training.processes import World

CARVANA = Path(__file__).resolve().parents[3] / "shared/data/carvana"
HFLIP = TTA(VIEWS["hflip"])


def finished_run(folder, competition, size):
    """A run whose folds 0 and 1 are finished; they hold out a picture each, so as to take no time."""
    folds = np.array([0, 1] + [2] * (len(competition.ids) - 2))
    world = World(0, 1, torch.device("cpu"))
    run = Run(folder, "exact", competition, folds, {"lr": 0.1}, HFLIP, size, world, torch.float32)
    run.begin()
    scores = {"loss": 0.5, "val_dice": 0.5, "val_iou": 0.4, "val_accuracy": 0.9}
    line = {"epoch": 1, **scores, "lr": 0.1, "seconds": 2.0, "waited": 0.5, "val_seconds": 1.0}
    for fold in (0, 1):
        model = tiny_network(seed=fold)
        with torch.no_grad():
            model.weight *= 5  # so that it makes masks, neither empty nor full
        save_weights(run.fold_folder(fold) / "last.safetensors", model, {})
        (run.fold_folder(fold) / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        run.predict_oof(fold, model)
    return run


def loaded(run, fold):
    model = tiny_network(seed=99)
    load_weights(run.fold_folder(fold) / "last.safetensors", model)
    return model


def predicted_masks(run):
    """Each test picture's CSV name and mask, straight from the networks, in the batches that submit makes."""
    count = pictures_at_once(HFLIP, run.size, run.world.device)
    batches = ImageBatches(run.competition, run.competition.test_ids, Resizing(run.size), count)
    models = [loaded(run, fold) for fold in (0, 1)]
    for id, size, levels in predict(models, batches, HFLIP, run.world.device, run.dtype, triple):
        yield run.competition.csv_name(id), mask_at(levels, size)


def fill_runs(rle, shape):
    """The competition's words, written out: pixels are numbered from 1, row by row."""
    pixels, numbers = np.zeros(shape[0] * shape[1], np.uint8), [int(number) for number in rle.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        pixels[start - 1 : start - 1 + length] = 1
    return pixels.reshape(shape)


def assert_exact(run, path):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["img", "rle_mask"]
    assert len(rows) == len(run.competition.test_ids)
    for (name, rle), (expected_name, mask) in zip(rows, predicted_masks(run), strict=True):
        assert name == expected_name
        assert 0 < mask.mean() < 1, name
        assert np.array_equal(fill_runs(rle, mask.shape), mask), name
        assert np.array_equal(decode(rle, mask.shape, run.competition.order), mask), name


def test_the_csv_gives_back_the_predicted_masks(tmp_path, capsys):
    run = finished_run(tmp_path, TinyCompetition(), (24, 40))
    assert_exact(run, submit(run, lambda fold: loaded(run, fold), tmp_path))


@pytest.mark.skipif(not CARVANA.is_dir(), reason=f"no {CARVANA}: needs Carvana's own pictures")
def test_the_csv_of_carvanas_test_pictures_gives_back_the_predicted_masks(tmp_path, capsys):
    carvana = Carvana(CARVANA)
    run = finished_run(tmp_path, carvana, (64, 96))
    path = submit(run, lambda fold: loaded(run, fold), tmp_path)
    assert_exact(run, path)
    assert errors_of(lint(path, known.CARVANA, carvana.sample_csv, carvana.shape)) == []
