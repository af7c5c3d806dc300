"""How data workers are started: the processes that read and augment samples for the training process."""

import multiprocessing
import os

import cv2
import torch

from kit.training.processes import World


def default_workers(device: torch.device, wanted: int | None) -> int:
    """How many processes load data for this process.

    `wanted`, if it is given. Else none where the CPU computes everything, and for a GPU up to eight: one a core,
    shared with the other processes that torchrun started on this machine. Raises ValueError below zero.
    """
    if wanted is not None:
        if wanted < 0:
            raise ValueError(f"{wanted} workers (--workers): expected 0 (load in the training process) or more")
        return wanted
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(8, cores)) if device.type == "cuda" else 0


def loading(workers: int, world: World) -> dict:
    """How a DataLoader loads: its arguments for `workers` processes, pinned memory, and the way they start.

    In a group of processes they come from a server process that was started clean. A process that is forked while a
    communication thread holds one of Python's locks waits for that lock for ever (seen with gloo on Python 3.11).
    """
    options = {"num_workers": workers, "worker_init_fn": start_worker, "pin_memory": world.device.type == "cuda"}
    if workers and world.size > 1:
        multiprocessing.set_forkserver_preload(["torch", "kit.data.samples"])
        options["multiprocessing_context"] = "forkserver"
    return options


def start_worker(number: int) -> None:
    """Set up a process that loads data, without OpenCV's own threads: there are as many such processes as cores.

    0 and not 1: in a forked process, 1 waits for ever for the parent's threads, which were not copied.
    """
    cv2.setNumThreads(0)
