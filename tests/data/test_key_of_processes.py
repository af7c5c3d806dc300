"""data_key is the same in every process: Python orders sets of text anew in each, and a run could not be resumed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from miniatures import draw_camvid, draw_pets, draw_voc
from python_path import python_path

from kit.datasets.studio import draw_studio

PROGRAM = """
import sys
from drawn import Drawn
from kit.data import check_dataset, data_key
from kit.datasets import VOC, CamVid, Carvana, Folder, Pets

root = sys.argv[1]
pets = Pets(f"{root}/pets")
folder = Folder(f"{root}/carvana", images="train/*.jpg", masks="train_masks/{id}_mask.gif", groups=r"(.+)_")
drawn = Drawn()
drawn.groups = list(drawn.ids)  # without groups the first check prints a line
for dataset in (Carvana(f"{root}/carvana"), pets, VOC(f"{root}/voc"), CamVid(f"{root}/camvid"), folder, drawn):
    check_dataset(dataset)
    print(data_key(dataset), dataset.fingerprint())
"""


@pytest.mark.slow
def test_the_key_is_the_same_in_every_process(tmp_path):
    draw_studio(tmp_path / "carvana", cars=2, test_cars=1, size=(48, 64))
    draw_pets(tmp_path / "pets")
    draw_voc(tmp_path / "voc")
    draw_camvid(tmp_path / "camvid")
    found, path = set(), python_path(Path(__file__).parents[1], Path.cwd())
    for seed in "0123":
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
        found.add(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1
    assert found.pop().count("\n") == 6
