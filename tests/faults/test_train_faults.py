"""Faults of training: every one is brought on in a real process, and the same command is run again."""

import itertools
import json
import os
import pickle
import shutil
import signal

import numpy as np
import pytest
import safetensors
import torch
import train_tiny
from torch import nn
from torch.utils.data import DataLoader

from kit.data.normalise import IMAGENET
from kit.data.resize import Resizing
from kit.data.samples import Sample
from kit.losses import bce_dice
from kit.prediction import Frame
from kit.scoring.validation import Validation
from kit.training import EpochBatches, Settings, World, adamw, fit, new_state, supervised, warmup_cosine
from kit.training.checkpoint import load_state, save_state
from kit.training.state import resume

ALONE = World(0, 1, torch.device("cpu"))
TIMES = {"seconds", "waited", "val_seconds"}
STEPS = 5  # of an epoch of the tiny recipe: 20 images in batches of 4


def flat(value, name=""):
    """A checkpoint as {path of a leaf: plain value}, tensors as their dtype, shape and bytes; no times."""
    if isinstance(value, dict):
        parts = [flat(part, f"{name}/{key}") for key, part in value.items() if key not in TIMES]
    elif isinstance(value, (list, tuple)):
        parts = [flat(part, f"{name}/{key}") for key, part in enumerate(value)]
    elif isinstance(value, torch.Tensor):
        return {name: (value.dtype, value.shape, value.numpy().tobytes())}
    else:
        return {name: value}
    return {key: leaf for part in parts for key, leaf in part.items()}


def left_behind(folder):
    """All that training leaves in the fold's folder, times left out."""
    files = {path.name: path.read_bytes() for path in (folder / "fold0").iterdir() if path.is_file()}
    lines = [json.loads(line) for line in files.get("metrics.jsonl", b"").splitlines()]
    weights = {name: files.get(name) for name in ("best.safetensors", "last.safetensors")}
    return {"metrics": flat(lines), "state": flat(load_state(folder / "fold0/last.pt")), **weights}


def step_of(folder):
    return load_state(folder / "fold0/last.pt")["step"]


