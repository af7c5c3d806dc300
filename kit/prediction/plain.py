"""Values and functions as plain JSON, and back: how the call that makes a network is kept.

12, "a", None, True      themselves                      [1, 2]   a tuple
{"list": [1, 2]}, {"set": …}, {"dict": {"a": 1}}          collections; {"dict": [[1, 2]]} of keys that are no text
{"path": "a/b"}, {"float": "nan"}, {"dtype": "float32"}, {"device": "cuda:0"}, {"array": [...], "dtype": …}
{"name": "kit.models.unet:UNet"}                          a class, function or module by where it is found
{"object": {"name": …}, "fields": {…}}                    an instance of a dataclass, or of a class without __init__
{"dataset": {"name": …, "classes": …}}                    a data set, without its files
{"function": "lambda: network(config)", "of": "__main__", "cells": {…}}
{"partial": …, "arguments": […], "keywords": {…}}
{"lacking": "a Tokenizer"}                                a value that cannot be kept; using it raises LackingValue
"""

import builtins
import dataclasses
import enum
import functools
import importlib
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kit.data.dataset import Dataset
from kit.data.identity import source_text
from kit.prediction.script import global_names, made, source_of

DEPTH = 12  # of values inside values; a function that holds itself would have no end
LARGEST = 10_000  # numbers of an array that is kept
OF_DATASET = ("name", "classes", "channels", "num_classes", "task", "dtype", "mean", "std", "drawn", "foreground")


class LackingValue(ValueError):
    """A value is used that could not be kept."""


class Lacking:
    """Stands for a value that could not be kept; what: a description of it."""

    def __init__(self, what: str) -> None:
        object.__setattr__(self, "_what", what)

    def _raise(self, *_: object) -> None:
        raise LackingValue(object.__getattribute__(self, "_what"))

    __getattr__ = __call__ = __iter__ = __next__ = __len__ = __getitem__ = __bool__ = __index__ = __float__ = __eq__ = (
        _raise
    )
    __hash__ = None


class StandIn(Dataset):
    """A data set that has no files: what it says of itself, for code that makes a network after it."""

    def __init__(self, facts: dict[str, object]) -> None:
        self.ids = []
        vars(self).update(facts)


class Encoder:
    """Turns values into JSON. needed: the names of the script's top level that they refer to."""

    def __init__(self) -> None:
        self.needed: set[str] = set()

    def __call__(self, value: object, depth: int = 0) -> object:
        """The value as JSON, see above."""
        if depth > DEPTH:
            return {"lacking": _described(value)}
        inner = functools.partial(self.__call__, depth=depth + 1)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
            return value
        if type(value) is float:
            return {"float": str(value)}
        if isinstance(value, Path):
            return {"path": str(value)}
        if (found := _collection(value, inner)) is not None:
            return found
        if isinstance(value, torch.dtype | torch.device):
            return {type(value).__name__: str(value).removeprefix("torch.")}
        if isinstance(value, np.ndarray | Tensor):
            return _array(value)
        return self._object(value, inner)

    def _object(self, value: object, inner: Callable[[object], object]) -> object:
        if isinstance(value, functools.partial):
            parts = {"partial": value.func, "arguments": value.args}
            return {name: inner(part) for name, part in parts.items()} | {"keywords": _each(value.keywords, inner)}
        if (name := name_of(value)) is not None:
            return self._named(name)
        if isinstance(value, types.FunctionType):
            return self._function(value, inner)
        if isinstance(value, types.MethodType):
            return {"method": value.__name__, "of": inner(value.__self__)}
        if isinstance(value, Dataset):
            facts = {name: inner(getattr(value, name)) for name in OF_DATASET if hasattr(value, name)}
            return {"dataset": {name: fact for name, fact in facts.items() if not is_lacking(fact)}}
        if (fields := _fields_of(value)) is not None and (name := name_of(type(value))) is not None:
            return {"object": self._named(name), "fields": _each(fields, inner)}
        return {"lacking": _described(value)}

    def _function(self, function: types.FunctionType, inner: Callable[[object], object]) -> object:
        """A function that is made inside another one, or a lambda: its source and the values that it holds."""
        text = text_of(function.__module__)
        source = None if text is None else source_of(function, text)
        if source is None:
            return {"lacking": _described(function)}
        held = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        cells = {name: content for name, cell in held if (content := _content(cell)) is not function}
        own = {
            name: None for name in function.__code__.co_freevars if name not in cells
        }  # a function that calls itself
        found = {"function": source, "of": function.__module__, "cells": _each(cells | own, inner)}
        self.note(found)
        if function.__defaults__:
            found["defaults"] = inner(function.__defaults__)
        if function.__kwdefaults__:
            found["keywords"] = _each(function.__kwdefaults__, inner)
        return found

    def _named(self, name: str) -> dict[str, str]:
        self.note({"name": name})
        return {"name": name}

    def note(self, value: dict) -> None:
        """Add the names that a class, or the source of a function, needs of the script."""
        if str(value.get("name")).startswith("__main__:"):
            self.needed.add(value["name"].removeprefix("__main__:").partition(".")[0])
        if "function" in value and value.get("of") == "__main__":
            self.needed |= global_names(made(value["function"], value["cells"], {}).__code__)


