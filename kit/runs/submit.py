"""The submission of a run: its test images predicted by the mean of its networks, written, linted, scored.

runs/<run>/test/<key>/ holds the rows of a submission in progress; the key names all that can change a row.
runs/<run>/written/<name>.csv.json says with which tuned rule a CSV was written, for the ledger.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn
from tqdm import tqdm

from kit.data.tasks import task_of
from kit.prediction.chosen import describe_chosen, read_chosen
from kit.prediction.predictor import UnreadableImages
from kit.prediction.rule import Rule
from kit.prediction.saved import scored_folds
from kit.prediction.slides import SlideLevels
from kit.runs.full import finished_full, write_expectation
from kit.runs.oof import prediction_key, up_to_date
from kit.runs.run import Run
from kit.runs.testing import TestPredictions
from kit.submission import rle
from kit.submission.competition import Competition
from kit.submission.dialect import Cells, Dialect
from kit.submission.lint import errors_of, lint
from kit.submission.names import csv_stem
from kit.submission.rows import RowParts, rows_in_order
from kit.submission.score import score, truth_reader
from kit.submission.tables import write
from kit.system.files import raise_all, run_lock, short_hash, write_atomic
from kit.system.objects import components
from kit.system.run_folder import Fold, is_full, read_json

WRITTEN = "written"  # an empty file beside rows that are in a CSV


@dataclass(frozen=True)
class Submission:
    """What a competition asks of a run.

    competition: its metric leads the report. write: also predict its test images and write the CSV, in `folder`.
    keep_test: keep every fold's predictions, see TestPredictions.
    on_bad_image: "stop" writes no CSV while a test image cannot be read; "empty" gives it an empty mask, and says so.
    Where the CSV has a row an object, the objects are the connected components of a class.
    """

    competition: Competition
    write: bool = True
    folder: Path = Path("submissions")
    keep_test: bool = False
    on_bad_image: Literal["stop", "empty"] = "stop"


def submit(
    run: Run, submission: Submission, network: Callable[[], nn.Module], fold: int | Literal["all", "full"] = "all"
) -> Path | None:
    """Predict the test images with the mean of several folds' networks, and write and lint the CSV.

    network(): the architecture, without weights. fold: the one that was asked for, see `ensemble`.
    A submission of full fits states the score to expect, in a JSON beside the CSV.
    Resumes where it was stopped. Returns the CSV's path, None where there is nothing to predict.
    Raises ValueError listing what the linter found.
    """
    competition, started = submission.competition, time.perf_counter()
    folds = run.world.agree(lambda: ensemble(run, fold, submission.keep_test))
    if not competition.test_ids or not folds:
        return None
    tests = run.world.agree(competition.test_fingerprint)
    asked = competition.fingerprint(tests)
    chosen = run.world.agree(lambda: read_chosen(run.folder, lambda: scored_folds(run.folder)))
    rule = chosen.rule if chosen else None
    seen = replace(run, tta=chosen.tta) if chosen and chosen.tta else run
    parts = run.world.agree(lambda: _rows_folder(seen, asked, folds, rule))
    rows_of = RowsOf(competition.dialect, rule or run.rule, tuned=rule is not None)
    predictions = TestPredictions(seen, competition, tests, folds, network, submission.keep_test)
    own = replace(predictions, run=run)  # by the recipe's views: what is kept for blends and pseudo-labels
    path = submission.folder / _csv_name(run, folds)
    with _alone(run, parts):
        left = run.world.agree(lambda: _left(predictions, parts, competition.test_ids))
        passes = run.world.agree(lambda: predictions.passes(left))
        with RowParts(parts, run.world.rank) as kept:
            problems = _predict_rows(predictions, run.world.share(left), kept, rows_of)
        unreadable = run.world.gather(problems)  # once all rows are there
        seconds = round(time.perf_counter() - started, 2)
        if seen is not run:
            own.fill(run.world.share(run.world.agree(lambda: own.lacking(competition.test_ids))))
            run.world.wait()
        if run.world.main:
            _report_unreadable(unreadable, submission.on_bad_image)
            if passes and fold != "full":  # else all was predicted by an earlier command, and timed there
                _keep_time(run, seconds, len(left), passes * (seen.tta.cost / run.tta.cost))
            _write(path, parts, competition, unreadable)
            own.name_stores()
            write_atomic(run.folder / f"written/{path.name}.json", json.dumps({"tuned": chosen and chosen.named}))
            if submission.keep_test:
                predictions.write_sizes(unreadable)
            predictions.forget_older()
            _forget_rows(run, seen, asked, parts, rule)
    run.world.wait()
    if not run.world.main:
        return None
    check_submission(path, competition)
    for line in filter(None, [describe_chosen(run.folder, chosen)]):
        print(line, flush=True)
    which = ", ".join(map(str, folds))
    print(f"submission: {path}, {which if fold == 'full' else f'folds {which}'}", flush=True)
    if fold == "full":
        write_expectation(run, competition.metric, path, folds)
    return path


def _keep_time(run: Run, seconds: float, images: int, passes: float) -> None:
    """Note how long the test images took. passes: of a network over an image, in those with the recipe's own views."""
    facts = {"seconds": seconds, "images": images, "networks": passes / images}
    write_atomic(run.folder / "test.json", json.dumps(facts))


