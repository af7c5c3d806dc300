"""Images of odd quality: blurred, dark, without information, of an odd size or shape, grey among colour images.

Most limits are the data's own: an image is named where it is far from most others. Such images are not wrong. They are
worth a look, because a label on them often is, and a network may fail on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kit.folds.looks import Look

FAR = 5.0  # robust standard deviations from the median
DARK, LIGHT = 0.2, 0.8  # the 99th percentile of grey below, and the 1st above: 0..1
POOR = 2.0  # bits of entropy: nearly all pixels have one of four values
USUAL = 0.9  # share of images of one kind from which another kind is odd
TIMES = 1.5  # a size or ratio is odd only where it differs by such a factor from the median


@dataclass(frozen=True)
class Odd:
    """An image and what is odd about it, in words. score: how far it is from most others; the higher the odder."""

    id: str
    kind: str
    what: str
    score: float


def odd_images(looks: Mapping[str, Look]) -> list[Odd]:
    """The odd images, kind by kind, the oddest first; one that shows nothing is of no other kind."""
    empty = [id for id, one in looks.items() if one.is_flat]
    rest = {id: one for id, one in looks.items() if not one.is_flat}
    found = [Odd(id, "shows nothing", f"all pixels are nearly {round(_level(looks[id]))}", 1.0) for id in empty]
    if rest:
        found += _limits(rest) + _far_from_most(rest) + _other_kind(rest)
    return found


def _level(one: Look) -> float:
    return float(one.square.mean())


def _limits(looks: Mapping[str, Look]) -> list[Odd]:
    """What is odd by itself, unless many images are so."""
    bright, dark = ({id: getattr(one, name) for id, one in looks.items()} for name in ("bright", "dark"))
    bits = {id: one.entropy for id, one in looks.items()}
    below = [
        Odd(id, "dark", f"99 % of its pixels are below {value:.0%} of white", 1 - value)
        for id, value in bright.items()
        if value < DARK
    ]
    above = [
        Odd(id, "light", f"99 % of its pixels are above {value:.0%} of white", value)
        for id, value in dark.items()
        if value > LIGHT
    ]
    poor = [
        Odd(id, "little information", f"its grey has {value:.1f} bits", -value)
        for id, value in bits.items()
        if value < POOR
    ]
    return [odd for kind in (below, above, poor) for odd in _unless_usual(kind, len(looks))]


def _unless_usual(found: list[Odd], count: int) -> list[Odd]:
    """The odd images of one kind, the oddest first; none where so many of all are of it that it is not odd."""
    return sorted(found, key=lambda one: -one.score) if len(found) <= (1 - USUAL) * count else []


def _far_from_most(looks: Mapping[str, Look]) -> list[Odd]:
    """What differs from most others: sharpness below, size and ratio of the sides on either side."""
    ids = list(looks)
    sharp = np.log([max(one.sharpness, 1e-3) for one in looks.values()])
    height, width = (np.array([one.shape[axis] for one in looks.values()], float) for axis in (0, 1))
    blurred = [
        Odd(ids[k], "blurred", f"its edges are {np.exp(sharp[k] - np.median(sharp)):.0%} as sharp as usual", -score)
        for k, score in _outliers(sharp, TIMES)
        if score < 0
    ]
    odd = _unless_usual(blurred, len(ids))
    for kind, values in (("odd size", np.log(height * width) / 2), ("odd shape", np.log(height / width))):
        others = [
            Odd(ids[k], kind, f"{height[k]:.0f} × {width[k]:.0f} pixels", abs(score))
            for k, score in _outliers(values, TIMES)
        ]
        odd += _unless_usual(others, len(ids))
    return odd


def _outliers(values: np.ndarray, times: float) -> list[tuple[int, float]]:
    """The places of values (logarithms) far from the median, and how far; the farthest first."""
    rest = values - np.median(values)
    spread = max(1.4826 * float(np.median(np.abs(rest))), np.log(times) / FAR)
    found = [(int(k), float(rest[k] / spread)) for k in np.flatnonzero(np.abs(rest) > FAR * spread)]
    return sorted(found, key=lambda one: -abs(one[1]))


def _other_kind(looks: Mapping[str, Look]) -> list[Odd]:
    """Grey images among images in colour, and the other way round."""
    found = []
    grey = {id: one.is_grey for id, one in looks.items() if one.shape[2] >= 3}
    for kind, value, words in (("grey", True, "its channels are the same"), ("in colour", False, "others are grey")):
        odd = [Odd(id, kind, words, 1.0) for id, is_grey in grey.items() if is_grey == value]
        found += _unless_usual(odd, len(grey))
    return found
