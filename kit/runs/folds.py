"""The folds of a run: which are finished, and each held by one process group at a time."""

import contextlib
import json
from collections.abc import Iterator
from typing import Literal

from kit.folds.keeping import freeze_folds
from kit.runs.oof import finished
from kit.runs.run import Run, planned, read_json
from kit.system.files import run_lock, write_atomic


def unfinished(run: Run, wanted: int | Literal["all"]) -> Iterator[int]:
    """Yield each fold asked for that is not finished, while its lock is held."""
    for fold in planned(run, wanted):
        if fold in finished(run):
            run.world.say(f"fold {fold} is finished")
            _check_recipe(run, fold)
            continue
        with lock(run, fold):
            freeze_folds(run.folder, fold, run.folds, run.world)
            _check_recipe(run, fold)
            if wanted == "all":
                run.world.say(f"fold {fold}:")
            yield fold


@contextlib.contextmanager
def lock(run: Run, fold: int) -> Iterator[None]:
    """Hold a fold's folder against a second run. Raises BlockingIOError when another holds it."""
    held = run_lock(run.fold_folder(fold), way_out=", or give this one another --run-dir")
    with held if run.world.main else contextlib.nullcontext():
        yield


def _check_recipe(run: Run, fold: int) -> None:
    """Keep the recipe's digest with which the fold's training begins. Say so later if the recipe was edited since."""
    path = run.fold_folder(fold) / "origin.json"
    if run.world.main and not (run.is_begun(fold) or path.with_name("finished.json").exists()):
        write_atomic(path, json.dumps(run.origin, indent=2) + "\n")
    elif read_json(path).get("recipe", run.origin["recipe"]) != run.origin["recipe"]:
        run.world.say(f"note: fold {fold} was begun before the recipe was edited; a new --run-dir trains it anew")
