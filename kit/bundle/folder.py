"""The bundle: a folder that predicts on a machine without internet.

DIR/predict.py                    checks the files, installs kit where this one is lacking, predicts
DIR/predict.ipynb                 the same as a notebook
DIR/manifest.json                 size and SHA-256 of each file
DIR/runs/<run>/                   predictor.json, code, weights: what `python -m kit predict` needs
DIR/blend.json                    of a blend: the weights of its runs, and its rule
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
from kit.prediction.saved_blend import SavedBlend, facts_of, is_blend, read_blend
from kit.system.files import counted, list_some, sync_folder
from kit.system.run_folder import Fold


@dataclass(frozen=True)
class Bundle:
    """What is bundled. run: the run folder, or the JSON of a blend, whose runs are all bundled.

    folds: all that are finished, or some. out: a folder that is not there yet. may_halve: round weights where that was
    measured to cost nothing.
    lacks: the packages that are fetched as wheels for python on platforms; () for none. place: for Kaggle.
    """

    run: Path
    out: Path
    place: Place
    folds: Literal["all", "full"] | Sequence[int] = "all"
    lacks: Sequence[str] = ()
    python: str = PYTHON
    platforms: Sequence[str] = PLATFORMS
    may_halve: bool = True


def bundle(wanted: Bundle) -> None:
    """Write the bundle, whole or not at all, and print what is in it.

    It executes the code of the run, to see that each network can be made. Raises ValueError or OSError where the run
    cannot be bundled or `out` exists.
    """
    if wanted.out.exists():
        raise FileExistsError(f"{wanted.out} exists: give the bundle a new folder, or remove that one")
    blend = read_blend(wanted.run).of_folds(wanted.folds) if is_blend(wanted.run) else None
    parts = _parts_of(blend) if blend else [_part_of(wanted)]
    for part in parts:
        _check(part.folder, part.saved)
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{wanted.out.name}.partial-", dir=wanted.out.parent))
    try:
        for line in _fill(partial, wanted, parts, blend):
            print(line, flush=True)
        partial.chmod(0o777 & ~_umask())  # mkdtemp makes it private
        _sync(partial)
        partial.rename(wanted.out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync_folder(wanted.out.parent)
    sizes = [file.stat().st_size for file in wanted.out.rglob("*") if file.is_file()]
    print(f"{wanted.out}: {counted(len(sizes), 'file')}, {sum(sizes) / 1e6:.1f} MB")


@dataclass(frozen=True)
class _Part:
    """One run of the bundle. name: its folder there."""

    name: str
    folder: Path
    saved: SavedRun
    folds: Sequence[Fold]


def _part_of(wanted: Bundle) -> _Part:
    saved = read_ruled(wanted.run)
    return _Part(wanted.place.name, wanted.run, saved, wanted_folds(wanted.run, wanted.folds, saved))


def _parts_of(blend: SavedBlend) -> list[_Part]:
    each = zip(blend.members, blend.runs, strict=True)
    return [_Part(one.name, one.folder, saved, one.folds) for one, saved in each]


def _check(run: Path, saved: SavedRun) -> None:
    """Raise ValueError where a bundle of the run could not predict."""
    if saved.network is None:
        raise ValueError(f"{run} does not say how its network is made: {saved.problem}. {ADVICE}")


def _fill(folder: Path, wanted: Bundle, parts: Sequence[_Part], blend: SavedBlend | None) -> list[str]:
    """Write all files. Returns lines on them."""
    wheels, lines = folder / "wheels", []
    wheels.mkdir()
    for part in parts:
        own = copy_run(part.folder, part.saved, part.folds, folder / "runs" / part.name, may_halve=wanted.may_halve)
        lines += [f"{part.name}, {line}" for line in own] if blend else own
    if blend:
        (folder / script.BLEND).write_text(dumps(facts_of(blend), indent=1) + "\n")
        lines.append(f"a blend of {', '.join(part.name for part in parts)}; rule: {blend.rule}")
    write_kit_wheel(wheels)
    if wanted.lacks:
        found = [path.name for path in download(wheels, wanted.lacks, wanted.python, wanted.platforms)]
        lines.append(f"wheels for Python {wanted.python}:{list_some(found)}")
    for reads in dict.fromkeys(part.saved.reads for part in parts if part.saved.reads != "files"):
        lines.append(f"note: images are decoded as they are; the run's data set read them by {reads}.read_image")
    shutil.copyfile(script.__file__, folder / "predict.py")
    write_files(folder, wanted.place)
    manifest = {
        "format": 1,
        "kit": kit.__version__,
        "sources": script.digest_of(Path(kit.__file__).parent),  # predict.py runs no other kit
        "python": wanted.python if wanted.lacks else "3.11 or newer",
        "runs": {part.name: _facts(folder / "runs" / part.name) for part in parts},
        "wheels": _facts(wheels),
    }
    if blend:
        manifest["blend"] = _fact(folder / script.BLEND)
    (folder / script.MANIFEST).write_text(dumps(manifest, indent=1) + "\n")
    return lines


def _facts(folder: Path) -> dict[str, dict[str, object]]:
    """Size and SHA-256 of the files below a folder, by their paths in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _fact(path) for path in paths}


def _fact(path: Path) -> dict[str, object]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


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
