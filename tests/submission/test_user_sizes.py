"""Sizes and masks that code of the user's own gives: whatever it raises becomes a problem that names the image."""

import numpy as np
import pytest
from masks_drawn import one_big

from kit.submission import Dialect, compare_masks, detect, lint, score, truth_reader, write
from kit.submission.rle import encode

SHAPE = (60, 90)
IDS = [f"scan {number}" for number in range(30)]


class Uncounted(Exception):
    """An error of a library that kit does not know."""


def raising(error):
    def read(id):
        raise error

    return read


@pytest.fixture
def csv(tmp_path):
    rng, path = np.random.default_rng(3), tmp_path / "s.csv"
    write([(id, encode(one_big(rng, *SHAPE))) for id in IDS], path, Dialect())
    return path


ERRORS = [
    KeyError("scan 4"),
    ZeroDivisionError("division by zero"),
    PermissionError(13, "denied"),
    AttributeError("no attribute 'shape'"),
    Uncounted("of a library"),
    RuntimeError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_a_users_sizes_is_a_warning_that_names_the_image(csv, error):
    problems = lint(csv, Dialect(), shapes=raising(error))
    assert {problem.severity for problem in problems} == {"warning"}
    assert problems[0].where == "line 2 ('scan 0')"
    assert type(error).__name__ in problems[0].what
    assert "... and 10 more images of unknown size" in [problem.what for problem in problems]


@pytest.mark.parametrize("size", [(0, 90), (60, -90), (60,), (60, 90, 3), (60.0, 90.0), None, "60 x 90"])
def test_a_size_that_cannot_be_is_a_warning_too(csv, size):
    problems = lint(csv, Dialect(), shapes=lambda id: size if id == IDS[7] else SHAPE)
    assert [problem.where for problem in problems] == [f"line 9 ('{IDS[7]}')"]
    assert "the size of its image is unknown" in problems[0].what


def test_numpys_numbers_are_sizes(csv):
    assert lint(csv, Dialect(), shapes=lambda id: np.array(SHAPE)) == []


def test_an_error_while_the_truth_is_read_names_the_image(csv):
    sizes = dict.fromkeys(IDS[:-1], SHAPE)
    with pytest.raises(ValueError, match=f"{IDS[-1]}: the size of its image is unknown .KeyError"):
        score(csv, Dialect(), truth_reader(csv, Dialect(), sizes))
    with pytest.raises(ValueError, match=rf"s\.csv, {IDS[0]}: .* past the end"):
        score(csv, Dialect(), truth_reader(csv, Dialect(), (10, 10)))


def test_detect_says_why_a_size_is_unknown(csv):
    with pytest.raises(ValueError, match=r"key 'scan 0' of the training CSV:\n.*ZeroDivisionError"):
        detect(csv, csv, raising(ZeroDivisionError()))
    with pytest.raises(ValueError, match="no image or size was found for the key 'scan 0'"):
        detect(csv, csv, {"other": SHAPE})


def test_masks_that_a_users_code_cannot_read_are_problems(csv):
    class Mine:
        ids = IDS
        read_mask = staticmethod(raising(Uncounted("of a library")))

    problems = compare_masks(Mine(), csv, Dialect())
    assert problems[0].what == "its mask cannot be read: Uncounted('of a library')"
    assert IDS[0] in problems[0].where
