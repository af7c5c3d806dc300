"""How often the 95 % interval holds the true score, by simulation: drawn groups whose true score is known.

Each cell draws groups of images, sums them and asks for the interval. The slow test draws 4,000 times a cell and holds
the bars; the fast one draws less and allows for it.

    equal        16 images in each group; its mean score is normal, 0.95 ± 0.02
    unequal      1 to 60 images, else the same
    lognormal    16 images; the error of a group is 0.01 · exp(z)
    tied         1 to 60 images; the error of a group grows with its size, times exp(z / 2)
    tied_skewed  the same times exp(z)
"""

import numpy as np
import pytest

from kit.scoring import MeanIoU, interval, interval_of_metric

GROUPS = (3, 5, 7, 10, 20, 30)
BARS = {
    "equal": (0.94, 0.96),
    "unequal": (0.93, 0.99),
    "lognormal": (0.84, 0.97),
    "tied": (0.88, 0.97),
    "tied_skewed": (0.87, 0.97),
}
SIZES = np.arange(1, 61)
WEIGHTED = np.sum(SIZES * SIZES) / SIZES.sum()  # the size of the group of an image drawn at random


def draw(cell, count, times, random):
    """Sizes and mean scores (times, count) of groups, and the true score."""
    z = random.standard_normal((times, count))
    sizes = np.full(z.shape, 16) if cell in ("equal", "lognormal") else random.choice(SIZES, z.shape)
    if cell in ("equal", "unequal"):
        return sizes, 0.95 + 0.02 * z, 0.95
    if cell == "lognormal":
        return sizes, 1 - 0.01 * np.exp(z), 1 - 0.01 * np.exp(0.5)
    spread = 0.5 if cell == "tied" else 1
    error = 0.0002 * np.exp(spread * z)
    return sizes, 1 - error * sizes, 1 - 0.0002 * np.exp(spread**2 / 2) * WEIGHTED


def simulate(cell, count, times):
    """The share of intervals that hold the true score, and the share with a warning of skew."""
    sizes, scores, true = draw(cell, count, times, np.random.default_rng([count, *cell.encode()]))
    found = [interval(score * size, size, range(count)) for score, size in zip(scores, sizes, strict=True)]
    holds = np.mean([one.low <= true <= one.high for one in found])
    return holds, np.mean(["skewed" in one.note for one in found])


@pytest.mark.parametrize("cell", BARS)
@pytest.mark.parametrize("count", [3, 7, 20])
def test_coverage_of_few_simulations(cell, count):
    low, high = BARS[cell]
    holds, _ = simulate(cell, count, 500)
    assert low - 0.03 <= holds <= high + 0.03  # three standard errors of a share of 500


@pytest.mark.slow
def test_coverage():
    shown, failed = [], []
    for cell, (low, high) in BARS.items():
        for count in GROUPS:
            holds, warned = simulate(cell, count, 4000)
            shown.append(f"{cell:12} G={count:2}: holds {100 * holds:.1f} %, warned {100 * warned:.0f} %")
            if not low <= holds <= high:
                failed.append(shown[-1])
            if cell == "equal" and count >= 5:
                assert warned < 0.08
            if cell in ("lognormal", "tied", "tied_skewed") and count >= 20:
                assert warned > 0.85
    print("", *shown, sep="\n")
    assert not failed, failed


def draw_matrices(shape, random):
    """Confusion matrices (*shape, 9) of groups: each class has an own size and an own share of hits in each group."""
    sizes = random.uniform((400, 100, 20), (600, 200, 60), (*shape, 3))
    hits = 1 / (1 + np.exp(-random.normal((3, 2, 1.5), 0.5, (*shape, 3))))
    matrices = np.zeros((*shape, 3, 3))
    for k in range(3):
        matrices[..., k, k] = sizes[..., k] * hits[..., k]
        matrices[..., k, (k + 1) % 3] = sizes[..., k] * (1 - hits[..., k])
    return matrices.reshape(*shape, 9)


@pytest.mark.slow
def test_coverage_of_a_mean_over_classes():
    metric = MeanIoU(3)
    true = float(metric.score(draw_matrices((400_000,), np.random.default_rng(0)).sum(axis=0)))
    for count in (3, 5, 10, 30):
        matrices = draw_matrices((4000, count), np.random.default_rng(count))
        found = [interval_of_metric(metric, counts, range(count)) for counts in matrices]
        holds = np.mean([one.low <= true <= one.high for one in found])
        print(f"mean IoU     G={count:2}: holds {100 * holds:.1f} %")
        assert 0.93 <= holds <= 0.97
