"""Masks of which each is one file: of class numbers, or with a channel for each of several overlapping classes."""

from collections.abc import Sequence

import numpy as np

from kit.data.formats import BadImage
from kit.data.images import decode_image
from kit.datasets.matching import Found, Images, find_masks, lacking_masks, several_masks
from kit.datasets.patterns import Pattern
from kit.datasets.reading import check_size
from kit.datasets.values import MaskValues
from kit.system.files import counted


class MaskFiles:
    """A file of class numbers for each image -> u8 (H, W), 255 = ignored.

    lacking: "refuse", "empty": an image without a mask is all background; "skip": it is left out.
    """

    def __init__(self, pattern: Pattern, values: MaskValues, lacking: str):
        self.patterns, self.values, self.lacking = (pattern,), values, lacking
        self._data, self._files, self._images = None, {}, {}

    @property
    def facts(self) -> tuple:
        """The meaning of the values, and what is said of images without a mask."""
        return (self.values.values, self.values.ignore, *([] if self.lacking == "refuse" else [self.lacking]))

    def pair(self, found: Found, images: Images) -> frozenset[str]:
        """Find the mask of each image; return the ids of those that are left out."""
        (pattern,), self._data, self._images = self.patterns, found.data, images.paths
        paired = find_masks(found, pattern, images)
        found.problems += several_masks(paired, images)
        if self.lacking == "refuse":
            found.problems += lacking_masks(paired, pattern, images)
        self._files = {id: paths[0] for id, paths in paired.items()}
        return frozenset(images.paths.keys() - paired if self.lacking == "skip" else ())

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Read a mask -> u8 (H, W). Raises BadImage."""
        if id not in self._files:
            return np.zeros(size, np.uint8)
        name = self._files[id]
        return check_size(self.values.read(self._data.read(name), name), size, name, self._images[id])

    def files(self, ids: Sequence[str]) -> list[str]:
        """The paths of the masks that are there."""
        return [self._files[id] for id in ids if id in self._files]


class LayerFiles(MaskFiles):
    """A file for each image with a channel for each class -> bool (H, W, K): classes may overlap."""

    def __init__(self, pattern: Pattern, values: MaskValues, classes: Sequence[str], lacking: str):
        super().__init__(pattern, values, lacking)
        self.classes = tuple(classes)

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Read the masks of all classes -> bool (H, W, K). Raises BadImage."""
        if id not in self._files:
            return np.zeros((*size, len(self.classes)), bool)
        name = self._files[id]
        layers = decode_image(self._data.read(name), name)
        if layers.shape[2] != len(self.classes):
            raise BadImage(
                f"{name}: {counted(layers.shape[2], 'channel')}, expected one for each of {', '.join(self.classes)}. "
                "Where each class has a file: masks={'a': 'masks/{id}_a.png', …}"
            )
        masks = [self.values.apply(layers[..., k], name) for k in range(layers.shape[2])]
        return check_size(np.stack(masks, axis=2) == 1, (*size, len(self.classes)), name, self._images[id])
