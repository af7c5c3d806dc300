"""Is one image a copy of another? Their pixels decide, after the two are brought to one size and aligned.

Two photographs of one scene may correlate to .99: a standing camera, another car on the same studio floor. They differ
by much in one place. A copy that was compressed, resized or brightened differs everywhere by little. So two numbers
count: the correlation of all pixels, and the difference in the block where it is largest. Both are of the grey image.
Images of the same grey may differ in their channels, so those must correlate too; unless one of the images has one
channel, or channels that are the same: it may be the other one without colours.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from kit.folds.hashes import View, turned
from kit.folds.looks import as_bytes, grey_of, resized

SIDE = 256  # pixels along the squares that are compared, at most
STEPS, PRECISION = 80, 1e-6  # of the alignment
FAR = 0.08  # an alignment that moves or stretches the image by a larger share of its side is not believed
SMOOTH = 1.2  # pixels: below it, compression and resizing change an image
LEVELS = 32  # points of the curve between the brightness of two images
FEW = 20  # pixels: the rest at a level of fewer is not believed
LEAST_SPREAD = 0.5  # levels of 255: a smoother image cannot be compared
SOFT = 10.0  # levels of 255: with less contrast than this, a difference counts as if there were as much
WHITE, WHITE_SHARE = 253, 0.02  # a pixel is cut off where so many of those in it have a channel of this level
BRIGHT = 170.0  # the largest channel that such a pixel has in the other image, at least: else it is another pixel
LEAST_INSIDE = 0.12  # share of the pixels that are compared, at least
BLOCKS = 16  # along the side of the image, in which the difference is measured
CORRELATION, WORST = 0.98, 0.2  # what a copy must reach, and not exceed
CHANNEL = 0.95  # correlation of each channel that a copy must reach: JPEG keeps less of colours than of grey
GREY = 2.0  # levels of 255: an image whose channels differ by less, on average, has no colours


@dataclass(frozen=True)
class Match:
    """How well two images agree.

    correlation: of the pixels, after a curve was fitted to the brightness. worst: the root mean square of the
    difference in the worst block, in standard deviations of the image's pixels. channel: the correlation of the channel
    that agrees least, where both have colours.
    """

    correlation: float
    worst: float
    channel: float = 1.0

    @property
    def is_copy(self) -> bool:
        """Whether one image was made from the other."""
        return self.correlation >= CORRELATION and self.worst <= WORST and self.channel >= CHANNEL


def compare(first: np.ndarray, second: np.ndarray, view: View) -> Match:
    """Compare a view of the image `first` (H, W, C) with the image `second`."""
    side = min(SIDE, *first.shape[:2], *second.shape[:2])
    first, second = as_bytes(first), as_bytes(second)
    a, b = (_squares(image, side) for image in (first, second))
    a = [np.ascontiguousarray(turned(one, view.symmetry)) for one in a]
    matches = []
    for warp in _warps(a[0], b[0], turned_window(view)):
        inside = _warp(np.ones_like(a[0]), warp, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 0
        high, white = (_warp(one, warp, cv2.INTER_LINEAR) for one in a[1:])
        cut_off = ((white > WHITE_SHARE) & (b[1] >= BRIGHT)) | ((b[2] > WHITE_SHARE) & (high >= BRIGHT))
        inside = inside & ~cut_off if (inside & ~cut_off).mean() >= LEAST_INSIDE else inside
        matches.append((_measure(_warp(a[0], warp, cv2.INTER_CUBIC), b[0], inside), warp, inside))
    match, warp, inside = min(matches, key=lambda one: one[0].worst)
    if not match.is_copy or first.shape[2] != second.shape[2] or min(map(_colour, (first, second))) < GREY:
        return match
    return replace(match, channel=min(_channels(first, second, view, warp, inside)))


def _channels(
    first: np.ndarray, second: np.ndarray, view: View, warp: np.ndarray, inside: np.ndarray
) -> Iterator[float]:
    """The correlation of each channel of two images u8 (H, W, C), aligned by `warp`, where `inside` is true."""
    side = len(inside)
    for k in range(first.shape[2]):
        a, b = (resized(np.ascontiguousarray(one[..., k]), (side, side)).astype(np.float32) for one in (first, second))
        moved = _warp(np.ascontiguousarray(turned(a, view.symmetry)), warp, cv2.INTER_CUBIC)
        a, b = (cv2.GaussianBlur(one, (0, 0), SMOOTH) for one in (moved, b))
        yield max(_channel(a, b, inside), _channel(b, a, inside))


def _channel(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    """The correlation after the curve; a channel of less contrast than SOFT counts as if it had as much."""
    rest, spread = _rest(a, b, inside), max(float(b[inside].std()), SOFT)
    return float(np.sqrt(max(0.0, 1 - float((rest[inside] ** 2).mean()) / spread**2)))


def _colour(image: np.ndarray) -> float:
    """How far the channels of an image u8 (H, W, C) differ from the first, on average, in levels of 255."""
    return float(np.abs(image[..., 1:].astype(np.int16) - image[..., :1]).mean()) if image.shape[2] > 1 else 0.0


def turned_window(view: View) -> tuple[float, float, float, float]:
    """The view's window in the turned image."""
    top, left, rows, columns = view.window
    if view.symmetry >= 4:
        left = 1 - left - columns
    for _ in range(view.symmetry % 4):  # a quarter to the left: what was right is on top
        top, left, rows, columns = 1 - left - columns, top, columns, rows
    return top, left, rows, columns


