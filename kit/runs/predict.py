"""Prediction anywhere: run folders and images, without the training data; the work behind `python -m kit predict`.

passes.py    how the time is used
outputs.py   the CSV, or masks as files
together.py  the networks of a run, or of the runs of a blend
workers.py   the passes over a share of the images on one device; several devices work side by side
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kit.data.dataset import Dataset
from kit.datasets.images_alone import describe_left_out, open_images
from kit.datasets.names import nfc
from kit.datasets.slides_alone import SlidesAlone
from kit.prediction.chosen import describe_chosen, read_chosen
from kit.prediction.saved import SavedRun, read_ruled, scored_folds, wanted_folds
from kit.prediction.saved_blend import Member, SavedBlend, is_blend, read_blend
from kit.runs.outputs import MasksIn, SlideMasksIn, Table
from kit.runs.passes import Budget
from kit.runs.submit import RowsOf
from kit.runs.workers import Ended, Job, Said, Unreadable, work_together
from kit.submission.lint import errors_of
from kit.submission.rows import ids_of_sample
from kit.system.files import counted, list_some

CHECK = 20  # times what writing the CSV takes: to write it once more, and to look at every row


@dataclass(frozen=True)
class Request:
    """What is to be predicted.

    run: the run folder, or the JSON of a blend. images: a folder or zip.
    out: the CSV, or the folder of masks where the run has no competition.
    sample: the sample submission; its keys, all of them, in its order. seconds: the time limit, counted from `started`
    on time.monotonic's clock; None for none. folds, views: "all" and None are the run's own.
    on_bad_image: "empty" gives an image that cannot be read an empty mask and counts it; "stop" ends with an error.
    devices: a process each, as ("cuda:0", "cuda:1"); ("auto",) takes every GPU, else the CPU.
    """

    run: Path
    images: Path
    out: Path
    sample: Path | None = None
    seconds: float | None = None
    started: float = 0.0
    folds: Literal["all", "full"] | Sequence[int] = "all"
    views: str | None = None
    on_bad_image: Literal["empty", "stop"] = "empty"
    devices: tuple[str, ...] = ("auto",)


@dataclass
class Result:
    """What came of it. problems: of images that could not be read, by id; late: images that were not reached."""

    images: int
    problems: dict[str, str]
    late: int
    errors: list[str]


def predict(request: Request) -> Result:
    """Predict the images, and leave a CSV that is valid at every moment, also when killed; or masks as files.

    It executes the Python that the run folder keeps in `code`. Raises FileNotFoundError or ValueError where the run
    folder, the images or the sample cannot be used; a bad image raises ValueError with on_bad_image="stop" alone.
    """
    budget = Budget(request.seconds, request.started or time.monotonic())
    blend = read_blend(request.run).of_folds(request.folds) if is_blend(request.run) else None
    saved = blend.saved if blend else read_ruled(request.run)
    members = blend.members if blend else (Member(request.run, tuple(wanted_folds(request.run, request.folds, saved))),)
    opened = _opened_by_each(request.images, blend.runs if blend else [saved])
    images = opened[0]
    ids = _wanted_ids(request, saved, images)
    for line in _notes(request, blend or saved, images):
        print(f"note: {line}", flush=True)
    there = set.intersection(*({nfc(id) for id in one.ids} for one in opened))
    todo = [id for id in ids if nfc(id) in there]
    if not todo:
        raise ValueError(f"{request.images} holds no image that is asked for: {', '.join(ids[:5]) or 'it is empty'}")
    table = None if saved.dialect is None else Table(request.out, saved.dialect, ids, request.sample)
    take = _masks_in(request.out, saved) if table is None else RowsOf(saved.dialect, saved.rule, saved.tuned)
    if table:
        table.write()
    least = _least_reserve(request, budget)
    budget.reserve = least
    stop, mixing = request.on_bad_image == "stop", blend.mixing if blend else None
    job = Job(members, request.views, todo, opened, take, stop, mixing)
    result = Result(
        len(ids), {id: f"{id} has no image in {request.images}" for id in ids if nfc(id) not in there}, 0, []
    )
    reached = set()
    for update in work_together(job, request.devices, budget):
        _take(update, table, reached, result)
        budget.reserve = least + (CHECK * table.took if table else 0.0)
    if table is None:
        _fill_in(take, [id for id in ids if id not in reached], images)
    result.late = len(todo) - len(reached) - sum(id in result.problems for id in todo)
    return _finish(request, table, images, result)


def _opened_by_each(folder: Path, runs: Sequence[SavedRun]) -> list[Dataset]:
    """The images as each run reads them: one data set for all that read them alike."""
    found: dict[str, Dataset] = {}
    keys = [repr((run.channels, run.dtype, run.images, run.scale)) for run in runs]
    for key, run in zip(keys, runs, strict=True):
        if key not in found:
            found[key] = _opened(folder, run)
    return [found[key] for key in keys]


def _opened(folder: Path, saved: SavedRun) -> Dataset:
    """The images, or the slides where the run's data set has such."""
    if saved.scale is not None:
        return SlidesAlone(folder, saved.channels, saved.dtype, saved.images, saved.scale)
    return open_images(folder, saved.channels, saved.dtype, saved.images)


