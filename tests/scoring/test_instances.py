"""The precision of objects against a plain loop over all pairs of objects."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from scipy import ndimage

from kit.scoring import InstancePrecision, MeanDice, instance_precision
from kit.system.objects import label_pairs

THRESHOLDS = [Fraction(number, 20) for number in range(10, 20)]


def by_hand(truth, prediction):
    """TP / (TP + FP + FN) at each threshold by counting pairs of masks one by one, in fractions."""
    objects = [[image == label for label in np.unique(image) if label] for image in (truth, prediction)]
    if not objects[0] and not objects[1]:
        return 1.0
    ious = [[Fraction(int((a & b).sum()), int((a | b).sum())) for b in objects[1]] for a in objects[0]]
    precisions = []
    for threshold in THRESHOLDS:
        hits = sum(iou > threshold for row in ious for iou in row)
        precisions.append(Fraction(hits, len(objects[0]) + len(objects[1]) - hits))
    return float(sum(precisions) / 10)


def drawn(seed, size=(60, 80), count=25):
    """Boxes over each other, their labels with gaps and up to 2³¹ - 1, and the same moved by a few pixels."""
    random = np.random.default_rng(seed)
    images = np.zeros((2, *size), np.int32)
    for label in random.choice(2**31 - 1, count, replace=False) + 1:
        top, left, height, width = random.integers((0, 0, 4, 4), (*size, 16, 16))
        images[0, top : top + height, left : left + width] = label
        if random.random() < 0.8:
            down, right = random.integers(0, 4, 2)
            images[1, top + down : top + down + height, left + right : left + right + width] = label % 97 + 1
    return images


@pytest.mark.parametrize("seed", range(12))
def test_precision_is_that_of_a_loop_over_all_pairs(seed):
    truth, prediction = drawn(seed)
    found = instance_precision(truth, prediction)
    assert found == pytest.approx(by_hand(truth, prediction), abs=1e-12)
    assert 0 < found < 1
    assert instance_precision(prediction, truth) == pytest.approx(found)
    assert instance_precision(truth, truth) == 1
    assert instance_precision(truth.astype(np.int64), np.asfortranarray(prediction)) == found


@pytest.mark.parametrize(("pixels", "hits"), [(10, 0), (11, 1), (12, 2), (13, 3), (19, 9), (20, 10)])
def test_an_iou_exactly_at_a_threshold_is_no_hit(pixels, hits):
    truth, prediction = np.zeros((4, 30), np.int32), np.zeros((4, 30), np.int32)
    truth[1, :20], prediction[1, :pixels] = 5, 2  # an IoU of so many twentieths
    assert instance_precision(truth, prediction) == pytest.approx(hits / 10)
    assert instance_precision(prediction, truth) == pytest.approx(hits / 10)


def test_images_without_objects():
    nothing, some = np.zeros((9, 9), np.int32), np.eye(9, dtype=np.int32)
    assert instance_precision(nothing, nothing) == 1
    assert instance_precision(nothing, some) == instance_precision(some, nothing) == 0


def test_a_large_image_needs_the_memory_of_its_pairs_alone():
    truth, prediction = np.zeros((2, 2000, 1500), np.int32)
    truth[100:900, 200:700], prediction[100:900, 250:700] = 8, 9
    instance_precision(truth, prediction)  # compiled
    tracemalloc.start()
    assert instance_precision(truth, prediction) == 0.8  # an IoU of 0.9, above .50 to .85
    assert tracemalloc.get_traced_memory()[1] < 200_000  # bytes; each image has 12 million
    tracemalloc.stop()


def test_thousands_of_objects_are_counted_in_one_pass():
    rows, columns = np.mgrid[:600, :700]
    truth = (rows // 4 * 1000 + columns // 4 + 1).astype(np.int32)  # 26,250 squares
    prediction = np.roll(truth, 1, axis=1)
    first, second, pixels = label_pairs(truth, prediction)
    assert pixels.sum() == truth.size
    assert first.size == 150 * (175 + 175)
    assert len(np.unique(first)) == len(np.unique(second)) == 150 * 175
    # 12 of 20 pixels: above .50 and .55
    assert instance_precision(truth, prediction) == pytest.approx(0.2)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_those_of_numpy(seed):
    truth, prediction = drawn(seed)
    pairs, counts = np.unique(np.stack([truth.ravel(), prediction.ravel()]), axis=1, return_counts=True)
    first, second, pixels = label_pairs(truth, prediction)
    np.testing.assert_array_equal(np.stack([first, second]), pairs)
    np.testing.assert_array_equal(pixels, counts)
    assert [one.size for one in label_pairs(truth[:0], prediction[:0])] == [0, 0, 0]


def test_what_is_no_label_image_is_refused():
    labels = np.ones((4, 5), np.int32)
    with pytest.raises(ValueError, match=r"labels are 0 to 2\^31 - 1, got -1 to -1"):
        instance_precision(-labels, labels)
    with pytest.raises(ValueError, match="differ in shape"):
        instance_precision(labels, labels[:2])
    with pytest.raises(ValueError, match="whole numbers, got float64"):
        instance_precision(labels, labels * 0.5)


def test_the_metric_counts_objects_of_any_kind_of_mask():
    truth, prediction = drawn(3)
    np.testing.assert_array_equal(
        InstancePrecision().counts(truth, prediction), [instance_precision(truth, prediction), 1]
    )
    masks = [(image > 0).astype(np.uint8) for image in (truth, prediction)]
    labels = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in masks]
    assert InstancePrecision().counts(*masks)[0] == pytest.approx(by_hand(*labels))
    masks[0][:, :30] = 255  # in no object, and no object of the prediction is there
    labels = [ndimage.label(mask * (masks[0] != 255), np.ones((3, 3)))[0] for mask in masks]
    assert InstancePrecision().counts(*masks)[0] == pytest.approx(by_hand(*labels))


def test_the_label_255_is_an_object_and_not_ignored():
    truth = np.zeros((10, 10), np.int32)
    truth[:5], truth[7:] = 255, 3
    prediction = (truth == 3).astype(np.int32)
    assert MeanDice().counts(truth, prediction)[0] == pytest.approx(2 * 30 / (80 + 30))
    assert InstancePrecision().counts(truth, prediction)[0] == pytest.approx(0.5)
