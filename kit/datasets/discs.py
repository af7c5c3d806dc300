"""Drawn nuclei: a small competition of discs that touch, for a clone without data.

A photograph is 192×256 pixels and is cut into four tiles, as many images of the Data Science Bowl are: so its tiles
belong to one group. Half of the photographs show bright discs on black, as in fluorescence microscopy, the others dark
violet ones on a pale ground, as in stained tissue. Most discs touch another, so connected components count two or more
as one. The files lie as Kaggle's: stage1_train/<id>/images and masks, stage1_train_labels.csv, stage1_test/,
stage1_sample_submission.csv. Two more are here that Kaggle does not publish: groups.csv, the photograph and the kind of
each image, and stage1_test_labels.csv, the true objects of the test images.
A score on it says nothing about microscopy.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from kit.datasets.drawn_files import drawn_folder, run_lengths, write_csv
from kit.datasets.nuclei import GROUPS, Nuclei
from kit.system.files import cache_folder

VERSION = 1  # raised whenever the drawing changes, so that an older one in a cache is not used
MARKER, TRUTH = "discs.json", "stage1_test_labels.csv"
TILE = (96, 128)
KINDS = {"dark": ((14, 14, 16), (150, 150, 150)), "stained": ((228, 205, 218), (112, 70, 140))}  # ground, disc: RGB
DISCS, TOUCHING = 46, 0.7  # of a photograph; the share that is set beside another one
LEAST_VISIBLE = 0.6  # of a disc that others cover in part; else it is left out
LEAST_AREA = 20  # pixels of an object that a tile's edge cuts; a smaller piece is background


class Discs(Nuclei):
    """The drawn images and their label images, in groups. truth_csv: the true objects of the test images."""

    name = "discs"
    drawn = True

    def __init__(self, folder: Path | str):
        super().__init__(folder, groups=GROUPS)
        self.truth_csv = self.data.path(TRUTH)


def open_discs(say: Callable[[str], None]) -> Discs:
    """The competition as it is drawn once, in the user's cache. say: prints a line, that scores are of drawn images."""
    say("Drawing a small competition of touching discs. Scores are of drawn images.")
    return Discs(draw_discs(cache_folder() / f"discs-v{VERSION}"))


def draw_discs(folder: Path | str, photographs: int = 8, test_photographs: int = 2, seed: int = 0) -> Path:
    """Draw the competition into `folder` unless it is there, and return the folder: four images a photograph.

    The same arguments give the same bytes with the same library versions; more photographs never change the earlier
    ones. Raises FileExistsError when `folder` holds anything else, and ValueError for numbers below 1 or a seed below
    0.
    """
    wanted = {"version": VERSION, "photographs": photographs, "test_photographs": test_photographs, "seed": seed}
    if min(photographs, test_photographs) < 1 or seed < 0:
        raise ValueError(f"cannot draw {wanted}: expected a photograph or more of each, and a seed of 0 or more")
    return drawn_folder(Path(folder), MARKER, wanted, lambda place: _draw_all(place, wanted), "discs")


def _draw_all(folder: Path, wanted: dict) -> None:
    groups, rows, tests = [], {"train": [], "test": []}, []
    for part, count in (("train", wanted["photographs"]), ("test", wanted["test_photographs"])):
        for number in range(count):
            kind = list(KINDS)[number % len(KINDS)]
            image, labels = _without_empty_tiles(kind, np.random.default_rng([wanted["seed"], part == "test", number]))
            for at, (tile, own) in enumerate(zip(_tiles(image), _tiles(labels), strict=True)):
                id = hashlib.sha256(f"{wanted['seed']} {part} {number} {at}".encode()).hexdigest()[:16]
                rows[part] += _write_image(folder / f"stage1_{part}" / id, id, tile, own, masks=part == "train")
                groups += [f"{id},photograph-{number},{kind}"] if part == "train" else []
                tests += [f"{id},"] if part == "test" else []
    write_csv(folder / GROUPS[0], f"{GROUPS[1]},{GROUPS[2]},cluster", groups)
    write_csv(folder / "stage1_train_labels.csv", "ImageId,EncodedPixels", rows["train"])
    write_csv(folder / TRUTH, "ImageId,EncodedPixels", rows["test"])
    write_csv(folder / "stage1_sample_submission.csv", "ImageId,EncodedPixels", tests)


def _without_empty_tiles(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A photograph of which every tile shows an object: an image without any has no file of a mask."""
    while True:
        image, labels = photograph(kind, rng)
        if all(np.bincount(own.ravel())[1:].max(initial=0) >= LEAST_AREA for own in _tiles(labels)):
            return image, labels


def photograph(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A photograph u8 (192, 256, 3) of a kind, and its label image int32 (192, 256)."""
    size = 2 * TILE[0], 2 * TILE[1]
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    labels, shade = np.zeros(size, np.int32), np.zeros(size, np.float32)
    for label, (top, left, radius) in enumerate(_places(size, rng), start=1):
        stretch, turn = rng.uniform(0.85, 1.15), rng.uniform(0, np.pi)
        y, x = rows - top, columns - left
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        distance = np.hypot(along * stretch, across / stretch) / radius
        seen = (distance < 1) & (labels == 0)
        if seen.sum() < LEAST_VISIBLE * np.count_nonzero(distance < 1):
            continue
        labels[seen] = label
        shade[seen] = (rng.uniform(0.7, 1.1) * (1.1 - 0.4 * distance**2))[seen]
    ground, disc = (np.array(colour, np.float32) for colour in KINDS[kind])
    image = ground + cv2.GaussianBlur(shade, (0, 0), 0.8)[..., None] * (disc - ground)
    image += rng.normal(0, 7, size)[..., None] + rng.normal(0, 2, (*size, 3))
    return image.clip(0, 255).astype(np.uint8), labels


def _places(size: tuple[int, int], rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """Row, column and radius of each disc, most of them beside an earlier one."""
    found: list[tuple[float, float, float]] = []
    for _ in range(DISCS):
        radius, (top, left) = rng.uniform(6, 12), rng.uniform(0, size)
        if found and rng.random() < TOUCHING:
            beside, angle = found[rng.integers(len(found))], rng.uniform(0, 2 * np.pi)
            reach = beside[2] + radius - rng.uniform(0, 1.5)
            top, left = beside[0] + reach * np.sin(angle), beside[1] + reach * np.cos(angle)
        found.append((top, left, radius))
    return found


def _tiles(array: np.ndarray) -> list[np.ndarray]:
    """The four tiles of a photograph or of its labels."""
    return [array[y : y + TILE[0], x : x + TILE[1]] for y in (0, TILE[0]) for x in (0, TILE[1])]


def _write_image(folder: Path, id: str, image: np.ndarray, labels: np.ndarray, masks: bool) -> list[str]:
    """Write an image, and its masks where they are wanted; its rows of a CSV, run lengths down columns."""
    (folder / "images").mkdir(parents=True)
    Image.fromarray(image).save(folder / "images" / f"{id}.png")
    rows = []
    for label in np.unique(labels[labels > 0]).tolist():
        mask = (labels == label).astype(np.uint8)
        if mask.sum() < LEAST_AREA:
            continue
        rows.append(f"{id},{run_lengths(mask.T)}")
        if masks:
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask * np.uint8(255)).save(folder / "masks" / f"{id}_{label:03}.png")
    return rows or [f"{id},"]
