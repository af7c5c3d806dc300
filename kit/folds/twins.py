"""Groups that look like one group: their colours are compared, and the nearest pairs are shown, ranked.

A histogram of hue, saturation and value in 12 × 6 × 8 cells is taken over all images of a group. The distance of two
groups is Hellinger's, the length of the difference of the square roots over √2, 0 to 1. On 512 photographs of 32 cars
in one studio a perceptual hash cannot say which photographs show one car; this distance can, but not without false
alarms. So it ranks pairs for a person to look at, and fails nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kit.folds.looks import Look

MOST = 20  # pairs that are shown
ROWS = 512  # groups whose distances to all others are in memory


@dataclass(frozen=True)
class Twins:
    """Two groups that look alike. distance: Hellinger's, 0..1. images: one of each, the two that are nearest."""

    first: str
    second: str
    distance: float
    images: tuple[str, str]


def group_twins(looks: Mapping[str, Look], groups: Mapping[str, str], most: int = MOST) -> list[Twins]:
    """The pairs of groups with the nearest colours. groups: of each image; images without a group are left out."""
    members: dict[str, list[str]] = {}
    for id, group in groups.items():
        if id in looks and not looks[id].is_flat:
            members.setdefault(group, []).append(id)
    names = list(members)
    if len(names) < 2:
        return []
    plain = np.mean([looks[id].is_grey for id in groups if id in looks]) > 0.5
    cells = np.stack([_cells(looks, members[name], plain) for name in names])
    return [
        Twins(names[i], names[j], distance, _nearest(looks, members[names[i]], members[names[j]], plain))
        for distance, i, j in _nearest_pairs(cells, most)
    ]


def _vector(one: Look, plain: bool) -> np.ndarray:
    return one.greys if plain else one.colours


def _cells(looks: Mapping[str, Look], ids: list[str], plain: bool) -> np.ndarray:
    """The square roots of the mean histogram of some images."""
    return np.sqrt(np.mean([_vector(looks[id], plain) ** 2 for id in ids], axis=0))


def _nearest_pairs(cells: np.ndarray, most: int) -> list[tuple[float, int, int]]:
    """The pairs of rows with the smallest distances."""
    found: list[tuple[float, int, int]] = []
    for first in range(0, len(cells), ROWS):
        shared = np.clip(cells[first : first + ROWS] @ cells.T, 0, 1)  # Bhattacharyya's coefficient
        distances = np.sqrt(1 - shared)
        distances[np.arange(len(cells))[None] <= first + np.arange(len(shared))[:, None]] = np.inf
        nearest = np.argpartition(distances, min(most, distances.size - 1), axis=None)[:most]
        for i, j in zip(*np.unravel_index(nearest, distances.shape), strict=True):
            if np.isfinite(distances[i, j]):
                found.append((float(distances[i, j]), first + int(i), int(j)))
        found = sorted(found)[:most]
    return found


def _nearest(looks: Mapping[str, Look], ones: list[str], others: list[str], plain: bool) -> tuple[str, str]:
    """The image of each group that is nearest to one of the other's."""
    a, b = (np.stack([_vector(looks[id], plain) for id in ids]) for ids in (ones, others))
    i, j = np.unravel_index(np.argmax(a @ b.T), (len(a), len(b)))
    return ones[int(i)], others[int(j)]
