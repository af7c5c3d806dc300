"""Faults of masks' scores, of run-length encodings and of submission files, one test a number of the list."""

import csv

import numpy as np
import pandas as pd
import pytest

from kit.scoring import confusion as metrics
from kit.submission import Dialect, RowParts, errors_of, lint, read_rows, rle, write

SHAPE = (6, 9)
PLAIN = Dialect()
NAMES = [f"{i:06d}.jpg" for i in range(8)]


def refused(text, said: str, shape=SHAPE) -> None:
    for order in "CF":
        with pytest.raises(ValueError, match=said):
            rle.decode(text, shape, order)


def linted(tmp_path, rows, sample=None, order="C", shape=SHAPE) -> str:
    """Write rows as any tool might, without a check, and return the errors that the linter finds."""
    for name, content in (("s.csv", rows), ("sample.csv", [(name, "") for name in sample or ()])):
        with (tmp_path / name).open("w", newline="") as file:
            csv.writer(file).writerows([("img", "rle_mask"), *content])
    sample_csv = tmp_path / "sample.csv" if sample else None
    return "\n".join(errors_of(lint(tmp_path / "s.csv", Dialect(order=order), sample_csv, shape)))


def test_fault_16_empty_truth_and_prediction():
    empty = np.zeros(SHAPE, np.uint8)
    matrix = metrics.confusion_matrix(empty, empty, 2)
    assert metrics.foreground_scores(matrix) == (1.0, 1.0, 1.0)
    ignored = metrics.confusion_matrix(empty + 255, empty, 2)
    assert metrics.foreground_scores(ignored) == (1.0, 1.0, 1.0)


def test_fault_17_class_absent_everywhere():
    truth, prediction = np.uint8([0, 0, 2, 2]), np.uint8([0, 2, 2, 2])
    matrix = metrics.confusion_matrix(truth, prediction, 4)
    np.testing.assert_allclose(metrics.iou(matrix), [1 / 2, np.nan, 2 / 3, np.nan])
    assert metrics.mean_iou(matrix) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics.mean_dice(matrix) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics.mean_accuracy(matrix) == pytest.approx((1 / 2 + 1) / 2)
    assert np.isfinite(metrics.frequency_weighted_iou(matrix))


def test_fault_18_ignored_truth_is_in_no_count():
    truth, prediction = np.uint8([0, 1, 255, 255, 255]), np.uint8([0, 1, 0, 1, 255])
    matrix = metrics.confusion_matrix(truth, prediction, 2)
    np.testing.assert_array_equal(matrix, [[1, 0], [0, 1]])
    np.testing.assert_array_equal(metrics.iou(matrix), [1, 1])
    assert metrics.level_histogram(truth, prediction).sum() == 2


def test_fault_21_odd_number_of_tokens():
    refused("1 2 3", "3 tokens, an odd number")


def test_fault_22_zero_or_negative():
    refused("0 2", "token 1 of 2, '0', is a start of zero")
    refused("3 0", "token 2 of 2, '0', is a length of zero")
    refused("-3 2", "token 1 of 2, '-3', should be a start")
    refused("3 -2", "token 2 of 2, '-2', should be a length")


def test_fault_23_overlap_or_unsorted():
    refused("1 3 3 2", "token 3 of 4, '3', starts a run at or before pixel 3")
    refused("9 1 1 2", "token 3 of 4, '1', .* wrong order")


def test_fault_24_past_the_end():
    refused("50 6", "token 2 of 2, '6', goes past the end of an image of 54 pixels")
    refused("55 1", "past the end")
    assert rle.decode("50 5", SHAPE).sum() == 5


def test_fault_25_thirty_digits():
    refused("1" * 30 + " 1", "past the end")
    refused("1 " + "9" * 30, "past the end")
    refused("1 " + str(2**64 + 1), "past the end")
    refused("1 " + "9" * 10_000, "past the end")


@pytest.mark.parametrize("text", ["٣ 1", "１ 1", "² 1", "1.0 2", "1e1 2", "nan nan", "1\xa02", "1\t2", "+1 2", "1_0"])
def test_fault_26_no_ascii_digits(text):
    refused(text, "token 1 of .* should be a start")


