"""SegNet on CamVid: eleven classes of road scenes filmed from a car.

    python recipes/camvid_segnet.py                                               360×480, one GPU
    python recipes/camvid_segnet.py --encoder-weights none --image-size 180 240   smaller, from scratch

Paper: Badrinarayanan, Kendall & Cipolla 2017, "SegNet" (PAMI): SGD at 0.1 with momentum 0.9 in batches of 12, weights
of VGG16, cross-entropy weighted by median frequency. Published on the 233 test images: global accuracy 90.4, class
average 71.2, mIoU 60.1, boundary F1 46.8 after 3,433 training images. After the 367 used here others give it an mIoU
of 46.4. Here instead: batch normalisation from the start of VGG16, a falling rate, an average of the weights, light
augmentation, clipped gradients. val is in part of a street that is trained on: to compare, --held-out test.
Measured from scratch on val at a sixteenth of the pixels, --encoder-weights none --image-size 90 120 --epochs 20
--batch-size 8 (one core of an AMD EPYC, 36 min, 2bdf73b): global accuracy 71.9, class average 68.2, mIoU 44.7, boundary
F1 34.3; road everywhere has an mIoU of 2.7.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import nn

from kit.data import Resizing, photo_augment
from kit.datasets.camvid import CamVid
from kit.datasets.places import require_data
from kit.losses import cross_entropy, median_frequency_weights
from kit.models.segnet import SegNet
from kit.models.vgg import load_vgg16, read_vgg16
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish, launch
from kit.runs import Count, Plan, Run, Weights, fit_fold, oof_masks, open_run
from kit.scoring import MeanIoU
from kit.scoring.boundary import boundary_f1, mean_boundary_f1
from kit.training import parameter_groups, supervised, warmup_poly


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # train, trainannot, val, valannot; else $KIT_DATA/camvid, data/camvid
    run_dir: Path = Path("runs/camvid_segnet")
    epochs: Count = 100
    image_size: tuple[Count, Count] = (360, 480)  # height and width the network sees; 360 480 is the images' own
    batch_size: Count = 12
    lr: float = 0.1
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder_weights: Weights = "imagenet"  # of torchvision's vgg16_bn: imagenet, none, or a file (vgg16's too)
    held_out: Literal["val", "test"] = "val"  # the list to score on


def main() -> None:
    """Train on CamVid's train list and report on the list held out."""
    config = tyro.cli(Config, description=__doc__)
    camvid = CamVid(require_data(CamVid, config.data_dir), held_out=config.held_out)
    frame, tta = Frame(Resizing(config.image_size)), TTA(VIEWS["hflip"])
    run = open_run(config, camvid, camvid.split, frame, tta, __file__)
    goal = MeanIoU(camvid.num_classes)
    finish(run, config.fold, lambda fold: train(run, config, fold), lambda: network(camvid), goal, outlines)


def outlines(run: Run) -> dict[str, float]:
    """SegNet's fourth score."""
    each = [boundary_f1(truth, found, run.dataset.num_classes) for _, truth, found in oof_masks(run)]
    return {"boundary F1 within 0.75 % of the diagonal": mean_boundary_f1(np.stack(each))}


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen the held-out list; resumes from its last checkpoint."""
    model = network(run.dataset)
    if not run.is_begun(fold) and (weights := read_vgg16(config.encoder_weights, batch_norm=True)):
        load_vgg16(model.encoder, weights)
    model = model.to(run.world.device)
    optimizer = torch.optim.SGD(parameter_groups(model, config.lr, weight_decay=5e-4), momentum=0.9, fused=True)
    masks = (run.dataset.read_mask(id) for id in run.trained_on(fold))
    weights = median_frequency_weights(masks, run.dataset.num_classes).to(run.world.device)
    criterion = functools.partial(cross_entropy, class_weights=weights)
    plan = Plan(config.epochs, config.batch_size, warmup_poly, photo_augment(config.seed))
    fit_fold(run, fold, model, optimizer, supervised(criterion), plan)


def network(camvid: CamVid) -> nn.Module:
    """The architecture; edit it here."""
    return SegNet(num_classes=camvid.num_classes).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    launch(main)
