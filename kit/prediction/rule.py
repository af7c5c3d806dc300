"""Rule: how levels become a mask at the image's own size."""

from dataclasses import dataclass

import cv2
import numpy as np

from kit.prediction.enlarge import edges_above, mask_above


@dataclass(frozen=True)
class Rule:
    """threshold: probability from which on a pixel is foreground, 0..1; for one class alone.

    Of several classes the likeliest is taken at every pixel.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError for a threshold that no level, or every level, reaches."""
        if not 0 < self.threshold < 1:
            raise ValueError(f"a threshold is a probability between 0 and 1, got {self.threshold}")

    @property
    def cut(self) -> float:
        """The threshold of an enlarged map of levels. The enlarged map counts as rounded, hence the half."""
        return round(256 * self.threshold) - 0.5

    def mask(self, levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The mask u8 (H, W) of class indices. levels: u8 or f32 (K, h, w); size: (height, width) of the image."""
        if len(levels) == 1:
            return mask_above(levels[0], size, self.cut)
        scores = [cv2.resize(level.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) for level in levels]
        return np.argmax(scores, axis=0).astype(np.uint8)

    def edges(self, levels: np.ndarray, size: tuple[int, int], order: str) -> np.ndarray:
        """Where the mask of one foreground changes, along rows ("C") or down columns ("F"): see edges_above.

        levels: (1, h, w). The run lengths follow from the edges without a mask in between.
        """
        return edges_above(levels[0], size, self.cut, order)
