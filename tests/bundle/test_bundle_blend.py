"""A bundle of a blend predicts, with the networks of all its runs, the CSV that kit blend made of kept predictions."""

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from python_path import python_path
from tiny import TinyDataset, tiny_competition, tiny_network
from tiny_run import keep_trained, new_run

import kit
from kit.bundle import Bundle, bundle, script
from kit.bundle.kaggle import Place
from kit.folds.keeping import keep_folds
from kit.prediction import TTA, VIEWS, Predictor, blended
from kit.prediction.saved_blend import read_blend
from kit.runs import Submission, predict_oof, read_run, submit
from kit.runs.blend import blend_runs, write_facts
from kit.runs.blend_submit import write_blend
from kit.runs.half import measure_half, read_half
from kit.runs.predict import Request, predict
from kit.runs.run import begin
from kit.runs.saving import save_predictor, saved_run
from kit.scoring import MeanDice, Mix
from kit.submission import rle
from kit.training.loop import best_dtype

pytestmark = pytest.mark.slow  # three runs are finished first

DTYPE = best_dtype(torch.device("cpu"))
SIZES = {"one": (24, 40), "two": (18, 30)}  # of the networks


def finished(folder, seed, size, views):
    run = new_run(folder, size=size, tta=TTA(VIEWS[views]), dtype=DTYPE)
    keep_folds(folder, run.dataset, run.world, lambda: run.folds)
    begin(run)
    network = functools.partial(tiny_network, kernel=3)
    for fold in (0, 1):
        model = tiny_network(seed=seed + fold)
        with torch.no_grad():
            model.weight *= 5
        keep_trained(run, fold, model)
        predict_oof(run, fold, network, MeanDice())
    save_predictor(run, saved_run(run, network, tiny_competition(), MeanDice()))
    measure_half(run, 0, network, MeanDice())
    submit(run, Submission(tiny_competition(), folder=folder.parent, keep_test=True), network)
    return folder


@pytest.fixture(scope="module")
def blend(tmp_path_factory):
    """The JSON of a blend of two runs and its CSV; the test images as files."""
    folder = tmp_path_factory.mktemp("blend")
    runs = [finished(folder / name, 10 * r, SIZES[name], ("hflip", "none")[r]) for r, name in enumerate(SIZES)]
    found = blend_runs(runs)
    mix = Mix(((2, 3),), (-9,))
    first = next(one for one in found.found.candidates if one.name == found.found.chosen.name)
    found = type(found)(
        found.runs, found.joined, found.costs, found.rule, found.found._replace(chosen=first._replace(mix=mix))
    )
    assert write_blend(found.runs, found.final, folder / "blend.csv") == []
    write_facts(folder / "blend.json", found, folder / "blend.csv")
    (folder / "images").mkdir()
    for id in TinyDataset().test_ids:
        image = np.ascontiguousarray(TinyDataset().read_image(id)[..., ::-1])
        (folder / f"images/{id}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder / "blend.json"


@pytest.fixture(scope="module")
def bundled(blend):
    bundle(Bundle(blend, blend.parent / "bundle", Place(name="blend"), may_halve=False))
    return blend.parent / "bundle"


def predicted(blend, out, **changes):
    result = predict(Request(blend, blend.parent / "images", out, devices=("cpu",), **changes))
    assert result.errors == []
    return out.read_bytes()


def test_the_networks_give_the_csv_of_the_kept_predictions(blend, tmp_path, capsys):
    own = blend.with_suffix(".csv").read_bytes()
    assert predicted(blend, tmp_path / "out.csv") == own
    assert predicted(blend, tmp_path / "out.csv", seconds=1000) == own  # pass by pass, to the whole
    out = capsys.readouterr().out
    assert "a blend of one (2 networks), two (2 networks); rule: Rule(threshold=0.46" in out
    assert "5 images, 1 network of 1 run with one view" in out
    assert "5 images, 4 networks of 2 runs with the views of each" in out
    assert len({*own.decode().splitlines()[1:]}) == 5  # no two masks are alike


def test_some_networks_share_the_weights_of_their_runs(blend, tmp_path):
    predicted(blend, tmp_path / "out.csv", folds=(1,))
    rows = dict(line.split(",") for line in (tmp_path / "out.csv").read_text().splitlines()[1:])
    alone = [Predictor.load(blend.parent / name, 1, "cpu") for name in SIZES]
    rule = read_blend(blend).rule
    for id in TinyDataset().test_ids:
        image = TinyDataset().read_image(id)
        levels = [one.predict_levels(image) for one in alone]
        mask = rule.mask(blended(levels, np.array([2, 3]), image.shape[:2], rule), image.shape[:2])
        assert (mask != rle.decode(rows[f"{id}.jpg"], image.shape[:2])).mean() < 1e-3  # the batch has another shape


def test_an_image_that_no_run_can_read_is_empty_and_the_others_stay(blend, tmp_path):
    odd = shutil.copytree(blend.parent / "images", tmp_path / "images")
    (odd / "test_02.png").write_bytes(b"no image")
    result = predict(Request(blend, odd, tmp_path / "out.csv", devices=("cpu",)))
    assert list(result.problems) == ["test_02"]
    lines = blend.with_suffix(".csv").read_text().splitlines()
    expected = [line if "test_02" not in line else "test_02.jpg," for line in lines]
    assert (tmp_path / "out.csv").read_text().splitlines() == expected


def test_weights_that_were_chosen_on_other_predictions_are_refused(blend, tmp_path):
    shutil.copytree(blend.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("bundle"))
    moved = tmp_path / "copy/blend.json"
    facts = json.loads(moved.read_text())
    for run in facts["runs"]:
        run["folder"] = run["name"]  # below the file
    moved.write_text(json.dumps(facts))
    assert [one.folder for one in read_blend(moved).members] == [tmp_path / "copy/one", tmp_path / "copy/two"]
    path = tmp_path / "copy/two/fold1/finished.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": "other"}))
    with pytest.raises(ValueError, match=r"chosen on other predictions of .*two than those of now\). Choose the blend"):
        read_blend(moved)
    (tmp_path / "b.json").write_text(json.dumps({"csv": "b.csv"}))
    with pytest.raises(ValueError, match=r"b.json cannot be read as a blend \('format' is missing\)"):
        read_blend(tmp_path / "b.json")
    with pytest.raises(FileNotFoundError, match=r"no\.json is missing: expected the JSON that python -m kit blend"):
        read_blend(tmp_path / "no.json")


