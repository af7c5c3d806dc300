"""The store of predictions: levels of an image at the network's size, one PNG an image.

runs/<run>/oof/ holds those of the held-out images; runs/<run>/test/ those of the test images, where they are kept.
An image is predicted by the network that has not seen its group, so the scores hold for new groups.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from kit.prediction.rule import Rule
from kit.system.files import check_id, file_name, write_atomic


class Store:
    """Quantised predictions, written whole or not at all, readable by any tool: K classes stacked in a grey PNG.

    rule: how they become masks.
    """

    suffix = ".png"

    def __init__(self, folder: Path, channels: int = 1, rule: Rule = Rule()) -> None:  # noqa: B008 (frozen)
        self.folder, self.channels, self.rule = folder, channels, rule

    def path(self, id: str) -> Path:
        """Where the prediction of `id` is kept. Raises ValueError if the id is unsafe."""
        return self.folder / f"{file_name(check_id(id))}{self.suffix}"

    def __contains__(self, id: str) -> bool:
        return self.path(id).exists()

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` without a prediction, from one look at the folder."""
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        return [id for id in ids if self.path(id).name not in there]

    def write(self, id: str, levels: np.ndarray) -> None:
        """Keep levels u8 (K, h, w). Raises ValueError where K is not the store's."""
        self.check(id, levels)
        stacked = np.ascontiguousarray(levels).reshape(-1, levels.shape[2])
        write_atomic(self.path(id), cv2.imencode(".png", stacked)[1].tobytes())

    def check(self, id: str, levels: np.ndarray) -> None:
        """Raise ValueError unless the levels are u8 (K, h, w) with the store's K."""
        if levels.dtype != np.uint8 or levels.ndim != 3 or len(levels) != self.channels:
            raise ValueError(
                f"{id}: levels of {levels.dtype} {levels.shape}, expected uint8 ({self.channels}, h, w): give the "
                "network the data set's number of classes (1 or 2 for a single foreground)"
            )

    def read(self, id: str) -> np.ndarray:
        """Levels u8 (K, h, w). Raises ValueError if the file is damaged."""
        data = np.frombuffer(self.path(id).read_bytes(), np.uint8)
        stacked = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if stacked is None or stacked.ndim != 2 or len(stacked) % self.channels:
            raise ValueError(f"{self.path(id)} is damaged; delete it and run the same command again")
        return stacked.reshape(self.channels, -1, stacked.shape[1])

    def mask(self, id: str, size: tuple[int, int]) -> np.ndarray:
        """The predicted mask at `size`, (height, width): see Rule.mask."""
        return self.rule.mask(self.read(id), size)

    def forget(self, ids: Sequence[str]) -> None:
        """Remove the predictions of `ids`, because another network will make them."""
        for id in ids:
            self.path(id).unlink(missing_ok=True)
