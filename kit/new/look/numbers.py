"""Are the numbers in masks classes, or do they count objects? Decided by what a sample of masks and images shows.

A class has traits of its own: its place, its size or its brightness are much the same in all images. Objects that are
numbered 1 to n have none: number 3 may lie anywhere, be large or small. Their count differs from image to image, and
their numbers have no gaps; the same classes are in nearly all images, or those that are missing leave gaps.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage
from scipy.stats import f as f_distribution

MOST_CLASSES = 64
VOID = 255  # ignored pixels, beside numbers of classes
MOST_PLACES = 4096  # the largest number whose brightness is looked at
LEAST_PIECES = 8  # numbers of all masks together, from which on anything can be said
WHOLE = 0.9  # the share of numbers that are one connected piece each, below which they are no objects
USUAL = 0.9  # the share of masks that hold a number, from which on it is in nearly all
OWN, CHANCE = 0.3, 0.01  # the share of a trait's variance that the numbers must explain, and by chance at most
PLACE = 0.15  # of the image's sides: how much a class's place may vary
DENSE = 0.5  # of the numbers up to the largest in a mask, how many must be there where objects are counted


class Piece(NamedTuple):
    """One number in one mask: its middle (0..1 down and along), its share of the pixels, whether it is connected."""

    number: object
    y: float
    x: float
    area: float
    is_whole: bool


class Verdict(NamedTuple):
    """kind: "classes", "objects" or "unclear". why: in words."""

    kind: str
    why: str


class Numbers(NamedTuple):
    """What a sample of masks holds.

    pieces: of each number of each mask. held: how many numbers each mask has, and the largest of them; masks without
    any are left out. gapless: how many masks have 1 to n. brightness: of numbers beside the rest of their image.
    are_colours: colours stand in place of numbers.
    """

    pieces: Sequence[Piece]
    held: Sequence[tuple[int, int]]
    gapless: int
    brightness: Sequence[tuple[object, float]]
    are_colours: bool


def numbers_in(values: list) -> list:
    """The values of a mask that may number classes or objects: without 0, and without 255 as void beside others."""
    rest = [value for value in values if value != 0]
    return rest[:-1] if len(rest) > 1 and rest[-1] == VOID and rest[-2] < VOID - 1 else rest


def pieces_of(mask: np.ndarray, numbers: Sequence[int]) -> list[Piece]:
    """What is to be known of each number of a mask (H, W)."""
    (height, width), pieces = mask.shape, []
    for number, box in enumerate(ndimage.find_objects(mask.astype(np.int32)), start=1):
        if box is not None and number in numbers:
            own = mask[box] == number
            y, x = (float(place.mean()) for place in np.nonzero(own))
            middle = (box[0].start + y) / height, (box[1].start + x) / width
            is_whole = cv2.connectedComponents(own.astype(np.uint8))[0] == 2
            pieces.append(Piece(number, *middle, float(own.sum()) / mask.size, is_whole))
    return pieces


def brightness_of(image: np.ndarray, masks: Sequence[np.ndarray]) -> list[tuple[object, float]]:
    """How bright each number of one mask (H, W) is beside the rest of its image (H, W, C), in standard deviations.

    [] where there are several masks, or none.
    """
    if len(masks) != 1 or masks[0].dtype.kind not in "ui" or masks[0].max() > MOST_PLACES:
        return []
    grey = image.mean(axis=2, dtype=np.float32)
    grey = ((grey - grey.mean()) / (grey.std() or 1.0)).ravel()
    counts, sums = np.bincount(masks[0].ravel()), np.bincount(masks[0].ravel(), grey)
    return [(number, sums[number] / counts[number]) for number in numbers_in(np.flatnonzero(counts).tolist())]


def verdict_of(found: Numbers) -> Verdict:
    """Whether these are classes or objects."""
    masks = Counter(piece.number for piece in found.pieces)  # of each number
    if len(masks) < 2 or sum(piece.is_whole for piece in found.pieces) < WHOLE * len(found.pieces):
        return Verdict("classes", "a number has several pieces in one mask")
    if len(masks) > MOST_CLASSES:
        return Verdict("objects", f"each value of a mask is one connected piece, and there are {len(masks):,} values")
    counts = sorted(count for count, _ in found.held)
    shown = f"each value of a mask is one connected piece; a mask has {counts[0]} to {counts[-1]} of them"
    if found.are_colours or np.mean([count / top for count, top in found.held]) < DENSE:
        seldom = len(found.held) >= LEAST_PIECES and np.median(list(masks.values())) <= 2
        return Verdict("unclear" if seldom else "classes", f"{shown}, each value in few masks")
    is_usual = sum(masks.values()) >= USUAL * len(masks) * len(found.held)
    if len(found.pieces) < LEAST_PIECES:
        return Verdict("classes" if is_usual else "unclear", f"{shown}, and these are too few to find out more")
    return _by_traits(found, shown, is_usual)


def _by_traits(found: Numbers, shown: str, is_usual: bool) -> Verdict:
    traits = traits_of(found)
    named = (
        f"a value has its own {' and '.join(traits)}" if traits else "no value has its own place, size or brightness"
    )
    if is_usual:
        return Verdict("classes" if traits else "unclear", f"{shown}, the same in nearly all; {named}")
    if found.gapless >= USUAL * len(found.held):
        kind = "unclear" if len(traits) == 1 else "classes" if traits else "objects"
        return Verdict(kind, f"{shown}, numbered without gaps; {named}")
    return Verdict("classes" if traits or found.gapless < 0.5 * len(found.held) else "unclear", f"{shown}; {named}")


def traits_of(found: Numbers) -> list[str]:
    """Those of "place", "size" and "brightness" in which the numbers differ from each other in all images."""
    numbers = [piece.number for piece in found.pieces]
    places = [[piece.y for piece in found.pieces], [piece.x for piece in found.pieces]]
    traits = []
    if max(_spread(numbers, one) for one in places) <= PLACE and any(is_own(numbers, one) for one in places):
        traits.append("place")
    if is_own(numbers, np.log([piece.area for piece in found.pieces])):
        traits.append("size")
    if is_own([number for number, _ in found.brightness], [value for _, value in found.brightness]):
        traits.append("brightness")
    return traits


def is_own(numbers: Sequence, values: Sequence[float]) -> bool:
    """Whether the numbers explain a good part of the variance of their values, more than chance would."""
    within, count, groups = _within(numbers, values)
    if groups < 2 or count <= groups:
        return False
    total = float(np.var(values) * count)
    if total <= 1e-12 * count or within <= 1e-9 * total:
        return total > 1e-12 * count
    inside = within / (count - groups)
    ratio = (total - within) / (groups - 1) / inside
    return 1 - inside / (total / (count - 1)) >= OWN and f_distribution.sf(ratio, groups - 1, count - groups) < CHANCE


def _spread(numbers: Sequence, values: Sequence[float]) -> float:
    """The standard deviation of values around the mean of their number."""
    within, count, groups = _within(numbers, values)
    return float(np.sqrt(within / (count - groups))) if count > groups else np.inf


def _within(numbers: Sequence, values: Sequence[float]) -> tuple[float, int, int]:
    """The sum of squares around the mean of each number; how many values and numbers there are."""
    if not len(numbers):
        return 0.0, 0, 0
    at = np.unique([str(number) for number in numbers], return_inverse=True)[1]
    sizes, values = np.bincount(at), np.asarray(values, float)
    means = np.bincount(at, values) / sizes
    return float(((values - means[at]) ** 2).sum()), len(values), len(sizes)
