"""The submission of a run: its test pictures predicted by the mean of its networks, written, linted, scored."""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from kit.prediction.predictor import rle_at
from kit.runs.run import Run
from kit.submission import Dialect, RowParts, errors_of, lint, read_rows, rows_in_order, score, write
from kit.submission.rle import decode
from kit.system.files import raise_all, run_lock, write_atomic


def submit(run: Run, load: Callable[[int], nn.Module], submissions: Path) -> Path | None:
    """Predict the test pictures with the mean of every finished fold's network, and write and lint the CSV.

    load(fold) -> the network with that fold's weights. Goes on where it was stopped. Returns the CSV's path,
    None where there is nothing to predict. Raises ValueError listing what the linter found.
    """
    test_ids, folds, started = run.competition.test_ids, run.finished(), time.perf_counter()
    if not test_ids:
        return None
    parts = run.folder / "test" / f"{run.prediction_key(folds)}-{run.competition.test_fingerprint()[:16]}"
    rows = {run.competition.csv_name(id): id for id in test_ids}
    dialect = Dialect(tuple(run.competition.columns), order=run.competition.order)
    with _alone(run, parts), RowParts(parts, run.world.rank) as kept:
        left = [id for name, id in rows.items() if name not in kept.done]
        run.world.wait()  # until every process has seen what is left: shares of it are even, no id is in two
        todo = run.world.share(left)
        models = [load(fold) for fold in folds] if todo else []

        def row(id: str, size: tuple[int, int], levels: np.ndarray) -> tuple[str, str]:
            return run.competition.csv_name(id), rle_at(levels, size, run.competition.order)

        predicted = run.predict(models, todo, row)
        for name, rle in tqdm(predicted, "test", total=len(todo), leave=False, disable=run.world.quiet):
            kept.add(name, dialect.cells(name, [(1, rle)]))
    run.world.wait()
    if not run.world.main:
        return None
    if left:  # else all was done by an earlier command, and timed there
        seconds = {"seconds": round(time.perf_counter() - started, 2), "pictures": len(left)}
        write_atomic(run.folder / "test.json", json.dumps(seconds))
        run.write_report()
    path = submissions / _csv_name(run, folds)
    write(rows_in_order(parts, list(rows), dialect), path, dialect)
    _forget_parts(run, parts)
    sample, shape = run.competition.sample_csv, lambda name: run.competition.shape(rows[name])
    problems = lint(path, dialect, sample, shape)
    raise_all(errors_of(problems), f"problems in {path}")
    for problem in problems:
        print(problem, flush=True)
    print(f"submission: {path}, {len(rows)} rows, folds {', '.join(map(str, folds))}", flush=True)
    _score(run, path, rows, dialect)
    return path


def _csv_name(run: Run, folds: Sequence[int]) -> str:
    """After the recipe, and after the run folder where that has a name of its own: two settings, two files."""
    drawn = "_drawn" if run.competition.drawn else ""
    own = run.folder.resolve().name.removesuffix(drawn)
    stem = own if own == run.name or own.startswith(f"{run.name}_") else f"{run.name}_{own}"
    which = f"_fold{folds[0]}" if len(folds) == 1 else ""
    return f"{stem}{which}{drawn}.csv"


def _score(run: Run, path: Path, ids: dict[str, str], dialect: Dialect) -> None:
    """Score the submission again from its own text, where the truth is known. ids: of the names in the CSV."""
    if run.competition.truth_csv is not None:
        truth = dict(read_rows(run.competition.truth_csv, dialect))

        def read_truth(name: str) -> np.ndarray | None:
            return decode(truth[name], run.competition.shape(ids[name]), dialect.order) if name in truth else None

        scores = score(path, dialect, read_truth)
        if scores["images"]:
            name = run.competition.truth_csv.name
            print(f"scored against {name}: mean Dice {scores['mean_dice']:.4f}", flush=True)


def _forget_parts(run: Run, keep: Path) -> None:
    """Remove the rows of earlier ensembles, 1 GB each for all of Carvana, but where a run is at work on them."""
    for folder in run.folder.joinpath("test").iterdir():
        if folder != keep:
            with contextlib.suppress(BlockingIOError), run_lock(folder):
                shutil.rmtree(folder)


@contextlib.contextmanager
def _alone(run: Run, folder: Path) -> Iterator[None]:
    """Hold `folder` against the run of another fold, which may come to the same test pictures; waits for it."""
    with run_lock(folder, wait=-1) if run.world.main else contextlib.nullcontext():
        run.world.wait()
        yield
