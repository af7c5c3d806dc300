"""Folders in COCO's panoptic layout: of given segments, and of drawn shapes."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

CATEGORIES = [(1, "person", "human", 1), (3, "car", "vehicle", 1), (4, "bus", "vehicle", 1)]
CATEGORIES += [(101, "tree", "plant", 0), (102, "grass", "plant", 0), (7, "kite", "sports", 1), (110, "sky", "air", 0)]
COLOURS = {0: (128, 128, 128), 1: (220, 120, 90), 3: (60, 60, 200), 4: (200, 200, 40), 102: (60, 160, 60)}
COLOURS |= {101: (20, 80, 20), 7: (200, 40, 200), 110: (150, 190, 240)}


def write_coco(root: Path, images: dict[str, tuple[np.ndarray, dict]], split: str = "train2017") -> dict:
    """Write the files; return the content of the JSON.

    images: by name the ids of segments, int (H, W), 0 = void; and of each id its category and whether it is a crowd.
    """
    facts = {
        "categories": [dict(zip(("id", "name", "supercategory", "isthing"), row, strict=True)) for row in CATEGORIES],
        "images": [],
        "annotations": [],
    }
    for name, (ids, segments) in images.items():
        colours = np.array([COLOURS[segments[id][0] if id else 0] for id in np.unique(ids).tolist()], np.uint8)
        image = colours[np.unique(ids, return_inverse=True)[1].reshape(ids.shape)]
        packed = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=2).astype(np.uint8)
        for path, array in (
            (root / split / f"{name}.jpg", image),
            (root / f"annotations/panoptic_{split}/{name}.png", packed),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
        facts["images"].append(
            {"id": int(name), "file_name": f"{name}.jpg", "height": ids.shape[0], "width": ids.shape[1]}
        )
        info = [{"id": id, "category_id": kind, "iscrowd": crowd} for id, (kind, crowd) in segments.items()]
        facts["annotations"].append({"image_id": int(name), "file_name": f"{name}.png", "segments_info": info})
    rewrite(root, facts, split)
    return facts


def rewrite(root: Path, facts: dict, split: str = "train2017") -> None:
    """Write the JSON again."""
    (root / f"annotations/panoptic_{split}.json").write_text(json.dumps(facts))


def draw_coco(folder: Path, count: int = 8, seed: int = 0) -> Path:
    """Draw images of 96×128: grass below a sky, discs and boxes of three kinds, some side by side; return `folder`."""
    rng, images = np.random.default_rng(seed), {}
    y, x = np.mgrid[:96, :128]
    for number in range(1, count + 1):
        ids, segments = np.where(y < 30, 5000, 90_000), {5000: (110, 0), 90_000: (102, 0)}
        for thing in range(4):
            row, column, kind = 20 + 20 * thing, int(rng.integers(20, 90)), int(rng.choice([1, 3, 4]))
            for side in range(1 + thing % 2):  # two that touch
                shape = (abs(y - row) < 9) & (abs(x - column - 18 * side) < 9)
                ids[shape & ((kind != 1) | (np.hypot(y - row, x - column - 18 * side) < 9))] = id = (
                    300 * thing + side + 1
                )
                segments[id] = (kind, 0)
        there = set(np.unique(ids).tolist())
        images[f"{number:012}"] = ids, {id: one for id, one in segments.items() if id in there}
    write_coco(folder, images)
    return folder
