"""folds.csv of a run folder: made once, frozen when the first fold begins, and checked for leaks at every start.

    keep_folds     at the start of a run: make folds.csv, or read it
    freeze_folds   when a fold begins: from then on folds.csv stays as it is

Two runs may start in one folder at the same time, with other numbers of folds. The run that begins a fold
first freezes its folds; the other is refused before it writes anything.
"""

import contextlib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from kit.data.dataset import Dataset
from kit.folds.kfold import check_leaks
from kit.system.files import counted, is_locked, raise_all, run_lock, write_atomic

BEGUN = "begun"  # an empty file in the folder of each fold that has begun
WAIT = 600  # seconds for the lock: its holder reads or writes one small file


class Processes(Protocol):
    """The processes that train together, as kit.training.World describes them."""

    @property
    def main(self) -> bool:
        """True in the one process that writes."""

    def wait(self) -> None:
        """Return when every process has come here."""


def keep_folds(folder: Path, dataset: Dataset, world: Processes, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The folds (n,) in `folder`/folds.csv: made by `make()` until the first fold begins, then only read.

    Fold -1 is for images that are always trained on, as a data set's official split may ask.
    Raises ValueError when a group is in two folds, a fold is empty, the file lists other ids, or a fold has begun with
    other folds than `make()` gives.
    """
    path, ids, groups = folder / "folds.csv", _texts(dataset.ids), _texts(dataset.groups)
    if world.main:
        if path.exists() and is_begun(folder):
            _read(path, ids, groups)  # of other data? That is said first
        folds = _checked(make(), groups)
        content = pd.DataFrame({"id": ids, "group": groups, "fold": folds}).to_csv(index=False)
        is_frozen = path.exists() and is_trained(folder)  # the disk may be read-only then
        with contextlib.nullcontext() if is_frozen else locked_folds(folder):
            if not (path.exists() and is_begun(folder)):
                write_atomic(path, content)
            elif not np.array_equal(kept := _read(path, ids, groups), folds):
                _refuse_other(path, kept, folds)
    world.wait()
    # the main process keeps what it asked for: another run may have written the file since, and freeze_folds says so
    return folds.astype(np.int64) if world.main else _read(path, ids, groups)


def freeze_folds(folder: Path, fold: int, folds: np.ndarray, world: Processes) -> None:
    """Freeze `folder`/folds.csv, because `fold` begins with `folds` (n,), those that keep_folds returned.

    Call it while holding the fold's lock, before anything is trained. Raises ValueError if another run has written
    other folds in the meantime; then nothing is written.
    """
    if world.main:
        path = folder / "folds.csv"
        with locked_folds(folder):
            kept = pd.read_csv(path)["fold"].to_numpy() if path.exists() else folds
            if not np.array_equal(kept, folds):
                raise ValueError(
                    f"{path} now has {_describe(kept)}, written by another run that started in this folder at the same "
                    f"time; this run has {_describe(folds)}. Choose another run folder (--run-dir) for one of them"
                )
            write_atomic(folder / f"fold{fold}" / BEGUN, b"")
    world.wait()


def read_folds(path: Path, dataset: Dataset) -> np.ndarray:
    """The folds (n,) of a table id,group,fold: those of an earlier run, or a competition's own.

    Raises ValueError if it lists other ids or groups than the data set, a group is in two folds, or a fold is empty.
    """
    return _read(path, _texts(dataset.ids), _texts(dataset.groups))


def locked_folds(folder: Path) -> contextlib.AbstractContextManager:
    """Hold folds.csv and config.json of a run folder while they are compared or written."""
    return run_lock(folder / ".folds", wait=WAIT)


def is_at_work(folder: Path) -> bool:
    """Whether another process holds a fold of this run folder now."""
    return any(is_locked(path.parent) for path in folder.glob("fold*/lock"))


def is_begun(folder: Path) -> bool:
    """Whether a fold in this run folder has begun, so that its folds are frozen."""
    return any(folder.glob(f"fold*/{BEGUN}")) or is_trained(folder)


def is_trained(folder: Path) -> bool:
    """Whether a fold in this run folder has a checkpoint."""
    return any(folder.glob("fold*/last.pt")) or any(folder.glob("fold*/finished.json"))


def _read(path: Path, ids: list[str], groups: list[str]) -> np.ndarray:
    """The folds of the file, (n,), if it lists these ids and groups."""
    table = pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False)
    if missing := {"id", "group", "fold"} - set(table.columns):
        raise ValueError(
            f"{path} has no column {', '.join(sorted(missing))}; expected id,group,fold. Choose another "
            "run folder (--run-dir), or restore the file"
        )
    kept = _texts(table["id"])
    if kept != ids or _texts(table["group"]) != groups:
        raise ValueError(f"{path} lists other ids or groups than the data now has{_different(kept, ids)}")
    return _checked(table["fold"].to_numpy(), groups)


def _different(kept: list[str], ids: list[str]) -> str:
    """How the ids of the file and of the data differ, and what to do, for the message."""
    for fewer, more, when in ((kept, ids, "now"), (ids, kept, "then")):
        front = more[0].removesuffix(fewer[0]) if fewer and more else ""
        if front.endswith("/") and more == [front + id for id in fewer]:
            return (
                f": they are the same ones, {when} with {front} in front, as in {more[0]}. kit.datasets.Folder puts it "
                "there where test images have the ids of training images, so `tests` has changed since then. Give it "
                "the same test images as then, or choose another run folder (--run-dir)"
            )
    lists = {"Only in the file": set(kept) - set(ids), "Only in the data": set(ids) - set(kept)}
    named = [f"{where}: {', '.join(sorted(some)[:5])} ({len(some)}). " for where, some in lists.items() if some]
    asked = "another folder, or another list of images was asked for"
    return f" ({asked}). {''.join(named)}Choose another run folder (--run-dir)"


def _checked(folds: Iterable[int], groups: Sequence[str]) -> np.ndarray:
    """Return `folds` as an int array (n,). Raises ValueError for leaks, empty folds and values that are no fold number.

    An official split (fold -1) may share groups between training and validation; then the report says so.
    """
    folds = np.asarray(folds)
    if folds.shape != (len(groups),):
        raise ValueError(f"the folds have the shape {folds.shape}, expected ({len(groups)},): a fold for each image")
    if not np.issubdtype(folds.dtype, np.integer) or folds.min() < -1:
        raise ValueError(f"the folds are {folds.dtype} from {folds.min()}, expected whole numbers from 0, or -1")
    counts = np.bincount(folds + 1)[1:]
    empty = (
        [f"fold {fold} holds no image" for fold in np.flatnonzero(counts == 0)]
        if counts.size
        else ["no image is held out: every fold is -1"]
    )
    raise_all(empty, "problems with the folds, which would have no score")
    check_leaks(np.asarray(groups)[folds >= 0], folds[folds >= 0])
    return folds


def _refuse_other(path: Path, kept: np.ndarray, folds: np.ndarray) -> None:
    begun = sorted({found.parent.name for name in (BEGUN, "last.pt") for found in path.parent.glob(f"fold*/{name}")})
    moved = f", and {counted(int((kept != folds).sum()), 'image')} in another" if kept.max() == folds.max() else ""
    raise ValueError(
        f"{path} has {_describe(kept)} and is frozen: {', '.join(begun)} began with it. This run asks for "
        f"{_describe(folds)}{moved}. Ask for the same folds (their number, their seed), choose another run folder "
        f"(--run-dir), or remove {' and '.join(begun)} to begin anew. The folds of older recipes came of --seed: write "
        "that number in the line that makes them. kit.folds.read_folds gives the folds of a file"
    )


def _describe(folds: np.ndarray) -> str:
    counts = np.bincount(folds[folds >= 0])
    return f"{counted(len(counts), 'fold')} of {', '.join(map(str, counts))} images"


def _texts(values: Iterable) -> list[str]:
    """The values as text in NFC, as the CSV holds them."""
    return [unicodedata.normalize("NFC", str(value)) for value in values]
