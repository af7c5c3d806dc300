"""Anyone's data set: images and masks found by patterns, in folders or zips, of any format that kit reads.

Folder(                                       # a mask an image
    "data/lungs",
    images="images/*.tif",
    masks="masks/{id}_mask.png",
    classes=("background", "lung", "tumour"),
    values={0: 0, 128: 1, 255: 2},
    groups=r"^(p\\d+)_",                      # p07_slice12 is of the patient p07
)
Folder(                                       # a mask an object: Data Science Bowl 2018
    "data/nuclei",
    images="stage1_train/{id}/images/*.png",
    masks="stage1_train/{id}/masks/*.png",
    tests="stage1_test/{id}/images/*.png",
    task="instances",
)
Folder(                                       # run lengths in a CSV, classes that overlap: UW-Madison
    "data/uw-madison",
    images="train/*/*/scans/slice_*_*.png",
    ids="{2}_slice_{3}",
    masks=CsvMasks("train.csv", UW_MADISON),  # of kit.submission
    task="multilabel",
    classes=("large_bowel", "small_bowel", "stomach"),
    groups=r"^(case\\d+)_",
)
"""

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kit.data.dataset import Advice, Dataset
from kit.data.formats import BadImage
from kit.data.shared_pixels import Shared
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.groups import group_ids
from kit.datasets.id_tables import IdTable, share_out
from kit.datasets.image_files import ONE, ImageFiles, channel_names, image_patterns
from kit.datasets.mask_kinds import MaskSource, classes_of, masks_of, task_of
from kit.datasets.matching import Files, Found, Images, find_images, front_of
from kit.datasets.patterns import Pattern
from kit.datasets.places import no_folder
from kit.datasets.values import Colour, Values
from kit.system.files import counted, raise_all


