"""Objects between label images and the rows of a CSV, also of several classes.

dialect.cells(id, object_masks(labels, dialect.order))            a row an object
segments_of([(1, "3 4"), (2, "9 2")], (20, 30), dialect.order)    a label image, and the class of each label
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from kit.submission import rle as rle_codec
from kit.submission.competition import mask_shapes
from kit.submission.dialect import Dialect
from kit.submission.tables import read_rows
from kit.system.segments import Segments, as_segments


def object_masks(mask: np.ndarray | Segments, order: str = "C") -> list[tuple[int, str]]:
    """The class and the run lengths of each object, in the order of their first pixels: for `Dialect.cells`.

    mask: a label image (H, W), whose objects are of class 1, or Segments. Raises ValueError on what is no label image,
    and on labels without a class.
    """
    segments = as_segments(mask)
    texts = rle_codec.encode_labels(segments.labels, order)
    classes = segments.classes_of(np.array(list(texts), np.int64)).tolist()
    return list(zip(classes, texts.values(), strict=True))


def segments_of(masks: Iterable[tuple[int | None, str]], shape: tuple[int, int], order: str = "C") -> Segments:
    """Undo `object_masks`: the labels are 1, 2, … in the order of the masks.

    masks: (class, None for 1; run lengths); empty ones are left out. shape: (H, W). Where objects overlap the later one
    has the pixels. Raises ValueError on malformed run lengths.
    """
    filled = [(index or 1, text) for index, text in masks if text]
    labels = rle_codec.decode_objects([text for _, text in filled], shape, order)
    return Segments.numbered(labels, [index for index, _ in filled])


def object_reader(csv: Path, dialect: Dialect, shapes: object) -> Callable[[str], Segments | None]:
    """Return id -> the objects of an image in a CSV with a row an object, each with its class.

    shapes: as for `lint`. None for an image without a row where the dialect has one for each; else there is no object.
    Raises ValueError naming the image whose rows are malformed.
    """
    masks: dict[str, list[tuple[int | None, str]]] = {}
    for cells in read_rows(csv, dialect):
        id, index, text = dialect.parse(cells)
        masks.setdefault(id, []).append((index, text))
    shape = mask_shapes(dialect, shapes)

    def read(id: str) -> Segments | None:
        if id not in masks and dialect.keep_empty:
            return None
        try:
            return segments_of(masks.get(id, []), shape(id), dialect.order)
        except ValueError as error:
            raise ValueError(f"{csv}, {id}: {error}") from error

    return read
