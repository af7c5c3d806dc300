"""Metrics against scikit-learn, NumPy and a matrix worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from kit.scoring import confusion as metrics

HAND = np.array([[5, 1, 0], [2, 3, 0], [0, 4, 0]])  # rows are truth: 6, 5 and 4 pixels


def plain_matrix(truth, prediction, num_classes, ignore_index=255):
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for t, p in zip(np.ravel(truth).tolist(), np.ravel(prediction).tolist(), strict=True):
        if t != ignore_index:
            matrix[t, p] += 1
    return matrix


def patches(seed, shape, num_classes, ignored=True):
    """Truth and prediction with areas of one class, edges and noise, as masks have them."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, num_classes, -(-np.prod(shape) // 13)), 13)[: np.prod(shape)].astype(np.uint8)
    prediction = np.roll(truth, 3)
    noise = rng.random(truth.size) < 0.1
    prediction[noise] = rng.integers(0, num_classes, noise.sum())
    if ignored:
        truth[rng.random(truth.size) < 0.05] = 255
    return truth.reshape(shape), prediction.reshape(shape)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 300), st.integers(1, 30))
def test_matrix_is_the_plain_count(seed, size, num_classes):
    truth, prediction = patches(seed, (size,), num_classes)
    matrix = metrics.confusion_matrix(truth, prediction, num_classes)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, plain_matrix(truth, prediction, num_classes))


def test_matrix_is_scikit_learns():
    truth, prediction = patches(1, (3, 41, 57), 21)
    seen = truth != 255
    expected = sklearn_metrics.confusion_matrix(truth[seen], prediction[seen], labels=range(21))
    np.testing.assert_array_equal(metrics.confusion_matrix(truth, prediction, 21), expected)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.int32, np.int64, np.uint64])
def test_other_integers_count_the_same(dtype):
    truth, prediction = patches(2, (20, 30), 9, ignored=False)
    expected = plain_matrix(truth, prediction, 9, ignore_index=4)
    np.testing.assert_array_equal(
        metrics.confusion_matrix(truth.astype(dtype), prediction.astype(dtype), 9, ignore_index=4), expected
    )
    np.testing.assert_array_equal(metrics.confusion_matrix(truth, prediction, 9, ignore_index=4), expected)


def test_bools_negative_ignore_index_and_many_classes():
    truth, prediction = np.array([True, True, False]), np.array([True, False, False])
    np.testing.assert_array_equal(metrics.confusion_matrix(truth, prediction, 2), [[1, 0], [1, 1]])
    matrix = metrics.confusion_matrix(np.array([-100, 299, 0]), np.array([7, 299, 299]), 300, ignore_index=-100)
    assert (matrix[299, 299], matrix[0, 299], matrix.sum()) == (1, 1, 2)
    bytes_of_many = metrics.confusion_matrix(np.uint8([255, 3]), np.uint8([255, 3]), 300, ignore_index=-100)
    assert (bytes_of_many[255, 255], bytes_of_many[3, 3]) == (1, 1)


def test_strided_and_unaligned_arrays():
    truth, prediction = patches(3, (60, 80), 5)
    views = (np.s_[1:], np.s_[:, 1:], np.s_[::-1, ::3], np.s_[0, 1:])
    for view in views:
        np.testing.assert_array_equal(
            metrics.confusion_matrix(truth[view], prediction[view], 5), plain_matrix(truth[view], prediction[view], 5)
        )
    np.testing.assert_array_equal(
        metrics.confusion_matrix(truth.T, prediction.T, 5), plain_matrix(truth, prediction, 5)
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
@pytest.mark.parametrize(
    ("truth", "prediction", "said"),
    [
        ([0, 3, 7, 255], [0, 0, 0, 0], "truth holds 3, 7; expected classes 0 to 2, and 255 to ignore"),
        ([0, 1, 2, 2], [0, 9, 0, 5], "prediction holds 5, 9; expected classes 0 to 2"),
        ([0, 1, 2], [0, 1, 255], "prediction holds 255"),
        ([0, 1], [0], r"differ in shape: \(2,\) and \(1,\)"),
    ],
)
def test_labels_that_are_refused(truth, prediction, said, dtype):
    with pytest.raises(ValueError, match=said):
        metrics.confusion_matrix(np.array(truth, dtype), np.array(prediction, dtype), 3)


def test_other_inputs_that_are_refused():
    with pytest.raises(ValueError, match="float32"):
        metrics.confusion_matrix(np.zeros(3, np.uint8), np.zeros(3, np.float32), 2)
    with pytest.raises(ValueError, match="num_classes"):
        metrics.confusion_matrix(np.zeros(3, np.uint8), np.zeros(3, np.uint8), 0)
    with pytest.raises(ValueError, match="truth holds 2, 254"):
        metrics.level_histogram(np.uint8([0, 1, 2, 254]), np.uint8([0, 0, 0, 0]))
    with pytest.raises(ValueError, match="uint8"):
        metrics.level_histogram(np.zeros(3, np.uint8), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"\(\.\.\., K, K\)"):
        metrics.iou(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"\(\.\.\., 2, 2\)"):
        metrics.foreground_scores(np.zeros((3, 3)))


def test_level_histogram_scores_every_threshold():
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 2, 90), 40).astype(np.uint8).reshape(60, 60)
    levels = np.clip(truth * 120.0 + rng.normal(70, 40, truth.shape), 0, 255).astype(np.uint8)
    truth[::7] = 255
    histogram = metrics.level_histogram(truth, levels)
    assert histogram.shape == (2, 256)
    assert histogram.dtype == np.int64
    for threshold in (0, 1, 100, 128, 200, 255):
        by_histogram = np.column_stack([histogram[:, :threshold].sum(axis=1), histogram[:, threshold:].sum(axis=1)])
        np.testing.assert_array_equal(by_histogram, metrics.confusion_matrix(truth, levels >= threshold, 2))


