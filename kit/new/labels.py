"""What the values of masks mean, found by reading a sample of them: the mask doctor."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from kit.data.formats import BadImage, format_of
from kit.data.images import decode_image
from kit.data.masks import decode_mask

COUNTERS = ("pixels", "present", "thorough", "edge", "between")
THOROUGH = 100  # masks of which places count too, besides values
MOST_LABELS = 256  # more different values in a mask are a photograph
EXTREME = 0.9  # the share of pixels near 0 or the top from which on a mask of many values has two meanings
LEAST_BETWEEN = 24  # values that are near neither end, from which on greys are blurred edges and no classes
NEAR = 16  # greys around 0 and 255 that JPEG makes of them
USUAL = 0.9  # of the masks
OUTLINE = 0.5  # the share of a label's pixels that lie near two other labels, from which on it is an outline


@dataclass
class Labels:
    """What a sample of masks holds. Labels are stored values, or colours (red, green, blue)."""

    masks: int = 0
    pixels: Counter = field(default_factory=Counter)  # of each label
    present: Counter = field(default_factory=Counter)  # masks with each label
    thorough: Counter = field(default_factory=Counter)  # pixels of each label in the masks that `edge`, … are of
    edge: Counter = field(default_factory=Counter)  # pixels of each label on the edges of the image
    between: Counter = field(default_factory=Counter)  # pixels of each label that lie near two other labels
    single: int = 0  # masks of one value
    whole: int = 0  # labels of a mask that are one connected piece, and
    numbered: int = 0  # masks whose labels but 0 are 1, 2, … n without a gap
    pieces: int = 0  # labels of a mask in all, without the most frequent one
    colours: bool = False
    jpeg: bool = False
    top: int = 255  # the largest value that the file's type holds
    palette: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def background(self) -> object:
        """0 or black where it occurs, else the label that fills most of the images' edges."""
        for nothing in (0, (0, 0, 0)):
            if nothing in self.pixels:
                return nothing
        return self.edge.most_common(1)[0][0] if self.edge else 0

    @property
    def foreground(self) -> list:
        """The other labels, sorted."""
        return sorted(label for label in self.pixels if label != self.background)

    def share(self, label: object) -> float:
        """The share of all pixels, 0..1."""
        return self.pixels[label] / max(1, sum(self.pixels.values()))

    @property
    def is_soft(self) -> bool:
        """Whether the values are two with blurred or compressed edges: nearly all are near 0 or near the top."""
        if self.colours or len(self.pixels) <= 2 or self.palette or (self.numbered and not self.jpeg):
            return False
        top = self.top if max(self.pixels) > 255 else 255
        near = sum(count for value, count in self.pixels.items() if min(value, top - value) <= NEAR * top // 255)
        has_both = any(value <= NEAR for value in self.pixels) and any(value >= top - NEAR for value in self.pixels)
        between = sum(NEAR < value < top - NEAR for value in self.pixels)  # what blurring makes of an edge
        return has_both and (self.jpeg or between >= LEAST_BETWEEN) and near >= EXTREME * sum(self.pixels.values())

    @property
    def are_objects(self) -> bool:
        """Whether each label of a mask is an object of its own: most are one piece, and their number differs."""
        counts = set(self.present.values())
        filled = self.masks - self.single
        in_order = self.numbered >= filled > 3 and len(counts) > 3  # each mask has 1 to n, and n differs
        many = (len(self.pixels) > 8 or in_order) and self.pieces >= 8
        return many and self.whole >= 0.9 * self.pieces and len(counts) > 1 and not self.is_soft

    @property
    def is_like_masks(self) -> bool:
        """Whether these may be masks at all: few values, soft edges, or objects."""
        return self.masks > 0 and not self.problems and (len(self.pixels) <= 64 or self.is_soft or self.are_objects)

    def outlines(self) -> list:
        """The label that lies between two others nearly everywhere, in nearly every mask: the band of a trimap."""
        if not 2 <= len(self.foreground) <= 3 or self.is_soft:
            return []
        usual = [one for one in self.foreground if self.present[one] >= USUAL * self.masks]
        found = [one for one in usual if self.between[one] >= OUTLINE * self.thorough[one]]
        return found if len(found) == 1 else []  # thin things side by side are all between others


def read_labels(read: Callable[[str], bytes], paths: Sequence[str]) -> Labels:
    """Read the masks of `paths` and note what they hold. Those that cannot be read are in `problems`."""
    step = max(1, len(paths) // THOROUGH)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda at: _look(read, paths[at], at % step == 0), range(len(paths))))
    return joined(found)


def labels_of(masks: Sequence[np.ndarray]) -> Labels:
    """The same of masks that are there as arrays (H, W)."""
    return joined([_count(np.asarray(mask), Labels(masks=1), True) for mask in masks])


def joined(parts: Sequence[Labels]) -> Labels:
    """The sums of several."""
    total = Labels()
    for part in parts:
        for name in ("masks", "single", "numbered", "whole", "pieces"):
            setattr(total, name, getattr(total, name) + getattr(part, name))
        for name in COUNTERS:
            getattr(total, name).update(getattr(part, name))
        total.colours |= part.colours
        total.jpeg |= part.jpeg
        total.top = max(total.top, part.top)
        total.palette |= part.palette
        total.problems += part.problems
    if total.colours:  # a mask with black alone may have been read as grey
        for counter in [getattr(total, name) for name in COUNTERS]:
            for value in [value for value in counter if isinstance(value, int)]:
                counter[(value,) * 3] += counter.pop(value)
    return total


def _look(read: Callable[[str], bytes], path: str, is_thorough: bool) -> Labels:
    try:
        data = read(path)
        seen = Labels(masks=1, jpeg=format_of(data, path) == "JPEG")
        try:
            stored = decode_mask(data, path)
        except BadImage as error:
            if "colour" not in error.found:
                raise
            return _look_at_colours(data, path, seen, is_thorough)
    except (ValueError, OSError) as error:
        return Labels(problems=[str(error)])
    seen.top = 65535 if stored.bits == 16 or stored.dtype == np.uint16 else 255
    if stored.colours is not None:
        used = np.unique(np.asarray(stored)).tolist()
        seen.palette = {value: tuple(map(int, stored.colours[value])) for value in used}
    return _count(np.asarray(stored), seen, is_thorough)


def _look_at_colours(data: bytes, path: str, seen: Labels, is_thorough: bool) -> Labels:
    pixels = decode_image(data, path, channels=3).astype(np.int64)
    packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    codes, values = np.unique(packed, return_inverse=True)
    if len(codes) > 4096:
        return Labels(problems=[f"{path}: {len(codes):,} colours, expected a mask with a colour a class"])
    counted = _count(values.reshape(packed.shape).astype(np.int32), seen, is_thorough)
    names = {at: (int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for at, code in enumerate(codes)}
    for name in COUNTERS:
        own = getattr(counted, name)
        setattr(counted, name, Counter({names[at]: count for at, count in own.items()}))
    counted.colours = True
    return counted


def _count(mask: np.ndarray, seen: Labels, is_thorough: bool) -> Labels:
    """Count the values of one mask, and where asked for also where they lie."""
    values, counts = _values_of(mask)
    seen.pixels.update(dict(zip(values, counts.tolist(), strict=True)))
    seen.present.update(values)
    seen.single = int(len(values) == 1)
    seen.numbered = int(len(values) > 1 and values == list(range(len(values))))
    if not is_thorough:
        return seen
    seen.thorough.update(dict(zip(values, counts.tolist(), strict=True)))
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        own, number = _values_of(edge)
        seen.edge.update(dict(zip(own, number.tolist(), strict=True)))
    if 1 < len(values) <= MOST_LABELS and mask.dtype.kind in "ui":
        _count_pieces(mask, values, counts, seen)
    if 2 < len(values) <= 16:
        _count_between(mask, values, seen)
    return seen


def _values_of(values: np.ndarray) -> tuple[list, np.ndarray]:
    """The values that occur, sorted, and how often each does. Whole numbers are counted, which is far faster."""
    if values.dtype.kind in "bu" or (values.dtype.kind == "i" and values.min() >= 0):
        counts = np.bincount(values.ravel())
        found = np.flatnonzero(counts)
        return found.tolist(), counts[found]
    found, counts = np.unique(values, return_counts=True)
    return [int(value) if float(value).is_integer() else float(value) for value in found.tolist()], counts


def _count_pieces(mask: np.ndarray, values: list, counts: np.ndarray, seen: Labels) -> None:
    """Of each label but the most frequent: whether it is one connected piece."""
    largest = values[int(np.argmax(counts))]
    for value in values:
        if value != largest and value != 0:
            seen.pieces += 1
            seen.whole += int(cv2.connectedComponents((mask == value).astype(np.uint8))[0] == 2)


def _count_between(mask: np.ndarray, values: list, seen: Labels) -> None:
    """Of each label: the pixels with two other labels within a few pixels."""
    reach = np.ones((2 * max(2, round(0.04 * max(mask.shape))) + 1,) * 2, np.uint8)
    near = {value: cv2.dilate((mask == value).astype(np.uint8), reach) for value in values}
    others = sum(near.values())
    for value in values:
        seen.between[value] += int(((mask == value) & (others - near[value] >= 2)).sum())
