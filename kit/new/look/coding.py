"""Do the values of masks hold a class and a number each: class * 1000 + number, as Cityscapes' instanceIds?

Values below 1000 are then classes whose objects are not counted, as road and sky. Objects that are merely numbered fill
one row of numbers from 1 on; these begin anew in each thousand, at 0 or 1, and leave its upper half free.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from kit.new.look.numbers import MOST_CLASSES

BASES = (1000, 256)  # Cityscapes and ScanNet; Mapillary Vistas and KITTI
UNKNOWN = 65535  # of 16 bits: no class and no number
LEAST = 3  # values with a number
TOP_CLASS = 255
DENSE = 0.5  # of the numbers up to the largest of a class, how many must be there


class Coding(NamedTuple):
    """base: a value is class * base + number. numbers: of each class, sorted. plain: the values without a number."""

    base: int
    numbers: dict[int, tuple[int, ...]]
    plain: tuple[int, ...]

    def __str__(self) -> str:
        parts = [self._part(name) for name in self.numbers]
        more = f" and {len(parts) - 4} more classes" * (len(parts) > 4)
        return f"values look like class * {self.base} + number: {', '.join(parts[:4])}{more}"

    @property
    def count(self) -> int:
        """How many different values hold a number."""
        return sum(map(len, self.numbers.values()))

    def _part(self, name: int) -> str:
        first, last = (name * self.base + number for number in (self.numbers[name][0], self.numbers[name][-1]))
        return f"{first} to {last} of class {name}" if last > first else f"{first} of class {name}"


def coding_of(values: Iterable) -> Coding | None:
    """The coding of all values that a sample of masks holds; None where they hold no class beside a number."""
    known = sorted(value for value in values if value != 0)
    if not all(isinstance(value, int) for value in known):
        return None
    return next(filter(None, (_by(base, known) for base in BASES)), None)


def _by(base: int, values: list[int]) -> Coding | None:
    plain = tuple(value for value in values if value < base or value == UNKNOWN)
    coded = itertools.groupby((value for value in values if base <= value < UNKNOWN), lambda value: value // base)
    numbers = {name: tuple(value % base for value in own) for name, own in coded}
    coding = Coding(base, numbers, plain)
    if len(plain) > MOST_CLASSES or coding.count < LEAST or max(numbers) > TOP_CLASS:
        return None
    if len(numbers) == 1 and base != BASES[0]:
        return None  # a few objects that are numbered on from 255
    tops = [own[-1] + 1 for own in numbers.values()]
    is_counted = max(tops) <= base // 2 and coding.count >= DENSE * sum(tops) and coding.count > len(numbers)
    return coding if is_counted else None
