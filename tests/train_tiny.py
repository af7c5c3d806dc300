"""A recipe of a few seconds that tests run as processes: to be killed, stopped, run by two at once, run again.

`start(folder, ...)` runs it in new processes and returns how they ended. They are forked from a server, this very
file run as a script, which has imported torch but never computed with it: a process then starts in milliseconds
where a new interpreter takes five seconds. `python -m torch.distributed.run train_tiny.py '<job as JSON>'` runs
one job without the server.
"""

import atexit
import dataclasses
import functools
import importlib.util
import io
import itertools
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tiny import TinyDataset, tiny_competition
from torch import Tensor, nn

import kit.training.loop
from kit.data.augment import photo_augment
from kit.data.dataset import data_key
from kit.data.normalise import IMAGENET
from kit.data.resize import Resizing
from kit.folds.keeping import keep_folds
from kit.folds.kfold import group_kfold
from kit.losses import bce_dice
from kit.prediction import TTA, VIEWS, Frame
from kit.recipe import launch
from kit.report.of_run import report
from kit.runs import Plan, Run, Submission, load, predict_oof, submit
from kit.runs.flags import Flags
from kit.runs.folds import lock
from kit.runs.run import begin
from kit.runs.training import evaluator, new_fold_state, train_loader
from kit.scoring.confusion import confusion_matrix
from kit.submission.rle import decode, encode
from kit.training import Settings, World, adamw, fit, supervised, warmup_cosine
from kit.training.checkpoint import save_state
from kit.training.processes import start as join_group

SIZE = (32, 48)  # height and width that the network sees
AUGMENT = photo_augment(seed=0)
CHECK_EVERY = 2  # steps, in place of kit.training.loop's, so that an epoch of five steps has checkpoints inside


@dataclass(frozen=True)
class Job:
    """What a process is to do. fault: what happens to it meanwhile, see Discs, Criterion and strike."""

    folder: str
    stages: tuple[str, ...] = ("train",)  # of train, evaluate, oof, report, submit; or overwrite alone
    fold: int = 0
    epochs: int = 3
    batch_size: int = 4
    accumulate: int = 1
    workers: int = 0
    width: int = 8  # of the network
    norm: str = "batch"
    dropout: float = 0.2
    seed: int = 0  # of the training
    cars: int = 20
    views: int = 2
    tests: int = 7
    image: tuple = (45, 61)  # height and width
    save_minutes: float = 10
    fault: tuple = ()


