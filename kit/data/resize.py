"""Images and masks at the network's size, stretched to it or with their ratio kept and padded.

    Resizing((512, 768))                    stretches
    Resizing((512, 768), keep_ratio=True)   shrinks or enlarges both sides alike, centres, and pads
    Resizing(None)                          every image at its own size

`content(shape)` says where the image lies in the network's map, so a prediction cut there and enlarged to `shape` is
back in place.
"""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from kit.data.shrink import shrink

CHANNELS_AT_ONCE = 4  # OpenCV's means over areas fail with more at some sizes
DTYPES = (np.uint8, np.uint16, np.float32)


@dataclass(frozen=True)
class Resizing:
    """How images and masks come to the network's size.

    size: (height, width), or None for each image's own. keep_ratio: keep the ratio of the sides; what is left is
    padded, the image by its own mirror image and the mask with 255, so that it is not trained on.
    """

    size: tuple[int, int] | None
    keep_ratio: bool = False

    def image(self, image: np.ndarray) -> np.ndarray:
        """Image (H, W, C), u8, u16 or f32 -> (h, w, C) of the same dtype."""
        if self.size is None:
            return image
        rows, columns = self.content(image.shape[:2])
        resized = resize_image(image, (rows.stop - rows.start, columns.stop - columns.start))
        if resized.shape[:2] == tuple(self.size):
            return resized
        height, width = self.size
        return resized[np.ix_(_mirrored(rows.start, rows.stop, height), _mirrored(columns.start, columns.stop, width))]

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """Mask u8 (H, W) -> u8 (h, w), without a new label but 255 in the padding; layers (H, W, K) one by one."""
        if self.size is None:
            return mask
        rows, columns = self.content(mask.shape[:2])
        size = rows.stop - rows.start, columns.stop - columns.start
        resized = resize_mask(mask, size) if mask.ndim == 2 else _resize_layers(mask, size)
        if resized.shape[:2] == tuple(self.size):
            return resized
        padded = np.full((*self.size, *mask.shape[2:]), 255, np.uint8)
        padded[rows, columns] = resized
        return padded

    def content(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of the network's map that hold an image of `shape` (height, width)."""
        if self.size is None:
            return slice(0, shape[0]), slice(0, shape[1])
        if not self.keep_ratio:
            return slice(0, self.size[0]), slice(0, self.size[1])
        (height, width), (rows, columns) = shape, self.size
        if rows * width <= columns * height:  # the height decides
            columns = max(1, (2 * rows * width + height) // (2 * height))  # rounded half up
        else:
            rows = max(1, (2 * columns * height + width) // (2 * width))
        top, left = (self.size[0] - rows) // 2, (self.size[1] - columns) // 2
        return slice(top, top + rows), slice(left, left + columns)

    def __str__(self) -> str:
        size = "own" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        return f"{size}-ratio" if self.keep_ratio else size


@functools.lru_cache(256)
def _mirrored(start: int, stop: int, length: int) -> np.ndarray:
    """For each of `length` places the pixel that it shows: the pixels lie from start to stop, mirror images around."""
    count = stop - start
    places = np.pad(np.arange(count), (start, length - stop), "reflect" if count > 1 else "edge")
    places.flags.writeable = False
    return places


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, C), u8, u16 or f32: the mean over each cell where it shrinks, bilinear where a side grows.

    Raises ValueError on another dtype or number of dimensions.
    """
    if image.ndim != 3 or image.dtype not in DTYPES or not image.size:
        raise ValueError(f"an image to resize is u8, u16 or f32 (H, W, C), not empty; got {image.dtype} {image.shape}")
    height, width = size
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    if shrinks and image.dtype == np.uint8 and image.shape[2] == 3:
        return shrink(image, size)
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = np.ascontiguousarray(image)
    parts = [image[..., at : at + CHANNELS_AT_ONCE] for at in range(0, image.shape[2], CHANNELS_AT_ONCE)]
    resized = [cv2.resize(part, (width, height), interpolation=method).reshape(height, width, -1) for part in parts]
    return resized[0] if len(resized) == 1 else np.concatenate(resized, axis=2)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize u8 (H, W) to `size` without a new label and without a shift.

    A mask of 0 and 1 that shrinks is 1 where at least half of the cell is; anything else takes the label at the
    cell's centre. The majority is the better of the two when a prediction is enlarged again: an ellipse of 1280×1918
    brought to 512×768 and up again (bilinear, 0.5) is off by 0.29 % of its area, by 0.31 % from centres, and by 0.63 %
    from OpenCV's plain nearest neighbour, which takes corners and shifts by half a cell.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8 or not mask.size:
        raise ValueError(f"a mask to resize is u8 (H, W), not empty; got {mask.dtype} {mask.shape}")
    height, width = size
    if mask.max() <= 1 and height <= mask.shape[0] and width <= mask.shape[1]:
        return cv2.resize(mask * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA) >> 7
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def _resize_layers(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """resize_mask of each layer of (H, W, K)."""
    return np.stack([resize_mask(masks[..., k], size) for k in range(masks.shape[2])], axis=2)


@contextlib.contextmanager
def single_threaded_cv2() -> Iterator[None]:
    """Keep OpenCV from starting its own threads inside ours, then give it back its number."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
