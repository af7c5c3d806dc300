"""Perceptual hashes of an image and of views of it, and the pairs of images whose hashes are near.

A hash has 256 bits: the signs of the lowest 16 × 16 frequencies of the grey image around their median, by
`imagehash.phash(hash_size=16)`. It changes little when an image is compressed, resized or brightened, and altogether
when it is turned or cut. So an image is hashed in several views: its eight symmetries, and windows that leave out a
few per cent at the border. Image b is a changed copy of a when the hash of a view of a is near the hash of all of b.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from kit.system.kernels import kernel

HASH_SIZE = 16
INPUT = 4 * HASH_SIZE  # pixels along a side of what imagehash transforms
BITS = HASH_SIZE**2
WORDS = BITS // 64


@dataclass(frozen=True)
class View:
    """What is done to an image: the window (top, left, height, width), as shares of its sides, then a symmetry.

    symmetry: quarter turns to the left, 0 to 3; plus 4 where the columns are mirrored first.
    """

    symmetry: int = 0
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


def _windows() -> list[tuple[float, float, float, float]]:
    """Windows that leave out up to 5 % at each side: in the middle, or at any of the borders."""
    edges = ((0.025, 0.95), (0.05, 0.9), (0.0, 1.0), (0.0, 0.95), (0.05, 0.95))
    return [(top, left, rows, columns) for top, rows in edges for left, columns in edges]


CENTRES = ((0.025, 0.025, 0.95, 0.95), (0.05, 0.05, 0.9, 0.9))
VIEWS = (
    *(View(symmetry) for symmetry in range(8)),
    *(View(window=window) for window in _windows() if window != View().window),
    *(View(symmetry, window) for window in CENTRES for symmetry in range(1, 8)),
)


def turned(image: np.ndarray, symmetry: int) -> np.ndarray:
    """The image (H, W, …) in one of the eight symmetries, as View counts them."""
    return np.rot90(image[:, ::-1] if symmetry >= 4 else image, symmetry % 4)


def hash_views(grey: np.ndarray, views: Sequence[View] = VIEWS) -> np.ndarray:
    """The hashes u64 (V, 4) of views of a grey image u8 (H, W)."""
    import imagehash  # here: few commands need it

    hashes, smaller = [], {}
    for view in views:
        if view.window not in smaller:
            smaller[view.window] = _input(grey, view.window)
        shown = Image.fromarray(np.ascontiguousarray(turned(smaller[view.window], view.symmetry)))
        hashes.append(np.packbits(imagehash.phash(shown, hash_size=HASH_SIZE).hash).view(np.uint64))
    return np.stack(hashes)


def _input(grey: np.ndarray, window: tuple[float, float, float, float]) -> np.ndarray:
    """The window of a grey image, at the size that imagehash transforms."""
    top, left, rows, columns = window
    (top, bottom), (left, right) = (
        (min(round(first * side), side - 1), max(round((first + share) * side), 1))
        for first, share, side in ((top, rows, grey.shape[0]), (left, columns, grey.shape[1]))
    )
    shown = np.ascontiguousarray(grey[top : max(bottom, top + 1), left : max(right, left + 1)])
    how = cv2.INTER_AREA if min(shown.shape) >= INPUT else cv2.INTER_LINEAR
    return cv2.resize(shown, (INPUT, INPUT), interpolation=how)


@kernel
def _count_bits(word):
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@kernel
def _nearest(hashes, first, distances, views):
    """Fill row i - first of (rows, n): of images i and j the smallest distance of a view of i to j, and which."""
    n, count = hashes.shape[0], hashes.shape[1]
    for row in range(distances.shape[0]):
        i = first + row
        for j in range(n):
            best, which = BITS + 1, 0
            for view in range(count):
                bits = 0
                for word in range(WORDS):
                    bits += _count_bits(hashes[i, view, word] ^ hashes[j, 0, word])
                if bits < best:
                    best, which = bits, view
            distances[row, j], views[row, j] = best, which


def distances_of(hashes: np.ndarray, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """The distances i16 (last - first, n) in bits from a view of image i to image j, and the view, u8.

    hashes: u64 (n, V, 4). Of each pair the view of i that is nearest to all of j.
    """
    if hashes.dtype != np.uint64 or hashes.ndim != 3 or hashes.shape[2] != WORDS:
        raise ValueError(f"hashes are uint64 (n, V, {WORDS}), got {hashes.dtype} {hashes.shape}")
    shape = last - first, len(hashes)
    distances, views = np.zeros(shape, np.int16), np.zeros(shape, np.uint8)
    _nearest(np.ascontiguousarray(hashes), first, distances, views)
    return distances, views
