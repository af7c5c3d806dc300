"""Objects that a network found, as levels: so they live in the one store of predictions, and a rule decides on them.

    levels = object_levels(labels, scores)                   u8 (3, H, W), at the image's own size
    labels = labels_of(levels, size, cut=127.5, min_area=20) int32 (H, W)
    levels = joined([of_one_network, of_another])            objects of several networks or views

Level 0 is the score of the pixel's object in 256 steps, 0 where there is none; levels 1 and 2 are the low and the high
byte of its number, from 1 by falling score. It is one label image and one number an object, all that a CSV needs.

A pixel went to the best-scoring object that wanted it (kit.prediction.drawing). So a threshold of scores may come
afterwards, and is exact: what is below it had taken no pixel from what is above. That is why thresholds and areas can
be tuned on the store without a network. Numbers cannot be averaged pixel by pixel, and label images are not resized: a
resized one loses objects' borders, which soft masks keep.
"""

from collections.abc import Sequence

import numpy as np

from kit.prediction.drawing import erase, without_specks
from kit.system.kernels import kernel
from kit.system.objects import kept_labels, label_pairs

LEVELS = 3
MOST = 65535  # objects of an image
TAKEN = 0.5  # the share of its pixels that an object may lose to better ones


def object_levels(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Levels u8 (3, H, W) of a label image int32 (H, W): 0, and 1 … n by falling score.

    scores: (n,) of 0..1. An object with a score below 1/256 is left out. Raises ValueError for more than MOST objects.
    """
    if len(scores) > MOST:
        raise ValueError(f"an image with {len(scores):,} objects; {MOST:,} can be kept: cut the image up")
    steps = np.concatenate([[0], np.clip(np.asarray(scores, float) * 256, 0, 255)]).astype(np.uint8)
    return _pack(labels, steps)


def _pack(labels: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """steps: u8 (n + 1,) the score of each label, 0 for the background and for objects that are left out."""
    numbers = np.where(steps > 0, np.arange(len(steps)), 0).astype(np.uint16)
    tables = np.stack([steps, (numbers & 255).astype(np.uint8), (numbers >> 8).astype(np.uint8)])
    return tables[:, labels]


def read_objects(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label image int32 (H, W) of levels, and the score of each label in 256 steps, int64 (n + 1,), 0 of none.

    Raises ValueError for other levels than object_levels gives.
    """
    if levels.dtype != np.uint8 or levels.ndim != 3 or len(levels) != LEVELS:
        raise ValueError(f"levels of {levels.dtype} {levels.shape}: those of objects are uint8 ({LEVELS}, H, W)")
    labels = levels[1].astype(np.int32) | (levels[2].astype(np.int32) << 8)
    scores = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    scores[labels] = levels[0]
    scores[0] = 0
    return labels, scores


def labels_of(
    levels: np.ndarray, size: tuple[int, int], cut: float, min_area: int = 0, largest: bool = False
) -> np.ndarray:
    """The label image int32 (H, W) of the objects that are kept: 0, and 1, 2, … by falling score.

    cut: the lowest step of a score. min_area: objects of fewer pixels are left out. largest: all but the largest are.
    Raises ValueError where the levels are not of `size`: see the file's head.
    """
    labels, scores = read_objects(levels)
    if labels.shape != tuple(size):
        raise ValueError(
            f"objects drawn at {labels.shape[0]}×{labels.shape[1]} pixels, asked for at {size[0]}×{size[1]}: a label "
            "image is not resized. Leave `size` out of the dialect, so that masks are written at the image's own size"
        )
    areas = np.bincount(labels.reshape(-1), minlength=len(scores))
    kept = (scores >= cut) & (areas >= max(1, min_area))
    kept[0] = False
    if largest and kept.any():
        kept &= np.arange(len(kept)) == np.argmax(np.where(kept, areas, 0))
    return kept_labels(labels, kept)


def joined(levels: Sequence[np.ndarray], weights: Sequence[int] | None = None) -> np.ndarray:
    """The objects of several networks, or views, as those of one: levels u8 (3, H, W).

    Objects of two networks with an IoU above .5 are one. It has the pixels of the best-scoring of them, and the sum of
    their scores divided by the number of networks: what one network alone found has a low score. Of one network two
    objects are never joined, because they share no pixel. Then pixels go to the best score again, an object that lost
    more than TAKEN of its pixels is left out, and small parts that lie apart are background.
    weights: of the networks, whole numbers; None: all alike. Raises ValueError where the levels differ in size.
    """
    weights = np.ones(len(levels), np.int64) if weights is None else np.asarray(weights, np.int64)
    used = [number for number, weight in enumerate(weights) if weight > 0]
    if len(used) == 1:
        return levels[used[0]]
    if len({levels[number].shape for number in used}) > 1:
        raise ValueError(f"objects drawn at several sizes: {sorted({levels[number].shape[1:] for number in used})}")
    found = [read_objects(levels[number]) for number in used]
    images, own = np.stack([labels for labels, _ in found]), weights[used]
    starts = np.cumsum([0, *(len(scores) for _, scores in found)])
    sums, leaders = _groups(images, np.concatenate([scores for _, scores in found]), own, starts)
    order = leaders[np.argsort(-sums[leaders], kind="stable")]
    network = np.searchsorted(starts, order, side="right") - 1
    labels, kept = np.zeros(images.shape[1:], np.int32), np.zeros(len(order), np.bool_)
    boxes = _boxes_of(images, starts)[order]
    _stamp(images, network, (order - starts[network]).astype(np.int64), boxes, TAKEN, labels, kept)
    steps = (2 * sums[order][kept] + own.sum()) // (2 * own.sum())  # rounded half up
    return _pack(without_specks(labels), np.concatenate([[0], steps]).astype(np.uint8))


def _groups(
    images: np.ndarray, scores: np.ndarray, weights: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which objects are one: of each that leads others the sum of their weighted scores, and who leads.

    An object is counted as starts[network] + label. scores: of all in this count. An object joins the leader that it
    overlaps most, of those that score higher than it.
    """
    near: dict[int, list[tuple[float, int]]] = {}
    for a in range(len(images)):
        for b in range(a + 1, len(images)):
            for one, other, iou in _overlaps(images[a], images[b]):
                near.setdefault(int(starts[a] + one), []).append((iou, int(starts[b] + other)))
                near.setdefault(int(starts[b] + other), []).append((iou, int(starts[a] + one)))
    weighted = scores * np.repeat(weights, np.diff(starts))
    sums, leaders, leads = np.zeros(len(scores), np.int64), [], np.zeros(len(scores), bool)
    for number in np.argsort(-scores, kind="stable"):
        if scores[number] == 0:
            break
        led = [pair for pair in near.get(int(number), ()) if leads[pair[1]]]
        leader = max(led, key=lambda pair: (pair[0], -pair[1]))[1] if led else int(number)
        if not led:
            leads[leader] = True
            leaders.append(leader)
        sums[leader] += weighted[number]
    return sums, np.array(leaders, np.int64)


def _overlaps(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int, float]]:
    """The pairs of labels with an IoU above .5, and their IoU."""
    one, other, pixels = label_pairs(first, second)
    areas = np.bincount(one, pixels), np.bincount(other, pixels)
    union = areas[0][one] + areas[1][other] - pixels
    hit = (one > 0) & (other > 0) & (2 * pixels > union)
    return list(zip(one[hit].tolist(), other[hit].tolist(), (pixels[hit] / union[hit]).tolist(), strict=True))


def _boxes_of(images: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The box of each object, rows and columns from and to, int64 (objects, 4)."""
    boxes = np.empty((starts[-1], 4), np.int64)
    boxes[:, ::2], boxes[:, 1::2] = np.iinfo(np.int64).max, 0
    for labels, start in zip(images, starts, strict=False):
        _add_boxes(labels, boxes[start:])
    return boxes


@kernel
def _add_boxes(labels, boxes):
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label:
                box = boxes[label]
                box[0], box[1] = min(box[0], y), max(box[1], y + 1)
                box[2], box[3] = min(box[2], x), max(box[3], x + 1)


@kernel
def _stamp(images, network, own, boxes, taken, labels, kept):
    """Draw objects of several label images in their order where nothing is yet; see kit.prediction.drawing."""
    label = 1
    for k in range(len(own)):
        top, bottom, left, right = boxes[k]
        area = drawn = 0
        for y in range(top, bottom):
            for x in range(left, right):
                if images[network[k], y, x] == own[k]:
                    area += 1
                    if labels[y, x] == 0:
                        labels[y, x] = label
                        drawn += 1
        kept[k] = drawn > 0 and area - drawn <= taken * area
        if kept[k]:
            label += 1
        elif drawn:
            erase(label, left, right, top, bottom, labels)
