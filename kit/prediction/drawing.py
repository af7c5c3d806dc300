"""Objects that a network found by boxes, drawn into one label image.

    drawn = draw(detections, (1024, 1024))
    drawn.labels                        int32 (H, W): 0, and 1, 2, … for the objects by falling score
    detections.scores[drawn.kept]       of object 1, 2, …

The mask of a box is a small grid of probabilities, 28×28 in Mask R-CNN (He et al. 2017). It is enlarged inside its box,
straight into the label image, so that no full-size mask of any object is ever made: the memory is that of the label
image, however many objects there are. A pixel belongs to the best-scoring object that wants it.

Two boxes of one object are found twice, first by their boxes (non-maximum suppression), then by their pixels: an object
that others have left too little of is no object. There is no limit to the number of objects.

Enlarging is bilinear between the centres of the grid's cells, and the grid is 0 around, as in Detectron2. torchvision's
paste_masks_in_image does the same for boxes of whole pixels, whose last pixel it counts in.
"""

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from scipy.ndimage import find_objects

from kit.system.kernels import kernel

if TYPE_CHECKING:
    from kit.models.mask_rcnn import Detections


SPECK = 1 / 8  # of an object's pixels: a smaller part that lies apart is none of it


class Drawn(NamedTuple):
    """labels: int32 (H, W), 0 for none, and 1 … n. kept: int64 (n,), which detection each of the n objects is."""

    labels: np.ndarray
    kept: np.ndarray


def draw(
    detections: "Detections",
    size: tuple[int, int],
    *,
    least_score: float = 0.0,
    box_iou: float = 0.7,
    taken: float = 0.5,
    cut: float = 0.5,
) -> Drawn:
    """Draw the objects of one image into a label image of `size` (H, W), the best-scoring first.

    detections: with boxes (D, 4), half-open x0 y0 x1 y1 in pixels of this label image, which may lie partly outside;
    scores (D,), classes (D,), masks (D, M, M) of probabilities 0..1; arrays, or tensors on any device.
    least_score: objects below it are left out. box_iou: of two boxes of a class with a higher IoU the better-scoring
    one stays. taken: an object is left out where better ones have more than this share of its pixels, and where
    nothing is left of it. cut: the probability from which on a pixel is of the object.
    Raises ValueError for other shapes, and for numbers that are not finite.
    """
    boxes, scores, classes, masks = _checked(detections)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= least_score]
    order = order[best_boxes(boxes[order], classes[order], box_iou)]
    labels, kept = np.zeros(size, np.int32), np.zeros(len(order), np.bool_)
    sorted_masks, sorted_boxes = np.ascontiguousarray(masks[order]), np.ascontiguousarray(boxes[order])
    _draw_all(sorted_masks, sorted_boxes, np.float32(cut), taken, labels, kept)
    return Drawn(labels, order[kept])


def without_specks(labels: np.ndarray, share: float = SPECK) -> np.ndarray:
    """A label image whose objects have lost their small parts: connected ones of less than `share` of their pixels.

    Better objects and a coarse mask leave such parts. Larger ones stay: another object may lie across. Pixels that
    touch at a corner are connected.
    """
    kept = labels.copy()
    for label, window in enumerate(find_objects(labels), start=1):
        if window is None:
            continue
        own = (labels[window] == label).view(np.uint8)
        count, parts, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8, ltype=cv2.CV_32S)
        if count > 2:
            areas = stats[:, cv2.CC_STAT_AREA]
            is_speck = areas < share * areas[1:].sum()
            is_speck[0] = False
            kept[window][is_speck[parts]] = 0
    return kept


def best_boxes(boxes: np.ndarray, classes: np.ndarray, iou: float) -> np.ndarray:
    """Which boxes stay, bool (D,): no better one of its class has a higher IoU than `iou` with it.

    boxes: f64 (D, 4), half-open, the best first. classes: i64 (D,). Boxes without an area stay out.
    """
    kept = np.zeros(len(boxes), np.bool_)
    _suppress(np.ascontiguousarray(boxes, np.float64), np.ascontiguousarray(classes, np.int64), float(iou), kept)
    return kept


