"""Does the leaderboard agree with the cross-validation? Differences between runs are compared, not their levels.

A leaderboard (LB) may lie below or above the CV of all runs alike: other images, another year, another scanner. This
common offset is the shift; no run can be blamed for it. What a single run can do wrong, as a leak in its validation,
shows in its difference to another run:

    D_i = (LB_i - LB_0) - (CV_i - CV_0)            0: a run with both, the first one unless another is asked for
    se² = V (1 + G_cv / G_pub) + 2 σ_seed²         V: variance of CV_i - CV_0 by the jackknife over blocks of groups,
                                                   paired: most of what makes groups hard is common to both runs

V G_cv is the variance of one group, so the second term is the noise of the public images, of which G_pub groups are
scored. G_pub follows from the stated public share and the number of test images, as many a group as in training.
σ_seed is the deviation between runs that differ in their seed alone; without such runs it is taken as 0. D_i / se has
about a t distribution with the degrees of freedom of the blocks. Holm's correction (Holm 1979, "A simple sequentially
rejective multiple test procedure", Scandinavian Journal of Statistics 6) holds the chance of a single false alarm among
all runs at 5 %.

How often the leaderboard was looked at counts too: of many looks the best is partly luck. A gain below the noise of a
difference is none (Blum & Hardt 2015, "The Ladder", arXiv 1502.04585).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from kit.ledger.naming import TUNED

SHARE = 0.3  # of the test images behind the public leaderboard, where nobody stated it
LEVEL = 0.05


@dataclass(frozen=True)
class Public:
    """What is known of the public leaderboard. share: of the test images. groups: behind it; None: not stated."""

    share: float = SHARE
    groups: float | None = None
    stated: bool = False

    def groups_of(self, run: dict) -> float:
        """The number of groups behind the public score of a run; at least one."""
        if self.groups is not None:
            return max(1.0, self.groups)
        per_group = run["cv"]["images"] / run["cv"]["groups"]
        return max(1.0, self.share * (run.get("tests") or run["cv"]["images"]) / per_group)


@dataclass(frozen=True)
class Difference:
    """run less base, in CV. variance: None where the two runs were not scored on the same images."""

    value: float
    variance: float | None
    df: float


@dataclass(frozen=True)
class Verdict:
    """D of a run, its standard error, and whether it is an alarm after Holm's correction over all runs tested."""

    run: str
    base: str
    value: float
    error: float
    df: float
    p: float
    alarm: bool = False


def honest(run: dict) -> float:
    """The cross-fitted CV where a tuned rule is in use, else the CV: of the masks that were submitted."""
    return run["crossfit"]["value"] if run.get("crossfit") else run["cv"]["value"]


def difference(run: dict, base: dict) -> Difference:
    """CV of `run` less that of `base`, two facts of the ledger, with the variance of the paired jackknife.

    A tuned rule counts in the value; the variance is that of the runs' own rules.
    """
    value = honest(run) - honest(base)
    if not is_paired(run, base):
        return Difference(value, None, 0.0)
    own = np.subtract(run["without"], base["without"])
    count = len(own)
    return Difference(value, float((count - 1) / count * np.sum((own - own.mean()) ** 2)), float(run["df"]))


def is_paired(run: dict, base: dict) -> bool:
    """Whether two runs were scored by one metric on the same images and groups."""
    alike = all(run[name] == base[name] for name in ("images", "metric"))
    return alike and len(run["without"]) == len(base["without"]) > 2


def seed_variance(runs: Sequence[dict]) -> float | None:
    """σ_seed²: the variance of CV within sets of runs that differ in their seed alone; None without such runs."""
    sets: dict[str, dict[str, float]] = {}
    for run in runs:
        rest = {k: v for k, v in run["config"].items() if k not in {"seed", TUNED} and not _is_seeded(k)}
        name = repr((sorted((k, str(v)) for k, v in rest.items()), run["code"], run["data"], run["metric"]))
        sets.setdefault(name, {})[str(run["config"].get("seed"))] = run["cv"]["value"]
    squares = [(np.var([*found.values()], ddof=1), len(found) - 1) for found in sets.values() if len(found) > 1]
    if not squares:
        return None
    return float(sum(square * weight for square, weight in squares) / sum(weight for _, weight in squares))


def _is_seeded(name: str) -> bool:
    return name in {"plan.augment", "plan.samples"}  # their text holds the seed


def judge(runs: Sequence[dict], scores: dict[str, float], base: dict, public: Public) -> list[Verdict]:
    """Test D of each run in `scores`, {id: public score}, against `base`, which is one of them."""
    seed, found = seed_variance(runs) or 0.0, []
    for run in runs:
        if run["id"] not in scores or run["id"] == base["id"]:
            continue
        own = difference(run, base)
        if own.variance is None or _is_one_training(run, base):
            continue
        value = scores[run["id"]] - scores[base["id"]] - own.value
        error = math.sqrt(own.variance * (1 + run["cv"]["groups"] / public.groups_of(run)) + 2 * seed)
        p = 2 * float(stdtr(own.df, -abs(value) / error)) if error > 0 else float(value == 0)
        found.append(Verdict(run["id"], base["id"], value, error, own.df, p))
    return _holm(found)


def _is_one_training(run: dict, base: dict) -> bool:
    """Whether two runs differ in their tuned rule alone: the variance of their difference is not known."""
    own, other = (one.get("predictions") for one in (run, base))
    return own is not None and own == other and run["config"].get(TUNED) != base["config"].get(TUNED)


def _holm(tests: list[Verdict]) -> list[Verdict]:
    """Mark the alarms: the smallest p against LEVEL / m, the next against LEVEL / (m - 1), until one is larger."""
    alarms: set[int] = set()
    for rank, place in enumerate(sorted(range(len(tests)), key=lambda i: tests[i].p)):
        if tests[place].p * (len(tests) - rank) > LEVEL:
            break
        alarms.add(place)
    return [Verdict(**{**vars(test), "alarm": place in alarms}) for place, test in enumerate(tests)]


def shift(runs: Sequence[dict], scores: dict[str, float], public: Public) -> dict | None:
    """The common offset LB - CV: its mean over the runs, and what chance of the images alone makes of it.

    error: of one run's offset, from its own groups here and on the leaderboard. Runs share most of it, so it does not
    shrink with their number.
    """
    both = [run for run in runs if run["id"] in scores]
    if not both:
        return None
    offsets = [scores[run["id"]] - honest(run) for run in both]
    errors = [error for run in both if (error := _level_error(run, public)) is not None]
    error = max(errors, default=None)
    df = min((run["df"] for run in both if run["without"]), default=None)
    is_clear = error is not None and abs(np.mean(offsets)) > stdtrit(df, 1 - LEVEL / 2) * error
    return {"value": float(np.mean(offsets)), "runs": len(both), "error": error, "clear": bool(is_clear)}


def _level_error(run: dict, public: Public) -> float | None:
    if not run["without"]:
        return None
    values = np.asarray(run["without"])
    variance = (len(values) - 1) / len(values) * np.sum((values - values.mean()) ** 2)
    return math.sqrt(variance * (1 + run["cv"]["groups"] / public.groups_of(run)))


def noise(runs: Sequence[dict], public: Public) -> float | None:
    """The standard error of the difference of two runs on the public images: the median over neighbours in time."""
    pairs = [(run, difference(run, before)) for before, run in itertools.pairwise(runs)]
    found = [
        math.sqrt(own.variance * run["cv"]["groups"] / public.groups_of(run)) for run, own in pairs if own.variance
    ]
    return float(np.median(found)) if found else None
