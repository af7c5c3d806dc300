"""A data set of drawn discs, small enough for a unit test: orange discs on blue, every image another."""

import hashlib
import zlib

import numpy as np
import torch
from torch import nn

from kit.data.dataset import Dataset


class TinyCompetition(Dataset):
    """Drawn in memory: `cars` groups of `views` images, and `tests` more; with the attributes of a competition.

    broken: ids whose image cannot be read.
    """

    name = "tiny"
    slug = "tiny-discs"
    classes = ("blue", "disc")
    order = "C"
    columns = ("img", "rle_mask")
    sample_csv = None
    truth_csv = None

    def __init__(self, cars=4, views=3, tests=5, size=(45, 61), broken=()):
        self.ids = [f"car{car}_{view:02}" for car in range(cars) for view in range(1, views + 1)]
        self.groups = [id.split("_")[0] for id in self.ids]
        self.test_ids = [f"test_{number:02}" for number in range(tests)]
        self.size, self.broken = size, frozenset(broken)

    def read_image(self, id):
        if id in self.broken:
            raise ValueError(f"{id}.jpg: damaged or cut short")
        noise = np.random.default_rng(zlib.crc32(id.encode())).integers(-20, 21, (*self.size, 3))
        colours = np.array([[40, 90, 170], [220, 130, 50]])
        return (colours[self._disc(id)] + noise).clip(0, 255).astype(np.uint8)

    def read_mask(self, id):
        return self._disc(id)

    def shape(self, id):
        return self.size

    def csv_name(self, id):
        return f"{id}.jpg"

    def fingerprint(self):
        return hashlib.sha256(repr((self.ids, self.size)).encode()).hexdigest()

    def test_fingerprint(self):
        return hashlib.sha256(repr((self.test_ids, self.size)).encode()).hexdigest()

    def _disc(self, id):
        y, x, radius = np.random.default_rng([1, zlib.crc32(id.encode())]).uniform((0.3, 0.3, 0.15), (0.7, 0.7, 0.35))
        rows, columns = np.mgrid[: self.size[0], : self.size[1]]
        height, width = self.size
        return ((rows - y * height) ** 2 + (columns - x * width) ** 2 < (radius * height) ** 2).astype(np.uint8)


def tiny_network(channels=1, kernel=3, seed=0):
    """One convolution, 3 -> `channels`, with seeded weights; logits of the input's size."""
    torch.manual_seed(seed)
    return nn.Conv2d(3, channels, kernel, padding=kernel // 2)


def triple(id, size, levels):
    """What a test takes of a prediction: all of it."""
    return id, size, levels
