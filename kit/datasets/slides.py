"""Anyone's slides: images too large to decode whole, with masks as files or as run lengths in a CSV.

    Slides(
        "data/kidneys",
        images="train/*.tiff",
        masks=("train.csv", "id", "encoding"),      # or "masks/{id}.png"
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

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from kit.data.dataset import Advice, Dataset
from kit.data.formats import MAX_PIXELS, BadImage, format_of
from kit.data.masks import StoredMask
from kit.data.png_rows import png_bands, png_header
from kit.data.regions import HEAD_BYTES, Regions, open_regions
from kit.data.run_masks import RunMask, run_mask_of
from kit.data.scaled import ScaledRegions
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.groups import group_ids
from kit.datasets.image_files import channel_names
from kit.datasets.matching import Found, Images, by_id, find_images, find_masks, front_of, lacking_masks, several_masks
from kit.datasets.patterns import Pattern
from kit.datasets.places import no_folder
from kit.datasets.run_tables import read_run_table
from kit.datasets.values import Colour, MaskValues, Values
from kit.system.files import counted, raise_all

BAND_BYTES = 1 << 25  # of a mask file that are in memory together


class Slides(Dataset):
    """Slides and their masks below one folder.

    Arguments:
        root: the folder. Files in zips must be unpacked, because parts of them are read.
        images: a pattern of the slides' paths, as of kit.datasets.Folder: "train/*.tiff". The files: see
            kit.data.regions.open_regions; tiled TIFFs are fastest.
        masks: a pattern with {id} of mask files: TIFF, NPY, grey PNG, or any image of up to 100,000,000 pixels; or
            (file, id column, mask column) of a CSV of run lengths. Where there are several classes a fourth name is
            that of the class's column, which holds its name or its number from 1. A slide without a row has an empty
            mask. There is one row for an image and class.
        order: of the CSV's run lengths: down columns ("F") or along rows ("C"). Starts count from 1.
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
        masks: str | tuple[str, ...],
        order: str = "F",
        classes: Sequence[str] = ("background", "foreground"),
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
        if scale < 1 or validation < 1 or order not in ("C", "F"):
            raise ValueError(
                f"scale={scale}, validation={validation}, order={order!r}: expected whole numbers from 1, and "
                '"C" or "F"'
            )
        self.data, self.classes, self.mean, self.std = DataFolder(root), tuple(map(str, classes)), mean, std
        self.name = name or re.sub(r"[^\w.-]+", "_", Path(root).resolve().name) or "slides"
        self.scale, self.validation, self.order = int(scale), int(validation), order
        self.absent = (absent,) if isinstance(absent, str) else tuple(absent)
        default = "binary" if len(self.classes) == 2 else "labels"
        self.mask_values = MaskValues(default if values is None else values, len(self.classes), ignore)
        self._opened: dict[str, Regions] = {}
        self._read: dict[str, RunMask] = {}
        self._find_files(Pattern(images), masks, groups, None if tests is None else Pattern(tests))
        count = open_regions(self._path(self._images[self.ids[0]])).shape[2] if self.ids else 3
        self.channels = channel_names(count if channels is None else channels)

    def _find_files(self, images: Pattern, masks: str | tuple, groups: object, tests: Pattern | None) -> None:
        """Find slides, masks and groups, and name the ids. Raises ValueError with all that is wrong."""
        problems: list[str] = []
        found, rows = Found(self.data, problems), {}
        if isinstance(masks, str):
            image_files, mask_files = _paired(found, images, Pattern(masks, ".+"))
        else:
            image_files, mask_files = by_id(found.matching(images), images, problems), {}
            rows = read_run_table(self.data, masks, self.classes)
            problems += [f"{masks[0]} has a mask of {id}, which is no slide" for id in sorted({*rows} - {*image_files})]
        test_files = {} if tests is None else by_id(found.matching(tests), tests, problems)
        ids = sorted(image_files)
        if groups is not None:
            self.groups = group_ids(ids, groups, self.data, problems)
        problems += [
            f"{file} lies in a zip: unpack it, because parts of it are read"
            for file in sorted({*image_files.values(), *mask_files.values(), *test_files.values()})
            if not self._path(file).is_file()
        ]
        raise_all(problems, f"problems with the files in {self.data.root}")
        front = front_of(image_files, test_files, images.prefix)
        self.ids, self.test_ids = [front + id for id in ids], sorted(test_files)
        if front:
            shared = counted(len(image_files.keys() & test_files), "test slide")
            self.notes = (f"The ids of all training slides begin with {front}: {shared} had the same id as one.",)
        self._images = {front + id: image_files[id] for id in ids} | test_files
        self._masks = {front + id: file for id, file in mask_files.items()}
        self._rows = {front + id: rows.get(id, {}) for id in ids} if not isinstance(masks, str) else {}
        self._table = "" if isinstance(masks, str) else masks[0]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_opened": {}}

    def regions(self, id: str) -> ScaledRegions:
        """The slide, shrunk by `scale`, to read regions of it. Raises BadImage, or KeyError for an unknown id."""
        if id not in self._opened:
            self._opened[id] = ScaledRegions(open_regions(self._path(self._images[id])), self.scale)
        return self._opened[id]

    def mask(self, id: str) -> RunMask:
        """The mask at the slide's own size, as runs of class numbers; 255 is ignored. Raises BadImage or KeyError."""
        if id not in self._read:
            self._read[id] = self._mask_of_rows(id) if id in self._rows else self._mask_of_file(self._masks[id])
        return self._read[id]

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of a slide at its own size, from its header."""
        return self.regions(id).regions.shape[:2]

    def read_image(self, id: str) -> np.ndarray:
        """A whole slide (H, W, C) at its own size. Raises ValueError for one of over MAX_PIXELS: read its regions."""
        slide = self.regions(id).regions
        return slide.read(0, 0, *self._small(id))

    def read_mask(self, id: str) -> np.ndarray:
        """A whole mask u8 (H, W) at its slide's own size. Raises ValueError as read_image."""
        return self.mask(id).read(0, 0, *self._small(id))

    def fingerprint(self) -> str:
        """SHA-256 over the paths and contents of slides, masks and the CSV, the groups, and how masks are read."""
        files = [*(self._images[id] for id in self.ids), *self._masks.values(), *filter(None, [self._table])]
        rule = self.mask_values.values, self.mask_values.ignore, self.channels, self.scale, self.order
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
            return RunMask.of_text(texts, self.shape(id), self.order)
        except ValueError as error:
            raise BadImage(f"{self._table}, {id}: {error}") from error

    def _mask_of_file(self, file: str) -> RunMask:
        """The runs of a mask file. What its values mean is decided by all that are in the file."""
        path = self._path(file)
        with path.open("rb") as opened:
            kind = format_of(opened.read(HEAD_BYTES), file)
        if kind in {"TIFF", "NPY"}:
            return self._mask_of_bands(file, *_stored_bands(path, file))
        if kind == "PNG" and (header := png_header(path)).height * header.width > MAX_PIXELS:
            return self._mask_of_bands(file, png_bands(path), header[:2], header.bits)
        mask = self.mask_values.read(path.read_bytes(), file)
        return run_mask_of([mask], mask.shape)

    def _mask_of_bands(self, file: str, bands: Iterable[np.ndarray], size: tuple[int, int], bits: int = 8) -> RunMask:
        """The runs of class numbers of bands of stored values u8 (rows, W)."""
        found = run_mask_of(bands, size)
        present = np.array([[0, *found.edges]], np.uint8).view(StoredMask)
        present.bits = bits
        if self.mask_values.is_colours:
            raise BadImage(f"{file}: a mask of numbers, and `values` maps colours. Map its numbers: values={{0: 0, …}}")
        labels = self.mask_values.apply(present, file)[0].tolist()
        if labels[0]:
            raise BadImage(f"{file}: its value 0 is class {labels[0]}, expected the background. Save it so")
        return found.relabelled(dict(zip(np.asarray(present)[0].tolist(), labels, strict=True)))


