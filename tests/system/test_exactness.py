"""The CSV holds the very masks that were predicted: decoded, every row gives back every pixel."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TinyDataset, tiny_competition, tiny_network, triple

from kit.data.dataset import data_key
from kit.data.normalise import IMAGENET
from kit.data.resize import Resizing
from kit.datasets.carvana import Carvana
from kit.prediction import TTA, VIEWS, Frame, Rule
from kit.runs import Run, Submission, load, predict_oof, submit
from kit.runs.flags import Flags
from kit.runs.oof import predictor
from kit.runs.run import begin
from kit.submission import known
from kit.submission.lint import lint
from kit.submission.rle import decode
from kit.training import World, save_weights

CARVANA = Path(__file__).resolve().parents[3] / "shared/data/carvana"


def finished_run(folder, dataset, size):
    """A run whose folds 0 and 1 are finished; they hold out an image each, so as to take no time."""
    folds = np.array([0, 1] + [2] * (len(dataset.ids) - 2))
    world, flags = World(0, 1, torch.device("cpu")), Flags({"lr": 0.1}, {"lr": 0.1}, {})
    frame = Frame(Resizing(size), normalise=IMAGENET)
    data = {"data.images and masks": data_key(dataset)}
    run = Run(folder, "exact", dataset, folds, flags, data, frame, TTA(VIEWS["hflip"]), world, torch.float32)
    begin(run)
    scores = {"loss": 0.5, "val_dice": 0.5, "val_iou": 0.4, "val_accuracy": 0.9}
    line = {"epoch": 1, **scores, "lr": 0.1, "seconds": 2.0, "waited": 0.5, "val_seconds": 1.0}
    for fold in (0, 1):
        model = tiny_network(seed=fold)
        with torch.no_grad():
            model.weight *= 5  # so that it makes masks, neither empty nor full
        save_weights(run.fold_folder(fold) / "last.safetensors", model, {})
        (run.fold_folder(fold) / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        predict_oof(run, fold, tiny_network)
    return run


def predicted_masks(run):
    """Each test image's id and mask, straight from the networks, in the batches that submit makes."""
    predict = predictor(run, [load(run, fold, tiny_network()) for fold in (0, 1)])
    for id, size, levels in predict.stream(run.dataset, run.dataset.test_ids, triple):
        yield id, Rule().mask(levels, size)


def fill_runs(rle, shape):
    """The competition's definition, written out: pixels are numbered from 1, row by row."""
    pixels, numbers = np.zeros(shape[0] * shape[1], np.uint8), [int(number) for number in rle.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        pixels[start - 1 : start - 1 + length] = 1
    return pixels.reshape(shape)


def assert_exact(run, path):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["img", "rle_mask"]
    assert len(rows) == len(run.dataset.test_ids)
    for (name, rle), (id, mask) in zip(rows, predicted_masks(run), strict=True):
        assert name == f"{id}.jpg"
        assert 0 < mask.mean() < 1, name
        assert np.array_equal(fill_runs(rle, mask.shape), mask), name
        assert np.array_equal(decode(rle, mask.shape, "C"), mask), name


def test_the_csv_gives_back_the_predicted_masks(tmp_path, capsys):
    run = finished_run(tmp_path, TinyDataset(), (24, 40))
    assert_exact(run, submit(run, Submission(tiny_competition(run.dataset), folder=tmp_path), tiny_network))


@pytest.mark.slow
@pytest.mark.skipif(not CARVANA.is_dir(), reason=f"no {CARVANA}: needs Carvana's own images")
def test_the_csv_of_carvanas_test_images_gives_back_the_predicted_masks(tmp_path, capsys):
    carvana = Carvana(CARVANA)
    run = finished_run(tmp_path, carvana, (64, 96))
    competition = known.carvana(carvana)
    path = submit(run, Submission(competition, folder=tmp_path), tiny_network)
    assert_exact(run, path)
    assert lint(path, competition) == []
