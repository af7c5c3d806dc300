"""Panoptic FPN on COCO's 27 super-categories: every pixel a class, and things one by one.

    python recipes/coco_panoptic.py --fold 0        one fold and its report
    python recipes/coco_panoptic.py --fold all      the folds that are left, then all pooled
    python recipes/coco_panoptic.py --split val2017     what python -m kit download coco_panoptic fetches

Paper: Kirillov, Girshick, He, Dollár 2019, "Panoptic Feature Pyramid Networks". Here in small: EfficientNet-Lite0, a
pyramid and heads of 64 channels, and super-categories, because most of the 133 categories are in few images or none.
The semantic head knows all classes, things too (the paper: stuff and one class for all things), so that its map alone
is a panoptic image as well: each connected component of things is a thing. The report shows panoptic quality both ways,
merged with the things of the instance head and by components alone; a last line says which is better.
Measured on 60 images of train2017, fold 0 (40 to train on, 20 scored; a core of an AMD EPYC that had other work,
67ac4b0): mean IoU 0.146; PQ by components alone 5.0 (things 3.0, stuff 6.9), merged 4.5 (things 1.9, stuff 6.9). With
so few images the instance head does not beat components. All three folds, on a GPU: mean IoU 0.105 (0.090 to 0.122); PQ
by components alone 3.9 (things 2.3, stuff 5.2), merged 3.1 (things 0.3, stuff 5.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from kit.data import Resizing, Sample, SegmentationDataset, photo_augment
from kit.datasets.coco_panoptic import CocoPanoptic, PanopticReader
from kit.datasets.places import require_data
from kit.folds import kfold
from kit.losses import panoptic_fpn_loss
from kit.models.mask_rcnn import MaskRCNN
from kit.models.panoptic_fpn import Panoptic, PanopticFPN
from kit.models.pretrained import encoder, statistics
from kit.prediction import TTA, VIEWS, Frame
from kit.prediction.detecting import at_own_size
from kit.prediction.panoptic import by_components, draw_things, merge
from kit.recipe import finish, launch
from kit.runs import Count, Plan, Run, Weights, fit_fold, load, open_run
from kit.runs.oof import finished
from kit.scoring import MeanIoU
from kit.scoring.panoptic import panoptic_counts, panoptic_means, panoptic_scores
from kit.training import adamw, warmup_cosine

MERGED, COMPONENTS = "merged", "components alone"


@dataclass(frozen=True)
class Config:
    """The flags."""

    fold: int | Literal["all", "full"] = 0  # which fold to hold out; full: none, after the folds
    data_dir: Path | None = None  # annotations and images; else $KIT_DATA/coco_panoptic, data/coco_panoptic
    run_dir: Path = Path("runs/coco_panoptic")
    epochs: Count = 12
    image_size: tuple[Count, Count] = (320, 320)  # height and width the network sees, the image's ratio kept
    batch_size: Count = 4
    lr: float = 1e-3
    seed: int = 0
    device: str = "auto"
    workers: int | None = None
    encoder: str = "tu-tf_efficientnet_lite0"  # any of smp's, or timm's as tu-NAME
    encoder_weights: Weights = "imagenet"  # imagenet, none, or a file
    folds: int = 3
    split: str = "train2017"


def main() -> None:
    """Train the fold or folds asked for, then report on every finished one."""
    config = tyro.cli(Config, description=__doc__)
    coco = CocoPanoptic(require_data(CocoPanoptic, config.data_dir), split=config.split)
    frame = Frame(Resizing(config.image_size, keep_ratio=True), statistics(config.encoder, config.encoder_weights))
    views = TTA(VIEWS["hflip"])  # of the map of classes
    run = open_run(config, coco, lambda: kfold(len(coco.ids), config.folds, seed=0), frame, views, __file__)
    things, classes = coco.num_things, coco.num_classes

    def empty() -> nn.Module:
        return network(config.encoder, "none", things, classes)

    finish(
        run, config.fold, lambda fold: train(run, config, fold), empty, MeanIoU(classes), lambda run: scores(run, empty)
    )


def train(run: Run, config: Config, fold: int | str) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint."""
    weights, data = "none" if run.is_begun(fold) else config.encoder_weights, run.dataset
    model = network(config.encoder, weights, data.num_things, data.num_classes).to(run.world.device)
    factor = 1.0
    if config.encoder_weights != "none":
        model.freeze_batchnorm()  # batches are small, and the weights' own statistics are good
        factor = 0.3  # of the encoder's learning rate
    reader = PanopticReader(data, run.frame.resizing)
    samples = SegmentationDataset(reader, run.trained_on(fold), photo_augment(config.seed))
    plan = Plan(config.epochs, config.batch_size, warmup_cosine, ema_decay=0.98, samples=samples)
    fit_fold(run, fold, model, adamw(model, config.lr, encoder_factor=factor), loss_of, plan)


