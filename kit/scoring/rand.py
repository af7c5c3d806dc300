"""Rand and information scores of segmentations: does the prediction part the image into the same cells as the truth?

Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics", Frontiers in
Neuroanatomy 9 (2015), by which ISBI 2012's challenge ranks. p_ij is the share of pixels in segment i of the prediction
S and segment j of the truth T, s_i and t_j are the sums of p_ij:

    V_Rand = Σ p_ij² / (½ Σ s_i² + ½ Σ t_j²)                                equation 3 with α = ½
    V_Info = I(S; T) / (½ H(S) + ½ H(T)) = 1 - VI / (H(S) + H(T))           equation 5 with α = ½

A small gap in a membrane that merges two cells costs much, a membrane of another width nothing. Computed here is what
the challenge ranks by, "foreground-restricted, after border thinning", as Fiji's scripts define it:
- Segments are the components of the interior of cells, pixels that touch at a corner are apart (4-connected). Label
  images are taken as they are.
- Foreground-restricted: pixels on the membranes of the truth count nowhere; nor do ignored ones (255).
- Thinned: predicted segments grow over the predicted membranes until lines of one pixel part them (watershed). Each
  pixel of a line that lies inside a true cell is a segment of its own.
- The score of several images is the mean over images. The challenge takes the best of the thresholds THRESHOLDS, one
  for all images, chosen on the very images that are scored. kit.scoring.crossfit says how much that flatters.

scikit-image does the arithmetic. It counts pairs of different pixels, so that V_Rand differs from Fiji's, which also
pairs each pixel with itself, in the fifth decimal.
"""

import importlib
from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from kit.scoring.metrics import score_ratio
from kit.system.objects import numbered

THRESHOLDS = tuple(tenth / 10 for tenth in range(1, 10))  # of the challenge; at its 0 all is cell, at 1 nothing


def rand_score(truth: np.ndarray, prediction: np.ndarray) -> float:
    """V_Rand after thinning of one image, 0..1, 1 is best; NaN where the truth has no cell.

    truth, prediction: u8 (H, W), 1 inside a cell, 255 in truth is ignored; or int32 (H, W), a label a cell, 0 between
    cells. Raises ImportError without scikit-image.
    """
    metrics = _scikit_image("metrics")
    true, predicted = _segments(truth, prediction)
    if not true.any():
        return np.nan
    with np.errstate(invalid="ignore"):  # where no two pixels are of one segment
        score = 1.0 - float(metrics.adapted_rand_error(true, predicted)[0])
    return 1.0 if np.isnan(score) else score


def information_score(truth: np.ndarray, prediction: np.ndarray) -> float:
    """V_Info after thinning of one image, 0..1, 1 is best; NaN where the truth has no cell. As rand_score."""
    metrics = _scikit_image("metrics")
    true, predicted = _segments(truth, prediction)
    if not true.any():
        return np.nan
    entropy = _entropy(true[true > 0]) + _entropy(predicted[true > 0])
    if not entropy:  # one cell in both
        return 1.0
    lost = float(metrics.variation_of_information(true, predicted, ignore_labels=(0,)).sum())
    return max(0.0, 1.0 - lost / entropy)  # not -1e-16


@dataclass(frozen=True)
class RandScore:
    """V_Rand after thinning, averaged over images. Images whose truth has no cell do not count."""

    name: ClassVar[str] = "V_Rand (thinned), mean over images"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The score of the image, and 1."""
        return _counts(rand_score(truth, prediction))


@dataclass(frozen=True)
class InformationScore:
    """V_Info after thinning, averaged over images. Images whose truth has no cell do not count."""

    name: ClassVar[str] = "V_Info (thinned), mean over images"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The score of the image, and 1."""
        return _counts(information_score(truth, prediction))


def _segments(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The segments of the truth, 0 where nothing counts, and of the thinned prediction, without a 0: int32 (H, W)."""
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.shape != prediction.shape or truth.ndim != 2:
        raise ValueError(f"expected truth and prediction (H, W) of one size, got {truth.shape} and {prediction.shape}")
    predicted = _thinned(_labels(prediction))
    lines = predicted == 0
    predicted[lines] = np.arange(predicted.max() + 1, predicted.max() + 1 + np.count_nonzero(lines))
    return _labels(truth), predicted


def _labels(mask: np.ndarray) -> np.ndarray:
    """A label image numbered without gaps; of a mask of 0 and 1 its components, 255 is outside."""
    if mask.dtype.kind == "i":
        return numbered(mask).astype(np.int32)
    inside = np.ascontiguousarray(mask == 1).view(np.uint8)
    return cv2.connectedComponents(inside, connectivity=4, ltype=cv2.CV_32S)[1]


def _thinned(labels: np.ndarray) -> np.ndarray:
    """The segments grown over what is between them, but for lines of one pixel. Without any segment all is 0."""
    if labels.all() or not labels.any():
        return labels.copy()
    between = (labels == 0).view(np.uint8)
    return _scikit_image("segmentation").watershed(between, labels, connectivity=1, watershed_line=True)


def _entropy(labels: np.ndarray) -> float:
    """The entropy of the shares of labels, in bits, as scikit-image's variation of information."""
    counts = np.bincount(labels)
    shares = counts[counts > 0] / labels.size
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def _counts(score: float) -> np.ndarray:
    return np.zeros(2) if np.isnan(score) else np.array([score, 1.0])


def _scikit_image(part: str) -> object:
    """A module of scikit-image, which only these scores need. Raises ImportError that says how to install it."""
    try:
        return importlib.import_module(f"skimage.{part}")
    except ImportError as error:
        raise ImportError(
            "Rand and information scores need scikit-image, which is not installed: pip install scikit-image"
        ) from error
