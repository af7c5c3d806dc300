"""SmallDeconvNet on blood cells: cut the white cell out of 128×128 images, then out of whole smears.

    python recipes/blood_deconvnet.py --fold all                      five folds and their OOF report
    python recipes/blood_deconvnet.py --fold all --test               the same, and Test_Data's smears as a CSV
    python recipes/blood_deconvnet.py --fold all --paper --run-dir runs/blood_paper
    python recipes/blood_deconvnet.py --lr-sweep                      the loss for 1e-3, 1e-4 and 1e-5, as a plot

Paper: "Semantic Segmentation on Variable Sized Images of Red Blood Cells using Deconvolution Networks"; the network is
that of Noh, Hong & Han 2015 made small. Trained at 128×128, it takes a image of any size: Test_Data is predicted at
its own. --paper is the paper's training: cross-entropy, no batch normalisation, Adam at a constant 1e-4, nothing else
(it does not state the widths; here they are half of VGG16's in both). Ours turns and mirrors, no more: the masks are
32×32 ones enlarged, and shifting or scaling their grid of 4×4 pixels, or changing colours, made fold 0 worse. Folds 0
and 2 chose the settings, so the report also has the scores without them. Folds keep a photograph's images together.
Measured on all 164 images out of fold (14 min on two cores of an AMD EPYC; 69be15c): IoU of the cell 0.9204
(0.9119 to 0.9280), mean over images; without folds 0 and 2 it is 0.9199, and 0.9503 with the background. By --paper
(23 min on one core, 012aedb): 0.8822, and 0.9264 with the background.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from torch import nn

from kit.data import Resizing, cell_augment
from kit.datasets.blood_cells import BloodCells
from kit.datasets.places import require_data
from kit.folds import group_kfold
from kit.losses import bce, bce_jaccard
from kit.models.deconvnet import SmallDeconvNet
from kit.prediction import TTA, VIEWS, Frame, Tiled
from kit.recipe import finish, launch
from kit.runs import Count, Free, Plan, Run, Submission, fit_fold, open_run, scores, unfinished
from kit.scoring.confusion import iou, mean_iou, pixel_accuracy
from kit.submission import known
from kit.training import parameter_groups, supervised, warmup_cosine


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # with Train_Data and Test_Data; else $KIT_DATA/blood_cells, data/blood_cells
    run_dir: Path = Path("runs/blood_deconvnet")
    epochs: Count = 30
    image_size: tuple[Count, Count] | None = None  # None: the images' own, 128×128 in training and any in Test_Data
    batch_size: Count = 4
    lr: float | None = None  # None: 3e-3, the paper's 1e-4 with --paper
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    folds: int = 5
    paper: bool = False  # the paper's training, for comparison
    lr_sweep: Free[bool] = False  # only train `--fold` at three rates and plot the loss
    test: Free[bool] = False  # predict Test_Data too


def main() -> None:
    """Train the fold or folds asked for, then report on and predict with every finished one."""
    config = tyro.cli(Config, description=__doc__)
    config = replace(config, lr=config.lr or (1e-4 if config.paper else 3e-3))
    cells = BloodCells(require_data(BloodCells, config.data_dir))
    if config.lr_sweep:
        return sweep(config, cells)
    run = opened(config, cells)
    submission = Submission(known.blood_cells(cells), write=config.test)
    trained = lambda: network(config)  # noqa: E731
    finish(run, config.fold, lambda fold: train(run, config, fold), trained, submission, readings_of_the_claim)


def opened(config: Config, cells: BloodCells) -> Run:
    """Open the run folder; the paper's predictions are plain, ours the mean over the square's eight symmetries."""
    frame, tta = Frame(Resizing(config.image_size)), TTA(VIEWS["none" if config.paper else "d4"])
    return open_run(config, cells, lambda: group_kfold(cells.groups, config.folds, seed=0), frame, tta, __file__)


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint."""
    model = network(config).to(run.world.device)
    optimizer = torch.optim.Adam(parameter_groups(model, config.lr, weight_decay=0.0), fused=True)
    if config.paper:
        plan, criterion = Plan(config.epochs, config.batch_size, constant, ema_decay=None, clip=math.inf), bce
    else:
        augment = cell_augment(config.seed)
        plan, criterion = Plan(config.epochs, config.batch_size, warmup_cosine, augment, ema_decay=0.99), bce_jaccard
    fit_fold(run, fold, model, optimizer, supervised(criterion), plan)


def network(config: Config) -> nn.Module:
    """The architecture; edit it here. One sigmoid channel is the softmax of two classes, with half the weights.

    Stains differ from smear to smear, so ours takes each image's mean colour and contrast out of it first. Behind
    that, images larger than 512 pixels go through in overlapping tiles: the smears of Test_Data.
    """
    net = Tiled(SmallDeconvNet(num_classes=1, width=32, batch_norm=not config.paper), (512, 512))
    if not config.paper:
        net = nn.Sequential(nn.InstanceNorm2d(3), net)
    return net.to(memory_format=torch.channels_last)


def constant(progress: float) -> float:
    """The paper's schedule."""
    return 1.0


def readings_of_the_claim(run: Run) -> dict[str, float]:
    """The paper claims "IoU more than 0.97 for most images": the share of images over 0.97, by what may be meant."""
    found = scores(run)
    matrices, chosen_on = found.matrices, np.isin(found.images["fold"], (0, 2))
    readings = {
        "IoU of the cell": iou(matrices)[:, 1],
        "mean IoU of cell and background": mean_iou(matrices),
        "pixel accuracy": pixel_accuracy(matrices),
    }
    shares = {f"share of images over 0.97 in {name}": np.mean(score > 0.97) for name, score in readings.items()}
    if chosen_on.all():
        return shares
    return shares | {
        f"{name}, mean without folds 0 and 2": np.mean(score[~chosen_on]) for name, score in readings.items()
    }


def sweep(config: Config, cells: BloodCells) -> None:
    """Train one fold at three rates and draw the training loss of each into lr_sweep.png."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel="epoch", ylabel="loss of training", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:.1g}")
    wanted = config.fold if isinstance(config.fold, int) else 0
    for lr in (1e-3, 1e-4, 1e-5):
        tried = replace(config, lr=lr, run_dir=config.run_dir / f"lr_sweep/{lr:g}")
        run = opened(tried, cells)
        for fold in unfinished(run, wanted):
            train(run, tried, fold)
        lines = run.history(wanted)
        axes.plot([line["epoch"] for line in lines], [line["loss"] for line in lines], label=f"{lr:g}")
    axes.legend(title="learning rate")
    if run.world.main:
        figure.savefig(config.run_dir / "lr_sweep.png", dpi=150)
        print(f"plot: {config.run_dir / 'lr_sweep.png'}")


if __name__ == "__main__":
    launch(main)
