"""python -m kit predict: what the CSV holds, whatever the images, the time and the way it ends."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from python_path import python_path
from tiny import TinyDataset, tiny_competition, tiny_network
from tiny_run import finish_two_folds, mask_by_hand, new_run

import kit
from kit.cli import Predict
from kit.data import RGB
from kit.datasets.images_alone import Images
from kit.folds.keeping import keep_folds
from kit.prediction import Predictor
from kit.prediction.saved import read_saved, write_saved
from kit.prediction.saved_blend import Member
from kit.recipe import finish
from kit.runs import Submission, load_network, predict_oof, submit
from kit.runs.passes import Budget
from kit.runs.predict import Request, predict
from kit.runs.run import begin
from kit.runs.saving import save_predictor, saved_run
from kit.runs.workers import Ended, Job, work_together
from kit.submission import Competition, Dialect, lint, rle
from kit.training.checkpoint import save_weights
from kit.training.loop import best_dtype

DTYPE = best_dtype(torch.device("cpu"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of two folds with its competition: its folder, its own CSV, and its test images as files."""
    folder = tmp_path_factory.mktemp("whole")
    finish_two_folds(folder / "run")
    sample = folder / "sample.csv"
    sample.write_text("img,rle_mask\n" + "".join(f"test_{number:02}.jpg,\n" for number in (3, 0, 4, 1, 2)))
    competition = tiny_competition(sample_csv=sample)
    run = new_run(folder / "run", dtype=DTYPE)
    finish(run, "all", None, tiny_network, Submission(competition, folder=folder))
    save_images(folder / "images", TinyDataset().test_ids)
    (own,) = folder.glob("tiny_*.csv")
    return folder, own


def save_images(folder, ids, enlarged=1):
    folder.mkdir(parents=True, exist_ok=True)
    for id in ids:
        image = TinyDataset().read_image(id)[..., ::-1]
        image = np.repeat(np.repeat(image, enlarged, 0), enlarged, 1)
        (folder / f"{id}.png").write_bytes(cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes())


def request(whole, tmp_path, **changes):
    base = Request(whole[0] / "run", whole[0] / "images", tmp_path / "out.csv", devices=("cpu",))
    return replace(base, **changes)


def rows(path):
    with path.open(newline="") as file:
        return {row["img"]: row["rle_mask"] for row in csv.DictReader(file)}


def test_the_csv_is_the_one_that_the_recipe_wrote(whole, tmp_path, capsys):
    result = predict(request(whole, tmp_path, sample=whole[0] / "sample.csv"))
    assert (tmp_path / "out.csv").read_bytes() == whole[1].read_bytes()
    assert (result.images, result.problems, result.late, result.errors) == (5, {}, 0, [])
    out = capsys.readouterr().out
    assert "5 images, 2 networks with 2 views" in out
    assert len({*rows(whole[1]).values()}) == 5  # no two masks are alike, none is empty by chance


def test_a_zip_without_a_sample_gives_the_rows_in_the_order_of_the_run(whole, tmp_path):
    shutil.make_archive(tmp_path / "new", "zip", whole[0] / "images")
    predict(request(whole, tmp_path, images=tmp_path / "new.zip"))
    assert (tmp_path / "out.csv").read_bytes() == whole[1].read_bytes()


def test_other_images_are_predicted_at_their_own_size_and_come_by_name(whole, tmp_path):
    save_images(tmp_path / "more", ["b", "a"], enlarged=3)
    predict(request(whole, tmp_path, images=tmp_path / "more"))
    found = rows(tmp_path / "out.csv")
    assert list(found) == ["a.jpg", "b.jpg"]
    networks = [load_network(whole[0] / "run", fold) for fold in (0, 1)]
    for id in ("a", "b"):
        image = np.repeat(np.repeat(TinyDataset().read_image(id), 3, 0), 3, 1)
        mask = rle.decode(found[f"{id}.jpg"], image.shape[:2])
        assert (mask != mask_by_hand(networks, image, (24, 40))).mean() < 1e-3
        np.testing.assert_array_equal(mask, Predictor.load(whole[0] / "run", device="cpu").predict(image))


