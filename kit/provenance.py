"""What a number depends on, in plain values: the configuration, the command, versions, commit and hardware."""

import dataclasses
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch


def plain(config: object) -> dict:
    """A recipe's Config as JSON holds it: paths as text, tuples as lists."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def command() -> str:
    """The command line of this process."""
    return shlex.join([Path(sys.executable).name, *sys.argv])


def versions(device: torch.device) -> dict[str, str]:
    """What a number depends on besides the configuration: versions, commit, hardware."""
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
    found = {name: importlib.metadata.version(name) for name in names}
    return {
        "commit": commit(),
        "python": platform.python_version(),
        **found,
        "device": f"{gpu}, {os.cpu_count()} cores",
        "processes": os.environ.get("WORLD_SIZE", "1"),
    }


def commit() -> str:
    """The commit of kit's own checkout, with a + when files differ from it; "unknown" outside a checkout."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():  # else the commit could be that of a project around an installed kit
        return "unknown"
    git = ["git", "-C", str(root), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
