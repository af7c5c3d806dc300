"""Which images are drawn more often than others: so that a rare class is seen.

repeat_factors  Gupta, Dollár and Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", CVPR 2019,
    appendix B ("repeat factor sampling"): a class that fewer than a share t of the images show, f, is worth
    r(c) = max(1, sqrt(t / f)); an image is drawn in proportion to the largest r of its classes.

The paper has t = 0.001 for 1,203 classes; for a few classes 0.2 is nearer to what is meant. It repeats images by
rounding r at random; here an epoch keeps its length, and images of rare classes take the place of others.
"""

from collections.abc import Iterable

import numpy as np

THRESHOLD = 0.2  # the share of images with a class below which it is rare


def repeat_factors(masks: Iterable[np.ndarray], threshold: float = THRESHOLD, ignore_index: int = 255) -> np.ndarray:
    """The weight of each image, f64 (n,), 1 or more: for Plan(weights=…).

    masks: u8 (H, W) of class numbers, or bool (H, W, K), one an image; read one at a time. threshold: t, 0..1.
    Raises ValueError for a threshold out of this range, and without a mask.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is the share of images below which a class is rare, 0 to 1, got {threshold}")
    classes = [_classes(mask, ignore_index) for mask in masks]
    if not classes:
        raise ValueError("no masks were given; expected one an image that is trained on")
    names, counts = np.unique(np.concatenate(classes), return_counts=True)
    factors = np.maximum(1.0, np.sqrt(threshold * len(classes) / counts))
    by_class = dict(zip(names.tolist(), factors.tolist(), strict=True))
    return np.array([max((by_class[one] for one in own.tolist()), default=1.0) for own in classes])


def draw_by_weight(weights: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """n indices in random order, each as often as its share of the weights says, rounded up or down: i64 (n,)."""
    ends = np.cumsum(weights, dtype=np.float64)
    places = (random.random() + np.arange(len(weights))) * (ends[-1] / len(weights))
    return random.permutation(np.minimum(np.searchsorted(ends, places, side="right"), len(weights) - 1))


def _classes(mask: np.ndarray, ignore_index: int) -> np.ndarray:
    """The classes that a mask shows."""
    if mask.ndim == 3:
        return np.flatnonzero(mask.any(axis=(0, 1)))
    found = np.unique(mask)
    return found[found != ignore_index].astype(np.int64)
