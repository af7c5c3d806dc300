"""What is asked for: the metric."""

from dataclasses import dataclass

from kit.new.decisions.meaning import Meaning
from kit.new.decisions.metrics import DEFAULT_METRIC, METRICS
from kit.submission.dialect import Dialect


@dataclass(frozen=True)
class Goal:
    """metric: a name of METRICS. dialect: of the CSV, None where there is no sample. reasons: in words."""

    metric: str
    dialect: Dialect | None
    reasons: tuple[str, ...]


def goal_of(meaning: Meaning, metric: str | None, dialect: Dialect | None, why: str) -> Goal:
    """The metric asked for, else the usual one of the task. why: how the dialect was found. Raises ValueError."""
    chosen = metric or DEFAULT_METRIC[meaning.task]
    suited = METRICS[chosen][2]
    if meaning.task not in suited:
        fitting = ", ".join(name for name, (_, _, tasks) in METRICS.items() if meaning.task in tasks)
        raise ValueError(f"--metric {chosen} is for {' or '.join(suited)} masks, these are {meaning.task}: {fitting}")
    asked = "asked for" if metric else f"the default for {meaning.task} masks; others: --metric"
    return Goal(chosen, dialect, (f"{METRICS[chosen][0]} leads the report: {asked}", *filter(None, [why])))
