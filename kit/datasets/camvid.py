"""CamVid as SegNet's tutorial packs it: road scenes filmed from a car, 360×480, 11 classes, fixed lists of images.

Files, unpacked or as zips of the folders: train/, val/, test/ with the photographs (.png, also .jpg), and trainannot/,
valannot/, testannot/ with the labels under the same names. The labels are grey PNGs of 0 to 10, and 11 for pixels that
are not scored; 11 becomes 255 here. The data: Brostow, Fauqueur and Cipolla, "Semantic object classes in video",
Pattern Recognition Letters 30 (2009). The merging of its 32 classes into 11 and the lists of 367, 101 and 233 images:
Badrinarayanan, Kendall and Cipolla, "SegNet", PAMI 2017, and the tutorial's files.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np

from kit.data.masks import class_mask, decode_mask
from kit.datasets.files import DataFolder
from kit.datasets.names import files_by_id, unpaired
from kit.datasets.paired import PairedFiles
from kit.system.files import raise_all

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
VOID = 11
IMAGE_NAME = re.compile(r"(.+)\.(?:png|jpe?g)", re.IGNORECASE)
MASK_NAME = re.compile(r"(.+)\.png", re.IGNORECASE)


class CamVid(PairedFiles):
    """The images and labels by id, `<sequence>_<frame>`, of train and of the held-out list.

    ids: those of train, then the held-out ones, both sorted; groups: the sequence of each, such as 0016E5.
    held_out: "val", or "test" (then val is not read).
    Raises one ValueError with every missing, extra, double, misnamed or unsafe file, and every image in both lists.
    """

    name = "camvid"
    slug = "camvid"
    classes = CLASSES
    absent = CLASSES  # a part of the data may lack some

    def __init__(self, data_dir: Path | str, *, held_out: Literal["val", "test"] = "val"):
        if held_out not in {"val", "test"}:
            raise ValueError(f"held_out is {held_out!r}, expected 'val' or 'test'")
        self.data = DataFolder(data_dir)
        self._folders = ("train", held_out)
        problems = []
        (trained, trained_masks), (held, held_masks) = (self._find_pairs(folder, problems) for folder in self._folders)
        problems += [f"{held[id]} is also in train: {trained[id]}" for id in sorted(trained.keys() & held)]
        raise_all(problems, f"problems with CamVid's files in {data_dir}")
        self._held = frozenset(held)
        self._images, self._masks = trained | held, trained_masks | held_masks
        self.ids = sorted(trained) + sorted(held)
        self.groups = [id.split("_")[0] for id in self.ids]
        self.notes = self._write_notes()

    def split(self) -> np.ndarray:
        """The official lists as folds, int (n,): 0 (held out), or -1 (in no fold, always trained on) for train."""
        return np.array([0 if id in self._held else -1 for id in self.ids])

    def decode_labels(self, data: bytes, name: str) -> np.ndarray:
        """Decode labels -> u8 (H, W), 0 to 10, 255 is void. Raises BadImage."""
        mask = class_mask(decode_mask(data, name), VOID + 1, name)
        return np.where(mask == VOID, np.uint8(255), mask)

    def _find_pairs(self, folder: str, problems: list[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The images and the labels of a folder by id; those without a partner go to `problems`."""
        images = self._find_files(folder, IMAGE_NAME, problems)
        masks = self._find_files(f"{folder}annot", MASK_NAME, problems)
        problems += unpaired(images, masks, f"labels {folder}annot/{{}}.png", f"image {folder}/{{}}.png")
        return images, masks

    def _find_files(self, folder: str, pattern: re.Pattern, problems: list[str]) -> dict[str, str]:
        names, example = self.data.names(folder), "<sequence>_<frame>.png"
        if not names:
            problems.append(f"no files in {folder}/ or {folder}.zip; expected {example}")
        return files_by_id(names, folder, pattern, example, problems)

    def _write_notes(self) -> tuple[str, ...]:
        trained = len(self.ids) - len(self._held)
        return (
            f"Trained on the {trained} images of train/, scored on the {len(self._held)} of {self._folders[1]}/.",
            "Label 11 (void) is neither trained on nor scored.",
        )
