"""Task: what the masks of a data set are, and what follows from it for training and prediction.

    task         read_mask gives                                the network gives            levels kept
    binary       u8 (H, W) of 0 and 1, 255 = ignored            one logit, a sigmoid         (1, h, w)
    multiclass   u8 (H, W) of class numbers, 255 = ignored      K logits, a softmax          (K, h, w)
    multilabel   bool (H, W, K): classes that may overlap       K logits, a sigmoid each     (K, h, w)
    instances    int32 (H, W): a label an object, 0 = none      as binary: object or none    (1, h, w)

A mask says by its dtype what it is: u8, bool or int32. How levels become a mask of the same kind is said by
`kit.prediction.Rule`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TASKS = ("binary", "multiclass", "multilabel", "instances")
IGNORED = 255  # in masks of class numbers, and in what training sees


@dataclass(frozen=True)
class Task:
    """One of TASKS for these classes.

    classes: the names, the background first; of multilabel the foreground alone.
    """

    name: str
    classes: tuple[str, ...]

    @property
    def overlaps(self) -> bool:
        """Whether a pixel may be of several classes, so that each has a sigmoid of its own."""
        return self.name == "multilabel"

    @property
    def has_objects(self) -> bool:
        """Whether each object has a label of its own."""
        return self.name == "instances"

    @property
    def foreground(self) -> tuple[str, ...]:
        """The names that a CSV has labels for."""
        return self.classes if self.overlaps else self.classes[1:]

    @property
    def outputs(self) -> int:
        """How many levels of a pixel are kept: one of a single foreground, else one a class."""
        return 1 if len(self.classes) == 2 and not self.overlaps else len(self.classes)

    @property
    def logits(self) -> tuple[int, ...]:
        """The numbers of channels that a network may give: of a single foreground one or, with a softmax, two."""
        return (1, 2) if len(self.classes) == 2 and not self.overlaps else (len(self.classes),)

    def target(self, mask: np.ndarray) -> np.ndarray:
        """What training sees of a mask, u8: (H, W) of classes; of multilabel (H, W, K) of 0 and 1."""
        if self.has_objects:
            return (mask > 0).view(np.uint8)
        return mask.view(np.uint8) if self.overlaps else mask


def has_background(classes: Sequence[str], task: str | None = None) -> bool:
    """Whether class 0 is a background: of two classes always, of more by its name; classes that overlap have one."""
    return len(classes) == 2 or task == "multilabel" or classes[0] == "background"


def task_of(dataset: object) -> Task:
    """The task of a data set; by the number of its classes where it names none."""
    classes = tuple(dataset.classes)
    return Task(getattr(dataset, "task", None) or ("binary" if len(classes) == 2 else "multiclass"), classes)


def is_label_image(mask: np.ndarray) -> bool:
    """Whether each object of a mask has a label of its own: int32 (H, W)."""
    return mask.dtype == np.int32


def foreground_of(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Where a mask of any kind holds a class or an object, bool (H, W), and where it counts; None: everywhere."""
    if mask.dtype == np.bool_:
        return (mask.any(axis=2) if mask.ndim == 3 else mask), None
    return mask > 0, None if is_label_image(mask) else mask != IGNORED
