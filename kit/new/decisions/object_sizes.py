"""How large the objects of a data set are: whether a network should see images at their own scale."""

import contextlib
import math
from collections.abc import Iterable

import numpy as np

from kit.data.masks import decode_mask
from kit.new.decisions.csv_meaning import open_rows
from kit.new.decisions.meaning import Meaning
from kit.new.look.found import Study
from kit.system.files import spread
from kit.system.objects import components

IMAGES, FILES = 16, 24  # that are looked at; files of the objects of an image


def object_side(found: Study, meaning: Meaning) -> float | None:
    """The square root of the median area of some objects, in pixels; None where no object can be read."""
    areas: list[int] = []
    with contextlib.suppress(ValueError, OSError):  # said by the check before training, here and below
        for areas_of in _ways(found, meaning):
            with contextlib.suppress(ValueError, OSError):
                areas += areas_of()
    return math.sqrt(float(np.median(areas))) if areas else None


def _ways(found: Study, meaning: Meaning) -> Iterable:
    """For each of some images a function that gives the areas of its objects."""
    if not found.masks:
        sizes = {id: found.sizes[path] for id, path in found.images.items() if path in found.sizes}
        rows = open_rows(found, meaning, "instances", meaning.classes[1:])
        drawn = [id for id in found.ids if id in sizes]
        return [lambda id=id: _areas(rows.read(id, sizes[id])) for id in spread(drawn, IMAGES)]
    every = spread(sorted(found.masks), IMAGES)
    if any(len(own) > 1 for own in found.masks.values()):
        files = [spread(found.masks[id], FILES) for id in every]
        return [lambda own=own: [int(is_foreground(found, path).sum()) for path in own] for own in files]
    if meaning.values == "components":
        return [lambda id=id: _areas(components(is_foreground(found, found.masks[id][0]))) for id in every]
    return [lambda id=id: _areas(_read(found, found.masks[id][0])) for id in every]


def _read(found: Study, path: str) -> np.ndarray:
    """A mask as one number a pixel, colours too."""
    mask = np.asarray(decode_mask(found.data.read(path), path)).astype(np.int64)
    return mask if mask.ndim == 2 else mask[..., :3] @ np.array([1 << 16, 1 << 8, 1])


def is_foreground(found: Study, path: str) -> np.ndarray:
    """Where a mask of objects is not background: bool (H, W)."""
    return _read(found, path) != (found.labels.background if not found.labels.colours else 0)


def _areas(labels: np.ndarray) -> list[int]:
    """The pixels of each label but 0."""
    names, counts = np.unique(labels, return_counts=True)
    return counts[names != 0].tolist()
