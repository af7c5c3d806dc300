"""The true masks in a run folder: of every kind as the data set gave them, whole or not at all, never of other data."""

import ast
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kit.data.run_masks import RunMask
from kit.data.tasks import Task
from kit.runs.truth import Truth

TASKS = {
    "binary": Task("binary", ("background", "a")),
    "multiclass": Task("multiclass", ("background", "a", "b", "c")),
    "multilabel": Task("multilabel", ("a", "b", "c")),
}


def drawn(task, rng, size=(31, 43)):
    if task.overlaps:
        return rng.random((*size, len(task.classes))) < 0.4
    return rng.choice([*range(len(task.classes)), 255], size).astype(np.uint8)


@pytest.mark.parametrize("name", TASKS)
def test_masks_come_back_as_they_were(name, tmp_path):
    rng, task = np.random.default_rng(0), TASKS[name]
    masks = {f"a/{number}": drawn(task, rng) for number in range(3)}
    truth = Truth(tmp_path, task)
    truth.keep(list(masks), masks.__getitem__, "data")
    assert truth.missing([*masks, "b"]) == ["b"]
    for id, mask in masks.items():
        found = truth.read(id)
        assert found.dtype == mask.dtype
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize("background", [True, False])
def test_objects_keep_their_pixels_and_their_order(background, tmp_path):
    rng = np.random.default_rng(1)
    names = np.array([0, 7, 8, 300, 70_000, 2_000_000] if background else [7, 9, 70_000])
    labels = names[rng.integers(0, len(names), (20, 30))].astype(np.int32)
    truth = Truth(tmp_path, Task("instances", ("background", "cell")))
    truth.write("one", labels)
    found = truth.read("one")
    assert found.dtype == np.int32
    expected = np.searchsorted(names, labels) + (0 if background else 1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("most", [65_535, 65_536, 200_000])
def test_any_number_of_objects_is_kept(most, tmp_path):
    labels = np.arange(most + 1, dtype=np.int32)[None].repeat(2, axis=0)
    truth = Truth(tmp_path, Task("instances", ("background", "cell")))
    truth.write("one", labels)
    found = truth.read("one")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, labels)


def test_two_processes_that_keep_at_once_remove_nothing_of_one_another(tmp_path):
    rng, task = np.random.default_rng(3), TASKS["binary"]
    masks = {f"{part}{number}": drawn(task, rng) for part in "ab" for number in range(20)}
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        halves = [[id for id in masks if id[0] == part] for part in "ab"]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda ids, folder=folder: Truth(folder, task).keep(ids, masks.__getitem__, "key"), halves))
        assert Truth(folder, task).missing(list(masks)) == []


def test_runs_of_a_slide_come_back(tmp_path):
    edges = {1: np.array([0, 4, 90, 95]), 3: np.array([2, 8]), 255: np.array([50, 60])}
    truth = Truth(tmp_path, TASKS["multiclass"], slides=True)
    truth.write("slide", RunMask((10, 12), "F", edges))
    found = truth.read("slide")
    assert (found.shape, found.order, list(found.edges)) == ((10, 12), "F", [1, 3, 255])
    np.testing.assert_array_equal(found.read(0, 0, 10, 12), RunMask((10, 12), "F", edges).read(0, 0, 10, 12))


def test_headers_are_parsed_by_one_thread_at_a_time(tmp_path, monkeypatch):
    """Python 3.11 raises SystemError now and then where two threads call ast.parse: no file is damaged by that."""
    truth = Truth(tmp_path, TASKS["multiclass"], slides=True)
    masks = {name: RunMask((8, 9), "C", {1: np.array([3, 7]), 2: np.array([20, 30])}) for name in "abcd"}
    truth.keep(list(masks), masks.__getitem__, "data")
    parse, alone, meetings = ast.literal_eval, threading.Lock(), []

    def watched(text):
        if not alone.acquire(blocking=False):
            meetings.append(text)
            return parse(text)
        try:
            time.sleep(0.002)
            return parse(text)
        finally:
            alone.release()

    monkeypatch.setattr(ast, "literal_eval", watched)
    with ThreadPoolExecutor(4) as pool:
        for name, found in zip("abcd" * 3, pool.map(truth.read, "abcd" * 3), strict=True):
            np.testing.assert_array_equal(found.edges[2], masks[name].edges[2])
    assert not meetings


def test_masks_of_other_data_are_not_used(tmp_path):
    rng, task = np.random.default_rng(2), TASKS["binary"]
    before, after = ({id: drawn(task, rng) for id in "abc"} for _ in range(2))
    truth = Truth(tmp_path, task)
    truth.keep("abc", before.__getitem__, "then")
    truth.keep("ab", after.__getitem__, "then")
    np.testing.assert_array_equal(truth.read("a"), before["a"])
    truth.keep("ab", after.__getitem__, "now")
    assert truth.missing("abc") == ["c"]
    np.testing.assert_array_equal(truth.read("a"), after["a"])


@pytest.mark.parametrize("slides", [False, True])
@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_damaged_file_is_named(slides, content, tmp_path):
    truth = Truth(tmp_path, TASKS["multilabel"], slides)
    truth.folder.mkdir()
    truth.path("one").write_bytes(content)
    with pytest.raises(ValueError, match=r"truth/one\.\w+ is damaged; delete it and run the recipe"):
        truth.read("one")