def _paired(found: Found, images: Pattern, masks: Pattern) -> tuple[dict[str, str], dict[str, str]]:
    """Paths of slides and of masks by id; what has no partner goes to the problems."""
    image_files = {id: paths[0] for id, paths in find_images(found, {"": images}, [masks]).items()}
    slides = Images(images, image_files)
    paired = find_masks(found, masks, slides)
    found.problems += [*several_masks(paired, slides), *lacking_masks(paired, masks, slides, advice="")]
    return image_files, {id: paths[0] for id, paths in paired.items()}


def _stored_bands(path: Path, file: str) -> tuple[Iterable[np.ndarray], tuple[int, int]]:
    """The values of a TIFF or NPY mask in bands u8 (rows, W), and its (height, width)."""
    stored = open_regions(path)
    if stored.shape[2] != 1 or stored.dtype not in (np.uint8, np.bool_):
        raise BadImage(
            f"{file}: a mask of {stored.shape[2]} channels of {stored.dtype}, expected one of 8 bits. Save it so"
        )
    height, width = stored.shape[:2]
    step = max(1, BAND_BYTES // width // stored.block[0]) * stored.block[0]
    bands = (stored.read(y, 0, min(step, height - y), width)[..., 0] for y in range(0, height, step))
    return (band.view(np.uint8) for band in bands), (height, width)