class Decoder:
    """Turns JSON back into values. modules(name): the module of that name; "__main__" is the saved script."""

    def __init__(self, modules: Callable[[str], types.ModuleType] = importlib.import_module) -> None:
        self.modules = modules

    def __call__(self, value: object) -> object:
        """The value. Raises ValueError for what no Encoder writes, and as importing does."""
        if isinstance(value, list):
            return tuple(map(self, value))
        if not isinstance(value, dict):
            return value
        for kind, make in self._makers().items():
            if kind in value:
                return make(value)
        raise ValueError(f"{value!r:.80} is no value that kit has written")

    def _makers(self) -> dict[str, Callable[[dict], object]]:
        """How each kind of dictionary becomes a value; the first kind that it has counts."""
        return {
            "lacking": lambda v: Lacking(v["lacking"]),
            "function": self._function,
            "partial": self._partial,
            "method": lambda v: getattr(self(v["of"]), v["method"]),
            "object": self._instance,
            "dataset": lambda v: StandIn(self._all(v["dataset"])),
            "name": lambda v: self._named(v["name"]),
            "array": _array_of,
            "list": lambda v: [self(one) for one in v["list"]],
            "set": lambda v: {self(one) for one in v["set"]},
            "frozenset": lambda v: frozenset(self(one) for one in v["frozenset"]),
            "dict": lambda v: self._dict(v["dict"]),
            "path": lambda v: Path(v["path"]),
            "float": lambda v: float(v["float"]),
            "dtype": lambda v: getattr(torch, v["dtype"]),
            "device": lambda v: _device(v["device"]),
        }

    def _all(self, values: dict[str, object]) -> dict[str, object]:
        return {name: self(one) for name, one in values.items()}

    def _dict(self, value: dict | list) -> dict:
        return self._all(value) if isinstance(value, dict) else {self(key): self(one) for key, one in value}

    def _named(self, name: str) -> object:
        module, _, path = name.partition(":")
        found = self.modules(module)
        return functools.reduce(getattr, path.split("."), found) if path else found

    def _partial(self, value: dict) -> functools.partial:
        return functools.partial(self(value["partial"]), *self(value["arguments"]), **self._all(value["keywords"]))

    def _instance(self, value: dict) -> object:
        """An instance without its __init__: that may look for files that are not here."""
        cls = self(value["object"])
        instance = cls.__new__(cls)
        if not dataclasses.is_dataclass(cls):
            vars(instance).update(self._all(value["fields"]))
            return instance
        for field in dataclasses.fields(cls):  # one that the class has got since has its default
            if field.name in value["fields"]:
                object.__setattr__(instance, field.name, self(value["fields"][field.name]))
            elif field.default_factory is not dataclasses.MISSING:
                object.__setattr__(instance, field.name, field.default_factory())
            elif field.default is not dataclasses.MISSING:
                object.__setattr__(instance, field.name, field.default)
        return instance

    def _function(self, value: dict) -> types.FunctionType:
        function = made(value["function"], self._all(value["cells"]), vars(self.modules(value["of"])))
        function.__module__ = vars(self.modules(value["of"]))["__name__"]
        function.__defaults__ = self(value["defaults"]) if "defaults" in value else None
        function.__kwdefaults__ = self._all(value["keywords"]) if "keywords" in value else None
        return function


