import numpy as np
import pytest

from kit.scoring.boundary import boundary_f1, mean_boundary_f1


def slow_boundary_f1(truth, prediction, label, tolerance=0.0075):
    """The definition, pixel by pixel: every distance between two outlines is taken."""
    height, width = truth.shape

    def outline(labels):
        found = []
        for y, x in np.argwhere(labels == label):
            beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [(r, c) for r, c in beside if 0 <= r < height and 0 <= c < width]
            if any(labels[r, c] != label for r, c in inside):
                found.append((int(y), int(x)))
        return found

    def share(points, others):
        limit = tolerance**2 * (height**2 + width**2) + 1e-6
        near = [any((y - r) ** 2 + (x - c) ** 2 <= limit for r, c in others) for y, x in points]
        return sum(near) / len(near) if near else 1.0

    true, predicted = outline(truth), outline(prediction)
    precision = share([(y, x) for y, x in predicted if truth[y, x] != 255], true)
    recall = share(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blobs(rng, shape, num_classes):
    """Random patches of labels, so that outlines meet, touch the frame, and miss each other."""
    labels = np.zeros(shape, np.uint8)
    for _ in range(6):
        y, x, h, w = rng.integers(0, (shape[0], shape[1], shape[0] // 2, shape[1] // 2))
        labels[y : y + h + 1, x : x + w + 1] = rng.integers(num_classes)
    return labels


@pytest.mark.parametrize("tolerance", [0.0075, 0.04, 0.1])
def test_agrees_with_the_definition_taken_pixel_by_pixel(tolerance):
    rng, compared = np.random.default_rng(0), []
    for _ in range(25):
        shape = tuple(rng.integers(9, 34, 2))
        truth, prediction = blobs(rng, shape, 4), blobs(rng, shape, 4)
        if rng.random() < 0.7:
            prediction = np.where(rng.random(shape) < 0.9, truth, prediction)
        truth = np.where(blobs(rng, shape, 5) == 4, np.uint8(255), truth)
        found = boundary_f1(truth, prediction, 4, tolerance)
        for label in range(4):
            assert np.isnan(found[label]) == (label not in truth)
            if label in truth:
                expected = slow_boundary_f1(truth, prediction, label, tolerance)
                assert found[label] == pytest.approx(expected, abs=1e-12)
                compared.append(expected)
    assert len(set(compared)) > 30  # all sorts of scores, not zeros and ones alone


def test_a_shift_counts_up_to_the_tolerance_and_not_a_pixel_beyond():
    """240×320: the diagonal is 400, the tolerance 3 pixels exactly, which floats put a hair below 3."""
    truth = np.zeros((240, 320), np.uint8)
    truth[60:180, 80:240] = 1
    assert boundary_f1(truth, truth, 2).tolist() == [1, 1]
    assert boundary_f1(truth, np.roll(truth, 3, axis=0), 2).tolist() == [1, 1]
    # By 4 rows: an outline has 2 · 160 + 2 · 118 = 556 pixels. Found are the 2 · 118 of the vertical sides, on the
    # other's or at most 3 rows beyond, and, of the horizontal side within the other rectangle, 4 pixels at either end,
    # 0 to 3 columns from the other's vertical sides.
    assert boundary_f1(truth, np.roll(truth, 4, axis=0), 2)[1] == pytest.approx((2 * 118 + 2 * 4) / 556)


def test_the_edge_of_the_image_is_no_outline_and_a_full_class_scores_one():
    full = np.ones((20, 30), np.uint8)
    assert boundary_f1(full, full, 2)[1] == 1
    half = full.copy()
    half[10:] = 0
    assert boundary_f1(full, half, 2)[1] == 0  # an outline where there is none
    assert boundary_f1(half, full, 2).tolist() == [0, 0]  # none where there is one


def test_classes_that_only_the_prediction_has_are_left_out():
    truth, prediction = np.zeros((2, 30, 40), np.uint8)
    truth[5:15, 5:15], prediction[5:15, 5:15], prediction[20:25, 20:30] = 1, 1, 2
    scores = boundary_f1(truth, prediction, 4)
    assert np.isnan(scores).tolist() == [False, False, True, True]
    assert scores[1] == 1
    assert scores[0] < 1  # the false object tears the outline of the background


def test_what_is_predicted_on_void_is_neither_right_nor_wrong():
    truth = np.zeros((40, 60), np.uint8)
    truth[10:30, 10:30], truth[5:35, 40:] = 1, 255
    prediction = np.where(truth == 255, np.uint8(0), truth)
    spoilt = prediction.copy()
    spoilt[10:30, 45:55] = 1
    assert boundary_f1(truth, spoilt, 2)[1] == boundary_f1(truth, prediction, 2)[1] == 1
    beside = prediction.copy()
    beside[36:39, 45:55] = 1
    assert boundary_f1(truth, beside, 2)[1] < 1


def test_an_outline_that_runs_in_the_void_around_an_object_finds_it():
    """As in PASCAL VOC: the truth draws void over the outline, the prediction has its edge in the middle of it."""
    truth, prediction = np.zeros((2, 240, 320), np.uint8)
    truth[57:183, 77:243], truth[61:179, 81:239] = 255, 1
    prediction[59:181, 79:241] = 1
    assert boundary_f1(truth, prediction, 2).tolist() == [1, 1]


def test_the_mean_is_over_classes_and_then_over_images():
    nan = np.nan
    scores = np.array([[1.0, 0.5, nan], [0.2, nan, nan], [nan, nan, nan]])
    assert mean_boundary_f1(scores) == pytest.approx((0.75 + 0.2) / 2)  # not (1 + 0.5 + 0.2) / 3
    assert np.isnan(mean_boundary_f1(scores[2:]))


def test_bad_input_is_refused():
    good = np.zeros((5, 6), np.uint8)
    with pytest.raises(ValueError, match=r"uint8 \(H, W\) of one shape, got uint8 \(5, 6\) and uint8 \(6, 5\)"):
        boundary_f1(good, good.T.copy(), 2)
    with pytest.raises(ValueError, match="int64"):
        boundary_f1(good, good.astype(np.int64), 2)
    with pytest.raises(ValueError, match=r"truth holds \[7\], expected 0 to 1, or 255"):
        boundary_f1(np.full_like(good, 7), good, 2)
