"""Tiles of one photograph are found by their edges; images of the same kind are not joined."""

import cv2
import numpy as np

from kit.data import Dataset
from kit.folds.tiles import tile_groups


class Tiles(Dataset):
    """Drawn photographs, each in six tiles, images of another size, and even ones."""

    name, classes = "tiles", ("background", "cell")

    def __init__(self, photographs=6):
        self.images, self.expected = {}, {}
        for number in range(photographs):
            random = np.random.default_rng(number)
            whole = cv2.GaussianBlur(random.normal(0, 255, (96, 96, 3)), (0, 0), 2) * 1.3 + 120
            whole = (whole + random.normal(0, 2, whole.shape)).clip(0, 255).astype(np.uint8)
            for at, (y, x) in enumerate((y, x) for y in (0, 32, 64) for x in (0, 48)):
                self.images[f"{at}{number}"] = whole[y : y + 32, x : x + 48]
                self.expected[f"{at}{number}"] = f"0{number}"
            self.images[f"x{number}"] = whole[:40, :40]
        self.images |= {"even": np.zeros((32, 48, 3), np.uint8), "point": np.zeros((1, 1, 3), np.uint8)}
        self.ids = sorted(self.images)

    def read_image(self, id):
        return self.images[id]


def test_tiles_of_one_photograph_are_a_group():
    data = Tiles()
    assert tile_groups(data) == {id: data.expected.get(id, id) for id in data.ids}
    assert tile_groups(data, ["10", "00", "31"]) == {"10": "10", "00": "10", "31": "31"}
