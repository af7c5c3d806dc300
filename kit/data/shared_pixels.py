"""Pixels that are in several objects of an image. A label image gives each to one object, so another loses it.

Truth that people drew often shares a pixel or two where cells touch. Many shared pixels are a fault: an object that is
there twice, or runs that were moved.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kit.system.files import list_some

SHOWN = 5  # images, and pairs of objects of an image


class Shared(NamedTuple):
    """pixels: of an image that are in several objects. pairs: how many objects lose some to how many. text: both."""

    pixels: int = 0
    pairs: int = 0
    text: str = ""


def shared_pixels(objects: Sequence[tuple[str, np.ndarray]], labels: np.ndarray, name: str) -> Shared:
    """What the objects of one image share.

    objects: of each the name, for messages, and its pixels: int (P,), places in the flat image along rows.
    labels: the image i32 (H, W) that numbers them 1, 2, … name: of the image, for messages.
    """
    flat, lost, pairs = labels.reshape(-1), [np.empty(0, np.int64)], []
    if sum(pixels.size for _, pixels in objects) == np.count_nonzero(flat):
        return Shared()
    for number, (loser, pixels) in enumerate(objects, start=1):
        taken = pixels[flat[pixels] != number]
        lost.append(taken)
        winners, counts = np.unique(flat[taken], return_counts=True)
        for winner, count in zip(winners.tolist(), counts.tolist(), strict=True):
            pairs.append((count, f"{count:,} of the {pixels.size:,} of {loser} go to {objects[winner - 1][0]}"))
    count = int(np.unique(np.concatenate(lost)).size)
    texts = [text for _, text in sorted(pairs, key=lambda pair: -pair[0])]
    more = f", and {len(texts) - SHOWN:,} more" * (len(texts) > SHOWN)
    return Shared(count, len(pairs), f"{name}: {_counted(count, 'pixel')}: {', '.join(texts[:SHOWN])}{more}")


def shared_in_words(found: Sequence[Shared], among: str = "") -> str:
    """One warning about all images with shared pixels, those with most first; "" where there is none.

    among: which images were looked at, where not all were.
    """
    some = sorted((one for one in found if one.pixels), key=lambda one: -one.pixels)
    if not some:
        return ""
    pixels, pairs = sum(one.pixels for one in some), sum(one.pairs for one in some)
    return (
        f"{_counted(pixels, 'pixel')} of {_counted(len(some), 'image')}{among} {'is' if pixels == 1 else 'are'} in "
        f"several objects, in {_counted(pairs, 'pair')} of objects. The smallest object gets each, and the others lose "
        f"it; where that is wrong, give each pixel to one object:{list_some([one.text for one in some], SHOWN)}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
