"""Averages of the weights of a run's last epochs, as a run of its own: the work behind `python -m kit soup`.

    made = make_soup(read_run("runs/mine"), images, Path("runs/mine_soup"))

Every fold keeps the weights of the same epochs (Plan.keep). An average is named by the epochs that it is the mean of,
() for the weights that the run predicts with, so one choice stands for a network of each fold. Tried are each epoch
alone, the mean of the last 2, 3, …, and a greedy soup (Wortsman et al. 2022, recipe 1: the epochs from the best one on,
each added where the score does not fall). The network of fold k is the average that scores best on the OTHER folds'
held-out images, so its own held-out images are scored by a network that was not chosen on them. What is scored is what
predicts: the new run is compared, tuned and blended as any other.

    runs/mine_soup/soup.json                  the epochs of each fold, and the scores
    runs/mine_soup/fold<k>/last.safetensors   the average, with batch normalisation computed anew on training images
    runs/mine_soup/oof/, truth/, …            as of a finished run
"""

import csv
import io
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from kit.data.dataset import Dataset
from kit.datasets.images_alone import open_images
from kit.prediction.rule import channels_of
from kit.prediction.saved import full_fits, write_saved
from kit.prediction.store import Store
from kit.runs.averages import Averages, Epochs
from kit.runs.finished import FinishedRun
from kit.runs.testing import SIZES, STORES
from kit.runs.view_stores import open_training_images
from kit.scoring.counts import VERSION, score
from kit.scoring.crossfit import ONE_SIDED, CrossFit, crossfit_search, score_of
from kit.scoring.intervals import Interval, interval_of_metric
from kit.system.files import digest, list_some, short_hash, write_atomic
from kit.system.plain import number
from kit.system.run_folder import AUDIT, fold_name, read_json
from kit.training.averages import kept_epochs
from kit.training.checkpoint import save_weights

FILE = "soup.json"
COPIED = ("folds.csv", "settings.json", "contents.csv", "truth", AUDIT)


@dataclass(frozen=True)
class Soup:
    """What was found. picks of `found`: Epochs. scores: of what was tried, on all images.

    score: of the new run. out: its folder. It is None where the run's own weights are the choice of every fold.
    """

    run: FinishedRun
    found: CrossFit
    scores: dict[Epochs, float]
    score: Interval
    fits: tuple[str, ...]
    out: Path | None
    seconds: float

    @property
    def facts(self) -> dict:
        """The content of soup.json; epochs count from 1, [] stands for the run's own weights."""
        found, gain = self.found, self.found.gain
        bound = {name: number(getattr(gain, name)) for name in ("value", "low", "high", "df")} if gain else None
        ends = {name: number(getattr(self.score, name)) for name in ("value", "low", "high")}
        return {
            "of": str(self.run.folder),
            "key": self.run.key,
            "metric": self.run.metric.name,
            "before": number(found.default_score),
            "tuned": number(found.tuned),
            "cross_fitted": number(found.score),
            "score": {"name": self.run.metric.name, **ends},
            "gain": bound and {**bound, "note": gain.note, "one_sided": ONE_SIDED},
            "picks": {str(fold): list(epochs) for fold, epochs in found.picks.items()},
            "best": list(found.best),
            "full_fits": list(self.fits),
            "tried": [{"epochs": list(epochs), "score": number(value)} for epochs, value in self.scores.items()],
            "images": len(self.run.ids),
            "groups": len(set(self.run.groups)),
            "seconds": round(self.seconds, 2),
            "run": self.out and str(self.out),
        }


