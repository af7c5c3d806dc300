"""Data Science Bowl 2018: find every nucleus, in light and fluorescence microscopy of many laboratories.

Files, unpacked or in Kaggle's zips: stage1_train/<id>/images/<id>.png, stage1_train/<id>/masks/*.png (a file a
nucleus), stage1_train_labels.csv (the same as run lengths down columns, a row a nucleus), stage1_test/<id>/images/
<id>.png, stage1_sample_submission.csv; the last two may be absent. Sizes differ from image to image.

A few nuclei share some pixels. Such a pixel goes to the smaller one.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kit.datasets.files import DataFolder
from kit.datasets.folder import Folder

GROUPS = ("groups.csv", "ImageId", "group")  # a file that Kaggle does not have: which images are of one photograph
KIND = "cluster"  # a further column of it: the kind of microscopy


class Nuclei(Folder):
    """The images by id, and label images of their nuclei.

    groups: as in Folder. Several images are tiles of one photograph, and Kaggle does not say which: without groups the
    scores are too high.
    kinds: those of groups.csv, where it has them.
    sample_csv, train_csv: their paths (a copy in the cache of one that lies in a zip), or None.
    Raises ValueError as Folder.
    """

    name = "nuclei"
    slug = "data-science-bowl-2018"

    def __init__(
        self,
        data_dir: Path | str,
        *,
        groups: str | Callable[[str], object] | Mapping[str, object] | tuple[str, str, str] | None = None,
    ):
        super().__init__(
            data_dir,
            images="stage1_train/{id}/images/*.png",
            masks="stage1_train/{id}/masks/*.png",
            tests="stage1_test/{id}/images/*.png" if DataFolder(data_dir).files("stage1_test")[0] else None,
            task="instances",
            classes=("background", "nucleus"),
            channels=3,
            groups=groups,
            name=self.name,
        )
        names = ("stage1_sample_submission.csv", "stage1_train_labels.csv")
        self.sample_csv, self.train_csv = (self.data.path(name) for name in names)
        self.kinds = _kinds_in(self.data.path(GROUPS[0]), self.ids)


def groups_of(data_dir: Path | str) -> tuple[str, str, str] | None:
    """The `groups` of Nuclei where the folder has groups.csv (ImageId,group, and a cluster or not); else None."""
    return GROUPS if DataFolder(data_dir).path(GROUPS[0]) else None


def kinds_of(nuclei: Nuclei) -> list[str]:
    """The kind of each image, to share out alike among folds: groups.csv's cluster, else how the image looks.

    By the look there are four: dark or bright, grey or coloured; every image is read for it.
    """
    return nuclei.kinds or [_look(nuclei.read_image(id)) for id in nuclei.ids]


def _kinds_in(path: Path | None, ids: Sequence[str]) -> list[str] | None:
    """The kind of each image by a table; None where the table lacks one."""
    rows = csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))) if path else ()
    found = {row.get(GROUPS[1]): row[KIND] for row in rows if row.get(KIND)}
    return [found[id] for id in ids] if all(id in found for id in ids) else None


def _look(image: np.ndarray) -> str:
    """Dark or bright by the median, coloured where the channels differ by 5 levels on average."""
    light = "bright" if np.median(image) > 127 else "dark"
    spread = image.max(axis=2).astype(np.int16) - image.min(axis=2)
    return f"{light} {'coloured' if spread.mean() > 5 else 'grey'}"
