"""TGS Salt Identification Challenge: find salt in seismic images of 101 × 101 pixels; 39 % of them hold none.

Files, unpacked or in Kaggle's zips: train/images/<id>.png, train/masks/<id>.png (0 and white, in 8 or 16 bits),
train.csv (the same masks as run lengths down columns), test/images/<id>.png, sample_submission.csv; the last two may
be absent. The images are grey, saved as RGB.
"""

from pathlib import Path

from kit.datasets.files import DataFolder
from kit.datasets.folder import Folder


class Salt(Folder):
    """The images and masks by id. Every image is a group of its own: the data does not say which lie side by side.

    sample_csv, train_csv: their paths (a copy in the cache of one that lies in a zip), or None.
    Raises ValueError as Folder.
    """

    name = "salt"
    slug = "tgs-salt-identification-challenge"

    def __init__(self, data_dir: Path | str):
        super().__init__(
            data_dir,
            images="train/images",
            masks="train/masks",
            tests="test/images" if DataFolder(data_dir).files("test")[0] else None,
            classes=("background", "salt"),
            channels=3,
            name=self.name,
        )
        self.sample_csv, self.train_csv = (self.data.path(name) for name in ("sample_submission.csv", "train.csv"))