def make_soup(
    run: FinishedRun,
    images: Path,
    out: Path,
    *,
    last: int | None = None,
    tests: Path | None = None,
    device: str = "auto",
) -> Soup:
    """Choose the average of each fold, and leave the new run in `out`, whole or not at all.

    images: the folder or zip of the run's training images. last: nothing is chosen, every fold is the mean of so many
    last epochs. tests: the folder or zip of the test images, whose predictions are kept then, as blends need them.
    Full fits that keep the same epochs become the average that is best on all folds.
    It executes the Python that the run folder keeps in `code`. Raises FileExistsError where `out` exists; ValueError
    where folds keep other epochs, where there is one fold and a choice is asked for, and for slides.
    """
    started = time.perf_counter()
    if out.exists():
        raise FileExistsError(f"{out} exists: give the averages a new run folder, or remove that one")
    epochs = _common_epochs(run)
    _check_choice(run, epochs, last)
    averages = Averages(run, open_training_images(run, images), device)
    averages.check()

    def choose(rows: np.ndarray) -> Epochs:
        return averages.best_of(epochs, rows) if last is None else epochs[-last:]

    found = crossfit_search(choose, averages.counts, run.fold_of, run.groups, run.metric, ())
    soup = _found(run, replace(found, picks=found.picks or {run.folds[0]: found.best}), averages, out)
    if soup.out is not None:
        with _Partial(out) as partial:
            _write(partial, soup, averages)
            if tests is not None:
                _write_tests(partial, soup, averages, tests)
            soup = replace(soup, seconds=time.perf_counter() - started)
            write_atomic(partial / FILE, json.dumps(soup.facts, indent=1, allow_nan=False) + "\n")
    return replace(soup, seconds=time.perf_counter() - started)


def _found(run: FinishedRun, found: CrossFit, averages: Averages, out: Path) -> Soup:
    total, is_new = score_of(run.metric), any(found.picks.values())
    scores = {one: float(total(counts.sum(axis=0))) for one, counts in averages.known.items()}
    fits = tuple(fit for fit in full_fits(run.folder, run.saved) if {*found.best} <= {*kept_epochs(run.folder / fit)})
    counts = averages.counts(found.best) if found.counts is None else found.counts
    score = interval_of_metric(run.metric, counts, run.groups)
    return Soup(run, found, scores, score, fits if is_new else (), out if is_new else None, 0.0)


class _Truths(Dataset):
    """The true masks that a run keeps, for scoring."""

    def __init__(self, run: FinishedRun) -> None:
        self.read_mask, self.classes, self.task, self.ids = run.truth, run.saved.classes, run.saved.task, list(run.ids)


def _common_epochs(run: FinishedRun) -> Epochs:
    if run.has_slides:
        raise ValueError(f"{run.folder} holds predictions of slides, of which averages are not made")
    kept = {fold: tuple(kept_epochs(run.folder / fold_name(fold))) for fold in run.folds}
    first, *others = kept.values()
    if not first or any(one != first for one in others):
        listed = "; ".join(f"fold {fold}: {', '.join(map(str, own)) or 'none'}" for fold, own in kept.items())
        raise ValueError(
            f"the folds of {run.folder} keep the weights of these epochs: {listed}. An average needs the same of all: "
            "train with Plan(…, keep=5) in another run folder, which keeps the last five"
        )
    return first


def _check_choice(run: FinishedRun, epochs: Epochs, last: int | None) -> None:
    """Raise ValueError where so many epochs are not kept, or where there are no other folds to choose on."""
    if last is not None and not 1 <= last <= len(epochs):
        raise ValueError(f"the mean of the last {last} epochs is asked for, and {run.folder} keeps {len(epochs)}")
    if last is None and len(run.folds) < 2:
        raise ValueError(
            f"one fold of {run.folder} is finished, and an average is chosen for a fold on the other folds: train "
            "another fold, or say how many of the last epochs to average"
        )


