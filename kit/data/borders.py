"""border_target: where objects are, and the borders between those that touch or nearly do.

A network that learns both channels tells apart objects that touch, and a watershed from what is object and not border
finds them again (kit.prediction.watershed). The idea, and the widths by area, are those of the winners of the Data
Science Bowl 2018 (Buslaev, Durnov, Seferbekov); the rule for single pixels is kit's own.
"""

import cv2
import numpy as np

from kit.system.kernels import kernel

AREAS = (300, 2000)  # pixels of an object from which on its border is 2 and 3 wide
WIDEST = 3


def border_target(labels: np.ndarray) -> np.ndarray:
    """A target of a label image int32 (h, w): u8 (h, w, 2) of 0 and 1, first object, then border.

    The object has its border pixels too, so that the outline of an object does not depend on its neighbours.
    A pixel of an object is of the border where another object lies within w pixels of it, diagonals counted as one; a
    pixel of the background where two objects do, each within its own w. w is 1, for objects of 300 pixels or more 2, of
    2,000 or more 3. Areas are those inside the crop.
    """
    labels = np.ascontiguousarray(labels, np.int32)
    if labels.ndim != 2 or (labels.size and labels.min() < 0):
        raise ValueError(f"a label image is (h, w) of labels from 0 on, got {labels.shape}, least {labels.min()}")
    areas = np.bincount(labels.reshape(-1)) if labels.size else np.zeros(1, np.int64)
    widths = (1 + np.searchsorted(AREAS, areas, side="right")).astype(np.int32)
    target = np.zeros((*labels.shape, 2), np.uint8)
    target[..., 0] = labels > 0
    if labels.any():
        _fill_borders(labels, widths, _has_two(labels), target)
    return target


def _has_two(labels: np.ndarray) -> np.ndarray:
    """Where two objects or more are within WIDEST pixels, bool (h, w): the largest and the least label differ."""
    window = np.ones((2 * WIDEST + 1, 2 * WIDEST + 1), np.uint8)
    numbers = labels.astype(np.float32 if labels.max() > 65534 else np.uint16)  # types that OpenCV filters
    largest = cv2.dilate(numbers, window)
    least = cv2.erode(np.where(numbers > 0, numbers, numbers.max() + 1), window)
    return (largest > 0) & (least < largest)


@kernel
def _fill_borders(labels, widths, has_two, target):
    """labels int32 (h, w), widths int32 of each, has_two bool (h, w) -> the second layer of target u8 (h, w, 2)."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            if not has_two[y, x]:
                continue
            own = labels[y, x]
            reach, first = widths[own] if own else WIDEST, own
            for v in range(max(0, y - reach), min(height, y + reach + 1)):
                for u in range(max(0, x - reach), min(width, x + reach + 1)):
                    label = labels[v, u]
                    if label == 0 or label == first:
                        continue
                    if own == 0 and max(abs(v - y), abs(u - x)) > widths[label]:
                        continue
                    if first:
                        target[y, x, 1] = 1
                        break
                    first = label
                if target[y, x, 1]:
                    break