def batch_ids(step, folder):
    """The ids of an optimizer step (from 1), worked out without kit."""
    rows = [line.split(",") for line in (folder / "folds.csv").read_text().splitlines()[1:]]
    ids = [id for id, _, fold in rows if fold != "0"]
    epoch, within = divmod(step - 1, STEPS)
    order = np.random.default_rng([0, epoch]).permutation(len(ids))
    return {ids[i] for i in order[4 * within : 4 * within + 4]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that nothing happened to, without workers."""
    folder = tmp_path_factory.mktemp("finished")
    [ended] = train_tiny.start(folder)
    assert ended.code == 0, ended.error
    return folder


@pytest.fixture(scope="module")
def reference(finished):
    return left_behind(finished)


@pytest.mark.parametrize("byte", [0, 1000, 10**6, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 100, 5000))])
def test_fault_32_kill_at_any_byte_of_a_checkpoint_leaves_the_old_one(tmp_path, byte):
    save_state(tmp_path / "last.pt", {"old": torch.arange(1000)})
    [ended] = train_tiny.start(tmp_path, stages=["overwrite"], fault=["kill at byte", byte])
    assert ended.code == -9
    [partial] = tmp_path.glob(".*.partial")
    assert partial.stat().st_size == byte if byte < 16_000 else partial.stat().st_size > 16_000
    assert flat(load_state(tmp_path / "last.pt")) == flat({"old": torch.arange(1000)})
    [ended] = train_tiny.start(tmp_path, stages=["overwrite"])
    assert ended.code == 0
    assert list(load_state(tmp_path / "last.pt")) == ["new", "lr"]


@pytest.mark.slow
def test_fault_32_kill_at_each_step_of_writing_an_epochs_files(tmp_path):
    command = {"epochs": 1, "save_minutes": -1}
    train_tiny.start(tmp_path / "whole", **command)
    train_tiny.start(tmp_path / "base", fault=["kill", STEPS], **command)
    assert step_of(tmp_path / "base") == STEPS - 1
    reached, resumed = set(), []
    for step in itertools.count(1):  # four files: parts of them written, flushed, renamed, the folder flushed
        folder = shutil.copytree(tmp_path / "base", tmp_path / f"killed{step}")
        [ended] = train_tiny.start(folder, fault=["kill in write", step], **command)
        if ended.code == 0:
            break
        assert ended.code == -9, ended.error
        reached.add(step_of(folder))  # it loads, whatever the step
        if (left := left_behind(folder)) in resumed:
            continue  # the same files as after another step
        resumed.append(left)
        assert train_tiny.start(folder, **command)[0].code == 0
        assert left_behind(folder) == left_behind(tmp_path / "whole")
    assert step > 4 * 4
    assert len(resumed) >= 4
    assert reached == {STEPS - 1, STEPS}


@pytest.mark.slow
def test_fault_33_disk_full_while_saving_keeps_the_old_files(tmp_path, reference):
    train_tiny.start(tmp_path, fault=["kill", STEPS + 1])
    path = tmp_path / "fold0/last.pt"
    before = path.read_bytes()
    [ended] = train_tiny.start(tmp_path, fault=["file size limit", len(before) // 2])
    assert ended.code == 1
    assert f"could not write {path} (the old file, if any, is intact): File too large" in ended.error
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.partial"))
    [ended] = train_tiny.start(tmp_path)
    assert ended.code == 0
    assert left_behind(tmp_path) == reference


@pytest.mark.parametrize("workers", [0, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 2))])
def test_fault_34_killed_in_and_after_epochs_the_same_command_resumes(tmp_path, reference, workers):
    command = {"workers": workers, "save_minutes": -1}  # a checkpoint at each look at the loss, every 2 steps
    for call, step in [(3, 2), (4, 5), (1, 5), (6, 10), (4, 12)]:  # killed in the n-th step of the process
        [ended] = train_tiny.start(tmp_path, fault=["kill", call], **command)
        assert (ended.code, step_of(tmp_path)) == (-9, step), ended.error
    [ended] = train_tiny.start(tmp_path, **command)
    assert ended.code == 0, ended.error
    assert left_behind(tmp_path) == reference


@pytest.mark.slow
def test_fault_34_killed_at_random_times(tmp_path, reference):
    moments, codes = np.random.default_rng(0).uniform(0.02, 0.25, 8), []
    for number, moment in enumerate(moments):
        [ended] = train_tiny.start(tmp_path, kill_after=moment, workers=number % 3, save_minutes=-1)
        codes.append(ended.code)
        assert ended.code in {0, -9}, ended.error
    assert -9 in codes
    assert (train_tiny.start(tmp_path)[0].code, left_behind(tmp_path)) == (0, reference)


class Images(torch.utils.data.Dataset):
    """Random images with a mask of their bright pixels; or one of `mask` everywhere."""

    def __init__(self, n=8, mask=None):
        images = torch.randint(0, 256, (n, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        masks = (images[:, 0] > 127).byte() if mask is None else torch.full((n, 16, 16), mask, dtype=torch.uint8)
        self.samples = [
            Sample(image, mask, f"image{i}") for i, (image, mask) in enumerate(zip(images, masks, strict=True))
        ]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, key):
        return self.samples[key[1] if isinstance(key, tuple) else key]


def new_training(dtype=torch.float32, width=4, identity=None):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 1, 1))
    return new_state(model, adamw(model, lr=0.01), dtype, identity or {"fold": 0}, ema_decay=0.9)


def go_on(state, folder, epochs=4, criterion=bce_dice, dtype=torch.float32, validation=None):
    batches = EpochBatches(8, 4, seed=0, world=ALONE)
    settings = Settings(epochs, ALONE, dtype, warmup_cosine, IMAGENET, save_minutes=-1)
    frame = Frame(Resizing((16, 16)), normalise=IMAGENET)
    evaluate = Validation(DataLoader(validation or Images(), 4), frame, 2, ALONE, dtype)
    fit(state, DataLoader(Images(), batch_sampler=batches), supervised(criterion), evaluate, settings, folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fault_35_all_of_the_state_is_restored(tmp_path, dtype, capsys):
    calls = []

    def stops(logits, masks):
        calls.append(0)
        if len(calls) == 6:  # of the 8 steps of 4 epochs
            raise KeyboardInterrupt
        return bce_dice(logits, masks)

    stopped = new_training(dtype)
    with pytest.raises(KeyboardInterrupt):
        go_on(stopped, tmp_path, criterion=stops, dtype=dtype)
    kept, restored = load_state(tmp_path / "last.pt"), new_training(dtype)
    resume(restored, tmp_path)
    assert flat(restored.state_dict()) == flat(kept)
    assert (restored.step, len(restored.history), restored.loss_sum) == (4, 2, 0.0)
    assert restored.best == max(line["val_dice"] for line in restored.history) > 0
    assert restored.history == stopped.history
    assert flat(restored.ema.module.state_dict()) != flat(restored.model.state_dict())
    assert restored.optimizer.param_groups[0]["lr"] == stopped.history[-1]["lr"] < 0.01
    assert len(restored.optimizer.state) == len(list(restored.model.parameters()))
    if dtype == torch.float16:
        assert kept["scaler"]["_growth_tracker"] == restored.scaler.state_dict()["_growth_tracker"] == 4
        assert restored.scaler.get_scale() == kept["scaler"]["scale"] == 65536
    go_on(restored, tmp_path, dtype=dtype)
    whole = new_training(dtype)
    go_on(whole, tmp_path / "whole", dtype=dtype)
    assert flat(restored.state_dict()) == flat(whole.state_dict())
    assert (restored.step, len(restored.history)) == (8, 4)


def test_fault_35_a_checkpoint_without_a_scaler_resumes_in_float16(tmp_path, capsys):
    go_on(new_training(), tmp_path, epochs=1)  # as on a GPU with bfloat16
    older = new_training(torch.float16)
    go_on(older, tmp_path, epochs=2, dtype=torch.float16)
    assert older.step == 4
    assert older.scaler.get_scale() == 65536


def test_fault_36_a_checkpoint_holds_tensors_and_plain_values(finished):
    state = load_state(finished / "fold0/last.pt")

    def walk(value):
        if isinstance(value, dict):
            assert type(value) in {dict, type(nn.Module().state_dict())}
            parts = [*value, *value.values()]
        else:
            parts = value if type(value) in {list, tuple} else []
            assert type(value) in {torch.Tensor, int, float, str, bool, type(None), list, tuple}, type(value)
        return 1 + sum(walk(part) for part in parts)

    assert walk(state) > 100
    with safetensors.safe_open(finished / "fold0/last.safetensors", "pt") as weights:
        assert json.loads(weights.metadata()["kit"]) == {"step": 3 * STEPS, "epochs": 3}
    with safetensors.safe_open(finished / "fold0/best.safetensors", "pt") as weights:
        best = json.loads(weights.metadata()["kit"])["epochs"]
    scores = [json.loads(line)["val_dice"] for line in (finished / "fold0/metrics.jsonl").read_text().splitlines()]
    assert best == 1 + np.argmax(scores)


class Bomb:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def test_fault_36_a_pickle_bomb_never_runs(tmp_path, finished):
    folder, trace = shutil.copytree(finished, tmp_path / "run"), tmp_path / "exploded"
    path = folder / "fold0/last.pt"
    for write in (lambda bomb: path.write_bytes(pickle.dumps(bomb)), lambda bomb: torch.save({"model": bomb}, path)):
        write(Bomb(trace))
        with pytest.raises(ValueError, match=r"last\.pt is damaged, or no checkpoint of kit"):
            load_state(path)
        [ended] = train_tiny.start(folder)
        assert ended.code == 1
        assert ended.error.startswith(f"error: {path} is damaged, or no checkpoint of kit")
        assert not trace.exists()
    with pytest.raises(FileExistsError):  # the bomb is a real one
        trace.mkdir() or torch.load(path, weights_only=False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 4}, "config.json was made by another configuration (then -> now): width 8 -> 4."),
        ({"norm": "group", "seed": 1}, "(then -> now): norm batch -> group, seed 0 -> 1."),
        ({"image": [45, 62]}, "(then -> now): data.images and masks "),
        ({"cars": 21}, "folds.csv lists other ids or groups than the data now has"),
    ],
)
def test_fault_37_the_folder_of_another_run_is_refused(tmp_path, finished, changed, message):
    folder = shutil.copytree(finished, tmp_path / "run")
    [ended] = train_tiny.start(folder, **changed)
    assert ended.code == 1
    assert message in ended.error
    assert ended.error.startswith(f"error: {folder}")
    assert left_behind(folder) == left_behind(finished)


def test_fault_37_the_checkpoint_of_another_fold_or_model_is_refused(tmp_path, capsys, finished):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "fold1").mkdir()
    shutil.copy(folder / "fold0/last.pt", folder / "fold1")
    [ended] = train_tiny.start(folder, fold=1)
    assert ended.code == 1
    assert ended.error.startswith(f"error: {folder / 'fold1/last.pt'} was made by another configuration")
    assert "fold 0 -> 1" in ended.error
    go_on(new_training(), tmp_path, epochs=1)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ValueError, match=r"last\.pt is of another model .*0\.weight \(5, 3, 3, 3\) -> \(4, 3, 3, 3\)"):
        go_on(new_training(width=5), tmp_path)  # an edit of the recipe, which no flag tells
    with pytest.raises(ValueError, match=r"lr absent -> 0\.1"):
        go_on(new_training(identity={"fold": 0, "lr": 0.1}), tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_fault_37_a_checkpoint_that_lacks_a_part_is_refused(tmp_path):
    save_state(tmp_path / "last.pt", {"model": {}, "identity": {"fold": 0}})
    with pytest.raises(ValueError, match=r"last\.pt lacks \['best', 'ema', 'history'"):
        resume(new_training(), tmp_path)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("nan", "the loss is nan"), ("inf", "the loss is inf"), ("infinite gradient", "the gradient's norm ")],
)
def test_fault_38_a_loss_or_gradient_that_is_not_finite_stops_the_run(tmp_path, reference, kind, said):
    at = STEPS + 3  # the last checkpoint is from step 7, of the same epoch
    [ended] = train_tiny.start(tmp_path, fault=[kind, at], save_minutes=-1)
    assert ended.code == 1
    assert ended.error.startswith(f"error: step {at}: the loss is ")
    assert said in ended.error
    assert set(ended.error.split(" on ")[1].split(". The")[0].split(", ")) == batch_ids(at, tmp_path)
    state = load_state(tmp_path / "fold0/last.pt")
    assert state["step"] == at - 1
    assert all(value.isfinite().all() for part in ("model", "ema") for value in state[part].values())
    assert train_tiny.start(tmp_path)[0].code == 0  # as when the image was replaced
    assert left_behind(tmp_path) == reference


def test_fault_38_gradients_that_overflow_float16_for_ever_stop_the_run(tmp_path):
    """The scaler skips such steps, so the loss alone would stay finite and the weights as they were."""
    state, weights = new_training(torch.float16), [value.clone() for value in new_training().model.parameters()]

    def endless(logits, masks):
        return (logits - logits.detach()).sum() * 1e38  # 0

    with pytest.raises(FloatingPointError, match=r"step \d+: in float16 every gradient overflows; lower the learn"):
        go_on(state, tmp_path, epochs=40, criterion=endless, dtype=torch.float16)
    assert all(torch.equal(found, kept) for found, kept in zip(state.model.parameters(), weights, strict=True))


def test_fault_39_a_score_of_nan_is_never_the_best(tmp_path, capsys):
    go_on(new_training(), tmp_path / "never", epochs=2, validation=Images(mask=255))
    state = new_training()
    resume(state, tmp_path / "never")
    assert np.isnan([line["val_dice"] for line in state.history]).all()
    assert state.best == -np.inf
    assert not (tmp_path / "never/best.safetensors").exists()
    go_on(new_training(), tmp_path, epochs=1)
    best = (tmp_path / "best.safetensors").read_bytes()
    state = new_training()
    go_on(state, tmp_path, epochs=2, validation=Images(mask=255))
    assert state.best == state.history[0]["val_dice"] > 0
    assert (tmp_path / "best.safetensors").read_bytes() == best


def test_fault_46_folds_with_a_car_in_two_of_them_stop_the_run(tmp_path, finished):
    folder = shutil.copytree(finished, tmp_path / "run")
    table, leaking = (folder / "folds.csv").read_text().splitlines(), []
    for line in table:
        id, group, fold = line.split(",")
        leaking.append(f"{id},{group},{1 - int(fold)}" if id in {"car3_02", "car17_01"} else line)
    (folder / "folds.csv").write_text("\n".join(leaking) + "\n")
    [ended] = train_tiny.start(folder, stages=["train", "oof", "report"])
    assert ended.code == 1
    assert ended.error.startswith("error: 2 groups in more than one fold, so scores would leak: ")
    assert "car3: folds 0, 1" in ended.error
    assert "car17: folds 0, 1" in ended.error
    assert left_behind(folder) == left_behind(finished)
    assert {path.name for path in folder.iterdir()} == {path.name for path in finished.iterdir()}


def test_fault_47_of_two_runs_of_one_fold_at_once_one_is_refused(tmp_path, reference):
    ended = train_tiny.start(tmp_path, 2, rivals=True, limit=20, fault=["pause", STEPS + 3])
    refused, whole = sorted(ended, key=lambda each: each.code == 0)
    assert (refused.code, whole.code) == (1, 0), ended
    assert refused.error.startswith(f"error: another run is at work in {tmp_path / 'fold0'}. Wait for it")
    assert whole.error == ""
    assert left_behind(tmp_path) == reference


@pytest.mark.slow
def test_fault_47_the_lock_of_a_killed_run_is_free_while_its_workers_live(tmp_path, reference):
    [killed] = train_tiny.start(tmp_path, workers=2, fault=["kill", STEPS + 3])
    assert killed.code == -9
    os.killpg(killed.pid, signal.SIGSTOP)  # its workers, which would end some seconds later
    try:
        [ended] = train_tiny.start(tmp_path, workers=2)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
    assert ended.code == 0, ended.error
    assert left_behind(tmp_path) == reference


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_fault_48_ctrl_c_keeps_the_last_epoch(tmp_path, reference, workers):
    [ended] = train_tiny.start(tmp_path, workers=workers, fault=["interrupt", STEPS + 3])
    assert ended.code == 130
    assert ended.error == "\nstopped. The last checkpoint, if any, is intact; the same command resumes from it.\n"
    assert step_of(tmp_path) == STEPS
    assert (train_tiny.start(tmp_path, workers=workers)[0].code, left_behind(tmp_path)) == (0, reference)
