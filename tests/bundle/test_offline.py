"""A bundle in a new environment without kit, without network, in a read-only folder: a valid CSV, on time."""

import csv
import functools
import os
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import TinyDataset, tiny_competition
from tiny_run import keep_trained, new_run

import kit
from kit.bundle import Bundle, bundle
from kit.bundle.kaggle import Place
from kit.folds.keeping import keep_folds
from kit.models import UNet
from kit.prediction import TTA, VIEWS
from kit.runs import predict_oof
from kit.runs.half import measure_half
from kit.runs.run import begin
from kit.runs.saving import save_predictor, saved_run
from kit.submission import lint

SIZE, EXPECTED, IDS = (192, 256), 40, [f"image_{number:03}" for number in range(120)]
CORRUPT = "image_007"
REACHES_A_SERVER = "import socket; socket.create_connection(('127.0.0.1', {}), 5)"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare: sockets cannot be blocked"),
]


def network():
    return UNet(num_classes=1, width=8, batch_norm=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A bundle of two folds with eight views, its images, and an environment that has all packages but kit."""
    folder = tmp_path_factory.mktemp("offline")
    data = TinyDataset(tests=EXPECTED)
    run = new_run(folder / "run", data, size=SIZE, tta=TTA(VIEWS["d4"]))
    keep_folds(run.folder, data, run.world, lambda: run.folds)
    begin(run)
    for fold in (0, 1):
        keep_trained(run, fold, separating(run, fold))
        predict_oof(run, fold, network)
        measure_half(run, fold, network, None)
    save_predictor(
        run, saved_run(run, functools.partial(UNet, num_classes=1, width=8, batch_norm=True), tiny_competition(data))
    )
    bundle(Bundle(run.folder, folder / "bundle", Place(name="tiny")))
    shutil.rmtree(run.folder)
    save_images(folder / "images")
    new_environment(folder / "environment")
    (folder / "temporary").mkdir()
    return folder


def separating(run, fold):
    """A network with random weights and such a bias that about half of the first image is foreground."""
    torch.manual_seed(fold)
    model = network().eval()
    image = torch.from_numpy(cv2.resize(run.dataset.read_image("car0_01"), SIZE[::-1]).transpose(2, 0, 1)[None].copy())
    last = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.bias -= model(run.frame.normalise(image)).median()
    return model


def save_images(folder):
    """Three times as many as the run's competition has, four times as high and wide; one is cut short."""
    folder.mkdir()
    for id in IDS:
        image = TinyDataset(size=(4 * 45, 4 * 61)).read_image(id)[..., ::-1]
        content = cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()
        (folder / f"{id}.png").write_bytes(content[: len(content) // 2] if id == CORRUPT else content)


def new_environment(folder):
    """An environment that sees the packages of this one by links, without kit and what makes it importable."""
    venv.create(folder, symlinks=True)
    links = folder / "links"
    links.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if not entry.name.startswith(("kit", "__editable__")) and entry.suffix != ".pth":
                (links / entry.name).symlink_to(entry)
    own = sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)})
    (Path(own) / "links.pth").write_text(f"{links}\n")


def isolated(folder, arguments):
    """A command in the environment without network; the bundle is read-only, and kit's own code is hidden."""
    steps = [
        f"mount -t tmpfs none {shlex.quote(str(Path(kit.__file__).parent))}",
        f"mount --bind {folder}/bundle {folder}/bundle",
        f"mount -o remount,ro,bind {folder}/bundle",
        f"exec {folder}/environment/bin/python {shlex.join(map(str, arguments))}",
    ]
    return ["unshare", "-n", "-m", "-r", "sh", "-ec", "\n".join(steps)]


def run_isolated(folder, *arguments):
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TMPDIR": str(folder / "temporary")}
    environment["OMP_NUM_THREADS"] = "1"
    command = isolated(folder, arguments)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def rows(path):
    with path.open(newline="") as file:
        return {row["img"]: row["rle_mask"] for row in csv.DictReader(file)}


def check(path):
    """The CSV is valid for these images; returns how many masks there are."""
    found = rows(path)
    assert set(found) == {f"{id}.jpg" for id in IDS}
    assert found[f"{CORRUPT}.jpg"] == ""
    data = TinyDataset(size=(4 * 45, 4 * 61))
    data.test_ids = IDS
    assert [one for one in lint(path, tiny_competition(data)) if one.severity == "error"] == []
    return sum(mask != "" for mask in found.values())


@pytest.fixture(scope="module")
def is_permitted(place):
    done = run_isolated(place, "-c", "")
    if done.returncode:
        pytest.skip(f"network and folders cannot be cut off here: {done.stderr.strip()}")


@pytest.mark.usefixtures("is_permitted")
def test_the_isolation_holds(place):
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = REACHES_A_SERVER.format(server.getsockname()[1])
        subprocess.run([sys.executable, "-c", code], check=True)
        assert "Network is unreachable" in run_isolated(place, "-c", code).stderr
    assert "No module named 'kit" in run_isolated(place, "-c", "import kit.cli").stderr
    assert "Read-only file system" in run_isolated(place, "-c", "open('bundle/x', 'w')").stderr
    assert run_isolated(place, "-c", "import torch, pip").returncode == 0


@pytest.mark.usefixtures("is_permitted")
def test_a_valid_csv_on_time_of_more_and_larger_images_one_of_them_corrupt(place):
    arguments = ("bundle/predict.py", "--images", "images", "--device", "cpu")
    whole = run_isolated(place, *arguments, "--out", "whole.csv")
    assert whole.returncode == 0, whole.stderr + whole.stdout
    assert f"{len(IDS)} images, 2 networks with 8 views" in whole.stdout
    assert f"{CORRUPT}.png: " in whole.stdout
    assert check(place / "whole.csv") == len(IDS) - 1
    started = time.monotonic()
    none = run_isolated(place, *arguments, "--out", "none.csv", "--minutes", 1e-6)
    assert f"{len(IDS)} images of {len(IDS)} were not reached" in none.stdout, none.stderr + none.stdout
    limit, started = 10 + 1.5 * (time.monotonic() - started), time.monotonic()  # what the start takes here, and more
    short = run_isolated(place, *arguments, "--out", "short.csv", "--minutes", limit / 60)
    seconds = time.monotonic() - started
    print(f"limit {limit:.1f} s: ended after {seconds:.1f} s")
    print(short.stdout)
    assert short.returncode == 0, short.stderr + short.stdout
    assert seconds < limit
    assert check(place / "short.csv") > 0
