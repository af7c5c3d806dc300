"""rule.json: a rule that was tuned on a run's out-of-fold predictions, and whether it is used.

    chosen = read_chosen("runs/mine", folds)    None where there is no rule.json
    chosen.rule                                 the rule to predict with; None where the run's own holds
    chosen.tta                                  the views to predict with; None where the run's own hold

A rule is used where it was found worth it, and while the predictions are those that it was chosen on; with it the views
that it was chosen with. `kit tune` writes the file; the recipe's CSV, predict, bundle and Predictor.load obey it.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.prediction.rule import Rule
from kit.prediction.views import TTA, VIEWS
from kit.system.run_folder import finished_json, name_of_predictions

FILE, FORMAT = "rule.json", 2
VIEWS_SINCE = 2  # the format of a file that names views
STALE = "It was chosen on other predictions, folds or scores than those of now: tune the run again."


@dataclass(frozen=True)
class Chosen:
    """What rule.json says. rule: the one to use, None where it is not used. why: a sentence. facts: the content.

    tta: the views that were chosen with the rule; None where these are the run's own, or the rule is not used.
    """

    rule: Rule | None
    why: str
    facts: dict
    tta: TTA | None = None

    @property
    def named(self) -> dict | None:
        """The rule and views in use as plain values; None where the run's own are."""
        return self.rule and {**self.rule.facts, **({"views": views_facts(self.tta)} if self.tta else {})}


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
        tta = views_of(facts["views"]) if "views" in facts else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Delete it, and tune the run again") from error
    if used and any(one.is_dir() for one in path.parent.glob("fold*")) and chosen_on(folder, folds()) != key:
        return Chosen(None, STALE, facts)
    return Chosen(rule, why, facts, tta) if used else Chosen(None, why, facts)


def views_facts(tta: TTA) -> dict:
    """Views of VIEWS, and scales, as plain values. Raises StopIteration for other views."""
    return {"views": next(name for name, views in VIEWS.items() if views == tta.views), "scales": list(tta.scales)}


def views_of(facts: dict) -> TTA:
    """The views that views_facts wrote. Raises KeyError for a name that is not known."""
    return TTA(VIEWS[facts["views"]], tuple(facts["scales"]))


def chosen_on(folder: Path | str, folds: Sequence[int]) -> str:
    """A name of the predictions of some finished folds and of how they were scored: what a rule is chosen on."""
    found = finished_json(folder)
    return name_of_predictions({fold: found[fold] for fold in folds})


def describe_chosen(folder: Path | str, chosen: Chosen | None) -> str:
    """A line on the rule that predictions are made with; "" without a rule.json."""
    if chosen is None:
        return ""
    path = Path(folder) / FILE
    if chosen.rule is None:
        return f"note: {path} is not applied. {chosen.why}"
    return f"rule: {chosen.rule}{f' with views {chosen.tta}' if chosen.tta else ''}, tuned ({path})"