def test_the_bundle_needs_neither_the_runs_nor_their_places(blend, bundled, tmp_path):
    """The folders of its runs are moved as an upload may do it."""
    manifest = json.loads((bundled / "manifest.json").read_text())
    assert list(manifest["runs"]) == ["one", "two"]
    places, problems = script.locate(bundled, manifest)
    assert problems == []
    assert script.what_to_predict(bundled, manifest, places) == bundled / "blend.json"
    moved = shutil.copytree(bundled, tmp_path / "bundle")
    (moved / "runs/one").rename(moved / "first")
    (moved / "runs/two").rename(moved / "deeper")
    where = script.what_to_predict(moved, manifest, script.locate(moved, manifest)[0])
    assert [one.folder for one in read_blend(where).members] == [moved / "first", moved / "deeper"]
    predict(Request(where, blend.parent / "images", tmp_path / "out.csv", devices=("cpu",)))
    assert (tmp_path / "out.csv").read_bytes() == blend.with_suffix(".csv").read_bytes()
    shutil.rmtree(where.parent)
    (moved / "blend.json").write_text("{}")
    [problem] = script.locate(moved, manifest)[1]
    assert "blend.json is cut short or another file" in problem


@pytest.mark.slow  # a new interpreter
def test_predict_py_gives_the_csv(blend, bundled, tmp_path):
    command = [sys.executable, str(bundled / "predict.py"), "--device", "cpu"]
    command += ["--images", str(blend.parent / "images"), "--out", "out.csv"]
    environment = {
        "PYTHONPATH": python_path(Path(kit.__file__).parents[1]),
        "PATH": "",
        "KIT_CACHE": str(tmp_path / "cache"),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / "out.csv").read_bytes() == blend.with_suffix(".csv").read_bytes()


def test_weights_are_rounded_where_that_costs_nothing_unless_asked_otherwise(blend, bundled, tmp_path):
    bundle(Bundle(blend, tmp_path / "half", Place(name="blend")))
    for name in SIZES:
        own = blend.parent / name
        recipe = read_run(own).saved.recipe
        for fold in (0, 1):
            files = [at / f"fold{fold}/last.safetensors" for at in (own, bundled / "runs" / name)]
            assert files[0].read_bytes() == files[1].read_bytes()
            half = tmp_path / f"half/runs/{name}/fold{fold}/last.safetensors"
            measured = read_half(own / f"fold{fold}", recipe)  # of fold 0 alone
            assert (half.read_bytes() != files[0].read_bytes()) == (measured is not None and measured.is_enough)
