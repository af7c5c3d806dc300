"""Score a submission against true masks, where they are known."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from kit.data.tasks import is_label_image
from kit.scoring.confusion import confusion_matrix, foreground_scores
from kit.scoring.instances import instance_precision
from kit.scoring.metrics import Metric
from kit.submission import rle as rle_codec
from kit.submission.competition import UnknownSize, mask_shapes
from kit.submission.dialect import Dialect
from kit.submission.objects import segments_of
from kit.submission.tables import read_rows
from kit.system.segments import Segments

ReadTruth = Callable[[str], np.ndarray | Segments | None]


def score(
    csv: Path, dialect: Dialect, read_truth: ReadTruth, ids: Iterable[str] = (), metric: Metric | None = None
) -> dict[str, float | None]:
    """Score a submission where truth exists: the number of images, mean Dice and mean IoU.

    The means are over images; with rows of classes, over images × classes. The objects of an image are united.
    read_truth: id -> u8 (H, W) of class indices, 255 ignored; bool (H, W, K) where classes overlap, the first of them
    class 1; int32 (H, W), a label an object; or Segments, objects with a class each; None where there is no truth.
    Without any, the means are None. Where truth and rows tell objects of one class apart there is also
    instance_precision, the mean over images. metric: its score is there too, as "metric"; it is given the mask that the
    rows of an image describe, of the kind of the truth.
    ids: images that count although they may have no row; their masks are empty.
    Raises ValueError naming the image whose mask is malformed or does not fit.
    """
    ids = list(ids)
    found = _score_masks(csv, dialect, read_truth, ids)
    return found if metric is None else found | {"metric": _score_metric(csv, dialect, read_truth, ids, metric)}


def _score_masks(csv: Path, dialect: Dialect, read_truth: ReadTruth, ids: list[str]) -> dict[str, float | None]:
    """The scores that need no metric, class by class."""
    ious, dices, precisions, scored, seen = [], [], [], set(), set()
    for id, index, texts in _masks(csv, dialect):
        seen.add((id, index))
        truth = read_truth(id)
        if truth is None:
            continue
        scored.add(id)
        try:
            ious_and_dices = _score(truth, index, texts, dialect.order)
            precisions += _precision(truth, texts, dialect)
        except ValueError as error:
            raise ValueError(f"{csv}, {id}: {error}") from None
        ious.append(ious_and_dices[0])
        dices.append(ious_and_dices[1])
    counted = {*ids} if dialect.keep_empty else {*ids, *(id for id, _ in seen)}
    for id, index in _left_out(dialect, counted, seen):
        truth = read_truth(id)
        if truth is not None:
            scored.add(id)
            found = _score(truth, index, [], dialect.order)
            ious.append(found[0])
            dices.append(found[1])
            precisions += _precision(truth, [], dialect)
    means = (float(np.mean(dices)), float(np.mean(ious))) if ious else (None, None)
    of_objects = {"instance_precision": float(np.mean(precisions))} if precisions else {}
    return {"images": len(scored), "mean_dice": means[0], "mean_iou": means[1]} | of_objects


def _score_metric(csv: Path, dialect: Dialect, read_truth: ReadTruth, ids: list[str], metric: Metric) -> float | None:
    """The metric's score over the images with a truth; None without any. All rows of an image are taken together."""
    images: dict[str, list[tuple[int, str]]] = {id: [] for id in ids}
    for id, index, texts in _masks(csv, dialect):
        images.setdefault(id, []).extend((index, text) for text in texts)
    counts = []
    for id, masks in images.items():
        truth = read_truth(id)
        if truth is None:
            continue
        try:
            counts.append(metric.counts(truth, _mask_of(masks, truth, dialect)))
        except ValueError as error:
            raise ValueError(f"{csv}, {id}: {error}") from None
    return float(metric.score(np.sum(counts, axis=0))) if counts else None