def _checked(detections: "Detections") -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The four arrays on the host: boxes f64, scores f64, classes i64, masks f32."""
    parts = (detections.boxes, detections.scores, detections.classes, detections.masks)
    arrays = [_on_host(part) for part in parts]
    dtypes = np.float64, np.float64, np.int64, np.float32
    boxes, scores, classes, masks = (one.astype(dtype) for one, dtype in zip(arrays, dtypes, strict=True))
    count = len(scores)
    if boxes.shape != (count, 4) or classes.shape != (count,) or masks.ndim != 3 or len(masks) != count:
        raise ValueError(
            f"detections of shapes {boxes.shape}, {scores.shape}, {classes.shape} and {masks.shape}: expected boxes "
            "(D, 4), scores (D,), classes (D,) and masks (D, M, M)"
        )
    for name, one in (("boxes", boxes), ("scores", scores), ("masks", masks)):
        if not np.isfinite(one).all():
            raise ValueError(f"the {name} of detections are not all finite: the network's weights are damaged")
    return boxes, scores, classes, masks


def _on_host(part: object) -> np.ndarray:
    """An array, or a tensor on any device; NumPy lacks bfloat16."""
    if not hasattr(part, "detach"):
        return np.asarray(part)
    part = part.detach().cpu()
    return (part.float() if part.is_floating_point() else part).numpy()


@kernel
def _suppress(boxes, classes, most, kept):
    for i in range(len(boxes)):
        area = (boxes[i, 2] - boxes[i, 0]) * (boxes[i, 3] - boxes[i, 1])
        good = boxes[i, 2] > boxes[i, 0] and boxes[i, 3] > boxes[i, 1]
        j = 0
        while good and j < i:
            if kept[j] and classes[j] == classes[i]:
                width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0])
                height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1])
                if width > 0 and height > 0:
                    other = (boxes[j, 2] - boxes[j, 0]) * (boxes[j, 3] - boxes[j, 1])
                    good = width * height <= most * (area + other - width * height)
            j += 1
        kept[i] = good


@kernel
def _draw_all(masks, boxes, cut, taken, labels, kept):
    """Draw the objects in their order; the label of the next is one more than that of the last one kept."""
    label = 1
    weights, begins = np.empty(labels.shape[1], np.float32), np.empty(masks.shape[2] + 2, np.int64)
    line = np.zeros(masks.shape[2] + 2, np.float32)
    for k in range(len(boxes)):
        left, right = _pixels(boxes[k, 0], boxes[k, 2], labels.shape[1])
        top, bottom = _pixels(boxes[k, 1], boxes[k, 3], labels.shape[0])
        if left >= right or top >= bottom:
            continue
        _cells(boxes[k, 0], boxes[k, 2], masks.shape[2], left, right, begins, weights)
        own, area = _draw(masks[k], boxes[k], cut, label, (top, bottom), begins, weights, line, labels)
        kept[k] = own > 0 and area - own <= taken * area
        if kept[k]:
            label += 1
        elif own:
            erase(label, left, right, top, bottom, labels)


@kernel
def _pixels(start, stop, length):
    """The first pixel whose centre lies between start and stop, and the one after the last, inside the image."""
    first, last = max(start, 0.0), min(stop, np.float64(length))
    if last <= first:
        return 0, 0
    return np.int64(np.ceil(first - 0.5)), np.int64(np.ceil(last - 0.5))


@kernel
def _cells(start, stop, cells, first, last, begins, weights):
    """Where the pixels from first to last lie in a line of cells with a 0 before and one behind.

    begins[c]: the first pixel that lies between the centres of cells c and c + 1 of that line, c = 0 … cells; weights:
    that of the later cell, of each pixel.
    """
    cell = 0
    begins[0] = first
    for at in range(first, last):
        place = (at + 0.5 - start) * cells / (stop - start) + 0.5
        own = min(max(np.int64(np.floor(place)), 0), cells)
        weights[at] = np.float32(place - own)
        while cell < own:
            cell += 1
            begins[cell] = at
    while cell <= cells:
        cell += 1
        begins[cell] = last


@kernel
def _draw(mask, box, cut, label, rows, begins, weights, line, labels):
    """Draw one object where nothing is yet. Returns how many pixels it got, and how many it wanted.

    rows: of pixels, from and to. line: f32 for the cells at the height of a row of pixels, with a 0 on either side.
    """
    own = area = 0
    for y in range(rows[0], rows[1]):
        place = (y + 0.5 - box[1]) * mask.shape[0] / (box[3] - box[1]) - 0.5
        above = min(max(np.int64(np.floor(place)), -1), mask.shape[0] - 1)
        weight = np.float32(place - above)
        for column in range(mask.shape[1]):
            upper = mask[above, column] if above >= 0 else np.float32(0)
            lower = mask[above + 1, column] if above + 1 < mask.shape[0] else np.float32(0)
            line[column + 1] = upper + weight * (lower - upper)
        for cell in range(mask.shape[1] + 1):
            one, other = line[cell], line[cell + 1]
            if one < cut and other < cut:
                continue
            all_above = one >= cut and other >= cut
            for x in range(begins[cell], begins[cell + 1]):
                if all_above or one + weights[x] * (other - one) >= cut:
                    area += 1
                    if labels[y, x] == 0:
                        labels[y, x] = label
                        own += 1
    return own, area


@kernel
def erase(label, left, right, top, bottom, labels):
    """Set the pixels of a label to 0 inside a window of a label image."""
    for y in range(top, bottom):
        for x in range(left, right):
            if labels[y, x] == label:
                labels[y, x] = 0
