"""A drawn data set on the disk: whole or not there, drawn once, and never over other files."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kit.system.files import run_lock, write_atomic


def drawn_folder(folder: Path, marker: str, wanted: dict, draw: Callable[[Path], None], what: str) -> Path:
    """Have draw(folder) fill `folder`, unless it holds this drawing already, and return the folder.

    wanted: what decides the drawing, in plain values; it is kept in the file `marker`. what: is drawn, in a word.
    It is drawn beside the folder, which gets its name when the drawing is whole; of two processes the second waits.
    Raises FileExistsError, saying what to do, when `folder` holds anything else, another drawing among it.
    """
    if not is_drawn(folder, marker, wanted, what):
        with run_lock(folder.with_name(f".{folder.name}.lock"), wait=600):
            if not is_drawn(folder, marker, wanted, what):
                _draw_beside(folder, marker, wanted, draw)
    return folder


def is_drawn(folder: Path, marker: str, wanted: dict, what: str) -> bool:
    """Whether `folder` holds this drawing: False if absent or empty; FileExistsError if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    advice = "choose another folder, or remove this one if you no longer need it"
    if not (folder / marker).is_file():
        raise FileExistsError(f"{folder} holds files that are no drawn {what} (no {marker}): {advice}")
    found = json.loads((folder / marker).read_text())
    if found != wanted:
        raise FileExistsError(f"{folder} holds the drawing {found}, but {wanted} is wanted: {advice}")
    return True


def _draw_beside(folder: Path, marker: str, wanted: dict, draw: Callable[[Path], None]) -> None:
    """Draw into a sibling of `folder` and rename it to `folder`; interrupted, it removes what it drew."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a drawing that was killed
    try:
        partial.mkdir(parents=True)
        draw(partial)
        write_atomic(partial / marker, json.dumps(wanted))
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()  # an empty one, which not every system renames onto
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def run_lengths(mask: np.ndarray) -> str:
    """A mask u8 (H, W) of 0 and 1 as "start length …" along rows, counted from 1."""
    padded = np.zeros(mask.size + 2, np.int8)
    padded[1:-1] = mask.ravel()
    starts, ends = np.flatnonzero(np.diff(padded) == 1), np.flatnonzero(np.diff(padded) == -1)
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(starts, ends, strict=True))


def write_csv(path: Path, header: str, rows: list[str]) -> None:
    """A CSV file with its rows in order."""
    path.write_text("\n".join([header, *sorted(rows), ""]), newline="\n")
