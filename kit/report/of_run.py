"""The report of a run: its finished folds pooled into oof.csv, report.json and report.html."""

import functools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from kit.data.dataset import has_groups
from kit.data.regions import has_regions
from kit.prediction.chosen import read_chosen, views_of
from kit.prediction.rule import Rule
from kit.prediction.saved import scored_folds
from kit.report import summary, write_report
from kit.report.results import Results
from kit.report.run_objects import kinds_of, objects_of
from kit.report.slides import LONGEST, slide_image, slide_prediction, slide_truth
from kit.report.thumbnails import Thumbnails, thumbnails_of
from kit.runs.allowed import leak_notes
from kit.runs.folds import edited
from kit.runs.oof import finished, score_again, scored, scores
from kit.runs.provenance import merged
from kit.runs.run import Run
from kit.runs.submit import test_time
from kit.runs.truth import Truth
from kit.scoring.counts import Scores
from kit.scoring.metrics import Metric, scores_of_images
from kit.system.files import run_lock, write_atomic
from kit.system.run_folder import read_json

TUNED = ("rule", "metric", "before", "tuned", "cross_fitted", "gap", "gain", "components")  # of rule.json


def report(
    run: Run,
    metric: Metric | None = None,
    further: Callable[[Run], dict[str, float | dict[str, float]]] | None = None,
    csv_size: tuple[int, int] | None = None,
) -> None:
    """Pool the finished folds: oof.csv, report.json, report.html, and a short table on the screen.

    metric: the competition's own; the report leads with it. further: gives scores of the recipe's own, by name; for a
    table {name of a row: {column: score}} too.
    csv_size: (height, width) of the submitted masks where the competition wants another size than the images'.
    """
    if not run.world.main:
        return
    score_again(run, metric)
    done = finished(run)
    own = {"folds": done, "scores": {**_components_alone(run, metric), **(further(run) if further else {})}}
    write_atomic(run.folder / "further.json", json.dumps(own, default=float))
    if other := [fold for fold in scored(run) if fold not in done]:
        which = _named(other).lower()
        print(f"left out: {which}, predicted by other settings, or not whole any more. Run the same command for them")
    print(summary(write_run_report(run, metric, csv_size)))
    print(f"report: {run.folder / 'report.html'}", flush=True)
    for note in _edit_notes(run):
        print(f"note: {note}", flush=True)


def _components_alone(run: Run, metric: Metric | None) -> dict[str, float]:
    """Where objects grow from seeds, the metric of the connected components of the same levels, to be compared with."""
    if metric is None or not run.rule.border or run.rule.seed is None:
        return {}
    rule = replace(run.rule, seed=None)

    def count(id: str) -> np.ndarray:
        truth = run.dataset.read_mask(id)
        return np.asarray(metric.counts(truth, rule.mask(run.store.read(id), truth.shape)), float)

    counts = [count(id) for fold in finished(run) for id in run.held_out(fold)]
    return {f"{metric.name}, by connected components alone": float(metric.score(np.sum(counts, axis=0)))}


def write_run_report(run: Run, metric: Metric | None = None, csv_size: tuple[int, int] | None = None) -> dict:
    """Write oof.csv, report.json and report.html anew. Returns the content of report.json."""
    drawn = _thumbnails(run)  # before the lock: it may take minutes
    with run_lock(run.folder / "report.lock", wait=600):  # another fold may finish at the same time
        found = scores(run)
        write_atomic(run.folder / "oof.csv", _table(found, metric).to_csv(index=False))
        return write_report(results(run, found, metric, csv_size, drawn), run.folder)


def _table(found: Scores, metric: Metric | None) -> pd.DataFrame:
    """The rows of the run's oof.csv: those of its folds, and the metric of each image alone, empty without a metric."""
    none = metric is None or found.counts is None
    return found.images.assign(metric=np.nan if none else scores_of_images(metric, found.counts))


def results(
    run: Run,
    found: Scores,
    metric: Metric | None,
    csv_size: tuple[int, int] | None = None,
    drawn: Thumbnails | None = None,
) -> Results:
    """All that the page shows of the folds in `found`. drawn: their images; None: the page has no gallery."""
    folds = sorted({int(fold) for fold in found.images["fold"]})
    begun = [read_json(run.fold_folder(fold) / "origin.json") for fold in folds]
    origins = [*filter(None, begun), run.origin]
    own = read_json(run.folder / "further.json")
    return Results(
        title=run.name,
        drawn=run.dataset.drawn,
        classes=run.dataset.classes,
        notes=(*run.dataset.notes, *_size_notes(csv_size), *_group_notes(run), *_slide_notes(run), *_own_notes(run)),
        further=own["scores"] if own.get("folds") == folds else {},  # else of fewer folds than there are now
        command="\n".join(dict.fromkeys(one["command"] for one in origins)),
        config={**run.flags.values, **read_json(run.folder / "settings.json")},
        versions=merged([one["versions"] for one in origins]),
        tta=str(run.tta),
        size=run.frame.resizing.size,
        images=found.images,
        matrices=found.matrices,
        levels=found.levels,
        metric=metric,
        counts=found.counts,
        channels=tuple(run.dataset.channels),
        volumes=getattr(run.dataset, "volumes", None),
        task=run.task.name,
        rule=run.rule,
        errors=found.errors,
        touches=found.touches,
        outlines=found.outlines,
        band=found.band,
        confidence=found.confidence,
        thumbnails=drawn and drawn.images,
        brightness=drawn and drawn.brightness_of(found.images["id"]),
        tuned=tuned_facts(run),
        objects=objects_of(run, found.images["id"].tolist()),
        kinds=kinds_of(run, found.images["id"].tolist()),
        history={fold: run.history(fold) for fold in folds},
        seconds=_seconds(run, folds),
        folds=run.num_folds,
        **_readers(run),
    )


