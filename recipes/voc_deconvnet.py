"""DeconvNet on PASCAL VOC 2012 in two stages: single objects first, then whole images.

    python recipes/voc_deconvnet.py --stage 1                       each object in a window of 1.2 times its size
    python recipes/voc_deconvnet.py --stage 2                       goes on from stage 1, with whole images

Paper: Noh, Hong & Han 2015, "Learning Deconvolution Network for Semantic Segmentation": SGD at 0.01 with momentum 0.9
and weight decay 5e-4, 224×224, weights of VGG16. Published: mean IoU 69.6 on VOC 2012's test list (DeconvNet alone,
trained with SBD's masks; the ensemble EDeconvNet+CRF has 72.5). The paper's stage 2 takes object proposals and its
inference puts fifty of them together; here stage 2 takes whole images, and inference the mean over their mirror image
and scales. Also here: a rate that falls, light augmentation, clipped gradients, and scores on val, not on test.
Measured: mean IoU 7.9 and 8.2 (background everywhere has 5.1) from 250 images in 97 minutes of a CPU, the encoder
begun from an FCN-32s trained on the same images; see recipes/README.md, J.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import nn

from kit.data import Resizing, photo_augment
from kit.data.cache import sample_reader
from kit.data.samples import SegmentationDataset
from kit.datasets.places import require_data
from kit.datasets.voc import VOC
from kit.datasets.voc_objects import ObjectCrops
from kit.losses import cross_entropy
from kit.models.deconvnet import DeconvNet
from kit.models.vgg import read_vgg16
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish, launch
from kit.runs import Count, Free, Plan, Run, Weights, fit_fold, load_stage, open_run
from kit.scoring import MeanIoU
from kit.system.files import cache_folder
from kit.training import parameter_groups, supervised, warmup_poly


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # VOCdevkit; else $KIT_DATA/voc, data/voc
    run_dir: Path = Path("runs/voc_deconvnet")
    epochs: Count = 20
    image_size: tuple[Count, Count] = (224, 224)  # height and width the network sees
    batch_size: Count = 16
    lr: float = 0.01
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder_weights: Weights = "imagenet"  # of torchvision's vgg16_bn: imagenet, none, or a file (vgg16's too)
    encoder_lr: float = 1.0  # of --lr, for the convolutions of VGG16
    stage: Literal[1, 2] = 1  # 2 goes on from 1
    sbd_dir: Free[Path | None] = None  # train on SBD's masks too
    scales: Free[tuple[float, ...]] = (1.0,)  # of test-time augmentation


def main() -> None:
    """Train one stage and report on the val list."""
    config = tyro.cli(Config, description=__doc__)
    train_list = "train_aug" if config.sbd_dir else "train"
    voc = VOC(require_data(VOC, config.data_dir), train=train_list, sbd_dir=config.sbd_dir)
    stage = replace(config, run_dir=config.run_dir / f"stage{config.stage}")
    frame, tta = Frame(Resizing(config.image_size)), TTA(VIEWS["hflip"], config.scales)
    run = open_run(stage, voc, voc.split, frame, tta, f"{Path(__file__).stem}_stage{config.stage}")
    goal = MeanIoU(voc.num_classes)
    finish(run, config.fold, lambda fold: train(run, config, fold), lambda: network(voc), goal)


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen the held-out list; resumes from its last checkpoint."""
    model = network(run.dataset)
    if not run.is_begun(fold):
        start_network(model, run, config, fold)
    model = model.to(run.world.device)
    groups = parameter_groups(model, config.lr, weight_decay=5e-4, encoder_factor=config.encoder_lr)
    optimizer = torch.optim.SGD(groups, momentum=0.9, fused=True)
    plan = Plan(
        config.epochs,
        config.batch_size,
        warmup_poly,
        photo_augment(config.seed),
        ema_decay=None,
        clip=10.0,  # norms begin at 4: with 1.0 it hardly learns
        samples=object_samples(run, config, fold) if config.stage == 1 else None,
    )
    fit_fold(run, fold, model, optimizer, supervised(cross_entropy), plan)


def object_samples(run: Run, config: Config, fold: int | str) -> SegmentationDataset:
    """The single objects of the images that `fold` leaves, each in a window of its own."""
    objects = ObjectCrops(run.dataset, run.trained_on(fold))
    run.world.say(" ".join(objects.notes))
    read = sample_reader(objects, run.frame.resizing, cache_folder())
    return SegmentationDataset(read, objects.ids, photo_augment(config.seed))


def start_network(model: DeconvNet, run: Run, config: Config, fold: int | str) -> None:
    """Fill in what the stage starts from: VGG16, or stage 1."""
    if config.stage == 2:
        load_stage(run, run.folder.parent / "stage1", fold, model)
    elif weights := read_vgg16(config.encoder_weights, batch_norm=True):
        model.load_vgg16(weights)


def network(voc: VOC) -> nn.Module:
    """The architecture; edit it here."""
    return DeconvNet(num_classes=voc.num_classes)


if __name__ == "__main__":
    launch(main)
