"""Oxford-IIIT Pet: cut cats and dogs of 37 breeds out of photographs of every size.

Parkhi, Vedaldi, Zisserman, Jawahar: "Cats and Dogs", CVPR 2012. Files as the two archives of the data set unpack:
images/<breed>_<number>.jpg, annotations/trimaps/<breed>_<number>.png, annotations/trainval.txt and test.txt (the id is
a line's first word). A trimap holds 1 pet, 2 background, 3 border: a band along the outline, and thin parts like
whiskers, which the data set's README calls "not classified". The border matters: in 393 images it covered 12 % of the
area, and the pet inside it 30 %.

Only images that the two lists name are read. The whole data set also has images/*.mat, hidden files beside the
trimaps, about forty photographs that no list names, and GIF or PNG images under a .jpg name: kit.data.images knows a
format by the bytes.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np

from kit.data.dataset import Dataset
from kit.data.formats import BadImage
from kit.data.images import decode_image
from kit.data.masks import decode_mask
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.names import nfc
from kit.datasets.reading import check_size, read_size
from kit.system.files import check_name, raise_all

ID = re.compile(r".+_[0-9]+")
RULES = {  # what the trimap's 1, 2 and 3 become, by the name of the rule for the border
    "foreground": (1, 0, 1),
    "ignored": (1, 0, 255),
    "class": (1, 0, 2),
}
# The same photograph at two sizes. Only 393 of the 7,349 were searched (correlation 1.00 at 32×32, the next pair 0.80).
# The whole data set may have more, also between its two lists.
TWINS = {"Abyssinian_172": "Abyssinian_122", "Abyssinian_177": "Abyssinian_11"}
# Published damaged (tensorflow/datasets, pull request 5349); decoders warn and go on.
DAMAGED = ("beagle_116", "chihuahua_121")
NOTES = {
    "foreground": "The border of a trimap (3, a band along the outline) counts as pet.",
    "ignored": "The border of a trimap (3, a band along the outline) is ignored: neither trained on nor scored, so "
    "that an outline anywhere inside the band costs nothing.",
    "class": "The border of a trimap (3, a band along the outline) is a class of its own; pet is the area inside it.",
}


class Pets(Dataset):
    """The images and masks by id, `<breed>_<number>`.

    border: the value of a trimap's 3 in the masks: "foreground" (pet), "ignored" (255) or "class" (2).
    ids: those of trainval.txt, sorted, then those of test.txt, sorted. train_ids: the former.
    breeds: of each id; stratify by them: kit.folds.stratified_group_kfold(breeds, groups, …).
    groups: every image is its own, except TWINS. A breed is no group, because both official lists hold each breed: a
    score holds for other pets of known breeds.
    There is no submission. The images of test.txt have masks (see split).
    Raises one ValueError with every missing file, and every id that is double, misnamed or unsafe.
    """

    name = "pets"
    slug = "oxford-iiit-pet"

    def __init__(self, data_dir: Path | str, *, border: Literal["foreground", "ignored", "class"] = "foreground"):
        if border not in RULES:
            raise ValueError(f"border={border!r}, expected one of {', '.join(map(repr, RULES))}")
        self.border = border
        self.classes = ("background", "pet", "border") if border == "class" else ("background", "pet")
        self.data, self._annotations = DataFolder(data_dir), DataFolder(Path(data_dir, "annotations"))
        lists, problems = {}, []
        for name in ("trainval.txt", "test.txt"):
            lists[name] = self._read_list(name, problems)
        self.train_ids, held_out = map(sorted, lists.values())
        problems += [f"{id} is in trainval.txt and in test.txt" for id in sorted(set(self.train_ids) & set(held_out))]
        self.ids = self.train_ids + held_out
        self.groups, self.breeds = [TWINS.get(id, id) for id in self.ids], [id.rpartition("_")[0] for id in self.ids]
        self._known = frozenset(self.ids)
        damaged = [
            f"{id}.jpg is published damaged, and is decoded as far as it goes." for id in DAMAGED if id in self.ids
        ]
        self.notes = (NOTES[border], *damaged)
        raise_all(problems + self._missing(), f"problems with the files of Oxford-IIIT Pet in {data_dir}")

    def split(self) -> np.ndarray:
        """The official split as folds, i64 (n,): 0 (held out) for test.txt, -1 (always trained on) for trainval.txt."""
        return np.repeat([-1, 0], [len(self.train_ids), len(self.ids) - len(self.train_ids)])

    def read_image(self, id: str) -> np.ndarray:
        """Read an image -> u8 (H, W, 3) RGB. Raises BadImage, or KeyError for an unknown id."""
        name = self._image(id)
        return decode_image(self.data.read(name), name, channels=3, strict=id not in DAMAGED)

    def read_mask(self, id: str) -> np.ndarray:
        """Read a trimap -> u8 (H, W) by the border's rule; 0 is background, 1 pet.

        Raises BadImage, also for other values than 1, 2, 3 and another size than the image's, or KeyError.
        """
        image, name = self._image(id), f"annotations/trimaps/{id}.png"
        trimap = decode_mask(self._annotations.read(f"trimaps/{id}.png"), name)
        check_size(trimap, self.shape(id), name, image)
        if (odd := np.unique(trimap[(trimap < 1) | (trimap > 3)])).size:
            raise BadImage(f"{name}: trimap values {odd.tolist()}, expected 1 (pet), 2 (background) and 3 (border)")
        return np.array([0, *RULES[self.border]], np.uint8)[trimap]

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, from its header. Raises BadImage or KeyError."""
        return read_size(self.data, self._image(id))

    def fingerprint(self) -> str:
        """SHA-256 over the border's rule, the lists, and the paths and contents of the images and trimaps in use."""
        trimaps = fingerprint_of(self._annotations, [f"trimaps/{id}.png" for id in self.ids])
        images = [self._image(id) for id in self.ids]
        return fingerprint_of(self.data, images, self.border, self.train_ids, self.ids, trimaps)

    def _image(self, id: str) -> str:
        if id not in self._known:
            raise KeyError(f"no image of the id {id!r} in the lists of {self.data.root}")
        return f"images/{id}.jpg"

    def _read_list(self, name: str, problems: list[str]) -> list[str]:
        """The ids of a list; its faults go to `problems`."""
        try:
            lines = self._annotations.read(name).decode("utf-8-sig").splitlines()
        except FileNotFoundError:
            problems.append(f"annotations/{name} is missing")
            return []
        except (OSError, ValueError) as error:  # also of text that is not UTF-8
            problems.append(f"annotations/{name} cannot be read: {error}")
            return []
        ids = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            id = nfc(line.split()[0])
            if complaint := _complaint(id):
                problems.append(f"annotations/{name}, line {number}: {complaint}")
            elif id in ids:
                problems.append(f"annotations/{name}, line {number}: {id} is also in line {ids[id]}")
            else:
                ids[id] = number
        return list(ids)

    def _missing(self) -> list[str]:
        """A line for each file that an id lacks, or one for a folder without files."""
        problems = []
        for folder, file, names in (
            ("images", "{}.jpg", self.data.names("images")),
            ("annotations/trimaps", "{}.png", self._annotations.names("trimaps")),
        ):
            if not names:
                problems.append(f"no files in {folder}/")
                continue
            missing = {file.format(id) for id in self.ids} - set(map(nfc, names))
            problems += [f"{folder}/{name} is missing" for name in sorted(missing)]
        return problems


def _complaint(id: str) -> str | None:
    """The fault of an id in words; None if it has none."""
    if not ID.fullmatch(id):
        return f"{id!a} is not named like <breed>_<number>"
    try:
        check_name(id)
    except ValueError as error:
        return str(error)
    return None
