"""ECE against bins of single pixels in plain loops, and against what a calibrated network must have."""

from fractions import Fraction

import numpy as np
import pytest

from kit.scoring import (
    band_histogram,
    calibration_error,
    confidence_histograms,
    interval_of_calibration,
    interval_of_score,
    level_histogram,
    reliability,
)


def plain_error(histogram, bins):
    """Fill bins of equal size with the pixels in the order of their levels, a level's pixels all alike."""
    size = Fraction(int(histogram.sum()), bins)
    room, error, probability, foreground = size, Fraction(0), Fraction(0), Fraction(0)
    for level in range(256):
        pixels = Fraction(int(histogram[:, level].sum()))
        share = Fraction(int(histogram[1, level])) / pixels if pixels else 0
        while pixels:
            taken = min(pixels, room)
            probability += taken * Fraction(2 * level + 1, 512)
            foreground += taken * share
            pixels, room = pixels - taken, room - taken
            if not room:
                error += abs(probability - foreground)
                room, probability, foreground = size, Fraction(0), Fraction(0)
    return float(error / int(histogram.sum()))


def histograms(count, seed=0):
    random = np.random.default_rng(seed)
    weights = np.exp(-np.arange(256) / random.uniform(10, 90, (count, 2, 1)))
    weights[:, 1] = weights[:, 1, ::-1]
    found = random.poisson(300 * weights)
    found[:, :, random.integers(0, 256, 80)] = 0  # levels that do not occur
    return found


@pytest.mark.parametrize("bins", [1, 2, 15, 40])
def test_bins_hold_equally_many_pixels(bins):
    found = histograms(8)
    assert calibration_error(found, bins) == pytest.approx([plain_error(one, bins) for one in found], rel=1e-9)
    assert calibration_error(found[0], bins) == pytest.approx(plain_error(found[0], bins))


def test_one_level_alone_is_the_plain_difference():
    histogram = np.zeros((2, 256), int)
    histogram[:, 191] = 300, 700  # probability (191 + 0.5) / 256 = 0.748
    assert calibration_error(histogram) == pytest.approx(191.5 / 256 - 0.7)
    share, probability, foreground = reliability(histogram, 4)
    assert share.tolist() == [0.25] * 4
    assert probability == pytest.approx([191.5 / 256] * 4)
    assert foreground == pytest.approx([0.7] * 4)


def test_a_calibrated_network_has_no_error_and_a_bold_one_has():
    random = np.random.default_rng(3)
    probabilities = random.beta(0.4, 0.4, 400_000)
    truth = (random.random(len(probabilities)) < probabilities).astype(np.uint8)
    levels = np.floor(256 * probabilities).clip(0, 255).astype(np.uint8)
    assert calibration_error(level_histogram(truth, levels)) < 0.004
    bold = np.where(levels >= 128, 255, 0).astype(np.uint8)
    expected = np.abs(np.where(bold > 0, 255.5 / 256 - truth, 0.5 / 256 - truth)[bold > 0].mean()) * np.mean(bold > 0)
    expected += np.abs((0.5 / 256 - truth)[bold == 0].mean()) * np.mean(bold == 0)
    assert calibration_error(level_histogram(truth, bold), 100) == pytest.approx(expected, abs=0.003)


def test_every_shape_and_no_pixel():
    found = histograms(6)
    assert calibration_error(found.reshape(2, 3, 2, 256)).shape == (2, 3)
    assert [part.shape for part in reliability(found.reshape(2, 3, 2, 256), 7)] == [(2, 3, 7)] * 3
    assert calibration_error(np.zeros((0, 2, 256))).shape == (0,)
    found[2] = 0
    assert np.isnan(calibration_error(found)).tolist() == [k == 2 for k in range(6)]
    with pytest.raises(ValueError, match=r"there is a bin or more; got \(6, 256\) and 15"):
        calibration_error(found[:, 0])
    with pytest.raises(ValueError, match="and 0"):
        calibration_error(found, 0)


def test_the_interval_is_that_of_the_score_over_groups():
    found, groups = histograms(12), np.repeat(np.arange(4), 3)
    interval = interval_of_calibration(found, groups)
    assert interval.value == pytest.approx(plain_error(found.sum(axis=0), 15))
    without = [plain_error(found[groups != name].sum(axis=0), 15) for name in range(4)]
    values = dict(zip([tuple(found[groups != name].sum(axis=0).ravel()) for name in range(4)], without, strict=True))
    values[tuple(found.sum(axis=0).ravel())] = interval.value
    plain = interval_of_score(
        found.reshape(12, -1),
        groups,
        lambda sums: np.array([values[tuple(row.astype(int))] for row in sums]),
        logit=True,
    )
    assert interval[:4] == pytest.approx(plain[:4])
    found[:, 1], found[:, 0] = 0, 0
    found[:, 1, 250], found[np.arange(12), 0, 200] = 1000, 300 * np.arange(12) ** 3  # one group has most errors
    low, high = interval_of_calibration(found, np.arange(12))[1:3]
    assert 0 < low < high < 1


def test_the_confidence_of_the_predicted_class_is_counted_pixel_by_pixel():
    random = np.random.default_rng(4)
    truth = np.kron(random.integers(3, size=(5, 6)), np.ones((8, 9))).astype(np.uint8)
    truth[:5, :7] = 255
    prediction, levels = random.integers(3, size=truth.shape).astype(np.uint8), random.integers(256, size=truth.shape)
    found = confidence_histograms(truth, prediction, levels.astype(np.uint8), share=0.03)  # 2 pixels of 67
    expected = np.zeros((2, 2, 256), int)
    for (y, x), label in np.ndenumerate(truth):
        if label != 255:
            around = truth[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
            for part in (0, 1) if (around != label).any() else (0,):
                expected[part, int(label == prediction[y, x]), levels[y, x]] += 1
    np.testing.assert_array_equal(found, expected)


def test_the_band_is_what_is_near_an_outline_of_the_truth():
    random = np.random.default_rng(4)
    truth = np.zeros((60, 80), np.uint8)
    truth[20:, 30:50] = 1  # it touches the lower edge of the image, which is no outline
    truth[25:30, 28:33] = 255
    levels = random.integers(0, 256, truth.shape, dtype=np.uint8)
    width = 3
    near = np.zeros(truth.shape, bool)
    for y, x in np.ndindex(truth.shape):
        around = truth[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1] == 1
        near[y, x] = around.any() and not around.all()
    expected = np.zeros((2, 256), int)
    for label in (0, 1):
        expected[label] = np.bincount(levels[near & (truth == label)], minlength=256)
    np.testing.assert_array_equal(band_histogram(truth, levels, share=0.03), expected)
    assert not band_histogram(np.zeros_like(truth), levels).any()
    whole = level_histogram(truth, levels)
    assert (band_histogram(truth, levels) <= whole).all()
