"""Rule: how levels become a mask at the image's own size, of the kind that the task has."""

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np

from kit.data.tasks import Task
from kit.prediction.enlarge import edges_above, mask_above
from kit.prediction.object_levels import LEVELS, labels_of
from kit.prediction.watershed import find_objects
from kit.system.objects import components, without_holes, without_small

FIRST = ("threshold", "objects", "min_area")  # the fields of the first rules
AREAS = ("min_area", "fill_holes", "top_area", "seed_area")


@dataclass(frozen=True)
class Rule:
    """What a pixel, an object, and an image must reach. The parts are applied in this order.

    threshold: the probability from which on a pixel is foreground, 0..1, of one class alone; of several classes the
        likeliest is taken at every pixel. A tuple has one of each class: they are decided one by one and may overlap,
        and the network's logits have a sigmoid each (task multilabel).
    objects: the mask is a label image, each connected component of the foreground an object (task instances). Objects
        that touch, also at a corner, become one.
    fill_holes: holes of fewer pixels are filled; of each class. A hole does not touch the edge of the image. Where
        classes compete, a hole that holds another class stays.
    top_area, top: a class with fewer than top_area pixels of a probability of `top` or more is not in the image at all.
        With top at the threshold, images with little foreground become empty; with a higher one this is the rule of
        three numbers (top, area, threshold) that won SIIM-ACR Pneumothorax 2019.
    min_area: connected components of fewer pixels, at the image's own size, are left out; of each class. A tuple has
        one of each class but the background, where there are several.
    keep_largest: of each class the largest component is kept alone.
    border: the levels have a second channel, of the borders between objects, and each has a sigmoid (task instances,
        kit.data.border_target). Objects then grow from seeds over the foreground (kit.prediction.watershed).
    seed: with border, the probability of object less that of border from which on a pixel is of a seed. None: no seeds,
        the objects are the connected components of the foreground, as without a border.
    seed_area: connected parts of fewer pixels are no seeds.
    detected: the network finds the objects itself (kit.models.mask_rcnn; objects=True is needed too). An object is
        kept where its score reaches the threshold, and objects that touch stay apart. Areas are of objects.
    """

    threshold: float | tuple[float, ...] = 0.5
    objects: bool = False
    min_area: int | tuple[int, ...] = 0
    fill_holes: int = 0
    keep_largest: bool = False
    top: float = 0.5
    top_area: int = 0
    border: bool = False
    seed: float | None = 0.5
    seed_area: int = 0
    detected: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a threshold that no level, or every level, reaches, and for areas below 0."""
        if isinstance(self.threshold, list | tuple | np.ndarray):
            object.__setattr__(self, "threshold", tuple(map(float, self.threshold)))
        if isinstance(self.min_area, list | tuple | np.ndarray):
            object.__setattr__(self, "min_area", tuple(map(int, self.min_area)))
        each = self.threshold if self.separate else (self.threshold,)
        if not each or not all(0 < one < 1 for one in each):
            raise ValueError(f"a threshold is a probability between 0 and 1, got {self.threshold}")
        if not 0 < self.top < 1:
            raise ValueError(f"top is a probability between 0 and 1, got {self.top}")
        if self.objects and self.separate:
            raise ValueError(f"objects are of one class, which has one threshold; got {self.threshold}")
        if self.objects and isinstance(self.min_area, tuple):
            raise ValueError(f"objects are of one class, which has one min_area; got {self.min_area}")
        if self.detected and (not self.objects or self.border or self.fill_holes):
            raise ValueError(
                "detected is of objects that the network finds, without borders or filled holes: expected "
                f"objects=True, border=False and fill_holes=0; got {self.objects}, {self.border}, {self.fill_holes}"
            )
        if self.border and not self.objects:
            raise ValueError("border is of objects: Rule(objects=True, border=True)")
        if self.seed is not None and not 0 < self.seed < 1:
            raise ValueError(f"seed is a probability between 0 and 1, or None, got {self.seed}")
        for name in AREAS:
            found = getattr(self, name)
            if min(found if isinstance(found, tuple) else (found,), default=-1) < 0:
                raise ValueError(f"{name} is a number of pixels, 0 or more; got {found}")

    def __repr__(self) -> str:
        """As before the later fields came, where these have their defaults: it names what a rule decides."""
        return f"Rule({', '.join(f'{name}={value!r}' for name, value in self.facts.items())})"

    @property
    def facts(self) -> dict[str, object]:
        """The fields by name; of the later ones those that are not as they are by default."""
        found = {field.name: (getattr(self, field.name), field.default) for field in dataclasses.fields(self)}
        return {name: value for name, (value, default) in found.items() if name in FIRST or value != default}

    @property
    def separate(self) -> bool:
        """Whether classes are decided one by one, so that they may overlap."""
        return isinstance(self.threshold, tuple)

    @property
    def sigmoids(self) -> bool:
        """Whether each of the network's logits has a sigmoid, also of two."""
        return self.separate or self.border

    @property
    def by_pixel(self) -> bool:
        """Whether a pixel is decided by its own levels alone: no part looks at components, holes or the image."""
        return not (self.objects or self.has_components or self.fill_holes > 1 or self.top_area > 0)

    @property
    def has_components(self) -> bool:
        """Whether components of the mask may be left out."""
        return self.keep_largest or max(self.min_area if isinstance(self.min_area, tuple) else (self.min_area,)) > 1

    @property
    def cut(self) -> float:
        """The threshold of an enlarged map of levels. The enlarged map counts as rounded, hence the half."""
        return _cut(self.threshold)

    @property
    def cuts(self) -> tuple[float, ...]:
        """The same of each class, where they are decided one by one."""
        return tuple(map(_cut, self.threshold))

    @property
    def top_cut(self) -> float:
        """The same of `top`."""
        return _cut(self.top)

    def least_area(self, index: int) -> int:
        """The min_area of a class. index: of the classes but the background, from 0."""
        return self.min_area[index] if isinstance(self.min_area, tuple) else self.min_area

    def scaled(self, factor: float) -> "Rule":
        """The same rule for a mask with `factor` times as many pixels."""
        if factor == 1:
            return self

        def at(area: int) -> int:  # a part that is on stays on
            return max(1, round(area * factor)) if area else 0

        areas = [getattr(self, name) for name in AREAS]
        scaled = [tuple(map(at, one)) if isinstance(one, tuple) else at(one) for one in areas]
        return dataclasses.replace(self, **dict(zip(AREAS, scaled, strict=True)))

    def mask(self, levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The mask at `size`, (height, width): u8 (H, W) of class indices.

        With a threshold of each class bool (H, W, K); with objects int32 (H, W), 0 and then 1, 2, … for the objects.
        levels: u8 or f32 (K, h, w). Raises ValueError where they are of another number of classes.
        """
        self._check(levels)
        if self.detected:
            return self._objects(levels, size)
        if self.separate:
            layers = [self._foreground(level, size, cut) for level, cut in zip(levels, self.cuts, strict=True)]
            return np.stack([self._kept(layer, k) for k, layer in enumerate(layers)], axis=2).view(np.bool_)
        if len(levels) > 1 and not self.border:
            return self._likeliest(levels, size)
        mask = self._foreground(levels[0], size, self.cut)
        if self.border and self.seed is not None:
            return find_objects(mask, levels, _cut(self.seed), self.seed_area, self.min_area, self.keep_largest)
        return components(mask, self.min_area, self.keep_largest) if self.objects else self._kept(mask, 0)

    def edges(self, levels: np.ndarray, size: tuple[int, int], order: str, index: int = 0) -> np.ndarray | None:
        """Where the mask of one foreground changes, along rows ("C") or down columns ("F"): see edges_above.

        levels: (K, h, w); index: the one of them that is meant. The run lengths follow from the edges without a mask in
        between. None where only a mask shows it: of classes that compete, and where the rule is not `by_pixel`.
        """
        if not self.by_pixel or (len(levels) > 1 and not self.separate):
            return None
        self._check(levels)
        return edges_above(levels[index], size, self.cuts[index] if self.separate else self.cut, order)

    def _objects(self, levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The label image of the objects that a network found."""
        if self.top_area and np.count_nonzero(levels[0] >= self.top_cut) < self.top_area:
            return np.zeros(size, np.int32)
        return labels_of(levels, size, self.cut, self.min_area, self.keep_largest)

    def _check(self, levels: np.ndarray) -> None:
        if self.detected:
            return  # labels_of does
        count = len(self.threshold) if self.separate else 1 + self.border if self.objects else len(levels)
        if len(levels) != count:
            of_objects = "objects and borders" if self.border else "objects of one class"
            what = f"{count} thresholds" if self.separate else of_objects
            raise ValueError(f"levels of {len(levels)} classes, and a rule for {what}: expected as many")
        self.check_areas(count if self.separate else count - 1)

    def check_areas(self, count: int) -> None:
        """Raise ValueError unless min_area is one number, or one of each of `count` classes but the background."""
        if isinstance(self.min_area, tuple) and len(self.min_area) != count:
            raise ValueError(
                f"the rule has {len(self.min_area)} values of min_area, {self.min_area}: expected one number"
                + (f", or one of each of the {count} classes but the background" if count > 0 else "")
            )

    def _foreground(self, level: np.ndarray, size: tuple[int, int], cut: float) -> np.ndarray:
        """The mask u8 (H, W) of 0 and 1 of a class that is decided alone, with all its components."""
        if self._is_absent(level, size):
            return np.zeros(size, np.uint8)
        return without_holes(mask_above(level, size, cut), self.fill_holes)

    def _kept(self, mask: np.ndarray, index: int) -> np.ndarray:
        return without_small(mask, self.least_area(index), self.keep_largest)

    def _is_absent(self, level: np.ndarray, size: tuple[int, int]) -> bool:
        """Whether too few pixels reach `top`."""
        if not self.top_area:
            return False
        edges = edges_above(level, size, self.top_cut)
        return int((edges[1::2] - edges[::2]).sum()) < self.top_area

    def _likeliest(self, levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        scores = [cv2.resize(level.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) for level in levels]
        mask = np.argmax(scores, axis=0).astype(np.uint8)
        classes = () if self.by_pixel else range(1, len(levels))
        for k in classes if self.fill_holes > 1 else ():
            background = mask == 0
            filled = without_holes((mask == k).view(np.uint8), self.fill_holes, background)
            mask[background & (filled > 0)] = k
        for k in classes:
            if self._is_absent(levels[k], size):
                mask[mask == k] = 0
        for k in classes if self.has_components else ():
            own = mask == k
            mask[own & (self._kept(own.view(np.uint8), k - 1) == 0)] = 0
        return mask


def channels_of(task: Task, rule: Rule) -> int:
    """How many levels of a pixel are kept: those of the task, with borders one more; those of detected objects."""
    return LEVELS if rule.detected else task.outputs + rule.border


def rule_for(task: Task, rule: Rule | None = None) -> Rule:
    """The rule of a data set's task: its own, or the usual one, with a threshold of 0.5.

    Of task multilabel one threshold is that of every class. Raises ValueError where the rule does not fit the task.
    """
    if rule is None:
        return Rule((0.5,) * len(task.classes)) if task.overlaps else Rule(objects=task.has_objects)
    rule.check_areas(task.outputs if task.overlaps else task.outputs - 1)
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
