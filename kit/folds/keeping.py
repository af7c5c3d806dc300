"""folds.csv of a run: made once, kept, checked for leaks every time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kit.data.dataset import Dataset
from kit.folds.kfold import check_leaks
from kit.system.files import write_atomic
from kit.training.processes import World


def keep_folds(folder: Path, competition: Dataset, world: World, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The folds (n,) in `folder`/folds.csv: made by `make()`, and kept once a fold is in training.

    Fold -1 is for pictures that are always trained on, as a data set's official split may ask.
    Raises ValueError when a group stands in two folds, or the file is of other ids.
    """
    path, ids = folder / "folds.csv", {"id": competition.ids, "group": competition.groups}
    if world.main and not (path.exists() and is_trained(folder)):
        folds = np.asarray(make())
        _check_folds(competition.groups, folds)
        write_atomic(path, pd.DataFrame({**ids, "fold": folds}).to_csv(index=False))
    world.wait()
    table = pd.read_csv(path, dtype={"id": str, "group": str}, keep_default_na=False)
    if table["id"].tolist() != ids["id"] or table["group"].tolist() != ids["group"]:
        raise ValueError(
            f"{path} lists other ids or groups than the data now has (another folder, or other lists of pictures were "
            "asked for); choose another --run-dir"
        )
    _check_folds(ids["group"], table["fold"].to_numpy())
    return table["fold"].to_numpy()


def _check_folds(groups: Sequence[str], folds: np.ndarray) -> None:
    """Raise ValueError at a leak between folds. An official split may leak, and then the report says so."""
    check_leaks(np.asarray(groups)[folds >= 0], folds[folds >= 0])


def is_trained(folder: Path) -> bool:
    """Whether a fold in this run folder has a checkpoint."""
    return any(folder.glob("fold*/last.pt")) or any(folder.glob("fold*/finished.json"))
