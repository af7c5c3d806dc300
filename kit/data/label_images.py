"""Label images on their way to training: in u16, never shrunk, and what a loss may see of them.

    Plan(…, target=border_target)            kit.data.borders: objects and the borders between them
    Plan(…, target=object_labels)            the label image itself
    Plan(…, target=whole_objects)            for networks that find objects: each connected part a label of its own

A plan's `target` is called after augmentation, on each crop.
"""

import cv2
import numpy as np
from scipy.ndimage import find_objects

from kit.system.objects import numbered

SLIVER = 9  # pixels of a part of an object at the edge of a crop
MOST = np.iinfo(np.uint16).max  # objects of an image: OpenCV moves u16, not int32


def small_labels(labels: np.ndarray) -> np.ndarray:
    """A label image int32 (H, W) as u16: its own labels where they are below 65,536, else 1, 2, … in their order.

    Raises ValueError where an image has more objects than u16 can number.
    """
    if not labels.size or labels.max() <= MOST:
        return labels.astype(np.uint16)
    numbers = numbered(labels)
    if numbers.max() > MOST:
        raise ValueError(f"the mask has {numbers.max():,} objects, training takes {MOST:,} at most: cut the image up")
    return numbers.astype(np.uint16)


def resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label image u16 (H, W) at `size` (height, width), where neither side is smaller: the nearest label.

    Raises ValueError where it would shrink. Labels that were shrunk have lost the gaps between objects and their thin
    parts: half size and back costs a quarter of instance_precision. Train on crops at the images' own scale.
    """
    if tuple(size) == labels.shape:
        return labels
    if size[0] < labels.shape[0] or size[1] < labels.shape[1]:
        raise ValueError(
            f"the label image of {labels.shape[0]}×{labels.shape[1]} would shrink to {size[0]}×{size[1]}, and objects "
            "that touch would run together: train on crops at the images' own scale, Resizing(None) and an "
            "augmentation with a crop"
        )
    return cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def object_labels(labels: np.ndarray) -> np.ndarray:
    """A target: the label image itself, i64 (h, w), 0 for the background. Its labels may have gaps."""
    return labels.astype(np.int64)


def whole_objects(labels: np.ndarray) -> np.ndarray:
    """A target for networks that learn boxes: i64 (h, w), each connected part of a label as an object of its own.

    A crop may cut an object in two, and an augmentation that mirrors the border may show a part of it twice: a box
    around both would hold what lies between them. Slivers are background: parts of fewer than SLIVER pixels at the edge
    of the crop, or beside another part of the object.
    """
    found, number = np.zeros(labels.shape, np.int64), 0
    for label, window in enumerate(find_objects(labels), start=1):
        if window is None:
            continue
        part, into = (labels[window] == label).view(np.uint8), found[window]
        count, parts, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8, ltype=cv2.CV_32S)
        at_edge = any(side.start == 0 or side.stop == length for side, length in zip(window, labels.shape, strict=True))
        least = SLIVER if at_edge or count > 2 else 0
        for own in np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= least) + 1:
            number += 1
            into[parts == own] = number
    return found


def foreground_target(labels: np.ndarray) -> np.ndarray:
    """A target: where an object is, u8 (h, w) of 0 and 1. It is what training sees without a plan's `target`."""
    return (labels > 0).view(np.uint8)
