"""python -m kit predict on slides: the recipe's own CSV, masks as tiled TIFFs, bounded time."""

import csv
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from slides_drawn import draw_slides, kidneys
from slides_run import network, opened, run_recipe

from kit.data.mask_tiff import write_mask_tiff
from kit.data.run_masks import run_mask_of
from kit.datasets import Slides
from kit.datasets.slides_alone import SlidesAlone
from kit.recipe import finish
from kit.runs import workers
from kit.runs.passes import Budget
from kit.runs.predict import Request, predict
from kit.submission import rle


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run, the CSV that its recipe wrote, and a copy of its test slides far from the data."""
    root = tmp_path_factory.mktemp("predict_slides")
    arrays = draw_slides(root / "data")
    run = run_recipe(kidneys(root / "data"), root / "runs/kidneys")
    shutil.copytree(root / "data/test", root / "new")
    shutil.rmtree(root / "data")
    return run.folder, root / "runs/submissions/kidneys.csv", root / "new", arrays


def request(whole, tmp_path, **changes):
    return replace(Request(whole[0], whole[2], tmp_path / "out.csv", devices=("cpu",)), **changes)


def rows(path):
    with path.open(newline="") as file:
        return {row["id"]: row["rle"] for row in csv.DictReader(file)}


def test_the_csv_of_slides_is_the_one_that_the_recipe_wrote(whole, tmp_path, capsys):
    result = predict(request(whole, tmp_path))
    assert (tmp_path / "out.csv").read_bytes() == whole[1].read_bytes()
    assert (result.images, result.problems, result.late, result.errors) == (2, {}, 0, [])
    assert "2 images, 2 networks with 2 views" in capsys.readouterr().out
    assert all(rows(whole[1]).values())


@pytest.mark.slow  # two new interpreters
def test_two_processes_write_the_same_csv(whole, tmp_path):
    predict(request(whole, tmp_path, devices=("cpu", "cpu")))
    assert (tmp_path / "out.csv").read_bytes() == whole[1].read_bytes()


def test_with_time_the_first_pass_is_followed_by_the_whole(whole, tmp_path, capsys):
    sample = tmp_path / "sample.csv"
    sample.write_text("id,rle\nt2,\nt1,\nlost,\n")
    result = predict(request(whole, tmp_path, sample=sample, seconds=600, started=time.monotonic()))
    found, own = rows(tmp_path / "out.csv"), rows(whole[1])
    assert list(found.items()) == [("t2", own["t2"]), ("t1", own["t1"]), ("lost", "")]
    assert list(result.problems) == ["lost"]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("2 images,")]
    assert lines == ["2 images, 1 network with one view", "2 images, 2 networks with 2 views"]


class Ending(Budget):
    """A limited time that ends after so many looks at it."""

    looks = 0

    def left(self):
        self.looks -= 1
        return 100.0 if self.looks >= 0 else 0.0


def test_a_slide_within_which_the_time_ends_counts_as_not_done(whole, tmp_path, monkeypatch, capsys):
    """A slide of 135×122 pixels at this scale has 4 × 3 tiles, the other 4 × 2; the clock is looked at before each."""

    def ending(seconds, started):
        budget = Ending(seconds, started)
        budget.looks = 21
        return budget

    monkeypatch.setattr("kit.runs.predict.Budget", ending)
    result = predict(request(whole, tmp_path, seconds=600, started=time.monotonic()))
    found = rows(tmp_path / "out.csv")
    assert found["t1"]
    assert found["t2"] == ""
    assert (result.late, result.errors) == (1, [])
    assert "1 image of 2 were not reached in the time" in capsys.readouterr().out


def test_without_time_all_rows_are_there_and_empty(whole, tmp_path):
    result = predict(request(whole, tmp_path, seconds=1, started=time.monotonic() - 5))
    assert rows(tmp_path / "out.csv") == {"t1": "", "t2": ""}
    assert result.late == 2


def test_damaged_odd_and_packed_slides_get_empty_rows_and_are_counted(whole, tmp_path, capsys):
    folder = tmp_path / "odd"
    shutil.copytree(whole[2], folder)
    data = (folder / "t2.tif").read_bytes()
    (folder / "t2.tif").write_bytes(data[: len(data) // 2] + bytes(100) + data[len(data) // 2 + 100 :])
    tifffile.imwrite(folder / "deep.tif", np.zeros((90, 90, 3), np.uint16), photometric="rgb")
    tifffile.imwrite(folder / "grey.tif", np.zeros((90, 90), np.uint8))
    (folder / "none.tif").write_bytes(b"")
    result = predict(request(whole, tmp_path, images=folder))
    found = rows(tmp_path / "out.csv")
    assert found == {"t1": rows(whole[1])["t1"], "t2": "", "deep": "", "grey": "", "none": ""}
    assert set(result.problems) == {"t2", "deep", "grey", "none"}
    assert "4 images of 5 cannot be read: empty masks" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"t2\.tif: damaged or cut short"):
        predict(request(whole, tmp_path, images=folder, on_bad_image="stop"))
    shutil.make_archive(tmp_path / "packed", "zip", whole[2])
    with pytest.raises(ValueError, match=r"packed\.zip is a zip: unpack it"):
        predict(request(whole, tmp_path, images=tmp_path / "packed.zip"))


def test_a_run_without_a_competition_leaves_masks_as_tiled_tiffs(whole, tmp_path):
    root = tmp_path / "data"
    draw_slides(root)
    run = shutil.copytree(whole[0], tmp_path / "runs/kidneys")
    finish(opened(kidneys(root), run), "all", None, network)
    folder = tmp_path / "more"
    shutil.copytree(whole[2], folder)
    (folder / "bad.tif").write_bytes(b"")
    tifffile.imwrite(folder / "deep.tif", np.zeros((90, 70, 3), np.uint16), photometric="rgb")
    result = predict(request(whole, tmp_path, run=run, images=folder, out=tmp_path / "masks"))
    assert (set(result.problems), result.errors) == ({"bad", "deep"}, [])
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["deep.tif", "t1.tif", "t2.tif"]
    for id, text in rows(whole[1]).items():
        mask = tifffile.imread(tmp_path / f"masks/{id}.tif")
        np.testing.assert_array_equal(mask, 255 * rle.decode(text, mask.shape, "F"))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "masks/deep.tif"), np.zeros((90, 70), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 1030), (700, 1), (512, 512), (513, 1025)])
def test_a_mask_written_in_tiles_is_the_mask(tmp_path, size):
    mask = (np.random.default_rng(0).random(size) < 0.3).astype(np.uint8) * 2
    for name, factor in (("images/a.tif", 1), ("masks/a.tif", 100)):
        (tmp_path / name).parent.mkdir()
        with (tmp_path / name).open("wb") as file:
            write_mask_tiff(file, run_mask_of([mask], size), factor)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "masks/a.tif").reshape(size), 100 * mask)
    data = Slides(tmp_path, images="images/*.tif", masks="masks/{id}.tif", values={0: 0, 200: 1})
    np.testing.assert_array_equal(data.read_mask("a"), mask // 2)


def test_the_size_of_a_slide_is_read_once(whole, tmp_path):
    shutil.copytree(whole[2], tmp_path / "new")
    slides = SlidesAlone(tmp_path / "new", ("red", "green", "blue"), "uint8", {}, 2)
    assert slides.ids == ["t1", "t2"]
    assert slides.shape("t1") == (270, 243)
    assert slides.regions("t1").shape == (135, 122, 3)
    (tmp_path / "new/t1.tif").unlink()
    assert slides.shape("t1") == (270, 243)
    with pytest.raises(KeyError, match="no image of the id 'zz'"):
        slides.shape("zz")


def test_the_worker_ends_where_the_time_does():
    worker = object.__new__(workers.Worker)
    worker.budget = Budget(1, time.monotonic() - 5)
    with pytest.raises(workers.OutOfTime):
        worker._check_time()
    worker.budget = Budget(None, 0)
    worker._check_time()
