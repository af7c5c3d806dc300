"""How a fold is trained, as text: its plan, optimizer and loss. A checkpoint of other settings is refused.

Numbers, names and arrays count, inside objects too. Code does not: an edited script is noticed by its own hash (see
provenance.origin), and the report says so.
"""

import dataclasses
import functools
import re
import types
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from kit.system.files import counted, short_hash

PLAIN = (type(None), bool, int, float, str, tuple, frozenset, np.ndarray, np.generic, Tensor)
GROWING = (list, dict, set)  # a loss may note its values in one as it trains
WITHOUT_EFFECT = {"foreach", "fused", "capturable", "differentiable"}  # options of an optimizer that change its speed
BEGUN_WITH = {"mean", "std", "package"}  # what networks with pretrained encoders say of their first weights
DEPTH = 5  # of values inside values that are looked at
LONG = 60  # characters; a longer text is hashed


def settings_of(name: str, value: object) -> dict[str, str]:
    """The text of a value by its name; of a dataclass its class, and the text of each field."""
    if not dataclasses.is_dataclass(value):
        return {name: text_of(value)}
    parts = [settings_of(f"{name}.{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
    return {name: type(value).__qualname__} | {key: text for part in parts for key, text in part.items()}


def optimizer_settings(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """The optimizer's name, and the numbers and switched-on options of each of its groups of parameters."""
    found = {"optimizer": type(optimizer).__name__}
    for number, group in enumerate(optimizer.param_groups):
        values = {name: value for name, value in group.items() if name not in WITHOUT_EFFECT | {"params"}}
        values["lr"] = values.pop("initial_lr", group["lr"])  # training changes lr itself
        texts = {name: text_of(value) for name, value in sorted(values.items())}
        listed = ", ".join(f"{name} {text}" for name, text in texts.items() if text not in {"None", "False"})
        found[f"optimizer.group {number}"] = f"{counted(len(group['params']), 'tensor')}, {listed}"
    return found


def network_text(network: nn.Module) -> str:
    """A hash of the classes of a network's modules and of the values that they hold, without weights.

    Nor does it count what kit's networks say of the weights that they began with (kit.models.encoders): those that
    predict are built without any.
    """
    parts = {path: [type(part).__qualname__, _built(part)] for path, part in network.named_modules()}
    return short_hash(text_of(parts))


def text_of(value: object, depth: int = 0) -> str:
    """Text that changes with the values that an object holds, and is the same in every process and on any machine."""
    if depth > DEPTH:
        return type(value).__qualname__
    inner = functools.partial(text_of, depth=depth + 1)
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"  # a measured number may differ in its last bits on another machine
    if isinstance(value, np.ndarray | Tensor):
        return _text_of_array(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inner, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(f'{inner(key)}: {inner(one)}' for key, one in value.items()))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(inner, value)))}}}"
    if isinstance(value, functools.partial):
        return f"{inner(value.func)}({inner([*value.args, value.keywords])})"
    if isinstance(value, types.MethodType):
        return f"{inner(value.__self__)}.{value.__name__}"
    if isinstance(value, types.FunctionType):
        return _text_of_function(value, inner)
    return _text_of_object(value, inner)


def _text_of_array(value: np.ndarray | Tensor) -> str:
    """Shape and a hash of an array. The floats of a small one are rounded, as numbers are."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    is_rounded = value.dtype.kind == "f" and value.size <= 10_000
    content = [f"{one:.6g}" for one in value.ravel().tolist()] if is_rounded else value.tobytes()
    return f"{value.dtype} {value.shape} {short_hash(content)}"


def _text_of_function(function: types.FunctionType, inner: Callable[[object], str]) -> str:
    """The function's name, its defaults, and the values that it keeps from the function that made it.

    Of an object among these that cannot be called, or may grow, only the class counts: as the flags of a run.
    """
    own = [cell.cell_contents for cell in function.__closure__ or () if not _is_empty(cell)]
    held = [value if isinstance(value, PLAIN) or callable(value) else type(value) for value in own]
    name, is_kits = function.__qualname__, function.__module__.startswith("kit.")
    if is_kits:  # a script has two names: __main__ when it runs, its own when it is imported
        name = f"{function.__module__}.{name}"
    else:
        held += [*(function.__defaults__ or ()), *filter(None, [function.__kwdefaults__])]
    return name + (f"({', '.join(map(inner, held))})" if held else "")


def _text_of_object(value: object, inner: Callable[[object], str]) -> str:
    """The class and the values of a loss or another object; of a network with weights, only the class."""
    name = type(value).__qualname__
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, nn.Module):
        if next(value.parameters(), None) is not None:
            return name
        text = f"{network_text(value)} {inner(dict(value.named_buffers()))}"
    elif type(value).__repr__ is object.__repr__:
        held = _held(value)
        if isinstance(ids := held.pop("ids", None), list):  # of samples: as an array, which may differ between folds
            name = f"{name} ids ({len(ids)},) {short_hash(inner(ids))}"
        text = inner(held)
    else:
        return _shown(value, name)
    return f"{name} {short_hash(text)}"


def _held(value: object) -> dict[str, object]:
    """The values and functions that an object holds, by name."""
    found, kinds = getattr(value, "__dict__", {}), PLAIN if callable(value) else PLAIN + GROWING
    return {
        name: one
        for name, one in found.items()
        if not name.startswith("_") and name != "training" and (isinstance(one, kinds) or callable(one))
    }


def _built(part: nn.Module) -> dict[str, object]:
    """The values that a module of a network holds, but for those about its first weights."""
    about = BEGUN_WITH if vars(part).keys() >= BEGUN_WITH else set()
    return {name: value for name, value in _held(part).items() if name not in about}


def _shown(value: object, name: str) -> str:
    """The repr of an object, without places in memory; a hash of a long one."""
    try:
        text = re.sub(" at 0x[0-9a-f]+", "", repr(value))
    except Exception:  # whatever an object of the user's own raises
        return name
    return text if len(text) <= LONG else f"{name} {short_hash(text)}"


def _is_empty(cell: types.CellType) -> bool:
    """Whether a name around a function has no value yet."""
    try:
        return cell.cell_contents is cell
    except ValueError:
        return True
