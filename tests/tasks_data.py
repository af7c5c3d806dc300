"""Data sets of the tasks that have masks of their own kind: classes that overlap, and objects."""

import zlib

import cv2
import numpy as np
import torch
from torch import nn

from kit.data import Dataset

SIZE = (24, 36)
BACK, STEP = 60, 45  # the grey of a channel outside its class, and how much the class adds: too little for p near 1


class Overlapping(Dataset):
    """K boxes that overlap, class k brighter in channel k; every fourth image holds nothing, the next no class 0."""

    name, task = "overlapping", "multilabel"

    def __init__(self, count=2, images=8, tests=4, sizes=(SIZE,)):
        self.classes = tuple(f"box {number}" for number in range(count))
        self.channels = tuple(f"band {number}" for number in range(count))
        self.ids = [f"image_{number:02}" for number in range(images)]
        self.test_ids = [f"test_{number:02}" for number in range(tests)]
        self.sizes = sizes

    def read_mask(self, id):
        return self._drawn(id)

    def _drawn(self, id):
        (height, width), number = self.shape(id), int(id[-2:])
        mask = np.zeros((height, width, len(self.classes)), bool)
        for k in range(0 if number % 4 != 3 else 99, len(self.classes)):
            if k or number % 4 != 2 or len(self.classes) == 1:
                top, left = np.random.default_rng([k, zlib.crc32(id.encode())]).integers(0, (height // 2, width // 2))
                mask[top : top + height // 2, left : left + width // 2, k] = True
        return mask

    def read_image(self, id):
        noise = np.random.default_rng(zlib.crc32(id.encode())).integers(-30, 31, (*self.shape(id), len(self.classes)))
        return (BACK + STEP * self._drawn(id) + noise).astype(np.uint8)

    def shape(self, id):
        return self.sizes[int(id[-2:]) % len(self.sizes)]


class Objects(Dataset):
    """Bright squares of 5 × 5 pixels, their labels with gaps; two of them touch, every fourth image holds none."""

    name, classes, task = "objects", ("background", "square"), "instances"

    def __init__(self, images=8, tests=4):
        self.ids = [f"image_{number:02}" for number in range(images)]
        self.test_ids = [f"test_{number:02}" for number in range(tests)]

    def read_mask(self, id):
        return self._drawn(id)

    def _drawn(self, id):
        mask, number = np.zeros(SIZE, np.int32), int(id[-2:])
        if number % 4 == 3:
            return mask
        top, left = np.random.default_rng(zlib.crc32(id.encode())).integers(0, 4, 2)
        for label, (row, column) in {255: (0, 0), 7: (0, 5), 70_000: (10, 2), 12: (12, 20), 3: (1, 24)}.items():
            mask[top + row : top + row + 5, left + column : left + column + 5] = label
        return mask

    def read_image(self, id):
        noise = np.random.default_rng(zlib.crc32(id.encode())).integers(-30, 31, (*SIZE, 3))
        return (70 + 110 * (self._drawn(id) > 0)[..., None] + noise).clip(0, 255).astype(np.uint8)

    def shape(self, id):
        return SIZE


class Grey(nn.Module):
    """One logit a class: how far its channel, of an image normalised by `mean` and `std`, is above the middle."""

    def __init__(self, count, slope=0.05):
        super().__init__()
        self.layer = nn.Conv2d(count, count, 1)
        with torch.no_grad():
            self.layer.weight[:] = torch.eye(count)[..., None, None] * slope
            self.layer.bias[:] = 0

    def forward(self, images):
        return self.layer(images)


def levels_by_hand(network, image, mean, std, size):
    """floor(256 sigmoid) of the network's logits for one image at the network's size: (K, h, w)."""
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA).reshape(*size, -1)
    pixels = (small / np.float64(255) - mean) / std
    with torch.no_grad():
        logits = network(torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32)).double()
    return np.floor(256 / (1 + np.exp(-logits[0].numpy()))).clip(0, 255)


def enlarged_by_hand(levels, size):
    """Levels (K, h, w) at `size`, bilinear between the centres of pixels: f64 (K, H, W)."""
    maps = torch.from_numpy(levels.astype(np.float64))[None]
    return nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].numpy()
