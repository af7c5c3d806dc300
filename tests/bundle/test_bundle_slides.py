"""A bundle of a run on slides predicts a folder of slides."""

import shutil

import pytest
from slides_drawn import draw_slides, kidneys
from slides_run import run_recipe

from kit.bundle import Bundle, bundle
from kit.bundle.kaggle import Place
from kit.runs.predict import Request, predict


@pytest.mark.slow
def test_slides_are_predicted_as_the_recipe_did(tmp_path):
    draw_slides(tmp_path / "data")
    run = run_recipe(kidneys(tmp_path / "data"), tmp_path / "runs/kidneys")
    bundle(Bundle(run.folder, tmp_path / "bundle", Place(name="kidneys")))
    shutil.move(tmp_path / "data/test", tmp_path / "new")
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(run.folder)
    result = predict(
        Request(tmp_path / "bundle/runs/kidneys", tmp_path / "new", tmp_path / "out.csv", devices=("cpu",))
    )
    assert (result.images, result.problems, result.errors) == (2, {}, [])
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "runs/submissions/kidneys.csv").read_bytes()
