"""U-Net++ on Carvana, on carvana_unet's folds, for an ensemble of both: another decoder.

    python recipes/carvana_unetplusplus.py --fold 0                one fold, its OOF report and a submission
    python recipes/carvana_unetplusplus.py --fold all              the folds that are left, then all pooled

Paper: Zhou et al. 2018, "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", with an ImageNet encoder.
Measured: Dice 0.9911 on fold 0 of 32 cars at 256×384, MobileNetV2, 6 epochs; see recipes/README.md, L.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import nn

from kit.data import Resizing, photo_augment
from kit.datasets.carvana import Carvana
from kit.datasets.places import require_data
from kit.losses import bce_dice
from kit.models.pretrained import statistics, unetplusplus
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
    run_dir: Path = Path("runs/carvana_unetplusplus")
    epochs: Count = 20
    image_size: tuple[Count, Count] = (1024, 1536)  # height and width the network sees
    batch_size: Count = 4
    lr: float = 1e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder: str = "resnet34"  # any of smp's, or timm's as tu-NAME
    encoder_weights: Weights = "imagenet"  # imagenet, none, or a file
    folds: int = 5
    test: Free[bool] = True  # predict the test images and write the submission
    keep_test: Free[bool] = False  # keep every fold's predictions of the test images, to blend runs


def main() -> None:
    """Train the fold or folds asked for, then report on and predict with every finished one."""
    config = tyro.cli(Config, description=__doc__)
    carvana = Carvana(require_data(Carvana, config.data_dir))
    frame = Frame(Resizing(config.image_size), statistics(config.encoder, config.encoder_weights))
    folds = lambda: known.carvana_folds(carvana, config.folds, seed=0)  # noqa: E731
    run = open_run(config, carvana, folds, frame, TTA(VIEWS["hflip"]), __file__)
    submission = Submission(known.carvana(carvana), config.test, keep_test=config.keep_test)
    finish(run, config.fold, lambda fold: train(run, config, fold), lambda: network(config, "none"), submission)


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint."""
    model = network(config, "none" if run.is_begun(fold) else config.encoder_weights).to(run.world.device)
    factor = 1.0 if config.encoder_weights == "none" else 0.3  # of a pretrained encoder's learning rate
    optimizer = adamw(model, config.lr, encoder_factor=factor)
    plan = Plan(config.epochs, config.batch_size, warmup_cosine, photo_augment(config.seed))
    fit_fold(run, fold, model, optimizer, supervised(bce_dice), plan)


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here."""
    model = unetplusplus(config.encoder, weights, num_classes=1, decoder_channels=(128, 64, 32, 16, 16))
    return model.to(memory_format=torch.channels_last)


if __name__ == "__main__":
    launch(main)
