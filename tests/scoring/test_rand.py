"""Rand and information scores against the paper's sums over pairs of pixels, and on cells that are counted by hand."""

import sys
from itertools import combinations

import numpy as np
import pytest

from kit.scoring import InformationScore, RandScore, information_score, rand_score
from kit.scoring.rand import _segments

pytest.importorskip("skimage")


def by_pairs(true, predicted):
    """V_Rand from every pair of two pixels inside true cells."""
    inside = [(t, s) for t, s in zip(true.ravel().tolist(), predicted.ravel().tolist(), strict=True) if t]
    pairs = list(combinations(inside, 2))
    both = sum(a == b for a, b in pairs)
    in_truth, in_prediction = (sum(a[k] == b[k] for a, b in pairs) for k in (0, 1))
    return both / (0.5 * in_truth + 0.5 * in_prediction)


def by_entropies(true, predicted):
    """V_Info as I(S; T) over the mean of the entropies, from shares of pixels inside true cells."""
    inside = [(t, s) for t, s in zip(true.ravel().tolist(), predicted.ravel().tolist(), strict=True) if t]

    def entropy(values):
        shares = np.array([values.count(one) for one in set(values)]) / len(values)
        return -np.sum(shares * np.log(shares))

    alone = [entropy([pair[k] for pair in inside]) for k in (0, 1)]
    return (sum(alone) - entropy(inside)) / (0.5 * sum(alone))


def test_scores_are_the_papers_sums():
    rng = np.random.default_rng(0)
    for n in range(6):
        truth, prediction = (rng.random((14, 17)) < 0.75 for _ in range(2))
        truth, prediction = truth.astype(np.uint8), prediction.astype(np.uint8)
        if n % 2:  # label images, with gaps
            truth, prediction = (np.kron(rng.integers(0, 4, (7, 8)), np.ones((2, 2), int)) for _ in range(2))
            truth, prediction = (np.array([0, 3, 700, 40_000], np.int32)[one] for one in (truth, prediction))
        true, predicted = _segments(truth, prediction)
        assert predicted.all()
        assert rand_score(truth, prediction) == pytest.approx(by_pairs(true, predicted), abs=1e-12)
        assert information_score(truth, prediction) == pytest.approx(by_entropies(true, predicted), abs=1e-12)


def grid(width=1, side=24, cell=8):
    """Square cells, parted by lines of `width` pixels around every eighth."""
    lines = np.arange(side) % cell >= cell - width
    mask = np.ones((side, side), np.uint8)
    mask[lines], mask[:, lines] = 0, 0
    return mask


def test_the_width_of_membranes_does_not_count_and_gaps_do():
    truth = grid(2)
    for width in (1, 2, 3):
        assert rand_score(truth, grid(width)) == information_score(truth, grid(width)) == 1, width
    open_door = grid(2)
    open_door[3, 6:8] = 1  # merges two of nine cells of 36 pixels
    pairs = 36 * 35 / 2
    assert rand_score(truth, open_door) == pytest.approx(
        9 * pairs / (0.5 * 9 * pairs + 0.5 * (7 * pairs + 72 * 71 / 2))
    )
    nine, eight = np.log(9), (7 * np.log(9) + 2 * np.log(4.5)) / 9
    assert information_score(truth, open_door) == pytest.approx(2 * eight / (nine + eight))
    corner = np.ones((16, 16), np.uint8)
    corner[:8, 8:], corner[8:, :8] = 0, 0  # two cells that touch at a corner are apart
    assert _segments(corner, corner)[0].max() == 2


def test_thinned_lines_are_one_pixel_wide_and_each_pixel_of_them_a_segment():
    truth, prediction = np.ones((9, 20), np.uint8), np.ones((9, 20), np.uint8)
    prediction[:, 6:14] = 0  # a band of 8, where truth has one cell
    _, predicted = _segments(truth, prediction)
    sizes = np.bincount(predicted.ravel())
    assert sorted(sizes[sizes > 1].tolist(), reverse=True)[0] <= 9 * 10
    assert (sizes == 1).sum() in range(9, 19)  # one or, between columns, two a row
    assert rand_score(truth, prediction) == pytest.approx(by_pairs(truth.astype(int), predicted))


def test_images_without_cells_and_ignored_pixels():
    truth, empty = grid(), np.zeros((24, 24), np.uint8)
    assert rand_score(truth, empty) == 0  # every pixel by itself
    assert information_score(truth, np.ones_like(truth)) == pytest.approx(0, abs=1e-12)  # all one cell says nothing
    assert (
        rand_score(np.ones_like(truth), np.ones_like(truth))
        == information_score(np.ones_like(truth), truth * 0 + 1)
        == 1
    )
    dots = np.zeros((5, 5), np.uint8)
    dots[::2, ::2] = 1
    assert rand_score(dots, dots) == information_score(dots, dots) == 1  # segments of a pixel each
    ignored = truth.copy()
    ignored[:8] = 255
    wrong = truth.copy()
    wrong[:6] = 1  # merges cells where nothing counts
    assert rand_score(ignored, wrong) == rand_score(ignored, truth) == 1
    for metric in (RandScore(), InformationScore()):
        assert np.isnan(rand_score(empty, truth))
        np.testing.assert_array_equal(metric.counts(empty, truth), [0, 0])  # does not count in the mean
        sums = metric.counts(truth, truth) + metric.counts(empty, truth) + metric.counts(truth, empty)
        assert sums[1] == 2
        assert metric.score(sums) == pytest.approx((1 + metric.counts(truth, empty)[0]) / 2)
    with pytest.raises(ValueError, match="of one size"):
        rand_score(truth, truth[1:])


def test_without_scikit_image_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)  # as if it were not installed
    with pytest.raises(ImportError, match="need scikit-image, which is not installed: pip install scikit-image"):
        RandScore().counts(grid(), grid())
