"""Swapped rows and columns: how often the lint finds them, and that it never suspects a right file.

The rates that these tests print (pytest -s) are those of single masks; a file has many.
"""

from dataclasses import replace
from types import SimpleNamespace

import masks_drawn as drawn
import numpy as np
import pytest

from kit.submission import Competition, Dialect, errors_of, lint, rle, write
from kit.submission.lint_order import vote

SIZES = [(256, 1600), (101, 101), (520, 696), (1400, 2100)]
MULTIPLES = [(256, 512), (900, 300), (1024, 1100)]
SMOOTH = [drawn.discs, drawn.one_big, drawn.nearly_full, drawn.small_components]
HARD = [
    drawn.thin_lines,
    drawn.level_lines,
    drawn.turned(drawn.level_lines),
    drawn.text,
    drawn.bands,
    drawn.turned(drawn.bands),
]


def votes(draw, shape, count=12):
    """Votes by (order made in, order read in)."""
    rng, found = np.random.default_rng(sum(shape)), {}
    for _ in range(count if shape[0] * shape[1] < 500_000 else count // 4):
        mask = draw(rng, *shape)
        for made in "CF":
            runs = rle.runs(rle.encode(mask, made))
            for read in "CF":
                found.setdefault((made, read), []).append(vote(runs, shape, read))
    return found


@pytest.mark.parametrize("shape", SIZES + MULTIPLES)
@pytest.mark.parametrize("draw", SMOOTH + HARD)
def test_no_right_mask_votes_for_the_other_order(draw, shape):
    found = votes(draw, shape)
    assert -1 not in found["C", "C"] + found["F", "F"]
    shares = {pair: sum(each == -1 for each in found[pair]) / len(found[pair]) for pair in (("C", "F"), ("F", "C"))}
    print(f"{getattr(draw, '__name__', 'turned')} {shape}: found {shares}")


@pytest.mark.parametrize("shape", [(101, 140), (64, 256)])
def test_noise_does_not_vote(shape):
    assert {-1, 1}.isdisjoint(each for pair in votes(drawn.noise, shape).values() for each in pair)


@pytest.mark.parametrize("shape", [size for size in SIZES + MULTIPLES if size[0] != size[1]])
@pytest.mark.parametrize("draw", SMOOTH)
def test_masks_of_blobs_in_the_other_order_are_found(draw, shape):
    found = votes(draw, shape)
    assert np.mean([each == -1 for each in found["C", "F"] + found["F", "C"]]) > 0.9


def written(tmp_path, masks, order):
    path = tmp_path / "s.csv"
    write(((f"{i}.png", rle.encode(mask, order)) for i, mask in enumerate(masks)), path, Dialect())
    return path


@pytest.mark.parametrize("shape", [(256, 1600), (300, 900), (700, 200)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_of_wide_images(tmp_path, shape, order):
    rng = np.random.default_rng(1)
    masks = [draw(rng, *shape) for draw in (drawn.discs, drawn.level_lines, drawn.small_components) for _ in range(4)]
    path, other = written(tmp_path, masks, order), "F" if order == "C" else "C"
    assert lint(path, Dialect(order=order), shapes=shape) == []
    (problem,) = lint(path, Dialect(order=other), shapes=shape)
    assert problem.severity == "error"
    assert "rows and columns look swapped" in problem.what
    assert f"--order {order}" in problem.what
    (problem,) = lint(path, Dialect(order=order), shapes=shape[::-1])  # given as (width, height)
    assert "shapes are (height, width)" in problem.what


def test_without_a_size_the_reason_is_not_sought_in_the_masks(tmp_path):
    path = written(tmp_path, [drawn.one_big(np.random.default_rng(4), 90, 160) for _ in range(3)], "F")
    said = "not be looked for: no mask is well formed and of an image whose size is known. Where"
    for sizes, expected in (({}, True), ({"1.png": (90, 160)}, False)):
        assert any(said in each.what for each in lint(path, Dialect(), shapes=sizes)) == expected


def test_two_swapped_masks_are_a_warning(tmp_path):
    rng = np.random.default_rng(2)
    path = written(tmp_path, [drawn.one_big(rng, 90, 160) for _ in range(2)], "F")
    (problem,) = lint(path, Dialect(), shapes=(90, 160))
    assert problem.severity == "warning"
    assert "look swapped: 2 of 2" in problem.what


@pytest.mark.parametrize(
    ("draw", "shape"), [(drawn.discs, (128, 128)), (drawn.discs, (300, 304)), (drawn.noise, (60, 90))]
)
def test_what_no_mask_can_show_is_said(tmp_path, draw, shape):
    rng = np.random.default_rng(3)
    path = written(tmp_path, [draw(rng, *shape) for _ in range(5)], "F")
    (problem,) = lint(path, Dialect(), shapes=shape)
    assert problem.severity == "warning"
    assert "could not be looked for" in problem.what
    assert "compare_masks" in problem.what


def test_a_competition_says_what_can_be_done_where_no_mask_shows_its_order(tmp_path):
    """Without a training CSV there is nothing to compare; with one a run has compared it."""
    masks = [drawn.discs(np.random.default_rng(3), 128, 128)]
    path = written(tmp_path, masks, "F")
    ids = [line.partition(",")[0] for line in path.read_text().splitlines()[1:]]
    data = SimpleNamespace(classes=("background", "disc"), task="binary", shape=lambda id: (128, 128))
    competition = Competition(data, Dialect(order="F"), ids)
    (problem,) = lint(path, competition)
    assert "counted down columns, as the dialect says: see that the competition's page" in problem.what
    assert "compare_masks" not in problem.what
    assert lint(path, replace(competition, train_csv=path)) == []


def test_runs_that_end_with_each_line_count_as_one():
    band = rle.runs(" ".join(f"{1 + 90 * row} 90" for row in range(10, 14)))
    assert vote(band, (60, 90), "C") == 0
    assert vote(band, (60, 90), "F") == 0


def test_images_of_several_sizes_vote_each_by_its_own(tmp_path):
    rng, sizes = np.random.default_rng(4), {}
    masks = []
    for i, shape in enumerate([(256, 256), (520, 696), (260, 347), (256, 320), (1040, 1388)]):
        masks.append(drawn.discs(rng, *shape))
        sizes[f"{i}.png"] = shape
    path = written(tmp_path, masks, "F")
    assert errors_of(lint(path, Dialect(order="F"), shapes=sizes)) == []
    assert any("look swapped" in each for each in errors_of(lint(path, Dialect(), shapes=sizes.get)))
