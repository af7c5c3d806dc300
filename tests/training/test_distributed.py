import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import train_tiny
from timm.layers import BatchNormAct2d
from torch import nn

from kit.training.checkpoint import load_state
from kit.training.processes import EpochBatches, World, start, stop, synchronise_batchnorm

CPU = torch.device("cpu")
EXACT = {"norm": "group", "dropout": 0}  # what each process draws or measures on its own pictures is left out


def batches(n=23, size=4, *, rank=0, world=1, parts=1, seed=0, epoch=0, first_step=0):
    sampler = EpochBatches(n, size, seed=seed, world=World(rank, world, CPU), parts=parts)
    sampler.epoch, sampler.first_step = epoch, first_step
    assert len(sampler) == len(list(sampler))
    return list(sampler)


def test_synchronising_batch_normalisation_keeps_what_is_fused_with_it():
    """timm's BatchNormAct2d is a batch normalisation that holds an activation too."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNormAct2d(4), nn.BatchNorm2d(4)).eval()
    images = torch.randn(2, 3, 9, 9)
    expected = net(images)
    found = synchronise_batchnorm(net, World(0, 2, torch.device("cuda")))
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in found.modules()) == 2
    assert torch.equal(found(images), expected)


@pytest.mark.parametrize("device", ["gpu", "cuda:x"])
def test_a_device_that_does_not_exist(device):
    with pytest.raises(ValueError, match=rf"device {device} \(--device\): no such device"):
        start(device)


def test_an_epoch_shows_each_index_at_most_once_in_an_order_of_its_own():
    orders = []
    for epoch in range(3):
        keys = [key for batch in batches(epoch=epoch) for key in batch]
        assert {found for found, _ in keys} == {epoch}
        indices = [index for _, index in keys]
        assert len(indices) == len(set(indices)) == 20
        assert set(indices) <= set(range(23))
        orders.append(indices)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert batches(epoch=1) == batches(epoch=1) != batches(epoch=1, seed=1)
    left_out = [set(range(23)) - set(indices) for indices in orders]
    assert left_out[0] != left_out[1]  # the remainder is not always the same


@pytest.mark.parametrize(("world", "parts"), [(2, 1), (4, 1), (1, 2), (2, 2), (3, 2), (1, 12)])
def test_processes_and_parts_share_the_batches_of_one(world, parts):
    whole = batches(n=50, size=12, epoch=5)
    shares = [batches(n=50, size=12, rank=rank, world=world, parts=parts, epoch=5) for rank in range(world)]
    for number, batch in enumerate(whole):
        pieces = [piece for share in shares for piece in share[number * parts : (number + 1) * parts]]
        assert {len(piece) for piece in pieces} == {12 // (world * parts)}
        assert sorted(key for piece in pieces for key in piece) == sorted(batch)
    assert {len(share) for share in shares} == {len(whole) * parts}


def test_an_epoch_is_taken_up_at_any_step():
    for first in range(6):
        assert batches(first_step=first, epoch=2) == batches(epoch=2)[first:]
        assert batches(first_step=first, epoch=2, parts=2) == batches(epoch=2, parts=2)[2 * first :]


def test_batch_sizes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="batch size 24 is more than the 23 training images: use a smaller one"):
        batches(size=24)
    with pytest.raises(ValueError, match=r"4 does not split over 3 processes with 2 parts each; use a multiple of 6"):
        batches(world=3, parts=2)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_hold_each_item_once(size):
    items = list(range(7))
    shares = [World(rank, size, CPU).share(items) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_needs_no_group():
    world = start("cpu")
    assert (world.rank, world.size, world.device, world.main) == (0, 1, CPU, True)
    world.wait()
    assert world.sum(torch.tensor([3])).tolist() == [3]
    model = nn.BatchNorm2d(3)
    assert synchronise_batchnorm(model, world) is model
    stop()


def test_a_device_that_is_not_there_is_refused():
    count = torch.cuda.device_count()
    with pytest.raises(ValueError, match=rf"device cuda:{count} \(--device\): this machine has {count} CUDA devices?"):
        start(f"cuda:{count}")


def test_batchnorm_on_cpus_is_said_to_be_per_process(capsys):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    assert synchronise_batchnorm(model, World(1, 2, CPU)) is model
    assert synchronise_batchnorm(model[:1], World(0, 2, CPU)) is not None
    assert capsys.readouterr().out == ""
    synchronise_batchnorm(model, World(0, 2, CPU))
    assert "statistics per process" in capsys.readouterr().out


def weights(folder):
    state = load_state(folder / "fold0/last.pt")
    return {f"{part}/{name}": value for part in ("model", "ema") for name, value in state[part].items()}


def lines(fold):
    return [json.loads(line) for line in (fold / "metrics.jsonl").read_text().splitlines()]


def assert_close(folder, other):
    """Weights within 1e-5, and the lines of metrics.jsonl nearly alike."""
    found, expected = weights(folder), weights(other)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5, msg=name)
    for line, wanted in zip(lines(folder / "fold0"), lines(other / "fold0"), strict=True):
        for name in wanted.keys() - {"seconds", "waited", "val_seconds"}:
            assert line[name] == pytest.approx(wanted[name], rel=1e-4), name


def ran(folder, ranks=1, **job):
    for ended in train_tiny.start(folder, ranks, **job):
        assert ended.code == 0, ended.error
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """15 pictures of 15 cars, trained, predicted and submitted by one process: 7 or 8 are held out."""
    job = {"cars": 15, "views": 1, "stages": ["train", "oof", "submit"], **EXACT}
    return ran(tmp_path_factory.mktemp("alone"), **job)


def test_two_processes_train_the_network_of_one(tmp_path):
    one = ran(tmp_path / "1", **EXACT)
    assert_close(ran(tmp_path / "2", 2, **EXACT), one)
    assert_close(ran(tmp_path / "2 of 2 parts", 2, accumulate=2, **EXACT), one)


@pytest.mark.slow
def test_two_processes_killed_go_on_bit_for_bit(tmp_path):
    whole = ran(tmp_path / "whole", 2)  # with batch normalisation and dropout, both different in each process
    for call in (4, 5):
        killed = train_tiny.start(tmp_path / "killed", 2, fault=["kill", call], save_minutes=-1)
        assert [ended.code for ended in killed] == [-9, -9]
    expected, found = weights(whole), weights(ran(tmp_path / "killed", 2))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    for line, wanted in zip(lines(tmp_path / "killed/fold0"), lines(whole / "fold0"), strict=True):
        no_times = {"seconds": 0, "waited": 0, "val_seconds": 0}
        assert line | no_times == wanted | no_times


def test_the_network_that_is_scored_is_the_one_that_is_saved(tmp_path):
    folder = ran(tmp_path, 2)  # two processes, each with batch statistics of its own
    [ended] = train_tiny.start(folder, stages=["evaluate"])
    [[_, background], [missed, found]] = json.loads(ended.out.split("matrix: ")[1].splitlines()[0])
    assert lines(folder / "fold0")[-1]["val_dice"] == 2 * found / (2 * found + background + missed)


@pytest.mark.parametrize("kind", ["nan", "kill"])
def test_all_stop_when_one_process_fails(tmp_path, kind):
    ended = train_tiny.start(tmp_path, 2, limit=30, fault=[kind, 8, 1], **EXACT)
    assert None not in {each.code for each in ended}, "it hung"
    assert 0 not in {each.code for each in ended}
    assert load_state(tmp_path / "fold0/last.pt")["step"] == 5
    if kind == "nan":
        assert [each.code for each in ended] == [1, 1]
        assert all("error: step 8: " in each.error for each in ended)
        assert "the loss is nan" in ended[1].error


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_each_held_out_image_is_counted_once(tmp_path, alone, ranks):
    job = {"cars": 15, "views": 1, **EXACT}
    [one] = train_tiny.start(alone, stages=["evaluate"], **job)
    several = train_tiny.start(alone, ranks, stages=["evaluate"], **job)
    assert one.code == 0, one.error
    line = next(line for line in one.out.splitlines() if line.startswith("matrix"))
    assert all(line in each.out for each in several)
    held_out = (alone / "fold0/oof.csv").read_text().count("\n") - 1
    assert np.sum(json.loads(line.split(": ")[1])) == held_out * 32 * 48


@pytest.mark.slow
def test_more_processes_than_images(tmp_path):
    job = {"cars": 3, "views": 1, "batch_size": 2, "epochs": 1, "stages": ["train", "oof", "submit"], **EXACT}
    folder = ran(tmp_path / "2", 2, fold=1, **job)
    assert (folder / "fold1/oof.csv").read_text().count("\n") == 2  # the head, and one image
    one = ran(tmp_path / "1", fold=1, **job)
    found, expected = lines(folder / "fold1"), lines(one / "fold1")
    assert found[0]["val_dice"] == pytest.approx(expected[0]["val_dice"])


def same_results(folder, expected):
    names = ["fold0/oof.csv", *(f"oof/{path.name}" for path in expected.glob("oof/*"))]
    assert len(names) > 1 + 6
    for name in names:
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    [csv], [wanted_csv] = folder.glob("submissions/*_fold0.csv"), expected.glob("submissions/*_fold0.csv")
    assert csv.read_bytes() == wanted_csv.read_bytes()
    with np.load(folder / "fold0/scores.npz") as found, np.load(expected / "fold0/scores.npz") as wanted:
        for name in wanted:
            np.testing.assert_array_equal(found[name], wanted[name])


def forget_predictions(alone, folder):
    """The trained folds alone, in a new folder."""
    predicted = shutil.ignore_patterns("oof*", "scores.npz", "finished.json", "test", "submissions")
    return shutil.copytree(alone, folder, ignore=predicted)


def rows_of_parts(folder):
    return {path.name: path.read_text().count("\n") // 2 for path in folder.glob("test/*/part-*.csv")}


@pytest.mark.parametrize("ranks", [2, 3])
def test_predictions_do_not_depend_on_the_processes(tmp_path, alone, ranks):
    job = {"cars": 15, "views": 1, "stages": ["oof", "submit"], **EXACT}
    same_results(ran(forget_predictions(alone, tmp_path / "copy"), ranks, **job), alone)


@pytest.mark.slow
def test_predictions_killed_midway_go_on_with_other_processes(tmp_path, alone):
    folder = forget_predictions(alone, tmp_path / "copy")
    job = {"cars": 15, "views": 1, "stages": ["oof", "submit"], **EXACT}
    ids = [path.stem for path in sorted(alone.glob("oof/*.png"))]
    [ended] = train_tiny.start(folder, fault=["kill at image", "car9_01"], **job)  # in the second batch of four
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("oof/*.png")}
    assert ended.code == -9
    assert 0 < len(kept) < len(ids)
    first, second = train_tiny.start(folder, 2, fault=["kill at image", "test_01"], **job)  # the second's first one
    assert first.code not in {0, None}
    assert second.code == -9
    assert rows_of_parts(folder) == {"part-0.csv": 4, "part-1.csv": 0}
    ran(folder, 2, **job)
    same_results(folder, alone)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # not predicted again
    assert rows_of_parts(folder) == {"part-0.csv": 4 + 2, "part-1.csv": 1}  # what was left, in even shares
    assert json.loads((folder / "test.json").read_text())["images"] == 3


@pytest.mark.slow
def test_torchrun(tmp_path, alone):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"folder": str(tmp_path), "cars": 15, "views": 1, "stages": ["train", "oof", "submit"], **EXACT}
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    ended = subprocess.run(
        [sys.executable, *torchrun, str(Path(__file__).parents[1] / "train_tiny.py"), json.dumps(job)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert_close(tmp_path, alone)
    assert (tmp_path / f"submissions/tiny_{tmp_path.name}_fold0.csv").is_file()
