"""A run folder predicts without its data and its recipe, bit for bit as the recipe did."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import Drawn
from python_path import python_path
from tiny import tiny_network
from tiny_run import finish_two_folds, new_run, train

import kit
from kit.prediction import TTA, VIEWS, Predictor
from kit.prediction.plain import LackingValue
from kit.prediction.saved import FILE, finished_folds, read_saved, wanted_folds
from kit.prediction.store import Store
from kit.recipe import finish
from kit.runs import load_network
from kit.runs.saving import save_predictor, saved_run

RECIPE = """
from dataclasses import dataclass
from pathlib import Path

import own_layers
from any_data import Config
from drawn import Drawn

from kit.data import Resizing
from kit.folds import kfold
from kit.losses import bce_dice
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import finish
from kit.runs import Plan, fit_fold, open_run
from kit.training import adamw, supervised, warmup_cosine

folder = Path("{folder}")
config = Config(folder / "run")
data = Drawn({channels}, "{dtype}", count=6, size=(32, 48))
frame, tta = Frame(Resizing({size}), tile={tile}), TTA(VIEWS["{tta}"])
run = open_run(config, data, lambda: kfold(6, 2, 0), frame, tta, __file__)


def main():
    width = 3

    def network():
        return own_layers.Net(len(data.channels), width)

    def train(fold):
        model = network()
        fit_fold(run, fold, model, adamw(model, 0.1), supervised(bce_dice), Plan(2, 2, warmup_cosine))

    finish(run, config.fold, train, network)


main()  # no guard: to import this file is to train
"""
LAYERS = """
from torch import nn


class Net(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        layers = nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 1)
        self.layers = nn.Sequential(*layers)

    def forward(self, images):
        return self.layers(images)
"""
KINDS = {
    "rgb": {"channels": ("red", "green", "blue"), "dtype": "uint8", "size": (24, 40), "tile": None, "tta": "hflip"},
    "bands": {"channels": tuple("abcde"), "dtype": "uint16", "size": None, "tile": (16, 16), "tta": "d4"},
}


@pytest.fixture(scope="module", params=KINDS)
def moved(request, tmp_path_factory):
    """The run folder of a recipe, read-only in another place, and the facts of its data; all else is gone."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "recipe.py").write_text(RECIPE.format(folder=folder, **KINDS[request.param]))
    (folder / "own_layers.py").write_text(LAYERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        runpy.run_path(str(folder / "recipe.py"), run_name="__main__")
    del sys.modules["own_layers"]
    moved = Path(shutil.move(folder / "run", tmp_path_factory.mktemp("elsewhere") / "moved"))
    shutil.rmtree(folder)
    for path in sorted(moved.rglob("*"), reverse=True):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in moved.rglob("*")}
    yield moved, KINDS[request.param]
    assert {path: path.stat().st_mtime_ns for path in moved.rglob("*")} == before


def test_every_fold_predicts_what_the_recipe_predicted(moved):
    folder, kind = moved
    data = Drawn(kind["channels"], kind["dtype"], count=6, size=(32, 48))
    folds = dict(line.split(",")[::2] for line in (folder / "folds.csv").read_text().splitlines()[1:])
    kept = Store(folder / "oof")
    for fold in (0, 1):
        predictor = Predictor.load(folder, folds=fold, device="cpu")
        held_out = [id for id in data.ids if folds[id] == str(fold)]
        assert len(held_out) == 3
        for id in held_out:
            np.testing.assert_array_equal(predictor.predict_levels(data.read_image(id)), kept.read(id))
        assert len({kept.read(id).tobytes() for id in held_out}) == 3


def test_all_folds_are_averaged(moved):
    folder, kind = moved
    image = Drawn(kind["channels"], kind["dtype"], count=6, size=(32, 48)).read_image("disc_99")
    both = Predictor.load(folder, device="cpu")
    each = [Predictor.load(folder, fold, "cpu").predict_levels(image).astype(np.float32) for fold in (0, 1)]
    np.testing.assert_array_equal(both.predict_levels(image), (each[0] + each[1]) / 2)
    assert both.predict(image).shape == (32, 48)
    assert (each[0] != each[1]).any()


@pytest.mark.slow
def test_all_folds_are_averaged_in_another_process_far_from_all(moved, tmp_path):
    folder, kind = moved
    data = Drawn(kind["channels"], kind["dtype"], count=6, size=(32, 48))
    image = data.read_image("disc_99")
    np.save(tmp_path / "image.npy", image)
    code = (
        "import numpy as np\nfrom kit.prediction import Predictor\n"
        f"predictor = Predictor.load({str(folder)!r}, device='cpu')\n"
        "np.savez('found.npz', levels=predictor.predict_levels(np.load('image.npy')),"
        " mask=predictor.predict(np.load('image.npy')))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": python_path(Path(kit.__file__).parents[1])}, check=True)
    found = np.load(tmp_path / "found.npz")
    predictor = Predictor.load(folder, device="cpu")
    np.testing.assert_array_equal(found["levels"], predictor.predict_levels(image))
    np.testing.assert_array_equal(found["mask"], predictor.predict(image))


