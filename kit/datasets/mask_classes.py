"""Masks of which each class of an image is a file of its own: masks={"fish": "masks/{id}_fish.png", …}.

The classes may overlap.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kit.datasets.mask_files import MaskFiles
from kit.datasets.matching import Found, Images
from kit.datasets.patterns import Pattern
from kit.datasets.values import MaskValues


class ClassFiles:
    """A file for each image and class -> bool (H, W, K), K in the order of `patterns`.

    lacking: "refuse"; "empty": a class without a file is nowhere in the image; "skip": an image without a file of any
    class is left out; in others a class without a file is nowhere in the image.
    """

    def __init__(self, patterns: Mapping[str, Pattern], values: MaskValues, lacking: str):
        self.patterns = tuple(patterns.values())
        self._classes = {name: MaskFiles(pattern, values, lacking) for name, pattern in patterns.items()}

    @property
    def facts(self) -> tuple:
        """The classes, and how their files are read."""
        return tuple((name, *masks.facts) for name, masks in self._classes.items())

    def pair(self, found: Found, images: Images) -> frozenset[str]:
        """Find the masks of each class; return the ids of the images that are left out."""
        return frozenset.intersection(*(masks.pair(found, images) for masks in self._classes.values()))

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Read the masks of all classes -> bool (H, W, K). Raises BadImage."""
        return np.stack([masks.read(id, size) == 1 for masks in self._classes.values()], axis=2)

    def files(self, ids: Sequence[str]) -> list[str]:
        """The paths of all masks."""
        return [path for masks in self._classes.values() for path in masks.files(ids)]
