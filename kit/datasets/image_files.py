"""The images of a data set that is described by patterns: their files by id, and how their channels are read.

images="images/*.tif"                                     a file an image
images={"b11": "train/{id}/band_11.npy", "b14": …}        a file a channel
planes=(4,)                                               of files with several channels, those to take
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

import numpy as np

from kit.data.formats import BadImage
from kit.data.images import decode_image
from kit.datasets.files import DataFolder
from kit.datasets.matching import Files
from kit.datasets.patterns import Pattern
from kit.datasets.reading import read_size
from kit.system.files import counted

TRIED = 8  # images that are read to find out how many channels there are
CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}
ONE = ""  # stands for the channels' name where a file holds all of them


def image_patterns(images: str | PurePath | Mapping[str, str], ids: str | None, what: str) -> dict[str, Pattern]:
    """The pattern of the images, or that of each channel by its name. what: the argument's name, for messages."""
    if not isinstance(images, Mapping):
        return {ONE: Pattern(images, ids=ids)}
    patterns = {str(name): Pattern(text, ids=ids) for name, text in images.items()}
    without = [pattern.text for pattern in patterns.values() if not pattern.has_id and ids is None]
    if not patterns or without:
        found = ", ".join(map(repr, without)) or "no channel"
        raise ValueError(
            f"{what} is a mapping from channels to patterns and has {found}: expected {{id}} in each pattern, as in "
            "{'red': 'train/{id}/red.tif', 'nir': 'train/{id}/nir.tif'}"
        )
    return patterns


class ImageFiles:
    """Reads images by id. files, tests: the paths of each training and test image, filled in when they are found.

    names: the channels that have a file each; ONE where a file is an image. planes: of each file's channels those to
    take, None for all.
    """

    def __init__(self, data: DataFolder, names: Iterable[str], planes: Sequence[int] | None):
        self.data, self.planes = data, None if planes is None else tuple(planes)
        self.files: Files = {}
        self.tests: Files = {}
        self.names = tuple(name for name in names if name != ONE)
        if planes is not None and (not self.planes or not all(_is_index(plane) for plane in self.planes)):
            raise ValueError(f"planes={planes!r}, expected numbers of channels in a file, the first is 0: planes=(4,)")

    @property
    def facts(self) -> tuple:
        """What decides how the files are read, beside the channels; empty for files that are read as they are."""
        return () if self.planes is None and not self.names else (self.planes, self.names)

    def read(self, id: str, channels: int) -> np.ndarray:
        """Read an image -> (H, W, C). Raises BadImage, also for another number of channels than `channels`."""
        paths = self._paths_of(id)
        if self.planes is None and not self.names:
            return decode_image(self.data.read(paths[0]), paths[0], channels=channels)
        parts = [self._take(path) for path in paths]
        for path, part in zip(paths, parts, strict=True):
            if part.shape[:2] != parts[0].shape[:2] or part.dtype != parts[0].dtype:
                raise BadImage(
                    f"{path}: {part.dtype} {part.shape[:2]}, expected {parts[0].dtype} {parts[0].shape[:2]} like "
                    f"{paths[0]}: the channels of an image have one size and type"
                )
        image = np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
        if image.shape[2] != channels:
            raise BadImage(f"{paths[0]}: {counted(image.shape[2], 'channel')} are read, `channels` names {channels}")
        return image

    def size(self, id: str) -> tuple[int, int]:
        """(H, W) of an image, from the header of its first file."""
        return read_size(self.data, self._paths_of(id)[0])

    def paths(self, ids: Sequence[str]) -> list[str]:
        """The paths of some images, in their order."""
        return [path for id in ids for path in self._paths_of(id)]

    def find_channels(self, ids: Sequence[str]) -> tuple[str, ...]:
        """The names of the channels: those of the files, and of planes; else by the most that some images have."""
        if self.planes is not None or self.names:
            planes = ("",) if self.planes is None or len(self.planes) == 1 else self.planes
            parts = [[name, "" if plane == "" else f"plane {plane}"] for name in self.names or [""] for plane in planes]
            names = tuple(" ".join(filter(None, part)) for part in parts)
            return CHANNELS[1] if names == ("",) else names
        most = 1
        for id in ids[:: max(1, len(ids) // TRIED)]:
            image = decode_image(self.data.read(self.files[id][0]), self.files[id][0])
            count = image.shape[2]
            opaque = image.dtype.kind == "u" and count in {2, 4} and (image[..., -1] == np.iinfo(image.dtype).max).all()
            most = max(most, count - int(opaque))
        return channel_names(most)

    def check_names(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the channels. Raises ValueError where files and planes have another number."""
        if self.facts and len(names) != (own := len(self.find_channels(()))):
            raise ValueError(
                f"channels names {len(names)} ({', '.join(names)}), and `images` and `planes` give {own}: "
                f"{', '.join(self.find_channels(()))}. Name as many, or leave `channels` out"
            )
        return names

    def _paths_of(self, id: str) -> tuple[str, ...]:
        return self.files[id] if id in self.files else self.tests[id]

    def _take(self, path: str) -> np.ndarray:
        """The channels of one file that are wanted."""
        image = decode_image(self.data.read(path), path)
        if self.planes is not None:
            if max(self.planes) >= image.shape[2]:
                raise BadImage(
                    f"{path}: {counted(image.shape[2], 'channel')}, and planes={self.planes} asks for number "
                    f"{max(self.planes)}; the first is 0"
                )
            return np.ascontiguousarray(image[..., list(self.planes)])
        if (image != image[..., :1]).any():
            raise BadImage(
                f"{path}: {counted(image.shape[2], 'channel')}, expected one in each file where `images` names a file "
                "a channel. Say which to take: planes=(0,)"
            )
        return np.ascontiguousarray(image[..., :1])


def channel_names(channels: int | Sequence[str]) -> tuple[str, ...]:
    """Names of channels from their number, or as given."""
    if isinstance(channels, str):
        raise ValueError(f"channels={channels!r}, expected a number or several names: ('red', 'green', 'nir')")
    if not isinstance(channels, (int, np.integer)):
        return tuple(channels)
    if channels < 1:
        raise ValueError(f"channels={channels}, expected 1 or more")
    return CHANNELS.get(channels) or tuple(f"channel {number}" for number in range(1, channels + 1))


def _is_index(plane: object) -> bool:
    return isinstance(plane, (int, np.integer)) and not isinstance(plane, bool) and plane >= 0
