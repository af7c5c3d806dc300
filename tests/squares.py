"""Squares that are found, eroded, missed, added, split and merged: truth and prediction whose every object is known."""

import numpy as np

from kit.scoring.matching import KINDS

SIDE = 8  # of the squares of `scene`


def scene(seed, cells=(3, 4)):
    """Squares with labels that have gaps, each found in one of six ways; the counts of what became of them.

    A cell is 2 × 4 squares. A square that is eroded by one pixel has an IoU of 36/64, above 0.55 and not above 0.6.
    """
    random = np.random.default_rng(seed)
    truth, found = np.zeros((2, cells[0] * 2 * SIDE, cells[1] * 4 * SIDE), np.int32)
    counts = {"true": dict.fromkeys(KINDS[1:], 0), "predicted": dict.fromkeys(KINDS[1:], 0)}
    for number, way in enumerate(random.integers(0, 6, cells[0] * cells[1])):
        y, x = number // cells[1] * 2 * SIDE, number % cells[1] * 4 * SIDE
        square, own = (slice(y, y + SIDE), slice(x, x + SIDE)), 10 * number + 3
        if way != 3:
            truth[square] = own
        if way in (0, 1):  # exact, eroded
            found[y + way : y + SIDE - way, x + way : x + SIDE - way] = own
            kind, others = "hit", ["hit"]
        elif way == 2:
            kind, others = "missed", []
        elif way == 3:
            found[square] = own
            kind, others = None, ["extra"]
        elif way == 4:  # two halves: an IoU of 0.5 is no hit
            found[y : y + SIDE // 2, x : x + SIDE], found[y + SIDE // 2 : y + SIDE, x : x + SIDE] = own, own + 1
            kind, others = "split", ["split"] * 2
        else:  # a second square, and one prediction of both with the gap between them
            truth[y : y + SIDE, x + 2 * SIDE : x + 3 * SIDE] = own + 1
            found[y : y + SIDE, x : x + 3 * SIDE] = own
            kind, others = "merged", ["merged"]
        if kind:
            counts["true"][kind] += 1 + (way == 5)
        for other in others:
            counts["predicted"][other] += 1
    return truth, found, counts


def scenes(count=12):
    """Several of these, one without objects and two of which one mask has none."""
    pairs = [scene(seed) for seed in range(count)]
    empty = np.zeros_like(pairs[0][0])
    return [(truth, found) for truth, found, _ in pairs] + [(empty, empty), (pairs[0][0], empty), (empty, pairs[0][1])]
