"""HD95 and the normalised surface distance against all pairs of border pixels, and on shapes counted by hand."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, directed_hausdorff

from kit.scoring import MeanSurfaceDice, hd95, mean_hd95, surface_dice, surface_distances


def plain_border(mask):
    height, width = mask.shape
    points = []
    for y, x in np.argwhere(mask):
        around = ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if any(not (0 <= i < height and 0 <= j < width) or not mask[i, j] for i, j in around):
            points.append((y, x))
    return np.array(points)


def plain_distances(true, predicted):
    every = cdist(plain_border(true), plain_border(predicted))
    return every.min(axis=1), every.min(axis=0)


def masks(seed, shape=(24, 31)):
    random = np.random.default_rng(seed)
    return [np.kron(random.random((6, 8)) < 0.4, np.ones((4, 4), bool))[: shape[0], : shape[1]] for _ in range(2)]


@pytest.mark.parametrize("seed", range(6))
def test_random_masks_are_all_pairs(seed):
    true, predicted = masks(seed)
    found, expected = surface_distances(true, predicted), plain_distances(true, predicted)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.sort(one), np.sort(other), rtol=1e-12)
    assert found.hd95() == pytest.approx(max(np.percentile(one, 95) for one in expected))
    for tolerance in (0, 1, 2.5, 100):
        near = sum(np.count_nonzero(one <= tolerance) for one in expected)
        assert found.within(tolerance) == pytest.approx(near / sum(map(len, expected)))
    whole = max(
        directed_hausdorff(*ends)[0]
        for ends in ((plain_border(true), plain_border(predicted)), (plain_border(predicted), plain_border(true)))
    )
    assert max(map(np.max, found)) == pytest.approx(whole)
    labels = [mask.astype(np.uint8) for mask in (true, predicted)]
    assert hd95(*labels, 2)[1] == found.hd95()
    assert surface_dice(*labels, 2)[1] == found.within(2)


def test_a_square_three_pixels_to_the_right():
    true, predicted = np.zeros((2, 40, 60), bool)
    true[10:30, 10:30], predicted[10:30, 13:33] = True, True
    found = surface_distances(true, predicted)
    assert len(found.of_truth) == 76
    assert found.hd95() == 3  # both upright sides, half of the border
    # rows 10 and 29 share 17 columns; columns 10 to 12 and the upright sides are 1 to 3 pixels away
    assert sorted(np.round(found.of_truth, 9))[:34] == [0] * 34
    assert found.within(2.9) < found.within(3) == 1


def test_it_is_the_larger_of_both_directions():
    """A false object far away shows in the distances of the prediction alone."""
    true = np.zeros((40, 40), bool)
    true[5:25, 5:25] = True
    predicted = true.copy()
    predicted[33:39, 33:39] = True  # 20 more border pixels
    found = surface_distances(true, predicted)
    assert np.percentile(found.of_truth, 95) == 0
    assert found.hd95() == np.percentile(found.of_prediction, 95) > 10
    assert found.hd95() > np.percentile(np.concatenate(found), 95)


def test_empty_masks_are_counted_apart():
    empty, some = np.zeros((2, 8, 9), np.uint8)
    some[2:5, 2:6] = 1
    values = [hd95(*pair, 2)[1] for pair in ((empty, empty), (empty, some), (some, empty), (some, some))]
    assert values == pytest.approx([0, np.nan, np.nan, 0], nan_ok=True)
    assert mean_hd95([*values, 3.0]) == (1.0, 2)
    assert mean_hd95([np.nan]) == (pytest.approx(np.nan, nan_ok=True), 1)
    assert np.isnan(surface_dice(empty, empty, 2)[1])
    assert surface_dice(empty, some, 2)[1] == surface_dice(some, empty, 2, tolerance=1e9)[1] == 0
    metric = MeanSurfaceDice()
    sums = sum(metric.counts(*pair) for pair in ((empty, empty), (empty, some), (some, some)))
    assert metric.score(sums) == pytest.approx(2 / 3)


def test_the_metric_is_the_mean_over_classes_and_the_edge_of_the_image_a_border():
    truth = np.kron(np.random.default_rng(1).integers(0, 3, (5, 6)), np.ones((5, 5), int)).astype(np.uint8)
    prediction = np.roll(truth, 2, axis=1)
    truth[:3, :3] = 255
    scored = truth != 255
    expected = []
    for k in (1, 2):
        both = plain_distances(truth == k, (prediction == k) & scored)
        expected.append(sum(np.count_nonzero(one <= 1) for one in both) / sum(map(len, both)))
    assert MeanSurfaceDice(3, tolerance=1.0).counts(truth, prediction) == pytest.approx([sum(expected), 2])
    assert len(surface_distances(*np.ones((2, 7, 9), bool)).of_truth) == 2 * 9 + 2 * 5
    with pytest.raises(ValueError, match="tolerance is a distance in pixels, 0 or more; got -1"):
        surface_dice(truth, prediction, 3, tolerance=-1)
    with pytest.raises(ValueError, match=r"masks bool \(H, W\) of one shape, got uint8"):
        surface_distances(truth, prediction)


def test_a_large_outline_is_fast():
    import time

    y, x = np.mgrid[:1280, :1918]
    true, predicted = ((y - 640) ** 2 + (x - 900 - shift) ** 2 < 500**2 for shift in (0, 7))
    surface_distances(true, predicted)
    began = time.perf_counter()
    assert 6 < surface_distances(true, predicted).hd95() <= 7
    assert time.perf_counter() - began < 1  # about 0.03 s
