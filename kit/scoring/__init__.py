"""How good are the predictions, and how sure are we?

confusion.py    the confusion matrix, and IoU, Dice and accuracy from it
overlapping.py  the same of classes that may overlap, a matrix each
instances.py    the precision of objects
boundary.py     F1 of the outlines
metrics.py      the metrics of competitions, each an object: counts of an image, score of their sums
crossfit.py     chosen on the other folds, scored on the held-out one
intervals.py    an interval around a score, from groups of images
blending.py     which blend of several runs to submit (blend_pixels.py, blend_classes.py, blend_pools.py,
                blend_search.py)
counts.py       the counts of all held-out images of a fold, kept in its folder
slides.py       the counts of a slide, band by band
validation.py   the scores of held-out samples during training
"""

from typing import TYPE_CHECKING

from kit.scoring.blend_classes import ClassPool, rivals_of
from kit.scoring.blend_pixels import layer_of
from kit.scoring.blend_pools import MaskPool, Mix, PixelPool
from kit.scoring.blending import Blend, Costs, blend
from kit.scoring.boundary import boundary_f1, mean_boundary_f1
from kit.scoring.confusion import (
    binary_scores,
    confusion_matrix,
    dice,
    foreground_scores,
    frequency_weighted_iou,
    iou,
    level_histogram,
    mean_accuracy,
    mean_dice,
    mean_iou,
    pixel_accuracy,
)
from kit.scoring.crossfit import CrossFit, crossfit, crossfit_search
from kit.scoring.instances import instance_precision
from kit.scoring.intervals import Interval, interval, interval_of_metric, interval_of_score
from kit.scoring.metrics import (
    DatasetDice,
    DatasetIoU,
    InstancePrecision,
    MeanDice,
    MeanDicePerClass,
    MeanIoU,
    Metric,
    PrecisionOverThresholds,
)

if TYPE_CHECKING:
    from kit.scoring.counts import COLUMNS, Scores, read_oof_csv, score

__all__ = [
    "COLUMNS",
    "Blend",
    "ClassPool",
    "Costs",
    "CrossFit",
    "DatasetDice",
    "DatasetIoU",
    "InstancePrecision",
    "Interval",
    "MaskPool",
    "MeanDice",
    "MeanDicePerClass",
    "MeanIoU",
    "Metric",
    "Mix",
    "PixelPool",
    "PrecisionOverThresholds",
    "Scores",
    "binary_scores",
    "blend",
    "boundary_f1",
    "confusion_matrix",
    "crossfit",
    "crossfit_search",
    "dice",
    "foreground_scores",
    "frequency_weighted_iou",
    "instance_precision",
    "interval",
    "interval_of_metric",
    "interval_of_score",
    "iou",
    "layer_of",
    "level_histogram",
    "mean_accuracy",
    "mean_boundary_f1",
    "mean_dice",
    "mean_iou",
    "pixel_accuracy",
    "read_oof_csv",
    "rivals_of",
    "score",
]

_OF_COUNTS = {"COLUMNS", "Scores", "read_oof_csv", "score"}


def __getattr__(name: str) -> object:
    """Import counts.py at the first use of its names: it needs torch and pandas, which the arithmetic does not."""
    if name not in _OF_COUNTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kit.scoring import counts

    return getattr(counts, name)
