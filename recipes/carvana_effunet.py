"""U-Net with EfficientNet-B4 and squeeze-and-excitation on Carvana, on carvana_unet's folds, for an ensemble of both.

    python recipes/carvana_effunet.py --fold 0                one fold, its OOF report and a submission
    python recipes/carvana_effunet.py --fold all              the folds that are left, then all pooled

Papers: Tan & Le 2019, "EfficientNet"; Roy, Navab & Wachinger 2018, "Concurrent Spatial and Channel Squeeze &
Excitation" in the decoder. The loss weighs the car's outline three times, as Carvana's first place did (2017).
Measured: Dice 0.9922 on fold 0 of 32 cars at 256×384, MobileNetV2 in place of EfficientNet, 8 epochs; README, M.
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
from kit.losses.region import border_bce_dice
from kit.models.pretrained import unet
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
    run_dir: Path = Path("runs/carvana_effunet")
    epochs: int = 20
    image_size: tuple[int, int] = (1024, 1536)  # height and width the network sees
    batch_size: int = 4
    lr: float = 1e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder: str = "efficientnet-b4"  # any of smp's, or timm's as tu-NAME
    encoder_weights: str = "imagenet"  # imagenet, none, or a file
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
    factor = 1.0 if config.encoder_weights == "none" else 0.3  # of a pretrained encoder's learning rate
    optimizer = adamw(model, config.lr, encoder_factor=factor)
    state = run.new_state(fold, model, optimizer)
    loaders = run.loaders(fold, photo_augment(config.seed), config.batch_size)
    fit(state, *loaders, border_bce_dice, run.settings(config.epochs, warmup_cosine), run.fold_folder(fold))


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here."""
    model = unet(config.encoder, weights, num_classes=1, decoder_attention="scse")
    return model.to(memory_format=torch.channels_last)


if __name__ == "__main__":
    launch(main)
