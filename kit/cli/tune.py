"""python -m kit tune: choose the rule that makes masks of a run's predictions, and say honestly what it gains."""

import contextlib
import json
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.cli.texts import gain_cell, score_cell

WIDTH = 79


@dataclass(frozen=True)
class Tune:
    """Choose how a finished run's predictions become masks: thresholds, areas, holes, empty images.

    The rule goes to rule.json in the run folder. Its score is cross-fitted: each fold is scored with the rule that is
    chosen on the other folds. It is used by the recipe's CSV, by predict and by bundle, where its gain is sure enough
    and the rules of all folds but one agree with it: the same parts, with values at most one step of the search apart.
    Fewer parts (--only) agree more often. Of objects with borders the connected components of the same predictions are
    tuned too, and shown beside.
    With --views the held-out images are predicted again with each set of views, which needs the images of training
    (--images) and as much disk as oof/ for a set. The sets are then chosen from as all else is, and the best one is
    used with the rule. More views take longer to predict.
    A run whose metric is a class of your own executes the Python in its folder.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]  # the run folder
    # parts, with commas: threshold,min_area,fill_holes,keep_largest,top_area,per_class,seed,seed_area; all that it has
    only: str = ""
    views: tuple[Literal["none", "hflip", "flips", "d4"], ...] = ()  # the sets to try: 1, 2, 4, 8 views
    scales: tuple[float, ...] = ()  # with --views: each set is also tried at all of these and 1 together
    images: Path | None = None  # with --views: the folder or zip of the training images
    device: str = "auto"  # with --views: that predicts
    json: bool = False  # print one JSON object, the content of rule.json, and nothing else

    def run(self) -> int:
        """Tune, write rule.json and print what was found; 1 where the run cannot be tuned."""
        from kit.runs.finished import read_run  # imported here: PyTorch takes seconds
        from kit.runs.tuning import tune_run, write_tuned

        parts = tuple(filter(None, self.only.split(",")))
        try:
            run = read_run(self.run_dir)
            with contextlib.redirect_stdout(sys.stderr):
                tuned = tune_run(run, parts or None, self._ttas(run))
            write_tuned(tuned)
        except (ValueError, OSError) as error:
            print(json.dumps({"error": str(error)}) if self.json else f"error: {error}")
            return 1
        print(
            json.dumps(tuned.facts, allow_nan=False)
            if self.json
            else "\n".join(table(tuned.facts, tuned.run.task.classes))
        )
        return 0

    def _ttas(self, run: object) -> list:
        """The views to try, with predictions. Raises ValueError for flags that lack others."""
        if not self.views:
            if odd := [f"--{name}" for name in ("scales", "images") if getattr(self, name)]:
                raise ValueError(f"{' and '.join(odd)}: about views, and none are tuned without --views. Add it")
            return []
        if self.images is None:
            raise ValueError("--views needs the images that the run was trained on: --images DIR, a folder or zip")
        if not all(0.25 <= scale <= 4 for scale in self.scales):
            raise ValueError(f"--scales are factors of the network's size from 0.25 to 4; got {self.scales}")
        from kit.runs.view_stores import predict_views, view_sets

        ttas = view_sets(self.views, self.scales)
        for folder in predict_views(run, self.images, ttas, self.device):
            size = sum(path.stat().st_size for path in folder.iterdir())
            print(f"{folder}: {size / 1e6:.1f} MB", file=sys.stderr)
        return ttas


def table(facts: dict, classes: tuple[str, ...]) -> list[str]:
    """The content of rule.json as lines for a terminal. classes: of the run."""
    from kit.prediction.rule import Rule
    from kit.report.conventions import rule_sentences

    counts = [f"{facts[name]:,} {name}" for name in ("images", "groups")]
    folds, before = ", ".join(map(str, facts["folds"])), Rule(**facts["before"]["rule"])
    lines = [f"{facts['metric']}: {', '.join(counts)}, folds {folds}", ""]
    lines.append(f"{label_before(before, classes):30}{score_cell(facts['before']['score'])}")
    lines.append(f"{'tuned, on the same images':30}{score_cell(facts['tuned'])}")
    lines.append(f"{'cross-fitted':30}{score_cell(facts['cross_fitted'])}")
    if facts["gap"] is not None and facts["gain"]["value"] is not None:
        lines.append(f"{'gap: tuned flatters by':30}{facts['gap']:+9.5f}")
        lines.append(f"{'gain, cross-fitted':30}{gain_cell(facts['gain'])}")
    if plain := facts.get("components"):
        held, own = plain["cross_fitted"], facts["cross_fitted"]
        better = f"  (the watershed {own - held:+.5f})" if held is not None and own is not None else ""
        lines.append(
            f"{'components alone, tuned so too':30}{score_cell(plain['tuned'] if held is None else held)}{better}"
        )
    best = Rule(**facts["rule"])
    lines += ["", f"chosen on all images: {rule_words(best, classes)}"]
    for sentence in rule_sentences(best, classes):
        lines += textwrap.wrap(sentence, WIDTH, initial_indent="  ", subsequent_indent="  ")
    seen = facts.get("views_tried")
    if seen:
        times = f", {seen['times']:g} times the prediction" if seen["times"] != 1 else ""
        lines.append(f"  views: {seen['best']}{times} (the run's own: {seen['run']})")
        lines += [f"  {name:28}{score_cell(score)}  by the run's own rule" for name, score in seen["tried"].items()]
    for fold, pick in facts["picks"].items():
        found, views = Rule(**pick), f", views {seen['picks'][fold]}" if seen else ""
        is_same = found == best and (not seen or seen["picks"][fold] == seen["best"])
        lines.append(f"without fold {fold}: {'the same' if is_same else rule_words(found, classes) + views}")
    return [*lines, "", *textwrap.wrap(facts["why"], WIDTH)]


def rule_words(rule: object, classes: tuple[str, ...]) -> str:
    """A rule in a line: "threshold 0.45, min_area 64". rule: a kit.prediction.Rule. classes: of the run."""
    competing = len(classes) > 2 and not rule.separate
    parts = {name: value for name, value in rule.facts.items() if name != "objects"}
    if competing:
        del parts["threshold"]  # of classes that compete the likeliest is taken
    if "top_area" in parts:
        parts["top_area"] = f"{parts['top_area']} at {parts.pop('top', 0.5):g}"
    each = [f"{name} {_value(value)}" for name, value in parts.items() if value or name == "threshold"]
    return ", ".join(["the likeliest class"] * competing + each)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return "/".join(map(str, value))
    return "yes" if value is True else str(value)


def label_before(rule: object, classes: tuple[str, ...]) -> str:
    """How the rule without tuning is called. rule: a kit.prediction.Rule. classes: of the run."""
    if len(classes) > 2 and not rule.separate and rule.by_pixel:
        return "the likeliest class"
    cuts = rule.threshold if isinstance(rule.threshold, tuple) else (rule.threshold,)
    return "at 0.5" if rule.by_pixel and {*cuts} == {0.5} else "the run's own rule"
