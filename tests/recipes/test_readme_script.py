"""README's script for one's own data, as printed but for its size: it runs, and an edited one is noticed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from python_path import python_path

from kit.runs.predict import Request, predict

ROOT = Path(__file__).parents[2]


def readme_script():
    """The first block of Python in README.md, on small images, for one epoch, with a small encoder."""
    [script] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for old, new in (("(256, 256)", "(32, 32)"), ("epochs=20", "epochs=1"), ('"resnet34"', '"resnet18"')):
        assert script.count(old) == 1
        script = script.replace(old, new)
    return script


def draw_lungs(folder):
    """16-bit grey TIFFs of five patients, three classes; two test images of another size."""
    rng = np.random.default_rng(0)
    for place in ("images", "masks", "test"):
        (folder / place).mkdir(parents=True)
    for number in range(17):
        patient, is_test = number % 5, number >= 15
        height, width = (40, 52) if is_test else (44, 36)
        rows, columns = np.mgrid[:height, :width]
        y, x = rng.uniform(12, 24, 2)
        distance = np.hypot(rows - y, columns - x)
        mask = (distance < 10).astype(np.uint8) + (distance < 4)
        image = (1200 * mask.astype(np.int64) + rng.integers(0, 400, mask.shape)).astype(np.uint16)
        if is_test:
            tifffile.imwrite(folder / f"test/t{number}.tif", image)
        else:
            tifffile.imwrite(folder / f"images/p{patient}_{number:02}.tif", image)
            cv2.imwrite(str(folder / f"masks/p{patient}_{number:02}.png"), mask)


def run(folder, script, *flags):
    """Run it in `folder`; the exit status, and all that was printed."""
    (folder / "lungs.py").write_text(script)
    environment = {
        **os.environ,
        "PYTHONPATH": python_path(ROOT),
        "OMP_NUM_THREADS": "1",
        "KIT_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, "-W", "error::UserWarning", "lungs.py", *flags]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow  # a process each time; the parts are tested by themselves
def test_the_readmes_script_runs_and_is_repeatable_and_an_edit_is_noticed(tmp_path):
    draw_lungs(tmp_path / "data/lungs")
    script = readme_script()
    code, said = run(tmp_path, script, "--fold", "1")
    assert code == 0, said
    assert (tmp_path / "runs/lungs/report.html").exists()
    rows = pd.read_csv(tmp_path / "submissions/lungs_fold1.csv", keep_default_na=False)
    assert list(rows["class"]) == ["lung", "tumour"] * 2
    assert sorted(set(rows["id"])) == ["t15", "t16"]
    weights = (tmp_path / "runs/lungs/fold1/last.safetensors").read_bytes()
    predict(Request(tmp_path / "runs/lungs", tmp_path / "data/lungs/test", tmp_path / "anywhere.csv", devices=("cpu",)))
    assert (tmp_path / "anywhere.csv").read_bytes() == (tmp_path / "submissions/lungs_fold1.csv").read_bytes()

    code, said = run(tmp_path, script, "--fold", "1")
    assert (code, "fold 1 is finished" in said) == (0, True), said
    code, said = run(tmp_path, script, "--fold", "0", "--run-dir", "runs/other")
    assert code == 0, said
    code, said = run(tmp_path, script, "--fold", "1", "--run-dir", "runs/other")  # after another fold
    assert code == 0, said
    assert (tmp_path / "runs/other/fold1/last.safetensors").read_bytes() == weights

    for old, new, expected in (
        ("(32, 32)", "(64, 64)", r"frame.resizing.size [32, 32] -> [64, 64]"),
        ("lr=1e-3", "lr=1e-2", "lr 0.001"),
        ("data.groups, 5", "data.groups, 4", "folds.csv has 5 folds"),
    ):
        code, said = run(tmp_path, script.replace(old, new), "--fold", "1")
        assert (code, expected in said) == (1, True), said
    assert (tmp_path / "runs/lungs/fold1/last.safetensors").read_bytes() == weights
    code, said = run(tmp_path, script.replace('VIEWS["hflip"]', 'VIEWS["none"]'), "--fold", "1")
    assert code == 0, said
    assert "note: Fold 1 began to train before the recipe was edited" in said
    code, said = run(tmp_path, script, "--folds", "3")
    assert code == 2, said
