"""Have images an upper side? A linear classifier tries to tell thumbnails from their mirrored and turned copies."""

import warnings
from dataclasses import dataclass

import cv2
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict

SIDE = 8  # pixels of a thumbnail
LEAST = 60  # images from which on an answer is tried
CLEAR = 0.68  # the share from which on it is clear: photographs have 0.7 to 1, cells and seismic sections 0.5 to 0.66


@dataclass(frozen=True)
class Sides:
    """How often n images were told from copies upside down, and from copies on their side: shares 0..1."""

    n: int = 0
    upside_down: float = 0.5
    on_side: float = 0.5
    are_slides: bool = False

    @property
    def is_upright(self) -> bool:
        """Whether either can be told better than by chance. Of few images it is taken for granted."""
        return not self.are_slides and (self.n < LEAST or max(self.upside_down, self.on_side) >= CLEAR)

    def __str__(self) -> str:
        if self.are_slides:
            return "turned and mirrored in training, because slides have no upper side; mirrored once in prediction"
        if self.n < LEAST:
            return f"mirrored left to right: {self.n} images are too few to find out whether they have an upper side"
        why = "images have an upper side" if self.upside_down >= CLEAR else "images are not alike along and down"
        return f"{f'mirrored left to right, because {why}' if self.is_upright else 'all symmetries'}: {self.shares}"

    @property
    def shares(self) -> str:
        """What was measured, in words."""
        return (
            f"of {self.n} images a classifier knows {self.upside_down:.0%} from their copies upside down, and "
            f"{self.on_side:.0%} from those on their side (50% is chance)"
        )


OF_SLIDES = Sides(are_slides=True)


def measure(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Maps f32 (4, SIDE, SIDE) of an image (H, W, C): grey, steps down, steps along, and the mask bool (H, W)."""
    grey = cv2.resize(image[..., 0] if image.shape[2] != 3 else image[..., 1], (128, 128), interpolation=cv2.INTER_AREA)
    grey = grey.astype(np.float32)
    grey = (grey - grey.mean()) / (grey.std() or 1.0)
    steps = [np.abs(np.diff(grey, axis=axis)) for axis in (0, 1)]
    shape = np.zeros((128, 128), np.float32)
    if mask is not None:
        shape = cv2.resize(mask.astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA)
    return np.stack([cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for one in (grey, *steps, shape)])


def sides(measured: list[np.ndarray]) -> Sides:
    """How well copies are told from the images, by what `measure` gave of each."""
    if len(measured) < LEAST:
        return Sides(len(measured))
    maps = np.stack(measured)
    turned = maps[:, [0, 2, 1, 3]].transpose(0, 1, 3, 2)
    return Sides(len(maps), _told(maps, maps[:, :, ::-1]), _told(maps, turned))


def _told(maps: np.ndarray, copies: np.ndarray) -> float:
    """The share of images that a linear classifier, which has not seen them, tells from their copies."""
    differences = (maps - copies).reshape(len(maps), -1)
    differences /= np.abs(differences).mean(axis=0) + 1e-6
    signs = np.where(np.arange(len(maps)) % 2, 1, -1)
    model = LogisticRegression(C=0.01, fit_intercept=False, max_iter=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged does not matter here
        found = cross_val_predict(model, differences * signs[:, None], signs, cv=KFold(6))
    return float((found == signs).mean())
