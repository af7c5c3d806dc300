"""Data Science Bowl 2018 (data-science-bowl-2018): nuclei, a mask file and a row each.

Verified with real files: stage1_train.zip and stage1_test.zip hold <id>/images/<id>.png (RGBA, opaque) and
<id>/masks/<name>.png (8 bits, 0 and 255), without a folder of their own; ids and names of 64 hexadecimal digits;
stage1_train_labels.csv `ImageId,EncodedPixels`, a row a nucleus, its images in order; runs down columns, from 1; blank
cells in stage1_sample_submission.csv; sizes 256 × 256, 256 × 320, 360 × 360, 520 × 696 and more. Not verified: whether
the CSVs too came as zips, and the order of an image's rows. Drawn smaller: half the width and height.
"""

import numpy as np

from kit.submission.known import DSB2018
from replicas.drawing import blob, scene, write_png
from replicas.replica import Replica, hex_names, run_lengths, write_csv, zip_folder

SIZES = ((128, 128), (128, 160), (260, 348), (180, 180))


def draw(folder, images=12, seed=0, zipped=True):
    """Draw it. zipped: as Kaggle hands it out, else unpacked."""
    rng = np.random.default_rng(seed)
    ids = hex_names(rng, images + 4, 64)
    tests = set(rng.choice(ids, 4, replace=False).tolist())
    truth, hidden = {}, {}
    for number, id in enumerate(ids):
        labels = _nuclei(rng, SIZES[number % len(SIZES)])
        dark = number % 2 == 0  # fluorescence; else stained tissue
        image = scene(
            rng,
            labels.shape,
            [labels > 0],
            [(200, 200, 200) if dark else (90, 50, 130)],
            (5, 40) if dark else (190, 240),
        )
        opaque = np.full((*labels.shape, 1), 255, np.uint8)
        part = "stage1_test" if id in tests else "stage1_train"
        write_png(folder / part / id / f"images/{id}.png", np.concatenate([image, opaque], axis=2))
        (hidden if id in tests else truth)[id] = labels
    rows = [(id, 1, labels == number) for id, labels in truth.items() for number in range(1, labels.max() + 1)]
    for (id, _, mask), name in zip(rows, rng.permutation(hex_names(rng, len(rows), 64)), strict=True):
        write_png(folder / f"stage1_train/{id}/masks/{name}.png", mask * np.uint8(255))
    header = "ImageId,EncodedPixels"
    write_csv(folder / "stage1_train_labels.csv", header, [f"{id},{run_lengths(mask, 'F')}" for id, _, mask in rows])
    write_csv(folder / "stage1_sample_submission.csv", header, [f"{id}," for id in hidden])
    for name in ("stage1_train", "stage1_test", "stage1_train_labels.csv") if zipped else ():
        zip_folder(folder, name, top=False)
    return Replica(
        folder=folder,
        name="dsb2018",
        dialect=DSB2018,
        task="instances",
        classes=("background", "nucleus"),
        truth=truth,
        hidden=hidden,
        images="stage1_train/{id}/images/*.png",
        tests="stage1_test/{id}/images/*.png",
        masks="stage1_train/{id}/masks/*.png",
        channels=3,
        sample_name="stage1_sample_submission.csv",
        train_name="stage1_train_labels.csv",
        rows=rows,
    )


def _nuclei(rng, size):
    """Labels i32 (H, W) of nuclei that may touch and do not overlap."""
    labels = np.zeros(size, np.int32)
    for _ in range(rng.integers(8, 16)):
        half = rng.uniform(9, 14) / size[0], rng.uniform(5, 8) / size[1]
        own = blob(rng, size, rng.uniform(0.05, 0.95, 2), half, 0.1) & (labels == 0)
        if own.sum() >= 60:
            labels[own] = labels.max() + 1
    return labels
