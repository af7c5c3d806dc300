"""python -m kit lint: its verdicts."""

import zipfile

import pytest

from kit.cli import main
from kit.submission import Dialect, write


@pytest.fixture
def lint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))
    write([("a.jpg", "1 2"), ("b.jpg", "")], tmp_path / "good.csv", Dialect())

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["kit", "lint", *arguments, "--shape", "3", "4"])
        return main(), capsys.readouterr().out

    return run


def test_valid_and_not(lint, tmp_path):
    assert lint("good.csv", "--sample", "good.csv")[0] == 0
    write([("a.jpg", "11 4")], tmp_path / "bad.csv", Dialect())
    code, told = lint("bad.csv", "--sample", "good.csv")
    assert code == 1
    assert "missing: 'b.jpg'" in told
    assert told.endswith("bad.csv: not valid, see above\n")


@pytest.mark.parametrize("sample", ["sample_submission.csv", "sample_submission.csv.zip"])
def test_a_sample_in_kaggles_zip(lint, tmp_path, sample):
    with zipfile.ZipFile(tmp_path / "sample_submission.csv.zip", "w") as archive:
        archive.write(tmp_path / "good.csv", "sample_submission.csv")
    assert lint("good.csv", "--sample", sample)[0] == 0
    write([("a.jpg", "1 2")], tmp_path / "fewer.csv", Dialect())
    assert "missing: 'b.jpg' of the sample file" in lint("fewer.csv", "--sample", sample)[1]


@pytest.mark.parametrize(("csv", "sample"), [("no.csv", "good.csv"), ("good.csv", "no.csv")])
def test_what_is_not_there_says_nothing_of_the_submission(lint, csv, sample):
    code, told = lint(csv, "--sample", sample)
    assert code == 1
    assert "no.csv: no such file\n" in told
    assert told.endswith(f"{csv}: could not be checked, see above\n")