def _rows_folder(run: Run, asked: str, folds: Sequence[Fold], rule: Rule | None) -> Path:
    """Where the rows of a submission in progress are; another network, dialect, rule or test image has another folder.

    asked: the competition's fingerprint. rule: the tuned one, None without.
    """
    key = short_hash((asked, run.origin["recipe"], *(("tuned", rule) if rule else run.own_rule)))
    return run.folder / "test" / f"{prediction_key(run, folds)}-{key}"


def _left(predictions: TestPredictions, parts: Path, ids: Sequence[str]) -> list[str]:
    """The test images whose rows are not there, or whose predictions are to be kept and are not."""
    (parts / WRITTEN).unlink(missing_ok=True)
    with RowParts(parts) as kept:
        done = kept.done
    lacking = set(predictions.lacking(ids))
    return [id for id in ids if id not in done or id in lacking]


def test_time(run: Run) -> dict:
    """The seconds of the last command that predicted test images; {} before the first.

    Also how many images it had left to do, and how many networks predicted one, on average: "images", "networks".
    """
    return read_json(run.folder / "test.json")


def ensemble(run: Run, fold: int | Literal["all", "full"], keep_test: bool) -> list[Fold]:
    """The folds, or full fits, whose networks make the submission: all that the recipe as it is now has finished.

    But where one fold was asked for, others are missing and no predictions are kept: that fold alone. Folds that are
    trained side by side would otherwise predict the test images again after each of them.
    """
    if fold == "full":
        return finished_full(run)
    done = up_to_date(run)
    if fold == "all" or keep_test or len(done) == run.num_folds:
        return done
    return [fold] if fold in done else []


class RowsOf:
    """Makes the rows of an image from its levels, at the size that the dialect asks for.

    tuned: the areas of the rule are of the image at its own size; where the CSV has another size they are scaled.
    """

    def __init__(self, dialect: Dialect, rule: Rule, tuned: bool = False) -> None:
        self.dialect, self.rule, self.tuned = dialect, rule, tuned

    def __call__(self, id: str, size: tuple[int, int], levels: np.ndarray | SlideLevels) -> tuple[str, list[Cells]]:
        """The id and its rows, a cell a column."""
        dialect, (height, width) = self.dialect, self.dialect.mask_size(size)
        rule = self.rule.scaled(height * width / (size[0] * size[1])) if self.tuned else self.rule
        masks = encode_levels(levels, (height, width), dialect.order, rule, dialect.rows)
        return id, dialect.cells(id, masks)


def encode_levels(
    levels: np.ndarray | SlideLevels,
    size: tuple[int, int],
    order: str,
    rule: Rule = Rule(),  # noqa: B008 (frozen)
    rows: Literal["image", "class", "instance"] = "class",
) -> list[tuple[int, str]]:
    """The run lengths of an image's rows, (class index from 1, "start length …"), of levels (K, h, w).

    size: (height, width) of the submitted mask. rows: of the dialect; with "instance" each object has an entry, an
    image without objects none, else each class. A mask is encoded without an image in between where the rule allows it.
    The bands of a slide are taken as they come, and classes without a pixel are left out.
    """
    if isinstance(levels, SlideLevels):
        found = levels.objects(size, rule, order)
        if rows != "instance":
            found = levels.runs(size, rule, order).edges.items()
        return [(k, rle.encode_edges(own, size[0] * size[1])) for k, own in found]
    if rows != "instance":
        edges = [rule.edges(levels, size, order, index) for index in range(len(levels))]
        if edges[0] is not None:
            return [(k, rle.encode_edges(each, size[0] * size[1])) for k, each in enumerate(edges, start=1)]
    mask = rule.mask(levels, size)
    if rows == "instance" and rule.objects:
        return [(1, text) for text in rle.encode_objects(mask, order)]
    layers = _layers(mask, len(levels), rule)
    if rows != "instance":
        return [(k, rle.encode(layer, order)) for k, layer in layers]
    return [(k, text) for k, layer in layers for text in rle.encode_objects(components(layer), order)]


