"""A data set of drawn discs with any channels and dtype, as a user would write it."""

import zlib

import numpy as np
import pytest

from kit.data import Dataset, check_dataset

LEVELS = {"uint8": (0, 255), "uint16": (100, 4000), "float32": (-900.0, 1500.0)}  # 12 bits in 16; Hounsfield units


class Drawn(Dataset):
    """Discs of class 1 on class 0, brighter by a third of the range in every channel."""

    name = "drawn"
    classes = ("background", "disc")

    def __init__(self, channels=("grey",), dtype="uint8", count=12, size=(31, 43)):
        self.channels, self.kind, self.size = tuple(channels), dtype, size
        self.ids = [f"disc_{number:02}" for number in range(count)]

    def read_image(self, id):
        low, high = LEVELS[self.kind]
        rng = np.random.default_rng(zlib.crc32(id.encode()))
        noise = rng.uniform(0, 0.3, (*self.size, len(self.channels)))
        return (low + (high - low) * (noise + self._disc(id)[..., None] / 3)).astype(self.kind)

    def read_mask(self, id):
        return self._disc(id)

    def _disc(self, id):
        y, x, radius = np.random.default_rng([7, zlib.crc32(id.encode())]).uniform((0.3, 0.3, 0.2), (0.7, 0.7, 0.4))
        rows, columns = np.mgrid[: self.size[0], : self.size[1]]
        height, width = self.size
        return ((rows - y * height) ** 2 + (columns - x * width) ** 2 < (radius * height) ** 2).astype(np.uint8)


def changed(**changes):
    """A drawn data set with some attributes changed."""
    dataset = Drawn()
    for name, value in changes.items():
        setattr(dataset, name, value)
    return dataset


def refusal(dataset):
    """What check_dataset says of a data set that it refuses."""
    with pytest.raises(ValueError, match=r"problem|cannot be trained on") as refused:
        check_dataset(dataset)
    return str(refused.value)
