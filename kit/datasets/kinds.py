"""Are the images of a folder of one type, with as many channels?"""

import re
from collections import Counter
from typing import NamedTuple

import numpy as np

from kit.data.images import TOPS
from kit.system.files import counted


class Kind(NamedTuple):
    """The type of an image's values, and its channels: grey that is stored as RGB has one, opaque alpha is none."""

    dtype: str
    channels: int


def kind_of(image: np.ndarray) -> Kind:
    """The kind of an image (H, W, C)."""
    channels = image.shape[2]
    if channels in {2, 4} and (image[..., -1] == TOPS.get(image.dtype)).all():
        channels -= 1
    is_grey = channels == 3 and (image[..., 1:3] == image[..., :1]).all()
    return Kind(image.dtype.name, 1 if is_grey else channels)


def mixed(kinds: dict[str, Kind]) -> list[str]:
    """A line for each file of another type or number of channels than most of its folder. Grey may stand among RGB.

    kinds: by path. Folders that differ in their numbers alone, as those of patients, count as one.
    """
    folders: dict[str, list[str]] = {}
    for path in kinds:
        folders.setdefault(re.sub(r"\d+", "*", path.rpartition("/")[0]), []).append(path)
    lines = []
    for folder, paths in folders.items():
        dtype = Counter(kinds[path].dtype for path in paths).most_common(1)[0][0]
        colours = Counter(kinds[path].channels for path in paths if kinds[path].channels != 1)
        channels = colours.most_common(1)[0][0] if colours else 1
        fitting = {channels, 1} if channels == 3 else {channels}
        lines += [
            f"{path}: {kinds[path].dtype}, {counted(kinds[path].channels, 'channel')}; expected {dtype}, "
            f"{counted(channels, 'channel')} as most of {folder or '.'}. Convert it, or move it to a folder of its own"
            for path in sorted(paths)
            if kinds[path].dtype != dtype or kinds[path].channels not in fitting
        ]
    return lines
