"""Where a number comes from, in plain values: the command, versions, commit and hardware."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from kit.data.identity import plain_source
from kit.system.files import short_hash


def origin(device: torch.device) -> dict:
    """Where this process's numbers come from: a hash of its script's code, which may be edited, the command, versions.

    Comments, docstrings and layout of the script do not count.
    """
    return {"recipe": _code_of(Path(sys.argv[0])), "command": command(), "versions": versions(device)}


def _code_of(script: Path) -> str:
    """A hash of the code of a script; "unknown" where there is none, as in a notebook."""
    try:
        return short_hash(plain_source(script.read_text()))
    except (OSError, SyntaxError, ValueError):
        return "unknown"


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
        "commit": commit(),
        "python": platform.python_version(),
        **{name: _version(name) for name in names},
        "device": f"{gpu}, {os.cpu_count()} cores",
        "processes": os.environ.get("WORLD_SIZE", "1"),
    }


def merged(origins: Sequence[dict[str, str]]) -> dict[str, str]:
    """One table of several of the same keys, with all the values where they differ."""
    return {key: " and ".join(dict.fromkeys(one.get(key, "unknown") for one in origins)) for key in origins[-1]}


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
