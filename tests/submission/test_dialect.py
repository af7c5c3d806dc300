"""A dialect writes rows and reads them back; what it cannot write it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.submission import Competition, Dialect, rle
from kit.submission.known import CARVANA

CLOUDS = ("Fish", "Flower", "Gravel", "Sugar")
STEEL = Dialect(("ImageId_ClassId", "EncodedPixels"), "class", "F", key="{id}.jpg_{class}", labels=("1", "2", "3"))
ORGANS = Dialect(("id", "class", "segmentation"), "class", class_column="class", labels=("large_bowel", "stomach"))
NUCLEI = Dialect(("ImageId", "EncodedPixels"), "instance", "F")
LUNGS = Dialect(("ImageId", "EncodedPixels"), "instance", "F", 0, relative=True, empty="-1")

IDS = st.text(st.characters(exclude_categories=("C",), exclude_characters="/\\"), min_size=1, max_size=12)
RUNS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=6)


def canonical(gaps) -> str:
    """Run lengths of (gap, length) pairs."""
    text, at = [], 1
    for gap, length in gaps:
        at += gap
        text += [at, length]
        at += length
    return " ".join(map(str, text))


@st.composite
def dialects(draw):
    rows = draw(st.sampled_from(["image", "class", "instance"]))
    labels = draw(st.sampled_from([("1", "2", "3"), CLOUDS, ("a b", "c"), ()]))
    in_column, classes = draw(st.booleans()), rows == "class" or (rows == "instance" and draw(st.booleans()))
    empty = draw(st.booleans()) and not (rows == "instance" and classes) and (labels or rows != "class")
    columns = draw(st.sampled_from([("id", "rle"), ("ImageId", "EncodedPixels")]))
    forms = (
        ["{id}_{class}", "{class}/{id}.png", "{id}.jpg_{class}", "x-{id}-{class}"] if classes and not in_column else []
    )
    return Dialect(
        columns=(*columns, "class") if classes and in_column else columns,
        rows=rows,
        order=draw(st.sampled_from("CF")),
        base=draw(st.sampled_from([0, 1])),
        relative=draw(st.booleans()),
        empty=draw(st.sampled_from(["", "-1", "-", "1 0", "none"])),
        keep_empty=bool(empty),
        key=draw(st.sampled_from(forms or ["{id}", "{id}.jpg", "scan_{id}"])),
        class_column="class" if classes and in_column else None,
        labels=labels if classes else (),
    )


@settings(max_examples=200, deadline=None)
@given(dialects(), IDS, st.dictionaries(st.integers(1, 4), RUNS, max_size=4))
def test_parse_undoes_cells(dialect, id, masks):
    count = len(dialect.labels) or (4 if dialect.has_classes else 1)
    given_masks = [(index, canonical(gaps)) for index, gaps in masks.items() if index <= count]
    rows = dialect.cells(id, given_masks)
    assert all(len(row) == len(dialect.columns) for row in rows)
    parsed = [dialect.parse(row) for row in rows]
    assert {each[0] for each in parsed} <= {id}
    found = [(index if dialect.has_classes else 1, text) for _, index, text in parsed]
    assert sorted(each for each in found if each[1]) == sorted(each for each in given_masks if each[1])
    if dialect.rows == "class" and dialect.keep_empty:
        assert [index for index, _ in found] == list(range(1, count + 1))
    if dialect.keep_empty:
        assert rows
    else:
        assert all(text for _, text in found)


def test_rows_as_competitions_write_them():
    assert CARVANA.cells("0cdf5b5d0ce1_01", [(1, "7 3")]) == [("0cdf5b5d0ce1_01.jpg", "7 3")]
    assert STEEL.cells("ab", [(3, "4 2"), (1, "9 1")]) == [("ab.jpg_1", "9 1"), ("ab.jpg_2", ""), ("ab.jpg_3", "4 2")]
    assert ORGANS.cells("case1_slice_0001", [(2, "4 2")]) == [
        ("case1_slice_0001", "large_bowel", ""),
        ("case1_slice_0001", "stomach", "4 2"),
    ]
    assert NUCLEI.cells("n", [(1, "1 2"), (1, "8 2")]) == [("n", "1 2"), ("n", "8 2")]
    assert NUCLEI.cells("n", []) == [("n", "")]
    late = Dialect(("ImageId", "EncodedPixels", "ClassId"), "class", class_column="ClassId", labels=("1", "2"))
    assert late.cells("s", [(2, "5 5")]) == [("s", "", "1"), ("s", "5 5", "2")]
    nested = Dialect(key="{id}.png")
    assert nested.parse(("case7/day0/slice_0031.png", "2 2")) == ("case7/day0/slice_0031", None, "2 2")


def test_relative_starts_are_decoded_as_the_competition_decodes_them():
    """By the rule of SIIM-ACR's own mask_functions: go on by start, fill length, go on by length; down columns."""
    mask = (np.random.default_rng(0).random((9, 7)) < 0.4).astype(np.uint8)
    ((_, cell),) = LUNGS.cells("x", [(1, rle.encode(mask, "F"))])
    flat, at = np.zeros(63, np.uint8), 0
    for start, length in np.array(cell.split(), int).reshape(-1, 2):
        at += start
        flat[at : at + length] = 1
        at += length
    np.testing.assert_array_equal(flat.reshape(7, 9).T, mask)
    assert LUNGS.cells("x", []) == [("x", "-1")]
    assert LUNGS.parse(("x", "-1")) == ("x", None, "")


