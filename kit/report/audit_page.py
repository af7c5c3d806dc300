"""The page of an audit: one file that needs no network, with small images of every pair. audit.html is its template."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg

from kit.folds.auditing import Audit, Shared, Split, describe
from kit.folds.copies import Copy
from kit.folds.looks import as_bytes, resized, rgb_of
from kit.folds.sequences import Sequence as Frames
from kit.report.templates import template
from kit.runs.doctor import LabelDoubt
from kit.runs.finished import FinishedRun

SIDE = 220  # pixels of the longer side of a drawn image
PAIRS, KEPT, FRAMES, ODD, DOUBTS = 60, 20, 6, 40, 40  # at most, of what is drawn
BLUE, ORANGE = (64, 170, 255), (255, 150, 20)  # the truth, the prediction


@dataclass(frozen=True)
class Drawn:
    """Some images with a line of text, and one below each."""

    text: str
    images: tuple[tuple[str, str], ...] = ()  # data URI, caption


def audit_page(
    found: Audit | None,
    read: Callable[[str], np.ndarray] | None,
    run: FinishedRun | None = None,
    doubts: Sequence[LabelDoubt] = (),
    allowed: str = "",
) -> str:
    """The page as HTML.

    found: None where only labels were looked at. read: gives an image (H, W, C) by id; None: none are drawn. run,
    doubts: the run whose labels are in doubt. allowed: the reason why leaks are allowed.
    """
    draw = _Drawer(read)
    return template("audit.html").render(
        found=found,
        allowed=allowed,
        name=found.name if found else run.name,
        fails=[_failed(draw, one) for one in found.fails[:PAIRS]] if found else [],
        kept=[_failed(draw, one) for one in found.kept[:KEPT]] if found else [],
        sequences=[_frames(draw, one, found) for one in found.sequences[:KEPT]] if found else [],
        metadata=[Drawn(f"{one.first} and {one.second}: {one.what}", draw.all(one.images)) for one in found.metadata]
        if found
        else [],
        twins=[
            Drawn(f"{place}. {one.first} and {one.second}, distance {one.distance:.3f}", draw.all(one.images))
            for place, one in enumerate(found.twins, start=1)
        ]
        if found
        else [],
        odd=[Drawn(f"{one.kind}: {one.what}", draw.all((one.id,))) for one in found.quality[:ODD]] if found else [],
        doubts=[_doubt(run, one, read) for one in [one for one in doubts if one.kind != "image"][:DOUBTS]],
        count=sum(one.kind != "image" for one in doubts),
        run=run,
    )


class _Drawer:
    """Draws images by id, each once."""

    def __init__(self, read: Callable[[str], np.ndarray] | None):
        self.read, self.kept = read, {}

    def all(self, ids: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """Data URI and caption of each."""
        return tuple((self._one(id), id) for id in ids) if self.read else ()

    def _one(self, id: str) -> str:
        if id not in self.kept:
            self.kept[id] = data_uri(rgb_of(as_bytes(within(self.read(id)))))
        return self.kept[id]


def within(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The image (H, W, C) shrunk or enlarged so that its longer side is `side`."""
    scale = side / max(image.shape[:2])
    return resized(image, (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))


def data_uri(image: np.ndarray) -> str:
    """An image u8 (H, W, 3) as a JPEG inside the page."""
    packed = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=70, colorspace="RGB")
    return "data:image/jpeg;base64," + base64.b64encode(packed).decode()


def _failed(draw: _Drawer, one: Copy | Split | Shared) -> Drawn:
    if isinstance(one, Copy):
        return Drawn(describe(one), draw.all((one.first, one.second)))
    return Drawn(describe(one), draw.all((one.id,)) if isinstance(one, Shared) else ())


def _frames(draw: _Drawer, one: Frames, found: Audit) -> Drawn:
    """A series: its neighbours in two places first, else its beginning."""
    ids = one.steps[0] if one.is_split else one.ids[:FRAMES]
    return Drawn(frames_line(one, bool(found.folds)), draw.all(ids))


def frames_line(one: Frames, has_folds: bool) -> str:
    """A series in words."""
    what = f"{one.name}: {len(one.ids)} images follow each other"
    place = "fold" if has_folds else "group"
    if not one.is_split:
        return f"{what}, all in one {place}"
    return f"{what}; {len(one.steps)} neighbours stand in two {place}s, as {one.steps[0][0]} and {one.steps[0][1]}"


def _doubt(run: FinishedRun, one: LabelDoubt, read: Callable[[str], np.ndarray] | None) -> Drawn:
    """A region in doubt: the image where it can be read, with its box; the truth; the prediction."""
    what = {
        "missing": f"looks like {one.predicted}, and is not labelled",
        "extra": f"is labelled {one.labelled}, and looks like nothing",
        "swapped": f"is labelled {one.labelled}, and looks like {one.predicted}",
    }[one.kind]
    text = f"{one.id}: a region of {one.box[2]} × {one.box[3]} pixels {what} (score {one.score:.2f})"
    if run.has_slides:
        return Drawn(text)
    truth, levels = run.truth(one.id), run.levels(one.id)
    prediction = run.rule.mask(levels, truth.shape[:2])
    drawn = [("truth", _mask(truth), BLUE), ("prediction", _mask(prediction), ORANGE)]
    images = [(data_uri(_boxed(_painted(mask, colour), one, truth.shape[:2])), name) for name, mask, colour in drawn]
    if read is not None:
        images.insert(0, (data_uri(_boxed(rgb_of(as_bytes(within(read(one.id)))), one, truth.shape[:2])), "image"))
    return Drawn(text, tuple(images))


def _mask(mask: np.ndarray) -> np.ndarray:
    """A mask of any kind as u8 (H, W) of class numbers, for a person to look at."""
    if mask.ndim == 3:
        return (mask * np.arange(1, mask.shape[2] + 1)).max(axis=2).astype(np.uint8)
    return (mask > 0).astype(np.uint8) if mask.dtype == np.int32 else mask


def _painted(mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A mask as u8 (h, w, 3): darker colours for further classes, grey where it is ignored."""
    shown = np.zeros((*mask.shape, 3), np.uint8)
    for label in np.unique(mask[mask > 0]).tolist():
        shown[mask == label] = 110 if label == 255 else np.array(colour) * (1 - 0.12 * ((label - 1) % 6))
    return within(shown)


def _boxed(shown: np.ndarray, one: LabelDoubt, size: tuple[int, int]) -> np.ndarray:
    """The drawing with the region's box; size: of the whole image."""
    scale = shown.shape[0] / size[0], shown.shape[1] / size[1]
    top, left = round(one.box[0] * scale[0]), round(one.box[1] * scale[1])
    bottom, right = round((one.box[0] + one.box[2]) * scale[0]), round((one.box[1] + one.box[3]) * scale[1])
    return cv2.rectangle(np.ascontiguousarray(shown), (left, top), (right, bottom), (255, 255, 255), 1)
