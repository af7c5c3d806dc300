"""Photographs for the benchmarks: Carvana's size, drawn here, so that anyone can run them."""

from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from kit.data.images import decode_image
from kit.prediction.enlarge import mask_above

SIZE = (1280, 1918)  # Carvana's
LOW = (512, 512)
FILES = 16  # photographs on the disk; further ids are these again


def car_logits(size: tuple[int, int] = LOW, seed: int = 0) -> np.ndarray:
    """Logits f32 (h, w) of something like a car: a body, a cabin, two wheels, a bumpy outline."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) / np.float32([[[size[0]]], [[size[1]]]])
    bumps = np.random.default_rng(seed).uniform(0, 6.28, 6).astype(np.float32)
    wave = sum(np.sin(40 * (k + 1) * x / 3 + bumps[k]) * np.sin(40 * (k + 1) * y / 3 - bumps[k]) for k in range(6))
    body = 1 - (((x - 0.5) / 0.38) ** 4 + ((y - 0.58) / 0.16) ** 4)
    cabin = 1 - (((x - 0.48) / 0.22) ** 4 + ((y - 0.43) / 0.14) ** 4)
    wheels = [1 - ((x - at) ** 2 + ((y - 0.73) / 1.3) ** 2) / 0.06**2 for at in (0.26, 0.74)]
    return (8 * np.maximum.reduce([body, cabin, *wheels]) + 0.3 * wave).clip(-12, 12).astype(np.float32)


class Cars:
    """What kit.data.Competition asks for: `count` photographs of 1918×1280, all of them to train on and to predict."""

    name = slug = "bench-cars"
    num_classes = 2
    classes = ("background", "car")
    notes = ()
    drawn = True
    order = "C"
    columns = ("img", "rle_mask")
    sample_csv = truth_csv = None

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.ids = self.test_ids = [f"car{number:06}" for number in range(count)]
        self.groups = self.ids
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(FILES):
            if not (path := folder / f"{number}.jpg").exists():
                path.write_bytes(_photograph(number))

    def read_image(self, id: str) -> np.ndarray:
        """Decode the file, u8 (1280, 1918, 3)."""
        path = self.folder / f"{int(id[3:]) % FILES}.jpg"
        return decode_image(path.read_bytes(), path.name, channels=3)

    def read_mask(self, id: str) -> np.ndarray:
        """The car, u8 (1280, 1918)."""
        return mask_above(car_logits(seed=int(id[3:]) % FILES), SIZE, 0.0)

    def shape(self, id: str) -> tuple[int, int]:
        """Carvana's."""
        return SIZE

    def csv_name(self, id: str) -> str:
        """As Carvana names them."""
        return f"{id}.jpg"

    def fingerprint(self) -> str:
        """There is but one such data set of each size."""
        return f"{len(self.ids):016}"


def _photograph(seed: int) -> bytes:
    """A JPEG of about 100 kB, as Carvana's are: a car on a lit wall, with the noise of a sensor."""
    rng = np.random.default_rng(seed)
    car = mask_above(car_logits(seed=seed), SIZE, 0.0)[..., None]
    light = np.linspace(0.7, 1.1, SIZE[0])[:, None, None]
    wall, paint = light * rng.uniform(150, 220, 3), light * rng.uniform(20, 200, 3)
    texture = cv2.resize(rng.normal(0, 12, (80, 120, 3)), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    noise = cv2.GaussianBlur(rng.normal(0, 2, (*SIZE, 3)), (3, 3), 0)
    picture = np.where(car, paint + texture, wall + texture / 3) + noise
    return simplejpeg.encode_jpeg(picture.clip(0, 255).astype(np.uint8), 80, "RGB", "420")
