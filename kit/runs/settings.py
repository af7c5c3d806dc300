"""How a fold is trained, as text: its plan, optimizer and loss. A checkpoint of other settings is refused.

Functions of kit and of packages count by their names; the commit and the versions of a run are kept beside them.
Functions of the user's own count by their code, without comments and docstrings.
"""

import dataclasses
import functools
import types
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from kit.data.identity import own_code
from kit.system.files import counted, short_hash

DEPTH = 5  # of values inside values that are looked at
CHOICES = ("amsgrad", "maximize", "nesterov")  # an optimizer's options that are on or off and change a number


def settings_of(name: str, value: object) -> dict[str, str]:
    """The text of a value by its name; of a dataclass that of each field."""
    if not dataclasses.is_dataclass(value):
        return {name: text_of(value)}
    parts = [settings_of(f"{name}.{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
    return {key: text for part in parts for key, text in part.items()}


def optimizer_settings(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """The optimizer's name, and the numbers of each of its groups of parameters, before the first step.

    Of options only those that are on and change a number: versions of torch add others.
    """
    found = {"optimizer": type(optimizer).__name__}
    for number, group in enumerate(optimizer.param_groups):
        values = {name: value for name, value in group.items() if name != "params"}
        kept = {
            name: text_of(value)
            for name, value in sorted(values.items())
            if (_is_number(value) or isinstance(value, tuple)) or (name in CHOICES and value)
        }
        listed = ", ".join(f"{name} {text}" for name, text in kept.items())
        found[f"optimizer.group {number}"] = f"{counted(len(group['params']), 'tensor')}, {listed}"
    return found


def text_of(value: object, depth: int = 0) -> str:
    """Text that changes with what the value does in training, and is the same in every process."""
    if depth > DEPTH:
        return type(value).__qualname__
    if isinstance(value, float):
        return f"{value:.6g}"  # a measured mean may differ in its last bits on another machine
    if isinstance(value, np.ndarray | Tensor):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        return f"{array.dtype} {array.shape} {short_hash(array.tobytes())}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(text_of(one, depth + 1) for one in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {text_of(one, depth + 1)}' for key, one in value.items())}}}"
    if isinstance(value, functools.partial):
        return f"{text_of(value.func, depth + 1)}({text_of([*value.args, value.keywords], depth + 1)})"
    if isinstance(value, types.FunctionType):
        return _text_of_function(value, depth)
    if isinstance(value, nn.Module):
        return f"{type(value).__qualname__} {short_hash((repr(value), text_of(dict(value.state_dict()))))}"
    return _text_of_object(value)


def _text_of_function(function: Callable, depth: int) -> str:
    code = own_code(function)
    name = f"{function.__module__}.{function.__qualname__}" if code is None else function.__qualname__
    closed = [text_of(value, depth + 1) for value in _closed_over(function)]
    return name + (f"({', '.join(closed)})" if closed else "") + (f" {short_hash(code)}" if code else "")


def _closed_over(function: Callable) -> list[object]:
    """The values that a function keeps from the function that made it. Of an object its class alone: what it holds,
    such as the flags of a run, may change without changing the training."""
    plain = (type(None), bool, int, float, str, list, tuple, dict, np.ndarray, Tensor)
    kept = (*plain, types.FunctionType, functools.partial, nn.Module)
    values = [cell.cell_contents for cell in function.__closure__ or ()]
    return [value if isinstance(value, kept) else type(value) for value in values]


def _text_of_object(value: object) -> str:
    """The object's repr where that says what the object is, and not where it lies in memory; else its class."""
    text = repr(value)
    if type(value).__repr__ is object.__repr__ or " at 0x" in text:
        return type(value).__qualname__
    return text if len(text) <= 60 else f"{type(value).__qualname__} {short_hash(text)}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
