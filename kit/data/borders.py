"""border_target: where objects are, and the borders between those that touch or nearly do.

A network that learns both channels tells apart objects that touch, and a watershed from what is object and not border
finds them again (kit.prediction.watershed). The idea, and the widths by area, are those of the winners of the Data
Science Bowl 2018 (Buslaev, Durnov, Seferbekov); the rule for single pixels is kit's own.
"""

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
    _fill_target(labels, widths, target)
    return target


@kernel
def _fill_target(labels, widths, target):
    """labels int32 (h, w), widths int32 of each label -> target u8 (h, w, 2)."""
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            own = labels[y, x]
            target[y, x, 0] = own > 0
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
