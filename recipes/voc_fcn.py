"""FCN-32s, then FCN-16s, then FCN-8s on PASCAL VOC: 20 classes of things in photographs.

    python recipes/voc_fcn.py --stage 32s                           VGG16 to cells of 32 pixels
    python recipes/voc_fcn.py --stage 16s --lr 1e-4                 goes on from 32s, with a skip from pool4
    python recipes/voc_fcn.py --stage 8s --lr 1e-5                  goes on from 16s, with a skip from pool3
    python recipes/voc_fcn.py --stage 32s --sbd-dir DIR --held-out seg11valid     the paper's own lists

Paper: Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation": SGD with momentum 0.9
on whole pictures, 20 to a step, at a constant rate. Published mean IU on seg11valid: 59.4, 62.4, 62.7 (CVPR); the
reference release has 63.6, 65.0, 65.5. From scratch (--encoder-weights none) the trunk gets batch normalisation.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import nn

from kit.augment import photo_augment
from kit.checkpoint import load_weights
from kit.competitions import require_data
from kit.competitions.voc import VOC
from kit.losses import cross_entropy
from kit.models.fcn import FCN8s, FCN16s, FCN32s
from kit.models.vgg import read_vgg16
from kit.predict import TTA, VIEWS
from kit.run import Run, launch, open_run
from kit.train import fit, new_state, parameter_groups, warmup_poly

STAGES = {"32s": FCN32s, "16s": FCN16s, "8s": FCN8s}


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all"] = 0  # which fold to hold out
    data_dir: Path | None = None  # VOCdevkit; else $KIT_DATA/voc, data/voc
    run_dir: Path = Path("runs/voc_fcn")
    epochs: int = 40
    image_size: tuple[int, int] | None = None  # what the network sees; None: whole pictures, one at a time
    batch_size: int = 20
    lr: float = 1e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder_weights: str = "imagenet"  # of torchvision's vgg16: imagenet, none, or a file
    stage: Literal["32s", "16s", "8s"] = "32s"  # each goes on from the one before it
    year: int = 2012
    sbd_dir: Path | None = None  # train on SBD's masks too
    held_out: Literal["val", "seg11valid"] = "val"  # the list to score on


def main() -> None:
    """Train one stage and report on the list held out."""
    config = tyro.cli(Config, description=__doc__)
    lists = {"year": config.year, "held_out": config.held_out, "sbd_dir": config.sbd_dir}
    voc = VOC(require_data(VOC, config.data_dir), train="train_aug" if config.sbd_dir else "train", **lists)
    stage = replace(config, run_dir=config.run_dir / config.stage)
    run = open_run(stage, voc, voc.split, TTA(VIEWS["none"]), __file__)
    for fold in run.unfinished(config.fold):
        train(run, config, fold)
        run.predict_oof(fold, run.load(fold, network(config.stage, config)))
    run.report()


def train(run: Run, config: Config, fold: int) -> None:
    """Train the network that has not seen the held-out list; goes on from its last checkpoint."""
    torch.manual_seed(config.seed + fold)
    model = network(config.stage, config)
    if not run.goes_on(fold):
        model = begin(model, config, fold)
    model = model.to(run.world.device)
    optimizer = torch.optim.SGD(parameter_groups(model, config.lr, weight_decay=5e-4), momentum=0.9)
    state = new_state(model, optimizer, run.dtype, {**run.identity, "fold": fold}, ema_decay=None)
    parts = 1 if config.image_size else config.batch_size // run.world.size
    loaders = run.loaders(fold, photo_augment(config.seed), config.batch_size, parts=parts)
    fit(state, *loaders, cross_entropy, run.settings(config.epochs, warmup_poly), run.fold_folder(fold))


def begin(model: nn.Module, config: Config, fold: int) -> nn.Module:
    """What the stage starts from: VGG16, or the stage before it."""
    if config.stage == "32s":
        if weights := read_vgg16(config.encoder_weights, batch_norm=False):
            model.trunk.load_vgg16(weights)
        return model
    before = {"16s": "32s", "8s": "16s"}[config.stage]
    path = config.run_dir / before / f"fold{fold}" / "last.safetensors"
    if not path.exists():
        raise FileNotFoundError(f"--stage {config.stage} goes on from {path}, which is not there: run {before} first")
    coarser = network(before, config)
    load_weights(path, coarser)
    return FCN16s.from_fcn32s(coarser) if before == "32s" else FCN8s.from_fcn16s(coarser)


def network(stage: str, config: Config) -> nn.Module:
    """The architecture; edit it here."""
    return STAGES[stage](num_classes=21, batch_norm=config.encoder_weights == "none")


if __name__ == "__main__":
    launch(main)