def _thumbnails(run: Run) -> Thumbnails | None:
    """Those of the finished folds; None, and a line on the screen, where they cannot be drawn."""
    try:
        return thumbnails_of(run, finished(run))
    except (OSError, ValueError) as error:
        print(f"note: the page has no gallery: {error}", flush=True)
        return None


def tuned_facts(run: Run) -> dict | None:
    """What the report says of rule.json; None without one. The scores of the report are those of the run's own rule."""
    chosen = read_chosen(run.folder, lambda: scored_folds(run.folder))
    if chosen is None:
        return None
    facts = {name: chosen.facts.get(name) for name in TUNED}  # one that was written by hand may hold the rule alone
    facts["before"] = {"rule": None, "score": None} | (facts["before"] or {})
    facts["gain"] = facts["gain"] and {"value": None, "low": None} | facts["gain"]
    views = f" with views {views_of(chosen.facts['views'])}" if "views" in chosen.facts else ""
    text = f"{Rule(**facts['rule'])!r}{views}"
    return facts | {"used": chosen.rule is not None, "why": chosen.why, "text": text}


def _readers(run: Run) -> dict[str, Callable[[str], np.ndarray]]:
    """How the page reads an image, its truth and its prediction, of one size."""
    if has_regions(run.dataset):
        own = {"image": slide_image, "truth": slide_truth, "prediction": slide_prediction}
        return {f"read_{what}": functools.partial(read, run) for what, read in own.items()}
    return {
        "read_image": run.dataset.read_image,
        "read_truth": Truth(run.folder, run.task).read if run.task.has_objects else run.dataset.read_mask,
        "read_prediction": lambda id: run.store.mask(id, run.dataset.shape(id)),
    }


def _size_notes(csv_size: tuple[int, int] | None) -> list[str]:
    """A sentence where the leaderboard scores masks of another size than the report."""
    if csv_size is None:
        return []
    return [
        f"The CSV holds masks of {csv_size[0]} × {csv_size[1]} (height × width) and the leaderboard scores these; the "
        "scores here are of masks at the images' own size, so the two differ a little."
    ]


def _own_notes(run: Run) -> list[str]:
    shared = [f"{run.shared.partition(';')[0]}."] * bool(run.shared)  # the images are named before training
    return [*shared, *_split_notes(run), *_edit_notes(run), *leak_notes(run.folder)]


def _slide_notes(run: Run) -> list[str]:
    """A sentence about what the page shows of slides."""
    if not has_regions(run.dataset):
        return []
    size = f", shrunk by {run.dataset.scale}," if run.dataset.scale > 1 else ""
    return [
        f"The images are slides. Networks see tiles of them{size} and scores count every pixel of the slides' own "
        f"size; the validation after each epoch looks at {run.dataset.validation} tiles of a slide at most. The page "
        f"shows slides at up to {LONGEST} pixels, so its errors are those of the pixels shown."
    ]


def _seconds(run: Run, folds: list[int]) -> dict[str, float]:
    """Run time of each stage."""
    lines = [line for fold in folds for line in run.history(fold)]
    test = test_time(run)
    return {
        "training": sum(line["seconds"] for line in lines),
        "waiting for images in training": sum(line["waited"] for line in lines),
        "validation after each epoch": sum(line["val_seconds"] for line in lines),
        "out-of-fold prediction and scoring": sum(
            read_json(run.fold_folder(fold) / "finished.json")["seconds"] for fold in folds
        ),
    } | ({f"prediction of {test['images']} test images": test["seconds"]} if test else {})


def _group_notes(run: Run) -> list[str]:
    """A sentence about groups that nobody gave."""
    if has_groups(run.dataset):
        return []
    return ["No groups were given: if several images show one patient, car or scene, these scores are too high."]


def _split_notes(run: Run) -> list[str]:
    """A sentence about images that no fold holds out."""
    always = run.folds < 0
    if not always.any():
        return []
    groups = np.asarray(run.dataset.groups)
    leaks = sorted(set(groups[always]) & set(groups[~always]))
    leak = f" Groups shared with the held-out ones: {', '.join(leaks[:5])} ({len(leaks)})." if leaks else ""
    return [f"The data set's own split: {always.sum()} images are in no fold and always trained on.{leak}"]


def _edit_notes(run: Run) -> list[str]:
    """Sentences about folds that were trained or predicted before the recipe was edited."""
    facts, done, trained = scored(run), finished(run), read_json(run.folder / "settings.json").get("network")
    predicted = [fold for fold in done if facts[fold].get("recipe") != run.origin["recipe"]]
    other = [fold for fold in done if trained and facts[fold].get("network", trained) != trained]
    cases = (
        (edited(run), "began to train before the recipe was edited"),
        (predicted, "{} predicted before the recipe was edited"),
        (other, "{} predicted by a network that is not built as in training"),
    )
    notes = [f"{_named(folds)} {what.format('were' if len(folds) > 1 else 'was')}." for folds, what in cases if folds]
    if not notes:
        return []
    compared = (
        "Data, folds, flags, sizes, numbers of the plan, optimizer and values of the loss are compared and are the "
        "same. Other edits reach only what is trained or predicted after them."
    )
    return [" ".join([*notes, compared])]


def _named(folds: list[int]) -> str:
    return f"Fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"
