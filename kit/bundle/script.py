"""Predict images with the run, or the blend of runs, in this folder. It needs no internet and writes nothing here.

    python predict.py --images DIR --out submission.csv --sample SAMPLE.csv --minutes 500

The arguments are those of `python -m kit predict` without the run folder. Every file is checked first. Where this kit
is not installed, or another one, the wheels in this folder are put into a new temporary folder and used from there; the
time for that counts in --minutes.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MANIFEST, BLEND = "manifest.json", "blend.json"


def locate(folder: Path, manifest: dict) -> tuple[dict[str, Path], list[str]]:
    """Where runs, wheels and the blend lie, by name, and what is wrong with the files; uploads may have moved them."""
    places, problems = {}, []
    for name, files in manifest["runs"].items():
        places[name] = home(folder, name, files)
        problems += [wrong for file, facts in files.items() if (wrong := fault(places[name] / file, facts))]
    for name, facts in manifest["wheels"].items():
        places[name] = find(folder, f"wheels/{name}", facts) or folder / "wheels" / name
        problems += filter(None, [fault(places[name], facts)])
    if "blend" in manifest:
        places[BLEND] = find(folder, BLEND, manifest["blend"]) or folder / BLEND
        problems += filter(None, [fault(places[BLEND], manifest["blend"])])
    return places, problems


def home(folder: Path, name: str, files: dict) -> Path:
    """The folder of a run; two runs may have the same predictor.json, so of those that were moved all files count."""
    usual = folder / "runs" / name
    if (usual / "predictor.json").is_file():
        return usual
    found = [one.parent for one in sorted(folder.rglob("predictor.json")) if not fault(one, files["predictor.json"])]
    whole = (one for one in found if not any(fault(one / file, facts) for file, facts in files.items()))
    return next(whole, found[0] if found else usual)


def what_to_predict(folder: Path, manifest: dict, places: dict[str, Path]) -> Path:
    """The run folder; of a blend its file, a temporary one where the runs lie elsewhere than it says."""
    if "blend" not in manifest:
        (run,) = manifest["runs"]
        return places[run]
    if all(places[name] == folder / "runs" / name for name in manifest["runs"]) and places[BLEND].parent == folder:
        return places[BLEND]
    facts = json.loads(places[BLEND].read_text())
    for run in facts["runs"]:
        run["folder"] = str(places[run["name"]].resolve())
    moved = Path(tempfile.mkdtemp(prefix="kit-")) / BLEND
    moved.write_text(json.dumps(facts))
    return moved


def find(folder: Path, path: str, facts: dict) -> Path | None:
    """The file at `path`, or one of its name elsewhere in the folder that has the right content; None without one."""
    if (folder / path).is_file():
        return folder / path
    return next((file for file in sorted(folder.rglob(Path(path).name)) if not fault(file, facts)), None)


def fault(path: Path, facts: dict) -> str:
    """What is wrong with a file; "" where its size and its SHA-256 are right."""
    if not path.is_file():
        return f"{path} is missing"
    if path.stat().st_size != facts["bytes"]:
        return f"{path} is cut short or another file: {path.stat().st_size} bytes of {facts['bytes']}"
    with path.open("rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"]
    return "" if same else f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}"


def source_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a package by their paths in its folder, without those that Python or an editor leaves there."""
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if file.is_file() and "__pycache__" not in parts and not file.name.startswith("."):
            yield "/".join(parts), file


def digest_of(folder: Path) -> str:
    """A hash of the paths and contents of a package's files."""
    found = hashlib.sha256()
    for name, file in source_files(folder):
        found.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def installed_kit() -> Path | None:
    """The folder of the kit that Python would import; None without one."""
    spec = importlib.util.find_spec("kit")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def wanted_wheels(manifest: dict) -> list[str]:
    """The names of the wheels to install: none where this kit is; beside another kit its packages are kept."""
    here = installed_kit()
    if here is None:
        return list(manifest["wheels"])
    if digest_of(here) == manifest["sources"]:
        return []
    print(f"the kit in {here} is not the one of this run, which is in the wheels here: that one is used")
    return [name for name in manifest["wheels"] if name.startswith("kit-") or not has_package(name.partition("-")[0])]


def has_package(name: str) -> bool:
    """Whether a package is installed."""
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def install(wheels: list[Path], python: str) -> str:
    """Put the wheels into a new temporary folder; returns it. python: the version that they are for."""
    target = tempfile.mkdtemp(prefix="kit-")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    if subprocess.run([*pip, "--no-index", "--no-deps", "--target", target, *map(str, wheels)]).returncode:
        here = "{}.{}".format(*sys.version_info)
        sys.exit(f"error: pip cannot install the wheels, see above. They are for Python {python}, and this is {here}")
    return target


def main() -> None:
    """Check, install where needed, and become `kit predict`: the same process, whose start its time limit counts."""
    folder = Path(__file__).resolve().parent
    manifest = json.loads((folder / MANIFEST).read_text())
    places, problems = locate(folder, manifest)
    if problems:
        sys.exit("error: the bundle is not whole; upload it again:\n  " + "\n  ".join(problems))
    environment = dict(os.environ)
    if wheels := wanted_wheels(manifest):
        target = install([places[name] for name in wheels], manifest["python"])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [target, environment.get("PYTHONPATH")]))
    what = what_to_predict(folder, manifest, places)
    command = [sys.executable, "-P", "-m", "kit", "predict", str(what), *sys.argv[1:]]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


if __name__ == "__main__":
    main()
