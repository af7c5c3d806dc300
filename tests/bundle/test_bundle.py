"""A bundle holds what prediction needs and nothing else; predict.py names each file that is not as it was."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.numpy
import torch
from python_path import python_path
from tiny import TinyDataset, tiny_competition, tiny_network
from tiny_run import finish_two_folds, keep_trained, mask_by_hand, new_run

import kit
from kit.bundle import Bundle, bundle, script
from kit.bundle.kaggle import Place
from kit.cli.bundle import Bundle as Command
from kit.prediction.saved import read_saved
from kit.recipe import finish
from kit.runs import Submission, load_network, predict_oof
from kit.runs.half import measure_half, read_half
from kit.runs.saving import save_predictor, saved_run
from kit.submission import rle

OWN = {"predict.py", "predict.ipynb", "manifest.json", "dataset-metadata.json", "kernel-metadata.json"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder as the end of a recipe leaves it."""
    folder = tmp_path_factory.mktemp("finished")
    run = new_run(finish_two_folds(folder / "mine"))
    finish(run, "all", None, tiny_network, Submission(tiny_competition(), folder=folder))
    return run.folder


@pytest.fixture(scope="module")
def bundled(finished):
    """Its bundle, which no test changes."""
    bundle(Bundle(finished, finished.parent / "bundle", Place(name="mine")))
    return finished.parent / "bundle"


@pytest.fixture
def copied(bundled, tmp_path):
    return shutil.copytree(bundled, tmp_path / "bundle")


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def problems_of(folder):
    return script.locate(folder, manifest_of(folder))[1]


def predict_py(folder, *arguments, where, path=Path(kit.__file__).parents[1]):
    command = [sys.executable, str(folder / "predict.py"), "--device", "cpu", *map(str, arguments)]
    environment = {"PYTHONPATH": python_path(path), "PATH": "", "KIT_CACHE": str(where / "cache")}
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)


def test_it_holds_what_prediction_needs_and_nothing_else(finished, bundled):
    code = {f"runs/mine/code/{name}" for name in read_saved(finished).network.texts}
    folds = {f"runs/mine/fold{fold}/{name}" for fold in (0, 1) for name in ("last.safetensors", "finished.json")}
    rest = {"runs/mine/predictor.json", f"wheels/kit-{kit.__version__}-py3-none-any.whl"}
    found = {path.relative_to(bundled).as_posix() for path in bundled.rglob("*") if path.is_file()}
    assert found == OWN | code | folds | rest
    assert len(code) >= 1
    assert problems_of(bundled) == []
    assert bundled.stat().st_mode & 0o777 == finished.stat().st_mode & 0o777
    assert [path.name for path in finished.parent.iterdir() if path.name.startswith(".")] == [".ledger.jsonl.lock"]


@pytest.fixture(scope="module")
def predicted(bundled, tmp_path_factory):
    """The test images as files, and the CSV that predict.py wrote of them."""
    folder = tmp_path_factory.mktemp("predicted")
    (folder / "images").mkdir()
    for id in TinyDataset().test_ids:
        image = np.ascontiguousarray(TinyDataset().read_image(id)[..., ::-1])
        (folder / f"images/{id}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    done = predict_py(bundled, "--images", "images", "--out", "out.csv", where=folder)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "not the one of this run" not in done.stdout
    return folder / "images", folder / "out.csv"


def test_predict_py_gives_the_masks_of_the_rounded_weights(bundled, predicted):
    networks = [tiny_network() for _ in (0, 1)]
    for fold, network in enumerate(networks):
        kept = safetensors.numpy.load_file(bundled / f"runs/mine/fold{fold}/last.safetensors")
        assert {name: array.dtype.name for name, array in kept.items()} == {"weight": "float16", "bias": "float32"}
        network.load_state_dict({name: torch.from_numpy(array.astype(np.float32)) for name, array in kept.items()})
    with predicted[1].open(newline="") as file:
        rows = {row["img"]: row["rle_mask"] for row in csv.DictReader(file)}
    assert set(rows) == {f"{id}.jpg" for id in TinyDataset().test_ids}
    for id in TinyDataset().test_ids:
        image = TinyDataset().read_image(id)
        mask = rle.decode(rows[f"{id}.jpg"], image.shape[:2])
        assert mask.any()
        assert (mask != mask_by_hand(networks, image, (24, 40))).mean() < 2e-3


def other_kit(folder, change):
    """A copy of kit below `folder`, changed."""
    shutil.copytree(Path(kit.__file__).parent, folder / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    change(folder / "kit")
    return folder


def spoil(package):
    (package / "cli/__init__.py").write_text("raise SystemExit('this is another kit')\n")


@pytest.mark.slow  # two new interpreters
def test_another_kit_that_is_installed_is_not_used(bundled, predicted, tmp_path):
    images, csv_of_this = predicted
    other = other_kit(tmp_path / "other", spoil)
    done = predict_py(bundled, "--images", images, "--out", "out.csv", where=tmp_path, path=other)
    assert done.returncode == 0, done.stderr + done.stdout
    assert f"the kit in {other / 'kit'} is not the one of this run" in done.stdout
    assert (tmp_path / "out.csv").read_bytes() == csv_of_this.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        spoil,
        lambda package: (package / "report/report.html").unlink(),
        lambda package: (package / "extra.py").touch(),
        lambda package: (package / "recipe.py").rename(package / "recipes.py"),
    ],
)
def test_the_digest_is_of_the_names_and_contents_of_all_files(tmp_path, change):
    package = other_kit(tmp_path, lambda _: None) / "kit"
    digest = script.digest_of(package)
    assert digest == script.digest_of(Path(kit.__file__).parent)
    (package / "data/__pycache__").mkdir()
    (package / "data/__pycache__/dataset.pyc").touch()
    assert script.digest_of(package) == digest
    change(package)
    assert script.digest_of(package) != digest


