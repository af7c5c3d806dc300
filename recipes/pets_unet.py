"""CompactUNet on Oxford-IIIT Pet, from scratch: cut cats and dogs out of photographs.

    python recipes/pets_unet.py                       trained on trainval, scored on test
    python recipes/pets_unet.py --folds 5 --fold all  five folds of all pictures, stratified by breed

The network of a course's report: 64-128-256 channels, a bottleneck of 256, nearest-neighbour enlarging, batch
normalisation; Adam and cross-entropy. It tells an accuracy of 0.81 and an IoU of 0.627, by a split and a rule for the
border that are not known. Here: two classes, the border counted as pet, so that one sigmoid channel is their softmax
with half the weights; augmentation, an average of the weights.
Measured after training on 300 of trainval's pictures, of 3 breeds, on 93 of test's, of 32 (two cores of an AMD EPYC, 14
min 10 s, 85fbc6a): accuracy 0.8527, mean IoU 0.7410, of the pet alone 0.7164, all over the data set at own sizes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import nn

from kit.data.augment import photo_augment
from kit.datasets.pets import Pets
from kit.datasets.places import require_data
from kit.folds.kfold import stratified_group_kfold
from kit.losses.region import bce
from kit.models.unet import CompactUNet
from kit.prediction.predictor import TTA, VIEWS
from kit.runs.launch import launch
from kit.runs.run import Run, open_run
from kit.training.loop import fit, parameter_groups, warmup_cosine


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all"] = 0  # which fold to hold out
    data_dir: Path | None = None  # images and annotations; else $KIT_DATA/pets, data/pets
    run_dir: Path = Path("runs/pets_unet")
    epochs: int = 20
    image_size: tuple[int, int] = (112, 112)  # height and width the network sees
    batch_size: int = 8
    lr: float = 1e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    folds: int = 0  # 0: the official split, trained on trainval and scored on test; else so many, stratified by breed


def main() -> None:
    """Train the fold or folds asked for, then report on every finished one."""
    config = tyro.cli(Config, description=__doc__)
    pets = Pets(require_data(Pets, config.data_dir), border="foreground")
    run = open_run(config, pets, lambda: pets_folds(config, pets), TTA(VIEWS["hflip"]), __file__)
    for fold in run.unfinished(config.fold):
        train(run, config, fold)
        run.predict_oof(fold, run.load(fold, network()))
    run.report()


def pets_folds(config: Config, pets: Pets) -> np.ndarray:
    """The official split, or folds with the same share of each breed."""
    if config.folds == 0:
        return pets.split()
    return stratified_group_kfold(pets.breeds, pets.groups, config.folds, config.seed)


def train(run: Run, config: Config, fold: int) -> None:
    """Train the network that has not seen `fold`; goes on from its last checkpoint."""
    torch.manual_seed(config.seed + fold)
    model = network().to(run.world.device)
    optimizer = torch.optim.Adam(parameter_groups(model, config.lr, weight_decay=0.0), fused=True)
    state = run.new_state(fold, model, optimizer)
    loaders = run.loaders(fold, photo_augment(config.seed), config.batch_size)
    fit(state, *loaders, bce, run.settings(config.epochs, warmup_cosine), run.fold_folder(fold))


def network() -> nn.Module:
    """The architecture; edit it here."""
    return CompactUNet(num_classes=1).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    launch(main)
