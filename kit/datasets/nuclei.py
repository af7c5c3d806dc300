"""Data Science Bowl 2018: find every nucleus, in light and fluorescence microscopy of many laboratories.

Files, unpacked or in Kaggle's zips: stage1_train/<id>/images/<id>.png, stage1_train/<id>/masks/*.png (a file a
nucleus), stage1_train_labels.csv (the same as run lengths down columns, a row a nucleus), stage1_test/<id>/images/
<id>.png, stage1_sample_submission.csv; the last two may be absent. Sizes differ from image to image.

A few nuclei share some pixels. Such a pixel goes to the smaller one.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from kit.datasets.files import DataFolder
from kit.datasets.folder import Folder


class Nuclei(Folder):
    """The images by id, and label images of their nuclei.

    groups: as in Folder. Several images are tiles of one photograph, and Kaggle does not say which: without groups the
    scores are too high.
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
