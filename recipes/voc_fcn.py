"""FCN-32s, then FCN-16s, then FCN-8s on PASCAL VOC: 20 classes of things in photographs.

    python recipes/voc_fcn.py --stage 32s                           VGG16 to cells of 32 pixels
    python recipes/voc_fcn.py --stage 16s                           goes on from 32s, with a skip from pool4
    python recipes/voc_fcn.py --stage 8s                            goes on from 16s, with a skip from pool3
    python recipes/voc_fcn.py --stage 32s --year 2011 --data-dir data/voc2011 --sbd-dir data/sbd --held-out seg11valid

Paper: Long, Shelhamer & Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation": SGD with momentum 0.9
on whole images, 20 to a step, at a constant rate. Published mean IU on seg11valid: 59.4, 62.4, 62.7 (CVPR); the
reference release, trained on SBD's train list, has 63.6, 65.0, 65.5: the last line above is that setting. Here
instead: rates that begin at 1e-3, 1e-4 and 1e-5 by stage and fall (the paper's is 1e-4), light augmentation, clipped
gradients, upsamplings that learn; from scratch (--encoder-weights none) the trunk gets batch normalisation.
Measured on 250 images of train and 90 of val, from VGG16's convolutions alone, --image-size 160 160 --batch-size 10,
15 epochs at 0.01, then 4 and 4 at 0.003 (one core of an AMD EPYC, an hour, 2e79cca): mean IU 0.192, 0.226, 0.231 over
the data set at own sizes, where background everywhere has 0.051.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import nn

from kit.data import Resizing, photo_augment
from kit.datasets.places import require_data
from kit.datasets.voc import CLASSES, VOC
from kit.losses import cross_entropy
from kit.models.fcn import FCN8s, FCN16s, FCN32s
from kit.models.vgg import read_vgg16
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish, launch
from kit.runs import Count, Free, Plan, Run, Weights, fit_fold, load_stage, open_run
from kit.scoring import MeanIoU
from kit.training import parameter_groups, supervised, warmup_poly

RATES = {"32s": 1e-3, "16s": 1e-4, "8s": 1e-5}
STAGES = {"32s": FCN32s, "16s": FCN16s, "8s": FCN8s}


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # VOCdevkit; else $KIT_DATA/voc, data/voc
    run_dir: Path = Path("runs/voc_fcn")
    epochs: Count = 40
    image_size: tuple[Count, Count] | None = None  # what the network sees; None: whole images, one at a time
    batch_size: Count = 20
    lr: float | None = None  # None: 1e-3, 1e-4, 1e-5 by stage
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder_weights: Weights = "imagenet"  # of torchvision's vgg16: imagenet, none, or a file
    stage: Literal["32s", "16s", "8s"] = "32s"  # each goes on from the one before it
    year: Literal[2011, 2012] = 2012
    sbd_dir: Free[Path | None] = None  # train on SBD's train list, not on VOC's
    held_out: Literal["val", "seg11valid"] = "val"  # the list to score on


def main() -> None:
    """Train one stage and report on the list held out."""
    config = tyro.cli(Config, description=__doc__)
    data_dir, train_list = require_data(VOC, config.data_dir), "sbd_train" if config.sbd_dir else "train"
    voc = VOC(data_dir, year=config.year, train=train_list, held_out=config.held_out, sbd_dir=config.sbd_dir)
    stage = replace(config, run_dir=config.run_dir / config.stage, lr=config.lr or RATES[config.stage])
    frame, tta = Frame(Resizing(config.image_size)), TTA(VIEWS["none"])
    run = open_run(stage, voc, voc.split, frame, tta, f"{Path(__file__).stem}_{config.stage}")
    goal = MeanIoU(voc.num_classes)
    finish(run, config.fold, lambda fold: train(run, stage, fold), lambda: network(config.stage, config), goal)


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen the held-out list; resumes from its last checkpoint."""
    model = network(config.stage, config) if run.is_begun(fold) else start_network(run, config, fold)
    model = model.to(run.world.device)
    optimizer = torch.optim.SGD(parameter_groups(model, config.lr, weight_decay=5e-4), momentum=0.9, fused=True)
    parts = 1 if config.image_size else max(1, config.batch_size // run.world.size)
    augment = photo_augment(config.seed)
    plan = Plan(config.epochs, config.batch_size, warmup_poly, augment, ema_decay=None, parts=parts)
    fit_fold(run, fold, model, optimizer, supervised(cross_entropy), plan)


def start_network(run: Run, config: Config, fold: int | str) -> nn.Module:
    """What the stage starts from: VGG16, or the stage before it."""
    if config.stage == "32s":
        model = network("32s", config)
        if weights := read_vgg16(config.encoder_weights, batch_norm=False):
            model.trunk.load_vgg16(weights)
        return model
    before = {"16s": "32s", "8s": "16s"}[config.stage]
    coarser = load_stage(run, run.folder.parent / before, fold, network(before, config))
    return FCN16s.from_fcn32s(coarser) if before == "32s" else FCN8s.from_fcn16s(coarser)


def network(stage: str, config: Config) -> nn.Module:
    """The architecture; edit it here."""
    return STAGES[stage](num_classes=len(CLASSES), batch_norm=config.encoder_weights == "none")


if __name__ == "__main__":
    launch(main)
