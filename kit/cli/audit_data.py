"""Which data set `kit audit` means: a name that kit knows, a recipe, or a folder that nobody has described."""

import importlib
import runpy
import shlex
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.data.dataset import Dataset
from kit.system.files import counted

KNOWN = {  # name -> file and class of kit.datasets
    "carvana": ("carvana", "Carvana"),
    "pets": ("pets", "Pets"),
    "voc": ("voc", "VOC"),
    "camvid": ("camvid", "CamVid"),
    "blood_cells": ("blood_cells", "BloodCells"),
    "salt": ("salt", "Salt"),
    "nuclei": ("nuclei", "Nuclei"),
    "membranes": ("membranes", "Membranes"),
    "coco_panoptic": ("coco_panoptic", "CocoPanoptic"),
}


@dataclass(frozen=True)
class Found:
    """A data set, what it is in words, and the folds that the recipe or the folder gives; None: none."""

    dataset: Dataset
    words: str
    folds: np.ndarray | None = None


def find(data: str, data_dir: Path | None, flags: str = "") -> Found:
    """The data set. flags: of a recipe. Raises ValueError or OSError where there is none."""
    if data in KNOWN:
        return _known(data, data_dir)
    path = Path(data)
    if path.suffix == ".py":
        return _of_recipe(path, data_dir, flags)
    if not path.is_dir():
        raise FileNotFoundError(f"{data} is neither a folder, nor a recipe, nor one of {', '.join(KNOWN)}")
    return _of_folder(path)


def _known(name: str, data_dir: Path | None) -> Found:
    from kit.datasets.places import require_data

    file, kind = KNOWN[name]
    kind = getattr(importlib.import_module(f"kit.datasets.{file}"), kind)
    folder = require_data(kind, data_dir)
    return Found(kind(folder), f"{name} in {folder}")


def _of_recipe(path: Path, data_dir: Path | None, flags: str) -> Found:
    """Run a recipe until it opens its run; nothing is trained or written."""
    from kit.runs import run as runs

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such recipe")
    arguments = [str(path), *(["--data-dir", str(data_dir)] if data_dir else []), *shlex.split(flags)]
    before, sys.argv = sys.argv, arguments
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        with runs.looking() as seen:
            runpy.run_path(str(path), run_name="__main__")
    except SystemExit as error:
        if error.code not in (None, 0):
            raise ValueError(f"{path} ended before it opened its run, see above") from None
    finally:
        sys.argv = before
        sys.path.pop(0)
    if not seen:
        raise ValueError(f"{path} opened no run: it must call open_run(config, dataset, folds, …)")
    dataset, make_folds = seen[0]
    return Found(dataset, f"the data set of {path}", np.asarray(make_folds()))


def _of_folder(root: Path) -> Found:
    """The images of a folder as `kit new` finds them; all image files where it finds no masks."""
    from kit.cli.audit_folder import FoundImages, look

    images = look(root)
    if images is None:
        return Found(FoundImages.of_all(root), f"all image files in {root}")
    split = images.split
    folds = np.array([0 if id in split else -1 for id in images.ids]) if split else None
    groups = f", groups by {images.grouped_by}" if images.grouped_by else ", without groups"
    return Found(images, f"the images that were found in {root}{groups}", folds)


def read_fold_table(path: Path, ids: list[str]) -> np.ndarray:
    """The folds (n,) of a CSV with the columns id and fold. Raises ValueError where it does not list these ids once."""
    import pandas as pd

    table = pd.read_csv(path, dtype={"id": str}, keep_default_na=False)
    if missing := {"id", "fold"} - set(table.columns):
        raise ValueError(f"{path} has no column {', '.join(sorted(missing))}; expected id and fold")
    names = [unicodedata.normalize("NFC", id) for id in table["id"]]
    wanted = [unicodedata.normalize("NFC", str(id)) for id in ids]
    lists = {"only in it": {*names} - {*wanted}, "not in it": {*wanted} - {*names}}
    problems = [
        f"{counted(len(some), 'id')} {where}: {', '.join(sorted(some)[:5])}" for where, some in lists.items() if some
    ]
    if len({*names}) < len(names):
        problems.append("it lists an id twice")
    if not pd.api.types.is_integer_dtype(table["fold"]):
        problems.append(f"the folds are {table['fold'].dtype}, expected whole numbers")
    if problems:
        raise ValueError(f"{path} lists other images than the data: {'; '.join(problems)}")
    folds = dict(zip(names, table["fold"].tolist(), strict=True))
    return np.array([folds[id] for id in wanted])
