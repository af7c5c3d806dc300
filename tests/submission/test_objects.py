"""Rows of classes and of objects: what the lint finds by line, and how rows in progress keep images whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.submission import Competition, Dialect, RowParts, errors_of, lint, read_rows, rle, rows_in_order, score, write
from kit.submission.lint_objects import overlaps
from kit.submission.score import truth_reader

CELLS = Dialect(("id", "predicted"), "instance")
ORGANS = Dialect(("id", "class", "rle"), "class", class_column="class", labels=("heart", "lung"))
STEEL = Dialect(("key", "rle"), "class", key="{id}.jpg_{class}", labels=("1", "2", "3"))
SHAPE = (20, 33)


def linted(tmp_path, dialect, text, sample=None):
    (tmp_path / "s.csv").write_text(",".join(dialect.columns) + "\n" + text)
    if sample is not None:
        (tmp_path / "sample.csv").write_text(",".join(dialect.columns) + "\n" + sample)
    problems = lint(tmp_path / "s.csv", dialect, None if sample is None else tmp_path / "sample.csv", SHAPE)
    return [problem for problem in problems if "could not be looked for" not in problem.what]


def test_rows_of_objects_are_right_adjacent_or_not(tmp_path):
    assert linted(tmp_path, CELLS, "a,1 9\na,60 5\nb,\nc,7 3\n", "a,\nb,\nc,\n") == []
    (problem,) = linted(tmp_path, CELLS, "a,1 9\nb,\na,60 5\nc,7 3\na,90 5\n", "a,\nb,\nc,\n")
    assert problem.severity == "warning"
    assert problem.where == "line 4 ('a')"
    assert "lie apart, the last was line 2" in problem.what


def test_overlaps_and_empty_rows_are_found_by_line(tmp_path):
    text = "a,100 50\nb,9 2\na,3 4 149 3\na,\nb,11 5\nc,\nc,\n"
    problems = [str(each) for each in linted(tmp_path, CELLS, text) if each.severity == "error"]
    assert problems == [
        "line 5 ('a'): an empty row beside other rows of its image. Only an image without objects has one: delete it",
        "line 8 ('c'): an empty row beside other rows of its image. Only an image without objects has one: delete it",
        "line 4 ('a'): overlaps line 2: both hold pixel 149. Give each pixel to one object",
    ]


def test_every_overlapping_row_is_named(tmp_path):
    """Also the one between two others: its runs begin behind those of a later row."""
    problems = [str(each) for each in linted(tmp_path, CELLS, "a,20 40\na,30 2\na,25 4\na,90 3\na,22 50\n")]
    assert problems == [
        f"line {line} ('a'): overlaps line 2: both hold pixel {pixel}. Give each pixel to one object"
        for line, pixel in ((3, 30), (4, 25), (6, 22))
    ]


def test_the_sample_itself_is_a_warning_even_where_its_placeholders_overlap(tmp_path):
    text = "a,1 1\na,1 1\nb,1 1\n"
    (problem,) = linted(tmp_path, CELLS, text, text)
    assert problem.severity == "warning"
    assert "all 3 rows are the sample file's own" in problem.what
    assert any("overlaps line 2" in each for each in errors_of(linted(tmp_path, CELLS, "a,1 1\na,1 4\nb,1 1\n", text)))
    assert linted(tmp_path, CELLS, "b,5 1\na,2 2\n", text)[0].severity == "warning"  # one row of a is enough


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=5), max_size=5))
def test_overlaps_against_sets_of_pixels(masks):
    runs, pixels = [], []
    for gaps in masks:
        edges = np.cumsum([number for pair in gaps for number in pair])
        runs.append(np.column_stack([edges[::2], edges[1::2] - edges[::2]]))
        pixels.append({pixel for start, length in runs[-1] for pixel in range(start, start + length)})
    expected = []
    for later in range(len(masks)):
        shared = [
            (earlier, min(pixels[earlier] & pixels[later]))
            for earlier in range(later)
            if pixels[earlier] & pixels[later]
        ]
        expected += [(later, *one) for one in shared[:1]]
    assert overlaps(runs) == expected


def test_classes_may_overlap_and_must_all_be_there(tmp_path):
    sample = "a,heart,\na,lung,\nb,heart,\nb,lung,\n"
    assert linted(tmp_path, ORGANS, "a,heart,3 9\na,lung,5 9\nb,heart,\nb,lung,1 1\n", sample) == []
    problems = linted(tmp_path, ORGANS, "a,heart,3 9\na,liver,5 9\nb,heart,\nb,heart,1 1\n", sample)
    assert [problem.where for problem in problems] == [
        "line 3 ('a', 'liver')",
        "line 5 ('b', 'heart')",
        "missing",
        "missing",
    ]
    assert "unknown class 'liver', expected heart, lung" in problems[0].what
    assert "duplicate" in problems[1].what
    assert "'a', 'lung', of the sample file has no row" in problems[2].what
    (problem,) = linted(tmp_path, STEEL, "x.jpg_1,3 9\nx.jpg_3,\n")
    assert problem.what == "'x' has no row of the class '2'"


class Organs:
    name, classes = "organs", ("background", "heart", "lung")

    def shape(self, id):
        return SHAPE

    def test_fingerprint(self):
        return ""


def test_a_competition_knows_its_ids_and_sizes_without_a_sample(tmp_path):
    competition = Competition(Organs(), ORGANS, ["a", "b"])
    (tmp_path / "s.csv").write_text("id,class,rle\na,heart,660 1\na,lung,660 2\nb,heart,\nc,heart,1 1\n")
    errors = errors_of(lint(tmp_path / "s.csv", competition))
    assert any("line 3" in each and "past the end of an image of 660 pixels" in each for each in errors)
    assert any("('c', 'heart'): unknown, the competition's test ids has no such id" in each for each in errors)
    assert any("'b', 'lung', of the competition's test ids has no row" in each for each in errors)


def test_unknown_sizes_are_said(tmp_path):
    (tmp_path / "s.csv").write_text("id,predicted\na,1 9\n")
    (problem,) = lint(tmp_path / "s.csv", CELLS)
    assert problem.severity == "warning"
    assert "--shape H W, or --images DIR" in problem.what


def test_a_dialect_without_empty_rows_misses_none(tmp_path):
    sparse = Dialect(("id", "class", "rle"), "class", class_column="class", labels=("heart", "lung"), keep_empty=False)
    assert linted(tmp_path, sparse, "a,lung,5 9\n", "a,heart,\na,lung,\nb,heart,\nb,lung,\n") == []


MASKS = {
    "a/1": [(1, "3 4"), (1, "9 2"), (1, "100 30 200 3")],
    "b": [],
    "c": [(1, "1 1")],
    "d": [(1, f"{at} 2") for at in range(1, 90, 9)],
}


@pytest.mark.parametrize("keep_empty", [True, False])
def test_rows_of_objects_killed_at_any_byte_give_the_same_bytes(tmp_path, keep_empty):
    dialect = Dialect(("id", "predicted"), "instance", keep_empty=keep_empty)
    rows = {id: dialect.cells(id, masks) for id, masks in MASKS.items()}
    with RowParts(tmp_path / "whole") as parts:
        for id, cells in rows.items():
            parts.add(id, cells)
    whole = parts.path.read_bytes()
    write(rows_in_order(tmp_path / "whole", list(MASKS), dialect), tmp_path / "whole.csv", dialect)
    assert list(read_rows(tmp_path / "whole.csv", dialect)) == [row for cells in rows.values() for row in cells]
    folder = tmp_path / "parts"
    for kept in range(len(whole) + 1):
        folder.mkdir(exist_ok=True)
        (folder / "part-0.csv").write_bytes(whole[:kept])
        with RowParts(folder) as parts:
            assert whole.startswith(parts.path.read_bytes())
            for id in MASKS:
                if id not in parts.done:
                    parts.add(id, rows[id])
        assert parts.path.read_bytes() == whole


def test_rows_come_in_the_order_and_spelling_of_the_sample(tmp_path):
    with RowParts(tmp_path / "parts") as parts:
        for number, id in enumerate(["b", "e\u0301", "a", "late"]):
            parts.add(id, ORGANS.cells(id, [(1 + number % 2, f"{number + 1} 1")]))
    order = [
        ("a", "lung"),
        ("é", "heart"),
        ("nowhere", "lung"),
        ("b", "lung"),
        ("é", "lung"),
        ("a", "heart"),
        ("b", "heart"),
    ]
    write([(*name, "") for name in order], tmp_path / "sample.csv", ORGANS)
    rows = list(rows_in_order(tmp_path / "parts", ["b", "e\u0301", "a", "late"], ORGANS, tmp_path / "sample.csv"))
    assert [row[:2] for row in rows] == [name for name in order if name[0] != "nowhere"] + [
        ("late", "heart"),
        ("late", "lung"),
    ]
    assert ("é", "lung", "2 1") in rows
    objects = Dialect(("id", "predicted"), "instance")
    with RowParts(tmp_path / "objects") as parts:
        for id, masks in MASKS.items():
            parts.add(id, objects.cells(id, masks))
    (tmp_path / "twice.csv").write_text("id,predicted\nd,1 1\nb,1 1\nd,1 1\na/1,1 1\nc,1 1\n")
    found = list(rows_in_order(tmp_path / "objects", list(MASKS), objects, tmp_path / "twice.csv"))
    assert found == [row for id in ("d", "b", "a/1", "c") for row in objects.cells(id, MASKS[id])]


def test_scores_of_classes_and_objects(tmp_path):
    rng = np.random.default_rng(0)
    truth = {id: rng.integers(0, 3, SHAPE).astype(np.uint8) for id in "ab"}
    guess = {id: rng.integers(0, 3, SHAPE).astype(np.uint8) for id in "ab"}
    truth["a"][:4] = 255
    rows = [row for id in "ab" for row in ORGANS.cells(id, [(k, rle.encode(guess[id] == k)) for k in (1, 2)])]
    write(rows, tmp_path / "s.csv", ORGANS)
    ious = []
    for id in "ab":
        counted = truth[id] != 255
        for k in (1, 2):
            t, g = (truth[id] == k) & counted, (guess[id] == k) & counted
            ious.append((t & g).sum() / (t | g).sum())
    found = score(tmp_path / "s.csv", ORGANS, truth.get)
    assert found["images"] == 2
    assert found["mean_iou"] == pytest.approx(np.mean(ious))
    sparse = Dialect(ORGANS.columns, "class", class_column="class", labels=ORGANS.labels, keep_empty=False)
    write(rows[:1], tmp_path / "few.csv", sparse)
    assert score(tmp_path / "few.csv", sparse, truth.get)["mean_iou"] == pytest.approx(ious[0] / 2)
    assert score(tmp_path / "few.csv", sparse, truth.get, "ab")["mean_iou"] == pytest.approx(ious[0] / 4)
    read = truth_reader(tmp_path / "s.csv", ORGANS, SHAPE)
    assert score(tmp_path / "s.csv", ORGANS, read)["mean_dice"] == 1
    assert read("z") is None
    write([("a", "1 9"), ("a", "20 2")], tmp_path / "cells.csv", CELLS)
    union = rle.decode("1 9 20 2", SHAPE)
    assert score(tmp_path / "cells.csv", CELLS, {"a": union}.get) == {"images": 1, "mean_dice": 1.0, "mean_iou": 1.0}


def test_a_mask_of_another_dialect_names_it(tmp_path):
    plain = Dialect(("id", "predicted"))
    (problem,) = linted(tmp_path, plain, "a,0 4 30 2\n")
    assert problem.what.endswith("It is right with base=0, relative=False (--base 0), if the competition counts so")
    (problem,) = linted(tmp_path, plain, "a,300 4 20 2\n")
    assert problem.what.endswith("relative=True (--base 0 --relative), if the competition counts so")
    (problem,) = linted(tmp_path, plain, "a,3 4 x 2\n")
    assert "right with" not in problem.what


def test_a_mask_cut_by_a_spreadsheet_is_a_warning(tmp_path):
    cell = "1 1".rjust(32_767, "0")
    (tmp_path / "s.csv").write_text(f"id,predicted\na,{cell}\n")
    problems = lint(tmp_path / "s.csv", Dialect(("id", "predicted")), shapes=(300, 400))
    assert any("where spreadsheets cut a cell" in problem.what for problem in problems)


def test_a_sample_that_repeats_ids_expects_one_row_an_image(tmp_path):
    plain, text = Dialect(("id", "predicted")), "a,1 1\na,1 1\nb,1 1\n"
    with RowParts(tmp_path / "parts") as parts:
        for id in "ba":
            parts.add(id, plain.cells(id, [(1, "3 30")]))
    (tmp_path / "sample.csv").write_text("id,predicted\n" + text)
    write(rows_in_order(tmp_path / "parts", ["b", "a"], plain, tmp_path / "sample.csv"), tmp_path / "out.csv", plain)
    assert [row[0] for row in read_rows(tmp_path / "out.csv", plain)] == ["a", "b"]
    problem = lint(tmp_path / "out.csv", plain, tmp_path / "sample.csv", SHAPE)[0]
    assert problem.severity == "warning"
    assert "1 rows repeat an id" in problem.what


def test_labels_in_another_order_than_the_classes_are_refused():
    turned = Dialect(ORGANS.columns, "class", class_column="class", labels=("Lung", "Heart"))
    with pytest.raises(ValueError, match="in another order"):
        Competition(Organs(), turned)