def test_the_sample_decides_the_rows_and_what_has_no_image_is_empty_and_counted(whole, tmp_path, capsys):
    sample = tmp_path / "sample.csv"
    sample.write_text("img,rle_mask\ntest_02.jpg,\nlost.jpg,\ntest_00.jpg,\n")
    result = predict(request(whole, tmp_path, sample=sample))
    found, own = rows(tmp_path / "out.csv"), rows(whole[1])
    assert found == {"test_02.jpg": own["test_02.jpg"], "lost.jpg": "", "test_00.jpg": own["test_00.jpg"]}
    assert list(result.problems) == ["lost"]
    assert "1 image of 3 cannot be read: empty masks" in capsys.readouterr().out


def test_corrupt_and_odd_images_get_empty_masks(whole, tmp_path, capsys):
    folder = tmp_path / "odd"
    shutil.copytree(whole[0] / "images", folder)
    whole_png = (folder / "test_01.png").read_bytes()
    (folder / "test_01.png").write_bytes(whole_png[: len(whole_png) // 2])
    (folder / "test_03.png").write_bytes(b"")
    (folder / "deep.png").write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint16))[1].tobytes())
    (folder / "thin.png").write_bytes(cv2.imencode(".png", np.zeros((1, 700, 3), np.uint8))[1].tobytes())
    (folder / "bands.npy").write_bytes(npy(np.zeros((5, 5, 7), np.uint8)))
    result = predict(request(whole, tmp_path, images=folder))
    found, own = rows(tmp_path / "out.csv"), rows(whole[1])
    assert set(result.problems) == {"test_01", "test_03", "deep", "bands"}
    assert {key for key, cell in found.items() if not cell} >= {"test_01.jpg", "test_03.jpg", "deep.jpg", "bands.jpg"}
    assert all(found[key] == own[key] for key in ("test_00.jpg", "test_02.jpg", "test_04.jpg"))
    assert result.errors == []
    out = capsys.readouterr().out
    assert "4 images of 8 cannot be read: empty masks" in out
    assert "test_01.png: damaged or cut short" in out


def npy(array):
    import io

    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_bad_image_ends_the_command_where_that_is_asked_for(whole, tmp_path, capsys):
    folder = tmp_path / "odd"
    shutil.copytree(whole[0] / "images", folder)
    (folder / "test_03.png").write_bytes(b"")
    out = tmp_path / "out.csv"
    assert command(whole, "--images", folder, "--out", out, "--on-bad-image", "stop") == 1
    assert "error: test_03.png: an empty file" in capsys.readouterr().out
    assert lint(out, tiny_competition()) != []  # a whole file, of which masks are empty
    assert set(rows(out)) == set(rows(whole[1]))


def command(whole, *flags):
    import tyro

    return tyro.cli(Predict, args=[str(whole[0] / "run"), "--device", "cpu", *map(str, flags)]).run()


def test_only_bad_images_are_an_error_and_leave_a_whole_csv(whole, tmp_path, capsys):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_bytes(b"nothing")
    assert command(whole, "--images", tmp_path / "bad", "--out", tmp_path / "out.csv") == 1
    assert "error: no image could be read or predicted" in capsys.readouterr().out
    assert rows(tmp_path / "out.csv") == {"a.jpg": ""}


def test_one_fold_without_views_is_that_network_alone(whole, tmp_path, capsys):
    assert (
        command(whole, "--images", whole[0] / "images", "--out", tmp_path / "o.csv", "--folds", 1, "--tta", "none") == 0
    )
    assert "1 network with one view" in capsys.readouterr().out
    network = load_network(whole[0] / "run", 1)
    predictor = Predictor([network], Predictor.load(whole[0] / "run", device="cpu").frame, dtype=DTYPE)
    for id in TinyDataset().test_ids:
        mask = predictor.predict(TinyDataset().read_image(id))
        assert rows(tmp_path / "o.csv")[f"{id}.jpg"] == rle.encode(mask)


