"""Rows of objects: planted faults are found in their lines, and the score of the text is that of the label images."""

import re
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from kit.scoring import InstanceFBeta, InstancePrecision, InstancePrecisionPerClass, MeanDice, Segments
from kit.submission import (
    AIRBUS,
    Competition,
    Dialect,
    RowParts,
    errors_of,
    lint,
    object_masks,
    object_reader,
    rle,
    rows_in_order,
    score,
    segments_of,
    write,
)
from kit.submission.rows import ids_of_sample
from kit.submission.score import truth_reader

CELLS = Dialect(("id", "predicted"), "instance", "C")  # along rows, as in Sartorius 2021
FASHION = Dialect(
    ("ImageId", "EncodedPixels", "ClassId"),
    "instance",
    "F",
    keep_empty=False,
    key="{id}.jpg",
    class_column="ClassId",
    labels=tuple(map(str, range(4))),
)
SHAPE = (90, 160)
IDS = ["img_3", "img_1", "none", "img_2"]


def drawn(seed, count=9, size=SHAPE):
    """A label image of ellipses that may touch, with gaps in the labels."""
    random, labels = np.random.default_rng(seed), np.zeros(size, np.int32)
    for number in range(count):
        own = np.zeros(size, np.uint8)
        centre = (12 + number % 5 * 33, 14 + number // 5 * 30)
        cv2.ellipse(
            own, centre, [int(one) for one in random.integers(8, 14, 2)], int(random.integers(180)), 0, 360, 1, -1
        )
        labels[(own > 0) & (labels == 0)] = 7 * number + 3
    return labels


IMAGES = {id: drawn(number, 0 if id == "none" else 6 + number) for number, id in enumerate(IDS)}
CLASSES = {label: label % 4 + 1 for label in range(200)}


def right_rows(dialect, images=None):
    """The rows of all images, a list of cells each."""
    images = IMAGES if images is None else images
    masks = {
        id: object_masks(Segments(labels, CLASSES) if dialect.has_classes else labels, dialect.order)
        for id, labels in images.items()
    }
    return [list(cells) for id in images for cells in dialect.cells(id, masks[id])]


def found(tmp_path, dialect, rows, severity="error", shapes=SHAPE, competition=None):
    """The problems of one severity of a CSV with these rows."""
    sample = [(f"{id}.jpg", "1 1", "1") if dialect is FASHION else (id, "1 1") for id in IDS]
    write(sample, tmp_path / "sample.csv", dialect)
    lines = [",".join(dialect.columns), *(",".join(cells) for cells in rows)]
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n")
    problems = lint(tmp_path / "s.csv", competition or dialect, tmp_path / "sample.csv", shapes)
    return [str(each) for each in problems if each.severity == severity]


def places(rows, key):
    return [at for at, row in enumerate(rows) if row[0].startswith(key)]


def plant(name):
    """The rows with a fault, the line that must be named, and what must be said of it."""
    rows = right_rows(FASHION if name.startswith("class") else CELLS)
    one, two, *_, last = places(rows, "img_1")
    none, image = places(rows, "none"), list(rows[one])
    if name == "an object one pixel too long":
        other = next(at for at in places(rows, "img_1") if at not in (one, two))
        pixel = int(rows[other][1].split()[0])
        runs = np.concatenate([rle.runs(rows[two][1]), [[pixel - 1, 1]]])
        runs = runs[np.argsort(runs[:, 0])]
        rows[two][1] = " ".join(f"{a + 1} {b}" for a, b in runs)
        return rows, other if other > two else two, "overlaps line"
    if name == "an object inside another":
        start = rows[one][1].split()[-2]
        rows.insert(last + 1, ["img_1", f"{int(start) + 1} 1"])
        return rows, last + 1, f"overlaps line {one + 2}: both hold pixel {int(start) + 1}"
    if name == "a row twice":
        rows.insert(two, rows[two])
        return rows, two + 1, f"overlaps line {two + 2}"
    if name == "rows apart":
        rows.append(rows.pop(one))
        return rows, len(rows) - 1, "the rows of one image lie apart, the last was line"
    if name == "a missing image":
        return [row for row in rows if row[0] != "img_2"], None, "'img_2' of the sample file has no row"
    if name == "an unknown image":
        rows.append(["img_4", "3 9"])
        return rows, len(rows) - 1, "unknown, the sample file has no such id"
    if name == "an empty row beside others":
        rows.insert(last + 1, ["img_1", ""])
        return rows, last + 1, "an empty row beside other rows"
    if name == "two empty rows":
        rows.insert(none[0], ["none", ""])
        return rows, none[0] + 1, "an empty row beside other rows"
    if name == "a run past the end":
        rows[last][1] += f" {SHAPE[0] * SHAPE[1]} 2"
        return rows, last, "past the end of an image of 14400 pixels"
    if name == "runs out of order":
        runs = rows[two][1].split()
        rows[two][1] = " ".join(runs[2:] + runs[:2])
        return rows, two, "overlap or wrong order"
    if name == "a start without a length":
        rows[two][1] += " 14000"
        return rows, two, "an odd number: each start needs a length"
    if name == "a mask that counts from 0":
        rows[one][1] = "0 4"
        return rows, one, "a start of zero"
    if name == "two objects in a row":
        rows[one][1] = f"{rows[one][1]} {SHAPE[0] * SHAPE[1] - 30} 5 {SHAPE[0] * SHAPE[1] - 9} 5"
        return rows, one, "an object of 3 parts that do not touch"
    if name == "an empty cell of another competition":
        rows[none[0]][1] = "-1"
        return rows, none[0], "'-1' is no mask here: an empty mask is written ''"
    if name == "class unknown":
        rows[two][2] = "4"
        return rows, two, "unknown class '4', expected 0, 1, 2, 3"
    if name == "class left out":
        rows[two] = image[:2]
        return rows, two, "2 cells instead of 3"
    if name == "class of another object's pixels":
        rows[two][1] = rows[one][1]
        rows[two][2] = "0" if rows[one][2] != "0" else "1"
        return rows, two, f"overlaps line {one + 2}"
    if name == "class and an empty row":
        rows.insert(two, [image[0], "", "2"])
        return rows, two, "an empty row, and an image or class without objects has none"
    if name == "class rows of an image apart":
        rows.append(rows.pop(two))
        return rows, len(rows) - 1, "the rows of one image lie apart"
    raise AssertionError(name)


FAULTS = {
    "error": [
        "an object one pixel too long",
        "an object inside another",
        "a row twice",
        "a missing image",
        "an unknown image",
        "an empty row beside others",
        "two empty rows",
        "a run past the end",
        "runs out of order",
        "a start without a length",
        "a mask that counts from 0",
        "an empty cell of another competition",
        "class unknown",
        "class left out",
    ],
    "warning": [
        "rows apart",
        "two objects in a row",
        "class of another object's pixels",
        "class and an empty row",
        "class rows of an image apart",
    ],
}


def test_right_rows_have_no_problems(tmp_path):
    for dialect in (CELLS, FASHION):
        rows = right_rows(dialect)
        assert found(tmp_path, dialect, rows) == []
        expected = [] if dialect is CELLS else ["1 of 4 images have no row ('none'): right where they have no objects"]
        assert [each.removeprefix("warning: ") for each in found(tmp_path, dialect, rows, "warning")] == expected


@pytest.mark.parametrize("severity", FAULTS)
def test_each_planted_fault_is_found_in_its_line_and_no_other(severity, tmp_path):
    for name in FAULTS[severity]:
        rows, at, what = plant(name)
        dialect = FASHION if name.startswith("class") else CELLS
        expected = [each for each in found(tmp_path, dialect, rows, severity) if "have no row" not in each]
        assert len(expected) == 1, (name, expected)
        assert what in expected[0], (name, expected)
        where = "missing" if at is None else rf"line {at + 2}\b"
        assert re.match(where, expected[0].removeprefix("warning: ")), (name, expected)


def test_objects_that_run_down_columns_are_suspected_in_their_lines(tmp_path):
    rows = right_rows(CELLS, {id: labels for id, labels in IMAGES.items() if id != "img_1"})
    masks = [["img_1", text] for _, text in object_masks(IMAGES["img_1"], "F")]
    [told] = [each for each in found(tmp_path, CELLS, masks) if "look swapped" in each]
    assert f"{len(masks)} of {len(masks)} masks" in told
    assert "as in line 2, 3, 4, 5, 6, …" in told
    assert not any("swapped" in each for each in found(tmp_path, CELLS, rows))


def test_parts_that_follow_from_swapped_columns_are_not_reported(tmp_path):
    labels, two_parts = np.zeros((60, 120), np.int32), ["img", "1 2 100 2"]
    for k, left in enumerate((4, 42, 80)):
        labels[5:25, left : left + 26], labels[35:55, left - 2 : left + 34] = 2 * k + 1, 2 * k + 2
    for made, read, reported in (("F", "C", 0), ("C", "F", 0), ("C", "C", 1)):
        masks = [["img", text] for _, text in object_masks(labels, made)] + [two_parts]
        dialect = replace(CELLS, order=read)
        (tmp_path / "s.csv").write_text("".join(",".join(row) + "\n" for row in [dialect.columns, *masks]))
        problems = lint(tmp_path / "s.csv", dialect, shapes=(60, 120))
        assert sum("parts that do not touch" in each.what for each in problems) == reported, (made, read)
        assert any(each.severity == "error" and "look swapped" in each.what for each in problems) == (made != read)


def test_parts_are_counted_as_components(tmp_path):
    random = np.random.default_rng(2)
    for order in "CF":
        dialect, texts, counts = Dialect(("id", "predicted"), "instance", order), [], []
        for _ in range(12):
            mask = (random.random((20, 33)) < random.choice([0.02, 0.1, 0.3, 0.9])).astype(np.uint8)
            texts.append(rle.encode(mask, order))
            counts.append(cv2.connectedComponents(mask, connectivity=8)[0] - 1)
        (tmp_path / "s.csv").write_text("id,predicted\n" + "".join(f"{n},{one}\n" for n, one in enumerate(texts)))
        told = [str(each) for each in lint(tmp_path / "s.csv", dialect, shapes=(20, 33)) if "parts" in each.what]
        assert [each.split(": ")[2].split(".")[0] for each in told] == [
            f"an object of {count} parts that do not touch" for count in counts if count > 1
        ]
        assert 3 < len(told) < 12


def test_classes_that_may_overlap_are_no_fault_of_a_data_set_that_says_so(tmp_path):
    rows = plant("class of another object's pixels")[0]
    dataset = SimpleNamespace(classes=FASHION.labels, task="multilabel", shape=lambda id: SHAPE, name="fashion")
    for competition, count in ((None, 1), (Competition(dataset, FASHION, IDS), 0)):
        told = found(tmp_path, FASHION, rows, "warning", competition=competition)
        assert sum("overlaps line" in each for each in told) == count


def predicted(labels, seed):
    """Moved, some left out, one more."""
    random = np.random.default_rng(seed)
    guess = np.roll(labels, random.integers(-2, 3, 2), (0, 1))
    for label in np.unique(guess)[1:]:
        if random.random() < 0.2:
            guess[guess == label] = 0
    if seed % 4 != 0:
        guess[-6:, -20:] = 150
    return guess


def rescored(tmp_path, dialect, truth, guesses, metric, ids):
    """The metric of the label images, and of a CSV that was predicted, killed in between, resumed and written."""
    expected = metric.score(np.sum([metric.counts(truth[id], guesses[id]) for id in ids], axis=0))
    for number, half in enumerate((ids[: len(ids) // 2], ids)):
        with RowParts(tmp_path / "parts") as parts:
            for id in half:
                if id not in parts.done:
                    parts.add(id, dialect.cells(id, object_masks(guesses[id], dialect.order)))
        if number == 0:  # killed in the middle of a row
            with parts.path.open("ab") as file:
                file.write(b"3,late\nlate,4 5\nla")
    write(rows_in_order(tmp_path / "parts", ids, dialect), tmp_path / "s.csv", dialect)
    assert errors_of(lint(tmp_path / "s.csv", dialect, shapes=SHAPE)) == []
    return float(expected), score(tmp_path / "s.csv", dialect, truth.get, ids, metric)


@pytest.mark.parametrize("dialect", [CELLS, AIRBUS], ids=["cells", "ships"])
def test_the_text_scores_as_the_label_images(tmp_path, dialect):
    ids = [f"i{number:02}" for number in range(12)]
    truth = {id: drawn(number, number % 3 * 4) for number, id in enumerate(ids)}  # a third is empty
    guesses = {id: predicted(labels, number) for number, (id, labels) in enumerate(truth.items())}
    empty = [(truth[id].any(), guesses[id].any()) for id in ids]
    assert len(set(empty)) == 3  # among them an empty truth with and without a prediction
    metric = InstancePrecision() if dialect is CELLS else InstanceFBeta()
    expected, found = rescored(tmp_path, dialect, truth, guesses, metric, ids)
    assert found["metric"] == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected < 0.9
    if dialect is CELLS:
        assert found["instance_precision"] == pytest.approx(expected, abs=1e-12)
    rows = (cells for id in ids for cells in dialect.cells(id, object_masks(truth[id], dialect.order)))
    write(rows, tmp_path / "truth.csv", dialect)
    again = score(tmp_path / "s.csv", dialect, truth_reader(tmp_path / "truth.csv", dialect, SHAPE), ids, metric)
    assert again["metric"] == pytest.approx(expected, abs=1e-12)


def test_the_text_of_classed_objects_scores_as_they_do(tmp_path):
    ids, random = [f"i{number:02}" for number in range(8)], np.random.default_rng(5)
    truth, guesses = {}, {}
    for number, id in enumerate(ids):
        labels = drawn(number, number % 4 * 3)
        truth[id] = Segments(labels, CLASSES)
        wrong = {label: int(random.integers(1, 5)) if random.random() < 0.3 else k for label, k in CLASSES.items()}
        guesses[id] = Segments(predicted(labels, number), wrong)
    for folder, metric in (("a", InstancePrecision()), ("b", InstancePrecisionPerClass(5))):
        (tmp_path / folder).mkdir()
        expected, found = rescored(tmp_path / folder, FASHION, truth, guesses, metric, ids)
        assert found["metric"] == pytest.approx(expected, abs=1e-12)
        assert 0.1 < expected < 0.9
        rows = (cells for id in ids for cells in FASHION.cells(id, object_masks(truth[id], "F")))
        write(rows, tmp_path / "truth.csv", FASHION)
        read = object_reader(tmp_path / "truth.csv", FASHION, SHAPE)
        assert score(tmp_path / folder / "s.csv", FASHION, read, ids, metric)["metric"] == pytest.approx(
            expected, abs=1e-12
        )
        perfect = score(tmp_path / "truth.csv", FASHION, read, ids, metric)
        assert (perfect["metric"], perfect["mean_dice"]) == (1, 1)
    pooled = score(tmp_path / "a/s.csv", FASHION, read, ids)
    dices = [
        MeanDice().counts(*((each.class_image() == k).astype(np.uint8) for each in (truth[id], guesses[id])))[0]
        for id in ids
        for k in range(1, 5)
    ]
    assert pooled["mean_dice"] == pytest.approx(np.mean(dices))


def test_rows_of_an_image_stay_together_whatever_class_the_sample_names(tmp_path):
    in_key = Dialect(("key", "rle"), "instance", "F", keep_empty=False, key="{id}.jpg_{class}", labels=FASHION.labels)
    for dialect, names in ((FASHION, [("{}.jpg", "none"), ("{}.jpg", "2")]), (in_key, [("{}.jpg_3",), ("{}.jpg_0",)])):
        samples = [
            (name.format(id), "1 1", *label) for id in ("img_2", "img_3", "none", "img_1") for name, *label in names
        ]
        write(samples, tmp_path / "sample.csv", dialect)
        ids = ids_of_sample(tmp_path / "sample.csv", dialect)
        assert ids == ["img_2", "img_3", "none", "img_1"]
        folder = tmp_path / dialect.columns[0]
        with RowParts(folder) as parts:
            for id in sorted(ids):
                parts.add(id, dialect.cells(id, object_masks(Segments(IMAGES[id], CLASSES), "F")))
        rows = list(rows_in_order(folder, sorted(ids), dialect, tmp_path / "sample.csv"))
        assert rows == list(map(tuple, right_rows(dialect, {id: IMAGES[id] for id in ids})))
        write(rows, tmp_path / "s.csv", dialect)
        [problem] = lint(tmp_path / "s.csv", dialect, tmp_path / "sample.csv", SHAPE)
        assert problem.what.startswith("1 of 4 images have no row ('none')")
        ahead = sorted(rows, key=lambda row: not row[0].startswith("img_1"))
        write(ahead, tmp_path / "s.csv", dialect)
        told = [each.where for each in lint(tmp_path / "s.csv", dialect, tmp_path / "sample.csv", SHAPE)]
        assert len(told) == 2
        assert told[0].startswith("line 2 (")  # reordered


def test_objects_and_rows_are_each_others_inverse():
    for order in "CF":
        masks = object_masks(Segments(IMAGES["img_2"], CLASSES), order)
        back = segments_of([*masks, (2, "")], SHAPE, order)
        assert object_masks(back, order) == masks
        np.testing.assert_array_equal(back.class_image(), Segments(IMAGES["img_2"], CLASSES).class_image())
    assert object_masks(IMAGES["none"]) == []
    assert segments_of([], (2, 3)).labels.tolist() == [[0, 0, 0]] * 2
    with pytest.raises(ValueError, match="an image of classes holds 0 to 254, got 300 to 300"):
        Segments(np.ones((2, 2), int), {1: 300}).class_image()
    with pytest.raises(ValueError, match="past the end"):
        segments_of([(1, "4 5")], (2, 3))
