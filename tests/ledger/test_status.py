"""python -m kit status: what is finished, at work, stopped, and what to run next."""

import json
import os
import shlex
from pathlib import Path

import filelock
import pytest

from kit.cli import main
from kit.ledger.status import command_of, duration, run_folders, status_of, text_of
from kit.prediction.chosen import chosen_on

NOW = 1_800_000_000.0


@pytest.fixture
def folder(tmp_path):
    """A run of three folds, of which none has begun."""
    folder = tmp_path / "runs/mine"
    folder.mkdir(parents=True)
    write(folder / "config.json", {"command": "python mine.py --fold 0 --lr 0.1", "config": {"epochs": 10}})
    (folder / "folds.csv").write_text('id,group,fold\na,a,0\nb,b,1\nc,"c,c",2\nd,d,-1\n')
    return folder


def write(path, content, age=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    os.utime(path, (NOW - age, NOW - age))


def begin(folder, fold, epochs, seconds=60.0, age=0):
    lines = [{"epoch": e + 1, "seconds": seconds, "val_seconds": 10.0} for e in range(epochs)]
    write(folder / f"fold{fold}/begun", "", age)
    write(folder / f"fold{fold}/metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines), age)


def states(folder):
    return [one.state for one in status_of(folder, NOW).folds]


def test_a_run_that_has_not_begun(folder):
    found = status_of(folder, NOW)
    assert [one.state for one in found.folds] == ["waiting"] * 3
    assert found.score is None
    assert shlex.split(found.next) == ["python", "mine.py", "--lr", "0.1", "--fold", "all"]


def test_a_running_fold_and_its_time_left(folder):
    begin(folder, 1, 4, age=30)
    with filelock.FileLock(folder / "fold1/lock"):
        found = status_of(folder, NOW)
        text = text_of([found])
    assert [one.state for one in found.folds] == ["waiting", "running", "waiting"]
    one = found.folds[1]
    assert (one.epoch, one.epochs, one.seconds_left) == (4, 10, 6 * 70 - 30)
    assert found.next == ""
    assert "fold 1: running, epoch 4 of 10 done, 6 min of training left" in text
    assert "folds 0, 2: not begun" in text
    assert states(folder)[1] == "stopped"


def test_a_stopped_fold_is_resumed_first(folder):
    begin(folder, 2, 3, age=7200)
    with (folder / "fold2/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "sec')  # cut short by a kill
    os.utime(folder / "fold2/metrics.jsonl", (NOW - 7200, NOW - 7200))
    found = status_of(folder, NOW)
    assert (found.folds[2].state, found.folds[2].epoch) == ("stopped", 3)
    assert found.next.endswith("--fold 2")
    assert "fold 2: stopped after epoch 3 of 10, last at work 2 h ago" in text_of([found])


def test_the_lock_is_not_made_by_looking(folder):
    begin(folder, 0, 1)
    status_of(folder)
    assert not (folder / "fold0/lock").exists()


def test_all_folds_finished(folder):
    for fold in range(3):
        begin(folder, fold, 10)
        write(folder / f"fold{fold}/finished.json", {"key": "k"})
    assert status_of(folder, NOW).next == f"python -m kit tune {folder}"
    write(folder / "rule.json", {"key": chosen_on(folder, (0, 1))})  # before fold 2 was finished
    found = status_of(folder, NOW)
    assert found.next == f"python -m kit tune {folder}"
    assert "again; rule.json is of other predictions" in found.why
    write(folder / "rule.json", {"key": chosen_on(folder, (0, 1, 2)), "used": False})
    write(folder / "report.json", {"metric": {"name": "precision", "value": 0.7, "low": 0.6, "high": 0.8, "note": ""}})
    found = status_of(folder, NOW)
    assert found.score == {"name": "precision", "value": 0.7, "low": 0.6, "high": 0.8}
    assert found.next == "python -m kit ledger"
    write(folder / "predictor.json", {"dialect": ["x"]})
    assert status_of(folder, NOW).next.endswith("--lr 0.1 --fold full")
    write(folder / "full3/begun", "")
    assert status_of(folder, NOW).next.endswith("--fold full --seed 3")
    write(folder / "full3/finished.json", {"key": "k"})
    found = status_of(folder, NOW)
    assert found.next == "python -m kit ledger"
    assert "3 of 3 folds finished, precision 0.7000 (0.6000 to 0.8000)\n  full3: finished" in text_of([found])


def test_a_csv_from_before_the_rule_was_tuned(folder):
    for fold in range(3):
        begin(folder, fold, 10)
        write(folder / f"fold{fold}/finished.json", {"key": "k"})
    for name in ("mine", "mine_fold0", "mine_full"):
        write(folder / f"written/{name}.csv.json", {"tuned": {"threshold": 0.4} if name == "mine_full" else None})
    rule = {"key": chosen_on(folder, (0, 1, 2)), "rule": {"threshold": 0.4}, "used": True}
    write(folder / "rule.json", rule)
    found = status_of(folder, NOW)
    assert found.stale == ("mine.csv", "mine_fold0.csv")
    assert "written with another rule than that of now: mine.csv, mine_fold0.csv" in text_of([found])
    assert found.next.endswith("--lr 0.1 --fold all")
    assert "writes the CSV again" in found.why
    write(folder / "rule.json", rule | {"used": False})
    assert status_of(folder, NOW).stale == ("mine_full.csv",)


def test_the_command_of_several_processes(folder):
    config = {"command": "python3 mine.py --fold=all", "versions": {"processes": "2"}}
    write(folder / "config.json", config)
    assert command_of(folder, 1) == "torchrun --nproc-per-node 2 mine.py --fold 1"


@pytest.mark.parametrize(
    ("words", "run_dir", "now", "expected"),
    [
        ("--lr 0.1 --fold 1", "runs/mine", "runs/mine", "--lr 0.1"),  # the recipe's own folder
        ("--run-dir ../runs/mine", "../runs/mine", "runs/mine", "--run-dir ../runs/mine"),  # from another directory
        ("--run-dir runs/first --lr 0.1", "runs/first", "runs/mine", "--lr 0.1 --run-dir runs/mine"),
        ("--run_dir=/gone/runs/mine", "/gone/runs/mine", "runs/mine", "--run-dir runs/mine"),
        ("--run_dir runs/mine", "runs/mine", "kept/runs/mine", "--run-dir kept/runs/mine"),
        ("", "runs/mine", "runs/other", "--run-dir runs/other"),
    ],
)
def test_the_command_of_a_copy_names_the_copy(folder, monkeypatch, words, run_dir, now, expected):
    """now: where the run lies that is asked about, beside runs/mine or in its place."""
    top = folder.parent.parent
    monkeypatch.chdir(top)
    write(top / now / "config.json", {"command": f"python mine.py {words}", "config": {"run_dir": run_dir}})
    assert command_of(Path(now), 4) == " ".join(f"python mine.py {expected} --fold 4".split())


def test_the_score_of_a_report_of_other_folds_says_of_which(folder):
    for fold in (0, 2):
        write(folder / f"fold{fold}/finished.json", {"key": "k"})
    report = {"metric": {"name": "precision", "value": 0.7, "low": 0.6, "high": 0.8}, "folds": {"finished": [0, 2]}}
    write(folder / "report.json", report)
    assert text_of([status_of(folder, NOW)]).splitlines()[0].endswith("precision 0.7000 (0.6000 to 0.8000)")
    for finished, named in (([0, 1, 2], "folds 0, 1, 2"), ([2], "fold 2")):
        write(folder / "report.json", report | {"folds": {"finished": finished}})
        found = status_of(folder, NOW)
        assert found.plain()["score_folds"] == tuple(finished)
        said = f"2 of 3 folds finished, precision 0.7000 (0.6000 to 0.8000), of {named}: report.json is of other folds"
        assert said in text_of([found])


def test_the_command_line(folder, monkeypatch, capsys):
    def status(*words):
        monkeypatch.setattr("sys.argv", ["kit", "status", *words])
        return main(), capsys.readouterr().out

    top = folder.parent
    code, text = status(str(top))
    assert (code, "runs/mine: 0 of 3 folds finished" in text) == (0, True)
    code, text = status(str(top), "--json")
    (run,) = json.loads(text)["runs"]
    assert [fold["state"] for fold in run["folds"]] == ["waiting"] * 3
    assert status(str(folder))[0] == 0
    (folder / "settings.json").write_text("{")
    code, text = status(str(top))
    assert code == 1
    assert "settings.json is no JSON" in text
    code, text = status(str(top / "nowhere"))
    assert (code, "no run in " in text) == (1, True)


def test_runs_a_level_deeper_are_found(folder):
    deeper = folder.parent / "voc/32s"
    deeper.mkdir(parents=True)
    for name in ("config.json", "folds.csv"):
        (deeper / name).write_text((folder / name).read_text())
    assert run_folders(folder.parent) == [folder, deeper]


def test_spans_of_time():
    assert [duration(s) for s in (5, 119, 600, 7300, 200_000, None)] == [
        "5 s", "119 s", "10 min", "2 h", "2 days", "some time",
    ]  # fmt: skip


def test_json_without_nan(folder, monkeypatch, capsys):
    begin(folder, 1, 4, seconds=float("nan"))
    write(folder / "report.json", '{"metric": {"name": "precision", "value": NaN, "low": null, "high": null}}')
    monkeypatch.setattr("sys.argv", ["kit", "status", str(folder.parent), "--json"])
    with filelock.FileLock(folder / "fold1/lock"):
        assert main() == 0
    text = capsys.readouterr().out
    assert "NaN" not in text
    (run,) = json.loads(text)["runs"]
    assert (run["score"]["value"], run["folds"][1]["seconds_left"]) == (None, None)
    assert "precision none" in text_of([status_of(folder, NOW)])
