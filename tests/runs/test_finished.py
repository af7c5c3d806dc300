"""A finished run read from its folder alone, and several joined image by image."""

import importlib
import json
import re
import shutil
import sys
import textwrap

import numpy as np
import pytest
from any_data import run_recipe
from task_runs import TASKS
from tiny import TinyDataset, tiny_competition, tiny_network
from tiny_run import finish_two_folds, finished_run, new_run, train

from kit.prediction import Predictor, Rule
from kit.prediction.saved import finished_folds
from kit.recipe import finish
from kit.runs import Submission, join_runs, predict_oof, read_run
from kit.scoring import MeanDice, metrics

OWN_METRIC = "import numpy as np\n\n\n" + textwrap.dedent(
    re.search(r"^    class PerfectImages:.*?(?=^\S)", metrics.__doc__, re.DOTALL | re.MULTILINE)[0]
)


def check_whole(found, run):
    """What is read from the folder is what the run has, and its counts follow from levels, rule and truth."""
    assert list(found.ids) == [id for fold in (0, 1) for id in run.held_out(fold)]
    groups = dict(zip(run.dataset.ids, map(str, run.dataset.groups), strict=True))
    assert list(found.groups) == [groups[id] for id in found.ids]
    assert found.fold_of.tolist() == [fold for fold in (0, 1) for _ in run.held_out(fold)]
    for row, id in enumerate(found.ids):
        truth, levels = run.dataset.read_mask(id), run.store.read(id)
        np.testing.assert_array_equal(found.levels(id), levels)
        assert found.truth(id).dtype == truth.dtype
        np.testing.assert_array_equal(found.truth(id) > 0, truth > 0)
        mask = found.rule.mask(found.levels(id), found.truth(id).shape[:2])
        np.testing.assert_array_equal(found.metric.counts(found.truth(id), mask), found.scores.counts[row])


def test_the_folder_alone_gives_all(tmp_path):
    run = finished_run(tmp_path / "mine")
    report = json.loads((run.folder / "report.json").read_text())
    moved = tmp_path / "elsewhere"
    run.folder.rename(moved)
    found = read_run(moved)
    assert (found.name, found.folds, found.metric) == ("elsewhere", (0, 1), MeanDice())
    assert found.metric.score(found.scores.counts.sum(axis=0)) == report["metric"]["value"]
    found.check_truth()
    assert found.test_ids == tuple(run.dataset.test_ids)
    assert found.test_sizes == dict.fromkeys(run.dataset.test_ids, run.dataset.size)
    for fold in (0, 1):
        assert found.tests(fold).missing(found.test_ids) == []
    run = new_run(moved)
    check_whole(found, run)


@pytest.mark.parametrize("task", TASKS)
def test_every_task(task, tmp_path):
    dataset, network, loss = TASKS[task]
    run = run_recipe(dataset(), tmp_path, network, loss)
    check_whole(read_run(run.folder), run)


def test_a_run_without_a_metric_has_mean_dice(tmp_path):
    found = read_run(finish_and_keep(tmp_path))
    assert found.metric == MeanDice()
    np.testing.assert_allclose(found.metric.score(found.scores.counts.sum(axis=0)), found.scores.images["dice"].mean())


def finish_and_keep(folder):
    run = new_run(finish_two_folds(folder / "plain"))
    finish(run, "all", None, tiny_network)
    return run.folder


@pytest.mark.slow
def test_a_metric_of_the_users_own_is_made_again_from_the_code_in_the_folder(tmp_path, monkeypatch):
    (tmp_path / "own_metric.py").write_text(OWN_METRIC)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = finished_run(tmp_path / "mine", importlib.import_module("own_metric").PerfectImages())
    monkeypatch.undo()
    (tmp_path / "own_metric.py").unlink()
    sys.modules.pop("own_metric")
    check_whole(read_run(run.folder), run)


@pytest.mark.slow
def test_a_run_of_an_earlier_kit_is_told_what_to_do(tmp_path):
    run = finished_run(tmp_path / "mine")
    shutil.rmtree(run.folder / "truth")
    path = run.folder / "predictor.json"
    facts = json.loads(path.read_text())
    facts.pop("metric")
    path.write_text(json.dumps(facts))
    with pytest.raises(ValueError, match=r"does not say how its metric is made. Run the recipe .* once more"):
        read_run(run.folder)
    again = new_run(run.folder)
    finish(again, "all", None, tiny_network, Submission(tiny_competition(), folder=tmp_path, keep_test=True))
    found = read_run(run.folder)
    found.check_truth()
    assert found.metric == MeanDice()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere: expected a run folder"):
        read_run(tmp_path / "nowhere")


def test_lost_truth_is_counted(tmp_path):
    folder = finish_and_keep(tmp_path)
    (folder / "truth/car0_01.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks the true masks of 1 held-out image: ?\s*car0_01"):
        read_run(folder).check_truth()


