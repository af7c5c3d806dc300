"""Which files are images, and which are their masks: decided by names, by contents, and by how well they pair."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from kit.datasets.names import nfc
from kit.datasets.pairs import is_like_mask
from kit.datasets.patterns import WILDCARD, Pattern
from kit.new.look.file_sets import FileSet
from kit.new.look.labels import Labels
from kit.new.look.split_words import split_of

LEAST_SHARED = 0.5  # of the masks' names that an image must have
OBJECT_WORDS = re.compile(r"object|instance", re.IGNORECASE)


class Pairing(NamedTuple):
    """Images and their masks. at: which wildcard of the images names an image, and which of the masks; None: all."""

    images: FileSet
    masks: FileSet
    at: tuple[int, int] | None
    shared: dict[str, list[str]]  # the masks of each image that has one, by the images' paths
    quality: float  # 0..1: the share of masks and images that have a partner

    @property
    def is_many(self) -> bool:
        """Whether some image has several masks: a file for each object."""
        return any(len(masks) > 1 for masks in self.shared.values())

    def patterns(self) -> tuple[str, str]:
        """The patterns of images and of masks, as kit.datasets.Folder takes them."""
        if self.at is None and Pattern(self.images.pattern).wildcards > 1:
            return self.images.pattern, self.masks.pattern
        image, mask = self.at or (0, 0)
        named = with_id(self.images.pattern, image)
        plain = image == Pattern(self.images.pattern).wildcards - 1 and Pattern(self.images.pattern).wildcards == 1
        return self.images.pattern if plain else named, with_id(self.masks.pattern, mask)


@dataclass
class Layout:
    """What the files of a folder are for."""

    pairings: list[Pairing] = field(default_factory=list)  # the best first; of one kind, as train and val
    unpaired: list[FileSet] = field(default_factory=list)  # image files that are in no pair
    beside: list[Pairing] = field(default_factory=list)  # further masks of images that are in a pair


def with_id(pattern: str, at: int) -> str:
    """The pattern with {id} in place of its wildcard number `at`, counted from 0."""
    found = list(WILDCARD.finditer(pattern))[at]
    return pattern[: found.start()] + "{id}" + pattern[found.end() :]


def find_layout(
    sets: list[FileSet], labels: Callable[[FileSet], Labels], images: str | None = None, masks: str | None = None
) -> Layout:
    """Pair sets of images with sets of masks. labels(files): what a few of them hold when read as masks.

    images, masks: the patterns that the user asks for; then no other set is taken for them. Raises ValueError where
    these have no partner.
    """
    sets = [one for one in sets if WILDCARD.search(one.pattern)]  # a lone file is no set
    likely = {one.pattern: _likeness(one, labels(one)) for one in sets}
    asked_masks, asked_images = masks, images
    masks = [one for one in sets if (likely[one.pattern] > 0 if masks is None else one.pattern == masks)]
    images = [one for one in sets if images in (None, one.pattern) and one.pattern != asked_masks]
    found = [pair for one in images for other in masks if one != other and (pair := pair_sets(one, other))]
    if asked_masks is None:
        found = [pair for pair in found if likely[pair.images.pattern] < likely[pair.masks.pattern]]
    found = [pair for pair in found if not _is_crossed(pair)]
    if not found and asked_masks:
        given = " and ".join(filter(None, [asked_images, asked_masks]))
        raise ValueError(
            f"{given}: no masks belong to these images by their names. The text at a wildcard of `images` must be that "
            "at a wildcard of `masks`; {id} stands for one name, without a slash: 'scans/*/*.png' and 'masks/*/*_m.png'"
        )
    found.sort(key=lambda pair: (-_rank(pair, likely), pair.images.pattern, pair.masks.pattern))
    layout, used = Layout(), set()
    for pair in found:
        if pair.images.pattern in used:
            if any(pair.images == one.images for one in layout.pairings):
                used.add(pair.masks.pattern)  # further masks of the same images, as of objects beside classes
                layout.beside.append(pair)
        elif pair.masks.pattern not in used:
            layout.pairings.append(pair)
            used |= {pair.images.pattern, pair.masks.pattern}
    layout.unpaired = [one for one in sets if one.pattern not in used]
    layout.pairings.sort(key=lambda pair: (bool(split_of(pair.images.pattern)), -len(pair.shared)))
    return layout


def pair_sets(images: FileSet, masks: FileSet) -> Pairing | None:
    """Pair two sets by the same text at their wildcards, at all or at one of each; None where fewer than half agree."""
    image_keys, mask_keys = images.keys(), masks.keys()
    sides = len(next(iter(image_keys))), len(next(iter(mask_keys)))
    ways = [None] if sides[0] == sides[1] else []
    ways += [(a, b) for a in range(sides[0]) for b in range(sides[1])]
    pairs = [_pair(images, masks, way, image_keys, mask_keys) for way in ways]
    return max(filter(None, pairs), key=lambda pair: pair.quality, default=None)


def _pair(
    images: FileSet, masks: FileSet, at: tuple[int, int] | None, image_keys: dict, mask_keys: dict
) -> Pairing | None:
    by_image: dict[object, str] = {}
    for key, path in image_keys.items():
        name = nfc("/".join(key) if at is None else key[at[0]])
        if by_image.setdefault(name, path) != path:
            return None  # the wildcard does not name an image
    shared: dict[str, list[str]] = {}
    for key, path in mask_keys.items():
        if (image := by_image.get(nfc("/".join(key) if at is None else key[at[1]]))) is not None:
            shared.setdefault(image, []).append(path)
    matched = sum(map(len, shared.values())) / len(mask_keys)
    if matched < LEAST_SHARED:
        return None
    return Pairing(images, masks, at, shared, matched * (0.5 + 0.5 * len(shared) / len(image_keys)))


def _likeness(files: FileSet, labels: Labels) -> int:
    """How much a set is like masks: 2 by content and name, 1 by content or a mask's name alone, 0 not at all."""
    return int(labels.is_like_masks) + int(is_like_mask(files.paths[0]))


def is_mask(files: FileSet, labels: Labels) -> bool:
    """Whether a set is like masks, by content or name."""
    return _likeness(files, labels) > 0


def _is_crossed(pair: Pairing) -> bool:
    """Whether images that are called test are paired with masks that are not."""
    return split_of(pair.images.pattern) == "test" and split_of(pair.masks.pattern) != "test"


def _rank(pair: Pairing, likely: dict[str, int]) -> float:
    contrast = likely[pair.masks.pattern] - likely[pair.images.pattern]
    penalty = 0.1 * bool(OBJECT_WORDS.search(pair.masks.pattern)) + 0.3 * pair.is_many
    return pair.quality * (1 + contrast) + 0.3 * (pair.at is None) - penalty
