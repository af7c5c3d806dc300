"""Mask R-CNN on nuclei: every nucleus by a box and a mask of its own (Data Science Bowl 2018).

    python recipes/nuclei_mask_rcnn.py --fold 0             one fold, its OOF report and a submission
    python recipes/nuclei_mask_rcnn.py --fold all           the folds that are left, then all pooled
    python -m kit tune runs/nuclei_mask_rcnn                the threshold of scores and the least area
    python -m kit compare runs/nuclei_unet runs/nuclei_mask_rcnn

Paper: He, Gkioxari, Dollár, Girshick 2017. One Mask R-CNN was among the three best of the competition (.6141); U-Nets
with borders won (recipes/nuclei_unet.py, on the same folds). Here in small, for a CPU: EfficientNet-Lite0, a pyramid
and heads of 64 channels, 128 boxes an image; anchors from 8 pixels, because the median nucleus is 20 pixels wide. For a
GPU take resnet50 and leave the widths out of `network`: they are the paper's then.
Images keep their own scale, so that no label image is shrunk: training sees crops, prediction whole images. Two nuclei
that touch are two boxes, and a pixel is of the better-scoring one (kit.prediction.drawing).
Kaggle's files, and which images are held out together, are those of nuclei_unet.py (kit.submission.known).
Measured on fold 0 (176 of Kaggle's images to train on, 44 scored; 17 min 30 s of CPU, one thread of an AMD EPYC;
634124e): .5384 (.4409 to .6329); Otsu's threshold and components have .4364 there, nuclei_unet.py .5432.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import tyro
from torch import Tensor, nn

from kit.data import Resizing, Sample, turning_augment, whole_objects
from kit.datasets.discs import open_discs
from kit.datasets.nuclei import Nuclei
from kit.datasets.places import require_data
from kit.losses import mask_rcnn_loss
from kit.models.mask_rcnn import MaskRCNN
from kit.models.pretrained import encoder, packaged_weights, statistics
from kit.prediction import TTA, VIEWS, Frame, Rule
from kit.recipe import finish, launch
from kit.runs import Count, Free, Plan, Run, Submission, Weights, fit_fold, open_run
from kit.submission import known
from kit.training import adamw, warmup_cosine
from kit.training.processes import start


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # Kaggle's files; else $KIT_DATA/nuclei, data/nuclei, /kaggle/input
    run_dir: Path = Path("runs/nuclei_mask_rcnn")
    epochs: Count = 2
    image_size: tuple[Count, Count] = (256, 256)  # of the crops; images keep their own scale
    batch_size: Count = 4
    lr: float = 1e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder: str = "tu-tf_efficientnet_lite0"  # any of smp's, or timm's as tu-NAME
    encoder_weights: Weights = "imagenet"  # imagenet, none, or a file
    folds: int = 5
    crops: Count = 8  # of each image in an epoch
    tta: Free[Literal["none", "hflip", "flips", "d4"]] = "hflip"  # mirrored and turned copies that are joined
    test: Free[bool] = True  # predict the test images and write the submission
    keep_test: Free[bool] = False  # keep every fold's predictions of the test images, to blend runs
    drawn: bool = False  # draw a small competition of touching discs in place of data


DRAWN = Config(
    run_dir=Path("runs/nuclei_mask_rcnn_drawn"), epochs=3, image_size=(96, 128), batch_size=4, folds=4, crops=4,
    drawn=True,
)  # fmt: skip


def main() -> None:
    """Train the fold or folds asked for, then report on and predict with every finished one."""
    config = tyro.cli(Config, description=__doc__)
    if config.drawn:
        drawn = DRAWN if packaged_weights(DRAWN.encoder) else replace(DRAWN, encoder_weights="none")
        config = tyro.cli(Config, default=drawn, description=__doc__)
    nuclei = opened(config)
    frame = Frame(Resizing(None), statistics(config.encoder, config.encoder_weights))
    run = open_run(
        config,
        nuclei,
        lambda: known.nuclei_folds(nuclei, config.folds, seed=0),
        frame,
        TTA(VIEWS[config.tta]),
        __file__,
        rule=Rule(objects=True, detected=True),
    )
    submission = Submission(known.nuclei(nuclei), config.test, keep_test=config.keep_test)
    finish(run, config.fold, lambda fold: train(run, config, fold), lambda: network(config, "none"), submission)


def opened(config: Config) -> Nuclei:
    """Kaggle's data, in the groups that a file names or that the edges of images show; or the drawn."""
    if config.drawn:
        return open_discs(start(config.device).say)
    return known.grouped_nuclei(require_data(Nuclei, config.data_dir))


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint."""
    model = network(config, "none" if run.is_begun(fold) else config.encoder_weights).to(run.world.device)
    if config.encoder_weights != "none":
        model.freeze_batchnorm()  # batches are small, and the weights' own statistics are good
    factor = 1.0 if config.encoder_weights == "none" else 0.3  # of a pretrained encoder's learning rate
    plan = Plan(
        config.epochs,
        config.batch_size,
        warmup_cosine,
        turning_augment(config.seed, config.image_size),
        ema_decay=0.99,
        target=whole_objects,
        crops=config.crops,
    )
    fit_fold(run, fold, model, adamw(model, config.lr, encoder_factor=factor), loss_of, plan)


def loss_of(model: nn.Module, batch: Sample) -> Tensor:
    """The five losses of Mask R-CNN."""
    return mask_rcnn_loss(model(batch.image, batch.mask))


def network(config: Config, weights: str) -> nn.Module:
    """The architecture; edit it here."""
    return MaskRCNN(
        encoder(config.encoder, weights),
        num_classes=1,
        channels=64,
        hidden=256,
        anchor_sizes=(8, 16, 32, 64, 128),
        rois=128,
        proposals=(500, 1000),  # in training and in prediction, where an image may hold 400 nuclei
    ).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    launch(main)