class Discs(TinyDataset):
    """The tiny one; fault ("kill at image", id) ends the process that reads it."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.cars, job.views, job.tests, tuple(job.image))
        self.fatal = job.fault[1] if job.fault[:1] == ("kill at image",) else None

    def read_image(self, id: str) -> np.ndarray:
        if id == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_image(id)


class Criterion:
    """bce_dice, but at its call number fault[1] something happens (on rank fault[2], where there is one)."""

    def __init__(self, fault: tuple, world: World) -> None:
        self.kind, self.at, rank = (*fault, None, None, None)[:3]
        self.calls, self.here = 0, rank is None or rank == world.rank

    def __call__(self, logits: Tensor, masks: Tensor) -> Tensor:
        self.calls += 1
        loss = bce_dice(logits, masks)
        if self.calls != self.at or not self.here:
            return loss
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "pause":
            os.kill(os.getpid(), signal.SIGSTOP)  # until the other run has ended, see `start`
        if self.kind == "interrupt":
            os.killpg(os.getpid(), signal.SIGINT)  # as a terminal does: to this process and its workers
        if self.kind == "nan":
            return loss * float("nan")
        if self.kind == "inf":
            return loss + float("inf")
        if self.kind == "infinite gradient":  # the root of 0 is 0, its slope infinite
            return loss + (logits - logits.detach()).sum().sqrt()
        return loss


def strike(fault: tuple) -> None:
    """Bring on a fault of the disk: ("kill in write", n), ("kill at byte", n) or ("file size limit", bytes).

    "kill in write" ends the process at the n-th step of writing, "kill at byte" once a file has n bytes, or is whole.
    """
    kind, at = (*fault, None, None)[:2]
    if kind == "file size limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing more is an OSError, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, resource.RLIM_INFINITY))
    if kind not in {"kill in write", "kill at byte"}:
        return
    steps = itertools.count(1)

    def step() -> None:
        if kind == "kill at byte" or next(steps) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    class Dying(io.FileIO):
        writes = 0

        def write(self, content: bytes) -> int:
            self.writes += 1
            left = at - self.tell() if kind == "kill at byte" else len(content) // 2
            if kind == "kill at byte" and left < len(content):
                super().write(content[:left])
                step()
            if kind == "kill in write" and self.writes.bit_count() == 1:  # of a file's hundred some: 1, 2, 4, 8, …
                super().write(content[:left])
                step()
                super().write(content[left:])
            else:
                super().write(content)
            return len(content)

    def after(function: Callable) -> Callable:
        def stepping(*arguments):
            result = function(*arguments)
            step()
            return result

        return stepping

    opening = pathlib.Path.open
    pathlib.Path.open = lambda self, mode="r", *rest, **options: (
        Dying(self, "wb") if mode == "wb" else opening(self, mode, *rest, **options)
    )
    os.fsync, pathlib.Path.replace = after(os.fsync), after(pathlib.Path.replace)


def network(job: Job) -> nn.Sequential:
    """A normalised layer and a linear one."""
    norm = {"batch": nn.BatchNorm2d(job.width, momentum=0.5), "group": nn.GroupNorm(2, job.width)}[job.norm]
    first, last = nn.Conv2d(3, job.width, 3, padding=1), nn.Conv2d(job.width, 1, 3, padding=1)
    return nn.Sequential(first, norm, nn.ReLU(), nn.Dropout(job.dropout), last)


def main(job: Job) -> None:
    """The whole of a recipe, as in recipes/."""
    if job.stages == ("overwrite",):
        strike(job.fault)
        save_state(Path(job.folder) / "last.pt", {"new": torch.arange(2000), "lr": 0.5})
        return
    kit.training.loop.CHECK_EVERY = CHECK_EVERY
    run = opened(job, join_group("cpu"))
    strike(job.fault)
    with lock(run, job.fold):
        if "train" in job.stages:
            train(run, job)
        if "evaluate" in job.stages:
            matrix = evaluator(run, job.fold, plan(job)).count(load(run, job.fold, network(job)))
            print(f"matrix: {matrix.tolist()}")
        if "oof" in job.stages:
            predict_oof(run, job.fold, lambda: network(job))
    if "report" in job.stages:
        report(run)
    if "submit" in job.stages:
        competition = tiny_competition(run.dataset)
        submit(run, Submission(competition, folder=Path(job.folder) / "submissions"), lambda: network(job))


def opened(job: Job, world: World) -> Run:
    """Open the run folder."""
    folder, dataset = Path(job.folder), Discs(job)
    asked = ("fold", "epochs", "batch_size", "width", "norm", "dropout", "seed", "workers")
    values = {name: getattr(job, name) for name in asked}
    identity = {name: value for name, value in values.items() if name not in {"fold", "workers"}}
    run = Run(
        folder=folder,
        name="tiny",
        dataset=dataset,
        folds=keep_folds(folder, dataset, world, lambda: group_kfold(dataset.groups, 2, seed=0)),
        flags=Flags(values, identity, {}),
        data={"data.images and masks": data_key(dataset)},
        frame=Frame(Resizing(SIZE), normalise=IMAGENET),
        tta=TTA(VIEWS["hflip"]),
        world=world,
        dtype=torch.float32,
        workers=job.workers,
        seed=job.seed,
    )
    begin(run)
    return run


def plan(job: Job) -> Plan:
    """How the fold is trained."""
    return Plan(job.epochs, job.batch_size, warmup_cosine, AUGMENT, ema_decay=0.9, parts=job.accumulate, cache=False)


def train(run: Run, job: Job) -> None:
    """Train the fold that was asked for; as fit_fold, but for the minutes between checkpoints."""
    torch.manual_seed(job.seed)
    model, how = network(job), plan(job)
    state = new_fold_state(run, job.fold, model, adamw(model, lr=0.02), how.ema_decay)
    settings = Settings(
        job.epochs, run.world, run.dtype, warmup_cosine, IMAGENET, job.seed, save_minutes=job.save_minutes
    )
    loss_of = supervised(Criterion(job.fault, run.world))
    loader = train_loader(run, job.fold, how)
    fit(state, loader, loss_of, evaluator(run, job.fold, how), settings, run.fold_folder(job.fold))


class Ended(NamedTuple):
    """How a process ended: code is its exit status, or minus the signal; None if it ran into the time limit.

    pid: its number, which is also that of the process group in which its data workers are.
    """

    code: int | None
    out: str
    error: str
    pid: int


def start(
    folder: Path, ranks: int = 1, rivals: bool = False, kill_after: float = 1e9, limit: float = 60, **job
) -> list[Ended]:
    """Run a Job in `ranks` processes; SIGKILL after `kill_after` seconds, or when the time limit (s) is over.

    rivals: the processes are no group, each is given the whole job; the last that is left is woken from a "pause".
    """
    limits = {"rivals": rivals, "kill_after": kill_after, "limit": limit}
    request = {"job": {"folder": str(folder), **job}, "ranks": ranks, **limits}
    process = _server()
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    return [Ended(*each) for each in json.loads(process.stdout.readline())]


@functools.cache
def _server() -> subprocess.Popen:
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-W", "error", __file__]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **one}
    )
    atexit.register(process.communicate)
    return process


def _serve() -> None:
    """Take jobs from stdin; first do once what each process would spend its time on, but nothing of torch's."""
    import torch._dynamo  # an optimizer imports it, for 1.7 s

    if importlib.util.find_spec("tensorboard"):
        import torch.utils.tensorboard  # noqa: F401
    group_kfold(["a", "b"], 2, seed=0)  # imports scikit-learn
    mask = np.zeros((8, 8), np.uint8)
    confusion_matrix(mask, mask, 2)  # numba loads its kernels
    decode(encode(mask), mask.shape)
    for line in sys.stdin:
        print(json.dumps(_execute(**json.loads(line))), flush=True)


