"""The bundle: a folder that predicts on a machine without internet.

DIR/predict.py                    checks the files, installs kit where this one is lacking, predicts
DIR/predict.ipynb                 the same as a notebook
DIR/manifest.json                 size and SHA-256 of each file
DIR/runs/<run>/                   predictor.json, code, weights: what `python -m kit predict` needs
DIR/wheels/                       kit, and what else the other machine lacks
DIR/dataset-metadata.json, kernel-metadata.json
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Literal

import kit
from kit.bundle import script
from kit.bundle.kaggle import Place, write_files
from kit.bundle.weights import copy_run
from kit.bundle.wheels import PLATFORMS, PYTHON, download, write_kit_wheel
from kit.prediction.saved import ADVICE, SavedRun, read_ruled, wanted_folds
from kit.system.files import counted, list_some, sync_folder


@dataclass(frozen=True)
class Bundle:
    """What is bundled. run: the run folder. folds: all that are finished, or some. out: a folder that is not there yet.

    lacks: the packages that are fetched as wheels for python on platforms; () for none. place: for Kaggle.
    """

    run: Path
    out: Path
    place: Place
    folds: Literal["all", "full"] | Sequence[int] = "all"
    lacks: Sequence[str] = ()
    python: str = PYTHON
    platforms: Sequence[str] = PLATFORMS


def bundle(wanted: Bundle) -> None:
    """Write the bundle, whole or not at all, and print what is in it.

    It executes the code of the run, to see that each network can be made. Raises ValueError or OSError where the run
    cannot be bundled or `out` exists.
    """
    if wanted.out.exists():
        raise FileExistsError(f"{wanted.out} exists: give the bundle a new folder, or remove that one")
    saved = read_ruled(wanted.run)
    _check(wanted.run, saved)
    folds = wanted_folds(wanted.run, wanted.folds, saved)
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{wanted.out.name}.partial-", dir=wanted.out.parent))
    try:
        for line in _fill(partial, wanted, saved, folds):
            print(line, flush=True)
        partial.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        _sync(partial)
        partial.rename(wanted.out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(wanted.out.parent)
    sizes = [file.stat().st_size for file in wanted.out.rglob("*") if file.is_file()]
    print(f"{wanted.out}: {counted(len(sizes), 'file')}, {sum(sizes) / 1e6:.1f} MB")


def _check(run: Path, saved: SavedRun) -> None:
    """Raise ValueError where a bundle of the run could not predict."""
    if saved.network is None:
        raise ValueError(f"{run} does not say how its network is made: {saved.problem}. {ADVICE}")


def _fill(folder: Path, wanted: Bundle, saved: SavedRun, folds: Sequence[int]) -> list[str]:
    """Write all files. Returns lines on them."""
    wheels, run = folder / "wheels", folder / "runs" / wanted.place.name
    wheels.mkdir()
    lines = copy_run(wanted.run, saved, folds, run)
    write_kit_wheel(wheels)
    if wanted.lacks:
        found = [path.name for path in download(wheels, wanted.lacks, wanted.python, wanted.platforms)]
        lines.append(f"wheels for Python {wanted.python}:{list_some(found)}")
    if saved.reads != "files":
        lines.append(f"note: images are decoded as they are; the run's data set read them by {saved.reads}.read_image")
    shutil.copyfile(script.__file__, folder / "predict.py")
    write_files(folder, wanted.place)
    manifest = {
        "format": 1,
        "kit": kit.__version__,
        "sources": script.digest_of(Path(kit.__file__).parent),  # predict.py runs no other kit
        "python": wanted.python if wanted.lacks else "3.11 or newer",
        "runs": {wanted.place.name: _facts(run)},  # predict.py takes one; a blend of several would be described here
        "wheels": _facts(wheels),
    }
    (folder / script.MANIFEST).write_text(dumps(manifest, indent=1) + "\n")
    return lines


def _facts(folder: Path) -> dict[str, dict[str, object]]:
    """Size and SHA-256 of the files below a folder, by their paths in it."""
    facts = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        facts[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": found}
    return facts


def _sync(folder: Path) -> None:
    """Flush all files to the disk, so that a power cut after the rename leaves no empty ones."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
