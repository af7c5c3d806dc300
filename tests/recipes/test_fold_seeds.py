"""The folds of recipes do not depend on --seed: runs of other seeds hold the same images out, and can be blended."""

import ast
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from kit.new import Wishes, choose, recipe_text

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.py"))
OFFICIAL = {"camvid_segnet", "voc_deconvnet", "voc_fcn"}  # their data sets say what is held out


def fold_calls(text):
    """The calls of functions that make folds."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func).split(".")[-1].endswith(("kfold", "_folds"))]


def test_no_recipe_makes_its_folds_of_its_seed():
    calls = {path.stem: [*map(ast.unparse, fold_calls(path.read_text()))] for path in RECIPES}
    assert {name for name, own in calls.items() if not own} == OFFICIAL
    assert not [call for own in calls.values() for call in own if "config.seed" in call]


def test_a_written_recipe_makes_the_same_folds_of_each_seed(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(12):
        mask = cv2.circle(np.zeros((48, 64), np.uint8), (32, 24), 6 + number, 255, -1)
        for name, pixels in {"images": mask // 2 + rng.integers(0, 99, mask.shape, np.uint8), "masks": mask}.items():
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"a{number}.png"), pixels)
    choices = choose(tmp_path, Wishes(device="cpu", groups="none"))
    names = {"__name__": "recipe"}
    exec(compile(recipe_text(choices, tmp_path, tmp_path / "mine.py"), "mine.py", "exec"), names)
    data = names["read_data"](tmp_path)
    folds = [names["make_folds"](SimpleNamespace(seed=seed), data).tolist() for seed in (0, 1, 7)]
    assert folds[0] == folds[1] == folds[2]
    assert len(set(folds[0])) == 5
