"""A run as a fact: what it says, its parent, and that it is recorded by itself and once."""

import json
import shutil

import numpy as np
import pytest
from tiny import tiny_competition, tiny_network
from tiny_run import ALONE, finish_two_folds, new_run

from kit.folds.keeping import keep_folds
from kit.ledger.facts import Ledger
from kit.ledger.recording import BLOCKS, blocks_of, changes, crossfit_of, lineage, record
from kit.recipe import finish
from kit.runs import Submission, join_runs, read_run
from kit.scoring import MeanDice, interval_of_metric


def finished(folder):
    """A run of two folds with a submission."""
    run = new_run(finish_two_folds(folder))
    finish(run, "all", None, tiny_network, Submission(tiny_competition(), folder=folder.parent))
    return run


@pytest.fixture(autouse=True)
def _no_place(monkeypatch):
    monkeypatch.delenv("KIT_LEDGER", raising=False)


def test_a_run_records_itself(tmp_path):
    folder = tmp_path / "runs/mine"
    finished(folder)
    ledger = Ledger(tmp_path / "runs/ledger.jsonl")
    (fact,) = ledger.facts()
    report = json.loads((folder / "report.json").read_text())
    assert fact["run"] == "mine"
    assert fact["csv"] == ["tiny_mine", ""]
    assert (fact["folds"], fact["of"], fact["tests"]) == ([0, 1], 2, 5)
    assert fact["metric"] == report["metric"]["name"]
    for name in ("value", "low", "high", "df"):
        np.testing.assert_allclose(fact["cv"][name], report["metric"][name], rtol=1e-8)
    assert (fact["cv"]["images"], fact["cv"]["groups"]) == (12, 4)
    found = read_run(folder)
    names = np.array(found.groups)
    by_hand = [found.scores.counts[names != name].sum(axis=0) for name in sorted(set(names))]
    np.testing.assert_allclose(sorted(fact["without"]), sorted(one[0] / one[1] for one in by_hand), rtol=1e-8)
    size = len(ledger.path.read_bytes())
    finish(new_run(folder), "all", None, tiny_network, Submission(tiny_competition(), folder=folder.parent))
    assert len(ledger.path.read_bytes()) == size
    assert record(folder) is None


def test_what_goes_wrong_is_a_note(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KIT_LEDGER", str(tmp_path / "mine/config.json/ledger.jsonl"))
    finished(tmp_path / "mine")
    assert "note: the run is not in the ledger (" in capsys.readouterr().out
    assert (tmp_path / "tiny_mine.csv").exists()


@pytest.mark.slow
def test_other_flags_make_a_child_of_the_run(tmp_path):
    for name, lr in (("a", 0.1), ("b", 0.2), ("c", 0.2)):
        folder = finish_two_folds(tmp_path / name)
        (folder / "config.json").write_text((folder / "config.json").read_text().replace('"lr": 0.1', f'"lr": {lr}'))
        config = {"fold": 0, "lr": lr}
        finish(new_run(folder, config=config), "all", None, tiny_network, MeanDice())
    a, b = Ledger(tmp_path / "ledger.jsonl").facts()[:2]
    assert a["parent"] is None
    assert b["parent"] == a["id"]
    assert b["changed"] == {"lr": [0.1, 0.2]}
    facts = Ledger(tmp_path / "ledger.jsonl").facts()
    assert len({fact["id"] for fact in facts}) == 2  # c is b trained again, in another folder
    assert len(facts) == 3


def test_a_further_fold_is_another_fact_of_the_same_run(tmp_path):
    whole = finished(tmp_path / "whole/mine").folder
    folder = tmp_path / "runs/mine"
    shutil.copytree(whole, folder)
    (folder / "fold1/finished.json").unlink()
    assert record(folder)["folds"] == [0]
    shutil.copy(whole / "fold1/finished.json", folder / "fold1/finished.json")
    assert record(folder)["folds"] == [0, 1]
    facts = Ledger(tmp_path / "runs/ledger.jsonl").facts()
    assert facts[0]["id"] == facts[1]["id"]
    assert facts[1]["parent"] is None


def test_a_folder_without_a_finished_fold_is_no_run(tmp_path):
    run = new_run(tmp_path / "mine")
    keep_folds(run.folder, run.dataset, ALONE, lambda: run.folds)
    assert record(run.folder) is None
    assert not (tmp_path / "ledger.jsonl").exists()


def test_the_parent_differs_least_and_of_equals_is_the_latest():
    def fact(id, **config):
        return {"id": id, "config": config, "recipe": "r", "code": "k", "commit": "c", "data": "d"}

    runs = [fact("far", lr=1, size=2, flip=3), fact("near", lr=1, size=5), fact("later", lr=7, size=2)]
    new = fact("new", lr=1, size=2)
    assert lineage(new, runs)["parent"] == "later"
    assert lineage(new, runs)["changed"] == {"lr": [7, 1]}
    assert lineage(new, runs, parent="far") == {"parent": "far", "changed": {"flip": [3, None]}}
    assert lineage(new, [fact("new", lr=1, size=2)])["parent"] is None
    assert changes(runs[0], {**new, "code": "other"}) == {"flip": [3, None], "code": ["k", "other"]}


def test_blocks_are_whole_groups_of_about_one_size():
    generator = np.random.default_rng(0)
    groups = [f"g{number}" for number in generator.integers(0, 500, 3000)]
    blocks = blocks_of(groups)
    assert len(set(zip(groups, blocks, strict=True))) == len(set(groups))
    sizes = np.bincount(blocks)
    assert len(sizes) == BLOCKS
    assert sizes.max() - sizes.min() <= 3
    order = generator.permutation(len(groups))
    again = blocks_of([groups[i] for i in order])
    assert [blocks[i] for i in order] == again
    assert sorted(set(blocks_of(["a", "b", "a"]))) == [0, 1]


def test_the_variance_over_blocks_is_that_over_groups(tmp_path):
    """Of 4,000 groups of one size, taken together in 64 blocks: the standard error agrees within its own noise."""
    scores = np.random.default_rng(0).normal(0.8, 0.1, 4000).clip(0, 1)
    counts = np.column_stack([scores, np.ones(4000)])
    groups = [f"g{number}" for number in range(4000)]
    sums = np.zeros((BLOCKS, 2))
    np.add.at(sums, blocks_of(groups), counts)
    without = (sums.sum(axis=0) - sums)[:, 0] / (sums.sum(axis=0) - sums)[:, 1]
    error = np.sqrt((BLOCKS - 1) / BLOCKS * np.sum((without - without.mean()) ** 2))
    found = interval_of_metric(MeanDice(), counts, groups)
    assert 0.75 < error / ((found.high - found.low) / 2 / 1.96) < 1.3


def test_the_cross_fitted_score_counts_while_the_tuned_rule_is_in_use(tmp_path):
    assert crossfit_of(tmp_path, "k") is None
    for used in (True, False):
        (tmp_path / "rule.json").write_text(json.dumps({"used": used, "key": "k", "cross_fitted": 0.9}))
        assert crossfit_of(tmp_path, "k") == ({"value": 0.9} if used else None)
        assert crossfit_of(tmp_path, "of other predictions") is None


@pytest.mark.slow
def test_runs_of_one_split_are_paired(tmp_path):
    a, b = (finished(tmp_path / name).folder for name in ("a", "b"))
    first, second = (record(folder, Ledger(tmp_path / "other.jsonl")) for folder in (a, b))
    assert first["images"] == second["images"]
    assert join_runs([read_run(a), read_run(b)])