def _mask_of(masks: list[tuple[int, str]], truth: np.ndarray | Segments, dialect: Dialect) -> np.ndarray | Segments:
    """The mask that rows describe, of the kind of the truth. masks: (class from 1, run lengths)."""
    if isinstance(truth, Segments):
        return segments_of(masks, truth.labels.shape, dialect.order)
    if is_label_image(truth):
        return rle_codec.decode_objects([text for _, text in masks], truth.shape, dialect.order)
    shape = truth.shape[:2]
    if truth.ndim == 2:
        mask = np.zeros(shape, np.uint8)
        for index, text in masks:
            mask[rle_codec.decode(text, shape, dialect.order) > 0] = index
        return mask
    layers = np.zeros(truth.shape, bool)
    for index, text in masks:
        if index > truth.shape[2]:
            raise ValueError(f"a row is of class {index}, and the truth has {truth.shape[2]}")
        layers[..., index - 1] |= rle_codec.decode(text, shape, dialect.order).view(bool)
    return layers


def truth_reader(csv: Path, dialect: Dialect, shapes: object) -> ReadTruth:
    """Return id -> the true mask in a CSV of the same dialect, as `score` reads it. shapes: as for `lint`.

    With rows of objects of one class it is a label image, else bool (H, W, K). Where the dialect has a size, the masks
    have it.
    """
    masks: dict[str, list[tuple[int, str]]] = {}
    for cells in read_rows(csv, dialect):
        id, index, rle = dialect.parse(cells)
        masks.setdefault(id, []).append((index or 1, rle))
    shape = mask_shapes(dialect, shapes)

    def read(id: str) -> np.ndarray | None:
        if id not in masks and dialect.keep_empty:
            return None
        own = masks.get(id, [])
        try:
            height, width = shape(id)
            if _has_labels(dialect):
                return rle_codec.decode_objects([rle for _, rle in own], (height, width), dialect.order)
            truth = np.zeros((height, width, max([1, len(dialect.labels), *(k for k, _ in own)])), bool)
            for index, rle in own:
                truth[..., index - 1] |= rle_codec.decode(rle, (height, width), dialect.order).view(bool)
        except UnknownSize as error:
            raise ValueError(f"{id}: the size of its image is unknown ({error}), so it cannot be scored") from error
        except ValueError as error:
            raise ValueError(f"{csv}, {id}: {error}") from error
        return truth

    return read


def _has_labels(dialect: Dialect) -> bool:
    return dialect.rows == "instance" and not dialect.has_classes


def _precision(truth: np.ndarray | Segments, texts: list[str], dialect: Dialect) -> list[float]:
    """The precision of an image's objects, in a list; [] where truth or rows do not tell objects apart."""
    if isinstance(truth, Segments) or not (_has_labels(dialect) and is_label_image(truth)):
        return []
    return [instance_precision(truth, rle_codec.decode_objects(texts, truth.shape, dialect.order))]


def _masks(csv: Path, dialect: Dialect) -> Iterator[tuple[str, int, list[str]]]:
    """Yield (id, class, run lengths of its objects), as each row comes where an image and class has one row."""
    objects: dict[tuple[str, int], list[str]] = {}
    for cells in read_rows(csv, dialect):
        try:
            id, index, rle = dialect.parse(cells)
        except ValueError as error:
            raise ValueError(f"{csv}, {dialect.name_of(cells)[0]}: {error}") from None
        if dialect.rows != "instance":
            yield id, index or 1, [rle]
        else:
            objects.setdefault((id, index or 1), []).append(rle)
    for (id, index), texts in objects.items():
        yield id, index, texts


def _left_out(dialect: Dialect, ids: set[str], seen: set[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Yield each image and class without a row where that means an empty mask."""
    count = len(dialect.labels) if dialect.has_classes else 1
    for id in sorted(ids):
        for index in range(1, count + 1):
            if (id, index) not in seen:
                yield id, index


def _score(truth: np.ndarray | Segments, index: int, texts: list[str], order: str) -> tuple[float, float]:
    """IoU and Dice of one class of one image."""
    truth = truth.class_image() if isinstance(truth, Segments) else truth
    shape = truth.shape[:2]
    mask = np.zeros(shape, np.uint8)
    for text in texts:
        mask |= rle_codec.decode(text, shape, order)
    if is_label_image(truth):
        truth = (truth > 0).astype(np.uint8)
    elif truth.ndim == 3:
        truth = (truth[..., index - 1] if index <= truth.shape[2] else np.zeros(shape)).astype(np.uint8)
    else:
        truth = np.where(truth == 255, 255, truth == index).astype(np.uint8)
    iou, dice, _ = foreground_scores(confusion_matrix(truth, mask, num_classes=2))
    return iou, dice
