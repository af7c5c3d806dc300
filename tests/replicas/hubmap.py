"""HuBMAP - Hacking the Kidney (hubmap-kidney-segmentation): glomeruli in huge TIFFs, patients in a table.

Verified in the competition's description and in public code: train/<id>.tiff, train/<id>.json (polygons of glomeruli),
train/<id>-anatomical-structure.json, the same in test/ but for the glomeruli; ids of nine hexadecimal digits; TIFFs
whose arrays are (H, W, 3), (3, H, W) or (1, 1, 3, H, W), the last ones with a page a channel (readers ask rasterio for
subdatasets); train.csv `id,encoding`, sample_submission.csv `id,predicted` with blank cells, one row an image; runs
down columns, from 1; HuBMAP-20-dataset_information.csv with 16 columns ("anatomical_structures_segmention_file" is
spelt so) and rows of training and test images, among them patient_number. Not verified: that a patient has two images
of training. Drawn smaller: 300 to 500 pixels a side instead of 20,000 to 50,000, and tiles of 128.
"""

import json
from dataclasses import replace

import cv2
import numpy as np
import tifffile

from kit.submission.known import HUBMAP
from replicas.drawing import blob, scene
from replicas.replica import Replica, hex_names, run_lengths, write_csv, write_file

SIZES = ((320, 448), (480, 336), (300, 510), (416, 352))
COLUMNS = (
    "image_file,width_pixels,height_pixels,anatomical_structures_segmention_file,glomerulus_segmentation_file,"
    "patient_number,race,ethnicity,sex,age,weight_kilograms,height_centimeters,bmi_kg/m^2,laterality,percent_cortex,"
    "percent_medulla"
)


def draw(folder, images=8, seed=0, paged=True):
    """Draw it. paged: every fourth TIFF has a page a channel, as some of the originals; False: one page each."""
    rng = np.random.default_rng(seed)
    ids = hex_names(rng, images + 3, 9)
    tests = set(rng.choice(ids, 3, replace=False).tolist())
    truth, hidden, information, patients = {}, {}, [], {}
    for number, id in enumerate(ids):
        part, size = "test" if id in tests else "train", SIZES[number % len(SIZES)]
        mask = np.any([blob(rng, size, rng.uniform(0.1, 0.9, 2), (0.09, 0.04), 0.1) for _ in range(8)], axis=0)
        image = scene(rng, size, [mask], [(120, 60, 150)], (170, 230))
        _write_tiff(
            folder / part / f"{id}.tiff",
            image,
            ("plain", "planar", "plain", "paged" if paged else "planar")[number % 4],
        )
        cortex = blob(rng, size, (0.5, 0.5), (0.45, 0.45), 0.05)
        _write_polygons(folder / part / f"{id}-anatomical-structure.json", cortex, "Cortex", locked=False)
        if part == "train":
            _write_polygons(folder / part / f"{id}.json", mask, "glomerulus", locked=True)
        patients[id] = str(67000 + number // 2)
        (hidden if id in tests else truth)[id] = mask.astype(np.uint8)
        information.append(
            f"{id}.tiff,{size[1]},{size[0]},{id}-anatomical-structure.json,{id}.json,{patients[id]},White,"
            f"Not Hispanic or Latino,Female,58,59.0,160.0,23.0,Right,55,45"
        )
    write_csv(folder / "HuBMAP-20-dataset_information.csv", COLUMNS, rng.permutation(information))
    write_csv(folder / "train.csv", "id,encoding", [f"{id},{run_lengths(mask, 'F')}" for id, mask in truth.items()])
    write_csv(folder / "sample_submission.csv", "id,predicted", [f"{id}," for id in hidden])
    return Replica(
        folder=folder,
        name="hubmap",
        dialect=HUBMAP,
        task="binary",
        classes=("background", "glomerulus"),
        truth=truth,
        hidden=hidden,
        images="train/*.tiff",
        tests="test/*.tiff",
        masks=None,
        channels=3,
        train_dialect=replace(HUBMAP, columns=("id", "encoding")),
        rows=[(id, 1, mask > 0) for id, mask in truth.items()],
        groups={id: patients[id] for id in truth},
    )


def _write_tiff(path, image, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = {"tile": (128, 128), "compression": "zlib"}
    if kind == "plain":
        tifffile.imwrite(path, image, photometric="rgb", **tiles)
    elif kind == "planar":
        tifffile.imwrite(path, np.moveaxis(image, -1, 0), photometric="rgb", planarconfig="separate", **tiles)
    else:
        tifffile.imwrite(path, np.moveaxis(image, -1, 0)[None, None], photometric="minisblack", **tiles)


def _write_polygons(path, mask, name, locked):
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    features = [
        {
            "type": "Feature",
            "id": "PathAnnotationObject",
            "geometry": {"type": "Polygon", "coordinates": [contour.reshape(-1, 2).tolist()]},
            "properties": {
                "classification": {"name": name, "colorRGB": -3140401},
                "isLocked": locked,
                "measurements": [],
            },
        }
        for contour in contours
    ]
    write_file(path, json.dumps(features).encode())
