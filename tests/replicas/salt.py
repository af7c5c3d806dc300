"""TGS Salt Identification Challenge (tgs-salt-identification-challenge): salt in seismic images of 101 × 101.

Verified with real files: RGB PNGs with three equal channels; masks that are 16-bit with 0 and 65535 where there is
salt, and 8-bit with zeros alone where there is none (39 % of the images); train.csv `id,rle_mask` with an empty cell
for no salt; runs down columns, from 1; "1 1" in the sample. Verified in public code (the READMEs of ak110/kaggle_salt
and others): train.zip holds images/ and masks/, test.zip images/, without a folder of their own; depths.csv `id,z` has
the images of training and test. Real size. Not verified: the order of the rows of depths.csv.
"""

import numpy as np

from kit.submission.known import SALT
from replicas.drawing import blob, scene, write_png
from replicas.replica import Replica, hex_names, run_lengths, write_csv, zip_folder

SIZE = (101, 101)


def draw(folder, images=14, seed=0, zipped=True):
    """Draw it. zipped: train.zip and test.zip as Kaggle hands them out, else unpacked."""
    rng = np.random.default_rng(seed)
    ids = hex_names(rng, images + 5, 10)
    tests = set(rng.choice(ids, 5, replace=False).tolist())
    truth, hidden = {}, {}
    for number, id in enumerate(ids):
        mask = blob(rng, SIZE, scale=(0.45, 0.2)) if number % 5 > 1 else np.zeros(SIZE, bool)
        grey = scene(rng, SIZE, [mask], [(190,)], channels=1)
        write_png(folder / ("test" if id in tests else "train") / f"images/{id}.png", np.repeat(grey, 3, axis=2))
        (hidden if id in tests else truth)[id] = mask.astype(np.uint8)
    for id, mask in truth.items():
        write_png(folder / f"train/masks/{id}.png", mask * np.uint16(65535) if mask.any() else mask)
    write_csv(folder / "train.csv", "id,rle_mask", [f"{id},{run_lengths(mask, 'F')}" for id, mask in truth.items()])
    write_csv(folder / "depths.csv", "id,z", [f"{id},{rng.integers(50, 960)}" for id in rng.permutation(ids)])
    write_csv(folder / "sample_submission.csv", "id,rle_mask", [f"{id},1 1" for id in rng.permutation(sorted(tests))])
    for name in ("train", "test") if zipped else ():
        zip_folder(folder, name, top=False)
    return Replica(
        folder=folder,
        name="salt",
        dialect=SALT,
        task="binary",
        classes=("background", "salt"),
        truth=truth,
        hidden=hidden,
        images="train/images/*.png",
        tests="test/images/*.png",
        masks="train/masks/{id}.png",
        channels=3,
        rows=[(id, 1, mask > 0) for id, mask in truth.items()],
        unsure="square images",
    )
