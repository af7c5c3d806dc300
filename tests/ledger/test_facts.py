"""The ledger's file: nothing is lost or written twice, whatever happens beside it."""

import json
import multiprocessing
import subprocess

import pytest

from kit.ledger.facts import Ledger, ledger_of, place_of


def score(csv, public):
    return {"fact": "score", "csv": csv, "public": public}


def add_many(path, number):
    for step in range(20):
        Ledger(path).add([score(f"{number}_{step}.csv", 0.5), score("common.csv", 0.1)])


def test_lines_are_only_added(tmp_path):
    ledger = Ledger(tmp_path / "deep" / "ledger.jsonl")
    assert ledger.facts() == []
    (first,) = ledger.add([score("a.csv", 0.5)])
    before = ledger.path.read_bytes()
    assert ledger.add([{**score("a.csv", 0.5), "time": "2030-01-01T00:00:00Z"}]) == []
    assert ledger.path.read_bytes() == before
    ledger.add([score("a.csv", 0.6), score("a.csv", 0.6)])
    assert ledger.path.read_bytes().startswith(before)
    assert [fact["public"] for fact in ledger.facts()] == [0.5, 0.6]
    assert json.loads(before)["key"] == first["key"]


def test_processes_that_add_at_once_lose_nothing(tmp_path):
    path, context = tmp_path / "ledger.jsonl", multiprocessing.get_context("fork")
    workers = [context.Process(target=add_many, args=(path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = [line["csv"] for line in lines]
    assert sorted(names) == sorted(["common.csv", *(f"{a}_{b}.csv" for a in range(4) for b in range(20))])


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_line_cut_short_is_passed_over(share, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.add([score("a.csv", 0.5)])
    line = json.dumps({"time": "2026-01-01", **score("b.csv", 0.6), "key": "0123"}).encode()
    with ledger.path.open("ab") as file:
        file.write(line[: max(1, int(share * len(line)))])
    assert [fact["csv"] for fact in ledger.facts()] == ["a.csv"]
    ledger.add([score("c.csv", 0.7)])
    assert [fact["csv"] for fact in ledger.facts()] == ["a.csv", "c.csv"]


def test_damaged_bytes_are_passed_over(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.add([score("a.csv", 0.5)])
    with ledger.path.open("ab") as file:
        file.write(b'\xff\xfe{"fact"\n[1]\n7\n{"fact": "run"}\n\n')
    ledger.add([score("b.csv", 0.5)])
    assert [fact["csv"] for fact in ledger.facts()] == ["a.csv", "b.csv"]


def git(folder, *words):
    own = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=one"]
    subprocess.run(["git", "-C", str(folder), *own, *words], check=True, capture_output=True)


def test_git_merges_two_branches(tmp_path):
    git(tmp_path, "init", "--initial-branch", "one")
    ledger = Ledger(tmp_path / "runs/ledger.jsonl")
    ledger.add([score("a.csv", 0.5)])
    assert (tmp_path / "runs/.gitattributes").read_text() == "ledger.jsonl merge=union\n"
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-m", "a")
    for branch in ("two", "one"):
        git(tmp_path, "checkout", *(["-b"] if branch == "two" else []), branch)
        ledger.add([score(f"{branch}.csv", 0.6), score("both.csv", 0.7)])
        git(tmp_path, "commit", "-am", branch)
    git(tmp_path, "merge", "two")
    assert sorted(fact["csv"] for fact in ledger.facts()) == ["a.csv", "both.csv", "one.csv", "two.csv"]


def test_no_attributes_for_a_ledger_that_git_ignores_or_that_is_in_no_repository(tmp_path):
    Ledger(tmp_path / "plain/ledger.jsonl").add([score("a.csv", 0.5)])
    assert not (tmp_path / "plain/.gitattributes").exists()
    git(tmp_path, "init")
    (tmp_path / ".gitignore").write_text("/runs/\n")
    Ledger(tmp_path / "runs/ledger.jsonl").add([score("a.csv", 0.5)])
    assert not (tmp_path / "runs/.gitattributes").exists()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/.gitattributes").write_text("*.png binary")
    Ledger(tmp_path / "kept/ledger.jsonl").add([score("a.csv", 0.5)])
    assert (tmp_path / "kept/.gitattributes").read_text() == "*.png binary\nledger.jsonl merge=union\n"


def test_where_the_ledger_lies(tmp_path, monkeypatch):
    monkeypatch.delenv("KIT_LEDGER", raising=False)
    assert place_of(tmp_path / "runs/mine") == tmp_path / "runs/ledger.jsonl"
    assert place_of(tmp_path / "runs/voc/32s") == tmp_path / "runs/ledger.jsonl"
    assert place_of(tmp_path / "out/mine") == tmp_path / "out/ledger.jsonl"
    assert ledger_of(tmp_path / "out") == tmp_path / "out/ledger.jsonl"
    monkeypatch.setenv("KIT_LEDGER", str(tmp_path / "own.jsonl"))
    assert place_of(tmp_path / "runs/mine") == ledger_of(tmp_path / "runs") == tmp_path / "own.jsonl"


def subjects():
    typed = {"fact": "score", "csv": "a.csv", "run": None, "private": None, "source": "typed"}
    run = {"fact": "run", "run": "mine", "folder": "mine", "csv": ["mine", ""]}
    return [
        [{"fact": "public", "share": share, "groups": None} for share in (0.3, 0.5)],
        [{**typed, "public": public} for public in (0.97, 0.79)],
        [{**run, "id": id, "folds": [0]} for id in ("own", "tuned")],
        [{**typed, "ref": "7", "public": public} for public in (None, 0.7)],
    ]


@pytest.mark.parametrize(("one", "other"), subjects())
def test_a_correction_back_counts(one, other, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    added = [len(ledger.add([fact])) for fact in (one, one, other, other, one, one)]
    assert added == [1, 0, 1, 0, 1, 0]
    assert ledger.facts() == [*map(json.loads, ledger.path.read_text().splitlines())]
    assert all(ledger.facts()[-1][name] == value for name, value in one.items())


def test_lines_that_a_merge_brings_twice_count_once(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.add([{**score("a.csv", 0.5), "time": "2026-01-01T00:00:00Z"}])
    line = json.loads(ledger.path.read_text())
    with ledger.path.open("a") as file:
        file.write(json.dumps(line) + "\n" + json.dumps({**line, "time": "2026-01-02T00:00:00Z"}) + "\n")
    assert [fact["time"] for fact in ledger.facts()] == ["2026-01-01T00:00:00Z"]


def test_a_failure_beside_the_ledger_is_a_note_of_its_own(tmp_path, capsys):
    git(tmp_path, "init")
    (tmp_path / ".gitattributes").write_bytes(b"\xff\xfe")
    assert len(Ledger(tmp_path / "ledger.jsonl").add([score("a.csv", 0.5)])) == 1
    said = capsys.readouterr()
    assert "git will not merge" in said.err
    assert said.out == ""  # where a program reads JSON


def test_a_folder_named_runs_far_above_is_not_the_place(tmp_path, monkeypatch):
    monkeypatch.delenv("KIT_LEDGER", raising=False)
    project = tmp_path / "runs/project"
    project.mkdir(parents=True)
    assert place_of(project / "out/mine") == project / "out/ledger.jsonl"
    monkeypatch.chdir(project)
    assert place_of(project / "mine") == project / "ledger.jsonl"
    monkeypatch.chdir(project.parent)
    assert place_of(project.relative_to(project.parent) / "mine") == project.parent / "ledger.jsonl"
