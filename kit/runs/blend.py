"""Blends of finished runs: the work behind `python -m kit blend`.

blend_pool.py     the out-of-fold predictions, made ready to be blended
blend_tuned.py    the blend's own rule, tuned
blend_submit.py   the submission, from kept test predictions

    submissions/blend.csv, and blend.json beside it: runs, weights, thresholds, the table, the expected score
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.prediction.chosen import read_chosen
from kit.prediction.rule import Rule
from kit.prediction.saved_blend import FORMAT
from kit.runs.blend_pool import Mixed, Progress, common_rule, is_competing, moved_rule, own_shifts, pool_of
from kit.runs.blend_tuned import TunedBlend, tune_blend
from kit.runs.finished import FinishedRun, read_run
from kit.runs.joining import join_runs
from kit.scoring.blend_pools import Mix
from kit.scoring.blending import Blend, Costs, blend, enough
from kit.scoring.intervals import Interval
from kit.system.files import write_atomic
from kit.system.plain import plain
from kit.system.run_folder import read_json


@dataclass(frozen=True)
class Cost:
    """What predicting the test images costs. seconds: of all networks of a run; None if unknown. source: where from."""

    seconds: float | None
    images: int
    source: str


@dataclass(frozen=True)
class RunsBlend:
    """What was found for some runs, by name. runs: with all their folds; joined: with their common ones."""

    runs: tuple[FinishedRun, ...]
    joined: tuple[FinishedRun, ...]
    costs: tuple[Cost, ...]
    rule: Rule
    found: Blend
    tuned: TunedBlend | None = None

    @property
    def mix(self) -> Mix:
        """The weights and thresholds that were chosen."""
        return self.found.chosen.mix

    @property
    def is_tuned(self) -> bool:
        """Whether a rule of the blend's own is used."""
        return bool(self.tuned and self.tuned.used)

    @property
    def final(self) -> Mixed:
        """How masks are made: by the recipes' rule at the chosen thresholds, or by the tuned one where it is used."""
        rule = self.tuned.found.best if self.is_tuned else moved_rule(self.rule, self.mix.shifts)
        return Mixed(self.mix, rule, self.is_tuned)

    @property
    def expected(self) -> Interval:
        """The score with weights and a rule chosen on other images; whether the rule is used was decided by it."""
        return self.tuned.expected if self.is_tuned else self.found.expected

    @property
    def gain(self) -> Interval:
        """The expected score less the cross-fitted one of the best run alone, by its recipe's rule."""
        return self.tuned.gain if self.is_tuned else self.found.gain

    @property
    def notes(self) -> list[str]:
        """What a reader must know beside the table: the runs' own tuned rules take no part."""
        chosen = {run.folder: read_chosen(run.folder, lambda run=run: run.folds) for run in self.runs}
        return [
            f"{folder / 'rule.json'} is not applied: a blend begins at the rule of the recipes, and what suits one run "
            "does not suit a mean of several"
            for folder, one in chosen.items()
            if one and one.rule
        ]

    @property
    def caution(self) -> str:
        """Where the expected score is not that of a blend: why, in a sentence; else ""."""
        parts, unchosen = len(self.found.nested), len(self.found.unchosen)
        rule = ", with the tuned rule" if self.is_tuned else ""
        if len(self.runs) == 1 or not unchosen:
            return ""
        if parts == 2:
            return (
                f"the expected score is that of the best run alone{rule}: with two groups the choice among the ways "
                "to blend cannot be made on other images than it is scored on"
            )
        where = "" if unchosen == parts else f" on {unchosen} of {parts} parts of the images"
        return (
            f"the expected score is that of the best run alone{rule}{where}: the choice among the ways to blend "
            "cannot be made there, because too few of the other images have a score"
        )

    def facts(self) -> dict:
        """All of it as plain values, for a JSON file."""
        first, found = self.joined[0], self.found
        return plain({
            "format": FORMAT,
            "metric": first.metric.name,
            "images": len(first.ids),
            "groups": len(set(first.groups)),
            "folds": list(first.folds),
            "runs": [
                {
                    "name": run.name, "folder": str(run.folder), "key": joined.key, "folds": list(joined.folds),
                    "networks": list(run.folds),
                    "score": _interval(score), "seconds": cost.seconds, "test_images": cost.images,
                    "timed_by": cost.source,
                }
                for run, joined, score, cost in zip(self.runs, self.joined, found.runs, self.costs, strict=True)
            ],
            "table": [
                {
                    "name": one.name, "score": _interval(one.interval), "tuned": one.tuned, "seconds": one.cost,
                    "within_budget": one.is_affordable, **self.mix_facts(one.mix),
                    "picks": {str(fold): self.mix_facts(mix) for fold, mix in one.picks.items()},
                }
                for one in found.candidates
            ],
            "chosen": {
                "name": found.chosen.name, **self.mix_facts(self.mix, self.final.rule),
                **({"tuned": True} if self.is_tuned else {}),
            },
            **({"tuned": self.tuned.facts} if self.tuned else {}),
            "notes": [*self.notes, *filter(None, [self.caution])],
            "gain_over_best_run": _interval(self.gain),
            "left_out": "folds" if len(first.folds) > 1 else "parts of the groups",
            "expected": _interval(self.expected),
        })  # fmt: skip

    def mix_facts(self, mix: Mix, rule: Rule | None = None) -> dict:
        """The weights and the threshold of a blend, as plain values. rule: another one than the recipes'."""
        rule = rule or moved_rule(self.rule, mix.shifts)
        names = list(self.joined[0].task.classes) if self.rule.separate else ["all"]
        parts = {
            name: {run.name: n / sum(own) for run, n in zip(self.runs, own, strict=True) if n}
            for name, own in zip(names, mix.weights, strict=True)
        }
        shared = len(set(mix.weights)) == 1
        return {
            "weights": next(iter(parts.values())) if shared else parts,
            "whole_weights": [list(own) for own in mix.weights],
            "threshold": None if is_competing(self.joined[0]) else rule.threshold,
            "rule": rule.facts,
        }


