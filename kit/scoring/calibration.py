"""Calibration: of the pixels that get 70 % for the foreground, 70 % should be foreground.

The expected calibration error (ECE) compares the mean probability of each bin of pixels with its share of foreground:

    ECE = Σ_bins n_bin / N · |mean probability - share of foreground|

The bins hold equally many pixels, 15 by default (Nguyen and O'Connor 2015, "Posterior calibration and exploratory
analysis for natural language processing models", EMNLP): of bins of equal width, one would hold nearly all
pixels of a segmentation. Everything is taken from histograms of levels (kit.scoring.level_histogram), so that no image
is looked at again. A level l stands for the probability (l + 0.5) / 256. Where the border of two bins falls into the
pixels of one level, these are shared out in proportion.

The background is easy and large, and hides errors of calibration: so there is also the histogram of a band around the
outlines of the truth. Pixels of one image are alike, so an interval is over groups of images. Of classes that overlap
there is a histogram of each class. Of several classes that compete there is one of the confidence: the probability of
the class that is predicted, against whether it is right (Guo et al. 2017, "On calibration of modern neural networks",
ICML).
"""

from collections.abc import Hashable, Sequence

import cv2
import numpy as np

from kit.scoring.confusion import level_histogram
from kit.scoring.intervals import Interval, interval_of_score
from kit.scoring.outlines import around, eroded

BINS = 15
BAND = 0.0075  # of the diagonal, the tolerance of boundary F1: how far the band reaches on both sides of an outline
LEVELS = 256
PROBABILITIES = (np.arange(LEVELS) + 0.5) / LEVELS


def calibration_error(histograms: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the ECE of histograms of levels (..., 2, 256) [truth, level]: f64 (...), NaN where there is no pixel."""
    share, probability, foreground = reliability(histograms, bins)
    return np.sum(share * np.abs(probability - foreground), axis=-1)[()]


def reliability(histograms: np.ndarray, bins: int = BINS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each bin its share of the pixels, mean probability and share of foreground: f64 (..., bins) each.

    histograms: (..., 2, 256) [truth, level]. The bins rise in probability and hold equally many pixels. NaN where there
    is no pixel. Raises ValueError on other shapes and on less than one bin.
    """
    histograms = np.asarray(histograms, float)
    if histograms.ndim < 2 or histograms.shape[-2:] != (2, LEVELS) or bins < 1:
        raise ValueError(
            f"histograms of levels are (..., 2, {LEVELS}) and there is a bin or more; got {histograms.shape} and {bins}"
        )
    parts = _bins_of(histograms.reshape(-1, 2, LEVELS), bins)
    return tuple(part.reshape(*histograms.shape[:-2], bins) for part in parts)


def interval_of_calibration(
    histograms: np.ndarray, groups: Sequence[Hashable], bins: int = BINS, level: float = 0.95
) -> Interval:
    """Return the ECE over all pixels and its interval over groups, within 0..1. histograms: (n, 2, 256)."""
    flat = np.asarray(histograms, float).reshape(len(histograms), -1)
    error = lambda sums: calibration_error(sums.reshape(*sums.shape[:-1], 2, LEVELS), bins)  # noqa: E731
    return interval_of_score(flat, groups, error, level, logit=True)


def band_histogram(truth: np.ndarray, levels: np.ndarray, share: float = BAND) -> np.ndarray:
    """Count truth and level of the pixels in the band around the outlines of the truth: i64 (2, 256).

    truth: u8 (H, W) of 0 and 1, 255 is ignored. levels: u8 (H, W). share: how far the band reaches from an outline,
    over the diagonal; at least 1 pixel, rows and columns counted alike. The edge of the image is no outline. An empty
    truth has no band: all counts are 0. Raises ValueError as level_histogram does.
    """
    if np.shape(truth) != np.shape(levels):
        raise ValueError(f"truth and levels have one shape, got {np.shape(truth)} and {np.shape(levels)}")
    width = max(1, round(share * float(np.hypot(*np.shape(truth)))))
    foreground = np.asarray(truth) == 1
    box = around(foreground, width)
    inside, truth, levels = foreground[box], np.asarray(truth)[box], np.asarray(levels)[box]
    near = ~(eroded(inside, width, outside=True) | eroded(~inside, width, outside=True))
    return level_histogram(truth[near][None], levels[near][None])


def confidence_histograms(
    truth: np.ndarray, prediction: np.ndarray, confidence: np.ndarray, share: float = BAND
) -> np.ndarray:
    """Count whether the predicted class is right, and its level: i64 (2, 2, 256) [all or band, wrong or right, level].

    truth, prediction: u8 (H, W) of classes, truth 255 is ignored. confidence: u8 (H, W), the level of the predicted
    class. The band reaches as far as that of band_histogram on both sides of each change of the truth's label; ignored
    is a label of its own there.
    """
    right = np.where(truth == 255, 255, truth == prediction).astype(np.uint8)
    side = 2 * max(1, round(share * float(np.hypot(*truth.shape)))) + 1
    square = np.ones((side, side), np.uint8)
    near = cv2.dilate(truth, square) != cv2.erode(truth, square)  # the largest and the smallest label around
    return np.stack([level_histogram(right, confidence), level_histogram(right[near][None], confidence[near][None])])


def _bins_of(histograms: np.ndarray, bins: int) -> list[np.ndarray]:
    """Share, mean probability and share of foreground of the bins of histograms (R, 2, 256): f64 (R, bins) each."""
    pixels = histograms.sum(axis=1)
    total = pixels.sum(axis=1, keepdims=True)
    ends = total * np.arange(bins + 1) / bins
    places = np.minimum((np.cumsum(pixels, axis=1)[:, :, None] < ends[:, None, :]).sum(axis=1), LEVELS - 1)
    inside = ends - _before(pixels, places)
    own = np.take_along_axis(pixels, places, axis=1)
    part = np.divide(inside, own, out=np.zeros(ends.shape), where=own > 0)  # of the level that a border cuts
    found = [np.ones((len(pixels), bins)) / bins]
    for values in (pixels * PROBABILITIES, histograms[:, 1]):
        sums = _before(values, places) + part * np.take_along_axis(values, places, axis=1)
        found.append(np.diff(sums, axis=1) / np.where(total > 0, total / bins, np.nan))
    return [np.where(total > 0, one, np.nan) for one in found]


def _before(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The sum of the values (R, 256) before each place (R, P)."""
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    return np.take_along_axis(sums, places, axis=1)
