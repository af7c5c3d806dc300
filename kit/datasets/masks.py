"""What a data set that is described by arguments asks of its masks, wherever they lie.

mask_files.py     a file an image: class numbers, or a channel for each class
mask_objects.py   a file an object, or an image that numbers the objects
mask_classes.py   a file a class
kit.submission    CsvMasks: run lengths in a CSV; a MaskTable, which Folder opens
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from kit.datasets.files import DataFolder
from kit.datasets.matching import Found, Images
from kit.datasets.patterns import Pattern


class Masks(Protocol):
    """The masks of a data set.

    patterns: of the mask files, which are no images. facts: what else than the files decides how masks are read.
    """

    patterns: Sequence[Pattern]
    facts: tuple

    def pair(self, found: Found, images: Images) -> None:
        """Find the masks of the images. What does not fit goes to the problems of `found`. Raises ValueError."""
        ...

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Read a mask: u8 (H, W) of class numbers; multilabel bool (H, W, K); instances i32 (H, W) of labels.

        size: (H, W) of the image. Raises BadImage, also for another size.
        """
        ...

    def files(self, ids: Sequence[str]) -> list[str]:
        """The paths of all files that hold these masks."""
        ...


class Wanted(NamedTuple):
    """What a MaskTable needs to know of the data set. foreground: the names of the classes that it holds."""

    data: DataFolder
    task: str
    foreground: tuple[str, ...]
    ids: Sequence[str]
    size: Callable[[str], tuple[int, int]]  # (H, W) of an image, from its header


class OpenTable(Protocol):
    """The masks of a table that has been read: Masks that are found already."""

    facts: tuple

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Read a mask, as Masks.read. Raises BadImage."""
        ...

    def files(self, ids: Sequence[str]) -> list[str]:
        """The path of the table, below the data's folder."""
        ...


@runtime_checkable
class MaskTable(Protocol):
    """Masks in a table below the data's folder: kit.submission.CsvMasks."""

    def open_masks(self, wanted: Wanted) -> OpenTable:
        """Read the table. Raises one ValueError that lists all that is wrong with it, or FileNotFoundError."""
        ...


class TableMasks:
    """Stands for the masks of a MaskTable until the images are known, and their files are right."""

    patterns = ()

    def __init__(self, table: MaskTable):
        self._table = table

    def pair(self, found: Found, images: Images) -> None:
        """There are no files to find."""

    def open(self, wanted: Wanted) -> OpenTable:
        """Read the table. Raises ValueError listing all that is wrong with it."""
        return self._table.open_masks(wanted)
