"""The base class of every data set (a stand-in until kit.data's own is merged)."""

import hashlib

import numpy as np


class Dataset:
    """What kit asks of a data set; see DESIGN."""

    name: str
    ids: list
    classes: tuple[str, ...]
    channels: tuple[str, ...] = ("red", "green", "blue")
    mean: tuple | None = None
    std: tuple | None = None
    notes: tuple[str, ...] = ()
    drawn: bool = False

    @property
    def num_classes(self) -> int:
        """How many classes there are, the background among them."""
        return len(self.classes)

    @property
    def task(self) -> str:
        """What is asked of a network."""
        return "binary" if self.num_classes == 2 else "multiclass"

    def read_image(self, id: str) -> np.ndarray:
        """Read an image (H, W, C)."""
        raise NotImplementedError

    def read_mask(self, id: str) -> np.ndarray:
        """Read a mask u8 (H, W), 255 = ignore."""
        raise NotImplementedError

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image."""
        return self.read_image(id).shape[:2]

    def fingerprint(self) -> str:
        """A hash that changes when the ids change."""
        return hashlib.sha256(repr(self.ids).encode()).hexdigest()

    def test_fingerprint(self) -> str:
        """The same of the test images."""
        return hashlib.sha256(repr(getattr(self, "test_ids", [])).encode()).hexdigest()
