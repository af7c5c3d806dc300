"""A small drawing of every held-out image for the page: the image, and over it what was missed and what was added.

runs/<run>/fold<k>/thumbnails.npz    made once for a fold's predictions, because every image is read for it
"""

import io
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kit.data.regions import has_regions
from kit.data.resize import single_threaded_cv2
from kit.data.tasks import has_background
from kit.report.cards import BLUE, ORANGE
from kit.report.display import as_rgb
from kit.runs.run import Run, read_only_allowed
from kit.runs.truth import Truth
from kit.system.files import short_hash, write_atomic
from kit.system.run_folder import read_json

FILE, VERSION = "thumbnails.npz", 1
SIDE, QUALITY = 96, 40  # pixels of the longer side; of WebP: about 0.8 kB an image
THREADS = 4


class Thumbnails(NamedTuple):
    """Of some images, by id: the WebP files, and the brightness, 0..1."""

    images: dict[str, bytes]
    brightness: dict[str, float]

    def brightness_of(self, ids: Iterable[str]) -> np.ndarray | None:
        """The brightness of n images, f64 (n,); None where one of them is not drawn."""
        found = [self.brightness.get(id) for id in ids]
        return None if None in found else np.array(found)


def thumbnails_of(run: Run, folds: Sequence[int]) -> Thumbnails | None:
    """Those of the held-out images of `folds`; None of slides."""
    if has_regions(run.dataset):
        return None
    parts = [_of_fold(run, fold) for fold in folds]
    return Thumbnails(*({id: one for part in parts for id, one in part[k].items()} for k in (0, 1)))


def draw_thumbnail(
    image: np.ndarray,
    truth: np.ndarray,
    prediction: np.ndarray,
    channels: tuple[str, ...] | None = None,
    background: bool = True,
) -> tuple[bytes, float]:
    """The WebP file, and the mean of the image as a person sees it, 0..1.

    image (H, W, C); truth, prediction: masks of the task's kind. Wrong pixels are blue where foreground was missed and
    orange elsewhere; a pixel of the drawing is coloured where an eighth of those behind it are wrong. background:
    whether class 0 is one.
    """
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    drawing = cv2.resize(as_rgb(image, channels), size, interpolation=cv2.INTER_AREA)
    brightness = float(drawing.mean() / 255)
    missed, wrong = _wrong(truth, prediction, background)
    for mask, colour in ((wrong & ~missed, ORANGE), (missed, BLUE)):
        share = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        drawing[share >= 1 / 8] = colour
    webp = cv2.imencode(".webp", drawing[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    return webp.tobytes(), brightness


def _wrong(truth: np.ndarray, prediction: np.ndarray, background: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where foreground was missed, and where anything is wrong, bool (H, W)."""
    if truth.ndim == 3:
        missed = (truth & ~prediction).any(axis=2)
        return missed, (truth != prediction).any(axis=2)
    if truth.dtype == np.int32:
        return (truth > 0) & (prediction == 0), (truth > 0) != (prediction > 0)
    wrong = (truth != prediction) & (truth != 255)
    return wrong & (truth > 0) & (prediction == 0) & background, wrong


def _of_fold(run: Run, fold: int) -> Thumbnails:
    path, ids = run.fold_folder(fold) / FILE, run.held_out(fold)
    facts = read_json(run.fold_folder(fold) / "finished.json")
    key = short_hash((VERSION, facts["key"], facts.get("recipe"), run.own_rule, ids))
    if (found := _read(path, key)) is not None:
        return found

    kept, channels = Truth(run.folder, run.task), tuple(run.dataset.channels)
    background = has_background(run.dataset.classes, run.task.name)

    def draw(id: str) -> tuple[bytes, float]:
        truth = kept.read(id)
        prediction = run.store.mask(id, truth.shape[:2])
        return draw_thumbnail(run.dataset.read_image(id), truth, prediction, channels, background)

    with ThreadPoolExecutor(THREADS) as pool, single_threaded_cv2():
        drawn = list(pool.map(draw, ids))
    webps, lights = zip(*drawn, strict=True)
    arrays = {"ends": np.cumsum([len(webp) for webp in webps]), "brightness": np.array(lights, np.float32)}
    arrays["bytes"] = np.frombuffer(b"".join(webps), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, key=np.array(json.dumps([key, ids])), **arrays)
    with read_only_allowed(True):
        write_atomic(path, buffer.getvalue())
    return Thumbnails(dict(zip(ids, webps, strict=True)), dict(zip(ids, lights, strict=True)))


def _read(path: Path, key: str) -> Thumbnails | None:
    """What is kept in a fold's folder; None where it is absent, damaged, or of other predictions."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            own, ids = json.loads(str(kept["key"]))
            data, ends, lights = kept["bytes"].tobytes(), kept["ends"].tolist(), kept["brightness"].tolist()
    except Exception:
        return None
    if own != key:
        return None
    webps = [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return Thumbnails(dict(zip(ids, webps, strict=True)), dict(zip(ids, lights, strict=True)))