def is_lacking(value: object, inside: bool = False) -> bool:
    """Whether JSON stands for a value that could not be kept; inside: or holds one in a collection."""
    if isinstance(value, list):
        return inside and any(is_lacking(one, inside) for one in value)
    if not isinstance(value, dict):
        return False
    collections = [value[kind] for kind in ("list", "set", "frozenset", "dict") if kind in value]
    parts = [part for one in collections for part in (one.values() if isinstance(one, dict) else one)]
    return "lacking" in value or (inside and is_lacking(parts, inside))


def name_of(value: object) -> str | None:
    """ "module:Name" of a module, class or function that is found by it; None where it is not."""
    if isinstance(value, types.ModuleType):
        return f"{value.__name__}:" if sys.modules.get(value.__name__) is value else None
    if isinstance(value, enum.Enum):
        module, path = type(value).__module__, f"{type(value).__qualname__}.{value.name}"
    else:
        module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        module = builtins.__name__ if module is None and isinstance(value, types.BuiltinFunctionType) else module
    if not isinstance(module, str) or not isinstance(path, str) or module not in sys.modules:
        return None
    try:
        found = functools.reduce(getattr, path.split("."), sys.modules[module])
    except AttributeError:
        return None
    return f"{module}:{path}" if found is value else None


def text_of(module: str) -> str | None:
    """The source of a loaded module; None where it has no file, as in a notebook."""
    file = getattr(sys.modules.get(module), "__file__", None)
    try:
        return source_text(Path(file)) if file else None
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _collection(value: object, inner: Callable[[object], object]) -> object | None:
    """A tuple, list, set or dictionary as JSON; None for anything else."""
    kind = type(value).__name__
    if type(value) in (tuple, torch.Size):
        return [inner(one) for one in value]
    if type(value) is list:
        return {kind: [inner(one) for one in value]}
    if type(value) in (set, frozenset):
        return {kind: sorted((inner(one) for one in value), key=repr)}
    if type(value) is dict and all(type(key) is str for key in value):
        return {kind: _each(value, inner)}
    return {kind: [[inner(key), inner(one)] for key, one in value.items()]} if type(value) is dict else None


def _fields_of(value: object) -> dict[str, object] | None:
    """The fields of an instance that its class does not make in an own way; None of any other value."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    made = type(value).__init__, type(value).__new__
    return dict(vars(value)) if made == (object.__init__, object.__new__) and hasattr(value, "__dict__") else None


def _each(values: dict[str, object], inner: Callable[[object], object]) -> dict[str, object]:
    """Values by name; one that cannot be kept is described with its name."""
    found = {name: inner(value) for name, value in values.items()}
    return {name: {"lacking": f"{name}, {one['lacking']}"} if is_lacking(one) else one for name, one in found.items()}


def _array(value: np.ndarray | Tensor) -> object:
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    if array.size > LARGEST or array.dtype.kind not in "biuf":
        return {"lacking": f"an array of {array.dtype} {array.shape}"}
    numbers = [inner if math.isfinite(inner) else str(inner) for inner in array.ravel().tolist()]
    return {
        "array": numbers,
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "tensor": isinstance(value, Tensor),
    }


def _array_of(value: dict) -> np.ndarray | Tensor:
    array = np.array(list(map(float, value["array"])) if value["dtype"][0] == "f" else value["array"], value["dtype"])
    array = array.reshape(value["shape"])
    return torch.from_numpy(array) if value["tensor"] else array


def _device(name: str) -> torch.device:
    """The device of that name; the CPU where this machine lacks it."""
    kind, _, number = name.partition(":")
    there = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}.get(kind, 1)
    return torch.device(name if int(number or 0) < there else "cpu")


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _described(value: object) -> str:
    name = getattr(value, "__qualname__", None)
    kind = type(value).__qualname__
    article = "an" if kind[0] in "AEIOUaeiou" else "a"
    return f"{kind} {name}" if name else f"{article} {kind}"
