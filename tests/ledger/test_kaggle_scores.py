"""Public scores through a program `kaggle` on the PATH that answers as Kaggle's client does."""

import json
import os
import sys

import pytest

from kit.ledger.kaggle import FIRST_WAIT, TRIES, read_submissions

CLIENT = f"""#!{sys.executable}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
calls = json.loads((here / "calls.json").read_text()) if (here / "calls.json").exists() else []
(here / "calls.json").write_text(json.dumps([*calls, sys.argv[1:]]))
answers = json.loads((here / "answers.json").read_text())
answer = answers[min(len(calls), len(answers) - 1)]
print(answer.get("out", ""))
print(answer.get("err", ""), file=sys.stderr)
sys.exit(answer.get("code", 0))
"""


def row(number, public="0.5", **changes):
    fields = {"ref": number, "fileName": f"{number}.csv", "date": f"2026-02-01 10:{number:02}:00.123000"}
    return {**fields, "description": "", "status": "COMPLETE", "publicScore": public, "privateScore": None, **changes}


def page(*rows, token=None):
    return {"out": (f"Next Page Token = {token}\n" if token else "") + json.dumps(list(rows), indent=2)}


BUSY = {"code": 1, "err": "You have been rate limited. Wait a little while before retrying. (429)"}


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Put the program there; client(answer, …) says what its calls answer, and returns how it was called."""
    program = tmp_path / "bin/kaggle"
    program.parent.mkdir()
    program.write_text(CLIENT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)

    def answers(*given):
        (tmp_path / "bin/answers.json").write_text(json.dumps(given))
        return lambda: json.loads((tmp_path / "bin/calls.json").read_text())

    return answers


def test_all_pages_are_read(client):
    calls = client(page(row(3), row(2), token="t1"), page(row(2), row(1), token="t2"), page(token="t3"))
    found = read_submissions("salt")
    assert [one["ref"] for one in found] == [3, 2, 1]
    assert [one["publicScore"] for one in found] == [0.5] * 3
    assert calls()[0] == ["competitions", "submissions", "salt", "--format", "json", "--page-size", "200"]
    assert [call[7:] for call in calls()[1:]] == [["--page-token", "t1"], ["--page-token", "t2"]]


def test_a_client_that_names_no_token_is_asked_once(client):
    calls = client({"out": "Warning: looks like you're using an outdated version\n" + page(row(1), row(2))["out"]})
    assert len(read_submissions("salt")) == 2
    assert len(calls()) == 1


def test_a_token_that_repeats_ends(client):
    client(page(row(1), token="t"))
    assert len(read_submissions("salt")) == 1


@pytest.mark.parametrize(("said", "number"), [(None, None), ("", None), ("0.25", 0.25), (0.25, 0.25), ("None", None)])
def test_scores_that_are_not_there_yet(client, said, number):
    client(page(row(1, public=said, status="PENDING")))
    assert read_submissions("salt")[0]["publicScore"] == number


def test_429_passes_after_a_retry(client):
    calls, waits = client(BUSY, BUSY, page(row(1))), []
    assert len(read_submissions("salt", waits.append)) == 1
    assert waits == [FIRST_WAIT, 2 * FIRST_WAIT]
    assert len(calls()) == 3


def test_429_for_ever_gives_up(client):
    calls, waits = client(BUSY), []
    with pytest.raises(ValueError, match="429, too many requests"):
        read_submissions("salt", waits.append)
    assert (len(calls()), len(waits)) == (TRIES, TRIES - 1)


def test_no_submission(client):
    client({"out": "No submissions found"})
    assert read_submissions("salt") == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"code": 1, "err": "403 Client Error: Forbidden"}, r"failed \(exit 1\): 403 .*\n.*how to log in"),
        ({"code": 2, "err": "kaggle: error: unrecognized arguments: --format json"}, "2.2.3 or newer is needed"),
        ({"out": "hello"}, "printed no JSON: hello"),
        ({"out": '[{"ref": 1'}, "JSON that cannot be read"),
        ({"out": "[1, 2]"}, "other JSON than a list of submissions"),
    ],
)
def test_what_fails_is_said(client, answer, said):
    client(answer)
    with pytest.raises(ValueError, match=said):
        read_submissions("salt")


def test_without_the_client(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no program `kaggle` on the PATH.*kit ledger score FILE.csv"):
        read_submissions("salt")
