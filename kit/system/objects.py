"""Objects: the components of a mask, its holes, and how often each pair of labels of two label images meets."""

import cv2
import numpy as np

from kit.system.kernels import kernel

CONNECTIVITY = 8  # pixels that touch at a corner are of one object
BLOCK = 8  # pixels of a label image that are compared together
TWICE = np.uint64(0x1_0000_0001)  # a label times this is two of it in a word


def components(mask: np.ndarray, min_area: int = 1, largest: bool = False) -> np.ndarray:
    """The label image int32 (H, W) of a mask: 0 where it is 0, then 1, 2, … for its connected components.

    mask: bool or u8 (H, W) of 0 and 1. min_area: components of fewer pixels are left out. largest: all but the largest
    are left out; of several that are as large the one that begins first, row by row. Pixels that touch at a corner are
    connected. Raises ValueError on another dtype or number of dimensions.
    """
    mask = np.asarray(mask)
    if mask.dtype not in (np.bool_, np.uint8) or mask.ndim != 2:
        raise ValueError(f"a mask of objects is bool or u8 (H, W), got {mask.dtype} {mask.shape}")
    if not mask.size:
        return np.zeros(mask.shape, np.int32)
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    if min_area <= 1 and not largest:
        return cv2.connectedComponents(pixels, connectivity=CONNECTIVITY, ltype=cv2.CV_32S)[1]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=CONNECTIVITY, ltype=cv2.CV_32S)
    kept = stats[:, cv2.CC_STAT_AREA] >= min_area
    kept[0] = False
    if largest and count > 2:
        kept &= np.arange(count) == largest_label(labels, stats[:, cv2.CC_STAT_AREA])
    if kept[1:].all():
        return labels
    numbers = np.zeros(count, np.int32)
    numbers[kept] = np.arange(1, np.count_nonzero(kept) + 1)
    return numbers[labels]


def largest_label(labels: np.ndarray, areas: np.ndarray) -> int:
    """The label of the largest component; of several the one that begins first. areas: of each label, also of 0."""
    found = np.flatnonzero(areas[1:] == areas[1:].max()) + 1
    if len(found) == 1:
        return int(found[0])
    flat = labels.reshape(-1)
    return int(flat[np.argmax(np.isin(flat, found))])