def loss_of(model: nn.Module, batch: Sample) -> Tensor:
    """The five losses of the instance heads, and half of the pixels' cross-entropy (section 4.1 of the paper)."""
    classes, numbers = batch.mask.unbind(1)
    of_things = torch.where(numbers > 0, classes + 1, 0)
    return panoptic_fpn_loss(model(batch.image, numbers, of_things), classes)


class Network(PanopticFPN):
    """A Panoptic FPN whose eval mode gives the map of classes alone: the out-of-fold predictions are made of it."""

    def forward(self, images: Tensor, labels: Tensor | None = None, classes: Tensor | None = None) -> Tensor | dict:
        """Logits (N, K, H, W); with labels what the losses compare."""
        if labels is not None:
            return super().forward(images, labels, classes)
        maps = self.instances.pyramid(images)
        return self.semantic_head(maps[:-1])[:, :, : images.shape[2], : images.shape[3]]

    def find(self, images: Tensor) -> Panoptic:
        """Things and logits."""
        return super().forward(images)


def network(name: str, weights: str, num_things: int, num_classes: int) -> nn.Module:
    """The architecture; edit it here."""
    instances = MaskRCNN(
        encoder(name, weights),
        num_classes=num_things,
        channels=64,
        hidden=256,
        anchor_sizes=(16, 32, 64, 128, 256),
        rois=128,
        proposals=(500, 500),
        nms=0.5,
    )
    whole = Network(instances, num_semantic=num_classes, semantic_channels=64)
    return whole.to(memory_format=torch.channels_last)


def scores(run: Run, empty) -> dict[str, float | dict[str, float]]:
    """Panoptic quality of the held-out images, merged and by components alone; prints both. Of each class a row."""
    data = run.dataset
    counts = {name: np.zeros((data.num_classes, 4)) for name in (MERGED, COMPONENTS)}
    images = 0
    for fold in finished(run):
        model = load(run, fold, empty()).eval()
        for id, found in panoptic_images(run, model, run.held_out(fold)):
            truth, images = data.read_panoptic(id), images + 1
            for name, segments in found.items():
                counts[name] += panoptic_counts(truth, segments, data.num_classes)
    means = {name: panoptic_means(own, range(data.num_things)) for name, own in counts.items()}
    for name, parts in means.items():
        each = "; ".join(
            f"{part} PQ {100 * one.pq:.1f}, SQ {100 * one.sq:.1f}, RQ {100 * one.rq:.1f}" for part, one in parts.items()
        )
        run.world.say(f"{images} held-out images, {name}: {each}")
    gain = 100 * float(means[MERGED]["things"].pq - means[COMPONENTS]["things"].pq)
    said = "beats" if gain > 0 else "does not beat"
    run.world.say(f"the instance head {said} components: {gain:+.1f} of PQ on things")
    each = zip(data.classes, *panoptic_scores(counts[MERGED]), strict=True)
    rows = {name: {"PQ": pq, "SQ": sq, "RQ": rq} for name, pq, sq, rq in each if not np.isnan(pq)}
    return rows | {
        f"PQ, {name}{'' if part == 'all' else f', {part}'}": float(one.pq)
        for name, parts in means.items()
        for part, one in parts.items()
    }


@torch.inference_mode()
def panoptic_images(run: Run, model: Network, ids: list[str]) -> Iterator[tuple[str, dict]]:
    """Each image's id, and its segments in both ways, at the image's own size."""
    data, resizing = run.dataset, run.frame.resizing
    things, stuff = range(data.num_things), range(data.num_things, data.num_classes)
    for id in ids:
        size, image = data.shape(id), resizing.image(data.read_image(id))
        batch = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None])).to(run.world.device)
        [found], _ = model.find(run.frame.normalise(batch))
        semantic = run.store.mask(id, size)  # of all views, as it is scored
        drawn = draw_things(at_own_size(found, resizing.content(size), size), size)
        yield id, {MERGED: merge(*drawn, semantic, stuff), COMPONENTS: by_components(semantic, things, stuff)}


if __name__ == "__main__":
    launch(main)
