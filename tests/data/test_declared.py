"""What a data set says of itself: ids, groups, classes, channels. Checked without reading a file."""

import re

import numpy as np
import pandas as pd
import pytest
from drawn import Drawn, changed, refusal

from kit.data import check_dataset


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        ([], "ids is empty"),
        ([1, 2, 3], r"3 of 3 ids are no text but int, such as 1: self\.ids = \[str\(id\) for id in …\]"),
        (np.arange(4), r"4 of 4 ids are no text but int64"),
        (["a", 7], "1 of 2 ids are no text but int"),
        ([b"a"], "no text but bytes"),
        ("disc", "ids is a str"),
        (None, "it has no ids"),
        (["a", "b", "a", "a"], "the id 'a' is there 3 times"),
        (["a/../../b"], "no file name"),
        (["/etc/a", "b\\c", ""], "3 problems"),
        (["caf\u00e9", "cafe\u0301"], "one file name"),
        (["x" * 300], "no file name"),
    ],
)
def test_fault_58_ids_that_cannot_be_used(ids, told):
    assert re.search(told, refusal(changed(ids=ids)))


@pytest.mark.parametrize(
    "make",
    [tuple, np.array, pd.Series, pd.Index, iter, lambda ids: (id for id in ids), lambda ids: list(map(np.str_, ids))],
)
def test_fault_58_collections_of_ids_become_a_list_of_text(make):
    dataset, expected = Drawn(), Drawn().ids
    dataset.ids = make(expected)
    check_dataset(dataset)
    assert dataset.ids == expected
    assert {type(id) for id in dataset.ids} == {str}
    assert dataset.groups == expected


def test_fault_58_ids_with_folders_are_fine():
    dataset = Drawn()
    dataset.ids = [id.replace("_", "/day1/slice_") for id in dataset.ids]
    assert check_dataset(dataset).images == 12


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([1, 2, 3], ["1", "2", "3"]),
        (np.array([1, 1, 2]), ["1", "1", "2"]),
        (pd.Series([1.0, 1.0, 2.0], index=[7, 8, 9]), ["1", "1", "2"]),
        (("a", np.int64(3), np.str_("b")), ["a", "3", "b"]),
        ([1.5, True, "x"], ["1.5", "True", "x"]),
        ((group for group in "abc"), ["a", "b", "c"]),
        (pd.Series(pd.Categorical(["u", "v", "u"])), ["u", "v", "u"]),
    ],
)
def test_fault_58_groups_become_text(groups, expected):
    dataset = Drawn(count=3)
    dataset.groups = groups
    check_dataset(dataset)
    assert dataset.groups == expected
    assert {type(group) for group in dataset.groups} == {str}


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ([1, None, 3], "1 image without a group.*disc_01"),
        ([1.0, float("nan"), np.nan], "2 images without a group"),
        (pd.Series([1, None, 3], dtype="Int64"), "1 image without a group"),
        (["a", " ", "b"], "1 image without a group"),
        ([("p", 1), ("p", 2), "q"], "2 groups neither text nor number"),
        ([1, 2], "2 groups for 3 ids"),
        ("abc", "groups is a str"),
        (5, "groups is a int"),
    ],
)
def test_fault_58_groups_that_cannot_be_used(groups, told):
    dataset = Drawn(count=3)
    dataset.groups = groups
    assert re.search(told, refusal(dataset), re.DOTALL)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"classes": ("disc",)}, "1 class, expected 2 to 255"),
        ({"classes": "disc"}, "classes is 'disc'"),
        ({"classes": ("a", "b", "a")}, "names a are there twice"),
        ({"num_classes": 5}, "num_classes is 5, but classes has 2 names"),
        ({"task": "multilabel"}, "multilabel are the foreground alone; leave 'background' out"),
        ({"task": "multilabel", "classes": ()}, "0 classes of task multilabel, expected 1 to 255"),
        ({"task": "instances", "classes": ("a", "b", "c")}, "3 classes of task instances, expected the background and"),
        ({"task": "binary", "classes": ("a", "b", "c")}, "3 classes of task binary, expected 2"),
        ({"task": "both"}, "task is 'both'"),
        ({"channels": ()}, r"channels is \(\)"),
        ({"channels": 3}, "channels is 3"),
        ({"mean": (0.5,)}, "one is given and one is None"),
        ({"mean": (0.5, 0.5), "std": (1, 1)}, "2 means and 2 stds for 1 channel;"),
        ({"mean": (0.5,), "std": (0,)}, "each std above 0"),
        ({"dtype": "float64"}, "dtype is 'float64'"),
        ({"name": "a/b"}, "used in file names"),
        ({"absent": ("ring",)}, "absent names 'ring'"),
    ],
)
def test_what_a_data_set_says_of_itself(changes, told):
    assert re.search(told, refusal(changed(**changes)))


def test_all_that_it_says_is_listed_at_once():
    text = refusal(changed(ids=["a", "a"], classes=("x",), channels=(), name=""))
    assert text.startswith("4 problems with what the data set says of itself")
