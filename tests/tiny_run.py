"""A run folder of the drawn discs whose folds are finished without training."""

import json

import cv2
import numpy as np
import torch
from tiny import TinyDataset, tiny_competition, tiny_network

from kit.data.dataset import data_key
from kit.data.normalise import IMAGENET
from kit.data.resize import Resizing, resize_image
from kit.folds.keeping import keep_folds
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish
from kit.runs import Submission
from kit.runs.flags import Flags
from kit.runs.oof import predict_oof
from kit.runs.run import Run, begin
from kit.scoring import MeanDice
from kit.training.checkpoint import save_weights
from kit.training.processes import World

ALONE = World(0, 1, torch.device("cpu"))
SIZE = (24, 40)


def frame(size=SIZE):
    return Frame(Resizing(size), normalise=IMAGENET)


def flags(values, free=("fold", "workers")):
    """Flags of which all but `free` decide a number."""
    return Flags(values, {name: value for name, value in values.items() if name not in free}, {})


def new_run(folder, dataset=None, config=None, size=SIZE, **changes):
    dataset = dataset or TinyDataset()
    folds = np.arange(len(dataset.ids)) // 3 % 2  # four cars of three views, in two folds
    options = {
        "data": {"data.images and masks": data_key(dataset)},  # open_run reads them all
        "tta": TTA(VIEWS["hflip"]),
        "frame": frame(size),
        "world": ALONE,
        "dtype": torch.float32,
    }
    return Run(folder, "tiny", dataset, folds, flags(config or {"fold": 0, "lr": 0.1}), **options | changes)


def train(run, fold, seed):
    """Stands in for training: seeded weights, sharpened until they make masks."""
    model = tiny_network(seed=seed)
    with torch.no_grad():
        model.weight *= 5
    keep_trained(run, fold, model)
    return model


def keep_trained(run, fold, model):
    """Leave the weights and a line of metrics, as training does."""
    save_weights(run.fold_folder(fold) / "last.safetensors", model, {})
    scores = {"loss": 0.5, "val_dice": 0.5, "val_iou": 0.4, "val_accuracy": 0.9}
    line = {"epoch": 1, **scores, "lr": 0.1, "seconds": 2.0, "waited": 0.5, "val_seconds": 1.0}
    (run.fold_folder(fold) / "metrics.jsonl").write_text(json.dumps(line) + "\n")


def finish_two_folds(folder):
    """Both folds trained, predicted and scored, with config.json and folds.csv; returns the folder."""
    run = new_run(folder)
    keep_folds(folder, run.dataset, ALONE, lambda: run.folds)
    begin(run)
    for fold in (0, 1):
        train(run, fold, seed=fold)
        predict_oof(run, fold, tiny_network)
    return folder


def finished_run(folder, metric=None, keep_test=True, **changes):
    """A run of two folds with a submission."""
    run = new_run(finish_two_folds(folder), **changes)
    competition = tiny_competition(metric=metric or MeanDice())
    finish(run, "all", None, tiny_network, Submission(competition, folder=folder.parent, keep_test=keep_test))
    return run


def mask_by_hand(models, image, size, mask_size=None):
    """Resize, normalise, mean of the sigmoids with and without mirror, 256 steps, mean over models, enlarge, cut.

    mask_size: (height, width) of the mask, where it is not the image's.
    """
    small = resize_image(image, size).astype(np.float32) / 255
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pixels = torch.from_numpy(((small - mean) / deviation).astype(np.float32).transpose(2, 0, 1))[None]
    with torch.no_grad():
        probs = [(m(pixels).sigmoid() + m(pixels.flip(3)).sigmoid().flip(3)) / 2 for m in models]
    levels = np.mean([np.floor(256 * one[0, 0].numpy()).clip(0, 255) for one in probs], axis=0).astype(np.float32)
    height, width = mask_size or image.shape[:2]
    return (cv2.resize(levels, (width, height)) >= 127.5).astype(np.uint8)