def test_scores_need_no_weights(one, tmp_path):
    """Neither the scores of a fold nor the rule that was chosen on it go with its weights."""
    folder = shutil.copytree(one, tmp_path / "moved")
    before, rule = read_run(folder), {"threshold": 0.3, "min_area": 2}
    chosen = {"format": 1, "rule": rule, "used": True, "why": "", "key": before.key, "cross_fitted": 0.5}
    (folder / "rule.json").write_text(json.dumps(chosen))
    (folder / "fold1/last.safetensors").unlink()
    found = read_run(folder)
    assert (found.folds, found.ids, found.key) == ((0, 1), before.ids, before.key)
    assert found.tests(1).missing(found.test_ids) == []
    assert finished_folds(folder) == [0]
    assert Predictor.load(folder, device="cpu").rule == Rule(**rule)
    (folder / "full7").mkdir()
    (folder / "fold0/last.safetensors").rename(folder / "full7/last.safetensors")
    shutil.copy(folder / "fold0/finished.json", folder / "full7")
    assert read_run(folder).folds == (0, 1)
    with pytest.raises(ValueError, match=r"no finished fold of .* has weights"):
        finished_folds(folder)
    for fold in (0, 1):
        shutil.rmtree(folder / f"fold{fold}")
    assert Predictor.load(folder, "full", device="cpu").rule == Rule(**rule)
    with pytest.raises(ValueError, match=r"no fold of .* is finished"):
        read_run(folder)


def test_a_rule_is_left_where_a_fold_is_no_longer_finished(one, tmp_path):
    folder = shutil.copytree(one, tmp_path / "partly")
    chosen = {"format": 1, "rule": {"threshold": 0.3}, "used": True, "why": "", "key": read_run(folder).key}
    (folder / "rule.json").write_text(json.dumps(chosen))
    assert Predictor.load(folder, 0, "cpu").rule == Rule(0.3)
    for fold in (0, 1):
        (folder / f"fold{fold}/finished.json").unlink()
        assert Predictor.load(folder, 0, "cpu").rule == Rule()


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("joined") / "one").folder


def test_runs_are_joined_by_their_ids(one, tmp_path):
    class Turned(TinyDataset):
        """The same images in another order."""

        def __init__(self):
            super().__init__()
            order = np.random.default_rng(0).permutation(len(self.ids))
            self.ids, self.groups = ([part[i] for i in order] for part in (self.ids, self.groups))

    folds = dict(zip(TinyDataset().ids, new_run(one).folds, strict=True))
    other = new_run(tmp_path / "other", Turned())
    object.__setattr__(other, "folds", np.array([folds[id] for id in other.dataset.ids]))
    for fold in (0, 1):
        train(other, fold, seed=5 + fold)
        predict_oof(other, fold, tiny_network, MeanDice())
    finish(other, "all", None, tiny_network, MeanDice())
    runs = join_runs([read_run(one), read_run(other.folder)])
    assert runs[0].ids == runs[1].ids
    np.testing.assert_array_equal(runs[0].fold_of, runs[1].fold_of)
    for row, id in enumerate(runs[1].ids):
        mask = runs[1].rule.mask(other.store.read(id), TinyDataset().size)
        np.testing.assert_array_equal(MeanDice().counts(TinyDataset().read_mask(id), mask), runs[1].scores.counts[row])


def test_only_folds_that_all_have_are_joined(one, tmp_path):
    partly = shutil.copytree(one, tmp_path / "partly")
    (partly / "fold0/finished.json").unlink()
    runs = join_runs([read_run(one), read_run(partly)])
    assert [run.folds for run in runs] == [(1,), (1,)]
    assert [run.ids for run in runs] == [tuple(new_run(one).held_out(1))] * 2
    other = shutil.copytree(one, tmp_path / "other")
    (other / "fold1/finished.json").unlink()
    with pytest.raises(ValueError, match=r"no fold is finished in all of the runs \(.*partly: 1; .*other: 0\)"):
        join_runs([read_run(partly), read_run(other)])


def edit(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def other_truth(folder):
    edit(folder, "config.json", '"data.images and masks": "', '"data.images and masks": "other')
    path = folder / "truth/car1_02.png"
    path.write_bytes((folder / "truth/car1_01.png").read_bytes())


CHANGES = {
    "metric: mean Dice over images": lambda folder: edit(
        folder, "predictor.json", "metrics:MeanDice", "metrics:DatasetDice"
    ),
    "classes: blue, disc in the first, blue, ring": lambda folder: edit(folder, "predictor.json", '"disc"', '"ring"'),
    "1 image of the first alone:\n  car0_01; runs are joined where their folds are made alike": lambda folder: edit(
        folder, "fold0/oof.csv", "car0_01", "car9_01"
    ),
    "another group of 1 image": lambda folder: edit(folder, "fold0/oof.csv", "car0_01,car0", "car0_01,car7"),
    "other true masks of 1 image": other_truth,
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_does_not_fit_is_refused_with_the_difference(what, one, tmp_path):
    other = shutil.copytree(one, tmp_path / "other")
    CHANGES[what](other)
    with pytest.raises(ValueError, match=f"one and .*other cannot be joined: {what}"):
        join_runs([read_run(one), read_run(other)])


def test_other_data_with_the_same_truth_may_be_joined(one, tmp_path):
    """As images with other channels, or shrunk ones."""
    other = shutil.copytree(one, tmp_path / "other")
    edit(other, "config.json", '"data.images and masks": "', '"data.images and masks": "other')
    assert join_runs([read_run(one), read_run(other)])[1].ids == read_run(one).ids
