"""Airbus Ship Detection Challenge (airbus-ship-detection): ships, a row each; most images have none.

Verified in public code and pages: JPEGs of 768 × 768 in train_v2/ and test_v2/; train_ship_segmentations_v2.csv and
sample_submission_v2.csv with `ImageId,EncodedPixels` and keys with ".jpg"; a blank cell for an image without ships;
runs down columns, from 1 (`reshape(shape).T`); no two ships of an image overlap; a row is a turned rectangle. Not
verified: the cell "1 2" of the sample. Drawn smaller: 192 × 192; half of the images have ships, in truth one in five.
"""

import cv2
import numpy as np

from kit.submission.known import AIRBUS
from replicas.drawing import scene, write_jpeg
from replicas.replica import Replica, hex_names, run_lengths, write_csv

SIZE = (192, 192)  # 768 × 768


def draw(folder, images=14, seed=0):
    """Draw it."""
    rng = np.random.default_rng(seed)
    ids = hex_names(rng, images + 4, 9)
    tests = set(rng.choice(ids, 4, replace=False).tolist())
    truth, hidden = {}, {}
    for number, id in enumerate(ids):
        labels = _ships(rng, number % 2 * rng.integers(1, 5))
        image = scene(rng, SIZE, [labels > 0], [(200, 200, 190)], (40, 70))
        write_jpeg(folder / ("test_v2" if id in tests else "train_v2") / f"{id}.jpg", image)
        (hidden if id in tests else truth)[id] = labels
    rows = [(id, 1, labels == number) for id, labels in truth.items() for number in range(1, max(1, labels.max()) + 1)]
    header = "ImageId,EncodedPixels"
    lines = [f"{id}.jpg,{run_lengths(mask, 'F')}" for id, _, mask in rows]
    write_csv(folder / "train_ship_segmentations_v2.csv", header, lines)
    write_csv(folder / "sample_submission_v2.csv", header, [f"{id}.jpg,1 2" for id in hidden])
    return Replica(
        folder=folder,
        name="airbus",
        dialect=AIRBUS,
        task="instances",
        classes=("background", "ship"),
        truth=truth,
        hidden=hidden,
        images="train_v2/*.jpg",
        tests="test_v2/*.jpg",
        masks=None,
        channels=3,
        sample_name="sample_submission_v2.csv",
        train_name="train_ship_segmentations_v2.csv",
        rows=rows,
        unsure="square images",
    )


def _ships(rng, count):
    """Labels i32 (H, W) of turned rectangles that lie apart."""
    labels = np.zeros(SIZE, np.int32)
    for _ in range(count):
        box = (rng.uniform(20, SIZE[1] - 20, 2).tolist(), rng.uniform((22, 8), (40, 12)).tolist(), rng.uniform(0, 180))
        own = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(own, [np.round(cv2.boxPoints(box)).astype(np.int32)], 1)
        if not labels[cv2.dilate(own, np.ones((5, 5), np.uint8)) > 0].any():
            labels[own > 0] = labels.max() + 1
    return labels
