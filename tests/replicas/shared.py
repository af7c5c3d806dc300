"""The replicas, each drawn once a session, and right submissions for them."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from kit.datasets import Folder
from kit.submission import CsvMasks, rle, write
from replicas import DRAW
from replicas.severstal import draw as draw_severstal
from replicas.uw_madison import draw as draw_uw_madison

NAMES = (*DRAW, "severstal_2019", "uw_madison_public")
BY_SIZE = [pytest.param(name, marks=pytest.mark.slow) if name == "clouds" else name for name in DRAW]  # large images
ODD = {
    "severstal_2019": functools.partial(draw_severstal, edition=2019),
    "uw_madison_public": functools.partial(draw_uw_madison, rerun=False),
}


@functools.cache
def drawn(name):
    """The replica of this name. Its files are shared: tests write elsewhere."""
    return (DRAW | ODD)[name](_place() / name)


@functools.cache
def _place():
    """A folder for this process, which is removed when it ends."""
    place = Path(tempfile.mkdtemp(prefix="replicas-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def open_folder(replica):
    """The data set as a user would describe it."""
    masks = replica.masks
    if masks is None:
        masks = CsvMasks(replica.train_name, replica.train_dialect or replica.dialect, replica.lacking)
    return Folder(
        replica.folder,
        images=replica.images,
        masks=masks,
        tests=replica.tests,
        task=replica.task,
        classes=replica.classes,
        ids=replica.ids,
        planes=replica.planes,
        groups=replica.groups,
    )


def at_size(mask, size):
    """bool (H, W) at another size: the pixels in the middle."""
    if size is None or mask.shape == size:
        return mask
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0


def encoded(replica, truth, order=None):
    """[(class, run lengths)] of a mask in the task's form, at the size of the submission."""
    dialect = replica.dialect
    masks = [(index, at_size(mask, dialect.size)) for index, mask in replica.masks_of(truth)]
    return [(index, rle.encode(mask, order or dialect.order)) for index, mask in masks]


def right_rows(replica, order=None):
    """The rows of a submission that is the truth of every test image."""
    return [
        cells
        for id, truth in replica.hidden.items()
        for cells in replica.dialect.cells(id, encoded(replica, truth, order))
    ]


def write_right(replica, path, order=None):
    """Write the submission that is the truth; return its path."""
    write(right_rows(replica, order), path, replica.dialect)
    return path
