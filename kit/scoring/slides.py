"""What is right and wrong in a slide, counted band by band at its own size."""

import numpy as np

from kit.data.dataset import Dataset
from kit.data.run_masks import RunMask
from kit.data.tasks import task_of
from kit.prediction.enlarge_bands import enlarged_bands
from kit.prediction.rule import Rule
from kit.prediction.slides import SlideLevels
from kit.scoring.confusion import confusion_matrix, level_histogram


def level_counts(dataset: Dataset, id: str, levels: SlideLevels, index: int = 0) -> np.ndarray:
    """Count the pixels of each truth at each level of one foreground class: i64 (2, 256).

    index: of the class, where several may overlap.
    """
    total, row, size = np.zeros((2, 256), np.int64), 0, dataset.shape(id)
    truth = dataset.mask(id)
    if task_of(dataset).overlaps:
        truth = truth.layer(index + 1)
    bands = (band[index : index + 1] for band in levels.bands)
    for enlarged in enlarged_bands(bands, levels.scale, size):
        total += level_histogram(truth.read(row, 0, len(enlarged), size[1]), enlarged)
        row += len(enlarged)
    return total


def class_counts(dataset: Dataset, id: str, levels: SlideLevels, rule: Rule) -> np.ndarray:
    """The confusion matrix of the classes: i64 (K, K), rows = truth; of classes that overlap (K, 2, 2), one of each."""
    return matrix_of_mask(dataset.mask(id), levels, rule, len(dataset.classes))


def matrix_of_mask(mask: RunMask, levels: SlideLevels, rule: Rule, count: int) -> np.ndarray:
    """The same against the true mask of a slide. count: of the data set's classes."""
    row, size, separate = 0, mask.shape, rule.separate
    truths = [mask.layer(label) for label in range(1, count + 1)] if separate else [mask]
    total = np.zeros((count, 2, 2) if separate else (1, count, count), np.int64)
    for band in levels.masks(size, rule):
        for own, truth, prediction in zip(total, truths, band if separate else band[None], strict=True):
            own += confusion_matrix(truth.read(row, 0, len(prediction), size[1]), prediction, own.shape[0])
        row += band.shape[-2]
    return total if separate else total[0]
