"""Carvana Image Masking Challenge: cut cars out of studio photographs; each car is seen from 16 sides.

Files, unpacked or in Kaggle's zips: train/<car>_<view>.jpg and train_masks/<car>_<view>_mask.gif (1918×1280),
train_masks.csv, test/, sample_submission.csv; the last three may be absent. The CSVs have the columns img,rle_mask, run
lengths along rows that count from 1. train_hq/ is not read: its photographs are the same, compressed less.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kit.data.masks import binary_mask, decode_mask
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.names import files_by_id, nfc, unpaired
from kit.datasets.paired import PairedFiles
from kit.datasets.reading import unreadable
from kit.system.files import raise_all

STUDIO_MARKER = "studio.json"  # lies in a folder of this layout that kit drew (studio.py)
IMAGE_NAME = re.compile(r"((.+)_[0-9]+)\.jpe?g", re.IGNORECASE)
HEADER = "img,rle_mask"  # of both CSVs
MASK_NAME = re.compile(r"(.+_[0-9]+)_mask\.gif", re.IGNORECASE)
FOLDERS = (  # and how the files in each are named
    ("train", IMAGE_NAME, "<car>_<view>.jpg"),
    ("train_masks", MASK_NAME, "<car>_<view>_mask.gif"),
    ("test", IMAGE_NAME, "<car>_<view>.jpg"),
)


class Carvana(PairedFiles):
    """The images and masks by id, `<car>_<view>`.

    ids: the train images, sorted. groups: the car of each.
    test_ids: in the order of sample_submission.csv, which may name fewer than test/ holds; sorted where that is
    absent; empty without test/.
    sample_csv: its path (a copy in the cache if it lies in a zip), or None.
    truth_csv: the path of test_masks.csv, which is like train_masks.csv. The drawn competition has one, Kaggle's does
    not: then None.
    drawn: kit drew the images, as a file beside them says.
    Raises one ValueError with every missing, extra, double, misnamed or unsafe file.
    """

    name = "carvana"
    slug = "carvana-image-masking-challenge"
    classes = ("background", "car")

    def __init__(self, data_dir: Path | str):
        self.data, self.drawn = DataFolder(data_dir), Path(data_dir, STUDIO_MARKER).is_file()
        problems = []
        images, self._masks, tests = (
            files_by_id(self.data.names(folder), folder, pattern, example, problems)
            for folder, pattern, example in FOLDERS
        )
        problems += unpaired(images, self._masks, "mask train_masks/{}_mask.gif", "image train/{}.jpg")
        problems += [f"{tests[id]} is also in train" for id in sorted(tests.keys() & images)]
        if not images:
            problems.append("no photographs in train/ or train.zip; expected train/<car>_<view>.jpg")
        self.ids = sorted(images)
        self.groups = [IMAGE_NAME.fullmatch(f"{id}.jpg")[2] for id in self.ids]
        self.sample_csv = self.data.path("sample_submission.csv")
        self.truth_csv = self.data.path("test_masks.csv")
        self.test_ids = self._order_tests(tests, problems) if tests and self.sample_csv else sorted(tests)
        self._images = images | tests
        raise_all(problems, f"problems with Carvana's files in {data_dir}")

    @property
    def train_csv(self) -> Path | None:
        """The path of train_masks.csv, the same masks as run lengths; a copy in the cache if it lies in a zip."""
        return self.data.path("train_masks.csv")

    def decode_labels(self, data: bytes, name: str) -> np.ndarray:
        """Decode a mask -> u8 (H, W), 1 is car. Raises BadImage."""
        return binary_mask(decode_mask(data, name), name)

    def problems(self, ids: Iterable[str] | None = None) -> list[str]:
        """Decode every image and mask of `ids` (None: train and test) strictly; a line for each that is refused."""
        ids = [*self.ids, *self.test_ids] if ids is None else list(ids)
        return unreadable(self, ids, [id for id in ids if id in self._masks])

    def test_fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the test images, which may be added after training."""
        return fingerprint_of(self.data, [self._images[id] for id in sorted(self.test_ids)])

    def _order_tests(self, tests: dict[str, str], problems: list[str]) -> list[str]:
        """The test ids as sample_submission.csv lists them; its rows without an image are problems."""
        names = _read_names(self.sample_csv.read_bytes(), "sample_submission.csv", problems)
        problems += [
            f"sample_submission.csv names {name!r} {count} times" for name, count in Counter(names).items() if count > 1
        ]
        known = {f"{id}.jpg": id for id in tests}
        problems += [
            f"sample_submission.csv names {name!r}, which is not in test" for name in names if name not in known
        ]
        return [known[name] for name in names if name in known]


def _read_names(content: bytes, name: str, problems: list[str]) -> list[str]:
    """The first cells of a CSV of img,rle_mask, in NFC; rows that are not two cells go to `problems`."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{name} cannot be read as CSV in UTF-8: {error}")
        return []
    header = ",".join(rows[0]) if rows else ""
    if header != HEADER:
        problems.append(f"{name} starts with {header!r:.60}, expected {HEADER}")
        return []
    problems += [f"{name}, row {i}: {len(row)} cells, expected 2" for i, row in enumerate(rows[1:], 2) if len(row) != 2]
    return [nfc(row[0]) for row in rows[1:] if len(row) == 2]
