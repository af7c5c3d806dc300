"""ISBI 2012's membranes: nerve cells in electron microscopy, the data of the U-Net paper.

One stack of 30 neighbouring slices, 512×512 pixels of 4 nm, 50 nm apart (ventral nerve cord of a fly larva). The label
of a pixel is 0 on a membrane and 255 inside a cell. Cardona et al., PLoS Biology 8 (2010), and the challenge:
Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for connectomics", Frontiers in
Neuroanatomy 9 (2015).

Files, in either of two layouts:
    train-volume.tif, train-labels.tif    as the challenge publishes them, a page a slice
    image/<number>.png, label/<number>.png    a file a slice; zips of the folders are read too

kit cannot fetch it: the challenge gives its files to registered users alone (imagej.net, "ISBI 2012 EM segmentation
challenge"), for research; test-volume.tif has no public labels and is not read here.
"""

import functools
import re
from pathlib import Path

import numpy as np

from kit.data.dataset import Dataset
from kit.data.formats import BadImage
from kit.data.images import decode_image
from kit.data.masks import binary_mask, decode_mask
from kit.data.tiff import decode_tiff_pages
from kit.datasets.files import DataFolder
from kit.datasets.fingerprints import fingerprint_of
from kit.datasets.names import files_by_id, unpaired
from kit.datasets.reading import check_size
from kit.system.files import raise_all

VOLUME, LABELS = "train-volume.tif", "train-labels.tif"
SLICE_NAME = re.compile(r"([0-9]+)\.png", re.IGNORECASE)


class Membranes(Dataset):
    """The slices by number, "0", "1", …, and masks that are 1 inside a cell.

    ids: in the order of the stack. places: the number of each slice, for kit.folds.contiguous_kfold; groups: every
    slice is its own, because there is one stack, so no other group could be held out. `volumes` is not set: the scores
    of "whole volumes" would be those of the held-out part of the one stack.
    Raises one ValueError with every missing, extra, double, misnamed or unsafe file.
    """

    name = "membranes"
    slug = "isbi-2012-em"
    classes = ("membrane", "cell")
    channels = ("grey",)
    notes = (
        "All slices are neighbours in one stack. A run of them is held out, but its first and last slice resemble "
        "slices that were trained on, and slices of another stack may score lower. The intervals take slices as "
        "independent, which neighbours are not quite: they are somewhat too narrow.",
    )

    def __init__(self, data_dir: Path | str):
        self.data = DataFolder(data_dir)
        self._is_stack = self.data.path(VOLUME) is not None or self.data.path(LABELS) is not None
        self._images, self._masks = self._pages() if self._is_stack else self._slices()
        self.ids = sorted(self._images, key=int)
        self.groups = list(self.ids)
        self.places = [int(id) for id in self.ids]

    def __getstate__(self) -> dict:
        """Without the decoded stack: a data worker decodes its own."""
        return {name: value for name, value in vars(self).items() if name != "_stacks"}

    def read_image(self, id: str) -> np.ndarray:
        """Read a slice -> u8 (H, W, 1). Raises BadImage, or KeyError for an unknown id."""
        name = self._images[id]
        if self._is_stack:
            return self._stacks[0][int(id)]
        return decode_image(self.data.read(name), name, channels=1)

    def read_mask(self, id: str) -> np.ndarray:
        """Read a mask -> u8 (H, W), 1 is inside a cell. Raises BadImage, or KeyError for an unknown id."""
        name = self._masks[id]
        values = self._stacks[1][int(id)][..., 0] if self._is_stack else decode_mask(self.data.read(name), name)
        mask = binary_mask(values, name)
        return check_size(mask, self.shape(id), name, self._images[id])

    def fingerprint(self) -> str:
        """SHA-256 over the paths and contents of the files."""
        files = (
            [VOLUME, LABELS] if self._is_stack else [own[id] for own in (self._images, self._masks) for id in self.ids]
        )
        return fingerprint_of(self.data, files)

    @functools.cached_property
    def _stacks(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """All slices and all labels, (H, W, 1) each: 16 MB."""
        return tuple(decode_tiff_pages(self.data.read(name), name) for name in (VOLUME, LABELS))

    def _pages(self) -> tuple[dict[str, str], dict[str, str]]:
        """The slices and labels of the challenge's two files, by id; as text they are named by file and page."""
        lacking = [f"{self.data.root / name} is missing" for name in (VOLUME, LABELS) if self.data.path(name) is None]
        raise_all(lacking, "files of the stack cannot be found")
        counts = [len(stack) for stack in self._stacks]
        if counts[0] != counts[1]:
            raise BadImage(f"{LABELS}: {counts[1]} pages, expected {counts[0]} as in {VOLUME}")
        return tuple({str(n): f"{name}, page {n}" for n in range(counts[0])} for name in (VOLUME, LABELS))

    def _slices(self) -> tuple[dict[str, str], dict[str, str]]:
        """The files of image/ and label/ by id."""
        problems: list[str] = []
        images, masks = (
            files_by_id(self.data.names(folder), folder, SLICE_NAME, "<number>.png", problems)
            for folder in ("image", "label")
        )
        problems += unpaired(images, masks, "label label/{}.png", "image image/{}.png")
        if not images:
            problems.append(
                f"no slices in image/ or image.zip, and no {VOLUME}; expected <number>.png or a page a slice"
            )
        raise_all(problems, f"problems with the files of the membranes in {self.data.root}")
        return images, masks
