"""Crops of single objects, on which DeconvNet's first stage trains: Noh, Hong and Han, ICCV 2015, sections 4.2 and 5.1.

The tight box of each object grows 1.2 times; the square around its centre is cut out. Pixels of the object's class
keep their label, void stays 255, every other class becomes background, so that the network first learns one centred
object at a time.

The paper leaves some cases open, and so does the data. A square that reaches over the image's edge is cut off there;
such a crop is no square. Another object of the same class inside the crop keeps its label. Where an image has no map of
its objects, the 8-connected parts of a class count as objects. Objects of few pixels are left out.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from kit.data.dataset import Dataset
from kit.datasets.voc import VOC
from kit.system.files import raise_all

GROWTH = 1.2
MIN_AREA = 100  # pixels of an object


class Crop(NamedTuple):
    """The class of an object, and the rows and columns of its window: [top, bottom) and [left, right)."""

    label: int
    top: int
    bottom: int
    left: int
    right: int


def object_crops(mask: np.ndarray, instances: np.ndarray | None = None, min_area: int = MIN_AREA) -> list[Crop]:
    """The window around each object of at least `min_area` pixels, by label, then by instance or top row.

    mask: u8 (H, W), 0 is background, 255 void; instances: u8 (H, W), 0 is none, 255 void, or None, and then the
    8-connected parts of each class are the objects. An object whose pixels have two labels takes the more frequent one.
    """
    objects = _parts(mask) if instances is None else _instances(mask, instances)
    crops = [_window(label, object) for label, object in objects if np.count_nonzero(object) >= min_area]
    return sorted(crops, key=lambda crop: crop.label)


class ObjectCrops(Dataset):
    """A view of VOC in which each object in the images `ids` is an image of its own.

    ids: "<image>_<number>", the number from 0. groups: the image of each. Use it to train on; it holds nothing out.
    Reads all the masks. Raises ValueError listing the masks that cannot be read, or where there is no object.
    """

    name = "voc-objects"

    def __init__(self, voc: VOC, ids: Iterable[str], min_area: int = MIN_AREA):
        self.voc, self.classes, self.absent = voc, voc.classes, voc.classes
        self._crops: dict[str, tuple[str, Crop]] = {}
        from_parts = 0
        for id, crops, whole in _read_crops(voc, list(ids), min_area):
            self._crops |= {f"{id}_{number}": (id, crop) for number, crop in enumerate(crops)}
            from_parts += not whole
        if not self._crops:
            raise ValueError(f"no object of {min_area} pixels or more in the images; lower min_area")
        self.ids = list(self._crops)
        self.groups = [self._crops[id][0] for id in self.ids]
        notes = [f"{len(self.ids):,} objects of {min_area} pixels or more, each in a window {GROWTH} times its size."]
        if from_parts:
            notes.append(f"In {from_parts:,} images without a map of objects, connected parts count as objects.")
        self.notes = tuple(notes)

    def read_image(self, id: str) -> np.ndarray:
        """Read a crop -> u8 (H, W, 3) RGB. Raises BadImage, or KeyError for an unknown id."""
        image, crop = self._crop(id)
        return _cut(self.voc.read_image(image), crop)

    def read_mask(self, id: str) -> np.ndarray:
        """Read a crop's mask -> u8 (H, W): the object's class, 0 and 255. Raises BadImage or KeyError."""
        image, crop = self._crop(id)
        mask = _cut(self.voc.read_mask(image), crop)
        mask[(mask != crop.label) & (mask != 255)] = 0
        return mask

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of a crop."""
        _, crop = self._crop(id)
        return crop.bottom - crop.top, crop.right - crop.left

    def fingerprint(self) -> str:
        """SHA-256 over VOC's fingerprint and the windows."""
        return hashlib.sha256(repr((self.voc.fingerprint(), self._crops)).encode()).hexdigest()

    def _crop(self, id: str) -> tuple[str, Crop]:
        if id not in self._crops:
            raise KeyError(f"no object {id!r}; expected <image>_<number>, as in ids")
        return self._crops[id]


def _read_crops(voc: VOC, ids: list[str], min_area: int) -> list[tuple[str, list[Crop], bool]]:
    """For each image its crops, and whether they come from a map of its objects."""
    problems = []

    def read(id: str) -> tuple[str, list[Crop], bool]:
        try:
            instances = voc.read_instances(id)
            return id, object_crops(voc.read_mask(id), instances, min_area), instances is not None
        except (ValueError, OSError) as error:
            problems.append(str(error))
            return id, [], True

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(read, ids))
    raise_all(sorted(problems), "masks cannot be read")
    return found


def _parts(mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each 8-connected part of each class: its label and its pixels, bool (H, W)."""
    for label in np.setdiff1d(mask, [0, 255]):
        count, parts = cv2.connectedComponents((mask == label).astype(np.uint8), connectivity=8)
        for part in range(1, count):
            yield int(label), parts == part


def _instances(mask: np.ndarray, instances: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each instance that has pixels of a class: its label and those pixels, bool (H, W)."""
    for instance in np.setdiff1d(instances, [0, 255]):
        object = (instances == instance) & (mask != 0) & (mask != 255)
        if object.any():
            yield int(np.bincount(mask[object]).argmax()), object


def _window(label: int, object: np.ndarray) -> Crop:
    """The square of GROWTH times the longer side of the object's box, around the box's centre, inside the image."""
    rows, columns = np.flatnonzero(object.any(axis=1)), np.flatnonzero(object.any(axis=0))
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    half = GROWTH * max(height, width) / 2
    y, x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    top, bottom = max(0, math.floor(y - half)), min(object.shape[0], math.ceil(y + half))
    left, right = max(0, math.floor(x - half)), min(object.shape[1], math.ceil(x + half))
    return Crop(label, top, bottom, left, right)


def _cut(array: np.ndarray, crop: Crop) -> np.ndarray:
    return array[crop.top : crop.bottom, crop.left : crop.right].copy()
