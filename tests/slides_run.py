"""The recipe of a run on the slides of slides_drawn.py."""

import torch
from any_data import Config
from torch import nn

from kit.data import photo_augment
from kit.data.crops import SlideCrops
from kit.data.resize import Resizing
from kit.folds import kfold
from kit.losses import bce_dice
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish
from kit.runs import Plan, Submission, fit_fold, open_run
from kit.scoring import MeanDice
from kit.submission import Competition, Dialect
from kit.training import adamw, supervised, warmup_cosine

TILE = (48, 64)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 5, padding=2), nn.ReLU(), nn.Conv2d(6, 1, 3, padding=1))


def opened(data, folder, frame=None, tta=None):
    config = Config(folder, epochs=3)
    folds = lambda: kfold(len(data.ids), 2, 0)  # noqa: E731
    frame = frame or Frame(Resizing(None), tile=TILE)
    return open_run(config, data, folds, frame, tta or TTA(VIEWS["hflip"]), "kidneys.py")


def run_recipe(data, folder, **submission):
    run = opened(data, folder)

    def train(fold):
        model = network()
        augment = photo_augment(dtype=data.dtype)
        samples = SlideCrops(data, run.trained_on(fold), TILE, count=24, augment=augment, seed=run.seed)
        plan = Plan(3, 4, warmup_cosine, samples=samples)
        fit_fold(run, fold, model, adamw(model, 0.02), supervised(bce_dice), plan)

    competition = Competition(data, Dialect(("id", "rle"), order="F"), data.test_ids, MeanDice())
    finish(run, "all", train, network, Submission(competition, folder=folder.parent / "submissions", **submission))
    return run
