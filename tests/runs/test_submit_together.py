"""Two processes of one group submit together, while files change between their looks."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from python_path import python_path

from kit.submission.dialect import Dialect
from kit.submission.rle import decode
from kit.submission.tables import read_rows

RANK = """
import sys
from pathlib import Path
from tiny import TinyDataset, tiny_competition, tiny_network
from tiny_run import finish_two_folds, new_run
from kit.runs import Submission, predict_oof, submit, unfinished
from kit.training.processes import start, stop

folder, broken = Path(sys.argv[1]), sys.argv[2].split(",")
world = start("cpu")
if world.size == 1:
    finish_two_folds(folder)
run = new_run(folder, TinyDataset(broken=broken), world=world)
if not world.main:  # as if the other fold were finished only after the main process had looked
    import kit.runs.folds, kit.runs.oof, kit.runs.submit
    kit.runs.oof.finished = kit.runs.submit.finished = lambda run: [0]
    kit.runs.oof.up_to_date = kit.runs.folds.up_to_date = lambda run: [0]
assert list(unfinished(run, "all")) == []
predict_oof(run, 1, lambda: sys.exit("fold 1 is finished"))
submission = Submission(tiny_competition(run.dataset), folder=folder.parent, on_bad_image="empty")
submit(run, submission, tiny_network)
stop()
"""


def start_group(script, folder, broken=(), size=2):
    """Run RANK in a group of `size` processes; what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size), "GLOO_SOCKET_IFNAME": "lo"}
    paths = python_path(Path(__file__).parents[1], Path(__file__).parents[2])
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", str(script), str(folder), ",".join(broken)],
            env={**os.environ, **group, "RANK": str(rank), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    ended = [process.communicate(timeout=900) for process in started]
    assert [process.returncode for process in started] == [0] * size, ended
    return [out for out, _ in ended]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="gloo is told to use the interface lo")
def test_processes_agree_on_folds_and_images_and_only_unreadable_ones_are_empty(tmp_path):
    script, folder = tmp_path / "rank.py", tmp_path / "tiny"
    script.write_text(RANK)
    start_group(script, folder, size=1)
    whole = (tmp_path / "tiny.csv").read_bytes()
    shutil.rmtree(folder / "test")
    dialect = Dialect(key="{id}.jpg")
    expected = {key: decode(rle, (45, 61)) for key, rle in read_rows(tmp_path / "tiny.csv", dialect)}
    said = start_group(script, folder, ["test_03"])  # in the second process's share
    found = {key: decode(rle, (45, 61)) for key, rle in read_rows(tmp_path / "tiny.csv", dialect)}
    assert list(found) == list(expected)
    for key, mask in found.items():
        np.testing.assert_array_equal(mask, 0 if key == "test_03.jpg" else expected[key])
    assert "1 of 5 test images cannot be read: their masks are empty" in said[0]
    assert "folds 0, 1" in said[0]
    start_group(script, folder)  # it was mended
    assert (tmp_path / "tiny.csv").read_bytes() == whole
