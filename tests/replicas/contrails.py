"""Identify Contrails (google-research-identify-contrails-reduce-global-warming): a file a band, images over time.

Verified in the competition's description and in public code: <part>/<record_id>/band_08.npy to band_16.npy, f32
(256, 256, 8), height, width, time, of which the fifth is labelled (n_times_before=4); human_pixel_masks.npy (H, W, 1)
of 0 and 1 in train/ and validation/; human_individual_masks.npy (H, W, 1, R) in train/ alone; train_metadata.json and
validation_metadata.json, lists with record_id, projection_wkt, row_min, row_size, col_min, col_size, timestamp; record
ids of up to 19 digits, beyond what a float holds; sample_submission.csv `record_id,encoded_pixels`, "-" for an empty
mask, in all its rows; runs down columns, from 1; no CSV of training masks. Not verified: the masks' dtype (i32 here)
and that half of the images have no contrail. Drawn smaller: 64 × 64 pixels; a whole record would take 19 MB.
"""

import io
import json

import cv2
import numpy as np

from kit.submission.known import CONTRAILS
from replicas.drawing import smooth
from replicas.replica import Replica, write_csv, write_file

SIZE, TIMES, LABELLED = (64, 64), 8, 4  # 256 × 256
BANDS = range(8, 17)


def draw(folder, images=10, seed=0):
    """Draw it. images: in train/; validation/ and test/ have three each."""
    rng = np.random.default_rng(seed)
    truth, hidden, found = {}, {}, []
    parts = ["train"] * images + ["validation"] * 3 + ["test"] * 3
    ids = [str(10**18 + int(rng.integers(8 * 10**18))) for _ in parts]
    for number, (id, part) in enumerate(zip(ids, parts, strict=True)):
        masks = [_contrails(rng, time * 2) if number % 2 else np.zeros(SIZE, bool) for time in range(TIMES)]
        _write_record(rng, folder / part / id, masks)
        if part != "test":
            found.append((part, id))
            _write_npy(folder / part / id / "human_pixel_masks.npy", masks[LABELLED][..., None].astype(np.int32))
        if part == "train":
            votes = np.stack([masks[LABELLED]] * int(rng.integers(2, 5)), axis=-1)[:, :, None]
            _write_npy(folder / part / id / "human_individual_masks.npy", votes.astype(np.int32))
        if part != "validation":
            (hidden if part == "test" else truth)[id] = masks[LABELLED].astype(np.uint8)
    for part in ("train", "validation"):
        known = [_metadata(rng, id) for own, id in found if own == part]
        write_file(folder / f"{part}_metadata.json", json.dumps(known).encode())
    write_csv(folder / "sample_submission.csv", "record_id,encoded_pixels", [f"{id},-" for id in hidden])
    return Replica(
        folder=folder,
        name="contrails",
        dialect=CONTRAILS,
        task="binary",
        classes=("background", "contrail"),
        truth=truth,
        hidden=hidden,
        images={f"band_{band:02}": f"train/{{id}}/band_{band:02}.npy" for band in BANDS},
        tests={f"band_{band:02}": f"test/{{id}}/band_{band:02}.npy" for band in BANDS},
        masks="train/{id}/human_pixel_masks.npy",
        channels=len(BANDS),
        dtype="float32",
        train_name=None,
        planes=(LABELLED,),
        unsure="holds no masks",
    )


def _contrails(rng, shift):
    """bool (H, W): thin straight lines, steeper than level."""
    mask = np.zeros(SIZE, np.uint8)
    for _ in range(2):
        x = int(rng.integers(8, 40))
        cv2.line(mask, (x + shift, 4), (x + shift + int(rng.integers(-6, 14)), 58), 1, 3)
    return mask > 0


def _write_record(rng, folder, masks):
    ground = {band: smooth(rng, SIZE, 230, 290) for band in BANDS}
    for band in BANDS:
        cold = 12 if band in (11, 14, 15) else 3  # kelvin
        frames = [ground[band] + rng.normal(0, 0.3, SIZE) - cold * mask for mask in masks]
        _write_npy(folder / f"band_{band:02}.npy", np.stack(frames, axis=-1).astype(np.float32))


def _metadata(rng, id):
    row, column, time = rng.uniform(-3e6, 3e6), rng.uniform(-3e6, 3e6), rng.uniform(1.555e9, 1.588e9)
    corner = {"row_min": row, "row_size": 2000.0, "col_min": column, "col_size": 2000.0}
    return {"record_id": id, "projection_wkt": 'PROJCS["unnamed"]', "timestamp": time, **corner}


def _write_npy(path, array):
    file = io.BytesIO()
    np.save(file, array)
    write_file(path, file.getvalue())
