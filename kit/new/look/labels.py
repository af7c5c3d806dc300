"""What the values of masks mean, found by reading a sample of them: the mask doctor."""

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from kit.data.formats import BadImage, format_of
from kit.data.images import decode_image
from kit.data.masks import decode_mask
from kit.new.look.coding import Coding, coding_of
from kit.new.look.numbers import Numbers, Piece, Verdict, numbers_in, pieces_of, verdict_of
from kit.new.look.palettes import MANY, swapped
from kit.new.look.parts import TooLarge
from kit.system.threads import threads_for

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
    numbered: int = 0  # masks whose labels but 0 are 1, 2, … n without a gap
    pieces: list[Piece] = field(default_factory=list)  # of each label of a mask, without 0 and void
    held: list[tuple[int, int]] = field(default_factory=list)  # how many labels each mask has, and the largest
    brightness: list[tuple[object, float]] = field(default_factory=list)  # of labels, beside the rest of their image
    colours: bool = False
    jpeg: bool = False
    top: int = 255  # the largest value that the file's type holds
    palette: dict[int, tuple[int, int, int]] = field(default_factory=dict)  # of all masks together
    palettes: dict[str, dict[int, tuple[int, int, int]]] = field(default_factory=dict)  # by path
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

    def edge_share(self, label: object) -> float:
        """The share of the pixels on the images' edges, 0..1."""
        return self.edge[label] / max(1, sum(self.edge.values()))

    @property
    def is_soft(self) -> bool:
        """Whether the values are two with blurred or compressed edges: nearly all are near 0 or near the top."""
        return self.may_be_soft and self._near_ends >= EXTREME * sum(self.pixels.values())

    @property
    def may_be_soft(self) -> bool:
        """The same however many pixels are near neither end."""
        if self.colours or len(self.pixels) <= 2 or self.palette or self._is_numbered:
            return False
        top = self._white
        has_both = any(value <= NEAR for value in self.pixels) and any(value >= top - NEAR for value in self.pixels)
        between = sum(NEAR < value < top - NEAR for value in self.pixels)  # what blurring makes of an edge
        return has_both and (self.jpeg or between >= LEAST_BETWEEN)

    @property
    def _white(self) -> int:
        return self.top if max(self.pixels) > 255 else 255

    @property
    def _near_ends(self) -> int:
        """The pixels near 0 or near the top."""
        top = self._white
        return sum(count for value, count in self.pixels.items() if min(value, top - value) <= NEAR * top // 255)

    @property
    def _is_numbered(self) -> bool:
        """Whether most masks hold 1 to n, which no blurred edge does."""
        return not self.jpeg and self.numbered >= USUAL * len(self.held) > 0

    @property
    def verdict(self) -> Verdict:
        """Whether the values are classes or number objects."""
        if self.is_soft or len(self.pixels) <= 2:
            return Verdict("classes", "two values")
        pieces = [piece for piece in self.pieces if piece.number != self.background]
        brightness = [one for one in self.brightness if one[0] != self.background]
        return verdict_of(Numbers(pieces, self.held, self.numbered, brightness, self.colours))

    @property
    def coding(self) -> Coding | None:
        """How the values hold a class and a number each; None where they do not."""
        return None if self.colours or self.palette or self.is_soft else coding_of(self.pixels)

    @property
    def are_objects(self) -> bool:
        """Whether each label of a mask is an object of its own."""
        return self.verdict.kind == "objects"

    @property
    def is_like_masks(self) -> bool:
        """Whether these may be masks at all: few values, soft edges, or objects."""
        is_known = len(self.pixels) <= 64 or self.is_soft or self.are_objects or self.coding is not None
        return self.masks > 0 and not self.problems and is_known

    def outlines(self) -> list:
        """The label that lies between two others nearly everywhere, in nearly every mask: the band of a trimap."""
        if not 2 <= len(self.foreground) <= 3 or self.is_soft:
            return []
        usual = [one for one in self.foreground if self.present[one] >= USUAL * self.masks]
        found = [one for one in usual if self.between[one] >= OUTLINE * self.thorough[one]]
        return found if len(found) == 1 else []  # thin things side by side are all between others


def read_labels(
    read: Callable[[str], bytes], paths: Sequence[str], part: Callable[[str], np.ndarray | None] | None = None
) -> Labels:
    """Read the masks of `paths` and note what they hold. Those that cannot be read are in `problems`.

    part: kit.new.look.parts.Parts.part, which gives parts of large files in place of `read`.
    """
    step = max(1, len(paths) // THOROUGH)
    with ThreadPoolExecutor(threads_for()) as pool:
        found = list(pool.map(lambda at: _look(read, part, paths[at], at % step == 0), range(len(paths))))
    total = joined(found)
    odd = swapped(total.palettes)
    if len(odd) > MANY * len(total.palettes):
        return joined([_by_colours(one) for one in found])
    total.problems += odd.values()
    return total


def labels_of(masks: Sequence[np.ndarray]) -> Labels:
    """The same of masks that are there as arrays (H, W)."""
    return joined([_count(np.asarray(mask), Labels(masks=1), True) for mask in masks])


def joined(parts: Sequence[Labels]) -> Labels:
    """The sums of several."""
    total = Labels()
    for part in parts:
        for name in ("masks", "single", "numbered", "pieces", "held", "brightness"):
            setattr(total, name, getattr(total, name) + getattr(part, name))
        for name in COUNTERS:
            getattr(total, name).update(getattr(part, name))
        total.colours |= part.colours
        total.jpeg |= part.jpeg
        total.top = max(total.top, part.top)
        total.palette |= part.palette
        total.palettes |= part.palettes
        total.problems += part.problems
    if total.colours:  # a mask with black alone may have been read as grey
        for counter in [getattr(total, name) for name in COUNTERS]:
            for value in [value for value in counter if isinstance(value, int)]:
                counter[(value,) * 3] += counter.pop(value)
    return total


def _look(read: Callable[[str], bytes], part: Callable | None, path: str, is_thorough: bool) -> Labels:
    try:
        if part is not None and (regions := part(path)) is not None:
            return _look_at_part(regions, path)
        data = read(path)
        seen = Labels(masks=1, jpeg=format_of(data, path) == "JPEG")
        try:
            stored = decode_mask(data, path)
        except BadImage as error:
            if "colour" not in error.found:
                raise
            return _look_at_colours(decode_image(data, path, channels=3), path, seen, is_thorough)
    except TooLarge:
        return Labels()
    except (ValueError, OSError) as error:
        return Labels(problems=[str(error)])
    seen.top = 65535 if stored.bits == 16 or stored.dtype == np.uint16 else 255
    if stored.colours is not None:
        used = np.unique(np.asarray(stored)).tolist()
        seen.palette = {value: tuple(map(int, stored.colours[value])) for value in used}
        seen.palettes = {path: seen.palette}
    return _count(np.asarray(stored), seen, is_thorough)


def _look_at_part(regions: np.ndarray, path: str) -> Labels:
    """Labels of regions (h, w, C) of a large mask; where they lie says nothing."""
    seen = Labels(masks=1, top=65535 if regions.dtype == np.uint16 else 255)
    if (regions == regions[..., :1]).all():
        return _count(regions[..., 0], seen, False)
    if regions.shape[2] != 3:
        return Labels(problems=[f"{path}: a mask of {regions.shape[2]} channels, expected one, or colours"])
    return _look_at_colours(regions, path, seen, False)


def _look_at_colours(pixels: np.ndarray, path: str, seen: Labels, is_thorough: bool) -> Labels:
    pixels = pixels.astype(np.int64)
    packed = (pixels[..., 0] << 16) | (pixels[..., 1] << 8) | pixels[..., 2]
    codes, values = np.unique(packed, return_inverse=True)
    if len(codes) > 4096:
        return Labels(problems=[f"{path}: {len(codes):,} colours, expected a mask with a colour a class"])
    counted = _count(values.reshape(packed.shape).astype(np.int32), seen, is_thorough)
    names = {at: (int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for at, code in enumerate(codes)}
    return _renamed(counted, names)


def _by_colours(seen: Labels) -> Labels:
    """The same with the colours of its palette in place of their numbers."""
    return replace(_renamed(seen, seen.palette), palette={}, palettes={}) if seen.palette else seen


def _renamed(seen: Labels, colours: dict[int, tuple[int, int, int]]) -> Labels:
    """The same with colours in place of numbers; several numbers may have one colour."""
    for name in COUNTERS:
        renamed: Counter = Counter()
        for number, count in getattr(seen, name).items():
            renamed[colours[number]] += count
        setattr(seen, name, renamed)
    seen.pieces = [piece._replace(number=colours[piece.number]) for piece in seen.pieces]
    seen.colours = True
    return seen


def _count(mask: np.ndarray, seen: Labels, is_thorough: bool) -> Labels:
    """Count the values of one mask, and where asked for also where they lie."""
    values, counts = _values_of(mask)
    seen.pixels.update(dict(zip(values, counts.tolist(), strict=True)))
    seen.present.update(values)
    seen.single = int(len(values) == 1)
    if not is_thorough:
        return seen
    seen.thorough.update(dict(zip(values, counts.tolist(), strict=True)))
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        own, number = _values_of(edge)
        seen.edge.update(dict(zip(own, number.tolist(), strict=True)))
    if 1 < len(values) <= MOST_LABELS and mask.dtype.kind in "ui":
        _count_pieces(mask, values, seen)
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


def _count_pieces(mask: np.ndarray, values: list, seen: Labels) -> None:
    """Of each number: its place and size, and whether it is one connected piece."""
    if numbers := numbers_in(values):
        seen.pieces = pieces_of(mask, numbers)
        seen.held = [(len(numbers), max(numbers))]
        seen.numbered = int(numbers == list(range(1, len(numbers) + 1)))


def _count_between(mask: np.ndarray, values: list, seen: Labels) -> None:
    """Of each label: the pixels with two other labels within a few pixels."""
    reach = np.ones((2 * max(2, round(0.04 * max(mask.shape))) + 1,) * 2, np.uint8)
    near = {value: cv2.dilate((mask == value).astype(np.uint8), reach) for value in values}
    others = sum(near.values())
    for value in values:
        seen.between[value] += int(((mask == value) & (others - near[value] >= 2)).sum())
