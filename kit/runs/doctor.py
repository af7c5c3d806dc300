"""The label doctor: where the held-out predictions of a finished run contradict its labels with confidence.

    found = doctor(read_run("runs/mine"))
    write_labels(found, Path("labels.csv"))      id,score,kind,top,left,height,width,class,predicted

It reads one image at a time from the run folder: levels and truth, no image, no network. A person then mends the label
or ignores the line.
Where the network finds objects one by one (`Rule.detected`), there are scores of objects and no probability that a
pixel is of none. So found objects that are not labelled are in doubt, labelled ones that were not found are not.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.data.resize import resize_mask
from kit.data.scaled import ScaledLayers, ScaledMask
from kit.prediction.slides import SlideLevels
from kit.runs.finished import FinishedRun
from kit.scoring.contradictions import Contradiction, contradictions
from kit.system.files import write_atomic
from kit.system.threads import ordered_map

LEAST = 0.02  # score: a region of about 0.04 % of an image, surely contradicted
UNKNOWN = 0.5  # the probability of background where no object was found: at most this, as it was not predicted
COLUMNS = ("id", "score", "kind", "top", "left", "height", "width", "class", "predicted")


@dataclass(frozen=True)
class LabelDoubt:
    """A region whose label is in doubt, or a whole image.

    kind: "missing" (labelled as nothing, predicted as a class), "extra" (labelled as a class, predicted as nothing),
    "swapped" (as another class), or "image": the sum of an image's regions. score: 0..1. box: top, left, height, width
    in pixels of the image. labelled, predicted: names of classes, "" for an image.
    """

    id: str
    score: float
    kind: str
    box: tuple[int, int, int, int]
    labelled: str
    predicted: str


def doctor(run: FinishedRun, threads: int = 2) -> list[LabelDoubt]:
    """All doubts of a run, the highest score first. Raises FileNotFoundError where the run has not kept its truth."""
    run.check_truth()
    found = [doubt for doubts in ordered_map(lambda id: doubts_of(run, id), run.ids, threads) for doubt in doubts]
    return sorted(found, key=lambda one: (-one.score, one.id))


def doubts_of(run: FinishedRun, id: str) -> list[LabelDoubt]:
    """The doubts of one image: its regions, and itself where there is one."""
    size, regions = run.truth(id).shape[:2], []
    for first, share, truth, probs, names in _pieces(run, id):
        regions += [
            _doubt(id, size, one, names, (first, share)) for one in contradictions(truth, probs) if one.score >= LEAST
        ]
    if regions:
        whole = 1 - float(np.prod([1 - one.score for one in regions]))
        regions.append(LabelDoubt(id, whole, "image", (0, 0, *size), "", ""))
    return regions


def _doubt(
    id: str,
    size: tuple[int, int],
    one: Contradiction,
    names: tuple[str, str] | tuple[str, ...],
    rows: tuple[float, float],
) -> LabelDoubt:
    """A region as a doubt. rows: where the piece begins and how high it is, as shares of the image's height."""
    top, left, height, width = one.box
    top, height = rows[0] + top * rows[1], height * rows[1]
    box = round(top * size[0]), round(left * size[1]), max(1, round(height * size[0])), max(1, round(width * size[1]))
    has_nothing = len(names) == 2 or names[0] == "background"  # the first class
    kind = {one.labelled: "missing", one.predicted: "extra"}.get(0, "swapped") if has_nothing else "swapped"
    return LabelDoubt(id, one.score * np.sqrt(rows[1]), kind, box, names[one.labelled], names[one.predicted])


def _pieces(run: FinishedRun, id: str) -> Iterator[tuple[float, float, np.ndarray, np.ndarray, tuple[str, ...]]]:
    """The truth u8 (h, w) and the probabilities (K, h, w) of an image, and the names of the K classes.

    Of classes that overlap one piece a class; of a slide one a band. With each the share of the image's height at which
    it begins, and its own share.
    """
    levels, truth = run.levels(id), run.truth(id)
    if isinstance(levels, SlideLevels):
        yield from _bands(run, levels, truth)
        return
    size, levels = levels.shape[1:], levels[: run.task.outputs]  # without borders; of objects their scores
    if run.task.overlaps:
        truth = np.stack([resize_mask(truth[..., k].view(np.uint8), size) for k in range(truth.shape[2])], axis=2)
    else:
        truth = resize_mask((truth > 0).astype(np.uint8) if run.task.has_objects else truth, size)
    yield from ((0.0, 1.0, *piece) for piece in _classes(run, levels, truth))


def _bands(
    run: FinishedRun, levels: SlideLevels, truth: object
) -> Iterator[tuple[float, float, np.ndarray, np.ndarray, tuple[str, ...]]]:
    """The pieces of a slide."""
    scaled = ScaledMask(truth, levels.scale)
    if run.task.overlaps:
        scaled = ScaledLayers(truth, levels.scale, len(run.task.classes))
    first, (height, width) = 0, levels.size
    for band in levels.bands:
        mask = scaled.read(first, 0, band.shape[1], width)
        yield from ((first / height, band.shape[1] / height, *piece) for piece in _classes(run, band, mask))
        first += band.shape[1]


def _classes(
    run: FinishedRun, levels: np.ndarray, truth: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[str, ...]]]:
    """Truth and probabilities of all classes, or of each class that may overlap others against nothing."""
    probs = levels.astype(np.float32) / 255
    if run.task.overlaps:
        for k, name in enumerate(run.task.classes):
            yield truth[..., k], np.stack([1 - probs[k], probs[k]]), ("", name)
    elif run.rule.detected:
        yield truth, np.concatenate([np.minimum(1 - probs, UNKNOWN), probs]), run.task.classes
    elif len(probs) == 1:
        yield truth, np.concatenate([1 - probs, probs]), run.task.classes
    else:
        yield truth, probs, run.task.classes


def write_labels(doubts: list[LabelDoubt], path: Path) -> None:
    """Write the doubts as a CSV, a row each, to mend or to ignore."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([one.id, f"{one.score:.4f}", one.kind, *one.box, one.labelled, one.predicted] for one in doubts)
    write_atomic(path, text.getvalue())
