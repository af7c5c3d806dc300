"""U-Net with objects and borders on nuclei: find every nucleus, also those that touch (Data Science Bowl 2018).

    python recipes/nuclei_unet.py --fold 0                 one fold, its OOF report and a submission
    python recipes/nuclei_unet.py --fold all               the folds that are left, then all pooled
    python -m kit tune runs/nuclei_unet                    thresholds, seeds and areas; then the same command again
    python recipes/nuclei_unet.py --fold all --drawn       touching discs that kit draws, for a clone without data

The method of the competition's winners in small: a network learns where nuclei are and where the borders between
touching ones are; a watershed grows the nuclei from what is one and not the other (kit.data.borders,
kit.prediction.watershed). The U-Net on EfficientNet-Lite0 has a skip of full size, because a pixel decides here; it
trains on crops at the images' own scale, because label images must not be shrunk.
Several of Kaggle's images are tiles of one photograph, and Kaggle does not say which. A groups.csv beside its files may
say it (ImageId,group and, to share kinds out among folds, cluster); without one, images whose edges fit together are
a group (kit.folds.tiles).
The report shows the connected components of the same prediction beside the watershed.
Measured on 220 of Kaggle's images, five folds of groups (634124e; 10 min 26 s of training for fold 0 on two cores of an
AMD EPYC): .5480 (.5017 to .5935) by the recipe's rule, .5760 cross-fitted after kit tune, .5788 on the images that the
rule was chosen on; connected components alone .4507, tuned as well .4879.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import nn

from kit.data import Resizing, border_target, turning_augment
from kit.datasets.discs import open_discs
from kit.datasets.nuclei import Nuclei
from kit.datasets.places import require_data
from kit.losses import objects_and_borders
from kit.models.encoder_unet import EncoderUNet
from kit.models.pretrained import encoder, packaged_weights, statistics
from kit.prediction import TTA, VIEWS, Frame, Rule
from kit.recipe import finish, launch
from kit.runs import Count, Free, Plan, Run, Submission, Weights, fit_fold, open_run
from kit.submission import known
from kit.training import adamw, supervised, warmup_cosine
from kit.training.processes import start


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # Kaggle's files; else $KIT_DATA/nuclei, data/nuclei, /kaggle/input
    run_dir: Path = Path("runs/nuclei_unet")
    epochs: Count = 5
    image_size: tuple[Count, Count] = (192, 192)  # of the crops; images keep their own scale
    batch_size: Count = 10
    lr: float = 2e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder: str = "tu-tf_efficientnet_lite0"  # any of smp's, or timm's as tu-NAME
    encoder_weights: Weights = "imagenet"  # imagenet, none, or a file
    folds: int = 5
    crops: Count = 8  # of each image in an epoch
    tta: Free[Literal["none", "hflip", "flips", "d4"]] = "flips"  # mirrored and turned copies that are averaged
    test: Free[bool] = True  # predict the test images and write the submission
    keep_test: Free[bool] = False  # keep every fold's predictions of the test images, to blend runs
    drawn: bool = False  # draw a small competition of touching discs in place of data


# For the drawn competition: small enough for two CPU cores.
DRAWN = Config(
    run_dir=Path("runs/nuclei_unet_drawn"),
    epochs=6,
    image_size=(96, 96),
    batch_size=8,
    lr=4e-3,
    folds=4,
    crops=4,
    drawn=True,
)


def main() -> None:
    """Train the fold or folds asked for, then report on and predict with every finished one."""
    config = tyro.cli(Config, description=__doc__)
    if config.drawn:
        drawn = DRAWN if packaged_weights(DRAWN.encoder) else replace(DRAWN, encoder_weights="none", epochs=10)
        config = tyro.cli(Config, default=drawn, description=__doc__)
    nuclei = opened(config)
    frame = Frame(Resizing(None), statistics(config.encoder, config.encoder_weights), tile=(768, 768))
    run = open_run(
        config,
        nuclei,
        lambda: known.nuclei_folds(nuclei, config.folds, seed=0),
        frame,
        TTA(VIEWS[config.tta]),
        __file__,
        rule=Rule(objects=True, border=True),
    )
    submission = Submission(known.nuclei(nuclei), config.test, keep_test=config.keep_test)
    finish(run, config.fold, lambda fold: train(run, config, fold), lambda: network(config, "none"), submission)


def opened(config: Config) -> Nuclei:
    """Kaggle's data, in the groups that a file names or that the edges of images show; or the drawn."""
    if config.drawn:
        return open_discs(start(config.device).say)
    return known.grouped_nuclei(require_data(Nuclei, config.data_dir))


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint."""
    model = network(config, "none" if run.is_begun(fold) else config.encoder_weights).to(run.world.device)
    factor = 1.0 if config.encoder_weights == "none" else 0.3  # of a pretrained encoder's learning rate
    optimizer = adamw(model, config.lr, encoder_factor=factor)
    plan = Plan(
        config.epochs,
        config.batch_size,
        warmup_cosine,
        turning_augment(config.seed, config.image_size),
        ema_decay=0.99,
        target=border_target,
        crops=config.crops,
    )
    fit_fold(run, fold, model, optimizer, supervised(objects_and_borders), plan)


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here. Two sigmoids: object and border."""
    return EncoderUNet(encoder(config.encoder, weights), num_classes=2).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    launch(main)
