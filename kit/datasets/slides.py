"""Anyone's slides: images too large to decode whole, with masks as files or as run lengths in a CSV.

    Slides(
        "data/kidneys",
        images="train/*.tiff",
        masks=("train.csv", "id", "encoding"),      # or "masks/{id}.png"; or of each class {"glomerulus": …}
        classes=("background", "glomerulus"),
        tests="test/*.tiff",
        scale=4,
    )

A script like that of README.md then differs in these places:

    frame = Frame(Resizing(None), tile=(512, 512))
    crops = SlideCrops(data, run.trained_on(fold), (512, 512), count=2000, augment=augment, seed=run.seed)
    plan = Plan(epochs=20, batch_size=8, schedule=warmup_cosine, samples=crops)

Nothing reads a slide whole: training cuts crops (kit.data.crops), prediction walks over tiles. With `scale` both see
the slide shrunk; scores and the CSV are of its own size. The predictions are kept in runs/<run>/oof/ID.tif, levels
(h, w, K) at the shrunk size. `read_image` and `read_mask` serve slides of up to 100,000,000 pixels, for a look at them.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kit.data.dataset import Advice, Dataset
from kit.data.formats import MAX_PIXELS, BadImage
from kit.data.regions import open_regions
from kit.data.run_masks import RunMask
from kit.data.scaled import ScaledRegions
from kit.data.tasks import task_of
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.groups import group_ids
from kit.datasets.image_files import channel_names
from kit.datasets.mask_kinds import classes_of
from kit.datasets.matching import Found, Images, by_id, find_images, find_masks, front_of, lacking_masks, several_masks
from kit.datasets.patterns import Pattern
from kit.datasets.places import no_folder
from kit.datasets.run_tables import read_run_table
from kit.datasets.slide_masks import mask_of_file, mask_of_layers
from kit.datasets.values import Colour, MaskValues, Values
from kit.system.files import counted, raise_all

OPEN = 16  # slides that stay open: each keeps decoded tiles


class Slides(Dataset):
    """Slides and their masks below one folder.

    Arguments:
        root: the folder. Files in zips must be unpacked, because parts of them are read.
        images: a pattern of the slides' paths, as of kit.datasets.Folder: "train/*.tiff". The files: see
            kit.data.regions.open_regions; tiled TIFFs are fastest.
        masks: a pattern with {id} of mask files: TIFF, NPY, grey PNG, or any image of up to 100,000,000 pixels; or
            (file, id column, mask column) of a CSV of run lengths. Where there are several classes a fourth name is
            that of the class's column, which holds its name or its number from 1. A slide without a row has an empty
            mask. Where classes overlap and have a file each: a mapping from their names to patterns.
        rows: of the CSV: "class", one for an image and class; "instance", one for an object: those of a class are
            united.
        order: of the CSV's run lengths: down columns ("F") or along rows ("C"). Starts count from 1.
        task: "multilabel" for classes that overlap, which a mapping of masks means too; `classes` are then without a
            background. None: binary or multiclass. Other masks of a CSV whose classes overlap are refused when read.
        classes, values, ignore, groups, tests, absent, channels, mean, std, name: as of Folder.
        scale: train and predict on slides shrunk by this whole number.
        validation: the most tiles of a slide that are scored after each epoch of training.

    Raises one ValueError with every slide without a mask, mask without a slide, unsafe or double id, and id without a
    group; and ValueError or TypeError for arguments that cannot be.
    """

    advice = Advice(
        dtype="save all slides with one type",
        not_finite="replace them in the file",
        only_255="If 255 means {}, say so: values={{0: 0, 255: 1}}",
        absent="Compare `values` and the CSV with the masks, or take the name out of `classes`; where it may be "
        "missing: absent=({!r},)",
    )

    def __init__(
        self,
        root: Path | str,
        *,
        images: str,
        masks: str | tuple[str, ...] | Mapping[str, str],
        task: str | None = None,
        order: str = "F",
        rows: str = "class",
        classes: Sequence[str] | None = None,
        values: Values | None = None,
        ignore: int | Colour | Sequence | None = None,
        groups: str | Callable[[str], object] | Mapping[str, object] | tuple[str, str, str] | None = None,
        tests: str | None = None,
        scale: int = 1,
        validation: int = 24,
        absent: Sequence[str] = (),
        channels: int | Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        name: str | None = None,
    ):
        if not Path(root).is_dir():
            raise FileNotFoundError(no_folder(root))
        _check_choices(scale, validation, order, rows)
        self.data, self.mean, self.std = DataFolder(root), mean, std
        self.task = _task_of(task, masks, classes)
        self.classes, overlaps = classes_of(self.task, masks, classes), self.task == "multilabel"
        self.name = name or re.sub(r"[^\w.-]+", "_", Path(root).resolve().name) or "slides"
        self.scale, self.validation, self.order, self.rows = int(scale), int(validation), order, rows
        self.absent = (absent,) if isinstance(absent, str) else tuple(absent)
        if overlaps and ignore is not None:
            raise ValueError("ignored pixels are known to classes that do not overlap alone: leave `ignore` out")
        count = 2 if overlaps else len(self.classes)
        default = "binary" if count == 2 else "labels"
        self.mask_values = MaskValues(default if values is None else values, count, ignore)
        self.reading = {"images": images if tests is None else tests}  # plain values
        self._opened: dict[str, ScaledRegions] = {}
        self._read: dict[str, RunMask] = {}
        self._find_files(Pattern(images), masks, groups, None if tests is None else Pattern(tests))
        count = open_regions(self._path(self._images[self.ids[0]])).shape[2] if self.ids else 3
        self.channels = channel_names(count if channels is None else channels)

    def _find_files(self, images: Pattern, masks: object, groups: object, tests: Pattern | None) -> None:
        """Find slides, masks and groups, and name the ids. Raises ValueError with all that is wrong."""
        problems: list[str] = []
        found, rows = Found(self.data, problems), {}
        is_table = not isinstance(masks, str | Mapping)
        if is_table:
            image_files, mask_files = by_id(found.matching(images), images, problems), {}
            rows = read_run_table(self.data, masks, ("", *task_of(self).foreground), self.rows)
            problems += [f"{masks[0]} has a mask of {id}, which is no slide" for id in sorted({*rows} - {*image_files})]
        else:
            texts = [masks] if isinstance(masks, str) else [masks[name] for name in self.classes]
            image_files, mask_files = _paired(found, images, [Pattern(text, ".+") for text in texts])
        test_files = {} if tests is None else by_id(found.matching(tests), tests, problems)
        ids = sorted(image_files)
        if groups is not None:
            self.groups = group_ids(ids, groups, self.data, problems)
        problems += [
            f"{file} lies in a zip: unpack it, because parts of it are read"
            for file in sorted({*image_files.values(), *itertools.chain(*mask_files.values()), *test_files.values()})
            if not self._path(file).is_file()
        ]
        raise_all(problems, f"problems with the files in {self.data.root}")
        front = front_of(image_files, test_files, images.prefix)
        self.ids, self.test_ids = [front + id for id in ids], sorted(test_files)
        if front:
            shared = counted(len(image_files.keys() & test_files), "test slide")
            self.notes = (f"The ids of all training slides begin with {front}: {shared} had the same id as one.",)
        self._images = {front + id: image_files[id] for id in ids} | test_files
        self._masks = {front + id: files for id, files in mask_files.items()}  # of each a file, or one a class
        self._rows = {front + id: rows.get(id, {}) for id in ids} if is_table else {}
        self._table = masks[0] if is_table else ""

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_opened": {}}

    def regions(self, id: str) -> ScaledRegions:
        """The slide, shrunk by `scale`, to read regions of it. Raises BadImage, or KeyError for an unknown id."""
        found = self._opened.get(id)
        if found is None:
            found = ScaledRegions(open_regions(self._path(self._images[id])), self.scale)
            self._opened = {id: found} if len(self._opened) >= OPEN else {**self._opened, id: found}
        return found

    def mask(self, id: str) -> RunMask:
        """The mask at the slide's own size, as runs of class numbers; 255 is ignored. Raises BadImage or KeyError.

        Of classes that overlap the numbers begin with 1, and runs of several may share pixels.
        """
        if id not in self._read:
            self._read[id] = self._mask_of_rows(id) if id in self._rows else self._mask_of_files(id)
        return self._read[id]

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of a slide at its own size, from its header."""
        return self.regions(id).regions.shape[:2]

    def read_image(self, id: str) -> np.ndarray:
        """A whole slide (H, W, C) at its own size. Raises ValueError for one of over MAX_PIXELS: read its regions."""
        slide = self.regions(id).regions
        return slide.read(0, 0, *self._small(id))

    def read_mask(self, id: str) -> np.ndarray:
        """A whole mask u8 (H, W) at its slide's own size, bool (H, W, K) of classes that overlap.

        Raises ValueError as read_image.
        """
        size, mask = self._small(id), self.mask(id)
        if self.task != "multilabel":
            return mask.read(0, 0, *size)
        layers = [mask.layer(label).read(0, 0, *size) for label in range(1, len(self.classes) + 1)]
        return np.stack(layers, axis=2).view(np.bool_)

    def fingerprint(self) -> str:
        """SHA-256 over the paths and contents of slides, masks and the CSV, the groups, and how masks are read."""
        masks = itertools.chain(*self._masks.values())
        files = [*(self._images[id] for id in self.ids), *masks, *filter(None, [self._table])]
        rule = self.mask_values.values, self.mask_values.ignore, self.channels, self.scale, self.order
        rule += (self.task, self.classes) if self.task == "multilabel" else ()
        rule += (self.rows,) if self.rows != "class" else ()
        return fingerprint_of(self.data, files, rule, list(map(str, self.groups)))

    def test_fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the test slides, and how they are read."""
        files = [self._images[id] for id in self.test_ids]
        return fingerprint_of(self.data, files, self.channels, self.scale)

    def _path(self, file: str) -> Path:
        return self.data.root / file

    def _small(self, id: str) -> tuple[int, int]:
        height, width = self.shape(id)
        if height * width > MAX_PIXELS:
            raise ValueError(
                f"{id}: a slide of {height}×{width} pixels is not read whole; take parts of it by regions(id) and "
                "mask(id)"
            )
        return height, width

    def _mask_of_rows(self, id: str) -> RunMask:
        texts = self._rows[id]
        try:
            mask = RunMask.of_text(texts, self.shape(id), self.order)
        except ValueError as error:
            raise BadImage(f"{self._table}, {id}: {error}") from error
        if self.task != "multilabel" and mask.overlaps():
            raise BadImage(
                f"{self._table}, {id}: classes overlap, expected one class a pixel. For classes that overlap: "
                "task='multilabel', with `classes` without a background"
            )
        return mask

    def _mask_of_files(self, id: str) -> RunMask:
        layers = [mask_of_file(self.data.root, file, self.mask_values) for file in self._masks[id]]
        if self.task != "multilabel":
            return layers[0]
        try:
            return mask_of_layers(layers)
        except ValueError as error:
            raise BadImage(f"{self._masks[id][0]}: {error}") from error


def _check_choices(scale: int, validation: int, order: str, rows: str) -> None:
    """Raise ValueError for a value that is none of the choices."""
    if scale < 1 or validation < 1 or order not in ("C", "F") or rows not in ("class", "instance"):
        raise ValueError(
            f"scale={scale}, validation={validation}, order={order!r}, rows={rows!r}: expected whole numbers from "
            '1, "C" or "F", and "class" or "instance"'
        )


def _task_of(task: str | None, masks: object, classes: Sequence[str] | None) -> str:
    """The task that was given, or that masks and classes show. Raises ValueError for one that slides lack."""
    if task not in (None, "binary", "multiclass", "multilabel"):
        raise ValueError(f"task={task!r}, expected 'binary', 'multiclass' or 'multilabel', or None: by the classes")
    if task is not None or isinstance(masks, Mapping):
        return task or "multilabel"
    return "multiclass" if classes is not None and len(classes) > 2 else "binary"


def _paired(
    found: Found, images: Pattern, masks: Sequence[Pattern]
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Paths of slides and of masks by id, a mask of each pattern; what has no partner goes to the problems."""
    image_files = {id: paths[0] for id, paths in find_images(found, {"": images}, masks).items()}
    slides, files = Images(images, image_files), {}
    for pattern in masks:
        paired = find_masks(found, pattern, slides)
        found.problems += [*several_masks(paired, slides), *lacking_masks(paired, pattern, slides, advice="")]
        for id, paths in paired.items():
            files[id] = (*files.get(id, ()), paths[0])
    return image_files, files
