"""The folds of a run: which are finished, and each held by one process group at a time."""

import contextlib
import json
from collections.abc import Iterator
from typing import Literal

import torch

from kit.folds.keeping import freeze_folds, locked_folds
from kit.runs.full import finished_full
from kit.runs.oof import scored, up_to_date
from kit.runs.run import Run, check_config, planned
from kit.system.files import run_lock, write_atomic
from kit.system.run_folder import Fold, is_full, read_json


def unfinished(run: Run, wanted: int | Literal["all", "full"]) -> Iterator[Fold]:
    """Yield each fold asked for that is not finished, while its lock is held.

    PyTorch's random numbers are seeded for it, by the run's seed and the fold: a fold begins with the same weights
    whether it is trained alone or after others. A full fit gets seeds that no fold of its seed has.
    Raises ValueError if another run has written another configuration or other folds since this one started.
    """
    for fold in planned(run, wanted):
        if fold in run.world.agree(lambda: finished_full(run) if wanted == "full" else up_to_date(run)):
            run.world.say(f"{fold if is_full(fold) else f'fold {fold}'} is finished")
            continue
        with lock(run, fold):
            if not is_full(fold):
                freeze_folds(run.folder, fold, run.folds, run.world)
            _begin_fold(run, fold)
            if wanted == "all":
                run.world.say(f"fold {fold}:")
            torch.manual_seed(run.seed + (run.num_folds if is_full(fold) else fold))
            yield fold


@contextlib.contextmanager
def lock(run: Run, fold: Fold) -> Iterator[None]:
    """Hold a fold's folder against a second run. Raises BlockingIOError when another holds it."""
    wait = 1  # a run that starts beside this one looks at the lock, and holds it that long
    held = run_lock(run.fold_folder(fold), wait, way_out=", or give this one another --run-dir")
    with held if run.world.main else contextlib.nullcontext():
        yield


def edited(run: Run) -> list[int]:
    """The scored folds that began to train with other code of the recipe than it has now."""
    begun = {fold: read_json(run.fold_folder(fold) / "origin.json") for fold in scored(run)}
    return [fold for fold, facts in begun.items() if facts.get("recipe", run.origin["recipe"]) != run.origin["recipe"]]


def has_only_weights(run: Run, fold: Fold) -> bool:
    """Whether the fold was trained to its end and its last.pt removed since. It can be predicted, not resumed."""
    folder, last = run.fold_folder(fold), "finished.json" if is_full(fold) else "oof.json"
    return (folder / last).exists() and (folder / "last.safetensors").exists() and not run.is_begun(fold)


def _begin_fold(run: Run, fold: Fold) -> None:
    """Compare config.json once more, and keep the recipe's code and the versions with which training begins."""
    path = run.fold_folder(fold) / "origin.json"
    if run.world.main:
        with locked_folds(run.folder):
            check_config(run)
        if not (run.is_begun(fold) or path.with_name("finished.json").exists()):
            write_atomic(path, json.dumps(run.origin, indent=2) + "\n")
    run.world.wait()