def blend_runs(
    folders: Sequence[Path],
    budget: float | str | None = None,
    progress: Progress = lambda items, total: items,
    tune: bool = False,
) -> RunsBlend:
    """Choose a blend of the runs in some folders; in the order of their names, so that ties are broken alike.

    budget: seconds that predicting the test images may cost; a text "2x": so many times the cost of the best run.
    tune: the blend's rule is tuned as well, see blend_tuned.py.
    Raises ValueError where runs cannot be joined (see join_runs), are named alike, or are not timed and have a budget.
    """
    runs = sorted((read_run(folder) for folder in folders), key=lambda run: run.name)
    if len({run.name for run in runs}) < len(runs):
        raise ValueError(f"each run is given once, by a name of its own; got {', '.join(run.name for run in runs)}")
    joined = join_runs(runs)
    costs = [cost_of(run) for run in runs]
    limit = _limit(budget, joined, costs)
    pool = pool_of(joined, progress)
    found = blend(
        pool, joined[0].fold_of, joined[0].groups, shifts=_shifts(joined, pool.layers),
        costs=Costs([cost.seconds for cost in costs], limit), classes=_own_classes(joined[0]) if len(runs) > 1 else (),
    )  # fmt: skip
    rule = common_rule(joined)
    tuned = tune_blend(joined, rule, found) if tune else None
    return RunsBlend(tuple(runs), tuple(joined), tuple(costs), rule, found, tuned)


def cost_of(run: FinishedRun) -> Cost:
    """What the run's networks take for its test images, or where it has none for as many as were held out."""
    images = len(run.test_ids) or len(run.ids)
    timed = read_json(run.folder / "test.json")
    if timed.get("images"):
        networks, source = timed.get("networks"), "test.json"
        if networks is None:  # written by an older kit
            networks, source = len(run.folds), "test.json, which does not say of how many networks"
        seconds = timed["seconds"] / timed["images"] / networks * len(run.folds) * images
        return Cost(round(seconds, 2), images, source)
    folds = [read_json(run.folder / f"fold{fold}/finished.json").get("seconds") for fold in run.folds]
    if None in folds:
        return Cost(None, images, "not timed")
    return Cost(round(sum(folds) / len(run.ids) * images * len(folds), 2), images, "finished.json")


def write_facts(path: Path, blended: RunsBlend, csv: Path | None) -> None:
    """Write what was found beside the CSV. csv: None where it was not written."""
    write_atomic(
        path,
        json.dumps({**blended.facts(), "csv": None if csv is None else csv.name}, indent=2, allow_nan=False) + "\n",
    )


def _limit(budget: float | str | None, runs: Sequence[FinishedRun], costs: Sequence[Cost]) -> float | None:
    if budget is None:
        return None
    if unknown := [str(run.folder) for run, cost in zip(runs, costs, strict=True) if cost.seconds is None]:
        raise ValueError(
            f"a budget needs the time of every run, and {', '.join(unknown)} has none: run its recipe again"
        )
    if not isinstance(budget, str):
        return float(budget)
    scores = [float(run.metric.score(run.scores.counts.sum(axis=0))) for run in runs]
    return float(budget.removesuffix("x")) * costs[int(np.argmax(scores))].seconds


def _shifts(runs: Sequence[FinishedRun], layers: int) -> np.ndarray:
    return np.zeros((len(runs), layers), int) if is_competing(runs[0]) else own_shifts(runs)


def _own_classes(run: FinishedRun) -> list[int]:
    """The classes that may have weights of their own."""
    if not run.rule.separate:
        return []
    return enough(run.scores.matrices[:, :, 1].sum(axis=-1) > 0, run.groups)


def _interval(found: Interval) -> dict:
    return {"value": found.value, "low": found.low, "high": found.high, "note": found.note}
