"""What a drawn competition says of itself, and how its files are written: a plain encoder of run lengths, CSVs, zips.

The encoder is NumPy's, written again here, so that kit's own is compared with another.
"""

import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.datasets.files import DataFolder
from kit.submission import Dialect

Row = tuple[str, int, np.ndarray]  # (id, class from 1, mask bool (H, W)) of a row of the CSV of the training masks


@dataclass(frozen=True)
class Replica:
    """A drawn competition.

    dialect: how its submission is written. task, classes, images, tests, masks, ids, planes, channels, dtype: as
    `kit.datasets.Folder` takes them, from the files as a good reader finds them. masks: a pattern with {id}, or None:
    the masks are run lengths in `train_csv`.
    truth, hidden: the mask of each training and each test image, by id: u8 (H, W) of 0 and 1 (binary), bool (H, W, K)
    (multilabel) or i32 (H, W) with a number for each object (instances). They have the images' sizes.
    rows: of the CSV of the training masks, as they come; a mask is all False where the cell is empty.
    train_dialect: of that CSV, as far as it differs. lacking: the images without a row are empty, or would be a fault.
    groups: what must stay in one fold, by id; None: every image is its own.
    unsure: words of the message with which `detect` refuses, where files cannot tell; None: it finds `dialect`.
    """

    folder: Path
    name: str
    dialect: Dialect
    task: str
    classes: tuple[str, ...]
    truth: Mapping[str, np.ndarray]
    hidden: Mapping[str, np.ndarray]
    images: str | dict[str, str]
    tests: str | dict[str, str] | None
    masks: str | None
    channels: int
    dtype: str = "uint8"
    sample_name: str = "sample_submission.csv"
    train_name: str | None = "train.csv"
    train_dialect: Dialect | None = None
    rows: Sequence[Row] = ()
    lacking: str = "refuse"
    groups: Mapping[str, str] | None = None
    ids: str | None = None
    planes: tuple[int, ...] | None = None
    unsure: str | None = None

    @property
    def sample_csv(self) -> Path:
        """The sample submission, unpacked where it lies in a zip."""
        return DataFolder(self.folder).path(self.sample_name)

    @property
    def train_csv(self) -> Path | None:
        """The CSV of the training masks, unpacked where it lies in a zip; None where there is none."""
        return None if self.train_name is None else DataFolder(self.folder).path(self.train_name)

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, of training or test."""
        return (self.truth[id] if id in self.truth else self.hidden[id]).shape[:2]

    def read_mask(self, id: str) -> np.ndarray:
        """The true mask of a training image, in the task's form."""
        return self.truth[id]

    def masks_of(self, truth: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """(class from 1, bool (H, W)) of each class or object of a mask, as the submission has rows for them."""
        if self.task == "multilabel":
            return [(index + 1, truth[..., index]) for index in range(truth.shape[2])]
        if self.task == "instances":
            return [(1, truth == number) for number in np.unique(truth[truth > 0])]
        return [(1, truth > 0)]


def run_lengths(mask: np.ndarray, order: str, base: int = 1, relative: bool = False) -> str:
    """ "start length …" of a mask (H, W): along rows ("C") or down columns ("F")."""
    flat = np.concatenate([[0], (mask > 0).ravel(order).astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    starts, ends = edges[::2], edges[1::2]
    first = starts - np.concatenate([[0], ends[:-1]]) if relative else starts
    return " ".join(f"{start + base} {length}" for start, length in zip(first, ends - starts, strict=True))


def write_csv(path: Path, header: str, lines: Iterable[str]) -> None:
    """Write a CSV: the header and the lines as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def write_file(path: Path, data: bytes) -> None:
    """Write a file, with the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def zip_folder(folder: Path, name: str, top: bool) -> None:
    """Put folder/name into folder/name.zip and remove it. top: the members' paths begin with the folder's name."""
    place = folder / name
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder if top or place.is_file() else place))
    if place.is_file():
        place.unlink()
    else:
        shutil.rmtree(place)


def hex_names(rng: np.random.Generator, count: int, digits: int) -> list[str]:
    """Sorted names of hexadecimal digits, each once, as Kaggle gives them to images."""
    names: dict[str, None] = {}
    while len(names) < count:
        names.setdefault("".join(rng.choice(list("0123456789abcdef"), digits)))
    return sorted(names)
