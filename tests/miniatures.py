"""Tiny drawn data sets in the layouts of the real ones, for the tests of their readers and of the recipes.

Every class has its own colour, so that a small network learns to tell them apart. The same call draws the same files.
"""

from pathlib import Path

import cv2
import numpy as np
import scipy.io
import tifffile
from PIL import Image

VOC_COLOURS = {0: (70, 110, 60), 1: (200, 60, 60), 7: (60, 90, 210), 8: (230, 190, 60), 15: (220, 120, 200)}
PET_COLOURS = {"Abyssinian": (200, 130, 70), "Siamese": (225, 210, 185), "american_bulldog": (150, 90, 60)}


def draw_voc(folder: Path, trained: int = 8, held_out: int = 4, sbd: bool = False, seed: int = 0) -> Path:
    """Draw VOCdevkit/VOC2012 below `folder`: shapes of classes 1, 7, 8 and 15 with void outlines; return `folder`.

    ids: 2007_000001 … are train.txt, 2008_000001 … val.txt. sbd: also benchmark_RELEASE, whose train.txt has
    2007_000001, 2008_000001 and three images of its own, 2009_00000<1 to 3>, and whose val.txt has the other
    images of val and two of its own. Its masks have no void.
    """
    root, rng = folder / "VOCdevkit/VOC2012", np.random.default_rng(seed)
    for part in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    train, val = (
        [f"{year}_{number:06}" for number in range(1, count + 1)] for year, count in ((2007, trained), (2008, held_out))
    )
    extra = [f"2009_{number:06}" for number in range(1, 6)] if sbd else []
    pictures = {id: _draw_shapes(rng) for id in train + val + extra}
    for id in train + val:
        image, classes, objects = pictures[id]
        cv2.imwrite(f"{root}/JPEGImages/{id}.jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        outline = _outlines(objects)
        _write_palette(root / f"SegmentationClass/{id}.png", np.where(outline, 255, classes))
        _write_palette(root / f"SegmentationObject/{id}.png", np.where(outline, 255, objects))
    for name, ids in (("train", train), ("val", val)):
        (root / f"ImageSets/Segmentation/{name}.txt").write_text("".join(f"{id}\n" for id in ids))
    if sbd:
        lists = {"train": [train[0], val[0], *extra[:3]], "val": [*val[1:], *extra[3:]]}
        _write_sbd(folder / "benchmark_RELEASE/dataset", pictures, lists)
    return folder


def draw_camvid(folder: Path, trained: int = 8, held_out: int = 4, test: int = 0, seed: int = 0) -> Path:
    """Draw train/, trainannot/, val/, valannot/ (and the same of test) in `folder`; return it.

    Streets of 72×96 pixels with all 11 classes, and label 11 along the lower edge. train is of the sequences 0001TP
    and 0006R0, val of 0016E5, test of Seq05VD.
    """
    rng = np.random.default_rng(seed)
    parts = (("train", trained, ("0001TP", "0006R0")), ("val", held_out, ("0016E5",)), ("test", test, ("Seq05VD",)))
    for part, count, sequences in parts:
        if count == 0:
            continue
        (folder / part).mkdir(parents=True)
        (folder / f"{part}annot").mkdir()
        for number in range(count):
            name = f"{sequences[number % len(sequences)]}_{number * 30:06}.png"
            image, labels = _draw_street(rng)
            Image.fromarray(image).save(folder / part / name)
            Image.fromarray(labels).save(folder / f"{part}annot" / name)
    return folder


def draw_pets(folder: Path, trained: int = 12, held_out: int = 5, seed: int = 0) -> Path:
    """Draw images/ and annotations/ of the Oxford-IIIT Pet set in `folder`: ellipses of three breeds; return it.

    The breeds take turns, <breed>_1 … in trainval.txt, <breed>_101 … in test.txt. Sides are 70 to 110 pixels; a
    trimap's border is about 6 wide. Abyssinian_1.jpg is really a GIF.
    """
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations/trimaps").mkdir(parents=True)
    lines = {}
    for name, first, count in (("trainval", 1, trained), ("test", 101, held_out)):
        numbered = [(number % len(PET_COLOURS), first + number // len(PET_COLOURS)) for number in range(count)]
        lines[name] = [f"{list(PET_COLOURS)[breed]}_{number} {breed + 1} 1 1\n" for breed, number in sorted(numbered)]
        for line in lines[name]:
            id = line.split()[0]
            image, trimap = _draw_pet(PET_COLOURS[id.rpartition("_")[0]], rng)
            Image.fromarray(image).save(folder / f"images/{id}.jpg", "GIF" if id == "Abyssinian_1" else "JPEG")
            Image.fromarray(trimap).save(folder / f"annotations/trimaps/{id}.png")
        (folder / f"annotations/{name}.txt").write_text("".join(lines[name]))
    every = "".join(lines["trainval"] + lines["test"])
    (folder / "annotations/list.txt").write_text("#Image CLASS-ID SPECIES BREED-ID\n" + every)
    return folder


def draw_blood_cells(folder: Path, trained: int = 12, tests: int = 3, seed: int = 0) -> Path:
    """Draw Train_Data/ and Test_Data/ of the blood cells in `folder`; return it.

    Train images of 64×64, train-0, train-5, train-10 …, two or three to a group, have one violet cell among red ones
    and a JPEG mask in 4×4 blocks; test images, smear-0 …, are 90×120, 110×150, 130×180 and so on, without masks.
    """
    rng = np.random.default_rng(seed)
    for part in ("Train_Data", "Test_Data"):
        (folder / part).mkdir(parents=True)
    for number in range(0, 5 * trained, 5):
        image, cell = _draw_smear(64, 64, rng)
        blocks = cell.reshape(16, 4, 16, 4).mean((1, 3)) >= 0.5
        mask = np.kron(blocks, np.full((4, 4), 255)).astype(np.uint8)
        Image.fromarray(image).save(folder / f"Train_Data/train-{number}.jpg", quality=95)
        Image.fromarray(mask).save(folder / f"Train_Data/train-{number}-mask.jpg")
    for number in range(tests):
        image, _ = _draw_smear(90 + 20 * number, 120 + 30 * number, rng)
        Image.fromarray(image).save(folder / f"Test_Data/smear-{number}.jpg", quality=95)
    return folder


def _draw_pet(colour: tuple[int, int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A leaning ellipse: image u8 (H, W, 3), trimap u8 (H, W) of 1 pet, 2 background, 3 border."""
    height, width = (int(side) for side in rng.integers(70, 111, 2))
    pet = np.zeros((height, width), np.uint8)
    centre = width // 2 + int(rng.integers(-9, 10)), height // 2 + int(rng.integers(-9, 10))
    axes = int(rng.integers(20, 28)), int(rng.integers(14, 21))
    cv2.ellipse(pet, centre, axes, int(rng.integers(0, 180)), 0, 360, 1, -1)
    square = np.ones((7, 7), np.uint8)
    trimap = np.where(cv2.dilate(pet, square) == cv2.erode(pet, square), 2 - pet, 3).astype(np.uint8)
    return _speckle(np.where(pet[..., None] == 1, colour, (60, 120, 70)), rng), trimap


def _draw_smear(height: int, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Red cells and, near the middle, a white one: image u8 (H, W, 3), the white cell u8 (H, W)."""
    image, cell = np.full((height, width, 3), (230, 220, 225), np.uint8), np.zeros((height, width), np.uint8)
    for x, y in rng.integers(0, (width, height), (height * width // 500, 2)):
        cv2.circle(image, (int(x), int(y)), 7, (205, 150, 160), -1)
    centre = width // 2 + int(rng.integers(-5, 6)), height // 2 + int(rng.integers(-5, 6))
    cv2.ellipse(cell, centre, (int(rng.integers(13, 20)), int(rng.integers(13, 20))), 0, 0, 360, 1, -1)
    image[cell == 1] = 150, 100, 190
    cv2.circle(image, centre, 8, (90, 40, 140), -1)
    return _speckle(image, rng), cell


def _draw_shapes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One to three shapes: image u8 (H, W, 3), classes u8 (H, W), objects u8 (H, W), numbered from 1."""
    height, width = int(rng.integers(64, 97)), int(rng.integers(80, 129))
    classes, objects = np.zeros((2, height, width), np.uint8)
    for number in range(1, int(rng.integers(2, 5))):
        label = int(rng.choice([1, 7, 8, 15]))
        shape = np.zeros((height, width), np.uint8)
        x, y = int(rng.integers(16, width - 16)), int(rng.integers(14, height - 14))
        a, b = int(rng.integers(11, 22)), int(rng.integers(11, 19))
        if label == 1:
            cv2.fillConvexPoly(shape, np.array([[x, y - b], [x - a, y + b], [x + a, y + b]]), 1)
        elif label == 7:
            cv2.rectangle(shape, (x - a, y - b), (x + a, y + b), 1, -1)
        else:
            cv2.ellipse(shape, (x, y), (a, b) if label == 8 else (a // 2 + 3, b), 0, 0, 360, 1, -1)
        classes[shape == 1], objects[shape == 1] = label, number
    palette = np.zeros((21, 3))
    palette[list(VOC_COLOURS)] = list(VOC_COLOURS.values())
    return _speckle(palette[classes], rng), classes, objects


def _draw_street(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image u8 (72, 96, 3) and labels u8 (72, 96), 0 to 11."""
    labels = np.zeros((72, 96), np.uint8)  # sky
    horizon = int(rng.integers(28, 36))
    labels[horizon - 18 : horizon, : int(rng.integers(40, 60))] = 1  # buildings
    labels[horizon - 12 : horizon, 60:90] = 5  # trees
    labels[horizon - 4 : horizon + 2, 64:88] = 7  # a fence
    labels[horizon:] = 4  # pavement
    road = np.array([[36, horizon], [60, horizon], [88, 71], [8, 71]])
    cv2.fillConvexPoly(labels, road, 3)
    x = int(rng.integers(8, 28))
    labels[horizon - 22 : horizon + 6, x : x + 3] = 2  # a pole
    labels[horizon - 22 : horizon - 14, x - 3 : x + 6] = 6  # its sign
    x = int(rng.integers(34, 50))
    labels[horizon + 6 : horizon + 18, x : x + 16] = 8  # a car
    x = int(rng.integers(2, 10))
    labels[horizon + 4 : horizon + 20, x : x + 6] = 9  # a pedestrian
    x = int(rng.integers(74, 86))
    labels[horizon + 6 : horizon + 20, x : x + 8] = 10  # a bicyclist
    colours = np.random.default_rng(7).permutation(np.linspace(30, 225, 36)).reshape(12, 3)
    image = _speckle(colours[labels], rng)
    labels[-3:] = 11  # what is not scored may look like anything
    return image, labels


def _speckle(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (image + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)


def _outlines(objects: np.ndarray) -> np.ndarray:
    """Pixels beside another object or background: bool (H, W), some two pixels wide."""
    square = np.ones((3, 3), np.uint8)
    return cv2.dilate(objects, square) != cv2.erode(objects, square)


def _write_palette(path: Path, indices: np.ndarray) -> None:
    """A PNG of palette indices with VOC's colours: bit 3 i + c of the index is bit 7 - i of channel c."""
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([sum((n >> (3 * i + c) & 1) << (7 - i) for i in range(3)) for n in range(256) for c in range(3)])
    image.save(path)


def _write_sbd(root: Path, pictures: dict, lists: dict[str, list[str]]) -> None:
    for part in ("img", "cls", "inst"):
        (root / part).mkdir(parents=True)
    for name, ids in lists.items():
        (root / f"{name}.txt").write_text("".join(f"{id}\n" for id in ids))
        for id in ids:
            image, classes, objects = pictures[id]
            cv2.imwrite(f"{root}/img/{id}.jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
            scipy.io.savemat(root / f"cls/{id}.mat", {"GTcls": {"Segmentation": classes}}, do_compression=True)
            scipy.io.savemat(root / f"inst/{id}.mat", {"GTinst": {"Segmentation": objects}}, do_compression=True)


def draw_membranes(folder: Path, slices: int = 6, side: int = 64, stack: bool = False, seed: int = 0) -> Path:
    """Draw ISBI 2012's slices in `folder`: bright cells that dark membranes part, which shift from slice to slice.

    stack: as train-volume.tif and train-labels.tif, else as image/<number>.png and label/<number>.png.
    """
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, side, (max(4, side * side // 250), 2))
    images, labels = [], []
    for _ in range(slices):
        seeds = seeds + rng.normal(0, 0.5, seeds.shape)
        rows, columns = np.mgrid[:side, :side]
        near, second = np.sort(np.hypot(rows[..., None] - seeds[:, 0], columns[..., None] - seeds[:, 1]), axis=2)[
            ..., :2
        ].transpose(2, 0, 1)
        cell = second - near > 2.5
        labels.append(np.where(cell, 255, 0).astype(np.uint8))
        images.append(np.clip(np.where(cell, 170, 70) + rng.normal(0, 20, cell.shape), 0, 255).astype(np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    for name, file, pages in (("image", "train-volume.tif", images), ("label", "train-labels.tif", labels)):
        if stack:
            tifffile.imwrite(folder / file, np.stack(pages), photometric="minisblack")
            continue
        (folder / name).mkdir()
        for number, page in enumerate(pages):
            Image.fromarray(page).save(folder / name / f"{number}.png")
    return folder
