"""How good are the predictions, and how sure are we?

confusion.py    the confusion matrix, and IoU, Dice and accuracy from it
overlapping.py  the same of classes that may overlap, a matrix each
matching.py     pairs of true and predicted objects, and what became of each object
instances.py    precision and F-beta of objects (instance_metrics.py: as metrics)
object_errors.py  all objects of many images, and what each kind of error costs
panoptic.py     panoptic quality
boundary.py     F1 of the outlines
errors.py       what kind of error each wrong pixel is
boundary_iou.py IoU of the strips along the outlines
rand.py         Rand and information scores: are the cells parted as in the truth?
distances.py    distances between outlines: HD95, normalised surface distance
outlines.py     pixels near outlines; outline_scores.py has the scores of an image for the report
calibration.py  do probabilities say how often the foreground is there?
class_masks.py  the two masks of each class, of any task
metrics.py      the metrics of competitions, each an object: counts of an image, score of their sums
compare.py      is one run better than another? flips.py has the sign-flip test
crossfit.py     chosen on the other folds, scored on the held-out one
tune.py         a rule searched part by part, cross-fitted as a whole
components.py   a table of components: the counts at every area cut
intervals.py    an interval around a score, from groups of images
blending.py     which blend of several runs to submit (blend_pixels.py, blend_classes.py, blend_pools.py,
                blend_search.py, blend_ways.py)
counts.py       the counts of all held-out images of a fold, kept in its folder
slides.py       the counts of a slide, band by band
contradictions.py  regions where predictions contradict labels with confidence
validation.py   the scores of held-out samples during training
"""

from typing import TYPE_CHECKING

from kit.scoring.blend_classes import ClassPool, rivals_of
from kit.scoring.blend_pixels import layer_of
from kit.scoring.blend_pools import MaskPool, Mix, PixelPool
from kit.scoring.blending import Blend, Costs, blend
from kit.scoring.boundary import boundary_f1, mean_boundary_f1
from kit.scoring.boundary_iou import MeanBoundaryIoU, boundary_iou
from kit.scoring.calibration import (
    band_histogram,
    calibration_error,
    confidence_histograms,
    interval_of_calibration,
    reliability,
)
from kit.scoring.compare import Comparison, compare, compare_all, holm, seed_spread
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
from kit.scoring.distances import MeanSurfaceDice, hd95, mean_hd95, surface_dice, surface_distances
from kit.scoring.instance_metrics import InstanceFBeta, InstancePrecision, InstancePrecisionPerClass
from kit.scoring.instances import (
    instance_f_beta,
    instance_precision,
    instance_precision_per_class,
    instance_precisions,
)
from kit.scoring.intervals import Interval, interval, interval_of_metric, interval_of_score
from kit.scoring.matching import match
from kit.scoring.metrics import (
    DatasetDice,
    DatasetIoU,
    MeanDice,
    MeanDicePerClass,
    MeanIoU,
    Metric,
    PrecisionOverThresholds,
)
from kit.scoring.panoptic import PanopticQuality, panoptic_counts, panoptic_means, panoptic_quality, panoptic_scores
from kit.scoring.rand import InformationScore, RandScore, information_score, rand_score
from kit.scoring.tune import tune
from kit.system.segments import Segments

if TYPE_CHECKING:
    from kit.scoring.counts import COLUMNS, Scores, read_oof_csv, score

__all__ = [
    "COLUMNS",
    "Blend",
    "ClassPool",
    "Comparison",
    "Costs",
    "CrossFit",
    "DatasetDice",
    "DatasetIoU",
    "InformationScore",
    "InstanceFBeta",
    "InstancePrecision",
    "InstancePrecisionPerClass",
    "Interval",
    "MaskPool",
    "MeanBoundaryIoU",
    "MeanDice",
    "MeanDicePerClass",
    "MeanIoU",
    "MeanSurfaceDice",
    "Metric",
    "Mix",
    "PanopticQuality",
    "PixelPool",
    "PrecisionOverThresholds",
    "RandScore",
    "Scores",
    "Segments",
    "band_histogram",
    "binary_scores",
    "blend",
    "boundary_f1",
    "boundary_iou",
    "calibration_error",
    "compare",
    "compare_all",
    "confidence_histograms",
    "confusion_matrix",
    "crossfit",
    "crossfit_search",
    "dice",
    "foreground_scores",
    "frequency_weighted_iou",
    "hd95",
    "holm",
    "information_score",
    "instance_f_beta",
    "instance_precision",
    "instance_precision_per_class",
    "instance_precisions",
    "interval",
    "interval_of_calibration",
    "interval_of_metric",
    "interval_of_score",
    "iou",
    "layer_of",
    "level_histogram",
    "match",
    "mean_accuracy",
    "mean_boundary_f1",
    "mean_dice",
    "mean_hd95",
    "mean_iou",
    "panoptic_counts",
    "panoptic_means",
    "panoptic_quality",
    "panoptic_scores",
    "pixel_accuracy",
    "rand_score",
    "read_oof_csv",
    "reliability",
    "rivals_of",
    "score",
    "seed_spread",
    "surface_dice",
    "surface_distances",
    "tune",
]

_OF_COUNTS = {"COLUMNS", "Scores", "read_oof_csv", "score"}


def __getattr__(name: str) -> object:
    """Import counts.py at the first use of its names: it needs torch and pandas, which the arithmetic does not."""
    if name not in _OF_COUNTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kit.scoring import counts

    return getattr(counts, name)