def _layers(mask: np.ndarray, count: int, rule: Rule) -> Iterator[tuple[int, np.ndarray]]:
    """The class index and the mask, bool or u8 (H, W), of every foreground class. count: of the levels."""
    if rule.separate:
        return enumerate(np.moveaxis(mask, 2, 0), start=1)
    if count == 1 or rule.objects:
        return iter([(1, mask > 0)])
    return ((k, mask == k) for k in range(1, count))


def check_submission(path: Path, competition: Competition) -> None:
    """Lint a CSV, print its warnings, and its score where the truth is known. Raises ValueError listing the errors."""
    problems = lint(path, competition)
    for problem in problems:
        if problem.severity == "warning":
            print(problem)
    raise_all(errors_of(problems), f"problems in {path}")
    if competition.truth_csv is not None:
        truth = truth_reader(competition.truth_csv, competition.dialect, competition.shape)
        metric = competition.metric if task_of(competition.dataset).has_objects else None
        if metric is not None and competition.dialect.rows != "instance":  # a mask an image: no objects, one class
            layers, truth = truth, lambda id: _first_layer(layers(id))
        scores = score(path, competition.dialect, truth, competition.test_ids, metric)
        if scores["images"]:
            name, value = "precision of objects", scores.get("instance_precision")
            name, value = (name, value) if metric is None else (metric.name, scores["metric"])
            more = "" if value is None else f", {name} {value:.4f}"
            print(f"scored against {competition.truth_csv.name}: mean Dice {scores['mean_dice']:.4f}{more}", flush=True)


def _predict_rows(predictions: TestPredictions, ids: Sequence[str], kept: RowParts, rows: RowsOf) -> dict[str, str]:
    """Add the rows of the images `ids` to `kept`. Returns the problems of those that cannot be read, by id."""
    taken, quiet = predictions.stream(ids, rows), predictions.run.world.quiet
    try:
        for id, cells in tqdm(taken, "test", total=len(ids), leave=False, disable=quiet):
            if id not in kept.done:
                kept.add(id, cells)
    except UnreadableImages as error:
        return error.problems
    return {}


def _report_unreadable(problems: dict[str, str], on_bad_image: str) -> None:
    """Print which images could not be read, or raise ValueError where they must be."""
    if not problems:
        return
    said = UnreadableImages(problems)
    if on_bad_image == "stop":
        raise ValueError(f'{said}\non_bad_image="empty" gives such an image an empty mask')
    print(said, flush=True)


def _write(path: Path, parts: Path, competition: Competition, unreadable: Collection[str]) -> None:
    """Write the CSV from the rows in `parts`. Those of the unreadable images are empty.

    Raises ValueError where no image can be read.
    """
    total = len(competition.test_ids)
    if len(unreadable) == total:
        raise ValueError(f"none of the {total} test images can be read: the CSV would hold nothing but empty masks")
    rows = rows_in_order(parts, competition.test_ids, competition.dialect, competition.sample_csv, empty=unreadable)
    write(rows, path, competition.dialect)
    if unreadable:
        print(f"{len(unreadable)} of {total} test images cannot be read: their masks are empty", flush=True)
    else:
        write_atomic(parts / WRITTEN, b"")


def _csv_name(run: Run, folds: Sequence[Fold]) -> str:
    which = "_full" if is_full(folds[0]) else f"_fold{folds[0]}" if len(folds) == 1 else ""
    return f"{csv_stem(run.folder, run.name, run.dataset.drawn)}{which}{'_drawn' if run.dataset.drawn else ''}.csv"


def _forget_rows(run: Run, seen: Run, asked: str, keep: Path, rule: Rule | None) -> None:
    """Remove rows that were written to a CSV, or that no ensemble of now can use: 1 GB each for all of Carvana.

    Those of another fold's submission in progress stay, also after a kill. seen: the run with the views in use.
    """
    done = up_to_date(run)
    ensembles = (done, *([fold] for fold in done), *filter(None, [finished_full(run)]))
    in_use = {_rows_folder(seen, asked, folds, rule) for folds in ensembles}
    for folder in run.folder.joinpath("test").iterdir():
        if not folder.is_dir() or folder == keep or folder.name.startswith(("fold", "full")):
            continue
        if folder not in in_use or (folder / WRITTEN).exists():
            with contextlib.suppress(BlockingIOError), run_lock(folder):
                shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # on a network disk (NFS) the open lock keeps the empty folder
                folder.rmdir()


@contextlib.contextmanager
def _alone(run: Run, folder: Path) -> Iterator[None]:
    """Hold `folder` against the run of another fold, which may predict the same test images; waits for it."""
    with run_lock(folder, wait=-1) if run.world.main else contextlib.nullcontext():
        run.world.wait()
        yield


def _first_layer(mask: np.ndarray | None) -> np.ndarray | None:
    """The mask u8 (H, W) of the only class of bool (H, W, 1)."""
    return None if mask is None else np.ascontiguousarray(mask[..., 0]).view(np.uint8)
