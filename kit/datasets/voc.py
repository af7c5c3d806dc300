"""PASCAL VOC segmentation, 20 classes and background, with the official lists of images, and the SBD masks.

Files, as in the official tars: VOC2012/JPEGImages/<id>.jpg, SegmentationClass/<id>.png (palette indices, 255 is void),
ImageSets/Segmentation/{train,val}.txt. Everingham et al., "The PASCAL Visual Object Classes Challenge: a
Retrospective", IJCV 2015. The same for year=2011, whose tar has TrainVal/VOCdevkit/VOC2011.

Long, Shelhamer and Darrell (FCN, CVPR 2015) report on seg11valid: the 736 images of VOC 2011's val that SBD does not
train on. It is read from ImageSets/Segmentation/seg11valid.txt if that is there. Else year=2011 computes it from the
lists. The lists of 2012 cannot give it: their val has images that 2011 had not.
"""

import re
from pathlib import Path
from typing import Literal

import numpy as np

from kit.data.dataset import Dataset
from kit.data.images import decode_image
from kit.data.masks import class_mask, decode_mask
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.names import nfc
from kit.datasets.reading import check_size, read_size
from kit.datasets.voc_sbd import SBD, read_list
from kit.system.files import raise_all

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
SEG11VALID = Path("ImageSets/Segmentation/seg11valid.txt")
OFFICIAL = {  # images in the full lists; a note says where a list differs
    (2012, "train"): 1464,
    (2012, "val"): 1449,
    (2011, "train"): 1112,
    (2011, "val"): 1111,
    (2012, "seg11valid"): 736,
    (2011, "seg11valid"): 736,
    (2012, "sbd_train"): 8498,
    (2011, "sbd_train"): 8498,
}
SOURCES = {  # each `train` in words, for the notes
    "train": "VOC {year}'s train",
    "trainval": "VOC {year}'s train and val less the held-out ones",
    "train_aug": "VOC {year}'s train and SBD's train and val less the held-out ones",
    "sbd_train": "SBD's train less the held-out ones",
}
FROM_SBD = {"train_aug", "sbd_train"}  # of these, those that use images and masks of SBD


