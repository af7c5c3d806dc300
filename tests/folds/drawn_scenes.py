"""Scenes drawn from a seed, each another: smooth fields of colour with edges; and a video of one of them."""

import cv2
import numpy as np

from kit.data.dataset import Dataset


def scene(seed, size=(120, 160), colours=None):
    """A scene u8 (H, W, 3)."""
    random = np.random.default_rng(seed)
    image = np.zeros((*size, 3))
    for cells in (3, 6, 12):
        field = random.normal(0, 1 / cells**0.4, (cells, cells, 3))
        image += cv2.resize(field, size[::-1], interpolation=cv2.INTER_CUBIC)
    image = 128 + 45 * image
    for _ in range(8):
        centre, radius = random.uniform(0, size[::-1]).astype(int).tolist(), int(random.uniform(5, 25))
        colour = random.uniform(20, 235, 3) if colours is None else np.array(colours) + random.normal(0, 8, 3)
        cv2.circle(image, centre, radius, colour.tolist(), -1)
    return np.clip(image + random.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


class Scenes(Dataset):
    """Images of a dictionary, by id; groups: of each, or none."""

    name, classes = "scenes", ("background", "thing")

    def __init__(self, images, groups=None, tests=None):
        self.images, self.ids = {**images, **(tests or {})}, list(images)
        self.test_ids = list(tests or {})
        if groups is not None:
            self.groups = groups

    def read_image(self, id):
        return self.images[id]


def scenes(count, first=0, **options):
    """`count` scenes, by the ids a0, b0, …"""
    names = "abcdefghijklmnopqrstuvwxyz"
    return {f"{names[k % 26]}{k // 26}": scene(first + k, **options) for k in range(count)}
