"""Masks of single objects: a file an object, or one image whose values number the objects.

ObjectFiles   stage1_train/{id}/masks/*.png: a binary mask for each object
LabelFiles    labels/{id}.png: grey of 8 or 16 bits, a palette, whole numbers of NPY or TIFF, or colours as numbers
"""

from collections.abc import Sequence

import cv2
import numpy as np

from kit.data.formats import BadImage, format_of
from kit.data.images import decode_image, stored_values
from kit.data.masks import decode_mask
from kit.data.shared_pixels import Shared, shared_pixels
from kit.datasets.mask_files import MaskFiles
from kit.datasets.matching import Found, Images, find_masks, lacking_masks
from kit.datasets.objects import label_image
from kit.datasets.patterns import Pattern
from kit.datasets.reading import check_size
from kit.datasets.values import MaskValues

TOP = np.iinfo(np.int32).max


def is_of_objects(pattern: Pattern) -> bool:
    """Whether a pattern means a file an object: beside {id} it has a wildcard that is no folder and no suffix."""
    name = pattern.text.removesuffix(".*").replace("**/", "")
    return pattern.has_id and any(mark in name for mark in "*?[")


class ObjectFiles:
    """A binary mask for each object of an image -> i32 (H, W), numbered in the order of the files' names.

    lacking: "refuse", "empty": an image without a file has no object; "skip": it is left out.
    """

    def __init__(self, pattern: Pattern, values: MaskValues, lacking: str):
        self.patterns, self.values, self.lacking = (pattern,), values, lacking
        self._data, self._files, self._images = None, {}, {}

    @property
    def facts(self) -> tuple:
        """The meaning of the values, and what is said of images without a file."""
        return "objects", self.values.values, self.lacking

    def pair(self, found: Found, images: Images) -> frozenset[str]:
        """Find the files of each image; return the ids of those that are left out."""
        (pattern,), self._data, self._images = self.patterns, found.data, images.paths
        self._files = {id: sorted(paths) for id, paths in find_masks(found, pattern, images).items()}
        if self.lacking == "refuse":
            found.problems += lacking_masks(self._files, pattern, images)
        return frozenset(images.paths.keys() - self._files if self.lacking == "skip" else ())

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Read and number the objects -> i32 (H, W). Raises BadImage."""
        return label_image(self._objects(id, size), size, id)

    def shared_pixels(self, id: str, size: tuple[int, int]) -> Shared:
        """The pixels of an image that are in several of its files. Raises BadImage."""
        objects = self._objects(id, size)
        return shared_pixels(objects, label_image(objects, size, id), id)

    def files(self, ids: Sequence[str]) -> list[str]:
        """The paths of all objects."""
        return [path for id in ids for path in self._files.get(id, ())]

    def _objects(self, id: str, size: tuple[int, int]) -> list[tuple[str, np.ndarray]]:
        """Of each object of an image the file, and its pixels as label_image takes them."""
        objects = []
        for name in self._files.get(id, ()):
            mask = check_size(self.values.read(self._data.read(name), name), size, name, self._images[id])
            objects.append((name, np.flatnonzero(mask == 1)))
        return objects


class LabelFiles(MaskFiles):
    """One image an image that numbers its objects -> i32 (H, W), 0 = none.

    components: the file is a binary mask, and each connected region of it (8 neighbours) an object.
    """

    def __init__(self, pattern: Pattern, components: bool, lacking: str):
        super().__init__(pattern, MaskValues("binary", 2, None), lacking)
        self.components = components

    @property
    def facts(self) -> tuple:
        """How the values are read."""
        return "components" if self.components else "labels", self.lacking

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Read the labels -> i32 (H, W). Raises BadImage."""
        if self.components:
            return regions(super().read(id, size))
        if id not in self._files:
            return np.zeros(size, np.int32)
        name = self._files[id]
        return check_size(read_labels(self._data.read(name), name), size, name, self._images[id])


def regions(mask: np.ndarray) -> np.ndarray:
    """Number the connected regions of a mask u8 (H, W), 8 neighbours -> i32 (H, W)."""
    return cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)[1]


def read_labels(data: bytes, name: str) -> np.ndarray:
    """Decode an image that numbers objects -> i32 (H, W): its values, or a number for each colour, 0 for black.

    Raises BadImage for other than whole numbers from 0, and for a binary mask of several regions.
    """
    stored = stored_values(data, name, format_of(data, name))
    if stored is not None and stored.dtype.kind in "bui" and stored.shape[2] == 1:
        if stored.size and (stored.min() < 0 or stored.max() > TOP):
            raise BadImage(f"{name}: labels {stored.min()} to {stored.max()}, expected 0 to {TOP}. Number them anew")
        labels = stored[..., 0].astype(np.int32)
    else:
        labels = _labels_of_image(data, name)
    found = np.unique(labels)
    if found.size and found[-1] in {255, 65535} and found.size - (found[0] == 0) == 1 and regions(
        (labels > 0).astype(np.uint8)
    ).max() > 1:  # fmt: skip
        raise BadImage(
            f"{name}: only 0 and {found[-1]}, in several regions; expected a number for each object. If each connected "
            "region is an object: values='components'"
        )
    return labels


def _labels_of_image(data: bytes, name: str) -> np.ndarray:
    """The labels of an image that is no plain array: i32 (H, W)."""
    try:
        stored = decode_mask(data, name)
    except BadImage as error:
        if "colour" not in error.found:
            raise
        pixels = decode_image(data, name, channels=3)
        if pixels.dtype != np.uint8:
            raise BadImage(f"{name}: colours of {pixels.dtype}, expected 8 bits a channel") from None
        red, green, blue = (pixels[..., k].astype(np.int32) for k in range(3))
        return red + 256 * green + 65536 * blue
    if stored.dtype.kind == "f":
        raise BadImage(f"{name}: labels with fractions, expected whole numbers")
    return np.asarray(stored).astype(np.int32)
