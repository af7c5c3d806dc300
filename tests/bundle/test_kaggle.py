"""Kaggle's files and its client: the notebook runs as it stands, the client gets what it documents."""

import ast
import json
import os
import re

import pytest

from kit.bundle.kaggle import Place, notebook, push, write_files

PLACE = Place("me", "Lungs_U-Net 2", "lung-masks", minutes=30)


def test_names_are_addresses_and_a_notebooks_is_its_title(tmp_path):
    write_files(tmp_path, PLACE)
    dataset = json.loads((tmp_path / "dataset-metadata.json").read_text())
    kernel = json.loads((tmp_path / "kernel-metadata.json").read_text())
    assert dataset == {
        "title": "kit lungs u net 2 bundle",
        "id": "me/kit-lungs-u-net-2-bundle",
        "licenses": [{"name": "unknown"}],
    }
    assert kernel["id"] == "me/" + kernel["title"].lower().replace(" ", "-")
    assert kernel["dataset_sources"] == [dataset["id"]]
    assert kernel["competition_sources"] == ["lung-masks"]
    assert (kernel["enable_internet"], kernel["enable_gpu"], kernel["is_private"]) == (False, True, True)
    assert (kernel["language"], kernel["kernel_type"]) == ("python", "notebook")
    assert (tmp_path / kernel["code_file"]).is_file()


@pytest.mark.parametrize("name", ["a", "x" * 90, "Ünï çode", "--", "a/b..c"])
def test_any_name_of_a_run_makes_an_address_and_a_title_that_kaggle_takes(name):
    place = Place("me", name)
    assert re.fullmatch(r"me/[a-z0-9-]{3,50}", place.dataset)
    assert "--" not in place.dataset
    assert 6 <= len(place.slug + " bundle") <= 50


@pytest.mark.parametrize(
    "layout", [("kit-mine-bundle", "lung-masks"), ("datasets/me/kit-mine-bundle", "competitions/lung-masks")]
)
@pytest.mark.parametrize("has_sample", [True, False])
def test_the_notebook_finds_bundle_and_data_where_kaggle_puts_them(layout, has_sample, tmp_path):
    bundle, data = (tmp_path / part for part in layout)
    (data / "test").mkdir(parents=True)
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")
    if has_sample:
        (data / "sample_submission.csv").write_text("")
    cells = notebook(PLACE)["cells"]
    where, predict = ("".join(cell["source"]) for cell in cells)
    names = {}
    exec(where.replace("/kaggle/input", str(tmp_path)), names)
    assert (names["bundle"], names["images"]) == (bundle, data / "test")
    assert predict.startswith("!python ")
    command = predict[1:].format(**names)
    sample = f"--sample {data}/sample_submission.csv" if has_sample else ""
    assert command == (
        f"python {bundle}/predict.py --images {data}/test {sample} --minutes 30 --out /kaggle/working/submission.csv"
    )


def test_the_notebook_is_of_nbformat_4():
    book = notebook(PLACE)
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    for cell in book["cells"]:
        assert set(cell) == {"cell_type", "id", "execution_count", "metadata", "outputs", "source"}
    ast.parse("".join(book["cells"][0]["source"]))
    nbformat = pytest.importorskip("nbformat", reason="nbformat is no dependency of kit")
    nbformat.validate(nbformat.from_dict(book))


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Stands for Kaggle's client: notes its arguments; `datasets status` and all else end as the files say."""
    path = tmp_path / "bin/kaggle"
    path.parent.mkdir()
    path.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n'
        f'if [ "$2" = status ]; then exit $(cat {tmp_path}/status); fi\nexit $(cat {tmp_path}/rest)\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "rest").write_text("0")
    return tmp_path


@pytest.mark.parametrize("status", [0, 1])
def test_a_new_data_set_is_made_and_a_known_one_gets_a_version(client, status):
    (client / "status").write_text(str(status))
    push(client / "bundle", PLACE)
    what = "create" if status else "version --message bundle bundle"
    assert (client / "calls").read_text().splitlines() == [
        "datasets status me/kit-lungs-u-net-2-bundle",
        f"datasets {what} -p {client}/bundle --dir-mode zip",
        f"kernels push -p {client}/bundle",
    ]


def test_an_error_of_the_client_is_passed_on(client):
    (client / "status").write_text("1")
    (client / "rest").write_text("1")
    with pytest.raises(ValueError, match=r"client ended with an error.*run the last command again later: .*create"):
        push(client / "bundle", PLACE)


def test_without_a_name_or_a_client_it_says_so(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="your name on Kaggle is needed"):
        push(tmp_path, Place())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ValueError, match=r"client is not installed. `pip install kaggle`"):
        push(tmp_path, PLACE)
