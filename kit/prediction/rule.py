"""Rule: how levels become a mask at the image's own size, of the kind that the task has."""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np

from kit.data.tasks import Task
from kit.prediction.enlarge import edges_above, mask_above
from kit.system.objects import components, without_small


@dataclass(frozen=True)
class Rule:
    """What a pixel, and an object, must reach.

    threshold: the probability from which on a pixel is foreground, 0..1, of one class alone; of several classes the
        likeliest is taken at every pixel. A tuple has one of each class: they are decided one by one and may overlap,
        and the network's logits have a sigmoid each (task multilabel).
    objects: the mask is a label image, each connected component of the foreground an object (task instances). Objects
        that touch, also at a corner, become one.
    min_area: connected components of fewer pixels, at the image's own size, are left out; of each class.
    """

    threshold: float | tuple[float, ...] = 0.5
    objects: bool = False
    min_area: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a threshold that no level, or every level, reaches."""
        if isinstance(self.threshold, list | tuple | np.ndarray):
            object.__setattr__(self, "threshold", tuple(map(float, self.threshold)))
        each = self.threshold if self.separate else (self.threshold,)
        if not each or not all(0 < one < 1 for one in each):
            raise ValueError(f"a threshold is a probability between 0 and 1, got {self.threshold}")
        if self.objects and self.separate:
            raise ValueError(f"objects are of one class, which has one threshold; got {self.threshold}")
        if self.min_area < 0:
            raise ValueError(f"min_area is a number of pixels, 0 or more; got {self.min_area}")

    @property
    def separate(self) -> bool:
        """Whether classes are decided one by one, so that they may overlap."""
        return isinstance(self.threshold, tuple)

    @property
    def cut(self) -> float:
        """The threshold of an enlarged map of levels. The enlarged map counts as rounded, hence the half."""
        return _cut(self.threshold)

    @property
    def cuts(self) -> tuple[float, ...]:
        """The same of each class, where they are decided one by one."""
        return tuple(map(_cut, self.threshold))

    def mask(self, levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The mask at `size`, (height, width): u8 (H, W) of class indices.

        With a threshold of each class bool (H, W, K); with objects int32 (H, W), 0 and then 1, 2, … for the objects.
        levels: u8 or f32 (K, h, w). Raises ValueError where they are of another number of classes.
        """
        self._check(levels)
        if self.separate:
            layers = [self._foreground(level, size, cut) for level, cut in zip(levels, self.cuts, strict=True)]
            return np.stack(layers, axis=2).view(np.bool_)
        if self.objects:
            return components(mask_above(levels[0], size, self.cut), self.min_area)
        if len(levels) == 1:
            return self._foreground(levels[0], size, self.cut)
        return self._likeliest(levels, size)

    def edges(self, levels: np.ndarray, size: tuple[int, int], order: str, index: int = 0) -> np.ndarray | None:
        """Where the mask of one foreground changes, along rows ("C") or down columns ("F"): see edges_above.

        levels: (K, h, w); index: the one of them that is meant. The run lengths follow from the edges without a mask in
        between. None where only a mask shows it: of objects, with a min_area, and of classes that compete.
        """
        if self.objects or self.min_area > 1 or (len(levels) > 1 and not self.separate):
            return None
        self._check(levels)
        return edges_above(levels[index], size, self.cuts[index] if self.separate else self.cut, order)

    def _check(self, levels: np.ndarray) -> None:
        count = len(self.threshold) if self.separate else 1 if self.objects else len(levels)
        if len(levels) != count:
            what = f"{count} thresholds" if self.separate else "objects of one class"
            raise ValueError(f"levels of {len(levels)} classes, and a rule for {what}: expected as many")

    def _foreground(self, level: np.ndarray, size: tuple[int, int], cut: float) -> np.ndarray:
        return without_small(mask_above(level, size, cut), self.min_area)

    def _likeliest(self, levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        scores = [cv2.resize(level.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) for level in levels]
        mask = np.argmax(scores, axis=0).astype(np.uint8)
        for k in range(1, len(levels)) if self.min_area > 1 else ():
            own = mask == k
            mask[own & (without_small(own, self.min_area) == 0)] = 0
        return mask


def rule_for(task: Task, rule: Rule | None = None) -> Rule:
    """The rule of a data set's task: its own, or the usual one, with a threshold of 0.5.

    Of task multilabel one threshold is that of every class. Raises ValueError where the rule does not fit the task.
    """
    if rule is None:
        return Rule((0.5,) * len(task.classes)) if task.overlaps else Rule(objects=task.has_objects)
    if task.overlaps:
        thresholds = rule.threshold if rule.separate else (rule.threshold,) * len(task.classes)
        if len(thresholds) != len(task.classes) or rule.objects:
            found = "objects" if rule.objects else f"{len(thresholds)} thresholds"
            raise ValueError(
                f"the rule has {found}; task multilabel of {len(task.classes)} classes ({', '.join(task.classes)}) "
                "needs a threshold of each, or one for all"
            )
        return dataclasses.replace(rule, threshold=thresholds)
    if rule.separate:
        raise ValueError(f"the rule has a threshold of each class, which only task multilabel has; this is {task.name}")
    if rule.objects != task.has_objects:
        needed = "needs Rule(objects=True)" if task.has_objects else "has no objects: Rule(objects=False)"
        raise ValueError(f"the rule has objects={rule.objects}; task {task.name} {needed}")
    if task.outputs > 1 and rule.threshold != 0.5:
        raise ValueError(
            f"the rule has the threshold {rule.threshold}; of several classes the likeliest is taken, without one"
        )
    return rule


def _cut(threshold: float) -> float:
    return round(256 * threshold) - 0.5
