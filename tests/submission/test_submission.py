"""The submission: the same bytes however it came about, and a linter that lists what is wrong."""

import csv
import tracemalloc

import numpy as np
import pytest

from kit.scoring.confusion import confusion_matrix, dice
from kit.submission import Dialect, RowParts, errors_of, lint, read_rows, rle, rows_in_order, score, write
from kit.submission.lint_order import differing

SHAPE = (12, 20)
PLAIN = Dialect()
BY = {order: Dialect(order=order) for order in "CF"}
NAMES = [f"car{i:02d}.jpg" for i in range(30)]


def blob(seed: int, shape=SHAPE) -> np.ndarray:
    """A filled ellipse somewhere in the image."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    height, width = shape
    centre = rng.uniform(0.3, 0.7, 2)
    return (
        ((y + 0.5) / height - centre[0]) ** 2 + ((x + 0.5) / width - centre[1]) ** 2 < rng.uniform(0.02, 0.09)
    ).astype(np.uint8)


ROWS = [(name, rle.encode(blob(i))) for i, name in enumerate(NAMES)]


def add(parts, row):
    parts.add(row[0], [row])


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample.csv"
    write(((name, "") for name in NAMES), path, PLAIN)
    return path


def test_written_bytes(tmp_path):
    path = tmp_path / "new" / "s.csv"
    assert write(iter([("a.jpg", "1 2 5 1"), ("b.jpg", "")]), path, PLAIN) == 2
    assert path.read_bytes() == b"img,rle_mask\na.jpg,1 2 5 1\nb.jpg,\n"
    assert write([], path, Dialect(("id", "mask"))) == 0
    assert path.read_bytes() == b"id,mask\n"


def test_names_with_commas_and_quotes_are_read_back_by_csv(tmp_path):
    rows = [("a,b.jpg", "1 1"), ('say "x".jpg', ""), ("été 写真.jpg", "2 1"), ('"', "3 1")]
    write(rows, tmp_path / "s.csv", PLAIN)
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file, strict=True)][1:] == rows
    assert list(read_rows(tmp_path / "s.csv", PLAIN)) == rows
    with RowParts(tmp_path / "parts") as parts:
        for row in rows:
            add(parts, row)
    assert list(rows_in_order(tmp_path / "parts", [name for name, _ in rows], PLAIN)) == rows


def test_a_failing_stream_leaves_the_old_file(tmp_path):
    def broken():
        yield ROWS[0]
        raise RuntimeError("the model stopped")

    path = tmp_path / "s.csv"
    write(ROWS, path, PLAIN)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="the model stopped"):
        write(broken(), path, PLAIN)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.csv"]


def test_every_refused_row_is_listed(tmp_path):
    rows = [("a.jpg", "1 1"), ("a.jpg", ""), ("b\n.jpg", ""), ("c.jpg", float("nan")), ("d.jpg", "1,2"), (None, "")]
    with pytest.raises(ValueError, match="was not written") as caught:
        write(rows, tmp_path / "s.csv", PLAIN)
    for said in ("row 2: 'a.jpg' came before", "row 3", "row 4: the mask of 'c.jpg'", "row 5", "row 6: an id is a str"):
        assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_the_masks(tmp_path, sample):
    long = rle.encode(np.tile(np.uint8([0, 1]), (40, 500)))  # 20,000 runs, about 200 kB
    write([("a.jpg", long)], tmp_path / "one.csv", PLAIN)
    lint(tmp_path / "one.csv", PLAIN, shapes=(40, 1000))  # compiles its kernels, which takes memory too
    tracemalloc.start()
    write(((f"{i}.jpg", long) for i in range(60)), tmp_path / "s.csv", PLAIN)
    assert sum(1 for _ in read_rows(tmp_path / "s.csv", PLAIN)) == 60
    assert errors_of(lint(tmp_path / "s.csv", PLAIN, shapes=(40, 1000))) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "s.csv").stat().st_size > 60 * len(long) > 9e6
    assert peak < 4e6


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"id,mask\na,1 1\n", "the header should be img,rle_mask, it is 'id,mask'"),
        (b"img,rle_mask\na,1 1\nb\n", "line 3: 1 cell instead of 2: 'b'"),
        (b"img,rle_mask\na,1 1,2\n", "line 2: 3 cells"),
        (b'img,rle_mask\na,1 1\n"b,1 1\nc,2 2\n', "no valid CSV"),
    ],
)
def test_files_that_are_no_submission(tmp_path, content, said):
    path = tmp_path / "s.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"s\.csv: line \d") as caught:
        list(read_rows(path, PLAIN))
    assert said in str(caught.value)
    assert any(said in problem for problem in errors_of(lint(path, PLAIN, shapes=SHAPE)))


def test_lint_survives_any_bytes(tmp_path, sample):
    rng = np.random.default_rng(0)
    alphabet = np.frombuffer(b'abc123 ,"\n\r\x00\xff=-\t', np.uint8)
    for _ in range(100):
        (tmp_path / "s.csv").write_bytes(b"img,rle_mask\n" + rng.choice(alphabet, 200).tobytes())
        assert lint(tmp_path / "s.csv", PLAIN, sample, SHAPE)
        assert lint(sample, PLAIN, tmp_path / "s.csv", SHAPE)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_valid_submission_has_no_problems(tmp_path, sample, order):
    write(((name, rle.encode(blob(i), order)) for i, name in enumerate(NAMES)), tmp_path / "s.csv", BY[order])
    for shapes in (SHAPE, dict.fromkeys(NAMES, SHAPE), lambda name: SHAPE):
        assert lint(tmp_path / "s.csv", BY[order], sample, shapes) == []
        assert lint(tmp_path / "s.csv", BY[order], None, shapes) == []


def test_lint_bounds_what_it_lists(tmp_path, sample):
    write([(f"other{i}.jpg", "1 1") for i in range(3231)], tmp_path / "s.csv", PLAIN)
    problems = errors_of(lint(tmp_path / "s.csv", PLAIN, sample, SHAPE))
    assert "... and 3,211 more unknown ids" in problems
    assert "... and 10 more missing ids" in problems
    assert len(problems) == 42


def test_lint_names_line_and_image(tmp_path, sample):
    rows = list(ROWS)
    rows[3] = (NAMES[3], "239 3")
    rows[4] = (NAMES[4], "5 2 9")
    write(rows, tmp_path / "s.csv", PLAIN)
    past, odd = errors_of(lint(tmp_path / "s.csv", PLAIN, sample, SHAPE))
    assert past.startswith("line 5 ('car03.jpg'): ")
    assert "past the end of an image of 240 pixels" in past
    assert odd.startswith("line 6 ('car04.jpg'): ")
    assert "odd" in odd


def test_lint_without_an_images_size(tmp_path):
    write(ROWS[:2], tmp_path / "s.csv", PLAIN)
    for shapes in ({NAMES[0]: SHAPE}, lambda name: {NAMES[0]: SHAPE}[name]):
        problem = lint(tmp_path / "s.csv", PLAIN, None, shapes)[0]
        assert problem.severity == "warning"
        assert problem.where == "line 3 ('car01.jpg')"
        assert problem.what.startswith("the size of its image is unknown")


def test_lint_of_empty_masks(tmp_path, sample):
    (problem,) = lint(sample, PLAIN, sample, SHAPE)
    assert problem.severity == "warning"
    assert problem.what.startswith("all 30 masks are empty")
    write([(NAMES[0], ROWS[0][1]), *((name, "") for name in NAMES[1:])], tmp_path / "s.csv", PLAIN)
    assert not any("empty" in problem.what for problem in lint(tmp_path / "s.csv", PLAIN, sample, SHAPE))
    write([], tmp_path / "s.csv", PLAIN)
    assert errors_of(lint(tmp_path / "s.csv", PLAIN, shapes=SHAPE)) == ["no rows"]


def test_raggedness_counts_the_pixels_that_differ():
    rng = np.random.default_rng(0)
    for line in (1, 7, 9, 62):
        mask = (rng.random((7, 9)) < 0.4).astype(np.int8)
        flat = mask.ravel()
        runs = rle.runs(rle.encode(mask.astype(np.uint8)))
        assert differing(runs, flat.size, line) == np.count_nonzero(flat[line:] != flat[:-line])


@pytest.mark.parametrize(
    "shape", [(1, 240), (2, 120), (8, 600), (8, 16), (16, 8), (240, 1), (240, 7), (50, 50), (50, 52)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_right_order_is_never_suspected(tmp_path, shape, order):
    y = (np.indices(shape)[0] + 1) / shape[0]
    bands = [(y > 0.6).astype(np.uint8), ((y > 0.3) & (y < 0.6)).astype(np.uint8)]  # whole rows, as sky or road
    for masks in ([blob(i, shape) for i in range(30)], bands):
        encoded = [(name, rle.encode(mask, order)) for name, mask in zip(NAMES, masks, strict=False)]
        write(encoded, tmp_path / "s.csv", BY[order])
        assert errors_of(lint(tmp_path / "s.csv", BY[order], None, shape)) == []


def test_score_is_the_mean_over_images(tmp_path):
    truths = {name: blob(i + 1) for i, name in enumerate(NAMES[:5])}
    truths[NAMES[0]][0, :5] = 255
    truths["empty.jpg"] = np.zeros(SHAPE, np.uint8)
    write([*ROWS[:8], ("empty.jpg", "")], tmp_path / "s.csv", PLAIN)
    scores = score(tmp_path / "s.csv", PLAIN, truths.get)
    expected = [dice(confusion_matrix(truths[name], blob(i), 2))[1] for i, name in enumerate(NAMES[:5])] + [1.0]
    assert scores["images"] == 6
    assert scores["mean_dice"] == pytest.approx(np.mean(expected))
    assert scores["mean_iou"] == pytest.approx(np.mean([d / (2 - d) for d in expected]))
    assert score(tmp_path / "s.csv", PLAIN, {}.get) == {"images": 0, "mean_dice": None, "mean_iou": None}
    with pytest.raises(ValueError, match=r"s\.csv, car00\.jpg: .*past the end"):
        score(tmp_path / "s.csv", PLAIN, lambda name: truths[name][:3])


def submission_bytes(folder) -> bytes:
    write(rows_in_order(folder, NAMES, PLAIN), folder / "s.csv", PLAIN)
    return (folder / "s.csv").read_bytes()


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("killed_after", [0, 1, 9])
def test_parts_give_the_same_bytes_however_they_came(tmp_path, world, killed_after):
    """A first run on 2 processes is killed in the middle of their lines, a second on `world` ones finishes."""
    folder = tmp_path / "parts"
    for rank in range(2):
        with RowParts(folder, rank) as parts:
            for row in ROWS[::-1][rank::2][:killed_after]:
                add(parts, row)
    for path in folder.iterdir():
        with path.open("ab") as file:
            file.write(b"1,car00.jpg\ncar00.jpg,1 2 3")
    added = 0
    for rank in range(world):
        with RowParts(folder, rank) as parts:
            for name, mask in ROWS[rank::world]:
                if name not in parts.done:
                    add(parts, (name, mask))
                    added += 1
    assert added == len(ROWS) - 2 * killed_after
    write(ROWS, tmp_path / "direct.csv", PLAIN)
    assert submission_bytes(folder) == (tmp_path / "direct.csv").read_bytes()


@pytest.mark.parametrize("kept", range(0, 70, 3))
def test_a_part_cut_at_any_byte_resumes(tmp_path, kept):
    with RowParts(tmp_path) as parts:
        for row in ROWS[:2]:
            add(parts, row)
    whole = parts.path.read_bytes()
    parts.path.write_bytes(whole[:kept])
    with RowParts(tmp_path) as parts:
        for row in ROWS[:2]:
            if row[0] not in parts.done:
                add(parts, row)
    assert parts.path.read_bytes() == whole


def test_a_torn_line_longer_than_what_is_read_at_once(tmp_path):
    whole = b"1,a.jpg\na.jpg," + b"1 " * 100_000 + b"\n1,b.jpg\nb.jpg,1 1\n"
    (tmp_path / "part-0.csv").write_bytes(whole + b"1,c.jpg\nc.jpg," + b"1 " * 100_000)
    with RowParts(tmp_path) as parts:
        assert parts.done == {"a.jpg", "b.jpg"}
    assert parts.path.read_bytes() == whole


def test_a_full_disk_loses_no_finished_row(tmp_path):
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")

    def add_all():
        with RowParts(tmp_path) as parts:
            for row in ROWS:
                add(parts, row)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            add_all()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with RowParts(tmp_path) as parts:
        assert parts.done
        for name, mask in ROWS[len(parts.done) :]:
            add(parts, (name, mask))
    assert list(rows_in_order(tmp_path, NAMES, PLAIN)) == ROWS


def test_rows_are_on_disk_before_the_part_is_closed(tmp_path):
    with RowParts(tmp_path) as parts:
        add(parts, ROWS[0])
        assert list(rows_in_order(tmp_path, NAMES[:1], PLAIN)) == ROWS[:1]


def test_a_row_of_three_cells_is_not_also_missing(tmp_path):
    write([(name, "1 1") for name in "ab"], tmp_path / "sample.csv", PLAIN)
    (tmp_path / "s.csv").write_text("img,rle_mask\na,1 1,2\n,\nb,1 1\n")
    told = errors_of(lint(tmp_path / "s.csv", PLAIN, tmp_path / "sample.csv", SHAPE))
    assert told[0].startswith("line 2: 3 cells instead of 2")
    assert not any("missing" in line for line in told)


def test_a_row_of_another_separator_is_told_in_one_short_line(tmp_path):
    write([(name, "1 1") for name in "ab"], tmp_path / "sample.csv", PLAIN)
    (tmp_path / "s.csv").write_text(f"img,rle_mask\na;{'1 1 ' * 1000}\nb,1 1\n")
    (told,) = errors_of(lint(tmp_path / "s.csv", PLAIN, tmp_path / "sample.csv", SHAPE))
    assert told.startswith("line 2: 1 cell instead of 2: 'a;1 1 1 1")
    assert len(told) < 120


@pytest.mark.parametrize(("damaged", "told"), [("s.csv", "line 1"), ("sample.csv", "sample file sample.csv: line 1")])
def test_what_was_not_read_is_not_called_missing(tmp_path, damaged, told):
    for name in ("s.csv", "sample.csv"):
        write([(name, "1 1") for name in "ab"], tmp_path / name, PLAIN)
    path = tmp_path / damaged
    path.write_bytes(b"PK\x03\x04" + path.read_bytes())
    problems = errors_of(lint(tmp_path / "s.csv", PLAIN, tmp_path / "sample.csv", SHAPE))
    assert problems == [f"{told}: no CSV but a zip archive or an Excel workbook: unpack it, or save the table as CSV"]


def test_missing_rows_are_all_counted(tmp_path):
    with RowParts(tmp_path) as parts:
        for row in ROWS[:3]:
            add(parts, row)
    with pytest.raises(ValueError, match=r"no rows for 27 of 30 images: car03\.jpg, .*car22\.jpg and 7 more"):
        rows_in_order(tmp_path, NAMES, PLAIN)


def test_the_same_image_twice(tmp_path):
    for rank in range(2):
        with RowParts(tmp_path, rank) as parts:
            add(parts, ("a.jpg", "1 1"))
    assert list(rows_in_order(tmp_path, ["a.jpg"], PLAIN)) == [("a.jpg", "1 1")]
    with RowParts(tmp_path, 1) as parts:
        add(parts, ("a.jpg", "1 2"))
    with pytest.raises(ValueError, match=r"part-0\.csv and .*part-1\.csv give 'a\.jpg' different rows"):
        rows_in_order(tmp_path, ["a.jpg"], PLAIN)


def test_a_whole_line_that_is_no_row(tmp_path):
    (tmp_path / "part-3.csv").write_bytes(b"1,a.jpg\na.jpg,1 1\nb.jpg;1 1\nc.jpg,1 1\n")
    with pytest.raises(ValueError, match=r"part-3\.csv, line 3: no row"):
        RowParts(tmp_path)
