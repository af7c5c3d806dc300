"""Dialect(size=…): masks that are submitted at another size than the images', as of Understanding Clouds."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from masks_drawn import discs

from kit.submission import Competition, Dialect, errors_of, lint, rle, score, truth_reader, write
from kit.submission.known import CLOUDS

IMAGE, SMALL = (80, 120), (20, 30)
DIALECT = Dialect(("id", "rle"), order="F", size=SMALL)


def data(**facts):
    return SimpleNamespace(name="d", classes=("a", "b"), shape=lambda id: IMAGE, test_fingerprint=lambda: "", **facts)


@pytest.fixture
def csv(tmp_path):
    rng = np.random.default_rng(0)
    rows = [row for id in "pqrs" for row in DIALECT.cells(id, [(1, rle.encode(discs(rng, *SMALL), "F"))])]
    write(rows, tmp_path / "s.csv", DIALECT)
    return tmp_path / "s.csv"


def test_the_size_is_that_of_the_masks_of_a_competition():
    assert (DIALECT.mask_size(IMAGE), Dialect().mask_size(IMAGE)) == (SMALL, IMAGE)
    assert Competition(data(), DIALECT).shape("p") == SMALL
    assert Competition(data(), replace(DIALECT, size=None)).shape("p") == IMAGE
    assert CLOUDS.mask_size((1400, 2100)) == (350, 525)


@pytest.mark.parametrize("size", [(0, 3), (2.5, 3), "20x30", (20,), (20, 30, 3), 20])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(ValueError, match=r"size is \(height, width\) of the submitted masks"):
        Dialect(size=size)


def test_numpys_numbers_are_a_size():
    assert Dialect(size=np.array(SMALL)).size == SMALL
    assert Dialect(size=list(SMALL)) == Dialect(size=SMALL)


@pytest.mark.parametrize("shapes", [None, IMAGE, {"p": IMAGE}, lambda id: IMAGE])
def test_lint_checks_masks_at_the_dialects_size(csv, shapes, tmp_path):
    competition = Competition(data(), DIALECT, list("pqrs"))
    assert lint(csv, competition, shapes=shapes) == lint(csv, DIALECT, shapes=shapes) == []
    (tmp_path / "large.csv").write_text(csv.read_text() + "t,601 1\n")
    (problem,) = errors_of(lint(tmp_path / "large.csv", DIALECT, shapes=shapes))
    assert problem.startswith("line 6 ('t'): ")
    assert "an image of 600 pixels" in problem
    assert "Masks are submitted at 20 x 30, not at the images' own sizes" in problem


def test_masks_of_the_images_size_are_too_large(tmp_path):
    rng = np.random.default_rng(1)
    rows = [row for id in "pqrs" for row in DIALECT.cells(id, [(1, rle.encode(discs(rng, *IMAGE), "F"))])]
    write(rows, tmp_path / "s.csv", DIALECT)
    problems = errors_of(lint(tmp_path / "s.csv", DIALECT))
    assert len(problems) == 4
    assert all("Masks are submitted at 20 x 30" in problem for problem in problems)


def test_truth_and_scores_have_the_dialects_size(csv):
    read = truth_reader(csv, DIALECT, IMAGE)
    assert read("p").shape[:2] == SMALL
    assert score(csv, DIALECT, read)["mean_dice"] == 1
    with pytest.raises(ValueError, match="past the end"):
        score(csv, DIALECT, {id: np.zeros((10, 10), np.uint8) for id in "pqrs"}.get)


def test_a_dialect_without_a_size_is_written_as_before_there_was_one():
    text = (
        "Dialect(columns=('img', 'rle_mask'), rows='image', order='C', base=1, relative=False, empty='', "
        "keep_empty=True, key='{id}', class_column=None, labels=())"
    )
    assert repr(Dialect()) == text  # Competition.fingerprint hashes it, and rows in progress are kept by that
    assert repr(Dialect(size=SMALL)) == text[:-1] + ", size=(20, 30))"
    assert eval(repr(CLOUDS)) == CLOUDS
    prints = [Competition(data(), replace(DIALECT, size=size), ["p"]).fingerprint("") for size in (None, SMALL, IMAGE)]
    assert len(set(prints)) == 3
