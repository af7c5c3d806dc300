"""What the audit remembers of an image: it is decoded once, and little of it is kept.

    looks = look_at(dataset, ids)      {id: Look}, in threads

A Look holds about 20 kB, so 5,000 images need 100 MB.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kit.data.dataset import Dataset
from kit.data.regions import has_regions
from kit.data.resize import single_threaded_cv2
from kit.data.sample_checks import describe_error
from kit.data.scaled import ScaledRegions
from kit.folds.hashes import hash_views
from kit.system.threads import ordered_map

SIDE = 128  # pixels along the small square
LONGEST = 256  # pixels of the longer side from which hashes, colours and qualities are taken
LARGEST = 2000  # pixels of the longer side to which slides are shrunk while they are read
COLOUR_BINS = (12, 6, 8)  # of hue, saturation and value
GREY_BINS = 64
LEVEL_BINS = 16
FLAT = 2.0  # levels of 255: an image whose grey has a smaller standard deviation shows too little to be hashed
EVEN = 2  # levels of an integer type: an image whose channels range over no more is constant
PLAIN = 0.01  # mean difference of the channels, 0..1, below which an image is grey


@dataclass(frozen=True)
class Look:
    """One image of shape (H, W, C).

    content: a hash of its pixels, their type and the shape. is_constant: whether no channel ranges over more than EVEN
    levels of an integer type, or over any of f32, at full size. hashes: u64 (V, 4), see kit.folds.hashes.
    square: u8 (SIDE, SIDE), grey. colours: f32 (576,), greys: f32 (64,), the square roots of histograms of hue,
    saturation and value, and of grey: the length of a difference is the Hellinger distance times √2.
    means, spreads: f32 (C,), of each channel in units of the type's largest value, of f32 in its own.
    levels: f32 (C, 16), shares of each channel's values between 0 and the type's largest value; of f32 zeros.
    dark, bright: the 1st and the 99th percentile of grey, 0..1. sharpness: the spread of grey's Laplacian over that of
    grey. entropy: of grey, in bits. colour: the mean difference of the channels, 0..1.
    """

    shape: tuple[int, int, int]
    content: bytes
    is_constant: bool
    hashes: np.ndarray
    square: np.ndarray
    colours: np.ndarray
    greys: np.ndarray
    means: np.ndarray
    spreads: np.ndarray
    levels: np.ndarray
    dark: float
    bright: float
    sharpness: float
    entropy: float
    colour: float

    @property
    def is_flat(self) -> bool:
        """Whether the image shows nothing: all of its pixels are nearly the same."""
        return float(self.square.std()) < FLAT

    @property
    def is_grey(self) -> bool:
        """Whether all channels are nearly the same."""
        return self.colour < PLAIN


def look_at(dataset: Dataset, ids: Sequence[str], threads: int = 4) -> dict[str, Look]:
    """Look at every image of `ids`, in threads. Raises what read_image raises."""
    with single_threaded_cv2():
        return dict(zip(ids, ordered_map(lambda id: look(pixels_of(dataset, id)), ids, threads), strict=True))


def look_at_readable(dataset: Dataset, ids: Sequence[str], threads: int = 4) -> tuple[dict[str, Look], dict[str, str]]:
    """Look at the images of `ids` that can be read. Returns their looks, and the problems of the others, by id."""

    def tried(id: str) -> Look | str:
        try:
            return look(pixels_of(dataset, id))
        except Exception as error:  # whatever the data set's own code raises
            return describe_error(error)

    with single_threaded_cv2():
        found = dict(zip(ids, ordered_map(tried, ids, threads), strict=True))
    problems = {id: one for id, one in found.items() if isinstance(one, str)}
    return {id: one for id, one in found.items() if id not in problems}, problems


def pixels_of(dataset: Dataset, id: str) -> np.ndarray:
    """The image (H, W, C); a slide shrunk until its longer side has LARGEST pixels at most."""
    if not has_regions(dataset):
        return dataset.read_image(id)
    slide = dataset.regions(id)
    slide = slide.regions if isinstance(slide, ScaledRegions) else slide
    shrunk = ScaledRegions(slide, -(-max(slide.shape[:2]) // LARGEST))
    return shrunk.read(0, 0, *shrunk.shape[:2])


def look(image: np.ndarray) -> Look:
    """What is kept of an image (H, W, C), u8, u16 or f32."""
    small = resized(image, _size_within(image.shape[:2], LONGEST))
    shown = as_bytes(small)
    grey = grey_of(shown)
    shares = np.bincount(grey.reshape(-1), minlength=256) / grey.size
    means, spreads, levels = _channels(small)
    return Look(
        shape=image.shape,
        content=_content(image),
        is_constant=_is_constant(image),
        hashes=hash_views(grey),
        square=resized(grey, (SIDE, SIDE)),
        colours=np.sqrt(_colours(shown)),
        greys=np.sqrt(shares.reshape(GREY_BINS, -1).sum(axis=1)).astype(np.float32),
        means=means,
        spreads=spreads,
        levels=levels,
        dark=float(np.percentile(grey, 1)) / 255,
        bright=float(np.percentile(grey, 99)) / 255,
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).std() / max(float(grey.std()), 1.0)),
        entropy=float(-(shares[shares > 0] * np.log2(shares[shares > 0])).sum()),
        colour=float(np.abs(shown.astype(np.int16) - shown[..., :1]).mean()) / 255,
    )


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image (H, W) or (H, W, C) at another size (h, w): means over areas, or bilinear where a side grows."""
    height, width = image.shape[:2]
    how = cv2.INTER_AREA if size[0] <= height and size[1] <= width else cv2.INTER_LINEAR
    layers = [image] if image.ndim == 2 else [image[..., k : k + 3] for k in range(0, image.shape[2], 3)]
    layers = [cv2.resize(np.ascontiguousarray(layer), size[::-1], interpolation=how) for layer in layers]
    return layers[0] if image.ndim == 2 else np.concatenate([one.reshape(*size, -1) for one in layers], axis=2)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """The image as u8: others than u8 are stretched from their 1st to their 99th percentile, all channels alike."""
    if image.dtype == np.uint8:
        return image
    values = image.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 0.0)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / max(high - low, 1e-300)
    return np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)


