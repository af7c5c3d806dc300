"""Reads weight files that other people's code writes, without running anything, and fits them to a network by name.

The file is safetensors or torch's (.pth, .pt, .ckpt, .bin), which is read with weights_only. It may come from
    torchvision, timm, segmentation-models-pytorch (smp)   the state dict of a network or of an encoder
    smp, kit                                               a whole network ("encoder.", "net.encoder.")
    Lightning                                              "state_dict", with the name of an attribute before each name
    timm's training script, and others                     "state_dict", "model", "model_state_dict" ...
    averaged weights                                       "model_ema", "ema", "state_dict_ema" ...: preferred
    DataParallel, DistributedDataParallel, torch.compile   "module.", "_orig_mod." before each name

The names of the network and of the file are compared without their common beginnings, and with "_" for ".", because
timm flattens "stages.0" to "stages_0" where it returns features. All tensors of the network must be found, in the same
shape. Other parts of the file, for example a classifier or a decoder, are ignored, and a line says so. But further
tensors of the network's own parts are refused: the file then belongs to a deeper network, as resnet34 to resnet18.
"""

import argparse
import pathlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema")
WRAPPERS = (*AVERAGED, "state_dict", "model_state_dict", "model_state", "model", "net", "network", "params", "weights")
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")  # torchvision's old files: norm.1 for norm1
PATHS = ("pathlib", "pathlib._local")  # of Python until 3.12 and from 3.13
COMPUTED = ("num_batches_tracked", "relative_position_index", "attn_mask")  # no weights: a network makes them itself
# the classes of a training script's settings and scores; making one of these runs nothing
PLAIN = [
    argparse.Namespace,
    *((pathlib.PurePosixPath, f"{module}.{name}") for module in PATHS for name in ("PosixPath", "PurePosixPath")),
    *((pathlib.PureWindowsPath, f"{module}.{name}") for module in PATHS for name in ("WindowsPath", "PureWindowsPath")),
    *((np._core.multiarray.scalar, f"numpy.{module}.multiarray.scalar") for module in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(name)) for name in ("f4", "f8", "i4", "i8", "bool")),
]


class WeightFile(NamedTuple):
    """The tensors of a file by name, the kind of file in words, and the key in it that leads to the tensors."""

    path: Path
    kind: str
    key: str
    tensors: dict[str, Tensor]

    def __str__(self) -> str:
        """The first sentence of every message about the file, without a full stop."""
        first = [f"{name} {tuple(value.shape)}" for name, value in list(self.tensors.items())[:3]]
        key = f", read at {self.key!r}," if self.key else ""
        return f"{self.path} is {self.kind}{key} of {len(self.tensors)} tensors; the first are {', '.join(first)}"


class Fit(NamedTuple):
    """How the tensors of a file fit a network."""

    names: dict[str, str]  # name in the network -> name in the file
    missing: list[str]  # names in the network
    shapes: list[str]  # in words
    deeper: list[str]  # names in the file, of parts that the network has too
    others: list[str]  # names in the file, of other parts


def read_weights(path: Path) -> WeightFile:
    """The tensors of a file, which may be a checkpoint that holds them further in. Nothing in the file is run.

    Raises FileNotFoundError, or ValueError that says what the file is.
    """
    if not path.is_file():
        raise FileNotFoundError(f"encoder weights {path}: no such file; expected 'imagenet', 'none' or a file")
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":  # eight bytes of a length, then JSON
        content, metadata = _read_safetensors(path)
        kind = "a file of kit's weights" if "kit" in metadata else "a safetensors file"
    else:
        content = _read_torch(path, head)
        kind = _kind(content)
    keys, tensors = _find_tensors(content)
    if not tensors:
        raise ValueError(f"{path} is {kind} and holds no named tensors; expected a state dict of the network")
    return WeightFile(path, kind, ".".join(keys), tensors)


def fit(wanted: Mapping[str, Tensor], file: WeightFile, whole: set[str] = frozenset()) -> Fit:
    """Find each tensor of `wanted`, a network's state dict, in the file.

    whole: names of the network before it was cut down to an encoder; the file may hold these too.
    Raises ValueError if two parts of the file fit equally well.
    """
    found = {_flat(name): name for name in file.tensors}
    tries = {}
    for inner, outer in _leads(wanted, found):
        names = {name: found[flat] for name in wanted if (flat := outer + _flat(name)[len(inner) :]) in found}
        tries.setdefault(tuple(names.values()), (inner, outer, names))
    if not tries:
        return Fit({}, list(wanted), [], [], list(file.tensors))
    most = max(len(values) for values in tries)
    best = [values for values in tries if len(values) == most]
    inner, outer, names = tries[best[0]]
    missing = [name for name in wanted if name not in names and not name.endswith(COMPUTED)]
    if len(best) > 1 and not missing:
        first = " and ".join(values[0] for values in best)
        raise ValueError(f"{file}. It holds {len(best)} networks that fit ({first}): keep one of them")
    deeper, others = _rest(set(file.tensors) - set(names.values()), (inner, outer), wanted, whole)
    shapes = [
        f"{theirs} {tuple(file.tensors[theirs].shape)} for {tuple(wanted[ours].shape)}"
        for ours, theirs in names.items()
        if adapt(file.tensors[theirs], wanted[ours]).shape != wanted[ours].shape
    ]
    return Fit(names, missing, shapes, deeper, others)


