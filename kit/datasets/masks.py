"""What a data set that is described by arguments asks of its masks, wherever they lie.

mask_files.py     a file an image: class numbers, or a channel for each class
mask_objects.py   a file an object, or an image that numbers the objects
mask_classes.py   a file a class
kit.submission    CsvMasks: run lengths in a CSV; a MaskTable, which Folder opens
"""

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from kit.data.shared_pixels import Shared
from kit.datasets.files import DataFolder
from kit.datasets.matching import Found, Images
from kit.datasets.patterns import Pattern
from kit.datasets.reading import read_size


class Masks(Protocol):
    """The masks of a data set.

    patterns: of the mask files, which are no images. facts: what else than the files decides how masks are read.
    """

    patterns: Sequence[Pattern]
    facts: tuple

    def pair(self, found: Found, images: Images) -> frozenset[str]:
        """Find the masks of the images; return the ids of those that are left out, because they have none.

        What does not fit goes to the problems of `found`. Raises ValueError.
        """
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
    tests: Collection[str] = ()  # ids of images that must have no mask, because they are to be predicted


class OpenTable(Protocol):
    """The masks of a table that has been read: Masks that are found already.

    skipped: ids of images that are left out, because the table does not name them.
    """

    facts: tuple
    skipped: frozenset[str]

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
    """The masks of a MaskTable, which is read when the images are known."""

    patterns = ()

    def __init__(self, table: MaskTable, task: str, foreground: tuple[str, ...]):
        self._table, self._task, self._foreground = table, task, foreground
        self._open: OpenTable | None = None

    @property
    def facts(self) -> tuple:
        """What else than the table decides how its masks are read."""
        return self._open.facts

    def pair(self, found: Found, images: Images) -> frozenset[str]:
        """Read the table. Raises ValueError listing all that is wrong with it."""

        def size(id: str) -> tuple[int, int]:
            return read_size(found.data, images.paths[id])

        ids = sorted(images.paths)
        wanted = Wanted(found.data, self._task, self._foreground, ids, size, images.tests)
        self._open = self._table.open_masks(wanted)
        return self._open.skipped

    def read(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """Read a mask, as Masks.read. Raises BadImage."""
        return self._open.read(id, size)

    def shared_pixels(self, id: str, size: tuple[int, int]) -> Shared:
        """The pixels that rows give to several objects. Raises BadImage."""
        find = getattr(self._open, "shared_pixels", None)  # a table of the user's own may have none
        return Shared() if find is None else find(id, size)

    def files(self, ids: Sequence[str]) -> list[str]:
        """The path of the table."""
        return self._open.files(ids)
