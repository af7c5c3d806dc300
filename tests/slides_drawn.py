"""Small slides in the layout of a competition: tiled TIFFs, masks in a CSV and as files; discs on a pale ground."""

import cv2
import numpy as np
import tifffile

from kit.datasets import Slides
from kit.submission import rle

SIZES = {"a": (301, 263), "b": (258, 300), "c": (190, 222), "d": (256, 256), "t1": (270, 243), "t2": (301, 200)}
FORMS = {"csv": ("train.csv", "id", "rle"), "tiff": "masks_tif/{id}.tif", "png": "masks_png/{id}.png"}
FORMS["npy"] = "masks_npy/{id}.npy"


def drawn_slide(id):
    """Image u8 (H, W, 3) and mask u8 (H, W): dark discs; d has few."""
    height, width = SIZES[id]
    random = np.random.default_rng(list(id.encode()))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(2 if id == "d" else 12):
        centre = int(random.integers(width)), int(random.integers(height))
        cv2.circle(mask, centre, int(random.integers(14, 26)), 1, -1)
    noise = random.integers(-15, 16, (height, width, 3))
    image = np.where(mask[..., None] > 0, [140, 60, 110], [220, 200, 215]) + noise
    return image.clip(0, 255).astype(np.uint8), mask


def draw_slides(root):
    """Write all files below `root`; returns the image and mask of each id."""
    arrays = {id: drawn_slide(id) for id in SIZES}
    for folder in ("train", "test", "masks_tif", "masks_png", "masks_npy"):
        (root / folder).mkdir(parents=True)
    lines = ["id,rle"]
    for id, (image, mask) in arrays.items():
        folder = "test" if id.startswith("t") else "train"
        kind = {"photometric": "rgb", "tile": (64, 48), "compression": "zlib"}
        tifffile.imwrite(root / folder / f"{id}.tif", image, **kind)
        if folder == "test":
            continue
        lines.append(f"{id},{rle.encode(mask, 'F')}")
        tifffile.imwrite(root / f"masks_tif/{id}.tif", mask * 255, tile=(32, 32), compression="zlib")
        cv2.imwrite(str(root / f"masks_png/{id}.png"), mask)
        np.save(root / f"masks_npy/{id}.npy", mask.astype(bool))
    (root / "train.csv").write_text("\n".join(lines) + "\n")
    return arrays


def kidneys(root, form="csv", scale=2, **changes):
    """The data set of these slides."""
    options = {"images": "train/*.tif", "masks": FORMS[form], "tests": "test/*.tif", "scale": scale}
    return Slides(root, **options | {"classes": ("background", "glomerulus")} | changes)
