"""A run as a fact: what it says, its parent, and that it is recorded by itself and once."""

import copy
import functools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tiny import tiny_competition, tiny_network
from tiny_run import ALONE, finish_two_folds, finished_run, new_run

from kit.folds.keeping import keep_folds
from kit.ledger import facts, view
from kit.ledger.facts import Ledger
from kit.ledger.naming import METRIC as METRIC_TEXT
from kit.ledger.naming import RULE as RULE_TEXT
from kit.ledger.naming import VIEWS as VIEWS_TEXT
from kit.ledger.naming import without_places
from kit.ledger.recording import (
    BLOCKS,
    blocks_of,
    changes,
    crossfit_of,
    facts_of,
    lineage,
    record,
    tuned_of,
)
from kit.prediction import TTA, VIEWS, Rule
from kit.prediction.rebuild import keep
from kit.prediction.saved import read_saved, write_saved
from kit.recipe import finish
from kit.runs import Submission, join_runs, read_run
from kit.scoring import MeanDice, MeanDicePerClass, interval_of_metric
from kit.system.run_folder import read_json


@pytest.fixture(autouse=True)
def _no_place(monkeypatch):
    monkeypatch.delenv("KIT_LEDGER", raising=False)


def test_a_run_records_itself(tmp_path):
    folder = tmp_path / "runs/mine"
    finished_run(folder)
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
    finished_run(tmp_path / "mine")
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


@pytest.mark.slow
def test_a_further_fold_is_another_fact_of_the_same_run(tmp_path):
    whole = finished_run(tmp_path / "whole/mine").folder
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
    assert tuned_of(tmp_path, "k") is None
    assert crossfit_of({"cross_fitted": float("nan")}) is crossfit_of({}) is None
    for used in (True, False):
        (tmp_path / "rule.json").write_text(json.dumps({"used": used, "key": "k", "cross_fitted": 0.9}))
        assert crossfit_of(tuned_of(tmp_path, "k")) == ({"value": 0.9} if used else None)
        assert crossfit_of(tuned_of(tmp_path, "of other predictions")) is None


def test_views_rule_and_metric_name_a_run(tmp_path):
    """Three folders of one training that differ in what no flag says."""
    first = finished_run(tmp_path / "a").folder
    for name, other in (("b", {"tta": TTA(VIEWS["none"])}), ("c", {"rule": Rule(0.3)}), ("d", {})):
        shutil.copytree(first, tmp_path / name)
        metric = MeanDicePerClass(2) if name == "d" else MeanDice()
        saved = replace(read_saved(first), **other, metric=keep(functools.partial(copy.copy, metric)))
        write_saved(tmp_path / name, saved)
    found = [facts_of(tmp_path / name) for name in "abcd"]
    assert len({fact["id"] for fact in found}) == 4
    assert changes(found[0], found[1]) == {VIEWS_TEXT: ["plain, h", "plain"]}
    assert changes(found[0], found[2]) == {RULE_TEXT: ["Rule(threshold=0.5)", "Rule(threshold=0.3)"]}
    assert changes(found[0], found[3]) == {METRIC_TEXT: ["MeanDice()", "MeanDicePerClass(num_classes=2)"]}


def test_a_public_score_belongs_to_the_csv_that_was_sent(tmp_path, monkeypatch):
    """Sent before tuning, after tuning while the CSV is the old one, with the tuned rule, and after its end."""
    clock = iter(f"2026-01-01T00:{minute:02}:00Z" for minute in range(60))
    monkeypatch.setattr(facts, "now", lambda: next(clock))
    run = finished_run(tmp_path / "runs/mine")
    ledger = Ledger(tmp_path / "runs/ledger.jsonl")

    def send(public):
        fact = {"fact": "score", "csv": "tiny_mine.csv", "run": None, "public": public, "private": None}
        ledger.add([{**fact, "source": "typed"}])

    send(0.41)
    rule = {"format": 1, "rule": Rule(0.3).facts, "used": True, "why": "", "key": read_run(run.folder).key}
    (run.folder / "rule.json").write_text(json.dumps({**rule, "cross_fitted": 0.6}))
    assert record(run.folder)["stale"] == ["tiny_mine"]
    assert record(run.folder) is None
    send(0.42)
    finish(run, "all", None, tiny_network, Submission(tiny_competition(), folder=run.folder.parent))
    send(0.51)
    (run.folder / "rule.json").unlink()
    assert record(run.folder)["crossfit"] is None
    send(0.52)
    seen = view(ledger.facts())
    own, tuned = (one["id"] for one in seen["runs"])
    assert [(one["public"], one["run"]) for one in seen["submissions"]] == [
        (0.41, own), (0.42, own), (0.51, tuned), (0.52, tuned),
    ]  # fmt: skip
    assert [one["crossfit"] for one in seen["runs"]] == [None, {"value": 0.6}]
    assert seen["runs"][1]["parent"] == own
    assert seen["runs"][1]["changed"] == {"prediction.tuned": [None, "Rule(threshold=0.3)"]}
    assert seen["tests"] == []  # one training with two rules: no variance is known


def test_no_path_of_a_disk_is_in_the_ledger(tmp_path):
    folder = finished_run(tmp_path / "mine").folder
    config = read_json(folder / "config.json")
    ids = []
    for place in ("/home/me/a", "/home/me/b"):
        own = {"masks": f"{place}/masks", "more": [f"{place}/x.pt", 1], "text": f"Mine(path='{place}/y.png', n=1/2)"}
        config["identity"] |= own
        (folder / "config.json").write_text(json.dumps(config))
        fact = facts_of(folder)
        assert [fact["config"][name] for name in own] == ["masks", ["x.pt", 1], "Mine(path='y.png', n=1/2)"]
        assert str(tmp_path) not in json.dumps(fact)
        ids.append(fact["id"])
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("C:\\me\\x.pt", "x.pt"), ("~/x/y z.pt", "y z.pt"), ("a/b", "a/b"), ("1/2", "1/2"), (0.5, 0.5),
        ("https://a.org/b/c", "https://a.org/b/c"), ("/", "/"), ({"k": "/a/b"}, {"k": "b"}),
        ("two: [/a/b/c, ~/d/e]", "two: [c, e]"), ("facebook/sam", "facebook/sam"),
    ],
)  # fmt: skip
def test_paths_lose_their_folders(value, expected):
    assert without_places(value) == expected


@pytest.mark.slow
def test_runs_of_one_split_are_paired(tmp_path):
    a, b = (finished_run(tmp_path / name).folder for name in ("a", "b"))
    first, second = (record(folder, Ledger(tmp_path / "other.jsonl")) for folder in (a, b))
    assert first["images"] == second["images"]
    assert join_runs([read_run(a), read_run(b)])
