"""Regions where confident held-out predictions contradict the labels: the label is wrong, or the network.

A pixel contradicts its label where the network gives another class at least CONFIDENT and the labelled one at most
1 - CONFIDENT. Thin strips along outlines are left out, because outlines are drawn by hand: regions are opened with a
square of OPENED pixels. Held-out predictions are those of networks that have not seen the image, so a network that
learned a wrong label by heart cannot agree with it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kit.system.objects import components

CONFIDENT = 0.9  # probability, 0..1
OPENED = 5  # pixels of the prediction's own size
IGNORED = 255


@dataclass(frozen=True)
class Contradiction:
    """A region. box: top, left, height, width as shares of the image's sides, 0..1.

    labelled, predicted: class numbers. score: the mean confidence times the square root of the region's share of the
    image, 0..1; a region of a quarter of the image that is surely wrong has 0.5.
    """

    box: tuple[float, float, float, float]
    labelled: int
    predicted: int
    score: float


def contradictions(truth: np.ndarray, probs: np.ndarray) -> list[Contradiction]:
    """The regions, the highest score first.

    truth: u8 (h, w) of class numbers, 255 is ignored. probs: f32 (K, h, w) of each class, 0..1.
    Raises ValueError where the two differ in size.
    """
    if truth.shape != probs.shape[1:]:
        raise ValueError(f"truth {truth.shape} and probabilities {probs.shape} differ in height or width")
    counts = truth != IGNORED
    labelled = np.where(counts, truth, 0).astype(np.intp)
    best, own = probs.max(axis=0), np.take_along_axis(probs, labelled[None], axis=0)[0]
    predicted = probs.argmax(axis=0)
    sure = counts & (predicted != labelled) & (best >= CONFIDENT) & (own <= 1 - CONFIDENT)
    found = []
    for was, now in sorted({*zip(labelled[sure].tolist(), predicted[sure].tolist(), strict=True)}):
        here = (sure & (labelled == was) & (predicted == now)).view(np.uint8)
        found += _regions(_opened(here), best - own, was, now)
    return sorted(found, key=lambda one: -one.score)


def _opened(mask: np.ndarray) -> np.ndarray:
    """The mask u8 without parts into which the square does not fit; what is outside the image is no part of it."""
    square = np.ones((OPENED, OPENED), np.uint8)
    core = cv2.erode(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.dilate(core, square)


def _regions(mask: np.ndarray, margin: np.ndarray, labelled: int, predicted: int) -> list[Contradiction]:
    """Each connected region of a mask."""
    labels, (height, width) = components(mask), mask.shape
    found = []
    for number in range(1, int(labels.max(initial=0)) + 1):
        rows, columns = np.nonzero(labels == number)
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        box = tuple(
            float(value) for value in (top / height, left / width, (bottom - top) / height, (right - left) / width)
        )
        score = float(margin[rows, columns].mean() * np.sqrt(len(rows) / mask.size))
        found.append(Contradiction(box, labelled, predicted, score))
    return found
