"""Boundary IoU: the IoU of the strips along the borders of two masks. Large objects cannot hide bad outlines in it.

Cheng, Girshick, Dollár, Berg and Kirillov, "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation",
CVPR 2021. With the strips G_d of the truth G and P_d of the prediction P,

    Boundary IoU = |(G_d ∩ G) ∩ (P_d ∩ P)| / |(G_d ∩ G) ∪ (P_d ∩ P)|

G_d ∩ G are the pixels of the mask that d erosions with a 3×3 square take away: those within d pixels, rows and columns
counted alike, of a pixel outside. Everything beyond the edge of the image is outside. d is 2 % of the image's diagonal,
rounded, and at least 1 pixel, as in the paper and the authors' code. Over images the paper's average precisions count
objects; here the mean over images and classes is taken, as for Dice.

The paper leaves open (here): a pixel with ignored truth is in no mask, so the strip also runs along ignored regions. A
class in neither mask has no score.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kit.scoring.class_masks import class_masks, mean_counts
from kit.scoring.metrics import score_ratio
from kit.scoring.outlines import around, eroded

SHARE = 0.02  # of the diagonal


def boundary_iou(
    truth: np.ndarray, prediction: np.ndarray, num_classes: int, share: float = SHARE, ignore_index: int = 255
) -> np.ndarray:
    """Boundary IoU of each class in one image: f64 (K,), NaN for classes in neither mask.

    truth, prediction: masks of one task, see class_masks. share: the width of the strip over the diagonal.
    Raises ValueError on other masks, and on a share that is not above 0.
    """
    scores = np.full(num_classes, np.nan)
    width = strip_width(np.shape(truth)[:2], share)
    for k, *masks in class_masks(truth, prediction, num_classes, ignore_index=ignore_index):
        scores[k] = strip_iou(*masks, width)
    return scores


def strip_width(shape: tuple[int, int], share: float = SHARE) -> int:
    """The width d in pixels of the strip in an image of `shape` (height, width)."""
    if not share > 0:
        raise ValueError(f"share is the width of the strip over the diagonal, above 0; got {share}")
    return max(1, round(share * float(np.hypot(*shape))))


def strip(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask, bool (H, W), within `width` of a pixel outside it: bool (H, W)."""
    return mask & ~eroded(mask, width, outside=False)


def strip_iou(true: np.ndarray, predicted: np.ndarray, width: int) -> float:
    """Boundary IoU of two masks, bool (H, W), for strips of `width` pixels; NaN where both are empty."""
    box = around(true | predicted, 0)
    strips = [strip(mask[box], width) for mask in (true, predicted)]
    union = np.count_nonzero(strips[0] | strips[1])
    return np.count_nonzero(strips[0] & strips[1]) / union if union else np.nan


@dataclass(frozen=True)
class MeanBoundaryIoU:
    """Boundary IoU of each pair of an image and a foreground class, averaged over all pairs.

    A class that is in neither mask of an image scores 1 there. Of classes that overlap, num_classes is K and all count.
    """

    num_classes: int = 2
    share: float = SHARE
    name: ClassVar[str] = "mean boundary IoU over images and classes"
    ratio: ClassVar[bool] = True
    score = staticmethod(score_ratio)

    def counts(self, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        """The sum of Boundary IoU over the foreground classes, and how many they are."""
        width = strip_width(np.shape(truth)[:2], self.share)
        pairs = class_masks(truth, prediction, self.num_classes, first=1)
        return mean_counts(np.array([strip_iou(*masks, width) for _, *masks in pairs]))
