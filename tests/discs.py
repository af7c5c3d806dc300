"""A run on drawn discs, for the tests of the report: results whose every pixel is known."""

import dataclasses

import numpy as np
import pandas as pd

from kit import report
from kit.scoring.confusion import confusion_matrix, foreground_scores, level_histogram, mean_dice, mean_iou

SCRIPT = "<script>document.title='broken'</script>"


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A run on drawn discs: the results, and the pixels that they came from."""

    results: report.Results
    truths: dict
    levels: dict


def drawn_run() -> Drawn:
    """48 discs in 12 groups and 3 folds; a group's predictions are wrong in one and the same way."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:60, :90]
    truths, levels, rows = {}, {}, []
    for number in range(48):
        group = number // 4
        shift = np.random.default_rng(group).normal(0, 4, 2)
        radius, top, left = random.uniform(12, 24), random.uniform(25, 35), random.uniform(35, 55)
        name = SCRIPT if number == 5 else f"{group:02}_{number:03}"
        truths[name] = (np.hypot(y - top, x - left) < radius).astype(np.uint8)
        distance = np.hypot(y - top - shift[0], x - left - shift[1]) + random.normal(0, 0.5, y.shape)
        levels[name] = np.clip(128 + 12 * (radius * 1.05 - distance), 0, 255).astype(np.uint8)
        if number == 7:
            truths[name][:], levels[name][:] = 0, 0
        rows.append({"id": name, "group": f"car{group:02}", "fold": group % 3})
    return Drawn(results_of(rows, truths, levels), truths, levels)


def results_of(rows, truths, levels):
    joint = np.stack([level_histogram(truths[row["id"]], levels[row["id"]]) for row in rows])
    matrices = np.stack([joint[:, :, :128].sum(-1), joint[:, :, 128:].sum(-1)], axis=-1)
    iou, dice, accuracy = foreground_scores(matrices)
    area = matrices[:, 1].sum(-1) / matrices.sum((1, 2))
    images = pd.DataFrame(rows).assign(iou=iou, dice=dice, accuracy=accuracy, area=area)
    return report.Results(
        title="discs",
        drawn=True,
        classes=("background", "disc"),
        notes=("Discs are drawn.",),
        further={"boundary F1": 0.625},
        command="python recipes/discs.py --fold all",
        config={"epochs": 4, "image_size": (64, 96), "lr": float("nan")},
        versions={"python": "3.11", "device": "cpu"},
        tta="hflip",
        size=(64, 96),
        images=images,
        matrices=matrices,
        levels=joint,
        history={fold: [_epoch(fold, epoch) for epoch in range(4)] for fold in range(3)},
        seconds={"train": 130.0, "predict": 4.2},
        folds=5,
        read_image=lambda name: np.repeat(80 + 100 * truths[name][..., None], 3, axis=2),
        read_truth=truths.__getitem__,
        read_prediction=lambda name: (levels[name] >= 128).astype(np.uint8),
    )


def with_metric(results, metric):
    """The same results with a competition's metric."""
    pairs = [(results.read_truth(id), results.read_prediction(id)) for id in results.images["id"]]
    counts = np.stack([metric.counts(*pair) for pair in pairs])
    return dataclasses.replace(results, metric=metric, counts=counts)


def _epoch(fold, epoch):
    # the first epoch was not evaluated, as a recipe may choose
    score = None if epoch == 0 else 0.9 + 0.02 * epoch - 0.01 * fold
    return {"epoch": epoch, "loss": 1 / (1 + epoch), "val_dice": score, "val_iou": score, "lr": 1e-3, "seconds": 1.0}


def classes():
    """Ten images of three classes, and a fourth that never occurs; the corner is ignored."""
    random = np.random.default_rng(1)
    truths = random.integers(0, 3, (10, 20, 30)).astype(np.uint8)
    predictions = np.where(random.random(truths.shape) < 0.8, truths, random.integers(0, 3, truths.shape)).astype(
        np.uint8
    )
    truths[:, :5, :5] = 255
    return truths, predictions


def class_results(drawn, truths, predictions):
    matrices = np.stack([confusion_matrix(*pair, 4) for pair in zip(truths, predictions, strict=True)])
    images = drawn.results.images.head(len(truths)).assign(dice=mean_dice(matrices), iou=mean_iou(matrices))
    rows = {name: row for row, name in enumerate(images["id"])}
    return dataclasses.replace(
        drawn.results,
        images=images,
        matrices=matrices,
        levels=None,
        classes=("sky", "tree", "road", "cat"),
        read_image=lambda name: np.zeros((20, 30, 3), np.uint8),
        read_truth=lambda name: truths[rows[name]],
        read_prediction=lambda name: predictions[rows[name]],
    )
