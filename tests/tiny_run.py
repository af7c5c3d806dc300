"""A run folder of the drawn discs whose folds are finished without training."""

import json

import numpy as np
import torch
from tiny import TinyCompetition, tiny_network

from kit.folds.keeping import keep_folds
from kit.prediction.predictor import TTA, VIEWS
from kit.runs.run import Run
from kit.training.checkpoint import load_weights, save_weights
from kit.training.processes import World

ALONE = World(0, 1, torch.device("cpu"))
SIZE = (24, 40)


def new_run(folder, competition=None, config=None, **changes):
    competition = competition or TinyCompetition()
    folds = np.arange(len(competition.ids)) // 3 % 2  # four cars of three views, in two folds
    options = {"tta": TTA(VIEWS["hflip"]), "size": SIZE, "world": ALONE, "dtype": torch.float32} | changes
    return Run(folder, "tiny", competition, folds, config or {"fold": 0, "lr": 0.1}, **options)


def train(run, fold, seed):
    """Stands in for training: seeded weights, sharpened until they make masks, and a line of metrics."""
    model = tiny_network(seed=seed)
    with torch.no_grad():
        model.weight *= 5
    save_weights(run.fold_folder(fold) / "last.safetensors", model, {})
    scores = {"loss": 0.5, "val_dice": 0.5, "val_iou": 0.4, "val_accuracy": 0.9}
    line = {"epoch": 1, **scores, "lr": 0.1, "seconds": 2.0, "waited": 0.5, "val_seconds": 1.0}
    (run.fold_folder(fold) / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return model


def trained(run):
    def load(fold):
        model = tiny_network(seed=99)
        load_weights(run.fold_folder(fold) / "last.safetensors", model)
        return model

    return load


def finish_two_folds(folder):
    """Both folds trained, predicted and scored, with config.json and folds.csv; returns the folder."""
    run = new_run(folder)
    keep_folds(folder, run.competition, ALONE, lambda: run.folds)
    run.begin()
    for fold in (0, 1):
        run.predict_oof(fold, train(run, fold, seed=fold))
    return folder
