"""python -m kit ledger: its actions and its errors."""

import json

import pytest
from ledger_facts import run_fact
from tiny import tiny_competition, tiny_network
from tiny_run import finish_two_folds, new_run

from kit.cli import main
from kit.ledger import kaggle
from kit.ledger.facts import Ledger
from kit.recipe import finish
from kit.runs import Submission


@pytest.fixture
def ledger(tmp_path, monkeypatch, capsys):
    """A ledger of two runs; ledger(…) runs the command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KIT_LEDGER", raising=False)
    scores = [0.8, 0.9, 0.85, 0.95]
    runs = [run_fact("mine", scores), run_fact("other", [s + 0.01 for s in scores], number=1)]
    Ledger(tmp_path / "runs/ledger.jsonl").add(runs)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["kit", "ledger", *words])
        code = main()
        return code, capsys.readouterr().out

    return run


def test_the_table(ledger):
    code, text = ledger()
    assert code == 0
    assert "final submissions:\n  1. other: the best CV" in text
    code, text = ledger("--json")
    assert code == 0
    seen = json.loads(text)
    assert [run["run"] for run in seen["runs"]] == ["mine", "other"]
    assert seen["ledger"] == "runs/ledger.jsonl"


def test_scores_are_typed_in(ledger):
    assert ledger("score", "submissions/mine.csv", "0.7", "--public")[1] == "noted: submissions/mine.csv 0.7\n"
    assert ledger("score", "mine.csv", "0.7", "--public")[1].startswith("known already")
    assert ledger("score", "runs/other", "0,75", "--public")[0] == 0
    assert ledger("score", "00000000000000001"[1:], "0.6", "--private")[0] == 0
    seen = json.loads(ledger("--json")[1])
    assert [(run["public"], run["private"]) for run in seen["runs"]] == [(0.7, None), (0.75, None)]
    assert seen["looks"]["count"] == 2
    assert [one["private"] for one in seen["submissions"]] == [None, None, 0.6]


def test_what_is_stated_of_the_leaderboard(ledger):
    assert ledger("public", "--share", "0.5")[0] == 0
    assert json.loads(ledger("--json")[1])["public"] == {"share": 0.5, "groups": None, "stated": True}


def test_scores_from_kaggle(ledger, monkeypatch):
    row = {"ref": 7, "fileName": "mine.csv", "date": "2026-02-01 10:00:00", "description": "", "status": "COMPLETE"}
    rows = [
        {**row, "publicScore": 0.7, "privateScore": None},
        {**row, "ref": 8, "date": "2026-02-02 10:00:00", "publicScore": None, "privateScore": None},
    ]
    monkeypatch.setattr("kit.cli.ledger.read_submissions", lambda name: rows)
    said = "2 submissions at Kaggle, 1 with a public score; 2 new here\n"
    assert ledger("kaggle", "salt") == (0, said)
    assert "0 new here" in ledger("kaggle", "salt")[1]
    rows[1]["publicScore"] = 0.72  # scored since
    assert "1 new here" in ledger("kaggle", "salt")[1]
    seen = json.loads(ledger("--json")[1])
    assert (seen["looks"]["count"], seen["runs"][0]["public"]) == (2, 0.72)
    assert not any("no public score yet" in note for note in seen["notes"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["score", "mine.csv", "0.7"], "--public or --private"),
        (["score", "mine.csv", "high", "--public"], "the score is a number as 0.9971, got 'high'"),
        (["score", "mine.csv", "nan", "--public"], "the score is a number as 0.9971, got 'nan'"),
        (["public", "--groups", "inf"], "expected 1 or more"),
        (["score", "mine.csv", "--public"], "kit ledger score takes a CSV or a run, and its score"),
        (["score", "nobody", "0.7", "--public"], "has no run nobody. Known: mine, other"),
        (["public"], "state --share"),
        (["public", "--share", "30"], "expected a share above 0 and at most 1"),
        (["kaggle"], "takes the competition's name"),
        (["--base", "nobody"], "has no run nobody"),
    ],
)
def test_errors_say_what_to_do(ledger, words, said):
    code, text = ledger(*words)
    assert code == 1
    assert said in text
    code, text = ledger(*words, "--json")
    assert code == 1
    assert said in json.loads(text)["error"]


def test_without_kaggles_client(ledger, monkeypatch):
    monkeypatch.setattr(kaggle.shutil, "which", lambda name: None)
    code, text = ledger("kaggle", "salt")
    assert code == 1
    assert "no program `kaggle` on the PATH" in text


def test_a_run_folder_that_cannot_be_read_is_a_note(ledger, tmp_path):
    folder = tmp_path / "runs/broken"
    folder.mkdir()
    (folder / "config.json").write_text("{")
    (folder / "folds.csv").write_text("id,group,fold\na,a,0\n")
    code, text = ledger()
    assert code == 0
    assert "note: runs/broken could not be recorded" in text


def strict(text):
    """Parse JSON as other languages do: NaN and Infinity are none."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_score_that_is_none_stays_in_the_table(ledger, tmp_path):
    """Of a metric that gives NaN: the fact holds null; a ledger that was edited by hand may hold NaN."""
    for number, value in enumerate((None, float("nan")), start=2):
        odd = run_fact(f"odd{number}", [0.8, 0.9, 0.85, 0.95], number=number, without=[], df=None)
        odd["cv"] |= {"value": value, "low": None, "high": None, "df": float("nan")}
        Ledger(tmp_path / "runs/ledger.jsonl").add([odd])
    for name in ("odd2", "mine"):
        assert ledger("score", f"{name}.csv", "0.7", "--public")[0] == 0
    code, text = ledger()
    assert code == 0
    assert "odd2" in text
    assert "without a score, so not compared: odd2, odd3" in text
    code, text = ledger("--json")
    assert code == 0
    seen = strict(text)
    assert [run["cv"]["value"] for run in seen["runs"]][2:] == [None, None]
    assert {final["run"] for final in seen["finals"]} == {run["id"] for run in seen["runs"][:2]}


def test_the_ledger_holds_no_nan(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.add([{"fact": "score", "csv": "a.csv", "public": float("nan"), "more": [float("inf")]}])
    assert strict(ledger.path.read_text())["more"] == [None]


@pytest.mark.slow
def test_one_run_whose_metric_is_lost_leaves_the_others(ledger, tmp_path, monkeypatch, capsys):
    for name in ("lost", "whole"):
        run = new_run(finish_two_folds(tmp_path / "runs" / name))
        finish(run, "all", None, tiny_network, Submission(tiny_competition(), folder=tmp_path))
    (tmp_path / "runs/ledger.jsonl").unlink()
    saved = json.loads((tmp_path / "runs/lost/predictor.json").read_text())
    saved["metric"] |= {"call": {"name": "no_such_module:Metric"}}
    (tmp_path / "runs/lost/predictor.json").write_text(json.dumps(saved))
    capsys.readouterr()
    code, text = ledger("--json")
    assert code == 0
    seen = json.loads(text)
    assert [run["run"] for run in seen["runs"]] == ["whole"]
    (note,) = [note for note in seen["notes"] if "lost" in note]
    assert "runs/lost could not be recorded" in note
    assert "ModuleNotFoundError: No module named 'no_such_module'" in note
    assert "Install what it imports" in note
    monkeypatch.setattr("sys.argv", ["kit", "tune", "runs/lost"])
    assert main() == 1
    assert "error: the metric of runs/lost could not be made" in capsys.readouterr().out