def _execute(job: dict, ranks: int, rivals: bool, kill_after: float, limit: float) -> list[Ended]:
    with socket.socket() as free, tempfile.TemporaryDirectory() as outputs:
        free.bind(("127.0.0.1", 0))
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        free.close()
        places = [(0, 1) if rivals else (rank, ranks) for rank in range(ranks)]
        files = [(Path(outputs, f"out{rank}"), Path(outputs, f"error{rank}")) for rank in range(ranks)]
        for file in itertools.chain(*files):  # a process may be killed before it opens them
            file.touch()
        pids = [
            _fork(job, {**group, "RANK": str(rank), "WORLD_SIZE": str(size)}, own)
            for (rank, size), own in zip(places, files, strict=True)
        ]
        codes, begun = {}, time.monotonic()
        while len(codes) < ranks and (gone := time.monotonic() - begun) < min(kill_after, limit):
            for pid in set(pids) - set(codes):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            if rivals and len(codes) == ranks - 1:
                os.kill(*set(pids) - set(codes), signal.SIGCONT)
            time.sleep(0.001)
        for pid in set(pids) - set(codes):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            codes[pid] = -signal.SIGKILL if gone >= kill_after else None
        return [
            Ended(codes[pid], out.read_text(), error.read_text(), pid)
            for pid, (out, error) in zip(pids, files, strict=True)
        ]


def _fork(job: dict, environment: dict[str, str], files: tuple[Path, Path]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        os.environ.update(environment)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, file in enumerate(files, start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        code = _run(job)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(job: dict) -> int:
    known = {field.name for field in dataclasses.fields(Job)}
    if set(job) - known:
        raise TypeError(f"a Job has no {set(job) - known}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in job.items()}
    try:
        launch(lambda: main(Job(**plain)))
    except SystemExit as stop:
        return stop.code
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(_run(json.loads(sys.argv[1])))
    _serve()
