"""Series of neighbouring frames: images whose numbers follow each other and that look more alike than others do.

Ids are ordered by their last number; what stands before and after it names the series. A series is one of neighbours
when most images are more like the next one than like the other images of the series. Two frames that follow each other
in training and in validation make a score that new scenes will not reach.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from kit.folds.looks import Look

LEAST = 12  # images in a series: with fewer the order cannot be seen
SMALL = 24  # pixels along the squares that are compared
ALIKE = 0.15  # mean share of the other images that are more like an image than the next one is; 0.5 by chance
SURE = 4.0  # standard errors that this mean lies below chance
NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$", re.DOTALL)


@dataclass(frozen=True)
class Sequence:
    """A series of neighbouring images: its ids in order, how many steps lead from one place to another.

    places: a fold, or a group where there are no folds. closer: the mean share of the other images that are more like
    an image than its next one. steps: pairs of neighbours in two places.
    """

    name: str
    ids: tuple[str, ...]
    places: int
    closer: float
    steps: tuple[tuple[str, str], ...]

    @property
    def is_split(self) -> bool:
        """Whether neighbours stand in two places."""
        return bool(self.steps)


def find_sequences(looks: Mapping[str, Look], places: Mapping[str, str]) -> list[Sequence]:
    """The series of neighbouring images; those that are split most often first."""
    series: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for id in places:
        if (match := NUMBER.match(id)) and not looks[id].is_flat:
            series.setdefault((match[1], match[3]), []).append((int(match[2]), id))
    found = []
    for (front, end), numbered in series.items():
        ids = tuple(id for _, id in sorted(numbered))
        if len(ids) >= LEAST and (closer := _closer(ids, looks)) is not None:
            steps = tuple((a, b) for a, b in itertools.pairwise(ids) if places[a] != places[b])
            found.append(Sequence(f"{front}…{end}", ids, len({places[id] for id in ids}), closer, steps))
    return sorted(found, key=lambda one: (-len(one.steps), one.name))


def _closer(ids: tuple[str, ...], looks: Mapping[str, Look]) -> float | None:
    """The mean share of the other images that are more like an image than its next one; None: no more than chance."""
    squares = np.stack([cv2.resize(looks[id].square, (SMALL, SMALL), interpolation=cv2.INTER_AREA) for id in ids])
    rows = squares.reshape(len(ids), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    shares = []
    for i in range(len(ids) - 1):
        alike = rows @ rows[i]
        others = np.delete(alike, [i, i + 1])
        shares.append(float((others > alike[i + 1]).mean()))
    mean = float(np.mean(shares))
    error = np.sqrt(1 / 12 / len(shares))  # of a mean of numbers that are even between 0 and 1
    return mean if mean <= ALIKE and mean <= 0.5 - SURE * error else None