def test_hand_example():
    """Long et al. 2015, section 5: n_ii / t_i and n_ii / (t_i + sum_j n_ji - n_ii), with t = (6, 5, 4)."""
    np.testing.assert_allclose(metrics.iou(HAND), [5 / 8, 3 / 10, 0 / 4])
    np.testing.assert_allclose(metrics.dice(HAND), [10 / 13, 6 / 13, 0 / 4])
    np.testing.assert_allclose(metrics.pixel_accuracy(HAND), 8 / 15)
    np.testing.assert_allclose(metrics.mean_accuracy(HAND), (5 / 6 + 3 / 5 + 0 / 4) / 3)
    np.testing.assert_allclose(metrics.mean_iou(HAND), (5 / 8 + 3 / 10 + 0) / 3)
    np.testing.assert_allclose(metrics.mean_dice(HAND), (10 / 13 + 6 / 13 + 0) / 3)
    np.testing.assert_allclose(metrics.frequency_weighted_iou(HAND), (6 * 5 / 8 + 5 * 3 / 10 + 4 * 0) / 15)


def test_scores_are_scikit_learns():
    truth, prediction = patches(4, (2000,), 6, ignored=False)
    matrix = metrics.confusion_matrix(truth, prediction, 6)
    pairs = [
        (metrics.iou, sklearn_metrics.jaccard_score(truth, prediction, average=None)),
        (metrics.dice, sklearn_metrics.f1_score(truth, prediction, average=None)),
        (metrics.mean_iou, sklearn_metrics.jaccard_score(truth, prediction, average="macro")),
        (metrics.mean_dice, sklearn_metrics.f1_score(truth, prediction, average="macro")),
        (metrics.pixel_accuracy, sklearn_metrics.accuracy_score(truth, prediction)),
        (metrics.mean_accuracy, sklearn_metrics.balanced_accuracy_score(truth, prediction)),
        (metrics.frequency_weighted_iou, sklearn_metrics.jaccard_score(truth, prediction, average="weighted")),
    ]
    for function, expected in pairs:
        np.testing.assert_allclose(function(matrix), expected)


def test_leading_dimensions_are_matrices_of_their_own():
    matrices = np.random.default_rng(0).integers(0, 50, (4, 3, 2, 2))
    matrices[0, 0] = 0
    matrices[1, 1] = [[9, 0], [0, 0]]
    functions = [metrics.iou, metrics.dice, metrics.mean_iou, metrics.mean_dice, metrics.pixel_accuracy]
    functions += [metrics.mean_accuracy, metrics.frequency_weighted_iou, metrics.foreground_scores]
    for function in functions:
        whole = np.asarray(function(matrices))
        for place in np.ndindex(4, 3):
            index = (slice(None), *place) if function is metrics.foreground_scores else place
            np.testing.assert_array_equal(whole[index], np.asarray(function(matrices[place])))


def test_foreground_scores_of_one_image():
    iou, dice, accuracy = metrics.foreground_scores(np.array([[10, 2], [3, 5]]))
    np.testing.assert_allclose([iou, dice, accuracy], [5 / 10, 10 / 15, 15 / 20])
    missed = metrics.foreground_scores(np.array([[10, 0], [6, 0]]))
    np.testing.assert_allclose(missed, [0, 0, 10 / 16])


def test_a_matrix_without_pixels_has_no_score():
    for function in (metrics.mean_iou, metrics.mean_dice, metrics.mean_accuracy, metrics.pixel_accuracy):
        assert np.isnan(function(np.zeros((3, 3), np.int64)))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6000), st.sampled_from([0.0, 0.01, 0.5, 1.0]))
def test_scores_of_two_masks_are_those_of_their_matrix(seed, size, share):
    rng = np.random.default_rng(seed)
    truth, prediction = (rng.random((2, size)) < share).astype(np.uint8)
    iou, dice, _ = metrics.foreground_scores(metrics.confusion_matrix(truth, prediction, 2))
    assert metrics.binary_scores(truth, prediction) == (iou, dice)
    assert metrics.binary_scores(truth[::2] > 0, prediction[::2] > 0) == metrics.binary_scores(
        truth[::2], prediction[::2]
    )


def test_scores_of_what_is_no_mask_are_refused():
    mask = np.zeros((40, 50), np.uint8)
    for place in (0, 1999):  # among whole words, and after them
        alien = mask.reshape(-1)[:-1].copy()
        alien[min(place, alien.size - 1)] = 255
        with pytest.raises(ValueError, match="truth holds 255"):
            metrics.binary_scores(alien, mask.reshape(-1)[:-1])
        with pytest.raises(ValueError, match="prediction holds 255"):
            metrics.binary_scores(mask.reshape(-1)[:-1], alien)
    with pytest.raises(ValueError, match="one shape"):
        metrics.binary_scores(mask, mask.T)
    with pytest.raises(ValueError, match="bool or uint8"):
        metrics.binary_scores(mask.astype(np.int64), mask)
