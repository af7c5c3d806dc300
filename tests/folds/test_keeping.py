"""folds.csv: frozen when the first fold begins, however many runs start in one folder at once."""

import multiprocessing
import os
from types import SimpleNamespace

import numpy as np
import pytest

from kit.folds import freeze_folds, is_begun, keep_folds, read_folds

ALONE = SimpleNamespace(main=True, wait=lambda: None)
DATA = SimpleNamespace(ids=[f"im{i}" for i in range(12)], groups=[i // 2 for i in range(12)])


def folds_of(k):
    return np.arange(12) // 2 % k


PAIRS = [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]
GIVEN = SimpleNamespace(ids=[id for id, _ in PAIRS], groups=[group for _, group in PAIRS])


def test_folds_may_change_until_one_has_begun(tmp_path):
    for k in (2, 3, 6):
        assert keep_folds(tmp_path, DATA, ALONE, lambda k=k: folds_of(k)).max() == k - 1
    assert not is_begun(tmp_path)
    freeze_folds(tmp_path, 4, folds_of(6), ALONE)
    assert is_begun(tmp_path)
    before = (tmp_path / "folds.csv").read_bytes()
    assert keep_folds(tmp_path, DATA, ALONE, lambda: folds_of(6)).max() == 5
    with pytest.raises(ValueError, match="is frozen") as refused:
        keep_folds(tmp_path, DATA, ALONE, lambda: folds_of(3))
    assert str(refused.value) == (
        f"{tmp_path}/folds.csv has 6 folds of 2, 2, 2, 2, 2, 2 images and is frozen: fold4 began with it. This run "
        "asks for 3 folds of 4, 4, 4 images. Ask for the same folds (their number, their seed), choose another run "
        "folder (--run-dir), or remove fold4 to begin anew. The folds of older recipes came of --seed: write that "
        "number in the line that makes them. kit.folds.read_folds gives the folds of a file"
    )
    assert (tmp_path / "folds.csv").read_bytes() == before


def test_whoever_begins_second_is_refused_before_it_writes(tmp_path):
    """Both runs have read their folds; the second wrote folds.csv, then the first begins."""
    first = keep_folds(tmp_path, DATA, ALONE, lambda: folds_of(2))
    second = keep_folds(tmp_path, DATA, ALONE, lambda: folds_of(3))
    with pytest.raises(ValueError, match=r"now has 3 folds of 4, 4, 4 images, .* this run has 2 folds of 6"):
        freeze_folds(tmp_path, 0, first, ALONE)
    assert not (tmp_path / "fold0").exists()
    freeze_folds(tmp_path, 1, second, ALONE)
    freeze_folds(tmp_path, 0, second, ALONE)


def test_a_run_never_goes_on_with_the_folds_of_another(tmp_path):
    """Another run writes folds.csv after this one has, and before this one looks at it again."""
    between = SimpleNamespace(main=True, wait=lambda: keep_folds(tmp_path, DATA, ALONE, lambda: folds_of(2)))
    folds = keep_folds(tmp_path, DATA, between, lambda: folds_of(3))
    assert folds.tolist() == folds_of(3).tolist()
    with pytest.raises(ValueError, match=r"now has 2 folds of 6, 6 images, .* this run has 3 folds of 4"):
        freeze_folds(tmp_path, 0, folds, ALONE)


def _start(folder, k, barrier, results):
    barrier.wait()
    try:
        folds = keep_folds(folder, DATA, ALONE, lambda: folds_of(k))
        freeze_folds(folder, k % 2, folds, ALONE)
        results.put(("begun", k, int(folds.max()) + 1))
    except ValueError as error:
        results.put(("refused", k, str(error)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_many_runs_at_once_begin_with_one_and_the_same_folds(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_start, args=(tmp_path, k, barrier, results)) for k in (2, 3, 2, 6)]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    kept = keep_folds(tmp_path, DATA, ALONE, lambda: folds_of(next(k for how, k, _ in outcomes if how == "begun")))
    begun = [outcome for outcome in outcomes if outcome[0] == "begun"]
    assert begun
    assert all(k == count == kept.max() + 1 for _, k, count in begun)
    assert all("folds of" in told for how, _, told in outcomes if how == "refused")


def test_numbers_paths_and_odd_texts_survive(tmp_path):
    ids = ["case1/day0/slice_1", "NA", "null", "000123", 'a "b", c', "7", "é", " x ", "=1"]
    data = SimpleNamespace(ids=ids, groups=[np.int64(3), 3, 10, "NA", "nan", "", "a,b", 'q"', "1.0"])
    folds = np.array([0, 0, 1, 0, 1, 1, 0, 1, 0])
    assert keep_folds(tmp_path, data, ALONE, lambda: folds).tolist() == folds.tolist()
    freeze_folds(tmp_path, 0, folds, ALONE)
    texts = SimpleNamespace(ids=ids, groups=[str(group) for group in data.groups])
    assert keep_folds(tmp_path, texts, ALONE, lambda: folds).tolist() == folds.tolist()
    (tmp_path / "fold0/last.pt").write_bytes(b"")
    decomposed = SimpleNamespace(ids=[id.replace("é", "e\u0301") for id in ids], groups=texts.groups)
    assert keep_folds(tmp_path, decomposed, ALONE, lambda: folds).tolist() == folds.tolist()


@pytest.mark.parametrize(
    ("folds", "told"),
    [
        (np.repeat([0, 2], 6), "fold 1 holds no image"),
        (np.repeat([-1], 12), "no image is held out"),
        (np.arange(12) / 2, "expected whole numbers from 0, or -1"),
        (np.arange(12) // 2 - 2, "from -2, expected whole numbers"),
        (np.arange(6), r"the folds have the shape \(6,\), expected \(12,\)"),
    ],
)
def test_folds_that_a_user_made_wrongly_are_refused_before_anything_is_written(tmp_path, folds, told):
    with pytest.raises(ValueError, match=told):
        keep_folds(tmp_path, DATA, ALONE, lambda: folds)
    assert not (tmp_path / "folds.csv").exists()


def test_a_file_without_its_columns_is_named(tmp_path):
    (tmp_path / "fold0").mkdir()
    (tmp_path / "fold0/finished.json").write_text("{}")
    (tmp_path / "folds.csv").write_text("id,fold\nim0,0\n")
    with pytest.raises(ValueError, match=r"folds\.csv has no column group; expected id,group,fold"):
        keep_folds(tmp_path, DATA, ALONE, list)


def test_folds_of_a_file_can_be_given(tmp_path):
    """Those of a competition, or of an earlier run that another version of a package would make otherwise."""
    path = tmp_path / "given.csv"
    path.write_text("id,group,fold\n" + "".join(f"{id},{group},{n % 2}\n" for n, (id, group) in enumerate(PAIRS)))
    assert read_folds(path, GIVEN).tolist() == [0, 1, 0, 1]
    assert keep_folds(tmp_path / "run", GIVEN, ALONE, lambda: read_folds(path, GIVEN)).tolist() == [0, 1, 0, 1]
    path.write_text(path.read_text().replace("b,", "z,"))
    told = r"lists other ids or groups .*\. Only in the file: z \(1\)\. Only in the data: b \(1\)\. Choose"
    with pytest.raises(ValueError, match=told):
        read_folds(path, GIVEN)