class _Partial:
    """A folder beside `out` that becomes it at the end; nothing is left after an error."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def __enter__(self) -> Path:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.partial = Path(tempfile.mkdtemp(prefix=f".{self.out.name}.partial-", dir=self.out.parent))
        return self.partial

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind is None:
            self.partial.chmod(self.out.parent.stat().st_mode & 0o777)
            self.partial.rename(self.out)
        else:
            shutil.rmtree(self.partial, ignore_errors=True)


def _write(folder: Path, soup: Soup, averages: Averages) -> None:
    """Write the new run folder."""
    run = soup.run
    for name in COPIED:
        if (run.folder / name).is_dir():
            shutil.copytree(run.folder / name, folder / name)
        elif (run.folder / name).is_file():
            shutil.copyfile(run.folder / name, folder / name)
    config = read_json(run.folder / "config.json")
    picks = "; ".join(f"{fold}: {'+'.join(map(str, own)) or 'own'}" for fold, own in soup.found.picks.items())
    identity = {**config.get("identity", {}), "averaged epochs": picks}  # no recipe trains here
    write_atomic(folder / "config.json", json.dumps({**config, "identity": identity}, indent=2) + "\n")
    write_saved(folder, run.saved)
    for fold, epochs in soup.found.picks.items():
        _write_fold(folder, fold, epochs, averages)
    for fit in soup.fits:
        _write_weights(folder / fit, averages.network(fit, soup.found.best), soup.found.best)
        facts = read_json(run.folder / fit / "finished.json")
        write_atomic(folder / fit / "finished.json", json.dumps({**facts, "averaged": list(soup.found.best)}))


def _write_fold(folder: Path, fold: int, epochs: Epochs, averages: Averages) -> None:
    """The weights, predictions and scores of a fold. finished.json comes last."""
    run, started = averages.run, time.perf_counter()
    source, own, ids = run.folder / fold_name(fold), folder / fold_name(fold), averages.held_out(fold)
    store = Store(folder / "oof", channels_of(run.task, run.rule), run.rule)
    if epochs:
        network = averages.network(fold, epochs)
        _write_weights(own, network, epochs)
        averages.predict(network, averages.images, ids, store)
    else:
        own.mkdir()
        shutil.copyfile(source / "last.safetensors", own / "last.safetensors")
        for id in ids:
            store.write(id, run.levels(id))
    if (source / "metrics.jsonl").is_file():
        shutil.copyfile(source / "metrics.jsonl", own / "metrics.jsonl")
    groups = dict(zip(run.ids, run.groups, strict=True))
    metric = None if run.saved.metric is None else run.metric
    score(_Truths(run), store, ids, [groups[id] for id in ids], fold, metric).write(own)
    before = read_json(source / "finished.json")
    facts = {"key": short_hash((before["key"], digest(own / "last.safetensors"))), "counts": VERSION}
    took = {"seconds": round(time.perf_counter() - started, 2)} if epochs else {}
    write_atomic(own / "finished.json", json.dumps({**before, **facts, **took, "averaged": list(epochs)}))


def _write_tests(folder: Path, soup: Soup, averages: Averages, tests: Path) -> None:
    """The predictions of the test images by each fold's network, as a recipe keeps them."""
    saved = soup.run.saved
    images = open_images(tests, saved.channels, saved.dtype, saved.images)
    ids = [id for id in saved.ids if id in {*images.ids}]
    if lost := [id for id in saved.ids if id not in {*ids}] or not ids:
        what = list_some(lost, 5) if ids else " the run has no competition, so it names none"
        raise ValueError(f"{tests} lacks test images:{what}")
    stores = {fold: folder / "test" / f"{fold_name(fold)}-averaged" for fold in soup.found.picks}
    for fold, place in stores.items():
        network = averages.network(fold, soup.found.picks[fold])
        averages.predict(network, images, ids, Store(place, channels_of(soup.run.task, soup.run.rule), soup.run.rule))
    rows, text = [(id, *images.shape(id)[:2]) for id in ids], io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("id", "height", "width"), *rows])
    write_atomic(folder / SIZES, text.getvalue())
    write_atomic(folder / STORES, json.dumps({str(fold): place.name for fold, place in stores.items()}))


def _write_weights(folder: Path, network: nn.Module, epochs: Sequence[int]) -> None:
    folder.mkdir(parents=True)
    save_weights(folder / "last.safetensors", network, {"averaged": list(epochs)})
