"""Segments: a label image and the class of each label."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Segments(NamedTuple):
    """A label image whose objects have a class each: instances of several classes, or a panoptic segmentation.

    labels: whole numbers (H, W), 0 for none (in panoptic truth void), gaps allowed. classes: label -> class; labels
    that do not occur may be there. crowd: labels of regions in which single objects are not told apart (COCO's
    iscrowd); instances have none.
    """

    labels: np.ndarray
    classes: Mapping[int, int]
    crowd: Collection[int] = ()

    @classmethod
    def numbered(cls, labels: np.ndarray, classes: Sequence[int]) -> "Segments":
        """Objects with the labels 1, 2, …: classes holds the class of each in this order."""
        return cls(labels, dict(enumerate(np.asarray(classes).tolist(), start=1)))

    def classes_of(self, labels: np.ndarray) -> np.ndarray:
        """The class of each label, i64 (N,). Raises ValueError naming labels without a class."""
        labels = labels.tolist()
        try:
            return np.array([self.classes[label] for label in labels], np.int64)
        except KeyError:
            missing = [str(label) for label in labels if label not in self.classes]
            more = ", …" if len(missing) > 10 else ""
            raise ValueError(f"labels without a class: {', '.join(missing[:10])}{more}") from None

    def class_image(self) -> np.ndarray:
        """The class of each pixel, u8 (H, W), 0 where there is no object. Raises ValueError for classes above 254."""
        known = np.unique(self.labels[self.labels > 0])
        classes = self.classes_of(known)
        if classes.size and not 0 <= classes.min() <= classes.max() < 255:
            raise ValueError(f"an image of classes holds 0 to 254, got {classes.min()} to {classes.max()}")
        return paint(self.labels, known, classes.astype(np.uint8))


def as_segments(mask: "np.ndarray | Segments") -> Segments:
    """A label image as Segments of one class, 1; Segments as they are."""
    return mask if isinstance(mask, Segments) else Segments(mask, _OneClass())


class _OneClass(dict):
    """Every label is of class 1."""

    def __missing__(self, label: int) -> int:
        return 1


def paint(labels: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The image (H, W) that has at each pixel the value of its label, 0 where the label is not known.

    labels: a label image. known: i64 (N,), labels above 0, rising; values: (N,).
    """
    top = max(int(labels.max(initial=0)), *known[-1:].tolist(), 0)
    if top <= 4 * labels.size:
        table = np.zeros(top + 1, values.dtype)
        table[known] = values
        return table[labels]
    if not len(known):
        return np.zeros(labels.shape, values.dtype)
    places = np.searchsorted(known, labels).clip(max=len(known) - 1)
    return np.where(known[places] == labels, values[places], values.dtype.type(0))
