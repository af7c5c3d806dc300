"""rule.json: a rule that was tuned on a run's out-of-fold predictions, and whether it is used.

    chosen = read_chosen("runs/mine", folds)    None where there is no rule.json
    chosen.rule                                 the rule to predict with; None where the run's own holds

A rule is used where it was found worth it, and while the predictions are those that it was chosen on. `kit tune`
writes the file; the recipe's CSV, predict, bundle and Predictor.load obey it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.prediction.rule import Rule
from kit.system.run_folder import finished_json, name_of_predictions

FILE, FORMAT = "rule.json", 1
STALE = "It was chosen on other predictions, folds or scores than those of now: tune the run again."


@dataclass(frozen=True)
class Chosen:
    """What rule.json says. rule: the one to use, None where it is not used. why: a sentence. facts: the content."""

    rule: Rule | None
    why: str
    facts: dict


def read_chosen(folder: Path | str, folds: Callable[[], Sequence[int]]) -> Chosen | None:
    """Read rule.json; None where there is none. folds(): the scored folds of now.

    In a folder that holds no fold, as where full fits alone were brought, the rule holds as it is.
    Raises ValueError for a damaged file or one of a newer kit.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text())
        if facts["format"] > FORMAT:
            raise ValueError("it was written by a newer version of kit; install that one")
        rule, used, why, key = Rule(**facts["rule"]), facts["used"], facts["why"], facts["key"]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Delete it, and tune the run again") from error
    if used and any(one.is_dir() for one in path.parent.glob("fold*")) and chosen_on(folder, folds()) != key:
        return Chosen(None, STALE, facts)
    return Chosen(rule if used else None, why, facts)


def chosen_on(folder: Path | str, folds: Sequence[int]) -> str:
    """A name of the predictions of some finished folds and of how they were scored: what a rule is chosen on."""
    found = finished_json(folder)
    return name_of_predictions({fold: found[fold] for fold in folds})


def describe_chosen(folder: Path | str, chosen: Chosen | None) -> str:
    """A line on the rule that predictions are made with; "" without a rule.json."""
    if chosen is None:
        return ""
    path = Path(folder) / FILE
    return f"rule: {chosen.rule}, tuned ({path})" if chosen.rule else f"note: {path} is not applied. {chosen.why}"
