"""A data set as TGS salt: bright bodies, four of ten masks empty, and specks that no truth holds; and its run."""

import zlib

import cv2
import numpy as np
import torch
from tiny import TinyDataset
from tiny_run import keep_trained, new_run
from torch import nn

from kit.folds.keeping import keep_folds
from kit.recipe import finish
from kit.runs import Submission, predict_oof
from kit.runs.run import begin
from kit.scoring import PrecisionOverThresholds
from kit.submission import Competition, Dialect

SIZE = (48, 64)


class Salt(TinyDataset):
    """Images of SIZE, each a group of its own; ids name them: i % 5 in (0, 1) has an empty mask."""

    name, classes = "drawn salt", ("rock", "salt")

    def __init__(self, images=40, tests=10):
        super().__init__(0, 0, 0, SIZE)
        self.ids = [f"salt_{number:03}" for number in range(images)]
        self.test_ids = [f"test_{number:03}" for number in range(tests)]
        self.groups = list(self.ids)

    def is_empty(self, id):
        return int(id[-3:]) % 5 in (0, 1)

    def read_mask(self, id):
        random = np.random.default_rng([5, zlib.crc32(id.encode())])
        mask = np.zeros(SIZE, np.uint8)
        if not self.is_empty(id):
            centre = int(random.integers(22, 42)), int(random.integers(18, 30))
            cv2.circle(mask, centre, int(random.integers(11, 16)), 1, -1)
        return mask

    def read_image(self, id):
        random = np.random.default_rng([6, zlib.crc32(id.encode())])
        bright = self.read_mask(id) * 120
        if self.is_empty(id) or int(id[-3:]) % 5 == 2:
            for _ in range(2):  # specks of 9 to 20 pixels, in corners
                y, x = random.integers(0, (6, 56))
                bright[y : y + 3 + random.integers(2), x : x + 3 + random.integers(2)] = 120
        noise = random.integers(-12, 13, SIZE)
        return np.repeat((60 + bright + noise)[..., None], 3, axis=2).astype(np.uint8)

    def _disc(self, id):
        raise AssertionError("not a disc")


def bright_network():
    """One 1×1 convolution: foreground where an image is brighter than 120 of 255, the surer the brighter."""
    network = nn.Conv2d(3, 1, 1)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    with torch.no_grad():
        network.weight[:] = torch.tensor(10 * std / 3)[None, :, None, None]
        network.bias[:] = float(10 * (mean.mean() - 120 / 255))
    return network


def competition_of(data, **changes):
    facts = {"dialect": Dialect(("id", "rle"), order="F"), "metric": PrecisionOverThresholds()} | changes
    return Competition(data, test_ids=data.test_ids, **facts)


def opened(folder, data=None, folds=4, **changes):
    run = new_run(folder, data or Salt(), size=SIZE, **changes)
    object.__setattr__(run, "folds", np.arange(len(run.dataset.ids)) // 5 % folds)
    return run


def salt_run(folder, data=None, folds=4, planned=None, metric=None, network=bright_network, **changes):
    """A run whose folds are finished without training, all but those that are not in `planned`."""
    run = opened(folder, data, folds, **changes)
    keep_folds(folder, run.dataset, run.world, lambda: run.folds)
    begin(run)
    metric = metric or PrecisionOverThresholds()
    for fold in range(folds) if planned is None else planned:
        keep_trained(run, fold, network())
        predict_oof(run, fold, network, metric)
    return run


def submitted(run, fold="all", metric=None, network=bright_network, **dialect):
    """The end of a recipe: the report and the CSV; its text."""
    asked = competition_of(run.dataset, metric=metric or PrecisionOverThresholds())
    if dialect:
        asked = competition_of(run.dataset, dialect=Dialect(("id", "rle"), order="F", **dialect))
    out = run.folder.parent / "submissions"
    finish(run, fold, None, network, Submission(asked, folder=out))
    (path,) = out.glob("*.csv")
    return path.read_text()
