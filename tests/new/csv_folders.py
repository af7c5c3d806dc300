"""Drawn folders for the tests of kit new whose masks are run lengths in a CSV."""

from pathlib import Path

import cv2
import numpy as np

from kit.new import Asked, Wishes, recipe_text
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


def wishes(**said):
    asked = Asked(**{name: said.pop(name) for name in ("images", "masks", "tests") if name in said})
    return Wishes(asked, device="cpu", **said)


def opened(choices, folder):
    """The data set of the recipe that is written."""
    space = {"__name__": "recipe"}
    exec(compile(recipe_text(choices, folder, folder / "mine.py"), "mine.py", "exec"), space)
    return space["read_data"](folder)


def rows_of(ids, order="F", base=1, ending=""):
    return [f"{id}{ending},{text_of(blob(at), order, base)}" for at, id in enumerate(ids)]


IDS = names(12)


def of_classes(folder, overlap=False, in_key=False, size=SIZE):
    """Two classes, each of half of an ellipse; in one image both of the whole."""
    images(folder / "train", IDS[:9], size)
    images(folder / "test", names(4, "q"), size)
    rows = []
    for at, id in enumerate(IDS[:9]):
        upper = np.arange(size[0])[:, None] < size[0] // 2
        for number, label in enumerate(("liver", "node")):
            half = blob(at, size) * (np.ones(size, np.uint8) if overlap and at == 5 else (upper == (number == 0)))
            rows.append(f"{id}_{label},{text_of(half)}" if in_key else f"{id},{label},{text_of(half)}")
    header = "id,rle" if in_key else "id,organ,rle"
    table(folder / "train.csv", header, rows)
    ends = [f"_{label}," if in_key else f",{label}," for label in ("liver", "node")]
    table(folder / "sample_submission.csv", header, [f"{id}{end}" for id in names(4, "q") for end in ends])
    return folder
