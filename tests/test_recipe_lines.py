"""Every recipe by its own line of the README, on a drawn miniature of its data set, to the report."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from miniatures import draw_blood_cells, draw_camvid, draw_pets, draw_voc

from kit.competitions.studio import VERSION, draw_studio
from kit.files import cache_folder
from kit.submission import lint

ROOT = Path(__file__).parents[1]
TINY = "--epochs 1 --batch-size 4 --image-size 32 48 --device cpu"
SCRATCH = f"{TINY} --encoder-weights none"
CARVANA = f"{SCRATCH} --folds 4"
SMALL_ENCODER = "--encoder mobilenet_v2"

# recipe: the data it is drawn, what makes its line small, how many pictures its report then has
RECIPES = {
    "blood_deconvnet": (draw_blood_cells, "--epochs 1 --batch-size 4 --folds 2 --device cpu", 12),
    "camvid_segnet": (draw_camvid, SCRATCH, 4),
    "carvana_effunet": ("studio", f"{CARVANA} {SMALL_ENCODER}", 48),
    "carvana_fcn": ("studio", CARVANA, 48),
    "carvana_unetplusplus": ("studio", f"{CARVANA} {SMALL_ENCODER}", 48),
    "pets_dynamic_unet": (draw_pets, f"{SCRATCH} {SMALL_ENCODER}", 5),
    "pets_fpn": (draw_pets, f"{SCRATCH} {SMALL_ENCODER}", 5),
    "pets_unet": (draw_pets, TINY, 5),
    "voc_deconvnet": (draw_voc, f"{SCRATCH} --image-size 64 96", 4),
    "voc_fcn": (draw_voc, SCRATCH, 4),
}


def readme_line(recipe):
    """The flags after the first `python recipes/<recipe>.py` of the README."""
    lines = [line.strip() for line in (ROOT / "README.md").read_text().splitlines()]
    return next(line.partition("#")[0] for line in lines if line.startswith(f"python recipes/{recipe}.py"))


def run(line, folder):
    """Run a command line of the README in `folder`, with warnings as errors and one thread."""
    command = [sys.executable, "-W", "error", str(ROOT / line.split()[1]), *shlex.split(line)[2:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)


def draw(data, folder):
    """The data's folder, drawn unless it is the studio, which other tests have drawn already."""
    if data == "studio":
        return draw_studio(cache_folder() / f"studio-v{VERSION}")
    return data(folder)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_readme_line_runs_to_the_report(recipe, tmp_path):
    data, small, images = RECIPES[recipe]
    folder = draw(data, tmp_path / "data")
    done = run(f"{readme_line(recipe)} --data-dir {shlex.quote(str(folder))} --run-dir run {small}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    run_folder = next(path.parent for path in sorted((tmp_path / "run").rglob("report.json")))
    report = json.loads((run_folder / "report.json").read_text())
    assert report["title"] == recipe
    assert report["images"] == images
    assert 0 <= report["dataset"]["mean_iou"] <= 1
    assert len(pd.read_csv(run_folder / "oof.csv")) == images
    for csv in tmp_path.glob("submissions/*.csv"):
        assert lint(csv, None, lambda name: (4000, 4000), "C") == []


def test_every_recipe_has_a_line():
    assert {path.stem for path in (ROOT / "recipes").glob("*.py")} == {*RECIPES, "carvana_unet"}
