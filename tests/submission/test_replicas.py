"""Ten competitions in their own layouts: each dialect is found or its choices named, and is the training CSV's own."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from replicas import DRAW
from replicas.replica import run_lengths
from replicas.shared import BY_SIZE, NAMES, at_size, drawn, encoded, right_rows, write_right

from kit.submission import (
    Competition,
    compare_masks,
    detect,
    errors_of,
    known,
    lint,
    read_rows,
    rle,
    score,
    truth_reader,
    write,
)
from kit.submission.detect import look
from kit.submission.lint import check_sample

WITH_CSV = [name for name in NAMES if name != "contrails"]
WITH_TESTS = [name for name in NAMES if name != "uw_madison_public"]


def of_train(replica):
    return replica.train_dialect or replica.dialect


@pytest.mark.parametrize("name", DRAW)
def test_the_dialect_is_the_constant_of_its_name(name):
    assert drawn(name).dialect is getattr(known, name.upper())


@pytest.mark.parametrize("name", NAMES)
def test_detect_finds_the_dialect_or_names_the_choices(name):
    replica = drawn(name)
    wanted = replace(replica.dialect, size=None)  # no file says a size
    if replica.unsure is None:
        assert detect(replica.train_csv, replica.sample_csv, replica.shape) == wanted
    else:
        with pytest.raises(ValueError, match=rf'order="C".*{replica.unsure}|{replica.unsure}.*order="C"'):
            detect(replica.train_csv, replica.sample_csv, replica.shape)
    if name == "siim":  # one row an image is submitted, several are given: no file says so
        wanted = replace(wanted, rows="instance")
    assert detect(replica.train_csv, replica.sample_csv, replica.shape, order=wanted.order) == wanted
    assert detect(replica.train_csv, replica.sample_csv, order=wanted.order) == wanted


@pytest.mark.parametrize("name", ["carvana", "salt", "dsb2018", "airbus"])
def test_masks_show_the_order_of_square_images_too(name):
    replica = drawn(name)
    assert detect(replica.train_csv, replica.sample_csv, read_mask=replica.read_mask) == replica.dialect


def test_order_that_the_masks_refute_is_refused():
    salt = drawn("salt")
    with pytest.raises(ValueError, match="differ from the training CSV"):
        detect(salt.train_csv, salt.sample_csv, read_mask=salt.read_mask, order="C")


@pytest.mark.parametrize("name", WITH_CSV)
def test_the_training_rows_are_the_dialects_own_byte_for_byte(name):
    replica = drawn(name)
    dialect, rows = of_train(replica), {}
    for id, index, mask in replica.rows:
        rows.setdefault(id, []).append((index, rle.encode(mask, dialect.order)))
    lines = [",".join(cells) for id, masks in rows.items() for cells in dialect.cells(id, masks)]
    blank = ", " if name == "siim" else ","  # its CSV has a blank before the second cell
    written = [line.replace(",", blank, 1) for line in [",".join(dialect.columns), *lines]]
    assert replica.train_csv.read_bytes() == ("\n".join(written) + "\n").encode()


@pytest.mark.parametrize("name", WITH_CSV)
def test_the_training_rows_parse_to_the_masks(name):
    replica = drawn(name)
    dialect = of_train(replica)
    found = [dialect.parse(cells) for cells in read_rows(replica.train_csv, dialect)]
    assert [(id, index or 1) for id, index, _ in found] == [row[:2] for row in replica.rows]
    for (_, _, text), (id, _, mask) in zip(found, replica.rows, strict=True):
        assert (rle.decode(text, replica.shape(id), dialect.order) == mask).all()


@pytest.mark.parametrize("name", WITH_CSV)
def test_the_training_csv_agrees_with_the_true_masks(name):
    replica = drawn(name)
    data = SimpleNamespace(ids=list(replica.truth), read_mask=replica.read_mask)
    assert compare_masks(data, replica.train_csv, of_train(replica)) == []
    swapped = replace(of_train(replica), order="C" if replica.dialect.order == "F" else "F")
    some = [id for id, truth in replica.truth.items() if truth.any()][:2]
    assert errors_of(compare_masks(data, replica.train_csv, swapped, some))


@pytest.mark.parametrize("name", NAMES)
def test_lint_accepts_the_sample_itself(name):
    replica = drawn(name)
    problems = lint(replica.sample_csv, replica.dialect, replica.sample_csv, replica.shape)
    assert errors_of(problems) == []
    assert problems  # nothing was predicted, which is a warning


@pytest.mark.parametrize("name", WITH_TESTS)
def test_lint_accepts_the_truth(name, tmp_path):
    replica = drawn(name)
    csv = write_right(replica, tmp_path / "s.csv")
    problems = lint(csv, replica.dialect, replica.sample_csv, replica.shape)
    told = [problem.what for problem in problems if "could not be looked for" not in problem.what]
    assert [what for what in told if "reordered" not in what] == []
    assert errors_of(problems) == []
    assert ("reordered" in str(told)) == (name == "salt")  # its sample is in another order than its files


@pytest.mark.parametrize("name", WITH_TESTS)
def test_the_truth_scores_one_and_the_empty_submission_what_is_empty(name, tmp_path):
    replica = drawn(name)
    csv = write_right(replica, tmp_path / "s.csv")
    read = truth_reader(csv, replica.dialect, replica.shape)
    found = score(csv, replica.dialect, read, replica.hidden)
    assert (found["images"], found["mean_dice"], found["mean_iou"]) == (len(replica.hidden), 1, 1)
    filled = [any(text for _, text in encoded(replica, truth)) for truth in replica.hidden.values()]
    if replica.dialect.has_classes:
        filled = [bool(text) for truth in replica.hidden.values() for _, text in encoded(replica, truth)]
    nothing = [cells for id in replica.hidden for cells in replica.dialect.cells(id, [])]
    write(nothing, tmp_path / "empty.csv", replica.dialect)
    found = score(tmp_path / "empty.csv", replica.dialect, read, replica.hidden)
    assert found["mean_dice"] == found["mean_iou"] == pytest.approx(1 - np.mean(filled))


@pytest.mark.parametrize("name", WITH_TESTS)
def test_a_competition_asks_for_the_rows_of_the_sample(name):
    replica = drawn(name)
    data = SimpleNamespace(
        name=name, classes=replica.classes, task=replica.task, shape=replica.shape, test_fingerprint=lambda: ""
    )
    check_sample(Competition(data, replica.dialect, sorted(replica.hidden), sample_csv=replica.sample_csv))
    others = Competition(data, replica.dialect, [*replica.hidden, "another"][1:], sample_csv=replica.sample_csv)
    with pytest.raises(ValueError, match="test image"):
        check_sample(others)


def test_the_replicas_own_encoder_against_a_mask_by_hand():
    mask = np.array([[0, 1, 1], [0, 1, 0]])
    assert run_lengths(mask, "C") == "2 2 5 1"
    assert run_lengths(mask, "F") == "3 3"
    assert run_lengths(mask, "C", 0) == "1 2 4 1"
    assert run_lengths(mask, "C", 0, relative=True) == "1 2 1 1"
    assert run_lengths(mask * 0, "C") == ""


@pytest.mark.parametrize("name", BY_SIZE)
def test_a_replica_is_the_same_each_time(name, tmp_path):
    again = DRAW[name](tmp_path / name)
    assert again.train_csv is None or again.train_csv.read_bytes() == drawn(name).train_csv.read_bytes()
    assert again.sample_csv.read_bytes() == drawn(name).sample_csv.read_bytes()
    assert {id: mask.shape for id, mask in again.truth.items()} == {id: m.shape for id, m in drawn(name).truth.items()}
    assert 8 <= len(again.truth) <= 16
    assert not {*again.truth} & {*again.hidden}
    assert again.groups is None or 2 <= len(set(again.groups.values())) < len(again.truth)


def test_carvanas_sixteen_views_are_no_classes():
    seen = look(drawn("carvana").sample_csv)
    assert len(seen.keys) == 8  # two cars with all four views: each car comes with the same endings
    assert detect(drawn("carvana").train_csv, drawn("carvana").sample_csv, (160, 240)).rows == "image"


def test_clouds_are_submitted_at_a_quarter():
    clouds = drawn("clouds")
    rows = right_rows(clouds)
    for cells in rows:
        id, index, text = clouds.dialect.parse(cells)
        assert clouds.shape(id) == (1400, 2100)
        small = at_size(clouds.hidden[id][..., index - 1], (350, 525))
        assert (rle.decode(text, (350, 525), "F") == small).all()
