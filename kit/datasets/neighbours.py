"""2.5-D: the slices around an image as further channels, for volumes that are saved slice by slice.

slices = Folder("data/uw-madison", …)
data = Neighbours(slices, offsets=(-1, 0, 1), volume=r"^(case\\d+_day\\d+)_", order=r"slice_(\\d+)")
"""

import hashlib
import re
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from kit.data.dataset import Dataset, has_groups
from kit.data.formats import BadImage
from kit.data.identity import reading_code
from kit.data.shared_pixels import Shared
from kit.data.tasks import task_of
from kit.system.files import raise_all

KEPT_BYTES = 64 << 20  # of images that were read last: neighbours are mostly asked for one after the other


class Neighbours(Dataset):
    """A data set whose images are those of `data` with the slices around them; masks are those of the middle slice.

    Arguments:
        data: a data set of slices.
        offsets: which slices, in the order of the channels: 0 is the image itself, -1 the slice before it in its
            volume. Before the first and behind the last slice these are repeated.
        volume: a regular expression with one group, searched in each id: the volume's name.
        order: a regular expression with one group, a whole number: the place of a slice in its volume. A number that is
            missing is passed over.

    volumes: {id: name of the volume}, also of test images; the report scores whole volumes too. With offsets=(0,) the
    images stay as they are.
    ids, groups, classes, task, test ids and notes are those of `data`. Test images have neighbours among test images
    alone. Where groups are not given, a volume is a group.
    Raises one ValueError with every id that has no volume or no place, every place that two slices of a volume share,
    and every volume that lies in several groups; or for offsets that cannot be.
    """

    def __init__(self, data: Dataset, offsets: Sequence[int] = (-1, 0, 1), *, volume: str, order: str):
        self.offsets = _whole(offsets)
        self.data, self.name, self.classes, self.task = data, data.name, tuple(data.classes), task_of(data).name
        self.ids, self.test_ids = list(data.ids), list(getattr(data, "test_ids", []))
        for same in ("notes", "drawn", "absent", "advice", "dtype"):
            setattr(self, same, getattr(data, same, getattr(Dataset, same)))
        self.channels = tuple(_named(channel, offset) for offset in self.offsets for channel in data.channels)
        if getattr(data, "mean", None) is not None:
            self.mean, self.std = tuple(data.mean) * len(self.offsets), tuple(data.std) * len(self.offsets)
        around = {"offsets": self.offsets, "volume": volume, "order": order}
        self.reading = {**getattr(data, "reading", {}), "neighbours": around}
        problems: list[str] = []
        find_volume, find_place = _searcher("volume", volume), _searcher("order", order)
        self.volumes, self._around = {}, {}
        for ids in (self.ids, self.test_ids):
            stacks = _stacks(ids, find_volume, find_place, problems)
            self.volumes |= {id: name for name, stack in stacks.items() for id in stack}
            for stack in stacks.values():
                self._around |= _around(stack, self.offsets)
        self.groups = list(data.groups) if has_groups(data) else [self.volumes.get(id, id) for id in self.ids]
        problems += _split_volumes(self.ids, self.groups, self.volumes)
        raise_all(problems, f"problems with the slices of {self.name}")
        self._recent = _Recent(data.read_image)

    def read_image(self, id: str) -> np.ndarray:
        """Read an image with its neighbours -> (H, W, C times the number of offsets). Raises BadImage or KeyError."""
        slices = [self._recent.read(other) for other in self._around[id]]
        for other, one in zip(self._around[id], slices, strict=True):
            if one.shape != slices[0].shape or one.dtype != slices[0].dtype:
                raise BadImage(
                    f"{other}: {one.dtype} {one.shape}, expected {slices[0].dtype} {slices[0].shape} as "
                    f"{self._around[id][0]} of the same volume, {self.volumes[id]}"
                )
        return np.concatenate(slices, axis=2)

    def read_mask(self, id: str) -> np.ndarray:
        """Read the mask of the image itself."""
        return self.data.read_mask(id)

    def shared_pixels(self, id: str) -> Shared:
        """The pixels of several objects of the image itself."""
        return getattr(self.data, "shared_pixels", super().shared_pixels)(id)

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image."""
        return self.data.shape(id)

    def fingerprint(self) -> str:
        """A hash that changes with the slices, the code that reads them, the offsets, and which are neighbours."""
        return self._hash(self.data.fingerprint() + reading_code(self.data, Dataset), self.ids)

    def test_fingerprint(self) -> str:
        """The same of the test images."""
        return self._hash(self.data.test_fingerprint(), self.test_ids)

    def _hash(self, own: str, ids: Iterable[str]) -> str:
        return hashlib.sha256(repr((own, self.offsets, [self._around[id] for id in ids])).encode()).hexdigest()


class _Recent:
    """Reads images, and keeps those that were read last, up to KEPT_BYTES. A copy in another process starts empty."""

    def __init__(self, read: Callable[[str], np.ndarray]):
        self._read, self._kept, self._bytes, self._lock = read, OrderedDict(), 0, threading.Lock()

    def __reduce__(self) -> tuple:
        return _Recent, (self._read,)

    def read(self, id: str) -> np.ndarray:
        """Read an image, or take the kept one; it must not be changed."""
        with self._lock:
            if id in self._kept:
                self._kept.move_to_end(id)
                return self._kept[id]
        image = self._read(id)
        with self._lock:
            if id not in self._kept:
                self._kept[id], self._bytes = image, self._bytes + image.nbytes
            while self._bytes > KEPT_BYTES:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return image


def _whole(offsets: Sequence[int]) -> tuple[int, ...]:
    found = tuple(offsets) if isinstance(offsets, Iterable) else (offsets,)
    if not found or not all(isinstance(one, int | np.integer) for one in found) or len(set(found)) < len(found):
        raise ValueError(f"offsets={offsets!r}, expected different whole numbers, 0 is the image itself: (-1, 0, 1)")
    return tuple(map(int, found))


def _named(channel: str, offset: int) -> str:
    return f"{channel} {offset:+d}" if offset else channel


def _searcher(name: str, pattern: str) -> Callable[[str], str | None]:
    """A function from an id to the text of the pattern's one group, None where it does not match.

    A folder that a data set has put before its ids is passed over, so that ^ stands for the start of the id.
    """
    regex = re.compile(pattern)
    if regex.groups != 1:
        raise ValueError(f"{name}={pattern!r} has {regex.groups} parentheses that capture, expected one")

    def find(id: str) -> str | None:
        starts = [0, *(slash.end() for slash in re.finditer("/", id))]
        return next((found[1] for start in starts if (found := regex.search(id[start:]))), None)

    return find


def _stacks(
    ids: Iterable[str],
    find_volume: Callable[[str], str | None],
    find_place: Callable[[str], str | None],
    problems: list[str],
) -> dict[str, list[str]]:
    """The slices of each volume in their order."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for id in ids:
        volume, place = find_volume(id), find_place(id)
        if not volume:
            problems.append(f"`volume` finds nothing in the id {id}")
        elif place is None or not place.isdecimal():
            problems.append(f"`order` finds {'nothing' if place is None else repr(place)} in the id {id}, not a number")
        elif int(place) in found[volume]:
            problems.append(
                f"{id} and {found[volume][int(place)]} are both slice {int(place)} of the volume {volume}; let "
                "`volume` match all of a volume's name"
            )
        else:
            found[volume][int(place)] = id
    return {volume: [slices[place] for place in sorted(slices)] for volume, slices in found.items()}


def _around(stack: list[str], offsets: tuple[int, ...]) -> dict[str, tuple[str, ...]]:
    """The ids of the slices around each one of a volume."""
    last = len(stack) - 1
    return {id: tuple(stack[min(max(place + offset, 0), last)] for offset in offsets) for place, id in enumerate(stack)}


def _split_volumes(ids: list[str], groups: Sequence[object], volumes: dict[str, str]) -> list[str]:
    """A line for each volume whose slices are in several groups."""
    found: dict[str, set[str]] = defaultdict(set)
    for id, group in zip(ids, groups, strict=True):
        if id in volumes:
            found[volumes[id]].add(str(group))
    return [
        f"the volume {volume} is in {len(own)} groups ({', '.join(sorted(own)[:3])}{' …' * (len(own) > 3)}), expected "
        "one: neighbours of a held-out slice must not be trained on. Let `groups` name volumes, or patients"
        for volume, own in found.items()
        if len(own) > 1
    ]