def test_with_time_the_whole_comes_after_the_first_pass(whole, tmp_path, capsys):
    predict(request(whole, tmp_path, seconds=600, started=time.monotonic(), sample=whole[0] / "sample.csv"))
    assert (tmp_path / "out.csv").read_bytes() == whole[1].read_bytes()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("5 images,")]
    assert lines == ["5 images, 1 network with one view", "5 images, 2 networks with 2 views"]


def test_without_time_the_csv_is_whole_and_empty(whole, tmp_path, capsys):
    result = predict(request(whole, tmp_path, seconds=1, started=time.monotonic() - 5))
    assert set(rows(tmp_path / "out.csv").values()) == {""}
    assert result.late == 5
    assert "5 images of 5 were not reached in the time: empty masks" in capsys.readouterr().out


def test_a_run_without_a_competition_leaves_masks_as_files(whole, tmp_path):
    run = shutil.copytree(whole[0] / "run", tmp_path / "run")
    finish(new_run(run, dtype=DTYPE), "all", None, tiny_network)
    assert not predict(request(whole, tmp_path, run=run, out=tmp_path / "masks")).errors
    own = rows(whole[1])
    for id in TinyDataset().test_ids:
        mask = cv2.imread(str(tmp_path / f"masks/{id}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, 255 * rle.decode(own[f"{id}.jpg"], TinyDataset().size))


def test_what_cannot_be_used_is_named(whole, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no folder and no zip"):
        predict(request(whole, tmp_path, images=tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image that is asked for: it is empty"):
        predict(request(whole, tmp_path, images=tmp_path / "empty"))
    sample = tmp_path / "other.csv"
    sample.write_text("img,rle_mask\na.png,\n")
    with pytest.raises(ValueError, match=r"no key of .*other.csv is written as this run writes them \({id}.jpg\)"):
        predict(request(whole, tmp_path, sample=sample))
    with pytest.raises(ValueError, match=r"folds \[7\]"):
        predict(request(whole, tmp_path, folds=(7,)))
    assert not (tmp_path / "out.csv").exists()


class Layers(TinyDataset):
    """Two classes that overlap."""

    classes, task = ("disc", "stain"), "multilabel"

    def read_mask(self, id):
        return np.stack([super().read_mask(id), super().read_mask(id)[::-1]], axis=2).astype(bool)


class Objects(TinyDataset):
    """A disc as an object."""

    task = "instances"

    def read_mask(self, id):
        return super().read_mask(id).astype(np.int32)


def two_layers():
    return tiny_network(channels=2)


@pytest.mark.parametrize(
    ("data", "network", "dialect"),
    [
        (
            Layers(),
            two_layers,
            Dialect(("img", "rle_mask"), "class", "F", key="{id}_{class}"),
        ),
        (Objects(), tiny_network, Dialect(("img", "rle_mask"), "instance", "F", 0, relative=True, empty="-1")),
        (TinyDataset(), tiny_network, Dialect(("img", "rle_mask"), size=(13, 21))),
    ],
    ids=["multilabel", "instances", "another size"],
)
def test_classes_that_overlap_and_objects_have_the_rows_and_files_that_the_recipe_gives(
    data, network, dialect, whole, tmp_path
):
    run = new_run(tmp_path / "run", data, dtype=DTYPE)
    keep_folds(run.folder, data, run.world, lambda: run.folds)
    begin(run)
    for fold in (0, 1):
        model = network()
        with torch.no_grad():
            model.weight *= 5
        save_weights(run.fold_folder(fold) / "last.safetensors", model, {})
        predict_oof(run, fold, network)
    competition = Competition(data, dialect, data.test_ids)
    own = submit(run, Submission(competition, folder=tmp_path), network)
    save_predictor(run, saved_run(run, network, competition))
    predict(request(whole, tmp_path, run=run.folder))
    assert (tmp_path / "out.csv").read_bytes() == own.read_bytes()
    saved = read_saved(run.folder)
    write_saved(run.folder, replace(saved, dialect=None))
    predict(request(whole, tmp_path, run=run.folder, out=tmp_path / "masks"))
    predictor = Predictor.load(run.folder, device="cpu")
    for id in data.test_ids:
        mask = predictor.predict(data.read_image(id))
        if mask.ndim == 3:
            files = [cv2.imread(str(tmp_path / f"masks/{id}_{name}.png"), -1) for name in data.classes]
            np.testing.assert_array_equal(np.stack(files, axis=2), mask * np.uint8(255))
        else:
            found = cv2.imread(str(tmp_path / f"masks/{id}.png"), -1)
            assert found.dtype == (np.uint16 if data.task == "instances" else np.uint8)
            np.testing.assert_array_equal(found, mask * (255 if data.task == "binary" else 1))


@pytest.mark.slow
def test_two_processes_write_what_one_does(whole, tmp_path, capsys):
    predict(request(whole, tmp_path, sample=whole[0] / "sample.csv", devices=("cpu", "cpu")))
    assert (tmp_path / "out.csv").read_bytes() == whole[1].read_bytes()
    assert "3 images, 2 networks with 2 views" in capsys.readouterr().out  # the first one's share


@pytest.mark.slow
def test_a_process_that_ends_by_itself_is_an_error_and_the_other_goes_on(whole, tmp_path, capsys):
    run = shutil.copytree(whole[0] / "run", tmp_path / "run")
    job = Job([Member(run, (0,))], None, ["test_00", "test_01"], [Images(whole[0] / "images", RGB)], Fatal(), False)
    found = list(work_together(job, ("cpu", "cpu"), Budget(None, 0)))
    assert [one for one in found if isinstance(one, tuple)] == [("test_00", [])]
    assert [one.problem[:26] for one in found if isinstance(one, Ended)] == ["a process ended by itself "]


class Fatal:
    """Ends the process that predicts test_01."""

    def __call__(self, id, size, levels):
        if id == "test_01":
            os._exit(3)
        return id, []


def started(whole, tmp_path, *flags):
    command = [sys.executable, "-m", "kit", "predict", str(whole[0] / "run"), "--out", str(tmp_path / "out.csv")]
    environment = {**os.environ, "PYTHONPATH": python_path(Path(kit.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*command, *map(str, flags)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_a_kill_leaves_a_whole_csv(whole, tmp_path, devices):
    ids = [f"image_{number:04}" for number in range(400)]
    save_images(tmp_path / "many", ids, enlarged=8)
    flags = ("--images", tmp_path / "many", "--device", *devices)
    with started(whole, tmp_path, *flags) as process:
        for _ in range(6):
            while not (tmp_path / "out.csv").exists():
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(1.5)
            assert set(rows(tmp_path / "out.csv")) == {f"{id}.jpg" for id in ids}
        process.send_signal(signal.SIGKILL)
    assert set(rows(tmp_path / "out.csv")) == {f"{id}.jpg" for id in ids}


@pytest.mark.slow
def test_a_valid_csv_on_time_of_more_and_larger_images_than_there_is_time_for(whole, tmp_path):
    """One of them is corrupt. The limit: what the start takes on this machine now, and some seconds."""
    ids = [f"image_{number:04}" for number in range(600)]
    save_images(tmp_path / "many", ids, enlarged=16)
    (tmp_path / "many/image_0007.png").write_bytes(b"\x89PNG")
    clock = time.monotonic()
    with started(whole, tmp_path, "--images", whole[0] / "images", "--minutes", 1e-6) as process:
        assert b"5 images of 5 were not reached" in process.stdout.read()
    seconds = 10 + 1.5 * (time.monotonic() - clock)
    clock = time.monotonic()
    flags = ("--images", tmp_path / "many", "--minutes", seconds / 60, "--device", "cpu")
    with started(whole, tmp_path, *flags) as process:
        out = process.stdout.read().decode()
    assert process.returncode == 0, out
    assert time.monotonic() - clock < seconds
    found = rows(tmp_path / "out.csv")
    assert set(found) == {f"{id}.jpg" for id in ids}
    assert found["image_0000.jpg"] != ""
    assert "image_0007.png: " in out
