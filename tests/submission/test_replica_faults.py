"""Faults planted in right submissions of the replicas: each is found, in its line."""

from dataclasses import replace

import pytest
from replicas.shared import NAMES, drawn, right_rows, write_right

from kit.cli import Lint
from kit.submission import Dialect, errors_of, lint, write

NAMES = [name for name in NAMES if name != "uw_madison_public"]
SQUARE = ("salt", "airbus", "siim", "contrails")
INSTANCES = ("dsb2018", "airbus")
CLASSES = ("severstal", "severstal_2019", "clouds", "uw_madison")


def found(replica, rows, tmp_path):
    """The errors of a file with these rows, written as they are."""
    lines = [",".join(replica.dialect.columns), *(",".join(cells) for cells in rows)]
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n")
    return errors_of(lint(tmp_path / "s.csv", replica.dialect, replica.sample_csv, replica.shape))


def changed(dialect, cells, **values):
    """A row with other cells: key=…, mask=…, label=…."""
    names = {"key": dialect.key_column, "mask": dialect.mask_column, "label": dialect.class_column}
    row = dict(zip(dialect.columns, cells, strict=True)) | {names[name]: value for name, value in values.items()}
    return tuple(row[column] for column in dialect.columns)


def first_filled(replica, rows):
    """The place of the first row with a mask."""
    return next(place for place, cells in enumerate(rows) if replica.dialect.parse(cells)[2])


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_id_is_named(name, tmp_path):
    replica = drawn(name)
    rows = right_rows(replica)
    id = list(replica.hidden)[1]
    problems = found(replica, [cells for cells in rows if replica.dialect.parse(cells)[0] != id], tmp_path)
    missing = len(replica.dialect.labels) or 1
    assert len(problems) == missing
    assert all(problem.startswith(f"missing: '{replica.dialect.key.partition('{')[0]}{id}") for problem in problems)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_that_comes_twice_is_found_in_its_line(name, tmp_path):
    replica = drawn(name)
    rows = right_rows(replica)
    place = first_filled(replica, rows)
    (problem,) = found(replica, [*rows[: place + 1], *rows[place:]], tmp_path)
    assert problem.startswith(f"line {place + 3} (")
    assert ("overlaps line" if name in INSTANCES else "duplicate") in problem


@pytest.mark.parametrize("name", NAMES)
def test_swapped_rows_and_columns_are_found_where_images_are_not_square(name, tmp_path):
    replica = drawn(name)
    other = "C" if replica.dialect.order == "F" else "F"
    csv = write_right(replica, tmp_path / "s.csv", order=other)
    problems = lint(csv, replica.dialect, replica.sample_csv, replica.shape)
    if name in SQUARE:
        assert errors_of(problems) == []
        assert any("swapped rows and columns could not be looked for" in problem.what for problem in problems)
    else:
        told = " ".join(map(str, problems))
        assert "rows and columns look swapped" in told
        assert f'the dialect is order="{other}"' in told


