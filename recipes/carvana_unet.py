"""U-Net with an ImageNet encoder on Carvana: cut cars out of studio photographs.

    python recipes/carvana_unet.py --fold 0                    one fold, its OOF report and a submission
    python recipes/carvana_unet.py --fold all                  the folds that are left, then all pooled
    torchrun --nproc-per-node 2 recipes/carvana_unet.py        the same, on two GPUs
    python recipes/carvana_unet.py --fold 0 --data-dir DIR     Kaggle's files, unpacked or as zips

Paper: Ronneberger, Fischer, Brox 2015, U-Net; here with a pretrained encoder, batch normalisation and a decoder
of half the usual width, which on a CPU sees twice as many pictures in the same time.
Measured on fold 0 of 32 of Carvana's cars, with MobileNetV2 at --image-size 256 384 (two cores of an AMD EPYC, 8 to
15 min, 85fbc6a): Dice 0.9921 (0.9917-0.9925) from ImageNet's weights, 0.9892 (0.9886-0.9898) from scratch; see README.
Where no data is found the recipe draws a small competition of its own and says so in all that it leaves behind.
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
from kit.datasets import studio
from kit.datasets.carvana import Carvana
from kit.datasets.places import find_data
from kit.folds.kfold import quantile_labels, stratified_group_kfold
from kit.losses.region import bce_dice
from kit.models.pretrained import freeze_encoder, unet
from kit.prediction.predictor import TTA, VIEWS, Tiled
from kit.runs.launch import launch
from kit.runs.run import Run, open_run
from kit.runs.submit import submit
from kit.system.files import cache_folder
from kit.training.loop import adamw, fit, warmup_cosine
from kit.training.processes import start


@dataclass(frozen=True)
class Config:
    """The flags; the defaults are meant for the real competition on one GPU."""

    fold: int | Literal["all"] = 0  # which fold to hold out
    data_dir: Path | None = None  # Carvana's files; else $KIT_DATA/carvana, data/carvana, /kaggle/input
    run_dir: Path = Path("runs/carvana_unet")
    epochs: int = 20
    image_size: tuple[int, int] = (1024, 1536)  # height and width the network sees; 1280 1918 is the pictures' own
    batch_size: int = 8  # pictures a step, over all processes
    lr: float = 1e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None  # processes that load data; None: as many as pay
    encoder: str = "resnet34"  # any of smp's, or timm's as tu-NAME
    encoder_weights: str = "imagenet"  # imagenet, none, or a file
    encoder_lr: float = 0.3  # of --lr, for a pretrained encoder; 0 freezes it
    folds: int = 5
    accumulate: int = 1  # split each step's pictures into so many parts, to save memory
    crop: tuple[int, int] | None = None  # train on random crops of this size, predict by overlapping tiles of it
    tta: Literal["none", "hflip", "flips", "d4"] = "hflip"
    scales: tuple[float, ...] = (1.0,)  # of test-time augmentation
    cache: bool = True  # keep the training pictures at --image-size on the disk
    compile: bool = False  # torch.compile the network
    test: bool = True  # predict the test pictures and write the submission


# For the drawn competition: small enough for two CPU cores, and nothing to download.
DRAWN = Config(
    run_dir=Path("runs/carvana_unet_drawn"),
    epochs=30,
    image_size=(128, 192),
    lr=3e-3,
    encoder="mobilenet_v2",
    encoder_weights="none",
    folds=4,
)


def main() -> None:
    """Train the fold or folds asked for, then report on and predict with every finished one."""
    config = tyro.cli(Config, description=__doc__)
    data_dir = find_data(Carvana.name, Carvana.slug, config.data_dir)
    if data_dir is None:
        config = tyro.cli(Config, default=DRAWN, description=__doc__)
        if start(config.device).main:
            print("No Carvana data found (see --data-dir): drawing a small competition. Its scores are its own.")
        data_dir = studio.draw_studio(cache_folder() / f"studio-v{studio.VERSION}")
    carvana = Carvana(data_dir)
    tta = TTA(VIEWS[config.tta], config.scales)
    run = open_run(config, carvana, lambda: carvana_folds(config, carvana), tta, __file__)
    for fold in run.unfinished(config.fold):
        train(run, config, fold)
        run.predict_oof(fold, trained(run, config, fold))
    run.report()
    if config.test:
        submit(run, lambda fold: trained(run, config, fold), Path("submissions"))


def carvana_folds(config: Config, carvana: Carvana) -> np.ndarray:
    """Folds of whole cars; the shares of small and large cars are alike in each."""
    labels = quantile_labels(foreground_shares(carvana), carvana.groups, bins=4)
    return stratified_group_kfold(labels, carvana.groups, config.folds, config.seed)


def train(run: Run, config: Config, fold: int) -> None:
    """Train the network that has not seen `fold`; goes on from its last checkpoint."""
    pretrained = config.encoder_weights != "none"
    torch.manual_seed(config.seed + fold)
    model = network(config, "none" if run.goes_on(fold) else config.encoder_weights).to(run.world.device)
    if pretrained and config.encoder_lr == 0:
        freeze_encoder(model)
    if config.compile:
        model.compile()
    optimizer = adamw(model, config.lr, encoder_factor=config.encoder_lr if pretrained else 1.0)
    state = run.new_state(fold, model, optimizer)
    augment = photo_augment(config.seed, config.crop)
    loaders = run.loaders(fold, augment, config.batch_size, cache=config.cache, parts=config.accumulate)
    fit(state, *loaders, bce_dice, run.settings(config.epochs, warmup_cosine), run.fold_folder(fold))


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here."""
    return unet(config.encoder, weights, num_classes=1, decoder_channels=(128, 64, 32, 16, 16)).to(
        memory_format=torch.channels_last
    )


def trained(run: Run, config: Config, fold: int) -> nn.Module:
    """The network with the averaged weights of the last epoch of `fold`, ready to predict."""
    model = run.load(fold, network(config, "none"))
    return Tiled(model, config.crop) if config.crop else model


if __name__ == "__main__":
    launch(main)
