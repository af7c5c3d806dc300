"""Which two submissions to choose at the end: the best by cross-validation, and the best by CV and leaderboard.

    both_i = weighted mean of  CV_i - CV_0  and  LB_i - LB_0,  each weighed by 1 / its variance

Both are differences to one run (kit.ledger.shifts), so the shift between CV and leaderboard drops out. CV_i is the
cross-fitted score where a tuned rule is in use; a run without one has chosen nothing on its images, so its CV does not
flatter. With G_cv groups here and G_pub on the leaderboard the weight of the leaderboard is about G_pub / (G_cv +
G_pub). A run that was never submitted counts by its CV alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kit.ledger.shifts import Public, difference, honest, is_paired, seed_variance

Value = Callable[[dict], float]  # of a run
Error = Callable[[dict, dict], float | None]  # of the difference of two runs; None where it is not known


@dataclass(frozen=True)
class Final:
    """A proposal. run: its id. reason: a sentence. value, error: of the difference to the next best run, by `by`."""

    run: str
    by: str
    reason: str
    value: float | None
    error: float | None


def comparable(runs: Sequence[dict]) -> list[dict]:
    """The runs that were scored by one metric on the same images: of those with all folds, else of the most images."""
    whole = [run for run in runs if len(run["folds"]) == run["of"]] or list(runs)
    sets: dict[tuple, list[dict]] = {}
    for run in whole:
        sets.setdefault((run["images"], run["metric"]), []).append(run)
    return max(sets.values(), key=lambda found: (len(found), found[0]["cv"]["images"]), default=[])


def propose(runs: Sequence[dict], scores: dict[str, float], public: Public) -> list[Final]:
    """Propose at most two runs of those that can be compared. runs: facts; scores: {id: public score}."""
    field = comparable(runs)
    if not field:
        return []
    first = _final(field, honest, _cv_error(field), "cv", "the best {what}")
    if len(field) == 1:
        return [first]
    both = _both(field, scores, public)
    if both is None:
        rest = [run for run in field if run["id"] != first.run]
        return [first, _final(rest, honest, _cv_error(rest), "cv", "no public score yet: the next best {what}")]
    values, error = both
    leader = max(field, key=lambda run: values[run["id"]])
    if leader["id"] == first.run:
        rest = [run for run in field if run["id"] != first.run]
        text = "the first leads by CV and leaderboard together too; this one is the next by both"
        if first.run not in scores:
            text = "the first has no public score yet, so its CV counts alone; this is the next by CV and leaderboard"
        return [first, _final(rest, lambda run: values[run["id"]], error, "both", text)]
    return [first, _final(field, lambda run: values[run["id"]], error, "both", "the best by {what}")]


def _final(field: Sequence[dict], value: Value, error: Error, by: str, text: str) -> Final:
    """The best run of a field by `value`, with its distance to the next one."""
    best, *others = sorted(field, key=value, reverse=True)
    what = {"cv": f"{'cross-fitted ' * bool(best.get('crossfit'))}CV ({honest(best):.5f})"}.get(
        by, "CV and leaderboard together, each weighed by how sure it is"
    )
    reason = text.format(what=what)
    if not others:
        return Final(best["id"], by, reason, None, None)
    gap, own = value(best) - value(others[0]), error(best, others[0])
    said = f"{reason}; ahead of {others[0]['run']} by {gap:.5f}"
    if own is None:
        return Final(best["id"], by, said, gap, None)
    doubt = ", which chance explains: the choice costs little either way" if gap < 2 * own else ""
    return Final(best["id"], by, f"{said} ± {own:.5f} (1 se){doubt}", gap, own)


def _cv_error(runs: Sequence[dict]) -> Error:
    """The error of a difference of two runs in CV."""
    seed = seed_variance(runs) or 0.0

    def error(run: dict, other: dict) -> float | None:
        found = difference(run, other).variance
        return None if found is None else math.sqrt(found + 2 * seed)

    return error


def _both(field: Sequence[dict], scores: dict[str, float], public: Public) -> tuple[dict[str, float], Error] | None:
    """The combined difference of each run to the first one with a public score, and the error of two of them.

    None where no run of the field has a public score.
    """
    base = next((run for run in field if run["id"] in scores), None)
    if base is None:
        return None
    seed = seed_variance(field) or 0.0

    def weight(run: dict, other: dict) -> float:
        """Of the leaderboard."""
        images = difference(run, other).variance or 0.0
        cv = images + 2 * seed
        lb = images * run["cv"]["groups"] / public.groups_of(run) + 2 * seed
        return cv / (cv + lb) if cv + lb > 0 else 0.5

    values = {}
    for run in field:
        own = honest(run) - honest(base)
        share = weight(run, base) if run["id"] in scores and run is not base else 0.0
        lb = scores.get(run["id"], 0.0) - scores[base["id"]]
        values[run["id"]] = own + share * (lb - own)

    def error(run: dict, other: dict) -> float | None:
        if not is_paired(run, other):
            return None
        share = weight(run, other) if {run["id"], other["id"]} <= scores.keys() else 0.0
        return math.sqrt(((difference(run, other).variance or 0.0) + 2 * seed) * (1 - share))

    return values, error
