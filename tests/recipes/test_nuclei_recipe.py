"""nuclei_unet.py on the drawn competition: folds, out-of-fold predictions, tuning, and a submission that obeys it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from python_path import python_path
from test_recipes import environment

from kit.datasets.discs import VERSION, Discs
from kit.submission import lint
from kit.submission.known import nuclei
from kit.submission.score import score, truth_reader
from kit.system.files import cache_folder

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_from_nothing_to_a_tuned_submission(tmp_path):
    def asked(*line):
        command = [sys.executable, "-W", "error", *line]
        path = {"PYTHONPATH": python_path(ROOT)}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment() | path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    recipe = (str(ROOT / "recipes/nuclei_unet.py"), "--drawn", "--fold", "all")
    said = asked(*recipe)
    assert said.startswith("Drawing a small competition of touching discs.")
    run, discs = tmp_path / "runs/nuclei_unet_drawn", Discs(cache_folder() / f"discs-v{VERSION}")
    competition, csv = nuclei(discs), tmp_path / "submissions/nuclei_unet_drawn.csv"
    before = csv.read_text()
    assert lint(csv, competition) == []
    told = asked("-m", "kit", "tune", str(run))
    assert "components alone, tuned so too" in told
    tuned, report = (json.loads((run / name).read_text()) for name in ("rule.json", "report.json"))
    [alone] = report["further"].values()
    assert alone < 0.45  # perfect masks have 0.37
    assert tuned["before"]["score"] > alone + 0.08
    assert tuned["cross_fitted"] > tuned["components"]["cross_fitted"] + 0.08
    assert "is finished" in asked(*recipe)
    assert lint(csv, competition) == []
    # eight groups and a few minutes of training: whether the gain is sure differs between processors
    assert (csv.read_text() != before) == tuned["used"], tuned["why"]
    size = {id: discs.shape(id) for id in discs.test_ids}
    truth = truth_reader(competition.truth_csv, competition.dialect, size)
    assert score(csv, competition.dialect, truth, discs.test_ids)["instance_precision"] > 0.5