def test_what_the_file_says(moved):
    folder, kind = moved
    saved = read_saved(folder)
    assert (saved.task, saved.classes, saved.channels) == ("binary", ("background", "disc"), kind["channels"])
    assert (saved.dtype, saved.frame.tile, saved.frame.resizing.size) == (kind["dtype"], kind["tile"], kind["size"])
    assert saved.tta == TTA(VIEWS[kind["tta"]])
    assert (saved.reads, saved.dialect, saved.ids) == ("Drawn", None, ())
    assert json.loads((folder / FILE).read_text())["network"]["modules"]["own_layers"] == "modules/own_layers.py"
    assert (folder / "code/recipe.py").read_text().startswith("\nfrom dataclasses")


def test_other_views_are_taken_where_they_are_asked_for(moved):
    folder, kind = moved
    data = Drawn(kind["channels"], kind["dtype"], count=6, size=(32, 48))
    image = np.ascontiguousarray(data.read_image("disc_98"))
    plain = Predictor.load(folder, 0, "cpu", tta=TTA())
    own = Predictor.load(folder, 0, "cpu")
    assert len(plain.tta.views) == 1
    assert (plain.predict_levels(image) != own.predict_levels(image)).any()


def finished_run(folder):
    return new_run(finish_two_folds(folder))


def test_a_network_that_cannot_be_kept_is_noted_at_the_start_and_named_when_it_is_loaded(tmp_path, capsys):
    run, secret = finished_run(tmp_path / "run"), iter([1])

    def network():
        next(secret)
        return tiny_network()

    finish(run, "all", lambda fold: pytest.fail("all is trained"), network)
    out = capsys.readouterr().out
    assert out.startswith("note: this run can be predicted by its own script alone")
    assert out.count("the network needs secret, a list_iterator, which no file can keep") == 1
    with pytest.raises(
        LackingValue, match=r"secret, a list_iterator. Give finish a network\(\) that the script defines"
    ):
        load_network(run.folder, 0)
    assert read_saved(run.folder).classes == ("blue", "disc")


def test_a_network_that_is_another_when_made_again_is_noted(tmp_path, capsys):
    run = finished_run(tmp_path / "run")

    def network():
        return torch.nn.Conv2d(3, 1, 3, padding=int(torch.randint(1, 10**6, ())))

    assert saved_run(run, network).network is None
    assert "made again, it has other layers or settings" in capsys.readouterr().out


def test_making_the_network_draws_no_random_numbers(tmp_path):
    run = finished_run(tmp_path / "run")
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert saved_run(run, lambda: torch.nn.Conv2d(3, 1, 3, padding=1)).network is not None
    assert torch.equal(torch.rand(2), expected)


def test_folds_without_weights_and_folders_without_the_file_are_named(tmp_path):
    run = finished_run(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"predictor.json is missing: it is written when a fold is finished"):
        Predictor.load(run.folder)
    save_predictor(run, saved_run(run, tiny_network))
    assert finished_folds(run.folder) == [0, 1]
    assert wanted_folds(run.folder, (1,)) == [1]
    with pytest.raises(ValueError, match=r"folds \[5\] of .*: those with weights are \[0, 1\]"):
        wanted_folds(run.folder, (0, 5))
    with pytest.raises(FileNotFoundError, match=r"fold5.last.safetensors is missing; the folds .* \[0, 1\]"):
        load_network(run.folder, 5)


def test_a_fold_that_is_in_training_or_of_other_code_is_left_out(tmp_path):
    run = finished_run(tmp_path / "run")
    save_predictor(run, saved_run(run, tiny_network))
    path = run.fold_folder(1) / "finished.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "recipe": "other code"}))
    assert finished_folds(run.folder) == [0]
    path.unlink()
    train(run, 2, seed=3)
    assert finished_folds(run.folder) == [0]


def test_weights_that_do_not_fit_and_a_damaged_file_are_named(tmp_path):
    run = finished_run(tmp_path / "run")
    save_predictor(run, saved_run(run, lambda: torch.nn.Conv2d(3, 2, 3)))
    with pytest.raises(ValueError, match=r"last.safetensors is of another model .*weight \(2, 3, 3, 3\) -> \(1,"):
        load_network(run.folder, 0)
    (run.folder / FILE).write_text("{")
    with pytest.raises(ValueError, match=r"predictor.json cannot be read .*Run the recipe again"):
        read_saved(run.folder)
