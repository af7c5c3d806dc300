"""A recipe in one function, a network that keeps what it was given, and a data set of three classes of any size."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import nn

from kit.data import Dataset, Resizing
from kit.folds import kfold
from kit.prediction import TTA, Frame
from kit.recipe import finish
from kit.runs import Count, Plan, fit_fold, open_run
from kit.training import adamw, supervised, warmup_cosine

SIZE = (24, 36)
COLOURS = np.array([[30, 60, 90], [220, 40, 60], [60, 200, 220]])  # of background, square and disc


@dataclass(frozen=True)
class Config:
    """The flags of the recipe."""

    run_dir: Path
    fold: int | Literal["all", "full"] = "all"
    epochs: Count = 2
    seed: int = 0
    device: str = "cpu"
    workers: int | None = 0


class Shapes(Dataset):
    """A square (class 1) and a disc (class 2) on a background, each in its colour; every third image lacks the disc."""

    name = "shapes"
    classes = ("background", "square", "disc")

    def __init__(self, count=8, tests=4, sizes=(SIZE,)):
        self.ids = [f"shapes_{number:02}" for number in range(count)]
        self.test_ids = [f"test_{number:02}" for number in range(tests)]
        self.sizes = sizes

    def read_image(self, id):
        noise = np.random.default_rng(zlib.crc32(id.encode())).integers(-15, 16, (*self.shape(id), 3))
        return (COLOURS[self.read_mask(id)] + noise).clip(0, 255).astype(np.uint8)

    def read_mask(self, id):
        (height, width), number = self.shape(id), int(id[-2:])
        rng = np.random.default_rng([3, zlib.crc32(id.encode())])
        mask, side = np.zeros((height, width), np.uint8), min(height, width) // 3
        top, left = rng.integers(0, height - side), rng.integers(0, width // 2 - side)
        mask[top : top + side, left : left + side] = 1
        if number % 3 != 2:
            centre = int(rng.integers(width * 2 // 3, width)), int(rng.integers(0, height))
            cv2.circle(mask, centre, side, 2, -1)
        return mask

    def shape(self, id):
        return self.sizes[int(id[-2:]) % len(self.sizes)]


class Kept:
    """The inputs of networks, in training and in eval mode; the average of the weights, a deep copy, shares them."""

    def __init__(self):
        self.training, self.prediction = [], []

    def __deepcopy__(self, memo):
        return self


class Watched(nn.Module):
    """Two convolutions that keep the inputs of every forward pass, in training and in eval mode."""

    def __init__(self, channels, outputs, kept=None):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, outputs, 1))
        self.kept = kept

    def forward(self, images):
        if self.kept is not None:
            kept = self.kept.training if self.training else self.kept.prediction
            kept += list(images.detach().numpy().copy())
        return self.layers(images)


def nearest_colour():
    """A network of one 1×1 convolution whose largest logit is that of the nearest colour of COLOURS."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    colours = (COLOURS / 255 - mean) / std
    network = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        network.weight[:] = torch.tensor(colours)[..., None, None]
        network.bias[:] = torch.tensor(-(colours**2).sum(axis=1) / 2)
    return network


def opened(config, dataset, frame=None, rule=None):
    """The run of two folds."""
    frame = frame or Frame(Resizing(SIZE))
    return open_run(config, dataset, lambda: kfold(len(dataset.ids), 2, 0), frame, TTA(), "any_data.py", rule=rule)


def run_recipe(
    dataset, folder, network, loss, augment=None, submission=None, frame=None, lr=1e-3, rule=None, **of_plan
):
    """All that a recipe does, on two folds; returns the run. of_plan: target, crops and more of the plan."""
    config = Config(folder / "any_data")
    run = opened(config, dataset, frame, rule)

    def train(fold):
        model = network()
        plan = Plan(config.epochs, 4, warmup_cosine, augment, **of_plan)
        fit_fold(run, fold, model, adamw(model, lr), supervised(loss), plan)

    finish(run, config.fold, train, network, submission)
    return run


def times_seen(arrays, expected, tolerance):
    """How often each image of `expected` is among `arrays`, each of which must be one of them."""
    counts = dict.fromkeys(expected, 0)
    for array in arrays:
        apart = {id: np.abs(array - image).max() for id, image in expected.items()}
        nearest = min(apart, key=apart.get)
        assert apart[nearest] <= tolerance
        counts[nearest] += 1
    return counts
