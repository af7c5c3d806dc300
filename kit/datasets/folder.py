"""Anyone's data set: images and masks found by patterns, in folders or zips, of any format that kit reads.

Folder(
    "data/lungs",
    images="images/*.tif",
    masks="masks/{id}_mask.png",
    classes=("background", "lung", "tumour"),
    values={0: 0, 128: 1, 255: 2},
    groups=r"^(p\\d+)_",  # p07_slice12 is of the patient p07
)
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kit.data.dataset import Advice, Dataset
from kit.data.formats import BadImage
from kit.data.images import decode_image
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.groups import group_ids
from kit.datasets.matching import Found, by_id, front_of, pair_files
from kit.datasets.patterns import Pattern
from kit.datasets.places import no_folder
from kit.datasets.reading import check_size, read_size
from kit.datasets.values import Colour, MaskValues, Values
from kit.system.files import counted, raise_all

TRIED = 8  # images that are read to find out how many channels there are
CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}


class Folder(Dataset):
    """Images and masks below one folder.

    Arguments:
        root: the folder. Its parts may be zips of the same names (train.zip in place of train/).
        images: a pattern of the images' paths, "images/*.tif" or "case*/scans/*.png", or a folder. An id is
            the path without the folders before the first wildcard and without the suffix; {id} in the pattern names it.
        masks: a pattern with {id}, as in "masks/{id}_mask.png"; or a folder in which the masks lie as the images do
            in theirs; or a pattern with the same wildcards as `images`, as in "case*/masks/*.png".
        classes: names, the background first.
        values: what a mask's values mean. "binary": 0 and 1, or 0 and 255; "labels": class numbers; a number: pixels
            above it are 1; {0: 0, 128: 1, 255: 2}: the class of each value; {(255, 0, 0): 1, …}: of each colour.
            Default: "binary" for two classes, else "labels".
        ignore: the value, values or colours of pixels that are neither trained on nor scored.
        groups: what must stay together in a fold: a regular expression with one group, searched in each id; a function
            or mapping from id to group; or (file, id column, group column) of a CSV below `root`. Default: every image
            is its own group.
        tests: a pattern of test images. Where a test image has the id of an image, as with train/*.png and
            test/*.png, the ids of all images begin with their folder: train/1. Test ids stay as the CSV has them.
        absent: names of classes that may be in no mask, as in a part of a data set.
        channels: their number or their names. Default: as many as the images have, named if there are one or three.
            With channels=3 a grey image is repeated. mean, std: of each channel, see kit.data.Dataset.
        name: used in file names. Default: the name of `root`.

    Raises one ValueError with every image without a mask, mask without an image, double or unsafe id, and id without
    a group; and ValueError or TypeError for arguments that cannot be.
    """

    advice = Advice(
        dtype="save all images with one type",
        not_finite="replace them in the file",
        only_255="If 255 means {}, say so: values={{0: 0, 255: 1}}",
        absent="Compare `values` with the masks, or take the name out of `classes`; where it may be missing: "
        "absent=({!r},)",
    )

    def __init__(
        self,
        root: Path | str,
        *,
        images: str,
        masks: str,
        classes: Sequence[str] = ("background", "foreground"),
        values: Values | None = None,
        ignore: int | Colour | Sequence | None = None,
        groups: str | Callable[[str], object] | Mapping[str, object] | tuple[str, str, str] | None = None,
        tests: str | None = None,
        absent: Sequence[str] = (),
        channels: int | Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        name: str | None = None,
    ):
        self.data, self.classes, self.mean, self.std = DataFolder(root), _names(classes), mean, std
        self.name = name or re.sub(r"[^\w.-]+", "_", Path(root).resolve().name) or "folder"
        self.absent = (absent,) if isinstance(absent, str) else tuple(absent)
        default = "binary" if len(self.classes) == 2 else "labels"
        self.mask_values = MaskValues(default if values is None else values, len(self.classes), ignore)
        if not Path(root).is_dir():
            raise FileNotFoundError(no_folder(root, _of_zip(Path(root), images)))
        problems: list[str] = []
        found = Found(self.data, problems)
        image_files, mask_files = pair_files(found, Pattern(images), Pattern(masks, ".+"), problems)
        test_files = {} if tests is None else by_id(found.matching(Pattern(tests)), Pattern(tests), problems)
        problems += [
            f"{path} is an image of `images` and of `tests`; let each pattern match its own files alone"
            for path in sorted({*test_files.values()} & {*image_files.values()})
        ]
        ids = sorted(image_files)
        if groups is not None:
            self.groups = group_ids(ids, groups, self.data, problems)
        raise_all(problems, f"problems with the files in {root}")
        front = front_of(image_files, test_files, Pattern(images).prefix)
        self.ids, self.test_ids = [front + id for id in ids], sorted(test_files)
        if front:
            shared = counted(len(image_files.keys() & test_files), "test image")
            self.notes = (f"The ids of all training images begin with {front}: {shared} had the same id as one.",)
        self._images = {front + id: image_files[id] for id in ids} | test_files
        self._masks = {front + id: mask_files[id] for id in ids}
        self.channels = self._find_channels() if channels is None else _channel_names(channels)

    def read_image(self, id: str) -> np.ndarray:
        """Read an image -> (H, W, C), u8, u16 or f32 as stored. Raises BadImage, or KeyError for an unknown id."""
        name = self._file(self._images, id)
        try:
            return decode_image(self.data.read(name), name, channels=len(self.channels))
        except BadImage as error:
            if not error.advice:
                raise
            fix = "Give `channels` the number that every image has, or save this one with as many"
            raise BadImage(error.found, fix) from error

    def read_mask(self, id: str) -> np.ndarray:
        """Read a mask -> u8 (H, W) of class numbers, 255 is ignored.

        Raises BadImage (also if not of its image's size) or KeyError.
        """
        name = self._file(self._masks, id)
        return check_size(self.mask_values.read(self.data.read(name), name), self.shape(id), name, self._images[id])

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, from its header. Raises BadImage or KeyError."""
        return read_size(self.data, self._file(self._images, id))

    def fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the images and masks, their groups, and how masks are read."""
        files = [files[id] for files in (self._images, self._masks) for id in self.ids]
        rule = self.mask_values.values, self.mask_values.ignore, self.channels
        return fingerprint_of(self.data, files, rule, list(map(str, self.groups)))

    def test_fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the test images, and the channels."""
        return fingerprint_of(self.data, [self._images[id] for id in self.test_ids], self.channels)

    def _file(self, files: dict[str, str], id: str) -> str:
        if id not in files:
            raise KeyError(f"no {'mask' if files is self._masks else 'image'} of the id {id!r} in {self.data.root}")
        return files[id]

    def _find_channels(self) -> tuple[str, ...]:
        """The most channels that some images have; alpha that is opaque does not count."""
        most = 1
        for id in self.ids[:: max(1, len(self.ids) // TRIED)]:
            name = self._images[id]
            image = decode_image(self.data.read(name), name)
            count = image.shape[2]
            opaque = image.dtype.kind == "u" and count in {2, 4} and (image[..., -1] == np.iinfo(image.dtype).max).all()
            most = max(most, count - int(opaque))
        return _channel_names(most)


def _of_zip(root: Path, images: str) -> str:
    """How to read a zip in place."""
    name = root.name.removesuffix(".zip")
    return (
        f", or name the folder in which it lies, and let every pattern (and the file of groups) begin with {name}/: "
        f"Folder({str(root.parent)!r}, images={f'{name}/{images}'!r}, …)"
    )


def _names(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"classes={names!r}, expected two or more different names, the background first")
    return tuple(map(str, names))


def _channel_names(channels: int | Sequence[str]) -> tuple[str, ...]:
    """Names of channels from their number, or as given."""
    if isinstance(channels, str):
        raise ValueError(f"channels={channels!r}, expected a number or several names: ('red', 'green', 'nir')")
    if not isinstance(channels, (int, np.integer)):
        return tuple(channels)
    if channels < 1:
        raise ValueError(f"channels={channels}, expected 1 or more")
    return CHANNELS.get(channels) or tuple(f"channel {number}" for number in range(1, channels + 1))