class VOC(Dataset):
    """The images and masks by id (2007_000032): those to train on, and those held out.

    data_dir: holds VOCdevkit/VOC<year>, VOC<year> or TrainVal/VOCdevkit/VOC<year>, or is that folder.
    train: "train"; "trainval", which adds val and needs held_out="seg11valid"; "train_aug", which adds SBD's train and
    val; "sbd_train", SBD's train alone, the 8,498 images that FCN was trained on. The last three leave out the
    held-out images. SBD's mask is read only where there is no official one (FCN's release read SBD's everywhere), and
    never for a held-out image.
    held_out: "val" or "seg11valid". sbd_dir: the folder of SBD, see SBD.
    ids: those to train on, then the held-out ones, both sorted. groups: every image is its own.
    Raises FileNotFoundError without the folder or a list, and one ValueError with every missing file, every id that is
    listed twice or unsafe, and every image of train.txt that is held out.
    """

    name = "voc"
    slug = "pascal-voc-2012"
    classes = CLASSES
    absent = CLASSES  # a part of the data may lack some

    def __init__(
        self,
        data_dir: Path | str,
        *,
        year: Literal[2011, 2012] = 2012,
        train: Literal["train", "trainval", "train_aug", "sbd_train"] = "train",
        held_out: Literal["val", "seg11valid"] = "val",
        sbd_dir: Path | str | None = None,
    ):
        _check_choice(year, train, held_out, sbd_dir)
        self.data = DataFolder(_find_root(Path(data_dir), year))
        self._sbd = None if sbd_dir is None else SBD(sbd_dir)
        problems = []
        train_list, val_list = (set(self._read_list(name, problems)) for name in ("train", "val"))
        held = val_list if held_out == "val" else self._seg11valid(val_list, year, problems)
        problems += [f"{id} is in train.txt and in {held_out}" for id in sorted(train_list & held)]
        trained = self._choose(train, train_list, val_list) - held
        self.ids, self._held = sorted(trained) + sorted(held), held
        self.groups = list(self.ids)
        more = trained if train in FROM_SBD else set()  # images that may come from SBD
        self._images = self._find_files("JPEGImages/{}.jpg", "img/{}.jpg", more, problems)
        self._masks = self._find_files("SegmentationClass/{}.png", "cls/{}.mat", more, problems)
        raise_all(problems, f"problems with VOC {year}'s files in {self.data.root}")
        self.notes = self._write_notes(year, train, held_out)

    def split(self) -> np.ndarray:
        """The lists as folds, int (n,): 0 (held out), or -1 (in no fold, always trained on)."""
        return np.array([0 if id in self._held else -1 for id in self.ids])

    def read_image(self, id: str) -> np.ndarray:
        """Read an image -> u8 (H, W, 3) RGB. Raises BadImage, or KeyError for an unknown id."""
        data, name = self._file(self._images, id)
        return decode_image(data.read(name), name, channels=3)

    def read_mask(self, id: str) -> np.ndarray:
        """Read a mask -> u8 (H, W), 0 to 20, 255 is void. Raises BadImage (also for another size) or KeyError."""
        data, name = self._file(self._masks, id)
        mask = self._sbd.read_mask(id) if data is not self.data else decode_mask(data.read(name), name)
        mask = class_mask(mask, self.num_classes, name)
        return check_size(mask, self.shape(id), name, self._images[id][1])

    def read_instances(self, id: str) -> np.ndarray | None:
        """Read the objects -> u8 (H, W): 0 is none, then 1, 2, …, 255 is void; None where there is no such file.

        Of SegmentationObject where the mask is official, else of SBD. Raises as read_mask.
        """
        data, _ = self._file(self._masks, id)
        name = f"SegmentationObject/{id}.png" if data is self.data else f"inst/{id}.mat"
        if not (data.root / name).is_file():
            return None
        found = decode_mask(data.read(name), name) if data is self.data else self._sbd.read_instances(id)
        return check_size(found, self.shape(id), name, self._images[id][1])

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, from its header."""
        return read_size(*self._file(self._images, id))

    def fingerprint(self) -> str:
        """SHA-256 over the ids, which of them are held out, and the paths and contents of the files in use."""
        files = [files[id] for files in (self._images, self._masks) for id in self.ids]
        official, sbd = ([name for data, name in files if (data is self.data) == own] for own in (True, False))
        of_sbd = fingerprint_of(self._sbd.data, sbd) if sbd else None
        return fingerprint_of(self.data, official, self.ids, sorted(self._held), of_sbd)

    def _read_list(self, name: str, problems: list[str]) -> list[str]:
        lists = DataFolder(self.data.root / "ImageSets")
        return read_list(lists.read(f"Segmentation/{name}.txt"), f"ImageSets/Segmentation/{name}.txt", problems)

    def _choose(self, train: str, train_list: set[str], val_list: set[str]) -> set[str]:
        """The ids of the lists that `train` stands for; held-out ones may be among them."""
        if train == "trainval":
            return train_list | val_list
        if train == "train_aug":
            return train_list | {*self._sbd.train_ids, *self._sbd.val_ids}
        return set(self._sbd.train_ids) if train == "sbd_train" else train_list

    def _seg11valid(self, val: set[str], year: int, problems: list[str]) -> set[str]:
        if (self.data.root / SEG11VALID).exists():
            return set(self._read_list("seg11valid", problems))
        if year == 2011 and self._sbd is not None:
            return val - set(self._sbd.train_ids)
        raise FileNotFoundError(
            f"{self.data.root / SEG11VALID} is missing: put the list of Long et al.'s FCN there, or give year=2011 and "
            "sbd_dir, from which it is computed"
        )

    def _find_files(
        self, official: str, sbd: str, more: set[str], problems: list[str]
    ) -> dict[str, tuple[DataFolder, str]]:
        """Map each id to its file: the official one, or SBD's for ids of `more`; those without go to `problems`."""
        own = set(map(nfc, self.data.names(official.split("/")[0])))
        added = set(map(nfc, self._sbd.data.names(sbd.split("/")[0]))) if more else set()
        files = {}
        for id in self.ids:
            names = official.format(id), sbd.format(id)
            if Path(names[0]).name in own:
                files[id] = self.data, names[0]
            elif id in more and Path(names[1]).name in added:
                files[id] = self._sbd.data, names[1]
            else:
                problems.append(f"{names[0]} is missing" + (f", as is SBD's {names[1]}" if id in more else ""))
        return files

    def _file(self, files: dict[str, tuple[DataFolder, str]], id: str) -> tuple[DataFolder, str]:
        if id not in files:
            raise KeyError(f"no image {id!r} in the lists in use of {self.data.root}")
        return files[id]

    def _write_notes(self, year: int, train: str, held_out: str) -> tuple[str, ...]:
        trained = len(self.ids) - len(self._held)
        from_sbd = sum(data is not self.data for data, _ in self._masks.values())
        source = SOURCES[train].format(year=year)
        notes = [
            f"Trained on {trained} images ({source}), scored on the {len(self._held)} of {held_out}.",
            "Void (255) is neither trained on nor scored: outlines drawn around objects, and areas too hard to label.",
        ]
        if held_out == "seg11valid" and not (self.data.root / SEG11VALID).exists():
            notes.append("seg11valid is computed: VOC 2011's val less SBD's train.")
        if from_sbd:
            notes.append(f"{from_sbd} masks are SBD's, which have no void; where there is an official one it is used.")
        listed = len(self._sbd.train_ids) if train == "sbd_train" else trained
        for name, found in ((held_out, len(self._held)), (train, listed)):
            official = OFFICIAL.get((year, name), found)
            if found != official:
                notes.append(f"{name} has {found:,} images here, officially {official:,}: scores cannot be compared.")
        return tuple(notes)


def _check_choice(year: int, train: str, held_out: str, sbd_dir: Path | str | None) -> None:
    if year not in {2011, 2012}:
        raise ValueError(f"VOC of the year {year!r}, expected 2011 or 2012")
    if train not in SOURCES or held_out not in {"val", "seg11valid"}:
        raise ValueError(
            f"train={train!r} and held_out={held_out!r}, expected one of {', '.join(map(repr, SOURCES))}, and 'val' or "
            "'seg11valid'"
        )
    if train == "trainval" and held_out == "val":
        raise ValueError("train='trainval' trains on all of val, so val cannot be held out; expected 'seg11valid'")
    if train in FROM_SBD and sbd_dir is None:
        raise ValueError(f"train={train!r} needs SBD; give sbd_dir, the folder of benchmark_RELEASE")


def _find_root(data_dir: Path, year: int) -> Path:
    name = f"VOC{year}"
    places = [data_dir / path for path in (f"VOCdevkit/{name}", name, f"TrainVal/VOCdevkit/{name}")]
    if not re.fullmatch(r"VOC\d{4}", data_dir.resolve().name) or data_dir.resolve().name == name:
        places.append(data_dir)
    root = next((place for place in places if (place / "ImageSets/Segmentation").is_dir()), None)
    if root is None:
        source = "voc" if year == 2012 else "voc2011"
        raise FileNotFoundError(
            f"{data_dir} holds no VOC {year}: expected VOCdevkit/{name}/ImageSets/Segmentation below it. "
            f"Unpack VOC's trainval tar there, or fetch it into data/{source}: python -m kit download {source}"
        )
    return root