def test_of_other_wheels_those_of_absent_packages_come_beside_another_kit():
    wheels = dict.fromkeys(["absent_package-1-py3-none-any.whl", "kit-9-py3-none-any.whl", "numpy-1-py3-none-any.whl"])
    found = script.wanted_wheels({"wheels": wheels, "sources": "0"})
    assert found == ["absent_package-1-py3-none-any.whl", "kit-9-py3-none-any.whl"]


def test_the_rounded_weights_are_the_nearest_that_float16_has(finished, bundled):
    for fold in (0, 1):
        full, half = (
            safetensors.numpy.load_file(folder / f"fold{fold}/last.safetensors")
            for folder in (finished, bundled / "runs/mine")
        )
        np.testing.assert_array_equal(half["weight"], full["weight"].astype(np.float16))
        np.testing.assert_array_equal(half["bias"], full["bias"])


def test_a_file_that_is_cut_short_or_changed_or_lost_is_named(copied, tmp_path):
    weights, code = copied / "runs/mine/fold1/last.safetensors", next(copied.glob("runs/mine/code/**/*.py"))
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes()[:100])
    done = predict_py(copied, "--images", ".", "--out", "out.csv", where=tmp_path)
    assert done.returncode == 1
    assert f"{weights} is cut short or another file: 100 bytes of {size}" in done.stderr
    assert not (tmp_path / "out.csv").exists()
    code.write_bytes(b"\n" + code.read_bytes()[:-1])
    weights.unlink()
    assert problems_of(copied) == [
        f"{code} is damaged: its SHA-256 is not the one in manifest.json",
        f"{weights} is missing",
    ]


def test_wheels_that_do_not_fit_are_an_error_with_both_versions(tmp_path, capfd):
    (tmp_path / "other-1.0-cp39-cp39-win32.whl").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"They are for Python 3.9, and this is 3\.\d+$"):
        script.install([tmp_path / "other-1.0-cp39-cp39-win32.whl"], "3.9")
    assert "not a supported wheel on this platform" in capfd.readouterr().err


def test_a_run_and_a_wheel_that_an_upload_has_moved_are_found(copied):
    shutil.move(copied / "runs/mine", copied / "elsewhere")
    (wheel,) = copied.glob("wheels/*.whl")
    shutil.move(wheel, copied / wheel.name)
    (copied / "wheels").rmdir()
    places, problems = script.locate(copied, manifest_of(copied))
    assert problems == []
    assert places == {"mine": copied / "elsewhere", wheel.name: copied / wheel.name}
    (copied / "elsewhere/predictor.json").write_text("{}")
    assert f"{copied}/runs/mine/predictor.json is missing" in problems_of(copied)


