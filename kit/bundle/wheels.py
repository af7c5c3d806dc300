"""Wheels for a machine without internet: kit's own, written from the code that runs now, and those of other packages.

kit's wheel is written here and not by pip: it then comes from a clone and from an installed kit alike, needs no build
tool, and the same code gives the same bytes.
"""

import base64
import configparser
import hashlib
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import kit
from kit.bundle.script import source_files

# Kaggle's image has torch, torchvision, timm, numpy, OpenCV, numba, albumentations, … but not these.
LACKS = ("segmentation-models-pytorch", "simplejpeg", "tyro", "docstring-parser", "typeguard")
PYTHON = "3.12"
# pip takes names of platforms literally: those of older systems must be listed too
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
SINCE = (1980, 1, 1, 0, 0, 0)  # of every file: a date would make another wheel of the same code


def write_kit_wheel(folder: Path) -> Path:
    """Write kit's wheel into `folder`; returns its path."""
    version = kit.__version__
    path, info = folder / f"kit-{version}-py3-none-any.whl", f"kit-{version}.dist-info"
    files = {name: file.read_bytes() for name, file in _own_files()}
    needs = "".join(f"Requires-Dist: {one}\n" for one in requirements())
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: kit\nVersion: {version}\n{needs}".encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: kit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    if (found := _licence()) is not None:
        files[f"{info}/LICENSE"] = found.read_bytes()
    record = "".join(f"{name},sha256={_hash(content)},{len(content)}\n" for name, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, SINCE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return path


def requirements() -> list[str]:
    """The packages that kit needs, as "numpy >= 2.0": of the clone's setup.cfg, else of the installed package."""
    config = Path(kit.__file__).parents[1] / "setup.cfg"
    if config.is_file():
        read = configparser.ConfigParser(comment_prefixes=("#",), interpolation=None)
        read.read(config, encoding="utf-8")
        return [line.strip() for line in read["options"]["install_requires"].splitlines() if line.strip()]
    try:
        return [one for one in importlib.metadata.requires("kit") or [] if "extra ==" not in one]
    except importlib.metadata.PackageNotFoundError:  # kit was copied, or is on PYTHONPATH
        return []


def lacking(also: Sequence[str] = ()) -> tuple[str, ...]:
    """The packages that Kaggle lacks, and `also`: names or requirements, which come in the place of the same name."""
    own = {_plain(one) for one in also}
    return (*(name for name in LACKS if name not in own), *also)


def download(folder: Path, lacks: Sequence[str], python: str, platforms: Sequence[str]) -> list[Path]:
    """Fetch the wheels of packages that the other machine lacks, without what these need in turn.

    lacks: names, or requirements as "tyro==1.0.3"; a plain name gets the versions that kit needs. python: as "3.12".
    Raises ValueError with pip's message where one cannot be fetched.
    """
    own = {_plain(one): one for one in requirements()}
    wanted = [own.get(name, name) if name == _plain(name) else name for name in lacks]
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--dest", str(folder)]
    command += [part for name in platforms for part in ("--platform", name)]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(
            f"pip could not fetch {', '.join(wanted)} for Python {python} on {', '.join(platforms)}:\n"
            f"{(done.stderr or done.stdout).strip()[-1500:]}"
        )
    return sorted({*folder.glob("*.whl")} - before)


def _own_files() -> Iterator[tuple[str, Path]]:
    """The files of the package by their names in the wheel."""
    root = Path(kit.__file__).parent
    for name, file in source_files(root):
        yield f"{root.name}/{name}", file


def _licence() -> Path | None:
    root = Path(kit.__file__).parents[1]
    places = [root / "LICENSE", *root.glob("kit-*.dist-info/**/LICENSE")]
    return next((path for path in places if path.is_file()), None)


def _plain(requirement: str) -> str:
    """The name of a package in small letters with dashes, without its versions."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]*", requirement)[0]).lower()


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
