"""Rows of label images: all objects of an image in one pass, and read back."""

import cv2
import numpy as np
import pytest
from masks_drawn import discs, noise, small_components, thin_lines
from tasks_data import Objects, Overlapping

from kit.submission import Dialect, compare_masks, detect, rle, write
from kit.submission.score import score, truth_reader
from kit.system.objects import components

CELLS = Dialect(("id", "predicted"), "instance", "F")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("draw", [discs, noise, small_components, thin_lines], ids=lambda draw: draw.__name__)
def test_every_object_is_encoded_as_its_own_mask(draw, order):
    random = np.random.default_rng(0)
    for _ in range(6):
        height, width = (int(side) for side in random.integers(20, 90, 2))
        labels = components(draw(random, height, width))
        numbers = np.concatenate([[0], random.choice(2**31 - 1, labels.max() + 1, replace=False) + 1])
        labels = numbers[labels].astype(np.int32)  # in no order, with gaps
        texts = rle.encode_objects(labels, order)
        flat = labels.ravel(order)
        firsts = [label for label in dict.fromkeys(flat.tolist()) if label]
        assert texts == [rle.encode(labels == label, order) for label in firsts]
        decoded = rle.decode_objects(texts, labels.shape, order)
        np.testing.assert_array_equal(decoded, _numbered(labels, firsts))
        assert rle.encode_objects(np.asfortranarray(labels).astype(np.int64), order) == texts


def _numbered(labels, firsts):
    """The label image with 1, 2, … in the order of `firsts`."""
    numbered = np.zeros_like(labels)
    for number, label in enumerate(firsts, start=1):
        numbered[labels == label] = number
    return numbered


def test_objects_that_touch_and_run_on_over_the_end_of_a_row():
    labels = np.array([[0, 2, 2], [2, 9, 9], [9, 9, 0]], np.int32)
    assert rle.encode_objects(labels) == ["2 3", "5 4"]
    assert rle.encode_objects(labels, "F") == ["2 1 4 1 7 1", "3 1 5 2 8 1"]
    assert rle.encode_objects(np.zeros((3, 4), np.int32)) == []
    assert rle.encode_objects(np.full((3, 4), 7, np.uint8), "F") == ["1 12"]
    assert rle.encode_objects(np.zeros((0, 4), np.int32)) == []


