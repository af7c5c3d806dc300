"""A CSV of masks of which a row or two leave their image: the line is named, by the coding that fits all others."""

import sys

import pytest
from csv_folders import SIZE, images, names, rows_of, table, wishes

from kit.new import decide
from kit.submission import detect

IDS = names(9, "core")
PIXELS = SIZE[0] * SIZE[1]


def write(folder, rows):
    images(folder / "scans", IDS)
    return table(folder / "truth.csv", "scan,rle", rows)


@pytest.mark.parametrize("base", [0, 1])
def test_kit_new_names_the_line_and_the_image_and_not_the_first_row(tmp_path, base):
    rows = rows_of(IDS, base=base)
    rows[0] = f"{IDS[0]},0 4 90 5" if base == 0 else rows[0]
    rows[5] += f" {PIXELS - 3} 40"
    write(tmp_path, rows)
    (question,) = decide(tmp_path, wishes()).questions
    assert question.text.startswith("truth.csv: a training mask is wrong, and the other 8 that were read are run")
    assert f"with absolute starts from {base}: mend or delete its row:" in question.text
    assert f"line 7 ({IDS[5]})" in question.text
    assert "past the end of an image of 2560 pixels (40 × 64)" in question.text
    assert IDS[0] not in question.text


def test_detect_says_it_too_and_a_malformed_row(tmp_path):
    rows = rows_of(IDS)
    rows[2] = f"{IDS[2]},30 4 20 5"
    path = write(tmp_path, rows)
    with pytest.raises(ValueError, match=rf"(?s)the other 8 .*line 4 \({IDS[2]}\).*overlap or wrong order"):
        detect(path, path, SIZE)


def test_many_wrong_rows_and_a_refused_base_are_no_odd_rows(tmp_path):
    path = write(tmp_path, [f"{row} {PIXELS} 9" if at % 2 else row for at, row in enumerate(rows_of(IDS))])
    with pytest.raises(ValueError, match="no run lengths that leave no image"):
        detect(path, path, SIZE)
    other = tmp_path / "from_0"
    write(other, [f"{IDS[0]},0 4 90 5", *rows_of(IDS, base=0)[1:]])
    (question,) = decide(other, wishes(base=1)).questions
    assert question.text.endswith("Take --base out")


def test_starts_and_ends_of_which_one_mask_alone_shows_it_are_called_so(tmp_path):
    single = [f"{id},{50 + at} {60 + at}" for at, id in enumerate(IDS[1:])]
    path = write(tmp_path, [f"{IDS[0]},1000 1100 1900 1990", *single])
    with pytest.raises(ValueError, match="they look like 'start end'"):
        detect(path, path, SIZE)


def test_a_wrong_row_behind_those_that_are_looked_at_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["kit.submission.detect"], "ENOUGH", 5)  # the room has a function of this name
    rows = rows_of(IDS)
    rows[7] += f" {PIXELS} 40"
    write(tmp_path, rows)
    choices = decide(tmp_path, wishes())
    assert choices.meaning.task == "binary"
    assert not choices.questions
    (problem,) = choices.found.problems
    assert problem.startswith("the masks of truth.csv cannot be used")
    assert f"line 9 ({IDS[7]}): its runs end at pixel {PIXELS + 39:,}, the image has 2,560" in problem
