"""Carvana Image Masking Challenge: cut cars out of studio photographs, each car seen from 16 sides.

Files, unpacked or in Kaggle's zips: train/<car>_<view>.jpg and train_masks/<car>_<view>_mask.gif (1918×1280),
train_masks.csv, test/, sample_submission.csv; the last three may be absent. The CSV dialect is `img,rle_mask`,
row-major, 1-indexed. train_hq/ is not read: its photographs are the same, compressed less.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kit.data.check import foreground_shares
from kit.data.images import decode_image
from kit.data.masks import binary_mask, decode_mask
from kit.datasets.files import STUDIO_MARKER, DataFolder, check_size, files_by_id, fingerprint_of, picture_size
from kit.folds.kfold import quantile_labels, stratified_group_kfold
from kit.submission.rle import decode
from kit.system.files import raise_all

IMAGE_NAME = re.compile(r"((.+)_[0-9]+)\.jpe?g", re.IGNORECASE)
MASK_NAME = re.compile(r"(.+_[0-9]+)_mask\.gif", re.IGNORECASE)
FOLDERS = (  # and how the files in each are named
    ("train", IMAGE_NAME, "<car>_<view>.jpg"),
    ("train_masks", MASK_NAME, "<car>_<view>_mask.gif"),
    ("test", IMAGE_NAME, "<car>_<view>.jpg"),
)


class Carvana:
    """The images and masks by id, `<car>_<view>`.

    ids: the train images, sorted; groups: the car of each. test_ids: in the order of sample_submission.csv, sorted
    where that is absent, empty without test/; test images that it does not name are left out.
    sample_csv: its path (a copy in the cache if it lies in a zip), or None. truth_csv: that of test_masks.csv, like
    train_masks.csv; the drawn competition has one, Kaggle's does not. drawn: kit drew the pictures, as the
    file that it leaves beside them tells.
    Raises one ValueError with every missing, extra, double, misnamed or unsafe file.
    """

    name = "carvana"
    slug = "carvana-image-masking-challenge"
    num_classes = 2
    classes = ("background", "car")
    notes = ()
    order = "C"
    columns = ("img", "rle_mask")

    def __init__(self, data_dir: Path | str):
        self.data, self.drawn = DataFolder(data_dir), Path(data_dir, STUDIO_MARKER).is_file()
        problems = []
        images, self._masks, tests = (
            files_by_id(self.data.names(folder), folder, pattern, example, problems)
            for folder, pattern, example in FOLDERS
        )
        problems += [
            f"{images[id]} has no mask train_masks/{id}_mask.gif" for id in sorted(images.keys() - self._masks)
        ]
        problems += [f"{self._masks[id]} has no image train/{id}.jpg" for id in sorted(self._masks.keys() - images)]
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

    def csv_name(self, id: str) -> str:
        """The name of an image in the CSVs."""
        return f"{id}.jpg"

    def read_image(self, id: str) -> np.ndarray:
        """Read a train or test image -> u8 (H, W, 3) RGB. Raises BadImage, or KeyError for an unknown id."""
        return decode_image(self.data.read(self._file(self._images, id)), self._images[id], channels=3)

    def read_mask(self, id: str) -> np.ndarray:
        """Read a train mask -> u8 (H, W), 1 is car. Raises BadImage (also if not of its image's size) or KeyError."""
        name = self._file(self._masks, id)
        mask = binary_mask(decode_mask(self.data.read(name), name), name)
        return check_size(mask, self.shape(id), name, self._images[id])

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of a train or test image, from its header."""
        return picture_size(self.data, self._file(self._images, id))

    def problems(self, ids: Iterable[str] | None = None) -> list[str]:
        """Decode every image and mask of `ids` (None: train and test) strictly; a line for each that is refused."""
        ids = [*self.ids, *self.test_ids] if ids is None else list(ids)
        checks = [(self.read_image, id) for id in ids] + [(self.read_mask, id) for id in ids if id in self._masks]
        with ThreadPoolExecutor() as pool:
            complaints = pool.map(lambda check: _complaint(*check), checks)
            return list(dict.fromkeys(filter(None, complaints)))  # an image without a size would be told of twice

    def mask_csv_problems(self, ids: Iterable[str] | None = None) -> list[str]:
        """Compare train_masks.csv with the gifs of `ids` (None: all), pixel by pixel; a line for each difference.

        Rows of images that are not in train, missing and double rows are listed too. Empty without the CSV.
        """
        path, problems = self.data.path("train_masks.csv"), []
        if path is None:
            return []
        rles = self._check_mask_rows(_read_rows(path.read_bytes(), "train_masks.csv", problems), problems)
        with ThreadPoolExecutor() as pool:
            ids = self.ids if ids is None else ids
            compared = pool.map(lambda id: _complaint(lambda id: self._compare(id, rles), id), ids)
            return problems + [problem for problem in compared if problem]

    def folds(self, k: int, seed: int) -> np.ndarray:
        """Folds (n,) of whole cars, small and large ones alike; first 32 rows of the CSV are held against the masks.

        Raises ValueError listing the rows that differ, or with fewer cars than folds.
        """
        some = np.random.default_rng(seed).permutation(self.ids)[:32]
        raise_all(self.mask_csv_problems(some), "differences between train_masks.csv and the masks")
        labels = quantile_labels(foreground_shares(self), self.groups, bins=4)
        return stratified_group_kfold(labels, self.groups, k, seed)

    def fingerprint(self) -> str:
        """SHA-256 over the sorted names and sizes in bytes of train and train_masks; contents are not read."""
        return fingerprint_of(self.data, ["train", "train_masks"])

    def test_fingerprint(self) -> str:
        """The same over test, which may be added after training."""
        return fingerprint_of(self.data, ["test"])

    def _file(self, files: dict[str, str], id: str) -> str:
        if id not in files:
            raise KeyError(f"no {'mask' if files is self._masks else 'image'} of the id {id!r} in {self.data.root}")
        return files[id]

    def _order_tests(self, tests: dict[str, str], problems: list[str]) -> list[str]:
        """The test ids as sample_submission.csv lists them; its rows without an image are problems."""
        rows = _read_rows(self.sample_csv.read_bytes(), "sample_submission.csv", problems)
        problems += _doubles(rows, "sample_submission.csv")
        known = {self.csv_name(id): id for id in tests}
        problems += [
            f"sample_submission.csv names {name!r}, which is not in test" for name, _ in rows if name not in known
        ]
        return [known[name] for name, _ in rows if name in known]

    def _check_mask_rows(self, rows: list[tuple[str, str]], problems: list[str]) -> dict[str, str]:
        problems += _doubles(rows, "train_masks.csv")
        known = {self.csv_name(id) for id in self.ids}
        problems += [f"train_masks.csv names {name!r}, which is not in train" for name, _ in rows if name not in known]
        return dict(rows)

    def _compare(self, id: str, rles: dict[str, str]) -> None:
        name = self.csv_name(id)
        if name not in rles:
            raise ValueError(f"train_masks.csv has no row for {name}")
        mask = self.read_mask(id)
        try:
            wrong = np.count_nonzero(decode(rles[name], mask.shape, self.order) != mask)
        except ValueError as error:
            raise ValueError(f"train_masks.csv: {name}: {error}") from error
        if wrong:
            raise ValueError(f"train_masks.csv: {name} differs from {self._masks[id]} in {wrong} pixels")


def _read_rows(content: bytes, name: str, problems: list[str]) -> list[tuple[str, str]]:
    """Parse a CSV of img,rle_mask; rows that are not two cells go to `problems`, the header is dropped."""
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{name} cannot be read as CSV in UTF-8: {error}")
        return []
    header = ",".join(rows[0]) if rows else ""
    if header != ",".join(Carvana.columns):
        problems.append(f"{name} starts with {header!r:.60}, expected {','.join(Carvana.columns)}")
        return []
    problems += [f"{name}, row {i}: {len(row)} cells, expected 2" for i, row in enumerate(rows[1:], 2) if len(row) != 2]
    return [(row[0], row[1]) for row in rows[1:] if len(row) == 2]


def _doubles(rows: list[tuple[str, str]], name: str) -> list[str]:
    counts = Counter(row[0] for row in rows)
    return [f"{name} names {image!r} {count} times" for image, count in counts.items() if count > 1]


def _complaint(check: Callable[[str], object], id: str) -> str | None:
    """What a check of one id says that raises; None if it passes."""
    try:
        check(id)
    except (ValueError, OSError) as error:
        return str(error)
    return None
