"""SIIM-ACR Pneumothorax Segmentation (siim-acr-pneumothorax-segmentation): relative starts, "-1", blanks in the CSV.

Verified in public code and READMEs: images of 1024 × 1024; train-rle.csv with the header "ImageId, EncodedPixels" (a
blank before the second name: `row[" EncodedPixels"] != " -1"`) and " -1" for an image without pneumothorax; some
images with several rows, whose masks are united; each start counts from the end of the run before, the first from 0,
down columns (`rle2mask(…).T`); one row an image in a submission, which unites all masks; ids as
1.2.276.0.7230010.3.1.4.8323329.14508.1517875252.443873, which end in no suffix. Not verified: "-1" without a blank in
the sample. The original has DICOM files in three levels of folders, which kit does not read: this is the usual
conversion, train/<id>.png and test/<id>.png, grey. Drawn smaller: 192 × 192.
"""

from dataclasses import replace

import numpy as np

from kit.submission.known import SIIM
from replicas.drawing import blob, scene, write_png
from replicas.replica import Replica, run_lengths, write_csv

SIZE = (192, 192)  # 1024 × 1024
SIDES = ((), (), (0.3,), (0.28, 0.7), (0.72,))  # where an image has pneumothorax; none: (), often both lungs have a row


def draw(folder, images=14, seed=0):
    """Draw it."""
    rng = np.random.default_rng(seed)
    ids = [
        f"1.2.276.0.7230010.3.1.4.8323329.{rng.integers(300, 15000)}.{1517875160 + number}.{rng.integers(10**5, 10**6)}"
        for number in range(images + 4)
    ]
    tests = set(rng.choice(ids, 4, replace=False).tolist())
    truth, hidden, rows = {}, {}, []
    for number, id in enumerate(ids):
        drawn = [
            blob(rng, SIZE, (0.4, side), (0.22, 0.06)) for side in ((), (), (0.3,), (0.28, 0.7), (0.72,))[number % 5]
        ]
        mask = np.any(drawn, axis=0) if drawn else np.zeros(SIZE, bool)
        lungs = [blob(rng, SIZE, (0.5, side), (0.35, 0.16), 0.08) for side in (0.28, 0.72)]
        grey = scene(rng, SIZE, [*lungs, mask], [(60,), (60,), (15,)], (130, 170), channels=1)
        write_png(folder / ("test" if id in tests else "train") / f"{id}.png", grey[..., 0])
        (hidden if id in tests else truth)[id] = mask.astype(np.uint8)
        if id not in tests:
            rows += [(id, 1, own) for own in drawn or [mask]]
    lines = [f"{id}, {run_lengths(mask, 'F', 0, relative=True) or '-1'}" for id, _, mask in rows]
    write_csv(folder / "train-rle.csv", "ImageId, EncodedPixels", lines)
    write_csv(folder / "sample_submission.csv", "ImageId,EncodedPixels", [f"{id},-1" for id in hidden])
    return Replica(
        folder=folder,
        name="siim",
        dialect=SIIM,
        task="binary",
        classes=("background", "pneumothorax"),
        truth=truth,
        hidden=hidden,
        images="train/*.png",
        tests="test/*.png",
        masks=None,
        channels=1,
        train_name="train-rle.csv",
        train_dialect=replace(SIIM, rows="instance"),
        rows=rows,
        unsure="square images",
    )