def adapt(tensor: Tensor, wanted: Tensor) -> Tensor:
    """The weights of a first convolution for 3 channels, made to fit `wanted`'s number of channels; others unchanged.

    As timm and smp do it. 1 channel: the sum over the three, so an image of one channel gives what its repetition as
    RGB gives. C channels: those of the three in turn, times 3 / C, so the sums keep their size.
    """
    if tensor.ndim != 4 or wanted.ndim != 4 or tensor.shape[1] != 3 or wanted.shape[1] == 3:
        return tensor
    channels = wanted.shape[1]
    if channels == 1:
        return tensor.float().sum(dim=1, keepdim=True).to(tensor.dtype)
    return (tensor.float()[:, torch.arange(channels) % 3] * (3 / channels)).to(tensor.dtype)


def _read_safetensors(path: Path) -> tuple[dict, dict]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return safetensors.torch.load_file(path), metadata
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is a safetensors file, but damaged or cut short ({error})") from error


def _read_torch(path: Path, head: bytes) -> object:
    """The content of torch.save: tensors, plain values, and the settings of training scripts (PLAIN)."""
    if not head.startswith((b"PK", b"\x80")):
        shown = head.decode("latin-1").strip() or "nothing"
        raise ValueError(f"{path} is neither a safetensors file nor one of torch: it begins with {shown!r}")
    try:
        with torch.serialization.safe_globals(PLAIN):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file torch raises whatever it stumbles on, a dozen types
        told = str(error)
        if wanted := re.search(r"GLOBAL (\S+)", told):
            why = (
                f"a file of torch that holds Python objects ({wanted[1]}), which kit does not run. Load it where it "
                "was made and save the tensors alone: torch.save(model.state_dict(), FILE)"
            )
        elif "TorchScript" in told:
            why = "a TorchScript archive. Save the tensors alone: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
        else:
            why = f"damaged or cut short ({told.partition(chr(10))[0]:.200})"
        raise ValueError(f"{path} is {why}") from error


def _kind(content: object) -> str:
    """The kind of a file of torch, in words."""
    if not isinstance(content, Mapping):
        return f"a file of torch with a {type(content).__name__} in it"
    if "pytorch-lightning_version" in content:
        return f"a Lightning checkpoint (version {content['pytorch-lightning_version']})"
    if {"model", "optimizer", "scaler"} <= content.keys():
        return "a checkpoint of training"
    if isinstance(content.get("arch"), str):
        return f"a checkpoint of the architecture {content['arch']!r}"
    if any(isinstance(value, Tensor) for value in content.values()):
        return "a state dict"
    return f"a dictionary with the entries {', '.join(map(repr, list(content)[:6])) or 'none'}"


def _find_tensors(content: object) -> tuple[list[str], dict[str, Tensor]]:
    """The keys that lead to the named tensors, and these. Averaged weights come before others."""
    if not isinstance(content, Mapping):
        return [], {}
    known = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
    unknown = [key for key, value in content.items() if isinstance(value, Mapping) and key not in WRAPPERS]
    named = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    tries = known if len(named) > 1 else [*known, *(key for key in unknown if "optim" not in str(key))]
    for key in tries:
        keys, tensors = _find_tensors(content[key])
        if tensors:
            return [str(key), *keys], tensors
    return [], {DENSENET.sub(r"\1", name): value for name, value in named.items()}


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _leads(wanted: Mapping[str, Tensor], found: Mapping[str, str]) -> list[tuple[str, str]]:
    """Possible beginnings of names: pairs of one that all names of the network share, and one in the file.

    One tensor of the network, the first with two dimensions or more, finds those in the file.
    """
    names, inners = list(wanted), [""]
    for part in names[0].split(".")[:-1]:
        inner = f"{inners[-1]}{part}."
        if not all(name.startswith(inner) for name in names):
            break
        inners.append(inner)
    anchor = next((name for name, value in wanted.items() if value.ndim > 1), names[0])
    leads = []
    for inner in inners:
        end = _flat(anchor[len(inner) :])
        leads += [(_flat(inner), flat[: -len(end)]) for flat in found if flat == end or flat.endswith("_" + end)]
    return leads


def _rest(
    names: set[str], lead: tuple[str, str], wanted: Mapping[str, Tensor], whole: set[str]
) -> tuple[list[str], list[str]]:
    """The names of a file that the network does not use: those of the network's own parts, and the others."""
    inner, outer = lead
    parts = {_flat(name)[len(inner) :] for name in wanted}
    whole = {_flat(name) for name in whole}
    deeper, others = [], []
    for name in sorted(names):
        rest = name[len(outer) :] if _flat(name).startswith(outer) else None
        own = rest is not None and any(part.startswith(_flat(rest.partition(".")[0]) + "_") for part in parts)
        if own and _flat(rest) not in whole and not name.endswith(COMPUTED):
            deeper.append(name)
        else:
            others.append(name)
    return deeper, others
