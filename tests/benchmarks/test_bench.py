"""The benchmarks run, and where kit and another package do the same work, they get the same result.

Whether the ratios are what is wanted of them is for a quiet machine: KIT_BENCH=1 pytest tests/benchmarks.
"""

import importlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from kit import bench
from kit.bench import prediction
from kit.bench.idioms import notebook_decoder, where_idiom
from kit.bench.measure import Contest, Row, contested, duration, interleaved, table
from kit.cli.bench import Bench
from kit.submission import rle

PEERS = "needs the extra: pip install -e '.[bench]'"


def test_rounds_are_interleaved_and_medians_compared():
    calls = []
    jobs = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = interleaved(jobs, rounds=4, least=0.0)
    assert calls == [*"abc", *"abc", *"bca", *"cab", *"abc"]
    assert {name: len(each) for name, each in seconds.items()} == {"a": 4, "b": 4, "c": 4}


def test_a_contest_of_unlike_results_is_no_contest():
    [row] = contested([Contest("same", lambda: 1, {"other": lambda: 1}, {"other": 1e-9}, int.__eq__)], rounds=3)
    assert (row.job, row.against, row.met) == ("same", "other", True)
    with pytest.raises(ValueError, match="unlike: kit's result is not that of other"):
        list(contested([Contest("unlike", lambda: 1, {"other": lambda: 2}, {}, int.__eq__)], rounds=3))


def test_the_table_tells_what_was_missed():
    rows = [Row("job", "1 ms", "other", "2 ms", 2.0, 3.0), Row("job", "1 ms", "another", "9 ms", 9.0, 3.0)]
    assert table(rows).splitlines()[2:] == [
        "| job | 1 ms | other | 2 ms | 2 | 3 (missed) |",
        "| job | 1 ms | another | 9 ms | 9 | 3 |",
    ]
    assert [duration(seconds) for seconds in (12.3456, 0.0123456, 0.0000123)] == ["12.3 s", "12.3 ms", "12.3 µs"]


def test_a_job_asks_for_its_own_peers_alone(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("kit.bench.")]:
        monkeypatch.delitem(sys.modules, name)
    for job in bench.JOBS:  # the attributes of kit.bench come back with them
        monkeypatch.setattr(bench, job, None, raising=False)
    for peer in ("pycocotools", "faster_coco_eval", "hotcoco", "torchmetrics", "skimage", "ttach"):
        monkeypatch.setitem(sys.modules, peer, None)
    for job in set(bench.JOBS) - {"kernels", "objects"}:
        importlib.import_module(f"kit.bench.{job}")
    assert Bench(("training", "objects"), tmp_path).run() == 1
    assert re.search(r"the job objects .* the package \w+,.* pip install -e '\.\[bench\]'", capsys.readouterr().out)


@pytest.mark.slow  # at full size, and it compiles what no other test needs
def test_kernels_agree_with_their_peers(tmp_path):
    pytest.importorskip("pycocotools", reason=PEERS)
    pytest.importorskip("faster_coco_eval", reason=PEERS)
    pytest.importorskip("torchmetrics", reason=PEERS)
    pytest.importorskip("ttach", reason=PEERS)
    from kit.bench import kernels

    mask = kernels.masks()["a car"]
    text = rle.encode(mask)
    assert where_idiom(mask) == text
    np.testing.assert_array_equal(notebook_decoder(text, mask.shape), mask)
    for contest in kernels.contests(tmp_path):
        own = contest.kit()
        for name, other in contest.others.items():
            assert contest.agree is None or contest.agree(own, other()), (contest.job, name)
        if "logits" in contest.job:
            assert {other() for other in contest.others.values()} == {own}


@pytest.mark.slow
def test_objects_agree_with_their_peers():
    objects = pytest.importorskip("kit.bench.objects", reason=PEERS)
    for contest in objects.contests():
        own = contest.kit()
        for name, other in contest.others.items():
            assert contest.agree is None or contest.agree(own, other()), (contest.job, name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "less"),
    [
        ("samples", {"rounds": 1, "count": 16}),
        ("training", {"steps": 6}),
        ("growth", {"counts": (8, 16)}),
        ("gpu", {"size": (64, 96), "count": 12, "batch": 4, "device": "cpu"}),
        ("start", {}),
    ],
)
def test_every_job_runs_small(job, less, tmp_path):
    module = importlib.import_module(f"kit.bench.{job}")
    rows = list(module.rows(tmp_path, tmp_path, **less))
    assert rows
    assert all(row.ratio > 0 for row in rows)
    assert any(row.job.startswith("training of") for row in rows) == (job == "gpu")
    assert (tmp_path / "growth.png").exists() == (job == "growth")


@pytest.mark.slow
def test_memory_is_that_of_the_process_alone(tmp_path):
    held = np.ones(3 * 2**27)  # 3 GiB that are not the child's
    assert 100 < prediction.measured(tmp_path, 8, asleep=0.0)["peak"] < 2500
    assert held.sum() > 0


def test_prediction_is_held_against_the_networks_own_rate(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "measured", lambda _, count: {"seconds": count / 150, "peak": 100 + count / 100})
    rate, memory = prediction.rows(tmp_path, tmp_path, count=1000)
    assert (rate.kit, rate.other, rate.ratio, rate.met) == ("150/s", "200/s", pytest.approx(0.75), False)
    assert (memory.kit, memory.other, memory.ratio) == ("110 MiB", "101 MiB", pytest.approx(101 / 110))


@pytest.mark.skipif(not os.environ.get("KIT_BENCH"), reason="timings need a quiet machine: KIT_BENCH=1")
@pytest.mark.parametrize("job", bench.JOBS)
def test_the_ratios_are_what_is_wanted(job, tmp_path):
    command = [sys.executable, "-m", "kit", "bench", job, "--results", str(tmp_path), "--strict"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
