"""FCN-8s on Carvana: a network of 2015 on a competition of 2017.

    python recipes/carvana_fcn.py --fold 0                         one fold, its OOF report and a submission
    python recipes/carvana_fcn.py --fold all                       the folds that are left, then all pooled

Paper: Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation". All streams are
trained at once, without the scales of PAMI 2017, which fit Caffe's activations. From scratch (--encoder-weights none)
the trunk gets batch normalisation. Published for Carvana: nothing.
Measured from scratch on fold 0 of 32 cars, --encoder-weights none --image-size 96 144 --epochs 4 (two cores of an AMD
EPYC, 10 min, 0d7eab4): Dice 0.9597 (0.9583-0.9615), mean over 112 images of 7 cars, at their own size; car everywhere
has 0.354.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import nn

from kit.data.augment import photo_augment
from kit.data.check import foreground_shares
from kit.datasets.carvana import Carvana
from kit.datasets.places import require_data
from kit.folds.kfold import quantile_labels, stratified_group_kfold
from kit.losses.region import bce_dice
from kit.models.fcn import FCN8s
from kit.models.vgg import read_vgg16
from kit.prediction.predictor import TTA, VIEWS
from kit.runs.launch import launch
from kit.runs.run import Run, open_run
from kit.runs.submit import submit
from kit.training.loop import adamw, fit, warmup_cosine


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all"] = 0  # which fold to hold out
    data_dir: Path | None = None  # Kaggle's files; else $KIT_DATA/carvana, data/carvana
    run_dir: Path = Path("runs/carvana_fcn")
    epochs: int = 20
    image_size: tuple[int, int] = (512, 768)  # height and width the network sees
    batch_size: int = 8
    lr: float = 3e-4
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder_weights: str = "imagenet"  # of torchvision's vgg16: imagenet, none, or a file
    folds: int = 5
    test: bool = True  # predict the test pictures and write the submission


def main() -> None:
    """Train the fold or folds asked for, then report on and predict with every finished one."""
    config = tyro.cli(Config, description=__doc__)
    carvana = Carvana(require_data(Carvana, config.data_dir))
    folds, tta = lambda: carvana_folds(config, carvana), TTA(VIEWS["hflip"])
    run = open_run(config, carvana, folds, tta, __file__)
    for fold in run.unfinished(config.fold):
        train(run, config, fold)
        run.predict_oof(fold, run.load(fold, network(config, "none")))
    run.report()
    if config.test:
        submit(run, lambda fold: run.load(fold, network(config, "none")), Path("submissions"))


def carvana_folds(config: Config, carvana: Carvana) -> np.ndarray:
    """Folds of whole cars; the shares of small and large cars are alike in each."""
    labels = quantile_labels(foreground_shares(carvana), carvana.groups, bins=4)
    return stratified_group_kfold(labels, carvana.groups, config.folds, config.seed)


def train(run: Run, config: Config, fold: int) -> None:
    """Train the network that has not seen `fold`; goes on from its last checkpoint."""
    torch.manual_seed(config.seed + fold)
    model = network(config, "none" if run.goes_on(fold) else config.encoder_weights).to(run.world.device)
    optimizer = adamw(model, config.lr)
    state = run.new_state(fold, model, optimizer)
    loaders = run.loaders(fold, photo_augment(config.seed), config.batch_size)
    fit(state, *loaders, bce_dice, run.settings(config.epochs, warmup_cosine), run.fold_folder(fold))


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here."""
    model = FCN8s(num_classes=1, batch_norm=config.encoder_weights == "none")
    if state_dict := read_vgg16(weights, batch_norm=False):
        model.trunk.load_vgg16(state_dict)
    return model


if __name__ == "__main__":
    launch(main)
