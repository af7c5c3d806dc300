"""Checkpoints: written whole or not at all, read without running anything that they contain.

    last.safetensors, best.safetensors   the averaged (EMA) weights, which predict
    last.pt                              all that training needs to resume, self-contained

The weights are written first and the state second. A process killed in between resumes from the older state and writes
the same weights again, because training is exactly repeatable: no pair needs repair. `torch.save` onto an existing file
would destroy that file when killed, hence `write_atomic`.
"""

import json
import re
import zipfile
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from kit.system.files import write_atomic

NETWORK = "network ("  # and the group of the optimizer that trains it


class OtherRun(ValueError):
    """A checkpoint or a run folder was made by another fold, configuration or data."""


def save_weights(path: Path, model: nn.Module, note: dict) -> None:
    """Write the model's parameters and buffers as safetensors, with `note` (plain values) in the header."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomic(path, safetensors.torch.save(tensors, metadata={"kit": json.dumps(note)}))


def load_weights(path: Path, model: nn.Module) -> None:
    """Read weights written by save_weights into `model`. Raises ValueError with the difference if they do not fit."""
    try:
        tensors = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run the same command again") from error
    check_fit(model, tensors, path)
    model.load_state_dict(tensors)


def save_state(path: Path, state: dict) -> None:
    """Write a dictionary of tensors and plain values (numbers, strings, lists, dictionaries)."""
    write_atomic(path, lambda file: torch.save(state, file))


def load_state(path: Path) -> dict:
    """Read a file of save_state. Raises ValueError if it is damaged, or holds anything but tensors and plain values."""
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if damaged := archive.testzip():  # torch.load accepts a flipped bit in a tensor
                    raise zipfile.BadZipFile(f"the checksum of {damaged} does not hold")
            file.seek(0)
            return dict(torch.load(file, map_location="cpu", weights_only=True))
        except MemoryError:
            raise
        except Exception as error:  # on odd bytes the two readers raise a dozen types
            raise ValueError(
                f"{path} is damaged, or no checkpoint of kit ({str(error).partition(chr(10))[0]:.200}). "
                "Delete it to train this fold anew"
            ) from error


def check_fit(model: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Raise ValueError listing the tensors that only one of `model` and `tensors` has, or whose shapes differ."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    problems = difference(own, found)
    if problems:
        raise ValueError(f"{path} is of another model (expected -> found): {problems}")


def check_identity(path: Path, expected: dict, found: dict, defaults: dict | None = None) -> None:
    """Raise OtherRun with the difference if a checkpoint was made by another fold, configuration or data.

    defaults: of flags. What was made before a flag existed was made with its default, so it may lack that flag.
    """
    known = {name: value for name, value in (defaults or {}).items() if name in expected}
    then, now = _with_tensors({**known, **found}), _with_tensors(expected)
    problems = difference(then, now)
    if problems:
        is_other = any(name.startswith(NETWORK) and then.get(name) != now[name] for name in now)
        network = "The network is another one, or another part of it is trained. " if is_other else ""
        raise OtherRun(
            f"{path} was made by another configuration (then -> now): {problems}. "
            f"{network}Go back to those settings, choose another run folder (--run-dir), or delete this one (if no run "
            f"is at work in it): {path.parent}"
        )


def _with_tensors(facts: dict) -> dict:
    """The facts, with the number of tensors that a group of the optimizer trains under a name of its own.

    "optimizer.group 0": "62 tensors, lr 0.1" says something of the network, and something of the optimizer.
    """
    apart = {}
    for name, value in facts.items():
        if name.startswith("optimizer.group") and (found := re.match(r"(\d+ tensors?), ", str(value))):
            apart[f"{NETWORK}{name})"] = found[1]
            value = value[found.end() :]
        apart[name] = value
    return apart


def difference(expected: dict, found: dict, most: int = 8) -> str:
    """The differences between two dictionaries, in words; empty when there are none."""
    names = [name for name in {**expected, **found} if expected.get(name, "absent") != found.get(name, "absent")]
    lines = [f"{name} {expected.get(name, 'absent')} -> {found.get(name, 'absent')}" for name in names[:most]]
    return ", ".join(lines) + (f" and {len(names) - most} more" if len(names) > most else "")
