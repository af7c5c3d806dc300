"""Objects of an image: their precision, run lengths, panoptic quality and watershed, against their peers."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import faster_coco_eval.core.mask
import hotcoco.mask
import numpy as np
import pycocotools.mask
from scipy.optimize import linear_sum_assignment
from skimage.segmentation import watershed

from kit.bench.idioms import where_idiom
from kit.bench.measure import Contest, Row, contested
from kit.prediction.watershed import grow
from kit.scoring import Segments, instance_precision, panoptic_counts
from kit.submission import rle

THRESHOLDS = np.arange(10, 20) / 20 + 1e-9  # an IoU must be above .50, .55, …; the peers ask for at least
COCO = {"pycocotools": pycocotools.mask, "hotcoco": hotcoco.mask, "faster-coco-eval": faster_coco_eval.core.mask}


def rows(scratch: Path, results: Path, rounds: int = 15) -> Iterator[Row]:
    """All of them."""
    yield from contested(contests(), rounds)


def contests() -> Iterator[Contest]:
    """Each job against its peers, on one thread."""
    yield _precision()
    yield from _run_lengths()
    yield _panoptic()
    yield _watershed()


def nuclei(size: tuple[int, int] = (520, 696), count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction int32 (H, W): ellipses of 12 to 34 pixels that may touch; the same moved, some left out."""
    random, truth, label = np.random.default_rng(0), np.zeros(size, np.int32), 0
    while label < count:
        ellipse = np.zeros(size, np.uint8)
        centre = [int(random.integers(side)) for side in size[::-1]]
        axes = [int(one) for one in random.integers(6, 17, 2)]
        cv2.ellipse(ellipse, centre, axes, float(random.uniform(0, 180)), 0, 360, 1, -1)
        free = (ellipse > 0) & (truth == 0)
        if free.sum() >= 60:
            label += 1
            truth[free] = label
    moved = np.roll(truth, (1, 2), (0, 1))
    moved[np.isin(moved, np.arange(1, count, 20))] = 0
    return truth, np.unique(moved, return_inverse=True)[1].reshape(size).astype(np.int32)


def _mean_precision(ious: np.ndarray) -> float:
    """Of IoUs (T, P): above .5 an object is in one pair at most."""
    hits = (ious[..., None] >= THRESHOLDS).sum(axis=(0, 1))
    return float(np.mean(hits / (sum(ious.shape) - hits)))


def stardist_precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """StarDist's and Cellpose's way: a dense table of IoUs, and an assignment at each threshold."""
    shape = int(truth.max()) + 1, int(prediction.max()) + 1
    keys = truth.reshape(-1) * shape[1] + prediction.reshape(-1)
    table = np.bincount(keys, minlength=shape[0] * shape[1]).reshape(shape)
    ious = (table / (table.sum(axis=0, keepdims=True) + table.sum(axis=1, keepdims=True) - table))[1:, 1:]
    precisions = []
    for threshold in THRESHOLDS:
        cost = -(ious >= threshold).astype(float) - ious / (2 * min(ious.shape))
        hits = np.count_nonzero(ious[linear_sum_assignment(cost)] >= threshold)
        precisions.append(hits / (sum(ious.shape) - hits))
    return float(np.mean(precisions))


def histogram_precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """The way of the public notebooks. It needs labels without gaps: else a bin holds several labels."""
    bins = len(np.unique(truth)), len(np.unique(prediction))
    both = np.histogram2d(truth.reshape(-1), prediction.reshape(-1), bins=bins)[0]
    areas = [np.histogram(image, bins=count)[0] for image, count in zip((truth, prediction), bins, strict=True)]
    union = areas[0][:, None] + areas[1][None] - both
    return _mean_precision((both / union)[1:, 1:])


def coco_precision(truth: np.ndarray, prediction: np.ndarray, mask: ModuleType) -> float:
    """By COCO's run lengths, a mask an object."""
    coded = [
        [mask.encode(np.asfortranarray((image == label).view(np.uint8))) for label in range(1, image.max() + 1)]
        for image in (truth, prediction)
    ]
    return _mean_precision(np.asarray(mask.iou(*coded, [0] * len(coded[1]))))


def _precision() -> Contest:
    images = nuclei()
    others = {
        "StarDist's way": lambda: stardist_precision(*images),
        "np.histogram2d": lambda: histogram_precision(*images),
    }
    others |= {name: lambda mask=mask: coco_precision(*images, mask) for name, mask in COCO.items()}
    return Contest(
        "precision of 100 nuclei, 520×696",
        lambda: instance_precision(*images),
        others,
        {"StarDist's way": 2, "np.histogram2d": 40, "pycocotools": 80},
        lambda own, other: abs(own - other) < 1e-12,
    )


def _run_lengths() -> Iterator[Contest]:
    truth, _ = nuclei()
    labels = range(1, int(truth.max()) + 1)
    for order, along in (("C", "along rows"), ("F", "down columns")):
        turned = truth if order == "C" else truth.T
        yield Contest(
            f"run lengths of 100 nuclei, {along}, 520×696",
            lambda order=order: sorted(rle.encode_objects(truth, order)),
            {
                "kit's RLE, one by one": lambda order=order: sorted(rle.encode(truth == k, order) for k in labels),
                "np.where(diff)": lambda turned=turned: sorted(where_idiom(turned == k) for k in labels),
            },
            {"kit's RLE, one by one": 10},
            list.__eq__,
        )


def _panoptic() -> Contest:
    truth, prediction = (image + 1 for image in nuclei((480, 640)))  # the background is a segment
    segments = [Segments(image, {label: 1 + label % 20 for label in range(1, 200)}) for image in (truth, prediction)]

    def two_uniques() -> object:
        keys = truth.astype(np.uint64) * 256**3 + prediction.astype(np.uint64)
        return np.unique(prediction, return_counts=True), np.unique(keys, return_counts=True)

    return Contest(
        "counts of panoptic quality, 480×640",
        lambda: panoptic_counts(*segments, 21),
        {"two np.unique, as panopticapi": two_uniques},
        {"two np.unique, as panopticapi": 4},
    )


def _watershed() -> Contest:
    """Equal levels leave the order to each: so a few pixels between objects may differ."""
    truth, _ = nuclei()
    mask = (truth > 0).view(np.uint8)
    inside = np.stack(
        [cv2.distanceTransform((truth == k).view(np.uint8), cv2.DIST_L2, 3) for k in np.unique(truth)[1:]]
    )
    levels = (20 * inside.max(axis=0)).clip(0, 255).astype(np.uint8)
    seeds = np.where(levels >= 60, truth, 0)
    return Contest(
        "watershed of 100 nuclei, 520×696",
        lambda: grow(mask, seeds, levels),
        {"scikit-image": lambda: watershed(-levels.astype(np.int16), seeds, connectivity=2, mask=mask > 0)},
        {},
        lambda own, other: np.mean(own == other) > 0.995,
    )
