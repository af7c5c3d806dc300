"""Where a number comes from, in plain values: the command, versions, commit and hardware."""

import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

import kit
from kit.data.identity import own_sources, plain_source, source_text
from kit.system.files import short_hash


def origin(device: torch.device) -> dict:
    """Where this process's numbers come from: a hash of the recipe's code, the command, versions."""
    return {"recipe": recipe_code(), "command": command(), "versions": versions(device)}


def recipe_code() -> str:
    """A hash of the script and of the user's modules that it has imported, without comments, docstrings and layout.

    "unknown" in a notebook, whose cells may change unseen.
    """
    main = script()
    if main is None:
        return "unknown"
    sources = {**own_sources(), "__main__": source_text(main)}
    return short_hash([(name, _plain(source)) for name, source in sorted(sources.items())])


def script() -> Path | None:
    """The script that this process runs; None in a notebook."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    return Path(file) if file and Path(file).is_file() else None


def _plain(source: str) -> str:
    try:
        return plain_source(source)
    except (SyntaxError, ValueError):
        return source


def command() -> str:
    """The command line of this process."""
    return shlex.join([Path(sys.executable).name, *sys.argv])


def versions(device: torch.device) -> dict[str, str]:
    """Versions, commit and hardware: a number depends on them besides the configuration."""
    names = [
        "torch",
        "torchvision",
        "segmentation-models-pytorch",
        "timm",
        "albumentations",
        "numpy",
        "opencv-python-headless",
    ]
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "kit": kit.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        **{name: _version(name) for name in names},
        "device": f"{gpu}, {os.cpu_count()} cores",
        "processes": os.environ.get("WORLD_SIZE", "1"),
    }


def merged(origins: Sequence[dict[str, str]]) -> dict[str, str]:
    """One table of several of the same keys, with all the values where they differ."""
    return {key: " and ".join(dict.fromkeys(one.get(key, "unknown") for one in origins)) for key in origins[-1]}


@functools.cache  # what this process has loaded stays, whatever is installed meanwhile
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # it may be installed under another name, as opencv-python
        return "unknown"


def commit() -> str:
    """The commit of kit's own checkout, with a + when files differ from it; "unknown" outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # else the commit could be that of a project around an installed kit
        return "unknown"
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
