"""Pseudo-labels for the test images, made by finished runs, without a leak into the out-of-fold scores.

    samples = pseudo_samples(run, fold, [Path("runs/first")], competition, augment)
    plan = Plan(…, samples=samples)

The rule: the training of fold k uses only labels made by networks that were trained, chosen and blended without fold k.
So fold k is labelled by the networks of fold k of the other runs, and by no others: all other networks have seen the
images that fold k holds out. They have the last epoch's weights, their mean has equal weights, and soft labels have no
threshold, so nothing was chosen on fold k. A run that was itself trained with pseudo-labels may label again (a further
round): its fold k knows nothing of fold k either. For a full fit, which holds nothing out, all folds label.

runs/<run>/fold<k>/pseudo.json says which network labelled what.

A test image that is a copy of a held-out one would carry that image's label into training, as guessed by a network that
has not seen it: audit the data for copies before.
"""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kit.data.cache import sample_reader
from kit.data.pseudo import PseudoSamples
from kit.data.samples import SegmentationDataset
from kit.runs.finished import FinishedRun, read_run
from kit.runs.run import Run
from kit.submission.competition import Competition
from kit.system.files import cache_folder, digest, list_some, write_atomic
from kit.system.run_folder import Fold, fold_name, is_full, read_json

RECORD = "pseudo.json"
Augmentation = Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]


def pseudo_samples(
    run: Run,
    fold: Fold,
    labellers: Sequence[Path],
    competition: Competition,
    augment: Augmentation | None = None,
    *,
    share: float = 0.5,
    undecided: tuple[float, float] = (0.4, 0.6),
    cache: bool = True,
) -> PseudoSamples:
    """The samples of a fold: its labelled images, and the competition's test images with labels of other runs.

    labellers: run folders with the same folds and kept test predictions. share: of the samples, with pseudo-labels.
    undecided: pixels of a mean probability between these are ignored.
    Raises ValueError where a run cannot label this fold, naming it and the reason.
    """
    if run.rule.border:
        raise ValueError("pseudo-labels are masks of classes, which cannot hold the borders of the rule: train without")
    ids = list(competition.test_ids)
    if run.rule.detected:
        raise ValueError("pseudo-labels are probabilities of pixels, and this run's rule is of detected objects")
    if same := sorted({*ids} & {*run.dataset.ids}):
        raise ValueError(f"test images have the ids of training images:{list_some(same, 5)}")
    used = [labeller(run, fold, folder, ids) for folder in labellers]
    sources = [one for found, folds in used for one in _sources(found, folds)]
    if not sources:
        raise ValueError("no run was given whose networks label the test images")
    reader = sample_reader(run.dataset, run.frame.resizing, cache_folder() if cache else None)
    samples = PseudoSamples(
        SegmentationDataset(reader, run.trained_on(fold), augment),
        ids,
        competition.dataset.read_image,
        functools.partial(_levels, [found.tests(own) for found, folds in used for own in folds]),
        run.frame.resizing,
        share=share,
        undecided=undecided,
        separate=run.task.overlaps,
        seed=run.seed,
        key=[(one["weights"], one["predictions"]) for one in sources],
    )
    if run.world.main:
        _keep_record(run, fold, sources, samples)
    run.world.wait()
    return samples


def labeller(run: Run, fold: Fold, folder: Path, ids: Sequence[str]) -> tuple[FinishedRun, list[int]]:
    """A run that may label for `fold`, and which of its folds do. Raises ValueError with the reason otherwise."""
    if folder.resolve() == run.folder.resolve():
        raise ValueError(f"{folder} is this run itself: give another run, or this one another run folder (--run-dir)")
    found = read_run(folder)
    if digest(folder / "folds.csv") != digest(run.folder / "folds.csv"):
        raise ValueError(f"{folder} has other folds than this run, so its networks have seen held-out images")
    if found.rule.detected or found.rule.border:
        kept = "objects" if found.rule.detected else "probabilities of objects and of borders"
        raise ValueError(f"{folder} keeps {kept}, not of classes of pixels alone: it cannot give pseudo-labels")
    if (found.saved.task, found.saved.classes) != (run.task.name, tuple(run.dataset.classes)):
        raise ValueError(f"{folder} has other classes: {', '.join(found.saved.classes)}")
    folds = list(range(run.num_folds)) if is_full(fold) else [fold]
    for own in folds:
        if own not in found.folds:
            raise ValueError(f"fold {own} of {folder} is not finished: only its network may label for {_who(fold)}")
        store = found.tests(own)
        if store is None or (lost := store.missing(ids)):
            which = "" if store is None else f" of{list_some(lost, 5)}"
            raise ValueError(
                f"{folder} keeps no test predictions of fold {own}{which}. Run it again with keep_test=True in its "
                "Submission; finished folds are not trained again"
            )
        labelled_by = {one["fold"] for one in record_of(folder, own).get("labelled_by", ())}
        if labelled_by - {own}:
            raise ValueError(f"fold {own} of {folder} was itself trained with labels of folds {sorted(labelled_by)}")
    return found, folds


def record_of(folder: Path, fold: Fold) -> dict:
    """Which networks labelled the training of a fold; {} where it had no pseudo-labels."""
    return read_json(folder / fold_name(fold) / RECORD)


def _who(fold: Fold) -> str:
    return "a full fit" if is_full(fold) else f"fold {fold}"


def _sources(found: FinishedRun, folds: Sequence[int]) -> list[dict]:
    """The networks that label, in plain values."""
    return [
        {
            "run": found.name,
            "fold": fold,
            "weights": digest(found.folder / f"fold{fold}/last.safetensors"),
            "predictions": found.tests(fold).folder.name,
            "round": record_of(found.folder, fold).get("round", 0),
        }
        for fold in folds
    ]


def _keep_record(run: Run, fold: Fold, sources: Sequence[dict], samples: PseudoSamples) -> None:
    facts = {
        "round": 1 + max(one["round"] for one in sources),
        "labelled_by": list(sources),
        "images": len(samples.ids),
        "share": samples.share,
        "undecided": list(samples.undecided),
        "labels": samples.key,
    }
    write_atomic(run.fold_folder(fold) / RECORD, json.dumps(facts, indent=1) + "\n")


def _levels(stores: Sequence, id: str) -> list[np.ndarray]:
    return [store.read(id) for store in stores]
