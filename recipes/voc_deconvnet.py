"""DeconvNet on PASCAL VOC 2012 in two stages: single objects first, then whole pictures.

    python recipes/voc_deconvnet.py --stage 1                       each object in a window of 1.2 times its size
    python recipes/voc_deconvnet.py --stage 2                       goes on from stage 1, with whole pictures

Paper: Noh, Hong & Han 2015, "Learning Deconvolution Network for Semantic Segmentation": SGD at 0.01 with momentum 0.9
and weight decay 5e-4, 224×224, weights of VGG16. Published: mean IoU 69.6 on VOC 2012's test list (DeconvNet alone,
trained with SBD's masks; the ensemble EDeconvNet+CRF has 72.5). The paper's stage 2 takes object proposals and its
inference puts fifty of them together; here stage 2 takes whole pictures, and inference the mean over their mirror image
and scales. Also here: a rate that falls, light augmentation, clipped gradients, and scores on val, not on test.
Measured: mean IoU 7.9 and 8.2 (background everywhere has 5.1) from 250 pictures in 97 minutes of a CPU, the encoder
begun from an FCN-32s trained on the same pictures; see README, J.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import nn

from kit.data.augment import photo_augment
from kit.data.cache import sample_reader
from kit.data.resize import Resizing
from kit.data.samples import SegmentationDataset
from kit.datasets.places import require_data
from kit.datasets.voc import VOC
from kit.datasets.voc_objects import ObjectCrops
from kit.losses.region import cross_entropy
from kit.models.deconvnet import DeconvNet
from kit.models.vgg import read_vgg16
from kit.prediction.predictor import TTA, VIEWS
from kit.runs.launch import launch
from kit.runs.run import Run, open_run
from kit.system.files import cache_folder
from kit.training.loop import fit, parameter_groups, warmup_poly


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all"] = 0  # which fold to hold out
    data_dir: Path | None = None  # VOCdevkit; else $KIT_DATA/voc, data/voc
    run_dir: Path = Path("runs/voc_deconvnet")
    epochs: int = 20
    image_size: tuple[int, int] = (224, 224)  # height and width the network sees
    batch_size: int = 16
    lr: float = 0.01
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder_weights: str = "imagenet"  # of torchvision's vgg16_bn: imagenet, none, or a file (vgg16's too)
    encoder_lr: float = 1.0  # of --lr, for the convolutions of VGG16
    stage: Literal[1, 2] = 1  # 2 goes on from 1
    sbd_dir: Path | None = None  # train on SBD's masks too
    scales: tuple[float, ...] = (1.0,)  # of test-time augmentation


def main() -> None:
    """Train one stage and report on the val list."""
    config = tyro.cli(Config, description=__doc__)
    train_list = "train_aug" if config.sbd_dir else "train"
    voc = VOC(require_data(VOC, config.data_dir), train=train_list, sbd_dir=config.sbd_dir)
    stage = replace(config, run_dir=config.run_dir / f"stage{config.stage}")
    tta, name = TTA(VIEWS["hflip"], config.scales), f"{Path(__file__).stem}_stage{config.stage}"
    run = open_run(stage, voc, voc.split, tta, name)
    for fold in run.unfinished(config.fold):
        train(run, config, fold)
        run.predict_oof(fold, run.load(fold, network(voc)))
    run.report()


def train(run: Run, config: Config, fold: int) -> None:
    """Train the network that has not seen the held-out list; goes on from its last checkpoint."""
    torch.manual_seed(config.seed + fold)
    model = network(run.competition)
    if not run.goes_on(fold):
        start_network(model, run, config, fold)
    model = model.to(run.world.device)
    augment = photo_augment(config.seed)
    train_loader, val_loader = run.loaders(fold, augment, config.batch_size)
    if config.stage == 1:
        objects = ObjectCrops(run.competition, run.trained_on(fold))
        print(*objects.notes)
        samples = SegmentationDataset(
            sample_reader(objects, Resizing(config.image_size), cache_folder()), objects.ids, augment
        )
        train_loader = run.train_loader(samples, config.batch_size)
    groups = parameter_groups(model, config.lr, weight_decay=5e-4, encoder_factor=config.encoder_lr)
    optimizer = torch.optim.SGD(groups, momentum=0.9, fused=True)
    state = run.new_state(fold, model, optimizer, ema_decay=None)
    settings = run.settings(config.epochs, warmup_poly, clip=10.0)  # norms begin at 4: with 1.0 it hardly learns
    fit(state, train_loader, val_loader, cross_entropy, settings, run.fold_folder(fold))


def start_network(model: DeconvNet, run: Run, config: Config, fold: int) -> None:
    """Fill in what the stage starts from: VGG16, or stage 1."""
    if config.stage == 2:
        run.load_stage(run.folder.parent / "stage1", fold, model)
    elif weights := read_vgg16(config.encoder_weights, batch_norm=True):
        model.load_vgg16(weights)


def network(voc: VOC) -> nn.Module:
    """The architecture; edit it here."""
    return DeconvNet(num_classes=voc.num_classes)


if __name__ == "__main__":
    launch(main)
