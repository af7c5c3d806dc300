"""Masks drawn for the tests of a submission: (H, W) u8 of 0 and 1."""

import cv2
import numpy as np


def discs(rng, height, width):
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        axes = [int(rng.integers(4, max(5, min(height, width) // part))) for part in (2, 3)]
        cv2.ellipse(mask, _point(rng, height, width), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask


def one_big(rng, height, width):
    mask = np.zeros((height, width), np.uint8)
    axes = [int(rng.uniform(0.2, 0.45) * side) for side in (width, height)]
    cv2.ellipse(mask, (width // 2, height // 2), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask


def nearly_full(rng, height, width):
    return 1 - discs(rng, height, width)


def small_components(rng, height, width):
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(10, 150)):
        cv2.circle(mask, _point(rng, height, width), int(rng.integers(1, 6)), 1, -1)
    return mask


def thin_lines(rng, height, width):
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 5)):
        cv2.line(mask, _point(rng, height, width), _point(rng, height, width), 1, int(rng.integers(1, 4)))
    return mask


def level_lines(rng, height, width):
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 6)):
        row, slope = int(rng.integers(height)), rng.uniform(-0.02, 0.02)
        ends = (int(rng.integers(width // 3)), row), (int(width - rng.integers(width // 3)), int(row + slope * width))
        cv2.line(mask, *ends, 1, int(rng.integers(1, 4)))
    return mask


def text(rng, height, width):
    mask = np.zeros((height, width), np.uint8)
    for row in range(10, height, int(rng.integers(14, 30))):
        letters = "".join(rng.choice(list("abcdefgh KLM123"), size=width // 12))
        cv2.putText(mask, letters, (int(rng.integers(10)), row), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1, 1)
    return mask


def bands(rng, height, width):
    mask = np.zeros((height, width), np.uint8)
    row = int(rng.integers(height - 4))
    mask[row : row + int(rng.integers(1, height // 2))] = 1
    return mask


def noise(rng, height, width):
    return (rng.random((height, width)) < rng.uniform(0.02, 0.6)).astype(np.uint8)


def turned(draw):
    """The same, rows and columns exchanged."""
    return lambda rng, height, width: np.ascontiguousarray(draw(rng, width, height).T)


def _point(rng, height, width):
    return int(rng.integers(width)), int(rng.integers(height))
