"""The images of a folder that nobody has described, found as `python -m kit new` finds them."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kit.data.dataset import Dataset
from kit.data.images import decode_image
from kit.data.regions import open_regions
from kit.data.scaled import ScaledRegions
from kit.datasets.files import DataFolder
from kit.datasets.reading import read_size
from kit.folds.copies import UNLABELLED

LARGE = 64_000_000  # pixels from which an image is read in parts
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".npy")


class FoundImages(Dataset):
    """Images by id, test images, and images without a mask, read as they are stored. groups: of each id, or none.

    grouped_by: what decides the groups, in words; "" without. split: the ids that a split of the data's own holds out.
    """

    classes = ("background", "foreground")

    def __init__(
        self,
        data: DataFolder,
        images: Mapping[str, str],
        tests: Mapping[str, str],
        groups: list[str] | None = None,
        grouped_by: str = "",
        unlabelled: Mapping[str, str] | None = None,
    ):
        self.data, self.name = data, data.root.resolve().name
        self.ids, self.test_ids = list(images), [id if id not in images else f"test: {id}" for id in tests]
        self._images = {**images, **dict(zip(self.test_ids, tests.values(), strict=True))}
        self.unlabelled = []
        for id, path in (unlabelled or {}).items():
            self.unlabelled.append(id if id not in self._images else f"{UNLABELLED}: {id}")
            self._images[self.unlabelled[-1]] = path
        self.grouped_by, self.split = grouped_by, frozenset()
        if groups is not None:
            self.groups = groups

    @classmethod
    def of_all(cls, root: Path) -> "FoundImages":
        """Every image file below `root`. Raises ValueError where there is none."""
        data = DataFolder(root)
        paths = [path for path in data.files()[0] if path.casefold().endswith(SUFFIXES)]
        if not paths:
            raise ValueError(f"{root} holds no image files")
        return cls(data, {path: path for path in paths}, {})

    def read_image(self, id: str) -> np.ndarray:
        """The image (H, W, C) as stored; one of more than LARGE pixels shrunk."""
        path = self._images[id]
        height, width = read_size(self.data, path)
        if height * width <= LARGE or self.data.path(path) is None:
            return decode_image(self.data.read(path), path)
        slide = open_regions(self.data.path(path))
        shrunk = ScaledRegions(slide, -(-max(height, width) // 4000))
        return shrunk.read(0, 0, *shrunk.shape[:2])


def look(root: Path) -> FoundImages | None:
    """The images with masks, the test images and the groups of a folder; None where no masks are found."""
    from kit.datasets.groups import group_ids
    from kit.new import Wishes, decide

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            choices = decide(root, Wishes(device="cpu"))
    except ValueError:
        return None
    found, grouping = choices.found, choices.grouping
    if not found.images:
        return None
    ids, problems = found.ids, []
    groups = None if choices.groups is None else group_ids(ids, choices.groups, found.data, problems)
    unlabelled = {id: path for id, path in found.lonely.items() if id not in found.images}  # else taken for empty
    images = FoundImages(
        found.data,
        {id: found.images[id] for id in ids},
        found.tests,
        [str(group) for group in groups] if groups and not problems else None,
        grouping.words if grouping else "",
        unlabelled,
    )
    images.split = frozenset(found.split)
    return images
