"""Scores of the outlines of one image, class by class: what the report adds to IoU and Dice.

    outline_scores(truth, prediction, num_classes)      f64 (K, 4): of each class the four MEASURES

boundary_iou    Boundary IoU, see boundary_iou.py
boundary_f1     boundary F1, see boundary.py
surface         the normalised surface distance at 2 pixels, see distances.py
hd95            HD95 in pixels, see distances.py

A class in neither mask has no score: NaN. Where one of its two masks is empty HD95 is infinite, as it is undefined and
is to be counted apart; boundary F1 is of the classes in the truth alone. The background has boundary F1 alone.
"""

import numpy as np

from kit.scoring.boundary import boundary_f1
from kit.scoring.boundary_iou import strip_iou, strip_width
from kit.scoring.class_masks import class_masks
from kit.scoring.distances import TOLERANCE, surface_distances
from kit.scoring.outlines import where_labels_change

MEASURES = ("boundary_iou", "boundary_f1", "surface", "hd95")
IGNORED = 255


def outline_scores(truth: np.ndarray, prediction: np.ndarray, num_classes: int, background: bool = True) -> np.ndarray:
    """The MEASURES of each class: f64 (K, 4), NaN where there is none.

    truth, prediction: masks of one task, see class_masks. background: whether class 0 is one. Of objects all together
    are class 1. Raises ValueError as class_masks does.
    """
    if truth.ndim == 3:
        layers = zip(*(np.moveaxis(mask, 2, 0).view(np.uint8) for mask in (truth, prediction)), strict=True)
        return np.stack([outline_scores(*map(np.ascontiguousarray, layer), 2)[1] for layer in layers])
    masks = truth, prediction
    truth, prediction = ((mask > 0).view(np.uint8) if mask.dtype == np.int32 else mask for mask in masks)
    found = np.full((num_classes, len(MEASURES)), np.nan)
    found[:, 1] = boundary_f1(truth, prediction, num_classes)
    width = strip_width(truth.shape)
    if background and truth.size and truth[0, 0] in (0, IGNORED):  # no other class reaches out of this part
        box = where_labels_change(truth, prediction)
        truth, prediction = truth[box], prediction[box]
    for k, *masks in class_masks(truth, prediction, num_classes, first=int(background)):
        if masks[0].any() or masks[1].any():
            distances = surface_distances(*masks)
            far = distances.hd95()
            found[k, [0, 2, 3]] = (
                strip_iou(*masks, width),
                distances.within(TOLERANCE),
                np.inf if np.isnan(far) else far,
            )
    return found