def _squares(image: np.ndarray, side: int) -> list[np.ndarray]:
    """Of an image u8 three squares f32 (S, S): grey, the largest channel, and the share of pixels that are cut off."""
    largest = image[..., 0]
    for k in range(1, image.shape[2]):
        largest = np.maximum(largest, image[..., k])
    maps = grey_of(image), largest, (largest >= WHITE).astype(np.float32)
    return [resized(np.ascontiguousarray(one), (side, side)).astype(np.float32) for one in maps]


def _warps(first: np.ndarray, second: np.ndarray, window: tuple[float, float, float, float]) -> Iterator[np.ndarray]:
    """The affine maps from the pixels of the second square to those of the first: by the window alone, and fitted."""
    side = len(second)
    top, left, rows, columns = window
    start = np.array([[columns, 0, left * side], [0, rows, top * side]], np.float32)
    start[:, 2] += (np.array([columns, rows], np.float32) - 1) / 2  # centres of pixels
    yield start
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, STEPS, PRECISION)
    with contextlib.suppress(cv2.error):  # it does not converge where the two have little in common
        fitted = cv2.findTransformECC(second, first, start.copy(), cv2.MOTION_AFFINE, criteria, None, 5)[1]
        change = fitted - start
        if max(np.abs(change[:, :2]).max(), np.abs(change[:, 2]).max() / side) <= FAR:
            yield fitted


def _warp(image: np.ndarray, warp: np.ndarray, how: int, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    return cv2.warpAffine(image, warp, image.shape[::-1], flags=how | cv2.WARP_INVERSE_MAP, borderMode=border)


def _measure(moved: np.ndarray, second: np.ndarray, inside: np.ndarray) -> Match:
    """The better of the two ways round."""
    if inside.mean() < LEAST_INSIDE:
        return Match(0.0, np.inf)
    a, b = (cv2.GaussianBlur(one, (0, 0), SMOOTH) for one in (moved, second))
    return min((_agreement(a, b, inside), _agreement(b, a, inside)), key=lambda match: match.worst)


def _agreement(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> Match:
    """How well `b` follows from `a` by a curve of brightness: a line, and the mean rest at each level of `a`."""
    x, y = a[inside], b[inside]
    spread = float(y.std())
    if min(spread, float(x.std())) < LEAST_SPREAD:
        return Match(0.0, np.inf)
    rest = _rest(a, b, inside)
    block = max(1, len(a) // BLOCKS)
    worst = float(np.sqrt(max(0.0, cv2.blur(rest * rest, (block, block)).max()))) / max(spread, SOFT)
    return Match(float(np.sqrt(max(0.0, 1 - float((rest[inside] ** 2).mean()) / spread**2))), worst)


def _rest(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What the curve leaves of `b` (S, S); 0 outside."""
    x, y = a[inside], b[inside]
    slope = float(np.cov(x, y, bias=True)[0, 1] / max(float(x.var()), 1e-6))
    rest = np.where(inside, b - y.mean() - slope * (a - x.mean()), 0)
    bins = np.minimum(((a - x.min()) * (LEVELS / max(x.max() - x.min(), 1e-6))).clip(0), LEVELS - 1).astype(int)
    counts = np.bincount(bins[inside], minlength=LEVELS)
    means = np.bincount(bins[inside], weights=rest[inside], minlength=LEVELS) / (counts + FEW)
    centres = x.min() + (np.arange(LEVELS) + 0.5) * (x.max() - x.min()) / LEVELS
    return rest - np.where(inside, np.interp(a, centres, means), 0)
