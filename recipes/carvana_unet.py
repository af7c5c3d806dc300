"""U-Net with an ImageNet encoder on Carvana: cut cars out of studio photographs.

    python recipes/carvana_unet.py --fold 0                    one fold, its OOF report and a submission
    python recipes/carvana_unet.py --fold all                  the folds that are left, then all pooled
    torchrun --nproc-per-node 2 recipes/carvana_unet.py        the same, on two GPUs
    python recipes/carvana_unet.py --fold 0 --data-dir DIR     Kaggle's files, unpacked or as zips

Paper: Ronneberger, Fischer, Brox 2015, U-Net; here with a pretrained encoder, batch normalisation and a decoder
of half the usual width, which on a CPU sees twice as many pictures in the same time.
Where no data is found the recipe draws a small competition of its own and says so in all that it leaves behind.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import nn
from torch.utils.data import DataLoader

from kit.augment import photo_augment
from kit.cache import sample_reader
from kit.checkpoint import load_weights
from kit.competitions import find_data, studio
from kit.competitions.carvana import Carvana
from kit.data import SegmentationDataset, default_workers, foreground_shares, loading
from kit.distributed import EpochBatches, World, start, synchronise_batchnorm
from kit.files import cache_folder, raise_all
from kit.folds import quantile_labels, stratified_group_kfold
from kit.losses import bce_dice
from kit.models.pretrained import freeze_encoder, unet
from kit.predict import TTA, VIEWS, Tiled
from kit.run import Run, keep_folds, launch, plain
from kit.train import Settings, best_dtype, fit, new_state, parameter_groups, warmup_cosine


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
    if drawn := data_dir is None:
        config = tyro.cli(Config, default=DRAWN, description=__doc__)
    world = start(config.device)
    if drawn:
        if world.main:
            print("No Carvana data found (see --data-dir): drawing a small competition. Its scores are its own.")
        data_dir = studio.draw_studio(cache_folder() / f"studio-v{studio.VERSION}")
    run = begin(config, Carvana(data_dir), world, drawn)
    for fold in range(config.folds) if config.fold == "all" else [config.fold]:
        if fold not in run.finished():
            with run.lock(fold):
                train(run, config, fold)
                run.predict_oof(fold, trained(run, config, fold))
    run.report()
    if config.test:
        run.submit(lambda fold: trained(run, config, fold), Path("submissions"))


def begin(config: Config, carvana: Carvana, world: World, drawn: bool) -> Run:
    """Check the flags and the data, make the folds once, and open the run folder."""
    if config.fold != "all" and config.fold not in range(config.folds):
        raise ValueError(f"--fold {config.fold}: there are folds 0 to {config.folds - 1}, or all")

    def make_folds() -> np.ndarray:
        some = np.random.default_rng(config.seed).permutation(carvana.ids)[:32]
        raise_all(carvana.mask_csv_problems(some), "differences between train_masks.csv and the masks")
        labels = quantile_labels(foreground_shares(carvana), carvana.groups, bins=4)
        return stratified_group_kfold(labels, carvana.groups, config.folds, config.seed)

    run = Run(
        folder=config.run_dir,
        name=Path(__file__).stem,
        competition=carvana,
        folds=keep_folds(config.run_dir, carvana, world, make_folds),
        config=plain(config),
        tta=TTA(VIEWS[config.tta], config.scales),
        size=config.image_size,
        world=world,
        dtype=best_dtype(world.device),
        workers=default_workers(world.device, config.workers),
        drawn=drawn,
    )
    run.begin()
    return run


def train(run: Run, config: Config, fold: int) -> None:
    """Train the network that has not seen `fold`; goes on from its last checkpoint."""
    world, seen, held_out = run.world, run.trained_on(fold), run.held_out(fold)
    batches = EpochBatches(len(seen), config.batch_size, seed=config.seed, world=world, parts=config.accumulate)
    pretrained, goes_on = config.encoder_weights != "none", (run.fold_folder(fold) / "last.pt").exists()
    torch.manual_seed(config.seed + fold)
    model = network(config, "none" if goes_on else config.encoder_weights)
    model = synchronise_batchnorm(model.to(world.device), world)
    if pretrained and config.encoder_lr == 0:
        freeze_encoder(model)
    if config.compile:
        model.compile()
    groups = parameter_groups(model, config.lr, encoder_factor=config.encoder_lr if pretrained else 1.0)
    state = new_state(model, groups, run.dtype, {**run.identity, "fold": fold})

    read = sample_reader(run.competition, config.image_size, cache_folder() if config.cache else None)
    train_set = SegmentationDataset(read, seen, photo_augment(config.seed, config.crop))
    val_set = SegmentationDataset(read, world.share(held_out))
    load = loading(run.workers, world)
    fit(
        state,
        DataLoader(train_set, batch_sampler=batches, persistent_workers=run.workers > 0, **load),
        DataLoader(val_set, config.batch_size, **load),
        bce_dice,
        Settings(config.epochs, world, run.dtype, warmup_cosine, config.seed),
        run.fold_folder(fold),
    )


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here."""
    return unet(config.encoder, weights, num_classes=1, decoder_channels=(128, 64, 32, 16, 16)).to(
        memory_format=torch.channels_last
    )


def trained(run: Run, config: Config, fold: int) -> nn.Module:
    """The network with the averaged weights of the last epoch of `fold`, ready to predict."""
    model = network(config, "none")
    load_weights(run.fold_folder(fold) / "last.safetensors", model)
    model = model.to(run.world.device)
    return Tiled(model, config.crop) if config.crop else model


if __name__ == "__main__":
    launch(main)
