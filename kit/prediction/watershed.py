"""Objects from two maps, of what is object and of what is border between objects: seeds, and a watershed from them.

    labels = grow(mask, seeds, levels)

A seed is a connected part of what is surely object and not border. From all seeds at once the objects grow over the
mask, the surest pixels first (Meyer 1994: a queue ordered by level, and by time among equal levels), so two objects
meet where the map between them is lowest. It costs one visit a pixel, whatever the number of objects.
"""

import cv2
import numpy as np

from kit.system.kernels import kernel
from kit.system.objects import components, kept_labels


def find_objects(
    mask: np.ndarray, levels: np.ndarray, cut: float, seed_area: int = 0, min_area: int = 0, largest: bool = False
) -> np.ndarray:
    """The label image int32 (H, W) of the objects of a mask u8 (H, W), apart by the levels of their borders.

    levels: u8 or f32 (2, h, w) of object and border, of any size. cut: the difference of the two from which on a pixel
    is of a seed, 0..255. seed_area: parts of fewer pixels are no seeds. min_area, largest: see relabelled.
    """
    surest = sureness(levels, mask.shape)
    seeds = components((surest >= cut) & (mask > 0), seed_area)
    return relabelled(_grown(mask, seeds, surest), min_area, largest)


def sureness(levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The level of object less that of border at `size` (height, width), 0 where the border's is higher: u8 (H, W)."""
    if levels.dtype == np.uint8 and levels.shape[1:] == tuple(size):
        return cv2.subtract(levels[0], levels[1])
    object_, border = levels.astype(np.float32)
    difference = object_ - border
    if difference.shape != tuple(size):
        difference = cv2.resize(difference, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.floor(difference.clip(0, 255) + 0.5).astype(np.uint8)


def grow(mask: np.ndarray, seeds: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The label image int32 (H, W) of the objects of a mask: each grows from a seed. Labels are 1, 2, … without gaps.

    mask: u8 (H, W) of 0 and 1. seeds: label image int32 (H, W), 0 where none is; pixels outside the mask do not count.
    levels: u8 (H, W), higher where a pixel is surer; pixels that touch at a corner are neighbours. A component of the
    mask without a seed is one object. Raises ValueError on other dtypes and shapes that differ.
    """
    wanted = (mask, np.uint8), (seeds, np.int32), (levels, np.uint8)
    if any(one.dtype != dtype or one.shape != mask.shape or one.ndim != 2 for one, dtype in wanted):
        found = ", ".join(f"{one.dtype} {one.shape}" for one, _ in wanted)
        raise ValueError(f"mask, seeds and levels are uint8, int32 and uint8 of one shape (H, W), got {found}")
    return relabelled(_grown(mask, seeds, levels))


def _grown(mask: np.ndarray, seeds: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The same with the labels of the seeds; those of components without one follow."""
    labels = np.where(mask > 0, seeds, 0)
    _flood(np.ascontiguousarray(levels), np.ascontiguousarray(mask), labels)
    left = (mask > 0) & (labels == 0)
    if not left.any():
        return labels
    seedless = components(left)
    return np.where(seedless > 0, seedless + labels.max(), labels)


def relabelled(labels: np.ndarray, min_area: int = 0, largest: bool = False) -> np.ndarray:
    """The label image int32 with labels 1, 2, … in their order, without objects of fewer than `min_area` pixels.

    largest: the largest object alone; of several the one of the lowest label.
    """
    areas = np.bincount(labels.reshape(-1)) if labels.size else np.zeros(1, np.int64)
    kept = areas >= max(1, min_area)
    kept[0] = False
    if largest and kept.any():
        kept &= np.arange(len(areas)) == np.argmax(np.where(kept, areas, 0))
    return kept_labels(labels, kept)


@kernel
def _flood(levels, mask, labels):
    """Grow the labels over the mask. levels u8, mask u8, labels int32, all (H, W); labels is changed.

    A chain of pixels for each level: `first` and `last` of each, and `following` of each pixel. A pixel is taken from
    the highest chain that is not empty, and from its beginning. Pixels of seeds whose neighbours are all labelled, or
    outside the mask, need no chain.
    """
    height, width = labels.shape
    first, last = np.full(256, -1, np.int64), np.full(256, -1, np.int64)
    following = np.full(labels.size, -1, np.int64)
    top = -1
    for y in range(height):
        for x in range(width):
            if labels[y, x] and _has_free(mask, labels, y, x):
                top = max(top, _append(y * width + x, levels[y, x], first, last, following))
    while top >= 0:
        place = first[top]
        if place < 0:
            top -= 1
            continue
        first[top] = following[place]
        y, x = place // width, place % width
        for v in range(max(0, y - 1), min(height, y + 2)):
            for u in range(max(0, x - 1), min(width, x + 2)):
                if mask[v, u] and not labels[v, u]:
                    labels[v, u] = labels[y, x]
                    top = max(top, _append(v * width + u, levels[v, u], first, last, following))


@kernel
def _has_free(mask, labels, y, x):
    """Whether a neighbour is in the mask and has no label."""
    for v in range(max(0, y - 1), min(mask.shape[0], y + 2)):
        for u in range(max(0, x - 1), min(mask.shape[1], x + 2)):
            if mask[v, u] and not labels[v, u]:
                return True
    return False


@kernel
def _append(place, level, first, last, following):
    """Put a pixel at the end of its level's chain; the level."""
    if first[level] < 0:
        first[level] = place
    else:
        following[last[level]] = place
    last[level] = place
    return np.int64(level)