@pytest.mark.parametrize("name", INSTANCES)
def test_objects_that_overlap_are_found_in_their_line(name, tmp_path):
    replica = drawn(name)
    rows = right_rows(replica)
    keys = [cells[0] for cells in rows]
    place = next(place for place in range(1, len(rows)) if keys[place] == keys[place - 1])
    start = rows[place - 1][1].split()[0]
    first, *rest = rows[place][1].split()
    numbers = f"{start} 1 {first} {' '.join(rest)}" if int(start) < int(first) else rows[place - 1][1]
    rows[place] = (keys[place], numbers)
    assert (
        f"line {place + 2} ('{keys[place]}'): overlaps line {place + 1}: both hold pixel"
        in found(replica, rows, tmp_path)[0]
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("token", ["-1", "-", "", "1 0"])
def test_another_competitions_empty_mask_is_found_in_its_line(name, token, tmp_path):
    replica = drawn(name)
    rows = right_rows(replica)
    place = len(rows) // 2
    if name in INSTANCES:  # elsewhere it would stand beside the objects of its image
        rows = [replica.dialect.cells(id, [])[0] for id in replica.hidden]
        place = 1
    rows[place] = changed(replica.dialect, rows[place], mask=token)
    problems = found(replica, rows, tmp_path)
    if token == replica.dialect.empty:
        assert problems == []
    else:
        (problem,) = problems
        assert problem.startswith(f"line {place + 2} (")
        assert f"an empty mask is written {replica.dialect.empty!r}" in problem


@pytest.mark.parametrize("name", CLASSES)
def test_an_unknown_class_is_found_in_its_line(name, tmp_path):
    replica = drawn(name)
    dialect, rows = replica.dialect, right_rows(replica)
    if dialect.class_column:
        rows[2] = changed(dialect, rows[2], label="liver")
    else:
        rows[2] = changed(dialect, rows[2], key=rows[2][0].rpartition("_")[0] + "_liver")
    unknown, missing = found(replica, rows, tmp_path)
    assert unknown.startswith("line 4 (")
    assert "liver" in unknown
    assert dialect.labels[-1] in unknown
    assert missing.startswith("missing: ")


@pytest.mark.parametrize("name", NAMES)
def test_a_run_past_the_end_of_the_image_is_found_in_its_line(name, tmp_path):
    replica = drawn(name)
    rows = right_rows(replica)
    place = first_filled(replica, rows)
    rows[place] = changed(replica.dialect, rows[place], mask="99999999 5")
    problems = found(replica, rows, tmp_path)
    assert problems[0].startswith(f"line {place + 2} (")
    assert "goes past the end of an image of" in problems[0]


def test_the_placeholder_of_a_class_is_wrong_beside_predictions(tmp_path):
    replica = drawn("severstal")
    rows = right_rows(replica)
    (problem,) = found(replica, [*rows, (rows[0][0], "1 204800", "0")], tmp_path)
    assert problem.startswith(f"line {len(rows) + 2} (")
    assert "unknown class '0', expected 1, 2, 3, 4" in problem


def test_a_placeholder_is_none_where_the_sample_names_several_classes(tmp_path):
    dialect = Dialect(("id", "class", "rle"), "class", class_column="class", labels=("a", "b"))
    (tmp_path / "sample.csv").write_text("id,class,rle\nx,c,\nx,d,\n")
    write(dialect.cells("x", []), tmp_path / "s.csv", dialect)
    problems = errors_of(lint(tmp_path / "s.csv", dialect, tmp_path / "sample.csv", (9, 9)))
    assert any("of the sample file has no row" in problem for problem in problems)


def test_masks_of_starts_that_are_not_relative_name_the_dialect(tmp_path):
    siim = drawn("siim")
    absolute = replace(siim, dialect=replace(siim.dialect, base=1, relative=False))
    problems = found(siim, right_rows(absolute), tmp_path)
    assert problems
    assert all("It is right with base=" in problem for problem in problems)


@pytest.mark.parametrize("name", ["carvana", "severstal", "severstal_2019", "clouds", "siim", "airbus", "contrails"])
def test_the_command_accepts_the_truth_and_finds_a_missing_row(name, tmp_path, capsys):
    replica = drawn(name)
    dialect, csv = replica.dialect, write_right(replica, tmp_path / "s.csv")
    shape = dialect.mask_size(replica.shape(next(iter(replica.hidden))))
    numbers = {"order": dialect.order, "base": dialect.base, "relative": dialect.relative}
    command = Lint(csv, sample=replica.sample_csv, shape=shape, **numbers)
    assert command.run() == 0
    lines = csv.read_text().splitlines(keepends=True)
    csv.write_text("".join(lines[:1] + lines[2:]))
    twice = name == "airbus" and lines[1].partition(",")[0] == lines[2].partition(",")[0]
    assert command.run() == int(not twice)


def test_the_command_reads_classes_from_the_submission_where_the_sample_has_none(tmp_path, capsys):
    public, rerun = drawn("uw_madison_public"), drawn("uw_madison")
    csv = write_right(rerun, tmp_path / "s.csv")
    assert Lint(csv, sample=public.sample_csv, shape=None).run() == 0
    assert "classes large_bowel, small_bowel, stomach" in capsys.readouterr().out
    assert Lint(csv, sample=rerun.sample_csv).run() == 0


def test_a_hidden_test_set_has_a_sample_without_rows(tmp_path):
    public, rerun = drawn("uw_madison_public"), drawn("uw_madison")
    csv = write_right(rerun, tmp_path / "s.csv")
    problems = lint(csv, public.dialect, public.sample_csv, rerun.shape)
    assert errors_of(problems) == []
    assert [problem.what for problem in problems if "header and no rows" in problem.what]
    (tmp_path / "none.csv").write_text("id,class,predicted\n")
    assert "no rows" in errors_of(lint(tmp_path / "none.csv", rerun.dialect, rerun.sample_csv, rerun.shape))