def test_an_existing_folder_is_refused_and_stays(finished, tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(FileExistsError, match="old exists: give the bundle a new folder"):
        bundle(Bundle(finished, tmp_path / "old", Place()))
    assert list((tmp_path / "old").iterdir()) == []


def test_a_run_that_cannot_predict_leaves_no_half_of_a_bundle(finished, tmp_path):
    run = new_run(shutil.copytree(finished, tmp_path / "run"))
    keep_trained(run, 1, tiny_network(channels=2))
    with pytest.raises(ValueError, match=r"fold1.last.safetensors is of another model"):
        bundle(Bundle(run.folder, tmp_path / "out/bundle", Place()))
    assert list((tmp_path / "out").iterdir()) == []


def test_only_the_folds_that_are_asked_for(finished, tmp_path):
    bundle(Bundle(finished, tmp_path / "one", Place(name="mine"), folds=(1,)))
    assert [path.name for path in sorted((tmp_path / "one/runs/mine").glob("fold*"))] == ["fold1"]
    assert load_network(tmp_path / "one/runs/mine", 1) is not None


class Steep(torch.nn.Module):
    """Its weights lie so close together that float16 has one number for many: the score moves."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, 3))

    def forward(self, images):
        return 1e6 * (images * (self.weight - 1).view(1, 3, 1, 1)).sum(1, keepdim=True)


def test_full_precision_where_the_score_moves_or_was_not_measured(tmp_path, capsys):
    run = new_run(finish_two_folds(tmp_path / "run"))
    for fold in (0, 1):
        model = Steep()
        with torch.no_grad():
            model.weight += 1 + torch.tensor([2e-4, 0, -2e-4])  # red minus blue; 1 in float16
        keep_trained(run, fold, model)
        predict_oof(run, fold, Steep)
    save_predictor(run, saved_run(run, Steep))
    measure_half(run, 0, Steep, None)
    recipe = read_saved(run.folder).recipe
    measured = read_half(run.fold_folder(0), recipe)
    assert measured.full["dice"] > 0.5
    shares = [TinyDataset().read_mask(id).mean() for id in run.held_out(0)]
    assert measured.half["iou"] == pytest.approx(np.mean(shares))  # all weights are 1 then: every pixel is a disc
    assert not measured.is_enough
    assert read_half(run.fold_folder(1), recipe) is None
    bundle(Bundle(run.folder, tmp_path / "bundle", Place(name="steep")))
    for fold in (0, 1):
        kept = tmp_path / f"bundle/runs/steep/fold{fold}/last.safetensors"
        assert kept.read_bytes() == (run.fold_folder(fold) / "last.safetensors").read_bytes()
    out = capsys.readouterr().out
    assert f"full precision: half would move iou {measured.full['iou']:.6f} -> {measured.half['iou']:.6f}" in out
    assert "fold1: 0.0 MB in full precision: what half precision costs was not measured with these weights" in out


class Blind:
    """A metric that is 0 whatever is predicted."""

    name, ratio = "blind", True

    def counts(self, truth, prediction):
        return np.array([0.0, 1.0])

    def score(self, sums):
        return sums[..., 0] / sums[..., 1]


def test_full_precision_where_the_masks_differ_and_the_score_does_not(tmp_path):
    run = new_run(finish_two_folds(tmp_path / "run"))
    model = Steep()
    with torch.no_grad():
        model.weight += 1 + torch.tensor([2e-4, 0, -2e-4])
    keep_trained(run, 0, model)
    predict_oof(run, 0, Steep)
    save_predictor(run, saved_run(run, Steep))
    measure_half(run, 0, Steep, Blind())
    measured = read_half(run.fold_folder(0), read_saved(run.folder).recipe)
    assert (measured.moved, measured.is_enough) == (0, False)
    sizes = {id: run.dataset.shape(id) for id in run.held_out(0)}
    area, pixels = sum(run.store.mask(id, size).sum() for id, size in sizes.items()), sum(map(np.prod, sizes.values()))
    assert measured.dice == pytest.approx(2 * area / (area + pixels))  # the rounded weights make every pixel a disc


@pytest.mark.parametrize("content", ['{"images": 6}', "[1]", '"key"', "{"])
def test_a_damaged_measurement_is_named(finished, tmp_path, content):
    run = new_run(shutil.copytree(finished, tmp_path / "run"))
    (run.fold_folder(0) / "half.json").write_text(content)
    with pytest.raises(ValueError, match=r"half\.json is (damaged|no JSON)"):
        read_half(run.fold_folder(0), read_saved(run.folder).recipe)


def test_a_measurement_of_other_weights_does_not_count_and_is_made_once(finished, tmp_path):
    run = new_run(shutil.copytree(finished, tmp_path / "run"))
    file, recipe = run.fold_folder(0) / "half.json", read_saved(run.folder).recipe
    before = file.stat().st_mtime_ns
    metric = tiny_competition().metric
    measure_half(run, 0, lambda: pytest.fail("it is measured"), metric)
    assert file.stat().st_mtime_ns == before
    assert read_half(run.fold_folder(0), recipe).images == 6
    assert read_half(run.fold_folder(0), "other code") is None
    keep_trained(run, 0, tiny_network(seed=9))
    assert read_half(run.fold_folder(0), recipe) is None


def test_the_command_refuses_several_runs_and_says_what_it_lacks(finished, tmp_path, capsys):
    assert Command((finished, finished), tmp_path / "out").run() == 1
    assert (
        "error: 2 runs were given, and a bundle holds one run or one blend: choose weights first"
        in capsys.readouterr().out
    )
    assert Command((tmp_path / "no",), tmp_path / "out").run() == 1
    assert "predictor.json is missing" in capsys.readouterr().out
    assert Command((finished,), tmp_path / "out", folds=(1,)).run() == 0
    assert "put your name on Kaggle in the place of YOUR-KAGGLE-NAME" in capsys.readouterr().out
    assert list(manifest_of(tmp_path / "out")["runs"]) == ["mine"]


@pytest.mark.parametrize("said", [{"also": ("monai",)}, {"python": "3.11"}, {"platform": ("win_amd64",)}])
def test_what_is_said_of_wheels_where_none_are_fetched_is_refused(finished, tmp_path, capsys, said):
    assert Command((finished,), tmp_path / "out", **said).run() == 1
    assert f"error: --{next(iter(said))}: about wheels, and none are fetched" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
