"""The rules that tuning tries: the parts of a rule, their values, and when two rules are alike.

    axes = axes_of(run.task, grid, parts=PARTS, fine=True)     functions: a rule -> rules that differ in one part

Areas grow by factors, because a component of 20 pixels and one of 40 differ, and of 5,000 and 5,020 do not. fine=False
gives a coarse grid, where every rule costs a look at every image.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kit.data.tasks import Task
from kit.prediction.rule import Rule
from kit.scoring.tune import Axis

PARTS = ("threshold", "min_area", "fill_holes", "keep_largest", "top_area", "per_class")
OF_BORDERS = ("threshold", "seed", "seed_area", "min_area", "fill_holes")  # of rules with borders, in place of PARTS
OF_DETECTED = ("threshold", "min_area")  # of detected objects: the threshold is of their scores
KNOWN = (*PARTS, *(part for part in OF_BORDERS if part not in PARTS))
ABOUT = {
    "threshold": "the threshold of all classes",
    "min_area": "components of fewer pixels are left out",
    "fill_holes": "holes of fewer pixels are filled",
    "keep_largest": "of each class the largest component alone",
    "top_area": "a class with too few sure pixels is left out of an image",
    "per_class": "thresholds of each class, half way to the common one, and a min_area of each",
    "seed": "from which probability of object less border on a pixel is of a seed",
    "seed_area": "seeds of fewer pixels are none",
}
LARGEST = 8  # areas go up to this part of an image


@dataclass(frozen=True)
class Grid:
    """The values of each part, rising; those of areas begin with 0, which leaves the part out."""

    thresholds: tuple[float, ...]
    areas: tuple[int, ...]
    holes: tuple[int, ...]
    tops: tuple[float, ...]

    @classmethod
    def of(cls, pixels: int, fine: bool, border: bool = False) -> "Grid":
        """For images of `pixels` pixels. border: for objects with borders, or detected: an image holds many."""
        tenths = tuple(n / 10 for n in range(2, 9))
        most = max(1, pixels // LARGEST)
        if border:
            return cls(tuple(n / 20 for n in range(3, 18)), _powers(4, 2, most // 16), _powers(16, 4, most), tenths)
        if not fine:
            return cls(tenths, _powers(16, 8, most), _powers(64, 16, most), (0.5, 0.7, 0.9))
        return cls(tuple(n / 20 for n in range(1, 20)), _powers(4, 2, most), _powers(16, 4, most), (*tenths, 0.9, 0.95))


def _powers(first: int, factor: int, most: int) -> tuple[int, ...]:
    found = [0]
    while first <= most:
        found.append(first)
        first *= factor
    return tuple(found)


def axes_of(task: Task, grid: Grid, parts: Sequence[str], slides: bool = False, fine: bool = True) -> list[Axis]:
    """The axes of some PARTS that a task has, in the order in which they are searched.

    slides: parts that need a whole mask are left out. fine: a min_area of each class is tried too.
    Raises ValueError for a part that is not known.
    """
    if unknown := [part for part in parts if part not in KNOWN]:
        raise ValueError(f"a rule has no part {', '.join(unknown)} to tune: expected some of {', '.join(KNOWN)}")
    competing = task.outputs > 1 and not task.overlaps
    classes = len(task.foreground)
    axes = {
        "threshold": [] if competing else [lambda rule: _thresholds(rule, grid)],
        "min_area": [lambda rule: _areas(rule, "min_area", grid.areas)],
        "fill_holes": [] if slides else [lambda rule: _areas(rule, "fill_holes", grid.holes)],
        "keep_largest": [lambda rule: [replace(rule, keep_largest=not rule.keep_largest)]],
        "top_area": [] if slides else [lambda rule: _empties(rule, grid)],
        "per_class": [],
        "seed": [lambda rule: _seeds(rule, grid)],
        "seed_area": [lambda rule: _areas(rule, "seed_area", grid.areas) if rule.border and rule.seed else []],
    }
    if classes > 1:
        thresholds = [_class_threshold(k, grid) for k in range(classes)] if task.overlaps else []
        axes["per_class"] = thresholds + ([_class_area(k, classes, grid) for k in range(classes)] if fine else [])
    order = OF_BORDERS if {"seed", "seed_area"} & {*parts} else PARTS
    return [axis for part in dict.fromkeys((*order, *KNOWN)) if part in parts for axis in axes[part]]


def alike(one: Rule, other: Rule, grid: Grid) -> bool:
    """Whether two rules have the same parts with values that are at most one step of the grid apart."""
    step = grid.thresholds[1] - grid.thresholds[0] + 1e-9
    cuts = zip(_tuple(one.threshold), _tuple(other.threshold), strict=True)
    if one.keep_largest != other.keep_largest or any(abs(a - b) > step for a, b in cuts):
        return False
    count = max(len(_tuple(rule.min_area)) for rule in (one, other))
    areas = zip(*(_tuple(rule.min_area, count) for rule in (one, other)), strict=True)
    near = [_steps(a, b, grid.areas) for a, b in (*areas, (one.top_area, other.top_area))]
    if max(*near, _steps(one.fill_holes, other.fill_holes, grid.holes)) > 1:
        return False
    if (one.seed is None) != (other.seed is None) or (one.seed and abs(one.seed - other.seed) > step):
        return False
    if _steps(one.seed_area, other.seed_area, grid.areas) > 1:
        return False
    return not (one.top_area and other.top_area) or _steps(one.top, other.top, grid.tops) <= 1


def _tuple(value: float | tuple, count: int = 1) -> tuple:
    return value if isinstance(value, tuple) else (value,) * count


def _steps(one: float, other: float, values: Sequence[float]) -> int:
    """How many steps of a grid two values are apart; a value between two counts as the lower one."""
    return abs(sum(value <= one for value in values) - sum(value <= other for value in values))


def _nearest(values: Sequence[float], now: float) -> list[float]:
    """The values of a grid but that of now, the nearest first."""
    at = sum(value <= now for value in values) - 1
    order = sorted(range(len(values)), key=lambda place: (abs(place - at), place))
    return [values[place] for place in order if values[place] != now]


def _thresholds(rule: Rule, grid: Grid) -> list[Rule]:
    now = statistics.mode(rule.threshold) if rule.separate else rule.threshold
    values = _nearest(grid.thresholds, now)
    return [replace(rule, threshold=(value,) * len(rule.threshold) if rule.separate else value) for value in values]


def _seeds(rule: Rule, grid: Grid) -> list[Rule]:
    if not rule.border or rule.seed is None:
        return []
    return [replace(rule, seed=value) for value in _nearest(grid.thresholds, rule.seed)]


def _areas(rule: Rule, name: str, values: Sequence[int]) -> list[Rule]:
    now = getattr(rule, name)
    return [replace(rule, **{name: value}) for value in _nearest(values, now if isinstance(now, int) else min(now))]


def _empties(rule: Rule, grid: Grid) -> list[Rule]:
    """Every pair of a sure probability, at the threshold or above, and an area; and none."""
    least = min(_tuple(rule.threshold))
    tops = [value for value in grid.tops if value > least]
    if least not in tops:
        tops = [least, *tops]
    found = [replace(rule, top=top, top_area=area) for area in grid.areas[1:] for top in tops]
    return [replace(rule, top=0.5, top_area=0), *found] if rule.top_area else found


def _class_threshold(k: int, grid: Grid) -> Axis:
    """A threshold of one class, half way between each value and the common one."""

    def axis(rule: Rule) -> list[Rule]:
        common, cuts = statistics.mode(rule.threshold), rule.threshold
        values = [round((common + value) / 2, 4) for value in _nearest(grid.thresholds, common)]
        return [replace(rule, threshold=(*cuts[:k], value, *cuts[k + 1 :])) for value in (common, *values)]

    return axis


def _class_area(k: int, classes: int, grid: Grid) -> Axis:
    def axis(rule: Rule) -> list[Rule]:
        areas = _tuple(rule.min_area, classes)
        values = _nearest(grid.areas, areas[k])
        return [replace(rule, min_area=(*areas[:k], value, *areas[k + 1 :])) for value in values]

    return axis
