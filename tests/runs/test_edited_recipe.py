"""An edited recipe: what is predicted again, what is not trained again, and what the report says."""

import importlib
import json
import shutil
import sys

import pytest
from tiny import tiny_network
from tiny_run import finish_two_folds, new_run

from kit.recipe import finish
from kit.report.of_run import report
from kit.runs import predict_oof, unfinished
from kit.runs.folds import has_only_weights
from kit.runs.oof import finished, up_to_date
from kit.runs.provenance import recipe_code


@pytest.fixture(scope="module")
def two_folds(tmp_path_factory):
    return finish_two_folds(tmp_path_factory.mktemp("two"))


def test_an_edited_recipe_is_named_and_the_report_says_what_trained(tmp_path, two_folds, monkeypatch, capsys):
    recipe, folder = tmp_path / "recipe.py", shutil.copytree(two_folds, tmp_path / "run")
    recipe.write_text("lr = 0.1")
    monkeypatch.setattr("sys.argv", [str(recipe), "--fold", "0"])
    monkeypatch.setattr("kit.runs.provenance.script", lambda: recipe)
    monkeypatch.setattr("kit.runs.provenance.commit", lambda: "abc")
    for fold in (0, 1):
        (folder / f"fold{fold}/finished.json").unlink()
    run = new_run(folder)
    assert list(unfinished(run, 0)) == [0]
    predict_oof(run, 0, tiny_network)
    assert list(unfinished(run, 0)) == []
    assert capsys.readouterr().out == "fold 0 is finished\n"
    recipe.write_text('"""Words."""\nlr =  0.1  # a comment')
    assert list(unfinished(new_run(folder), 0)) == []
    recipe.write_text("lr = 0.2")
    monkeypatch.setattr("sys.argv", [str(recipe), "--fold", "all"])
    monkeypatch.setattr("kit.runs.provenance.commit", lambda: "def")
    run = new_run(folder)  # another process
    for fold in unfinished(run, "all"):  # each is predicted again: the network may be another
        predict_oof(run, fold, tiny_network)
    capsys.readouterr()
    report(run)
    [note] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    assert note.startswith("note: Fold 0 began to train before the recipe was edited. Data, folds, flags")
    measured = json.loads((folder / "report.json").read_text())
    assert any("Fold 0 began to train before the recipe" in text for text in measured["conventions"])
    assert [line.split()[2:] for line in measured["command"].splitlines()] == [["--fold", "0"], ["--fold", "all"]]
    assert measured["versions"]["commit"] == "abc and def"


def test_an_edited_module_of_the_users_counts_as_an_edited_recipe(tmp_path, monkeypatch):
    script, module = tmp_path / "script.py", tmp_path / "my_layers.py"
    script.write_text("import my_layers")
    module.write_text("ACTIVATION = 'relu'")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("kit.runs.provenance.script", lambda: script)
    monkeypatch.setitem(sys.modules, "my_layers", importlib.import_module("my_layers"))
    before = recipe_code()
    module.write_text("# words\nACTIVATION =   'relu'")
    assert recipe_code() == before
    module.write_text("ACTIVATION = 'gelu'")
    assert recipe_code() != before
    monkeypatch.setattr("kit.runs.provenance.script", lambda: None)
    assert recipe_code() == "unknown"


def test_in_a_notebook_predictions_are_always_made_anew(tmp_path, monkeypatch):
    """Its cells may have changed unseen."""
    monkeypatch.setattr("kit.runs.provenance.script", lambda: None)
    run = new_run(finish_two_folds(tmp_path / "two"))
    assert finished(run) == [0, 1]  # so that a report can be made
    assert list(unfinished(run, "all")) == [0, 1]


def test_a_finished_fold_without_its_checkpoint_is_predicted_and_not_trained(tmp_path, monkeypatch):
    """A copy of a run without its large last.pt files, with an edited recipe."""
    run = new_run(finish_two_folds(tmp_path / "two"))
    assert not has_only_weights(new_run(tmp_path / "new"), 0)
    assert has_only_weights(run, 0)
    (tmp_path / "two/fold1/last.pt").write_bytes(b"")
    assert not has_only_weights(run, 1)  # it is resumed, which compares its settings
    weights = (tmp_path / "two/fold0/last.safetensors").read_bytes()
    monkeypatch.setattr("kit.runs.provenance.recipe_code", lambda: "edited")
    again, trained = new_run(tmp_path / "two"), []
    finish(again, "all", trained.append, tiny_network)
    assert trained == [1]
    assert (tmp_path / "two/fold0/last.safetensors").read_bytes() == weights
    assert up_to_date(again) == [0, 1]
