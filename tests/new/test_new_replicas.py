"""`kit new` on the drawn competitions: what it finds, what it writes, and that the recipe runs as it stands."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from replicas import DRAW
from replicas.shared import BY_SIZE

from kit.cli import main
from kit.new import Wishes, choose, recipe_text
from kit.prediction import Predictor
from kit.prediction.slides import predict_slide
from kit.submission import rle
from kit.submission.tables import read_rows

# What no file of these says, and a person reads on the competition's page.
SAID = {
    "salt": {},
    "airbus": {"order": "F"},
    "siim": {"order": "F", "task": "binary"},
    "contrails": {"order": "F", "planes": (4,)},
    "clouds": {"csv_size": (350, 525)},
    "hubmap": {"slides": True},  # drawn smaller than slides are
}


def wishes_for(name):
    return Wishes(device="cpu", **SAID.get(name, {}))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Each replica, drawn once."""
    made = {}

    def draw(name):
        if name not in made:
            made[name] = DRAW[name](tmp_path_factory.mktemp(name))
        return made[name]

    return draw


@pytest.mark.parametrize("name", BY_SIZE)
def test_a_competition_is_found_from_its_files(drawn, name):
    replica = drawn(name)
    choices = choose(replica.folder, wishes_for(name))
    assert choices.goal.dialect == replica.dialect
    assert choices.meaning.task == replica.task
    assert len(choices.meaning.classes) == len(replica.classes)
    assert sorted(choices.found.images) == sorted(replica.truth)
    assert sorted(choices.found.tests) == sorted(replica.hidden)
    assert choices.found.problems == []
    if replica.groups is not None and choices.groups is not None:  # never groups that cut through the true ones
        own = dict(zip(choices.found.ids, choices.grouping.groups, strict=True))
        together = {}
        for id, group in replica.groups.items():
            together.setdefault(group, set()).add(own[id])
        assert all(len(groups) == 1 for groups in together.values())


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in DRAW])
def test_the_recipe_is_short_and_in_the_house_style(drawn, tmp_path, name):
    text = recipe_text(choose(drawn(name).folder, wishes_for(name)), drawn(name).folder, Path("recipes/mine.py"))
    assert len(text.splitlines()) <= 120
    path = tmp_path / "mine.py"
    path.write_text(text)
    config = Path(__file__).parents[2] / "pyproject.toml"
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed; the extra dev brings it")
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        command = [sys.executable, "-m", "ruff", *command, "--config", config, path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "flag"), [("airbus", "--order"), ("contrails", "--planes"), ("siim", "--order")])
def test_what_no_file_says_is_asked_for_by_its_flag(drawn, name, flag):
    with pytest.raises(ValueError, match=flag):
        choose(drawn(name).folder, Wishes(device="cpu"))


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_SIZE)
def test_one_epoch_of_the_recipe_gives_the_csv_of_its_predictions(drawn, tmp_path, name):
    replica = drawn(name)
    choices = choose(replica.folder, wishes_for(name))
    recipe = tmp_path / "mine.py"
    recipe.write_text(recipe_text(choices, replica.folder, recipe))
    flags = ["--fold", "0", "--epochs", "1", "--image-size", "64", "64", "--encoder", "mobilenet_v2"]
    command = [sys.executable, "-W", "error", recipe, *flags, "--encoder-weights", "none"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    csv = tmp_path / "submissions/mine_fold0.csv"
    dialect = dataclasses.replace(choices.goal.dialect, labels=choices.goal.dialect.labels)
    rows = {}
    for cells in read_rows(csv, dialect):
        id, index, runs = dialect.parse(cells)
        rows.setdefault(id, []).append((index or 1, runs))
    assert sorted(rows) == sorted(replica.hidden)
    predictor = Predictor.load(tmp_path / "runs/mine")
    data = _read_data(recipe, replica.folder)
    for id in replica.hidden:
        found = _drawn_again(rows[id], dialect, replica.shape(id), replica.task, len(replica.classes))
        if name == "hubmap":
            wanted = predict_slide(predictor, data.regions(id), dialect.order).read(0, 0, *replica.shape(id))
        else:
            wanted = predictor.predict(data.read_image(id))
        if dialect.size is None:
            np.testing.assert_array_equal(found > 0, wanted > 0)


def _read_data(recipe, folder):
    names = {"__name__": "recipe"}
    exec(compile(recipe.read_text(), recipe, "exec"), names)  # the recipe's own data set
    return names["read_data"](folder)


def _drawn_again(rows, dialect, size, task, classes):
    """The masks of an image's rows, of one kind with a prediction."""
    size = dialect.mask_size(size)
    layers = np.zeros((*size, classes if task == "multilabel" else 1), bool)
    for index, runs in rows:
        layers[..., index - 1] |= rle.decode(runs, size, dialect.order).view(bool)
    return layers if task == "multilabel" else layers[..., 0]


def test_the_command_line_prints_writes_and_refuses_to_overwrite(drawn, tmp_path, monkeypatch, capsys):
    def kit(*arguments):
        monkeypatch.setattr("sys.argv", ["kit", "new", *map(str, arguments)])
        return main(), capsys.readouterr().out

    folder, recipe = drawn("dsb2018").folder, tmp_path / "mine.py"
    code, out = kit(recipe, "--data-dir", folder, "--look", "--json", "--device", "cpu")
    assert code == 0, out
    assert json.loads(out)["task"] == "instances"
    assert not recipe.exists()
    code, out = kit(recipe, "--data-dir", folder, "--device", "cpu")
    assert code == 0, out
    assert recipe.read_text().startswith('"""U-Net on')
    code, out = kit(recipe, "--data-dir", folder)
    assert code == 1
    assert "is there already" in out
