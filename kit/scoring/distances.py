"""Distances between two outlines: HD95 and the normalised surface distance.

Tools that carry these names differ by far (Podobnik and Vrtovec 2024, arXiv 2410.02630), so this is what is computed:
- The border of a mask is its pixels that have a pixel outside the mask above, below, left or right. Everything beyond
  the edge of the image is outside.
- A distance is Euclidean, in pixels, between the centres of two border pixels.
- Each border pixel of one mask has the distance to the nearest border pixel of the other: two lists of distances.
- HD95 is the larger one of the 95th percentiles of both lists (numpy.percentile, linear). Percentiles of both lists
  thrown together would be smaller.
- The normalised surface distance at a tolerance is the share of all border pixels of both masks whose distance is not
  above it: Nikolov et al. 2021, "Clinically Applicable Segmentation of Head and Neck Anatomy", Journal of Medical
  Internet Research 23(7), with border pixels in place of the lengths of contours.
- Both masks empty: HD95 is 0, the normalised surface distance 1. One mask empty: HD95 is undefined, NaN, and is to be
  counted apart (mean_hd95); the normalised surface distance is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from kit.scoring.class_masks import class_masks, mean_counts
from kit.scoring.metrics import score_ratio
from kit.scoring.outlines import around, border_pixels, squared_distances

TOLERANCE = 2.0  # pixels, of the normalised surface distance


class SurfaceDistances(NamedTuple):
    """Distances in pixels, f64: of each border pixel of the truth (n,), and of the prediction (m,), to the other."""

    of_truth: np.ndarray
    of_prediction: np.ndarray

    def hd95(self) -> float:
        """The larger 95th percentile; NaN where one mask is empty, 0 where both are."""
        if not len(self.of_truth) and not len(self.of_prediction):
            return 0.0
        if np.isinf(self.of_truth).any() or np.isinf(self.of_prediction).any():
            return np.nan
        return float(max(np.percentile(self.of_truth, 95), np.percentile(self.of_prediction, 95)))

    def within(self, tolerance: float) -> float:
        """The normalised surface distance at a tolerance in pixels, 0..1."""
        total = len(self.of_truth) + len(self.of_prediction)
        near = np.count_nonzero(self.of_truth <= tolerance) + np.count_nonzero(self.of_prediction <= tolerance)
        return near / total if total else 1.0


def surface_distances(truth: np.ndarray, prediction: np.ndarray) -> SurfaceDistances:
    """The distances between the borders of two masks, bool (H, W); infinite where the other mask is empty.

    Raises ValueError on other dtypes or shapes.
    """
    if truth.shape != prediction.shape or truth.ndim != 2 or {truth.dtype, prediction.dtype} != {np.dtype(bool)}:
        found = f"{truth.dtype} {truth.shape} and {prediction.dtype} {prediction.shape}"
        raise ValueError(f"truth and prediction are masks bool (H, W) of one shape, got {found}")
    box = around(truth | prediction, 0)
    true, predicted = (border_pixels(mask[box], outside=False) for mask in (truth, prediction))
    return SurfaceDistances(np.sqrt(squared_distances(true, predicted)), np.sqrt(squared_distances(predicted, true)))


def hd95(truth: np.ndarray, prediction: np.ndarray, num_classes: int, ignore_index: int = 255) -> np.ndarray:
    """HD95 of each class in one image, in pixels: f64 (K,), NaN where one of its two masks is empty.

    truth, prediction: masks of one task, see class_masks.
    """
    pairs = class_masks(truth, prediction, num_classes, ignore_index=ignore_index)
    return np.array([surface_distances(*masks).hd95() for _, *masks in pairs])


def mean_hd95(values: Sequence[float]) -> tuple[float, int]:
    """Return the mean of the HD95 that are defined, in pixels (NaN without any), and how many are not.

    A mean alone would reward a network that predicts nothing where it is unsure.
    """
    values = np.asarray(values, float)
    known = values[~np.isnan(values)]
    return (float(known.mean()) if known.size else float("nan")), int(np.isnan(values).sum())


def surface_dice(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, tolerance: float = TOLERANCE, ignore_index: int = 255
) -> np.ndarray:
    """The normalised surface distance of each class in one image: f64 (K,), NaN for classes in neither mask.

    truth, prediction: masks of one task, see class_masks. tolerance: in pixels.
    """
    return _surface_dice(class_masks(truth, prediction, num_classes, ignore_index=ignore_index), tolerance)


@dataclass(frozen=True)
class MeanSurfaceDice:
    """The normalised surface distance of each pair of an image and a foreground class, averaged over all pairs.

    tolerance: in pixels. A class in neither mask of an image scores 1 there. Of classes that overlap, num_classes is K
    and all of them count.
    """

    num_classes: int = 2
    tolerance: float = TOLERANCE
    name: ClassVar[str] = "mean normalised surface distance over images and classes"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The sum of the scores of the foreground classes, and how many they are."""
        return mean_counts(_surface_dice(class_masks(truth, prediction, self.num_classes, first=1), self.tolerance))


def _surface_dice(pairs: Sequence[tuple], tolerance: float) -> np.ndarray:
    if not tolerance >= 0:
        raise ValueError(f"tolerance is a distance in pixels, 0 or more; got {tolerance}")
    found = [surface_distances(*masks) for _, *masks in pairs]
    return np.array([one.within(tolerance) if len(one.of_truth) + len(one.of_prediction) else np.nan for one in found])
