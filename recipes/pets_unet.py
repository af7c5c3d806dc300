"""CompactUNet on Oxford-IIIT Pet, from scratch: cut cats and dogs out of photographs.

    python recipes/pets_unet.py                       trained on trainval, scored on test
    python recipes/pets_unet.py --folds 5 --fold all  five folds of all images, stratified by breed

The network of a course's report: 64-128-256 channels, a bottleneck of 256, nearest-neighbour enlarging, batch
normalisation; Adam and cross-entropy. It reports an accuracy of 0.81 and an IoU of 0.627, by a split and a rule for the
border that are not known. Here: two classes, the border counted as pet, so that one sigmoid channel is their softmax
with half the weights; augmentation, an average of the weights.
Measured after training on 300 of trainval's images, of 3 breeds, on 93 of test's, of 32 (two cores of an AMD EPYC, 14
min 10 s, 85fbc6a): accuracy 0.8527, mean IoU 0.7410, of the pet alone 0.7164, all over the data set at own sizes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import nn

from kit.data import Resizing, photo_augment
from kit.datasets.pets import Pets
from kit.datasets.places import require_data
from kit.folds import stratified_group_kfold
from kit.losses import bce
from kit.models.unet import CompactUNet
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish, launch
from kit.runs import Count, Plan, Run, fit_fold, open_run
from kit.training import parameter_groups, supervised, warmup_cosine


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # images and annotations; else $KIT_DATA/pets, data/pets
    run_dir: Path = Path("runs/pets_unet")
    epochs: Count = 20
    image_size: tuple[Count, Count] = (112, 112)  # height and width the network sees
    batch_size: Count = 8
    lr: float = 1e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    folds: int = 0  # 0: the official split, trained on trainval and scored on test; else so many, stratified by breed


def main() -> None:
    """Train the fold or folds asked for, then report on every finished one."""
    config = tyro.cli(Config, description=__doc__)
    pets = Pets(require_data(Pets, config.data_dir), border="foreground")
    frame, tta = Frame(Resizing(config.image_size)), TTA(VIEWS["hflip"])
    run = open_run(config, pets, lambda: folds(config, pets), frame, tta, __file__)
    finish(run, config.fold, lambda fold: train(run, config, fold), network)


def folds(config: Config, pets: Pets) -> np.ndarray:
    """The official split, or folds stratified by breed."""
    if config.folds == 0:
        return pets.split()
    return stratified_group_kfold(pets.breeds, pets.groups, config.folds, seed=0)


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint."""
    model = network().to(run.world.device)
    optimizer = torch.optim.Adam(parameter_groups(model, config.lr, weight_decay=0.0), fused=True)
    plan = Plan(config.epochs, config.batch_size, warmup_cosine, photo_augment(config.seed))
    fit_fold(run, fold, model, optimizer, supervised(bce), plan)


def network() -> nn.Module:
    """The architecture; edit it here."""
    return CompactUNet(num_classes=1).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    launch(main)
