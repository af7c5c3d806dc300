"""The drawings of an image of objects: an outline of each in the colour and the line of what became of it.

Five kinds have five colours of Okabe and Ito's, five lines and a letter, so that they differ in any colour vision and
in grey. Errors have a dark rim, which shows on any ground.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from kit.report.windows import error_window, resize
from kit.scoring.matching import EXTRA, HIT, MERGED, MISSED, SPLIT, ObjectTable, match, paint

RIM = (16, 16, 16)
LETTERED = 13  # pixels of the drawing: smaller objects have a thinner rim and no letter
FONT, TEXT = cv2.FONT_HERSHEY_SIMPLEX, 0.42


class Line(NamedTuple):
    """How a kind is drawn. dashes: pixels on and off, in turns; () is a line without a gap. words: for the legend."""

    colour: tuple[int, int, int]
    dashes: tuple[int, ...]
    letter: str
    words: str


LINES = {
    HIT: Line((0, 180, 130), (), "", "hit: a pair with an IoU above 0.5"),
    MISSED: Line((64, 170, 255), (), "M", "missed: a true object that no prediction fits"),
    EXTRA: Line((255, 150, 20), (8, 5), "E", "extra: a prediction that fits no true object"),
    SPLIT: Line((240, 228, 66), (3, 4), "S", "split: one true object, predicted in parts"),
    MERGED: Line((235, 130, 200), (9, 4, 2, 4), "J", "merged: true objects, joined to one"),
}


def legend() -> list[dict]:
    """What the lines of the drawings mean, for the page: {"colour", "width", "dashes", "letter", "words"} of each."""
    return [
        {
            "colour": "#{:02x}{:02x}{:02x}".format(*line.colour), "width": 1.5 if kind == HIT else 3,
            "dashes": " ".join(map(str, line.dashes)), "letter": line.letter, "words": line.words,
        }
        for kind, line in LINES.items()
    ]  # fmt: skip


class Drawable(NamedTuple):
    """The objects of one label image. labels: int32 (H, W), 1 … N in the order of the table."""

    labels: np.ndarray
    table: ObjectTable


def draw_objects(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Three drawings u8 (h, w, 3) at `size` (width, height), by what they show.

    image: RGB. truth, prediction: int32 (H, W), a label an object. The last one is the place with most pixels of
    objects that are no hits; without any the one with most pixels in which truth and prediction differ.
    """
    found = match(truth, prediction)
    true = _drawable(truth, found.of_truth())
    predicted = _drawable(prediction, found.of_prediction())
    wrong = _wrong(true) | _wrong(predicted)
    if not wrong.any():
        wrong = (truth > 0) != (prediction > 0)
    window = error_window(wrong if wrong.any() else truth > 0, (size[1], size[0]))
    return {
        "its true objects": _drawn(image, [true], size),
        "its predicted objects": _drawn(image, [predicted], size),
        "its largest error, enlarged, with the objects of both": _drawn(image, [true, predicted], size, window),
    }


def _drawable(labels: np.ndarray, table: ObjectTable) -> Drawable:
    return Drawable(paint(labels, table.labels, np.arange(1, len(table.labels) + 1, dtype=np.int32)), table)


def _wrong(objects: Drawable) -> np.ndarray:
    """Where objects are that are no hits, bool (H, W)."""
    kinds = np.append(np.uint8(HIT), objects.table.kinds)[objects.labels]
    return kinds != HIT


def _drawn(
    image: np.ndarray, layers: list[Drawable], size: tuple[int, int], window: tuple[slice, slice] | None = None
) -> np.ndarray:
    """The image, or a window of it, at `size` with the outlines of all objects; errors are drawn last."""
    window = window or (slice(None), slice(None))
    part = image[window]
    drawing = np.ascontiguousarray(resize(part, size))
    scale = np.array(size) / part.shape[1::-1]
    shapes = [(kind, outline) for layer in layers for kind, outline in _outlines(layer, window)]
    shapes = [(kind, (outline + 0.5) * scale - 0.5) for kind, outline in shapes]
    for kind, outline in sorted(shapes, key=lambda shape: shape[0]):  # HIT is the lowest
        _draw_outline(drawing, outline, LINES[kind], 1 if kind == HIT else 2)
    for kind, outline in shapes:
        _write_letter(drawing, outline, LINES[kind])
    return drawing


def _outlines(layer: Drawable, window: tuple[slice, slice]) -> Iterator[tuple[int, np.ndarray]]:
    """The kind of each object and its outer pixels in their order, f64 (P, 2), x and y; parts of it one by one."""
    labels = np.ascontiguousarray(layer.labels[window])
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        inside = (labels[box] == number).view(np.uint8)
        found, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for outline in found:
            yield int(layer.table.kinds[number - 1]), outline.reshape(-1, 2) + np.array([box[1].start, box[0].start])


def _is_large(outline: np.ndarray) -> bool:
    return min(np.ptp(outline, axis=0)) >= LETTERED


def _draw_outline(drawing: np.ndarray, outline: np.ndarray, line: Line, thickness: int) -> None:
    closed = np.concatenate([outline, outline[:1]])
    if thickness > 1:
        _draw(drawing, closed, RIM, thickness + 1 + _is_large(outline))
    for part in _dashed(closed, line.dashes):
        _draw(drawing, part, line.colour, thickness)


def _draw(drawing: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], thickness: int) -> None:
    cv2.polylines(drawing, [np.round(points).astype(np.int32)], False, colour, thickness, cv2.LINE_AA)


def _dashed(points: np.ndarray, dashes: tuple[int, ...]) -> list[np.ndarray]:
    """The parts of a line that are drawn: of each step of one pixel along it, whether it is in a dash."""
    if not dashes:
        return [points]
    along = np.append(0, np.hypot(*np.diff(points, axis=0).T).cumsum())
    steps = np.arange(0, along[-1] + 0.5)
    walked = np.stack([np.interp(steps, along, axis) for axis in points.T], axis=1)
    pattern = np.repeat(np.arange(len(dashes)) % 2 == 0, dashes)
    is_on = np.resize(pattern, len(walked))
    ends = np.flatnonzero(np.diff(is_on)) + 1
    return [part for part, on in zip(np.split(walked, ends), is_on[np.append(0, ends)], strict=True) if on]


def _write_letter(drawing: np.ndarray, outline: np.ndarray, line: Line) -> None:
    """The letter of an error in the middle of an object that is large enough."""
    if not line.letter or not _is_large(outline):
        return
    (width, height), _ = cv2.getTextSize(line.letter, FONT, TEXT, 1)
    x, y = np.round(outline.mean(axis=0) + np.array([-width / 2, height / 2])).astype(int).tolist()
    for colour, thickness in ((RIM, 3), (line.colour, 1)):
        cv2.putText(drawing, line.letter, (x, y), FONT, TEXT, colour, thickness, cv2.LINE_AA)
