"""What kind of error each wrong pixel is: the report says from them where the score is lost.

boundary   within NEAR pixels of a border between two classes, or two objects, of the truth
missed     foreground taken for background
extra      background taken for foreground
swapped    a foreground class taken for another one
empty      any wrong pixel of an image that is empty in the truth or in the prediction, but not in both
"""

import cv2
import numpy as np

KINDS = ("boundary", "missed", "extra", "swapped", "empty")
NEAR = 3  # pixels, Euclidean, from the nearest pixel beside the border
IGNORED = 255
DISC = (np.hypot(*np.mgrid[1 - NEAR : NEAR, 1 - NEAR : NEAR]) <= NEAR - 1).astype(np.uint8)


def error_kinds(truth: np.ndarray, prediction: np.ndarray, background: bool = True) -> np.ndarray:
    """Count the wrong pixels of each of KINDS in one image: i64 (5,).

    truth, prediction: masks of the task's kind, u8 (H, W) of classes with truth 255 ignored, bool (H, W, K), or int32
    (H, W) of labels. Of classes that overlap each class is counted by itself, "empty" too. Of objects only foreground
    and background are compared, and the borders between touching objects count as borders.
    background: whether class 0 is one. Without one a wrong pixel is of the kind "boundary" or "swapped".
    A connected part of the foreground that the other mask does not touch is missed, or extra, as a whole.
    """
    if truth.ndim == 3:
        layers = zip(np.moveaxis(truth, 2, 0), np.moveaxis(prediction, 2, 0), strict=True)
        return sum((error_kinds(*(layer.astype(np.uint8) for layer in pair)) for pair in layers), np.zeros(5, np.int64))
    has_objects = truth.dtype == np.int32
    wrong = (truth > 0) != (prediction > 0) if has_objects else (truth != prediction) & (truth != IGNORED)
    if not wrong.any():
        return np.zeros(5, np.int64)
    box = _around(wrong)  # all else is right
    counted, *parts = _foregrounds(truth[box], prediction[box], background)
    if not all(part.any() for part in parts):  # the rest of the image decides
        whole = _foregrounds(truth, prediction, background)[1:]
        if whole[0].any() != whole[1].any():
            return np.array([0, 0, 0, 0, np.count_nonzero(wrong)])
    truth, wrong, (of_truth, of_prediction) = truth[box], wrong[box], parts
    hits = of_truth & of_prediction
    missed, extra = of_truth & ~hits, of_prediction & ~hits
    near = wrong & _near_borders(truth, counted) & ~(_untouched(missed, hits) | _untouched(extra, hits))
    far = wrong & ~near
    found = [near, far & missed, far & extra, far & hits]
    return np.array([*map(np.count_nonzero, found), 0])


def _foregrounds(truth: np.ndarray, prediction: np.ndarray, background: bool) -> tuple[np.ndarray, ...]:
    """Which pixels count, and the foreground of both masks in these: bool (H, W) each."""
    counted = np.ones(truth.shape, bool) if truth.dtype == np.int32 else truth != IGNORED
    return counted, *(counted & ((mask > 0) | (not background)) for mask in (truth, prediction))


def _around(wrong: np.ndarray) -> tuple[slice, slice]:
    """The part of an image that holds all wrong pixels, and what decides their kind: NEAR pixels more on each side."""
    x, y, width, height = cv2.boundingRect(wrong.view(np.uint8))
    return slice(max(0, y - NEAR), y + height + NEAR), slice(max(0, x - NEAR), x + width + NEAR)


def _untouched(wrong: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The connected parts (8 neighbours) of a mask that are wrong as a whole, bool (H, W).

    wrong: its wrong pixels; hits: its other ones. Such a part is one of the wrong pixels that touches no hit.
    """
    if not wrong.any():
        return wrong
    count, labels = cv2.connectedComponents(wrong.view(np.uint8), connectivity=8)
    beside = cv2.dilate(hits.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    is_touched = np.zeros(count, bool)
    is_touched[labels[beside & wrong]] = True
    return wrong & ~is_touched[labels]


def touches_edge(truth: np.ndarray) -> bool:
    """Whether foreground of a mask of any kind lies on the edge of the image."""
    inside = truth.any(axis=2) if truth.ndim == 3 else (truth > 0) & ((truth != IGNORED) | (truth.dtype == np.int32))
    return bool(inside[[0, -1]].any() or inside[:, [0, -1]].any())


def _near_borders(truth: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Where a pixel is within NEAR pixels of one that has a neighbour of another class or object, bool (H, W)."""
    beside = np.zeros(truth.shape, bool)
    for axis in (0, 1):
        one, other = (np.swapaxes(array, 0, axis) for array in (truth, counted))
        differs = (one[1:] != one[:-1]) & other[1:] & other[:-1]
        edges = np.swapaxes(beside, 0, axis)
        edges[1:] |= differs
        edges[:-1] |= differs
    return cv2.dilate(beside.view(np.uint8), DISC) > 0
