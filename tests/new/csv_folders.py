"""Drawn folders for the tests of kit new whose masks are run lengths in a CSV."""

from pathlib import Path

import cv2
import numpy as np

from kit.submission import rle

SIZE = (40, 64)


def blob(seed: int, size=SIZE) -> np.ndarray:
    """An ellipse u8 (H, W) of 0 and 1, which touches no edge."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    centre = int(rng.integers(20, size[1] - 20)), int(rng.integers(14, size[0] - 14))
    return cv2.ellipse(mask, centre, (int(rng.integers(8, 16)), int(rng.integers(5, 11))), 20, 0, 360, 1, -1)


def text_of(mask: np.ndarray, order: str = "F", base: int = 1) -> str:
    """The run lengths of a mask."""
    numbers = rle.encode(mask, order).split()
    return " ".join(str(int(one) - (1 - base) * (at % 2 == 0)) for at, one in enumerate(numbers))


def images(folder: Path, ids, size=SIZE) -> Path:
    """An image for each id: the blob of its number, bright on noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, id in enumerate(ids):
        noise = np.random.default_rng(seed).integers(0, 90, (*size, 3), np.uint8)
        cv2.imwrite(str(folder / f"{id}.png"), noise + 120 * blob(seed, size)[..., None])
    return folder


def table(path: Path, header: str, rows) -> Path:
    """A CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def names(count: int, front: str = "s") -> list[str]:
    """Ids with numbers that are no classes."""
    return [f"{front}{number:03}x" for number in range(count)]


def masks(folder: Path, ids, size=SIZE, top: int = 255) -> Path:
    """A mask file for each id: the blob of its number."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, id in enumerate(ids):
        cv2.imwrite(str(folder / f"{id}.png"), blob(seed, size) * np.uint8(top))
    return folder