@pytest.mark.parametrize("cell", ["", "-", "nan", "1 0", "-1"])
def test_an_empty_mask_in_another_way_is_named(cell):
    dialect = Dialect(empty="-1" if cell != "-1" else "")
    with pytest.raises(ValueError, match=f"an empty mask is written {dialect.empty!r}"):
        dialect.parse(("a", cell))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"columns": ("id", "width", "rle")}, "kit writes no other columns"),
        ({"columns": ("id", "id")}, "different names"),
        ({"rows": "class"}, "class_column"),
        ({"rows": "image", "key": "{id}_{class}"}, 'rows="image" has no classes'),
        ({"rows": "instance", "key": "{id}_{class}"}, "keep_empty=False"),
        ({"key": "x"}, "key holds"),
        ({"rows": "class", "key": "{id}{class}"}, "two ways"),
        ({"rows": "class", "key": "{id}_{class}", "labels": ("a", "b_a")}, "two ways"),
        ({"rows": "class", "columns": ("a", "b", "c"), "class_column": "d"}, "none of the columns"),
        ({"order": "A"}, "order is"),
        ({"base": 2}, "base is"),
        ({"empty": "1 1"}, "must not be a mask"),
    ],
)
def test_dialects_that_contradict_themselves(settings, said):
    with pytest.raises(ValueError, match=said):
        Dialect(**settings)


def test_classes_that_have_no_row_are_refused():
    with pytest.raises(ValueError, match=r"class 2.*rows=\"class\""):
        Dialect().cells("a", [(2, "1 1")])
    with pytest.raises(ValueError, match="two masks of one class"):
        STEEL.cells("a", [(2, "1 1"), (2, "5 1")])
    with pytest.raises(ValueError, match="unknown class 'liver'"):
        ORGANS.parse(("a", "liver", ""))
    with pytest.raises(ValueError, match=r"should be \{id\}\.jpg_\{class\}"):
        STEEL.parse(("ab.jpg_7", ""))


class Three:
    name, classes = "three", ("background", "scratch", "patch")

    def __init__(self, key="t"):
        self.key = key

    def test_fingerprint(self):
        return self.key

    def shape(self, id):
        return 8, 9


def test_a_competition_needs_a_dialect_for_all_classes():
    with pytest.raises(ValueError, match=r"2 foreground classes \(scratch, patch\).*rows of one class"):
        Competition(Three(), Dialect())
    with pytest.raises(ValueError, match=r"4 labels .* 2 foreground classes"):
        Competition(Three(), Dialect(rows="class", key="{id}_{class}", labels=CLOUDS))
    filled = Competition(Three(), Dialect(rows="class", key="{id}_{class}"), ["a"])
    assert filled.dialect.labels == ("1", "2")
    assert filled.dialect.cells("a", [(2, "3 1")]) == [("a_1", ""), ("a_2", "3 1")]
    for ids, said in (([7], "str, got int"), (["a", "b", "a"], "more than once, a")):
        with pytest.raises(ValueError, match=said):
            Competition(Three(), filled.dialect, ids)


def test_the_fingerprint_changes_with_all_that_changes_a_row():
    def fingerprint(dialect=ORGANS, ids=("a", "b"), key="t", **others):
        return Competition(Three(key), dialect, ids, **others).fingerprint()

    changed = [
        fingerprint(Dialect(rows="class", key="{id}_{class}")),
        fingerprint(Dialect(rows="class", key="{id}_{class}", order="F")),
        fingerprint(Dialect(rows="class", key="{id}_{class}", base=0)),
        fingerprint(ids=("b", "a")),
        fingerprint(ids=("a",)),
        fingerprint(key="u"),
    ]
    assert len({fingerprint(), *changed}) == len(changed) + 1
    assert fingerprint(metric="dice", sample_csv="x.csv") == fingerprint()