def grey_of(image: np.ndarray) -> np.ndarray:
    """Grey u8 (H, W) of u8 (H, W, C): luma of three channels, else their mean."""
    if image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.round(image.mean(axis=2)).astype(np.uint8)


def rgb_of(image: np.ndarray) -> np.ndarray:
    """u8 (H, W, 3) of u8 (H, W, C): the first three channels, or the first as grey."""
    return np.ascontiguousarray(np.broadcast_to(image[..., : 3 if image.shape[2] >= 3 else 1], (*image.shape[:2], 3)))


def _size_within(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size (h, w) of the same ratio whose longer side is `longest` at most."""
    scale = min(1.0, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _colours(shown: np.ndarray) -> np.ndarray:
    """Shares f32 (576,) of hue, saturation and value."""
    hsv = cv2.cvtColor(rgb_of(shown), cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, list(COLOUR_BINS), [0, 180, 0, 256, 0, 256])
    return (counts / counts.sum()).reshape(-1).astype(np.float32)


def _channels(small: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each channel mean and spread f32 (C,), and the shares of LEVEL_BINS ranges of values f32 (C, 16)."""
    pixels = small.reshape(-1, small.shape[2]).astype(np.float32)
    levels = np.zeros((small.shape[2], LEVEL_BINS), np.float32)
    if small.dtype.kind == "u":
        top = np.iinfo(small.dtype).max
        pixels /= top
        bins = np.minimum((pixels * LEVEL_BINS).astype(int), LEVEL_BINS - 1)
        levels = np.stack([np.bincount(column, minlength=LEVEL_BINS) / len(bins) for column in bins.T])
    pixels = np.nan_to_num(pixels, posinf=0, neginf=0)
    return pixels.mean(axis=0), pixels.std(axis=0), levels.astype(np.float32)


def _is_constant(image: np.ndarray) -> bool:
    """Whether each channel has nearly one value; of f32 exactly one, or none that is finite."""
    for channel in np.moveaxis(image, 2, 0):
        values = channel if image.dtype.kind == "u" else channel[np.isfinite(channel)]
        if values.size and float(values.max()) - float(values.min()) > (EVEN if image.dtype.kind == "u" else 0):
            return False
    return True


def _content(image: np.ndarray) -> bytes:
    pixels = np.ascontiguousarray(image)
    name = hashlib.sha256(repr((pixels.dtype.str, pixels.shape)).encode())
    name.update(pixels)
    return name.digest()