def kept_labels(labels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The label image int32 (H, W) of some labels alone, which become 1, 2, … in their order; the others are 0.

    labels: from 0 on. kept: bool, of each label; that of 0 is False.
    """
    numbers = np.zeros(len(kept), np.int32)
    numbers[kept] = np.arange(1, np.count_nonzero(kept) + 1)
    return numbers[labels]


def numbered(labels: np.ndarray) -> np.ndarray:
    """A label image whose labels, of any whole numbers from 0 on, become 1, 2, … in their order; 0 stays: int64."""
    names, places = np.unique(labels, return_inverse=True)
    return np.cumsum(names != 0)[places.reshape(labels.shape)]


def without_small(mask: np.ndarray, min_area: int, largest: bool = False) -> np.ndarray:
    """The mask u8 (H, W) of 0 and 1 of the components that `components` keeps."""
    if min_area <= 1 and not largest:
        return mask
    return (components(mask, min_area, largest) > 0).view(np.uint8)


def without_holes(mask: np.ndarray, area: int, background: np.ndarray | None = None) -> np.ndarray:
    """The mask u8 (H, W) of 0 and 1 with its holes of fewer than `area` pixels filled.

    A hole is a part of 0 that does not touch the edge of the image; pixels that touch at a corner alone are of two
    parts. background: bool (H, W), a hole with pixels that are False there is left as it is.
    """
    if area <= 1 or (window := window_of(mask)) is None:
        return mask
    padded = cv2.copyMakeBorder(mask[window], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(padded, None, (0, 0), 1)  # all that is outside; a hole touches no edge of the window
    holes = (padded[1:-1, 1:-1] == 0).view(np.uint8)
    if not holes.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(holes, connectivity=4, ltype=cv2.CV_32S)
    is_filled = stats[:, cv2.CC_STAT_AREA] < area
    is_filled[0] = False  # what is no hole
    if background is not None:
        is_filled[np.unique(labels[~background[window]])] = False
    filled = mask.copy()
    filled[window] |= is_filled[labels].view(np.uint8)
    return filled


def window_of(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The smallest window that holds all of a mask (H, W) but its zeros; None where there is nothing else."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def label_pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs of labels that meet in two label images, and in how many pixels: (P,) first, second, count, int64.

    first, second: integers from 0 to 2³¹ - 1 of one shape, gaps allowed. One pass over the pixels; the memory is that
    of the pairs. Pairs come sorted. Raises ValueError on other dtypes, values below 0 and shapes that differ.
    """
    first, second = label_image(first), label_image(second)
    if first.shape != second.shape:
        raise ValueError(f"two label images differ in shape: {first.shape} and {second.shape}")
    flat, words = zip(in_words(first), in_words(second), strict=True)
    keys, counts, at = np.full(1024, -1, np.int64), np.zeros(1024, np.int64), 0
    while (at := _add_pairs(*flat, *words, at, keys, counts)) < first.size:
        if at < 0:
            check_labels(first)
            check_labels(second)
        used = keys >= 0
        wider = np.full(4 * keys.size, -1, np.int64), np.zeros(4 * keys.size, np.int64)
        _move_pairs(keys[used], counts[used], *wider)
        keys, counts = wider
    used = np.flatnonzero(keys >= 0)
    used = used[np.argsort(keys[used])]
    keys, counts = keys[used], counts[used]
    return keys >> 32, keys & 0xFFFFFFFF, counts


def label_image(image: np.ndarray) -> np.ndarray:
    """The label image as int32, contiguous. Raises ValueError where it does not hold whole numbers below 2³¹.

    Labels below 0 of an int32 image are left to the kernels, which meet every label anyway.
    """
    image = np.asarray(image)
    if image.dtype.kind not in "biu":
        raise ValueError(f"a label image holds whole numbers, got {image.dtype}")
    if image.dtype.itemsize > 2 and image.dtype != np.int32:
        check_labels(image)
    return np.ascontiguousarray(image, np.int32)


def in_words(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A label image of `label_image` as (pixels, ) int32, and the same pixels two at a time, u64: for kernels."""
    flat = labels.reshape(-1)
    words = flat[: flat.size // 2 * 2].view(np.uint64)
    return (flat, words) if words.flags.aligned else in_words(flat.copy())


def check_labels(image: np.ndarray) -> None:
    """Raise ValueError unless all labels are 0 to 2³¹ - 1."""
    if image.size and not 0 <= int(image.min()) <= int(image.max()) < 2**31:
        raise ValueError(f"labels are 0 to 2^31 - 1, got {image.min()} to {image.max()}")


@kernel
def _add_pairs(first, second, first_words, second_words, at, keys, counts):
    """Count pairs from pixel `at` on in a hash table; return the pixel at which it is half full, or the size.

    keys: first · 2³² + second, -1 where free; a power of two of them. words: the same labels, two at a time. Neighbours
    are mostly alike: BLOCK pixels that are all like the pixel before them need no look-up. -1 where a label is below 0.
    """
    mask, left = keys.size - 1, keys.size // 2
    for i in range(keys.size):
        left -= keys[i] >= 0
    place, last = 0, np.int64(-1)
    like_first, like_second = np.uint64(0), np.uint64(0)  # the labels of the last pixel, twice
    for begin in range(at // BLOCK * BLOCK, first.size, BLOCK):
        end = min(begin + BLOCK, first.size)
        if last >= 0 and end - begin == BLOCK:
            differs = np.uint64(0)
            for word in range(begin // 2, begin // 2 + BLOCK // 2):
                differs |= (first_words[word] ^ like_first) | (second_words[word] ^ like_second)
            if differs == 0:
                counts[place] += BLOCK
                continue
        for i in range(max(at, begin), end):
            key = (np.int64(first[i]) << 32) | np.int64(second[i])
            if key < 0:  # one of the two labels is; before it is compared with the last key, which begins below 0
                return -1
            if key != last:
                place = place_of(key, keys, mask)
                if keys[place] < 0:
                    if left <= 0:
                        return i
                    keys[place] = key
                    left -= 1
                last = key
            counts[place] += 1
        like_first, like_second = np.uint64(first[end - 1]) * TWICE, np.uint64(second[end - 1]) * TWICE
    return first.size


@kernel
def _move_pairs(old_keys, old_counts, keys, counts):
    for i in range(old_keys.size):
        place = place_of(old_keys[i], keys, keys.size - 1)
        keys[place] = old_keys[i]
        counts[place] = old_counts[i]


@kernel
def place_of(key, keys, mask):
    """Where the key is in the table, or the free place where it belongs."""
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    place = np.int64(mixed >> np.uint64(32)) & mask
    while keys[place] >= 0 and keys[place] != key:
        place = (place + 1) & mask
    return place
