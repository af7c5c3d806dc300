"""python -m kit blend: choose a blend of finished runs, and write its submission."""

import contextlib
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kit.cli.flags import unzipped

if TYPE_CHECKING:
    from kit.runs.blend import RunsBlend
    from kit.runs.finished import FinishedRun
    from kit.scoring.blending import Candidate
    from kit.scoring.intervals import Interval

HEADS = ("", "score", "95 % interval", "tuned", "seconds", "weights")


@dataclass(frozen=True)
class Blend:
    """Choose a blend of finished runs by their out-of-fold predictions, and write its CSV from kept test predictions.

    The runs are joined by id; runs with another truth, other folds or groups are refused. Each way to blend is chosen
    on the other folds and scored on the held-out one, by the competition's metric; with one finished fold parts of its
    groups stand in for folds. For the expected score the way is chosen on the other folds too. A blend of one run is an
    answer too.
    With --tune the blend's own rule is searched too, as kit tune does for a run: for the expected score without each
    fold, on the levels that the weights chosen without that fold give.
    A JSON file beside the CSV holds the weights, the table and the expected score; the ledger records the blend.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # the run folders
    out: Path = Path("submissions/blend.csv")  # the CSV; the JSON file has the same name
    sample: Path | None = None  # the sample submission: its keys, all of them, in its order
    budget: str | None = None  # what all members may cost on the test images: seconds, or 2x the best run's
    tune: bool = False  # search the blend's rule too: areas, holes, seeds of objects
    json: bool = False  # one JSON object instead of text

    def run(self) -> int:
        """Blend; 1 where the runs cannot be blended, or where there is no valid CSV."""
        try:
            budget = _budget(self.budget)
        except ValueError as error:
            return self._end({}, [str(error)])
        from kit.runs.blend import blend_runs, write_facts  # imported here: PyTorch takes seconds
        from kit.runs.blend_submit import lacking_tests, write_blend

        try:
            with contextlib.redirect_stdout(sys.stderr):
                blended = blend_runs(self.runs, budget, _progress("reading"), self.tune)
        except (ValueError, OSError) as error:
            return self._end({}, [str(error)])
        hint = "" if self.tune else ". --tune searches a rule of the blend's own"
        self._say(*_lines(blended), *(f"note: {note}{hint}" for note in blended.notes))
        csv, errors = None, []
        lacking = [text for r in blended.mix.members if (text := lacking_tests(blended.runs[r]))]
        if any(run.dialect is not None for run in blended.runs):
            errors = [f"{text}{_flag(blended, text)}" for text in lacking]
        if not lacking:
            try:
                problems = write_blend(blended.runs, blended.final, self.out, unzipped(self.sample), _progress("test"))
                csv, errors = self.out, [str(one) for one in problems if one.severity == "error"]
                self._say(*(str(one) for one in problems if one.severity != "error"))
            except (ValueError, OSError) as error:
                errors = [str(error)]
        elif not errors:
            self._say(*lacking[:1])
        write_facts(self.out.with_suffix(".json"), blended, csv)
        self._say(f"{csv or 'no CSV was written'}, {self.out.with_suffix('.json')}")
        if csv is None:
            self._say(f"its networks can predict: python -m kit predict {self.out.with_suffix('.json')} --images DIR …")
        else:
            self._record(blended.facts())
        return self._end({**blended.facts(), "csv": csv and str(csv)}, errors)

    def _record(self, facts: dict) -> None:
        """Add the blend to the ledger. What goes wrong there is a note: the CSV is whole."""
        from kit.ledger.blends import record_blend

        try:
            record_blend(facts, self.out)
        except OSError as error:
            self._say(f"note: the blend is not in the ledger ({type(error).__name__}: {error})")

    def _say(self, *lines: str) -> None:
        for line in lines if not self.json else ():
            print(line, flush=True)

    def _end(self, facts: dict, errors: list[str]) -> int:
        if self.json:
            print(json.dumps({**facts, "errors": errors}, allow_nan=False))
        for error in errors if not self.json else ():
            print(f"error: {error}")
        return int(bool(errors))


def _budget(text: str | None) -> float | str | None:
    """Seconds, or a text as "2x"."""
    if text is None:
        return None
    if not re.fullmatch(r"\d+(\.\d+)?x?", text) or not float(text.removesuffix("x")) > 0:
        raise ValueError(f"--budget is a number of seconds, or a factor of the best run's cost as 2x; got {text!r}")
    return text if text.endswith("x") else float(text)


def _progress(what: str) -> object:
    def bar(items: Iterable, total: int) -> Iterable:
        from tqdm import tqdm

        return tqdm(items, what, total=total, leave=False, disable=None)

    return bar


def _flag(blended: "RunsBlend", text: str) -> str:
    """The flag that keeps test predictions, where the recipe of the run that a message is about has it."""
    from kit.system.run_folder import read_json

    run = next(run for run in blended.runs if text.startswith(str(run.folder)))
    has = "keep_test" in json.dumps(read_json(run.folder / "config.json"))
    return " (its recipe has --keep-test)" if has and "keep_test" in text else ""


def _lines(blended: "RunsBlend") -> list[str]:
    """What was found, as text."""
    from kit.scoring.intervals import note_text

    first, found = blended.joined[0], blended.found
    names = [run.name for run in blended.runs]
    rows = [
        (name, f"{score.value:.5f}", _ends(score), "", _seconds(cost.seconds), f"alone ({cost.source})")
        for name, score, cost in zip(names, found.runs, blended.costs, strict=True)
    ]
    rows += [_row(blended, one, names) for one in found.candidates]
    widths = [max(len(row[i]) for row in [HEADS, *rows]) for i in range(len(HEADS))]
    lines = [
        f"{len(names)} runs, {len(first.ids)} held-out images in {len(set(first.groups))} groups, folds "
        f"{', '.join(map(str, first.folds))}; {first.metric.name}",
        f"below the runs, each score is of choices made on {_others(first)}; tuned ones are of those made on all",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [HEADS, *rows]
        ),
        "",
        _verdict(blended, names),
        *_tuned_lines(blended),
        f"expected score of new groups: {blended.expected.value:.5f}{_within(blended.expected)}",
    ]
    return [*lines, *filter(None, [blended.caution, note_text(blended.expected.note)])]


def _others(run: "FinishedRun") -> str:
    """Where the choices of the table were made."""
    return "the other folds" if len(run.folds) > 1 else "other groups, because one fold is finished in all runs"


def _row(blended: "RunsBlend", one: "Candidate", names: list[str]) -> tuple[str, ...]:
    seconds = _seconds(one.cost) + ("" if one.is_affordable else " (over)")
    return (one.name, f"{one.score:.5f}", _ends(one.interval), f"{one.tuned:.5f}", seconds, _weights(blended, one))


def _weights(blended: "RunsBlend", one: "Candidate") -> str:
    """The weights, and the threshold where it is not the runs' own."""
    facts = blended.mix_facts(one.mix)
    parts = facts["weights"]
    if len(set(one.mix.weights)) > 1:
        text = "; ".join(f"{name}: {_shares(own)}" for name, own in parts.items())
    else:
        text = _shares(parts)
    cut, own = facts["threshold"], {run.rule.threshold for run in blended.joined}
    if cut is None or (not any(one.mix.shifts) and len(own) == 1):
        return text
    return f"{text}, at {', '.join(f'{each:.3f}' for each in (cut if isinstance(cut, tuple) else [cut]))}"


