"""Understanding Clouds from Satellite Images (understanding_cloud_organization): overlapping classes, smaller masks.

Verified in public READMEs: JPEGs of 2100 × 1400 in train_images/ and test_images/ (zips of these names); train.csv
`Image_Label,EncodedPixels` with keys as "0011165.jpg_Fish" and four rows an image, Fish, Flower, Gravel, Sugar, blank
where there is none; each image has at least one; runs down columns, from 1; training masks at 1400 × 2100, submitted
ones at 350 × 525 ("scaled by 0.25 a side"). Not verified: "1 1" in the sample, and the order of its rows. Real size.
"""

import cv2
import numpy as np

from kit.submission.known import CLOUDS
from replicas.drawing import scene, write_jpeg
from replicas.replica import Replica, hex_names, run_lengths, write_csv

SIZE = (1400, 2100)
LABELS = ("Fish", "Flower", "Gravel", "Sugar")
COLOURS = ((200, 120, 120), (120, 200, 120), (120, 120, 220), (220, 220, 220))


def draw(folder, images=8, seed=0):
    """Draw it."""
    rng = np.random.default_rng(seed)
    ids = hex_names(rng, images + 3, 7)
    tests = set(rng.choice(ids, 3, replace=False).tolist())
    truth, hidden = {}, {}
    for number, id in enumerate(ids):
        mask = _regions(rng, number)
        image = scene(rng, (350, 525), [mask[::4, ::4, k] for k in range(4)], COLOURS, (20, 60))
        part = "test_images" if id in tests else "train_images"
        write_jpeg(folder / part / f"{id}.jpg", cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_NEAREST))
        (hidden if id in tests else truth)[id] = mask
    rows = [(id, k + 1, mask[..., k]) for id, mask in truth.items() for k in range(4)]
    header = "Image_Label,EncodedPixels"
    lines = [f"{id}.jpg_{LABELS[k - 1]},{run_lengths(mask, 'F')}" for id, k, mask in rows]
    write_csv(folder / "train.csv", header, lines)
    write_csv(folder / "sample_submission.csv", header, [f"{id}.jpg_{label},1 1" for id in hidden for label in LABELS])
    return Replica(
        folder=folder,
        name="clouds",
        dialect=CLOUDS,
        task="multilabel",
        classes=LABELS,
        truth=truth,
        hidden=hidden,
        images="train_images/*.jpg",
        tests="test_images/*.jpg",
        masks=None,
        channels=3,
        rows=rows,
    )


def _regions(rng, number):
    """bool (H, W, 4): one to three classes, each of one or two turned boxes; regions of two classes may overlap."""
    mask = np.zeros((*SIZE, 4), bool)
    for k in rng.choice(4, 1 + number % 3, replace=False):
        layer = np.zeros(SIZE, np.uint8)
        for _ in range(rng.integers(1, 3)):
            centre = rng.uniform((500, 400), (1600, 1000)).tolist()
            box = cv2.boxPoints((centre, rng.uniform((400, 500), (700, 900)).tolist(), rng.uniform(-8, 8)))
            cv2.fillPoly(layer, [np.round(box).astype(np.int32)], 1)
        mask[..., k] = layer > 0
    return mask
