"""Carvana Image Masking Challenge (carvana-image-masking-challenge): one car an image, 16 views a car.

Verified with real files: JPEGs of 1918 × 1280 in train/ and test/, GIF masks train_masks/<id>_mask.gif of 1918 × 1280
with the palette indices 0 and 1, train_masks.csv and sample_submission.csv with `img,rle_mask`, keys with ".jpg", "1 1"
as the sample's cells; metadata.csv with its quoted header; runs along rows, from 1. Kaggle hands out a zip of each.
Drawn smaller: four views a car instead of 16, and an eighth of the real width and height. Left out: train_hq.zip and
test_hq.zip.
"""

import io

import numpy as np
from PIL import Image

from kit.submission.known import CARVANA
from replicas.drawing import blob, scene, write_jpeg
from replicas.replica import Replica, hex_names, run_lengths, write_csv, write_file, zip_folder

SIZE = (160, 240)  # 1280 × 1918
VIEWS = ("01", "02", "03", "04")  # 01 to 16
PARTS = ("train", "train_masks", "test", "train_masks.csv", "metadata.csv", "sample_submission.csv")


def draw(folder, images=12, seed=0, zipped=True):
    """Draw it. images: of training, a multiple of four. zipped: as Kaggle hands it out, else unpacked."""
    rng = np.random.default_rng(seed)
    cars = hex_names(rng, images // len(VIEWS) + 2, 12)
    tests = sorted(rng.choice(cars, 2, replace=False).tolist())
    colours = {car: rng.integers(100, 256, 3) for car in cars}
    truth, hidden = {}, {}
    for car in cars:
        for view in VIEWS:
            mask = blob(rng, SIZE, rng.uniform(0.45, 0.55, 2), (0.22, 0.28), 0.15)
            id, part = f"{car}_{view}", "test" if car in tests else "train"
            write_jpeg(folder / part / f"{id}.jpg", scene(rng, SIZE, [mask], [colours[car]], (190, 240)))
            (hidden if car in tests else truth)[id] = mask.astype(np.uint8)
    for id, mask in truth.items():
        write_file(folder / f"train_masks/{id}_mask.gif", _gif(mask))
    write_csv(
        folder / "train_masks.csv", "img,rle_mask", [f"{id}.jpg,{run_lengths(mask, 'C')}" for id, mask in truth.items()]
    )
    write_csv(
        folder / "metadata.csv",
        '"id","year","make","model","trim1","trim2"',
        [f'"{car}","2014","Acura","TL","TL","w/SE"' for car in cars],
    )
    write_csv(folder / "sample_submission.csv", "img,rle_mask", [f"{id}.jpg,1 1" for id in hidden])
    for name in PARTS if zipped else ():
        zip_folder(folder, name, top=True)
    return Replica(
        folder=folder,
        name="carvana",
        dialect=CARVANA,
        task="binary",
        classes=("background", "car"),
        truth=truth,
        hidden=hidden,
        images="train/*.jpg",
        tests="test/*.jpg",
        masks="train_masks/{id}_mask.gif",
        channels=3,
        train_name="train_masks.csv",
        rows=[(id, 1, mask > 0) for id, mask in truth.items()],
        groups={id: id.partition("_")[0] for id in truth},
    )


def _gif(mask):
    image = Image.fromarray(mask)
    image.putpalette([0, 0, 0, 255, 255, 255])
    file = io.BytesIO()
    image.save(file, "GIF")
    return file.getvalue()
