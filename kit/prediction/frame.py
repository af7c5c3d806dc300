"""Frame: how an image reaches the network, and which part of the network's map shows it."""

from dataclasses import dataclass

import numpy as np

from kit.data.normalise import Normalisation
from kit.data.resize import Resizing


@dataclass(frozen=True)
class Frame:
    """An image's way to the network and back.

    resizing: brings images to the network's size.
    statistics: mean and deviation that an encoder's weights expect (kit.models.pretrained.statistics); None: the data
    set's own.
    tile: (height, width) of overlapping tiles, for a network that was trained on crops; None for the whole image.
    normalise: takes mean and deviation out of images on the device; open_run fills it in.
    """

    resizing: Resizing
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    tile: tuple[int, int] | None = None
    normalise: Normalisation | None = None

    def content(self, levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The part of levels (K, h, w) that shows the image of `size`, without the padding around it."""
        rows, columns = self.resizing.content(size)
        return levels[:, rows, columns]