class Folder(Dataset):
    """Images and masks below one folder.

    Arguments:
        root: the folder. Its parts may be zips of the same names (train.zip in place of train/).
        images: a pattern of the images' paths, "images/*.tif" or "case*/scans/*.png", or a folder. An id is
            the path without the folders before the first wildcard and without the suffix; {id} in the pattern names it.
            Two of three folders: "{train,val}/*.png", with masks="{train,val}_masks/*.png".
            A mapping from channels to patterns with {id}, where each channel is a file:
            {"b11": "train/{id}/band_11.npy", "b14": "train/{id}/band_14.npy"}.
        masks: a pattern with {id}, as in "masks/{id}_mask.png"; or a folder in which the masks lie as the images do
            in theirs; or a pattern with the same wildcards as `images`, as in "case*/masks/*.png". A mapping from
            classes to patterns, where each class has a file. kit.submission.CsvMasks for run lengths in a CSV.
        task: "binary", "multiclass", "multilabel" (classes overlap) or "instances" (objects are counted). Default: by
            the classes. Masks of instances: a file an object, "masks/{id}/*.png"; or an image that numbers them.
            Masks of multilabel: a file a class, or one file with a channel for each class.
        classes: names, the background first; of multilabel without a background.
        values: what a mask's values mean. "binary": 0 and 1, or 0 and 255; "labels": class numbers; a number: pixels
            above it are 1; {0: 0, 128: 1, 255: 2}: the class of each value; {(255, 0, 0): 1, …}: of each colour.
            Default: "binary" for two classes, else "labels". Of an image that numbers objects "labels", or
            "components": each connected region of a binary mask is an object.
        ignore: the value, values or colours of pixels that are neither trained on nor scored.
        lacking: "refuse" an image without a mask file, take it for "empty", or "skip" it. Where each class has a file,
            "skip" leaves out images without any; in others a class without a file is nowhere.
        groups: what must stay together in a fold: a regular expression with one group, searched in each id; a function
            or mapping from id to group; or (file, id column, group column) of a CSV below `root`, whose id column holds
            ids, or one part of each id between marks, as p01 of p01_slice3. Default: every image is its own group.
        tests: a pattern of test images, or a mapping as `images`. Where a test image has the id of an image, as with
            train/*.png and test/*.png, the ids of all images begin with their folder: train/1. Test ids stay as the
            CSV has them. kit.submission.CsvIds: those of the images that a CSV names, as the sample submission.
        ids: a template of the ids, "{2}_slice_{3}", in which {1}, {2}, … are the texts of the wildcards of `images`,
            and of `tests`.
        absent: names of classes that may be in no mask, as in a part of a data set.
        channels: their number or their names. Default: as many as the images have, named if there are one or three.
            With channels=3 a grey image is repeated. mean, std: of each channel, see kit.data.Dataset.
        planes: of files with several channels those to take, as (4,) of eight points in time; the first is 0.
        name: used in file names. Default: the name of `root`.

    Raises one ValueError with every image without a mask, mask without an image, double or unsafe id, and id without
    a group; one with all that is wrong with a CSV of masks; and ValueError or TypeError for arguments that cannot be.
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
        images: str | Mapping[str, str],
        masks: MaskSource,
        task: str | None = None,
        classes: Sequence[str] | None = None,
        values: Values | None = None,
        ignore: int | Colour | Sequence | None = None,
        lacking: str = "refuse",
        groups: str | Callable[[str], object] | Mapping[str, object] | tuple[str, str, str] | None = None,
        tests: str | Mapping[str, str] | IdTable | None = None,
        ids: str | None = None,
        absent: Sequence[str] = (),
        channels: int | Sequence[str] | None = None,
        planes: Sequence[int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        name: str | None = None,
    ):
        self.data, self.mean, self.std = DataFolder(root), mean, std
        self.name = name or re.sub(r"[^\w.-]+", "_", Path(root).resolve().name) or "folder"
        self.absent = (absent,) if isinstance(absent, str) else tuple(absent)
        table, tests = (tests, None) if isinstance(tests, IdTable) else (None, tests)
        self.reading = {"images": images if tests is None else tests, "ids": ids, "planes": planes}  # plain values
        refused: list[str] = []
        with _noting(refused):
            self.task = task_of(task, masks, classes)
            self.classes = classes_of(self.task, masks, classes)
            self._masks = masks_of(masks, self.task, self.classes, values, ignore, lacking)
        with _noting(refused):
            patterns = image_patterns(images, ids, "images")
            self._images = ImageFiles(self.data, patterns, planes)
        with _noting(refused):
            test_patterns = {} if tests is None else _like(images, image_patterns(tests, ids, "tests"))
        with _noting(refused):
            named = None if channels is None else channel_names(channels)
        _raise_any(refused)
        if not Path(root).is_dir():
            raise FileNotFoundError(no_folder(root, _of_zip(Path(root), images)))
        images_of, tests_of = self._find_files(patterns, test_patterns if table is None else table, groups)
        self._name_images(images_of, tests_of, next(iter(patterns.values())).prefix)
        self.channels = self._images.find_channels(self.ids) if named is None else self._images.check_names(named)

    def read_image(self, id: str) -> np.ndarray:
        """Read an image -> (H, W, C), u8, u16 or f32 as stored. Raises BadImage, or KeyError for an unknown id."""
        self._check_known(id)
        try:
            return self._images.read(id, len(self.channels))
        except BadImage as error:
            if not error.advice:
                raise
            fix = "Give `channels` the number that every image has, or save this one with as many"
            raise BadImage(error.found, fix) from error

    def read_mask(self, id: str) -> np.ndarray:
        """Read a mask: u8 (H, W) of class numbers, 255 is ignored; multilabel bool (H, W, K); instances i32 (H, W).

        Raises BadImage (also if not of its image's size) or KeyError.
        """
        self._check_known(id, mask=True)
        return self._masks.read(id[len(self._front) :], self.shape(id))

    def shared_pixels(self, id: str) -> Shared:
        """The pixels of an image that are in several objects of its files or rows; read_mask gives each to one."""
        find = getattr(self._masks, "shared_pixels", None)
        return Shared() if find is None else find(id[len(self._front) :], self.shape(id))

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, from its header. Raises BadImage or KeyError."""
        self._check_known(id)
        return self._images.size(id)

    def fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the images and masks, their groups, and how they are read."""
        masks = self._masks.files([id[len(self._front) :] for id in self.ids])
        rule = (*self._masks.facts, self.channels, *self._images.facts)
        return fingerprint_of(self.data, [*self._images.paths(self.ids), *masks], rule, list(map(str, self.groups)))

    def test_fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the test images, and the channels."""
        return fingerprint_of(self.data, self._images.paths(self.test_ids), self.channels, *self._images.facts)

    def _check_known(self, id: str, mask: bool = False) -> None:
        if id not in self._images.files and (mask or id not in self._images.tests):
            raise KeyError(f"no {'mask' if mask else 'image'} of the id {id!r} in {self.data.root}")

    def _find_files(
        self, patterns: Mapping[str, Pattern], of_tests: Mapping[str, Pattern] | IdTable, groups: object
    ) -> tuple[Files, Files]:
        """The images and the test images by id; also finds the masks and the groups. Raises ValueError."""
        problems: list[str] = []
        missing: list[str] = []
        found, images, tests = Found(self.data, problems), {}, {}
        with _noting(missing):
            images = find_images(found, patterns, self._masks.patterns)
            if isinstance(of_tests, IdTable):
                images, tests = share_out(found, images, of_tests)
            first = {id: paths[0] for id, paths in images.items()}
            first_tests = {id: paths[0] for id, paths in tests.items()}
            skipped = self._masks.pair(found, Images(next(iter(patterns.values())), first, first_tests))
            images = self._without(images, skipped)
        with _noting(missing):
            tests = tests if isinstance(of_tests, IdTable) else find_images(found, of_tests)
        _raise_any(missing)
        taken = {path for paths in images.values() for path in paths}
        problems += [
            f"{path} is an image of `images` and of `tests`; let each pattern match its own files alone"
            for path in sorted({path for paths in tests.values() for path in paths} & taken)
        ]
        if groups is not None:
            self.groups = group_ids(sorted(images), groups, self.data, problems)
        raise_all(problems, f"problems with the files in {self.data.root}")
        return images, tests

    def _without(self, images: Files, skipped: Collection[str]) -> Files:
        """The images that are not skipped; a note says how many are. Raises ValueError where none is left."""
        if not skipped:
            return images
        if len(skipped) == len(images):
            raise ValueError(f"none of {counted(len(images), 'image')} in {self.data.root} has a mask")
        names = ", ".join(sorted(skipped)[:3]) + ", …" * (len(skipped) > 3)
        self.notes = (*self.notes, f"{counted(len(skipped), 'image')} without a mask are left out: {names}")
        return {id: paths for id, paths in images.items() if id not in skipped}

    def _name_images(self, images_of: Files, tests_of: Files, prefix: str) -> None:
        """Set the ids, with a folder in front where a test image has the same. prefix: the folders of all images."""
        self._front = front_of(images_of, tests_of, prefix)
        self.ids, self.test_ids = [self._front + id for id in sorted(images_of)], sorted(tests_of)
        if self._front:
            shared = counted(len(images_of.keys() & tests_of), "test image")
            note = f"The ids of all training images begin with {self._front}: {shared} had the same id as one."
            self.notes = (*self.notes, note)
        self._images.files, self._images.tests = {self._front + id: paths for id, paths in images_of.items()}, tests_of


@contextlib.contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Go on after a ValueError, with its message among the problems."""
    try:
        yield
    except ValueError as error:
        problems.append(str(error))


def _raise_any(problems: list[str]) -> None:
    """Raise one ValueError with all messages, where there are any."""
    if problems:
        raise ValueError("\n".join(problems))


def _like(images: object, patterns: dict[str, Pattern]) -> dict[str, Pattern]:
    """The patterns of test images, if they have the channels of the images. Raises ValueError."""
    names = tuple(map(str, images)) if isinstance(images, Mapping) else (ONE,)
    if {*names} != {*patterns}:
        of_images, of_tests = (", ".join(filter(None, each)) or "one pattern" for each in (names, patterns))
        raise ValueError(f"tests has {of_tests}, expected {of_images} as `images`")
    return {name: patterns[name] for name in names}


def _of_zip(root: Path, images: str | Mapping[str, str]) -> str:
    """How to read a zip in place."""
    name, images = (
        root.name.removesuffix(".zip"),
        next(iter(images.values())) if isinstance(images, Mapping) else images,
    )
    return (
        f", or name the folder in which it lies, and let every pattern (and the file of groups) begin with {name}/: "
        f"Folder({str(root.parent)!r}, images={f'{name}/{images}'!r}, …)"
    )
