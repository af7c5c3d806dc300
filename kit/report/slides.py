"""Slides for a person to look at: image, truth and prediction at a size that fits the page, in steps of pixels."""

import numpy as np

from kit.data.run_masks import RunMask
from kit.data.scaled import ScaledRegions, scaled_size
from kit.runs.run import Run

LONGEST = 2000  # pixels of the longer side of what is shown


def step_of(size: tuple[int, int]) -> int:
    """How many pixels of a slide of `size` (height, width) one pixel of the page stands for."""
    return -(-max(size) // LONGEST)


def slide_image(run: Run, id: str) -> np.ndarray:
    """The slide (h, w, C), shrunk."""
    slide = run.dataset.regions(id).regions
    shrunk = ScaledRegions(slide, step_of(slide.shape[:2]))
    return shrunk.read(0, 0, *shrunk.shape[:2])


def slide_truth(run: Run, id: str) -> np.ndarray:
    """The truth u8 (h, w): of each step the row and column in its middle; of classes that overlap bool (h, w, K)."""
    mask, places = run.dataset.mask(id), _places(run.dataset.shape(id))
    if run.task.overlaps:
        layers = [_shown(mask.layer(label), *places) for label in range(1, len(run.dataset.classes) + 1)]
        return np.stack(layers, axis=2).view(np.bool_)
    return _shown(mask, *places)


def slide_prediction(run: Run, id: str) -> np.ndarray:
    """The prediction in the same places, of the same kind."""
    size, store = run.dataset.shape(id), run.store
    rows, columns = _places(size)
    kept, first = [], 0
    for band in store.read(id).masks(size, store.rule):
        band = np.moveaxis(band, 0, 2) > 0 if store.rule.separate else band
        here = rows[(rows >= first) & (rows < first + len(band))] - first
        kept.append(band[here][:, columns])
        first += len(band)
    return np.concatenate(kept)


def _shown(mask: RunMask, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.stack([mask.read(row, 0, 1, mask.shape[1])[0, columns] for row in rows.tolist()])


def _places(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns that are shown."""
    step = step_of(size)
    return tuple(
        np.minimum(np.arange(count) * step + step // 2, side - 1)
        for count, side in zip(scaled_size(size, step), size, strict=True)
    )
