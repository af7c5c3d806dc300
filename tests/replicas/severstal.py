"""Severstal: Steel Defect Detection (severstal-steel-defect-detection): four classes, rows for the defects there are.

Verified in public notes and code: JPEGs of 1600 × 256 in train_images/ and test_images/; runs down columns, from 1
(`reshape((256, 1600), order="F")`). Today's files: train.csv `ImageId,ClassId,EncodedPixels` with 7,095 rows, images
without defects are absent; sample_submission.csv `ImageId,EncodedPixels,ClassId` with the cell "1 409600" (the whole
image) and the class 0. The files of 2019 (blog posts of then): both CSVs `ImageId_ClassId,EncodedPixels`, four rows an
image ("004f40c73.jpg_1"), "1 1" in the sample. The page on the data asks for four rows an image. Not verified: one row
an image in today's sample. Real height, half the width.
"""

from dataclasses import replace

import numpy as np

from kit.submission.known import SEVERSTAL, SEVERSTAL_2019
from replicas.drawing import blob, scene, write_jpeg
from replicas.replica import Replica, hex_names, run_lengths, write_csv

SIZE = (256, 800)  # 256 × 1600
LABELS = ("1", "2", "3", "4")
TRAIN_COLUMNS = ("ImageId", "ClassId", "EncodedPixels")
COLOURS = ((210, 210, 210), (20, 20, 20), (180, 180, 180), (40, 40, 40))


def draw(folder, images=14, seed=0, edition=2020):
    """Draw it. edition: 2019, or 2020 as it lies on Kaggle today."""
    rng = np.random.default_rng(seed)
    ids = hex_names(rng, images + 4, 9)
    tests = set(rng.choice(ids, 4, replace=False).tolist())
    truth, hidden = {}, {}
    for number, id in enumerate(ids):
        mask = _defects(rng, number)
        grey = scene(rng, SIZE, [mask[..., k] for k in range(4)], COLOURS, (80, 130), channels=1)
        write_jpeg(
            folder / ("test_images" if id in tests else "train_images") / f"{id}.jpg", np.repeat(grey, 3, axis=2)
        )
        (hidden if id in tests else truth)[id] = mask
    today = edition >= 2020
    rows = [
        (id, k + 1, mask[..., k]) for id, mask in truth.items() for k in range(4) if mask[..., k].any() or not today
    ]
    if today:
        lines = [f"{id}.jpg,{LABELS[k - 1]},{run_lengths(mask, 'F')}" for id, k, mask in rows]
        write_csv(folder / "train.csv", "ImageId,ClassId,EncodedPixels", lines)
        whole = f"1 {SIZE[0] * SIZE[1]}"
        write_csv(
            folder / "sample_submission.csv", "ImageId,EncodedPixels,ClassId", [f"{id}.jpg,{whole},0" for id in hidden]
        )
    else:
        lines = [f"{id}.jpg_{LABELS[k - 1]},{run_lengths(mask, 'F')}" for id, k, mask in rows]
        write_csv(folder / "train.csv", "ImageId_ClassId,EncodedPixels", lines)
        lines = [f"{id}.jpg_{label},1 1" for id in hidden for label in LABELS]
        write_csv(folder / "sample_submission.csv", "ImageId_ClassId,EncodedPixels", lines)
    return Replica(
        folder=folder,
        name="severstal" if today else "severstal_2019",
        dialect=SEVERSTAL if today else SEVERSTAL_2019,
        task="multilabel",
        classes=LABELS,
        truth=truth,
        hidden=hidden,
        images="train_images/*.jpg",
        tests="test_images/*.jpg",
        masks=None,
        channels=3,
        train_dialect=replace(SEVERSTAL, columns=TRAIN_COLUMNS, keep_empty=False) if today else None,
        rows=rows,
        lacking="empty" if today else "refuse",
    )


def _defects(rng, number):
    """bool (H, W, 4): no defect in two images of five; else one class, in one image of five two that touch."""
    mask = np.zeros((*SIZE, 4), bool)
    if number % 5 > 1:
        first = int(rng.choice(4, p=(0.25, 0.15, 0.4, 0.2)))
        for _ in range(rng.integers(1, 4)):
            mask[..., first] |= blob(rng, SIZE, (rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.9)), (0.25, 0.03))
        if number % 5 == 4:
            second = (first + 1) % 4
            mask[..., second] = blob(rng, SIZE, scale=(0.3, 0.05)) & ~mask[..., first]
    return mask
