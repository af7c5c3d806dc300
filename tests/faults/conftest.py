"""A photograph, its mask, and both in Carvana's layout."""

import numpy as np
import pytest
from encoded import save


@pytest.fixture
def photo():
    noise = np.random.default_rng(0).integers(0, 60, (90, 120, 3))
    return (np.mgrid[:90, :120].sum(0)[..., None] * 0.9 + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def mask():
    y, x = np.mgrid[:90, :120]
    return (((y - 45) / 25) ** 2 + ((x - 60) / 40) ** 2 < 1).astype(np.uint8)


@pytest.fixture
def carvana(tmp_path, photo, mask):
    """A folder in Carvana's layout: car a in train, car b in test, two views each."""
    root = tmp_path / "carvana"
    for folder in ("train", "train_masks", "test"):
        (root / folder).mkdir(parents=True)
    for view in ("01", "02"):
        (root / f"train/a_{view}.jpg").write_bytes(save(photo, "JPEG"))
        (root / f"train_masks/a_{view}_mask.gif").write_bytes(save(mask, "GIF"))
        (root / f"test/b_{view}.jpg").write_bytes(save(photo, "JPEG"))
    (root / "sample_submission.csv").write_text("img,rle_mask\nb_02.jpg,1 1\nb_01.jpg,1 1\n")
    return root
