"""Faults 41 to 43: memory, shared memory and the processes that load data."""

import gc
import os
import resource
import signal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from kit.recipe import launch


@pytest.fixture(autouse=True)
def loaders_end(monkeypatch):
    """PyTorch waits five seconds for a worker whose error it has raised: here less, and now, not in a later test."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    yield
    gc.collect()


def told_by_launch(job, monkeypatch, capsys):
    monkeypatch.delenv("KIT_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as stop:
        launch(job)
    assert stop.value.code == 1
    return capsys.readouterr().err


def test_fault_41_without_memory_the_flags_to_change_are_told(monkeypatch, capsys):
    told = told_by_launch(lambda: torch.empty(2**60), monkeypatch, capsys)
    assert "There is not enough memory. Use smaller batches or images" in told


def end_this_process(samples):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [1, 2])
def test_fault_42_a_killed_data_worker_ends_the_run_with_advice(monkeypatch, capsys, workers):
    loader = DataLoader(range(3), collate_fn=end_this_process, num_workers=workers)
    assert "Lower --workers, 0 for none" in told_by_launch(lambda: list(loader), monkeypatch, capsys)


class NoSharedMemory(Dataset):
    """Samples in a process whose files may hold a thousand bytes."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        return torch.zeros(100_000)


def test_fault_43_no_shared_memory_left_is_told(monkeypatch, capsys):
    loader = DataLoader(NoSharedMemory(), num_workers=1)
    assert "Lower --workers, 0 for none" in told_by_launch(lambda: list(loader), monkeypatch, capsys)


class Mistaken(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.ones(2, 3) @ torch.ones(2, 3)


def test_a_mistake_in_a_data_worker_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        launch(lambda: list(DataLoader(Mistaken(), num_workers=1)))