def _shares(parts: dict[str, float]) -> str:
    return " + ".join(f"{share:.3g} {name}" for name, share in parts.items())


def _verdict(blended: "RunsBlend", names: list[str]) -> str:
    found, members = blended.found, blended.mix.members
    if len(names) == 1:
        return f"one run: {_weights(blended, found.chosen)}"
    if len(members) == 1:
        alone = _weights(blended, found.chosen)
        return f"{alone}: no blend scores better than the best single run on images that it was not chosen on"
    gain, rule = blended.gain, ", by its own rule" if blended.is_tuned else ""
    if len(found.unchosen) == len(found.nested):
        return f"{found.chosen.name}, of {len(members)} runs{rule}: its gain over the best run is not known, see below"
    sure = gain.low is not None and gain.low > 0
    doubt = "" if sure else ": that it is better than the best run alone is not sure"
    found_gain = f"{gain.value:+.5f}{_within(gain, sign='+')}"
    return f"{found.chosen.name}, of {len(members)} runs{rule}: {found_gain} over the best run{doubt}"


def _tuned_lines(blended: "RunsBlend") -> list[str]:
    """The rule that was tuned, and whether it is used."""
    if blended.tuned is None:
        return []
    from kit.cli.tune import rule_words

    found, classes = blended.tuned.found, blended.joined[0].task.classes
    scores = f"{found.default_score:.5f} before, {found.score:.5f} cross-fitted, {found.tuned:.5f} on the same images"
    return [f"rule of the blend: {rule_words(found.best, classes)}: {scores}", blended.tuned.why]


def _ends(score: "Interval", sign: str = "") -> str:
    return "" if score.low is None else f"{score.low:{sign}.5f} … {score.high:{sign}.5f}"


def _within(score: "Interval", sign: str = "") -> str:
    ends = _ends(score, sign)
    return f" ({ends})" if ends else ""


def _seconds(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds:.1f}"
