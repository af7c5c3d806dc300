"""A full fit: a network trained on all images, for as many epochs as the folds, with a seed of its own.

    python recipes/mine.py --fold full --seed 1        runs/mine/full1/: weights, metrics.jsonl, finished.json

Nothing is held out, so a full fit has no score. Its submission says what to expect from the scores of the folds: their
networks saw fewer images, so it should do no worse. An epoch has more steps than that of a fold, as many more as there
are more images. Every seed has a folder; a submission is the mean of all that are finished.

Folds come first. They choose how long and with which settings to train, and the run's own seed stays theirs.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from kit.prediction.chosen import read_chosen
from kit.prediction.saved import scored_folds
from kit.runs.finished import with_metric
from kit.runs.oof import finished, prediction_key, up_to_date
from kit.runs.run import Run
from kit.scoring.counts import Scores
from kit.scoring.intervals import interval_of_metric
from kit.scoring.metrics import Metric
from kit.system.files import counted, write_atomic
from kit.system.run_folder import read_json

ABOUT = "of new groups of images, by the networks of the folds, which saw fewer images"


def finished_full(run: Run) -> list[str]:
    """The full fits that are finished, by the recipe as it is now: ["full0", "full1"]."""
    recipe, done = run.origin["recipe"], []
    for path in sorted(run.folder.glob("full*/finished.json")):
        facts, name = read_json(path), path.parent.name
        is_there = path.with_name("last.safetensors").exists()
        if is_there and facts.get("recipe") == recipe != "unknown" and facts.get("key") == prediction_key(run, [name]):
            done.append(name)
    return done


def check_folds(run: Run) -> None:
    """Raise ValueError unless a finished fold was predicted by the recipe and settings of now.

    Else its score would be that of another network, and the folder would keep that network's code. The code in a
    notebook has no name to compare.
    """
    if run.origin["recipe"] != "unknown" and not up_to_date(run):
        raise ValueError(
            f"no fold of {run.folder} is finished by the recipe and settings of now, and a network on all images is "
            "trained as the folds were. Run the recipe for a fold first: what is trained already is only predicted "
            "again. To train an edited network, give its folds and it another run folder"
        )


def finish_full(run: Run, fold: str) -> None:
    """Note that a full fit is trained to its end."""
    if run.world.main:
        facts = {"key": prediction_key(run, [fold]), "recipe": run.origin["recipe"], "seed": run.seed}
        about = {"epochs": len(run.history(fold)), "images": len(run.dataset.ids)}
        write_atomic(run.fold_folder(fold) / "finished.json", json.dumps({**facts, **about}))
    run.world.wait()


def expectation(run: Run, metric: Metric | None) -> dict | None:
    """What the folds say of a full fit's score; None where no fold is finished.

    {"metric", "value", "low", "high", "note", "folds", "of", "images", "groups", "about", "from"}: the score of all
    held-out images and its interval of 95 %. from: "folds", or "cross-fitted rule" where a tuned rule is in use: then
    the value is its cross-fitted score, and the interval is moved by as much.
    """
    folds = finished(run)
    if not folds:
        return None
    found = Scores.join([Scores.read(run.fold_folder(fold)) for fold in folds])
    metric, counts = with_metric(run.task, metric, found)
    groups = found.images["group"].tolist()
    own = interval_of_metric(metric, counts, groups)._asdict()
    gain, tuned = 0.0, _cross_fitted(run)
    if tuned is not None:
        gain = tuned - own["value"]
    ends = {name: None if own[name] is None else float(own[name] + gain) for name in ("value", "low", "high")}
    about = {
        "note": own["note"],
        "folds": folds,
        "of": run.num_folds,
        "images": len(groups),
        "groups": len(set(groups)),
    }
    origin = "folds" if tuned is None else "cross-fitted rule"
    return {"metric": metric.name, **ends, **about, "about": ABOUT, "from": origin}


def _cross_fitted(run: Run) -> float | None:
    """The cross-fitted score of the tuned rule, where it is in use."""
    chosen = read_chosen(run.folder, lambda: scored_folds(run.folder))
    return chosen.facts["cross_fitted"] if chosen and chosen.rule else None


def write_expectation(run: Run, metric: Metric | None, csv: Path, fits: Sequence[str]) -> None:
    """State beside a CSV of full fits, in a JSON of the same name, which score to expect; print it."""
    found = expectation(run, metric)
    facts = {"submission": csv.name, "networks": list(fits), "expected": found}
    write_atomic(csv.with_suffix(".json"), json.dumps(facts, indent=1, allow_nan=False) + "\n")
    print(describe(found), flush=True)


def describe(found: dict | None) -> str:
    """A line on what to expect."""
    if found is None:
        return "expected score: unknown, because no fold is finished. Train the folds with the same command"
    ends = "" if found["low"] is None else f" (95 % from {found['low']:.4f} to {found['high']:.4f})"
    count = counted(len(found["folds"]), "fold")
    which = count if len(found["folds"]) == found["of"] else f"{count} of {found['of']}"
    return f"expected score: {found['metric']} {found['value']:.4f}{ends}, from {which}; {found['about']}"