@pytest.mark.parametrize("value", [float("nan"), None, 12.0, 12, b"1 2", np.float64("nan"), pd.NA, ["1", "2"]])
def test_fault_26_no_text(value):
    refused(value, "keep_default_na" if isinstance(value, float) else "is a str")


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (8, 16), (7, 37)])
def test_fault_27_runs_that_touch_the_first_or_last_pixel(shape):
    pixels = shape[0] * shape[1]
    for text in (f"1 {pixels}", "1 1", f"{pixels} 1", "" if pixels < 3 else f"1 1 {pixels} 1"):
        for order in "CF":
            assert rle.encode(rle.decode(text, shape, order), order) == text


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(80, 120), (120, 80), (64, 80)])
def test_fault_28_swapped_order_is_suspected(tmp_path, order, shape):
    y, x = np.indices(shape) / np.reshape(shape, (2, 1, 1))
    masks = [((y - 0.4) ** 2 / 3 + (x - 0.2 - i / 20) ** 2 < 0.02) | (abs(y - 0.7) < i / 50) for i in range(8)]
    rows = [(name, rle.encode(mask, order)) for name, mask in zip(NAMES, masks, strict=True)]
    assert linted(tmp_path, rows, order=order, shape=shape) == ""
    other = "F" if order == "C" else "C"
    assert "rows and columns look swapped" in linted(tmp_path, rows, order=other, shape=shape)


def test_fault_29_empty_rle_survives_a_csv(tmp_path):
    write([("a.jpg", ""), ("b.jpg", "1 2")], tmp_path / "s.csv", PLAIN)
    assert list(read_rows(tmp_path / "s.csv", PLAIN)) == [("a.jpg", ""), ("b.jpg", "1 2")]
    assert pd.read_csv(tmp_path / "s.csv")["rle_mask"].isna()[0]  # what would reach decode without care
    with pytest.raises(ValueError, match="keep_default_na"):
        rle.decode(pd.read_csv(tmp_path / "s.csv")["rle_mask"][0], SHAPE)


def test_fault_30_ids_survive_a_csv(tmp_path):
    names = ["NA", "null", "000123", "1e5", "True", "nan"]
    write([(name, "1 1") for name in names], tmp_path / "s.csv", PLAIN)
    assert [name for name, _ in read_rows(tmp_path / "s.csv", PLAIN)] == names
    assert errors_of(lint(tmp_path / "s.csv", PLAIN, tmp_path / "s.csv", SHAPE)) == []


def test_fault_31_ids_that_do_not_fit_the_sample(tmp_path):
    names = [*NAMES[1:4], NAMES[0], NAMES[4], NAMES[4], "x.jpg", "NA"]
    said = linted(tmp_path, [(name, "1 1") for name in names], sample=NAMES).split("\n")
    assert said.pop(0).startswith("line 7 ('000004.jpg'): duplicate, the id came before in line 6")
    assert said == [
        "line 8 ('x.jpg'): unknown, the sample file has no such id",
        "line 9 ('NA'): unknown, the sample file has no such id",
        "missing: '000005.jpg' of the sample file has no row",
        "missing: '000006.jpg' of the sample file has no row",
        "missing: '000007.jpg' of the sample file has no row",
    ]
    swapped = [NAMES[i] for i in (0, 5, 2, 3, 4, 1, 6, 7)]
    assert linted(tmp_path, [(name, "1 1") for name in swapped], sample=NAMES) == ""
    warnings = [str(each) for each in lint(tmp_path / "s.csv", PLAIN, tmp_path / "sample.csv", SHAPE)]
    assert warnings[:2] == [
        f"warning: line {line} ('{name}'): reordered, it is row {row} of the sample file"
        for line, name, row in ((3, NAMES[5], 6), (7, NAMES[1], 2))
    ]
    with pytest.raises(ValueError, match="row 2: 'a' came before"):
        write([("a", ""), ("a", "")], tmp_path / "s.csv", PLAIN)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "..", "a//b.jpg", "a/../b", "..\\x", "a\nb", "a\0b", "a\rb", ""]
)
def test_fault_51_ids_that_are_no_file_names(tmp_path, name):
    with pytest.raises(ValueError, match="is no file name"):
        write([("a.jpg", ""), (name, "1 1")], tmp_path / "s.csv", PLAIN)
    with RowParts(tmp_path / "parts") as parts, pytest.raises(ValueError, match="is no file name"):
        parts.add(name, [(name, "1 1")])
    assert not (tmp_path / "s.csv").exists()
    assert "is no file name" in linted(tmp_path, [("a.jpg", "1 1"), (name, "1 1")])


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1.jpg", "@x", "\tx", "\r=x", '=HYPERLINK("http://x")'])
def test_fault_52_formulas(tmp_path, name):
    with pytest.raises(ValueError, match=r"formula|is no file name"):
        write([(name, "1 1")], tmp_path / "s.csv", PLAIN)
    with pytest.raises(ValueError, match="is no run-length encoding"):
        write([("a.jpg", "=1+1")], tmp_path / "s.csv", PLAIN)
    assert not list(tmp_path.iterdir())
    assert "formula" in linted(tmp_path, [(name, "1 1")]) or "is no file name" in linted(tmp_path, [(name, "1 1")])
