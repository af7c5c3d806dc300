"""Weights for a cross-entropy: for each class, by the masks of a data set, or for each pixel, by U-Net's border map.

median_frequency_weights  Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common
    Multi-Scale Convolutional Architecture", ICCV 2015, section 3; SegNet's "median frequency balancing".
unet_border_weights       Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, equation 2.

Where the U-Net paper leaves a choice, or this file departs from it:
- w_c balances "the different frequency of pixels from a certain class in the training data set"; the paper gives
  no formula. Give the training set's as `class_weights` (median_frequency_weights makes them). Without them the sum of
  the weights of both classes of a map is equal, and the mean of the map is 1.
- d1 and d2 are distances to the nearest pixel of a cell. The border term is added on the background alone, as in
  figure 3d: equation 2 speaks of all pixels, and inside a cell "the border of the nearest cell" could be its own.
- Cells whose columns are all further away than 8 sigma are left out: they would add less than w0 exp(-32) =
  w0 · 1e-14.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from kit.losses.nearest_cells import two_distances


def median_frequency_weights(masks: Iterable[np.ndarray], num_classes: int, ignore_index: int = 255) -> Tensor:
    """median(freq) / freq(c) for each class: float32 (K,), the class_weights of `cross_entropy`.

    freq(c) is the number of pixels of c, divided by the number of pixels of all masks in which c is present. Ignored
    pixels count in neither. The median is over the classes that occur. A class that never occurs gets 0, and a line
    is printed.

    masks: integers (H, W), of any sizes, read one at a time. Raises ValueError on a label outside 0 … K-1 that
    is not `ignore_index`, and names the mask by its number; also when no pixel counts.
    """
    pixels, pixels_around = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    for number, mask in enumerate(masks):
        labels = mask[mask != ignore_index]
        wrong = np.unique(labels[(labels < 0) | (labels >= num_classes)])
        if wrong.size:
            raise ValueError(
                f"mask {number} holds {', '.join(map(str, wrong))}; expected 0 … {num_classes - 1} or {ignore_index}"
            )
        counts = np.bincount(labels, minlength=num_classes)
        pixels += counts
        pixels_around[counts > 0] += labels.size
    occurs = pixels > 0
    if not occurs.any():
        raise ValueError("no mask holds a pixel that counts, so classes have no frequency; expected at least one")
    if not occurs.all():
        print(f"classes that occur in no mask get weight 0: {', '.join(map(str, np.flatnonzero(~occurs)))}", flush=True)
    frequencies = pixels[occurs] / pixels_around[occurs]
    weights = np.zeros(num_classes, np.float32)
    weights[occurs] = np.median(frequencies) / frequencies
    return torch.from_numpy(weights)


def unet_border_weights(
    instances: np.ndarray, w0: float = 10.0, sigma: float = 5.0, class_weights: Sequence[float] | None = None
) -> np.ndarray:
    """w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))² / (2 sigma²)): float32 (H, W), the weights of `weighted_cross_entropy`.

    d1 and d2 are the distances, in pixels, to the nearest and the second nearest cell. So the thin background between
    two cells gets up to w0 more; where fewer than two cells are near, nothing is added.

    instances: integers (H, W), 0 for the background, then one number for each cell; `scipy.ndimage.label(mask)[0]`
    makes them from a mask. sigma is in pixels. class_weights: w_c of the background and of the cells. Raises
    ValueError on anything else.
    """
    instances = np.asarray(instances)
    if instances.ndim != 2 or instances.dtype.kind not in "ui" or instances.min() < 0:
        raise ValueError(
            f"expected instances (H, W) of integers from 0 up, got {instances.dtype} {instances.shape} "
            f"from {instances.min()} up; number the cells, as scipy.ndimage.label does"
        )
    cells = instances > 0
    if class_weights is None:
        class_weights = _balance(cells)
    near, second = two_distances(instances, reach=math.ceil(8 * sigma))
    border = w0 * np.exp(-((near + second) ** 2) / (2 * sigma**2))
    return np.where(cells, class_weights[1], class_weights[0] + border).astype(np.float32)


def _balance(cells: np.ndarray) -> tuple[float, float]:
    """Weights of background and cells that give each half of the sum; 1 where there is only one of them."""
    share = cells.mean()
    return (0.5 / (1 - share), 0.5 / share) if 0 < share < 1 else (1.0, 1.0)
