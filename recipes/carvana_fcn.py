"""FCN-8s on Carvana: a network of 2015 on a competition of 2017.

    python recipes/carvana_fcn.py --fold 0                         one fold, its OOF report and a submission
    python recipes/carvana_fcn.py --fold all                       the folds that are left, then all pooled

Paper: Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation". All streams are
trained at once, without the scales of PAMI 2017, which fit Caffe's activations. From scratch (--encoder-weights none)
the trunk gets batch normalisation. Published for Carvana: nothing.
Measured from scratch on fold 0 of 32 cars, --encoder-weights none --image-size 96 144 --epochs 4 (two cores of an AMD
EPYC, 10 min, 0d7eab4): Dice 0.9597, mean over 112 images of 7 cars, at their own size; car everywhere
has 0.354.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from torch import nn

from kit.data import Resizing, photo_augment
from kit.datasets.carvana import Carvana
from kit.datasets.places import require_data
from kit.losses import bce_dice
from kit.models.fcn import FCN8s
from kit.models.vgg import read_vgg16
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish, launch
from kit.runs import Count, Free, Plan, Run, Submission, Weights, fit_fold, open_run
from kit.submission import known
from kit.training import adamw, supervised, warmup_cosine


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # Kaggle's files; else $KIT_DATA/carvana, data/carvana
    run_dir: Path = Path("runs/carvana_fcn")
    epochs: Count = 20
    image_size: tuple[Count, Count] = (512, 768)  # height and width the network sees
    batch_size: Count = 8
    lr: float = 3e-4
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder_weights: Weights = "imagenet"  # of torchvision's vgg16: imagenet, none, or a file
    folds: int = 5
    test: Free[bool] = True  # predict the test images and write the submission
    keep_test: Free[bool] = False  # keep every fold's predictions of the test images, to blend runs


def main() -> None:
    """Train the fold or folds asked for, then report on and predict with every finished one."""
    config = tyro.cli(Config, description=__doc__)
    carvana = Carvana(require_data(Carvana, config.data_dir))
    frame, tta = Frame(Resizing(config.image_size)), TTA(VIEWS["hflip"])
    folds = lambda: known.carvana_folds(carvana, config.folds, seed=0)  # noqa: E731
    run = open_run(config, carvana, folds, frame, tta, __file__)
    submission = Submission(known.carvana(carvana), config.test, keep_test=config.keep_test)
    finish(run, config.fold, lambda fold: train(run, config, fold), lambda: network(config, "none"), submission)


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint."""
    model = network(config, "none" if run.is_begun(fold) else config.encoder_weights).to(run.world.device)
    optimizer = adamw(model, config.lr)
    plan = Plan(config.epochs, config.batch_size, warmup_cosine, photo_augment(config.seed))
    fit_fold(run, fold, model, optimizer, supervised(bce_dice), plan)


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here."""
    model = FCN8s(num_classes=1, batch_norm=config.encoder_weights == "none")
    if state_dict := read_vgg16(weights, batch_norm=False):
        model.trunk.load_vgg16(state_dict)
    return model


if __name__ == "__main__":
    launch(main)
