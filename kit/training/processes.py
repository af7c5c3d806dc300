"""The process group: which place this process has, and which batches and images are its share.

A single process needs none of it. `torchrun --nproc-per-node N recipe.py` sets the environment that `start` reads.
The batch size is always that of the whole group, so the same command trains the same network on one process or many.
Evaluation takes `ids[rank::world]`, which counts each image once: torch's DistributedSampler pads, and counted 41
images on 2 processes as 42.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from kit.system.files import counted
from kit.training.sampling import draw_by_weight

Found = TypeVar("Found")


@dataclass(frozen=True)
class World:
    """This process's place: its rank among `size` processes, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """True in the one process that writes shared files and prints."""
        return self.rank == 0

    @property
    def quiet(self) -> bool:
        """True where there is to be no progress bar: in the other processes, and in logs."""
        return not self.main or not sys.stderr.isatty()

    def say(self, message: str) -> None:
        """Print `message`, once however many processes there are."""
        if self.main:
            print(message, flush=True)

    def share(self, items: Sequence) -> Sequence:
        """This process's part of `items`. Over all processes, each item occurs once."""
        return items[self.rank :: self.size]

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process do the body, then the others: they find in the cache what it left there."""
        if not self.main:
            self.wait()
        try:
            yield
        finally:  # after an error too, so that the others do not wait for ever
            if self.main:
                self.wait()

    def wait(self) -> None:
        """Return when every process has called this."""
        if self.size > 1:
            dist.barrier()

    def agree(self, find: Callable[[], Found]) -> Found:
        """What find() gives in the main process, in every process. Files may change while several look at them.

        Where it raises an error, the main process raises it, and the others end without a message.
        """
        if self.size == 1:
            return find()
        found = [None, True]  # the value, and whether there was an error
        try:
            if self.main:
                found = [find(), False]
        finally:
            dist.broadcast_object_list(found, src=0)
        value, failed = found
        if failed:
            sys.exit(1)
        return value

    def gather(self, values: dict) -> dict:
        """The items of all processes' dictionaries."""
        if self.size == 1:
            return values
        parts = [None] * self.size
        dist.all_gather_object(parts, values)
        return {key: value for part in parts for key, value in part.items()}

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def share_buffers(self, model: nn.Module) -> nn.Module:
        """Give the model the buffers of the main process (statistics of batch normalisation); returns the model."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)
        return model


def start(device: str = "auto") -> World:
    """Join the process group if torchrun started this process, and choose the device.

    device: "auto" (a GPU if there is one), or a name that torch.device takes. Raises ValueError if torch lacks it.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size > 1 and not dist.is_initialized():
        patience = timedelta(hours=12)  # the main process scores and reports alone while the others wait
        if chosen.type == "cuda":
            dist.init_process_group("nccl", timeout=patience, device_id=chosen)
        else:
            dist.init_process_group("gloo", timeout=patience)
    return World(rank, size, chosen)


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def data_parallel(model: nn.Module, world: World) -> nn.Module:
    """The module that the group trains: `model` itself in a single process, else its DistributedDataParallel."""
    if world.size == 1:
        return model
    model = synchronise_batchnorm(model, world)
    return DistributedDataParallel(model, device_ids=[world.device] if world.device.type == "cuda" else None)


def synchronise_batchnorm(model: nn.Module, world: World) -> nn.Module:
    """Give batch normalisation the statistics of the whole group, where PyTorch can (GPUs only)."""
    if world.size > 1 and world.device.type == "cuda":
        from timm.layers import convert_sync_batchnorm  # here: it takes seconds, and data workers import this file

        return convert_sync_batchnorm(model)  # torch's own would drop the activations in timm's BatchNormAct2d
    if world.size > 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        world.say("batch normalisation: statistics per process (PyTorch's SyncBatchNorm has no CPU form)")
    return model


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) keys: a new order each epoch, this process's share of each batch.

    n: number of samples. weights: f64 (n,), how often each is drawn beside the others; None: each once in an epoch.
    batch_size: samples in a step of the whole group. parts: the number of micro-batches into
    which each process splits its share (gradient accumulation). Incomplete last batches are dropped.
    The order depends on (seed, epoch) alone, and `epoch` and `first_step` say where to begin: so a resumed run
    continues exactly where it stopped.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        seed: int,
        world: World,
        parts: int = 1,
        weights: np.ndarray | None = None,
    ) -> None:
        if weights is not None and (
            np.shape(weights) != (n,) or not (np.isfinite(weights).all() and np.min(weights) > 0)
        ):
            raise ValueError(
                f"weights of shape {np.shape(weights)}, expected a finite one above 0 for each of {n} images"
            )
        if batch_size > n:
            what = f"the {counted(n, 'training image')}"
            raise ValueError(f"batch size {batch_size} is more than {what}: use a smaller one")
        if batch_size % (world.size * parts):
            raise ValueError(
                f"batch size {batch_size} does not split over {world.size} processes with {parts} parts each; "
                f"use a multiple of {world.size * parts}"
            )
        self.n, self.batch_size, self.seed, self.rank = n, batch_size, seed, world.rank
        self.weights = weights
        self.stride, self.parts, self.world = world.size * parts, parts, world.size
        self.epoch = self.first_step = 0

    @property
    def steps(self) -> int:
        """Optimizer steps in a whole epoch."""
        return self.n // self.batch_size

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(self.n) if self.weights is None else draw_by_weight(self.weights, random)
        for step in range(self.first_step, self.steps):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            for part in range(self.parts):
                yield [(self.epoch, int(index)) for index in batch[part * self.world + self.rank :: self.stride]]


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of that name; "auto" is a GPU if there is one, "cuda" the one of this process on its machine.

    Raises ValueError if torch or the machine lacks it.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name} (--device): no such device; use auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name} (--device): this machine has {counted(torch.cuda.device_count(), 'CUDA device')}; "
            "use cpu, or fewer processes"
        )
    return device