def test_thousands_of_objects_by_their_labels():
    rows, columns = np.mgrid[:301, :407]
    labels = (2**31 - 1 - (rows // 3 * 1000 + columns // 5)).astype(np.int32)[:, 1:]  # no whole words, no even start
    labels[5] = 0
    for order in "CF":
        texts = rle.encode_labels(labels, order)
        flat = labels.ravel(order)
        assert list(texts) == [label for label in dict.fromkeys(flat.tolist()) if label]
        for label in list(texts)[::977]:
            assert texts[label] == rle.encode(labels == label, order)
        assert sum(rle.runs(text)[:, 1].sum() for text in texts.values()) == np.count_nonzero(labels)
    for at in (0, 7, 8, 4321, labels.size - 1):
        wrong = labels.copy()
        wrong.flat[at] = -9
        with pytest.raises(ValueError, match="got -9 to 2147483647"):
            rle.encode_labels(wrong)


def test_what_is_no_label_image_is_refused():
    with pytest.raises(ValueError, match=r"labels are 0 to 2\^31 - 1, got -1 to 0"):
        rle.encode_objects(np.array([[-1, 0]]))
    with pytest.raises(ValueError, match=r"whole numbers \(H, W\), got float32 \(2, 2\)"):
        rle.encode_objects(np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="order is"):
        rle.encode_objects(np.zeros((2, 2), np.int32), "K")
    with pytest.raises(ValueError, match="past the end"):
        rle.decode_objects(["4 2"], (2, 2))


def rows_of(dataset, change=lambda id, masks: masks):
    return [
        row
        for id in dataset.ids
        for row in CELLS.cells(id, change(id, [(1, text) for text in rle.encode_objects(dataset.read_mask(id), "F")]))
    ]


def test_a_csv_of_true_objects_is_compared_object_by_object(tmp_path):
    dataset, path = Objects(), tmp_path / "train.csv"
    write(rows_of(dataset), path, CELLS)
    assert compare_masks(dataset, path, CELLS) == []

    def united(id, masks):  # two objects that touch, as one
        if id != "image_01":
            return masks
        mask = (dataset.read_mask(id) == 255) | (dataset.read_mask(id) == 7)
        own = [rle.encode(dataset.read_mask(id) == label, "F") for label in (255, 7)]
        return [(1, rle.encode(mask, "F"))] + [(k, text) for k, text in masks if text not in own]

    write(rows_of(dataset, united), path, CELLS)
    [problem] = compare_masks(dataset, path, CELLS)
    assert "image_01" in problem.where
    assert problem.what.endswith("but cut otherwise: 4 objects, of which 3 are among the mask's 5")

    write(rows_of(dataset, lambda id, masks: masks[1:] if id == "image_02" else masks), path, CELLS)
    [problem] = compare_masks(dataset, path, CELLS)
    assert "differs from the data set's mask in 25 of 864 pixels" in problem.what


def test_a_csv_of_classes_that_overlap_is_compared_class_by_class(tmp_path):
    dataset, path = Overlapping(2), tmp_path / "train.csv"
    dialect = Dialect(("id", "class", "rle"), "class", "F", class_column="class", labels=("a", "b"))

    def rows(swapped=()):
        for id in dataset.ids:
            masks = [rle.encode(dataset.read_mask(id)[..., k], "F") for k in (0, 1)]
            yield from dialect.cells(id, list(enumerate(masks[::-1] if id in swapped else masks, start=1)))

    write(rows(), path, dialect)
    assert compare_masks(dataset, path, dialect) == []
    assert score(path, dialect, dataset.read_mask) == {"images": 8, "mean_dice": 1.0, "mean_iou": 1.0}
    for id in dataset.ids:
        np.testing.assert_array_equal(truth_reader(path, dialect, (24, 36))(id), dataset.read_mask(id))
    write(rows(swapped=("image_05",)), path, dialect)
    [problem] = compare_masks(dataset, path, dialect)
    mask = dataset.read_mask("image_05")
    assert f"in {np.count_nonzero(mask[..., 0] != mask[..., 1])} of 864 pixels" in problem.what


def test_the_true_objects_of_a_csv_are_a_label_image(tmp_path):
    dataset, path = Objects(), tmp_path / "train.csv"
    write(rows_of(dataset), path, CELLS)
    read = truth_reader(path, CELLS, (24, 36))
    for id in dataset.ids:
        assert rle.encode_objects(read(id)) == rle.encode_objects(dataset.read_mask(id))
    assert read("elsewhere") is None
    assert score(path, CELLS, dataset.read_mask)["instance_precision"] == 1


def test_the_order_of_pixels_is_found_by_label_images(tmp_path):
    dataset = Objects()
    for order in "CF":
        dialect = Dialect(("id", "predicted"), "instance", order)
        rows = [
            row
            for id in dataset.ids
            for row in dialect.cells(id, [(1, text) for text in rle.encode_objects(dataset.read_mask(id), order)])
        ]
        write(rows, tmp_path / "train.csv", dialect)
        write([(id, "1 1") for id in ("a", "b")], tmp_path / "sample.csv", dialect)
        found = detect(tmp_path / "train.csv", tmp_path / "sample.csv", read_mask=dataset.read_mask)
        assert (found.order, found.base, found.rows) == (order, 1, "instance")


def test_components_are_those_of_opencv_s_own_contours():
    random = np.random.default_rng(1)
    for _ in range(5):
        mask = small_components(random, 60, 70)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        assert components(mask).max() >= len(contours)  # an object may lie in the hole of another
    with pytest.raises(ValueError, match=r"bool or u8 \(H, W\), got int32"):
        components(np.zeros((3, 3), np.int32))
    assert components(np.zeros((0, 3), bool)).shape == (0, 3)
