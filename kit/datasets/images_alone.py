"""Images without masks, wherever they lie: what a trained run predicts.

Images("/kaggle/input/comp/test", channels=("red", "green", "blue"))
open_images("/kaggle/input/comp/test.zip", channels, "uint8", reading)     as the run's own data set reads them
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kit.data.dataset import Dataset
from kit.datasets.files import DataFolder
from kit.datasets.image_files import ONE, ImageFiles, image_patterns
from kit.datasets.matching import by_id
from kit.datasets.names import nfc
from kit.datasets.neighbours import Neighbours
from kit.datasets.patterns import IMAGE_SUFFIXES, Pattern, suffix_of
from kit.system.files import counted


class Images(Dataset):
    """The images below a folder, or in a zip. An id is the file's name without its suffix, or what a pattern says.

    channels: the names, or those that the run has; dtype: of all images, None for any.
    patterns: of the files, as Folder's `images`, by channel; where no file matches them, every image file is taken. The
    folders that a pattern begins with may be lacking: "test/*.tif" is found in the folder test, and beside it.
    planes: of files with several channels those to take.

    left_out: the paths of image files that the patterns do not match. problems: files whose ids are unsafe or double.
    Raises FileNotFoundError where there is no such folder or zip; ValueError for a damaged zip.
    """

    name, classes = "images", ("background", "foreground")

    def __init__(
        self,
        root: Path | str,
        channels: Sequence[str],
        dtype: str | None = None,
        patterns: Mapping[str, Pattern] | None = None,
        planes: Sequence[int] | None = None,
    ):
        self.channels, self.dtype, self.problems = tuple(channels), dtype, []
        data, paths = _listed(Path(root))
        files = {} if not patterns else _matched(paths, patterns, self.problems)
        self._files = ImageFiles(data, patterns if files else (ONE,), planes)
        if not files:
            self.problems.clear()
            files = {id: (path,) for id, path in _by_name(paths).items()}
        self._files.tests = {id: tuple(paths[path] for path in each) for id, each in files.items()}
        taken = {path for each in files.values() for path in each}
        self.left_out = [path for path in paths if suffix_of(path) in IMAGE_SUFFIXES and path not in taken]
        self.ids = sorted(files)
        self.test_ids = self.ids

    def read_image(self, id: str) -> np.ndarray:
        """Read an image -> (H, W, C), u8, u16 or f32 as stored. Raises BadImage, or KeyError for an unknown id."""
        return self._files.read(self._known(id), len(self.channels))

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, from its header. Raises BadImage or KeyError."""
        return self._files.size(self._known(id))

    def paths(self, id: str) -> tuple[str, ...]:
        """The files of an image: one, or one a channel. Raises KeyError."""
        return self._files.tests[self._known(id)]

    def __contains__(self, id: str) -> bool:
        return nfc(id) in self._files.tests

    def _known(self, id: str) -> str:
        if id not in self:
            raise KeyError(f"no image of the id {id!r:.90} in {self._files.data.root}")
        return nfc(id)


def open_images(root: Path | str, channels: Sequence[str], dtype: str | None, reading: Mapping[str, object]) -> Dataset:
    """The images below a folder or in a zip as a data set of the same kind reads them.

    reading: that data set's `reading` (see Folder and Neighbours); {} for files that are images, by their names.
    """
    patterns = image_patterns(reading["images"], reading.get("ids"), "images") if reading.get("images") else None
    around = reading.get("neighbours")
    count = len(channels) // len(around["offsets"]) if around else len(channels)
    images = Images(root, channels[:count], dtype, patterns, reading.get("planes"))
    if not around:
        return images
    fitting = [id for id in images.ids if all(re.search(around[name], id) for name in ("volume", "order"))]
    images.left_out += [path for id in sorted({*images.ids} - {*fitting}) for path in images.paths(id)]
    images.ids = images.test_ids = fitting
    stacked = Neighbours(images, around["offsets"], volume=around["volume"], order=around["order"])
    stacked.left_out, stacked.problems = images.left_out, images.problems
    return stacked


def _listed(root: Path) -> tuple[DataFolder, dict[str, str]]:
    """The files below a folder or in a zip: those of DataFolder, by their path below the folder or in the zip."""
    if root.is_dir():
        data = DataFolder(root)
        return data, {nfc(path): path for path in data.files()[0]}
    if root.suffix.lower() != ".zip" or not root.is_file():
        raise FileNotFoundError(f"{root} is no folder and no zip; expected one that holds the images")
    data = DataFolder(root.parent)
    return data, {nfc(path).partition("/")[2] or nfc(path): path for path in data.files(root.stem)[0]}


def _matched(paths: Mapping[str, str], patterns: Mapping[str, Pattern], problems: list[str]) -> dict[str, tuple]:
    """Paths by id, one a channel; an id that lacks a channel is a problem."""
    channels = {name: _of_pattern(list(paths), pattern, problems) for name, pattern in patterns.items()}
    ids = dict.fromkeys(id for files in channels.values() for id in files)
    lacking = {id: [name for name, files in channels.items() if id not in files] for id in ids}
    problems += [f"the image {id} has no file of {', '.join(names)}" for id, names in lacking.items() if names]
    return {id: tuple(files[id] for files in channels.values()) for id, names in lacking.items() if not names}


def _of_pattern(paths: Sequence[str], pattern: Pattern, problems: list[str]) -> dict[str, str]:
    """Paths by id of those that match, with as many of the pattern's first folders added as it takes."""
    parts = pattern.prefix.split("/") if pattern.prefix else []
    for count in range(len(parts) + 1):
        front = "".join(f"{part}/" for part in parts[:count])
        if own := [front + path for path in paths if pattern.match(front + path)]:
            return {id: path[len(front) :] for id, path in by_id(own, pattern, problems).items()}
    return {}


def _by_name(paths: Mapping[str, str]) -> dict[str, str]:
    """Image files by their names; by their paths where two have one name."""
    images = [path for path in paths if suffix_of(path) in IMAGE_SUFFIXES]
    names = {path: path.rpartition("/")[2].rpartition(".")[0] for path in images}
    if len(set(names.values())) < len(names):
        names = {path: path.rpartition(".")[0] for path in images}
    return {name: path for path, name in names.items()}


def describe_left_out(images: Dataset, root: Path) -> list[str]:
    """Lines on files that are no image of the data set, and on files whose ids cannot be used."""
    found = list(images.problems[:5])
    if images.left_out:
        what, named = counted(len(images.left_out), "image file"), ", ".join(sorted(images.left_out)[:3])
        have, are = ("has another name", "is") if len(images.left_out) == 1 else ("have other names", "are")
        more = ", …" * (len(images.left_out) > 3)
        found.append(f"{what} of {root} {have} than the run's images, and {are} left out: {named}{more}")
    return found