def _masks_in(folder: Path, saved: SavedRun) -> MasksIn | SlideMasksIn:
    return (MasksIn if saved.scale is None else SlideMasksIn)(folder, saved.rule, saved.classes)


def _least_reserve(request: Request, budget: Budget) -> float:
    """Seconds of the limit that are kept for the end: more on a slow machine, as the start has shown."""
    start = budget.clock() - (request.started or budget.clock())
    return 1.0 + 0.02 * (request.seconds or 0.0) + 0.3 * start


def _take(update: object, table: Table | None, reached: set[str], result: Result) -> None:
    """Take what a worker sends; reached: the ids that have a mask."""
    if isinstance(update, Said):
        print(update.text, flush=True)
        if table:
            table.write()
    elif isinstance(update, Ended):
        result.errors.append(update.problem)
    elif isinstance(update, Unreadable):
        result.problems.setdefault(update.id, update.problem)
    else:
        id, rows = update
        reached.add(id)
        if table:
            table.put(id, rows)


def _finish(request: Request, table: Table | None, images: Dataset, result: Result) -> Result:
    """Write the last rows, check the CSV, and say what came of it."""
    if table:
        table.write()
    lost = list(result.problems.values())
    if lost:
        print(f"{counted(len(lost), 'image')} of {result.images} cannot be read: empty masks{list_some(lost, 10)}")
    if result.late:
        print(f"{counted(result.late, 'image')} of {result.images} were not reached in the time: empty masks")
    if len(lost) == result.images:
        result.errors.append("no image could be read or predicted, see above: all masks are empty")
    if table:
        problems = table.check(images)
        for problem in problems[:10]:
            print(problem)
        result.errors += errors_of(problems)
    took = f" in {time.monotonic() - request.started:.0f} s" if request.started else ""
    print(f"{request.out}: {counted(result.images, 'image')}{took}", flush=True)
    return result


def _wanted_ids(request: Request, saved: SavedRun, images: Dataset) -> list[str]:
    """The ids of the rows: the sample's; else those of the images, in the order that the run's own CSV has."""
    if request.sample is not None and saved.dialect is not None:
        if ids := ids_of_sample(request.sample, saved.dialect):
            return ids
        raise ValueError(
            f"no key of {request.sample} is written as this run writes them ({saved.dialect.key}): it is the sample of "
            "another competition, or its header is not the dialect's"
        )
    there = dict.fromkeys(images.ids)
    return [*(id for id in saved.ids if id in there), *sorted(there.keys() - {*saved.ids})]


def _notes(request: Request, found: SavedRun | SavedBlend, images: Dataset) -> Iterator[str]:
    saved = found.saved if isinstance(found, SavedBlend) else found
    if isinstance(found, SavedBlend):
        networks = [f"{one.name} ({counted(len(one.folds), 'network')})" for one in found.members]
        yield f"a blend of {', '.join(networks)}; rule: {found.rule}"
    elif line := describe_chosen(request.run, read_chosen(request.run, lambda: scored_folds(request.run, saved))):
        yield line.removeprefix("note: ")
    yield from describe_left_out(images, request.images)
    runs = found.runs if isinstance(found, SavedBlend) else [saved]
    for reads in dict.fromkeys(run.reads for run in runs if run.reads != "files"):
        own = "Predictor.load(…).predict(image)" if saved.scale is None else "predict_slide(Predictor.load(…), regions)"
        yield (
            f"the run's data set reads images by code of its own ({reads}.read_image). Here files are decoded as "
            f"they are. Where that code does more than decode, call {own} instead"
        )
    if saved.dialect is None and request.sample is not None:
        kind = "PNG" if saved.scale is None else "TIFF"
        yield f"the run has no competition, so the sample is not used: masks are written as {kind} files"


def _fill_in(take: MasksIn | SlideMasksIn, ids: Sequence[str], images: Dataset) -> None:
    """Write empty masks of the images that have none and whose size can be read."""
    for id in ids:
        try:
            size = images.shape(id)
        except (ValueError, OSError, LookupError):
            continue
        take.write_empty(id, size)
