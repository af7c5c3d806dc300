"""An interval around a score, from groups of images: the cluster jackknife with a t distribution.

The images of one group are alike (one car, one patient), so the number of groups decides how sure a score is. The
interval is about NEW GROUPS, predicted by THESE WEIGHTS. It says nothing about another training run.

A score θ = Σ numerators / Σ denominators is taken once over all groups and once without each group g = 1 … G:

    η = logit θ, η_(g) = logit of θ without group g; s_g, n_g = sums of the numerators and denominators of group g
    V  = (G-1)/G · Σ (η_(g) - mean)²                    the jackknife "CV3": MacKinnon, Nielsen & Webb 2023, "Fast and
                                                        reliable jackknife and bootstrap methods for cluster-robust
                                                        inference", Journal of Applied Econometrics 38
    df = tr(K)²/tr(K²), K = M Mᵀ, M = diag(w/√(1-w)) (I - 1wᵀ), w_g = n_g/Σn
                                                        Bell & McCaffrey 2002, "Bias reduction in standard errors for
                                                        linear regression with multi-stage samples", Survey Methodology
                                                        28(2); it is G - 1 where all groups have one size
    interval = logit⁻¹(η ± t_df √V)

The logit keeps both ends between 0 and 1. A percentile bootstrap over the groups is too narrow: its "95 %" holds the
true score in 74 % of cases with 3 groups and 85 to 88 % with 5 to 10. tests/scoring/test_coverage.py measures the
interval of this file. Where few groups hold most of the errors, the jackknife values are skewed and no known method
holds what it promises with fewer than about 30 groups: `note` warns of it. Three or four values cannot show a skew.

Where the formula has no answer:
- Fewer than three groups: no interval.
- θ is 0 or 1: no interval, because no group shows any spread.
- All errors (or all hits) are in one group: θ without it is 1 (or 0), so its logit is infinite. The interval is on the
  scale of the score itself, and ends at 1 (or 0) on that side.
- A numerator is below 0 or above its denominator: the score is not a share, so the interval is on its own scale.
- A group whose denominators are all 0 holds nothing to score. It is left out and not counted.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit, stdtrit

if TYPE_CHECKING:
    from kit.scoring.metrics import Metric

ESTIMAND = "new groups of images, predicted by these weights"
NONE = "none: "  # begins a note that says why there is no interval


class Interval(NamedTuple):
    """A score and its interval. low and high are None where there is no interval; `note` then says why."""

    value: float
    low: float | None
    high: float | None
    df: float | None  # degrees of freedom of t, at least 1
    note: str  # warnings and reasons; "" where there are none


def note_text(note: str, of: str = "") -> str:
    """The note of an interval in words for people. of: what the interval is of, after a space; "" where that is clear.

    "no interval: …" where there is none, else "interval: …"; "" without a note.
    """
    if not note:
        return ""
    return f"no interval{of}: {why_none(note)}" if note.startswith(NONE) else f"interval{of}: {note}"


def why_none(note: str) -> str:
    """The reason alone, of a note that says why there is no interval."""
    return note.removeprefix(NONE)


def interval(
    numerators: Sequence[float], denominators: Sequence[float], groups: Sequence[Hashable], level: float = 0.95
) -> Interval:
    """Return the score Σ numerators / Σ denominators and its interval.

    numerators, denominators: (n,), one of each an image. A mean over images has denominators 1; Dice over the data set
    has twice the hits and the sizes. An image without a score has 0 in both. groups: (n,) names or numbers.
    level: the share of intervals that are meant to hold the true score.
    Raises ValueError on lengths that differ, values that are not finite and denominators below 0.
    """
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    _check(np.column_stack([top, bottom]) if top.shape == bottom.shape else top, groups, level)
    if (bottom < 0).any():
        raise ValueError(f"denominators are 0 or more, got {bottom.min():g} at position {bottom.argmin()}")
    is_share = bool(((top >= 0) & (top <= bottom * (1 + 1e-9))).all())
    misses = (bottom - top).clip(0) if is_share else bottom - top
    names, sums = sum_groups(np.column_stack([top, misses, bottom]), groups)
    scored = sums[:, 2] > 0
    notes = [f"{_groups((~scored).sum())} left out: nothing to score there"] if not scored.all() else []
    names, sums = [name for name, kept in zip(names, scored, strict=True) if kept], sums[scored]
    if not len(sums):
        return Interval(float("nan"), None, None, None, f"{NONE}there is nothing to score")
    hits, misses, sizes = sums.sum(axis=0)
    if len(sums) < 3 or (is_share and min(hits, misses) == 0):
        return Interval(hits / sizes, None, None, None, "; ".join([_reason(len(sums), hits / sizes), *notes]))
    without = _leave_one_out(sums)
    df = degrees_of_freedom(sums[:, 2])
    if is_share and without[:, :2].all():
        eta, etas = np.log(hits / misses), np.log(without[:, 0] / without[:, 1])
        return _around(hits / sizes, (eta, etas), df, level, notes, back=expit)
    values = without[:, 0] / without[:, 2]
    if not is_share:
        notes.append("not a share between 0 and 1: interval on the score's own scale")
        return _around(hits / sizes, (hits / sizes, values), df, level, notes)
    side, what = (1, "errors") if (without[:, 1] == 0).any() else (0, "hits")
    notes.append(f"all {what} are in group {names[int(np.argmin(without[:, side]))]}: cut at {side}, rough")
    return _around(hits / sizes, (hits / sizes, values), df, level, notes, back=lambda ends: np.clip(ends, 0, 1))


def interval_of_score(
    counts: np.ndarray,
    groups: Sequence[Hashable],
    score: Callable[[np.ndarray], np.ndarray],
    level: float = 0.95,
    logit: bool = False,
    sizes: np.ndarray | None = None,
) -> Interval:
    """Return the interval of a score that is no ratio of two sums: the jackknife over the score itself.

    counts: (n, M), one row an image. score: maps sums of rows (..., M) to scores (...). It is called once, with the
    sum over all images first and then the sums without each group. logit: take the jackknife on the logit scale where
    all of these scores are between 0 and 1. Leave it out for a difference of scores, whose interval must be able to
    hold 0. sizes: (n,), how much each image weighs in the degrees of freedom, as the denominators of a ratio; None: all
    the same. A group whose counts are all 0, or without weight, holds nothing to score: it is left out and not counted.
    """
    counts = np.asarray(counts, float)
    _check(counts, groups, level)
    weights = np.ones(len(counts)) if sizes is None else np.asarray(sizes, float)
    names, sums = sum_groups(np.column_stack([weights, counts]), groups)
    names, sums = _with_something(names, sums)
    parts = [sums.sum(axis=0)[None], *([_leave_one_out(sums)] if len(names) > 2 else [])]
    with np.errstate(divide="ignore", invalid="ignore"):  # a group may hold all that there is to score
        whole, *without = np.asarray(score(np.concatenate(parts)[:, 1:]), float)
    if not np.isfinite(whole):
        return Interval(float("nan"), None, None, None, f"{NONE}there is nothing to score")
    if len(names) < 3:
        return Interval(float(whole), None, None, None, _reason(len(names), whole))
    if not np.isfinite(without).all():
        name = names[int(np.argmin(np.isfinite(without)))]
        return Interval(float(whole), None, None, None, f"{NONE}without group {name} there is no score")
    values, df = np.array([whole, *without]), degrees_of_freedom(sums[:, 0])
    if logit and whole in {0, 1} and (values == whole).all():
        return Interval(float(whole), None, None, None, _reason(len(names), whole))
    if logit and ((values > 0) & (values < 1)).all():
        etas = np.log(values) - np.log1p(-values)
        return _around(whole, (etas[0], etas[1:]), df, level, [], back=expit)
    if logit and ((values >= 0) & (values <= 1)).all():
        notes = ["one group alone decides whether the score is 0 or 1: cut there, rough"]
        return _around(whole, (whole, values[1:]), df, level, notes, back=lambda ends: np.clip(ends, 0, 1))
    return _around(whole, (whole, values[1:]), df, level, [])


def _with_something(names: list[Hashable], sums: np.ndarray) -> tuple[list[Hashable], np.ndarray]:
    """The groups that have weight and counts; all where none has."""
    kept = (sums[:, 0] > 0) & (sums[:, 1:] != 0).any(axis=1)
    if not kept.any():
        return names, sums
    return [name for name, one in zip(names, kept, strict=True) if one], sums[kept]


def interval_of_metric(
    metric: "Metric", counts: np.ndarray, groups: Sequence[Hashable], level: float = 0.95
) -> Interval:
    """Return the metric's score over all images and its interval. counts: (n, M), the metric's counts of each image.

    A metric that averages over classes has `fix_classes`. Then the set of classes is that of all images, also where a
    group is left out that alone holds a class.
    """
    total = np.asarray(counts, float).sum(axis=0)
    if metric.ratio:
        found = interval(counts[:, 0], counts[:, 1], groups, level)
    else:
        fix = getattr(metric, "fix_classes", None)
        found = interval_of_score(counts, groups, fix(total) if fix else metric.score, level, logit=True)
    return found._replace(value=float(metric.score(total)))


def degrees_of_freedom(sizes: np.ndarray) -> float:
    """Return Bell and McCaffrey's degrees of freedom of groups of these sizes (G,), but at least 1.

    tr(K) and tr(K²) are multiplied out with K_gh = d_g d_h ([g = h] - w_g - w_h + Σw²) and d = w/√(1-w), because K
    itself has G² entries.
    """
    w = sizes / sizes.sum()
    e, square = w**2 / (1 - w), np.sum(w**2)
    trace = np.sum(e * (1 - 2 * w + square))
    pairs = np.sum(e) ** 2 * square**2 + 2 * np.sum(e) * np.sum(e * w**2) + 2 * np.sum(e * w) ** 2
    pairs -= 4 * square * np.sum(e) * np.sum(e * w)
    diagonal = np.sum(e**2 * ((1 - 2 * w + square) ** 2 - (square - 2 * w) ** 2))
    return float(max(1.0, trace**2 / (pairs + diagonal)))


def _around(
    value: float,
    jackknife: tuple[float, np.ndarray],
    df: float,
    level: float,
    notes: list[str],
    back: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Interval:
    """The t interval of `jackknife`: η of all groups, and η without each (G,). back: maps η to the score."""
    eta, etas = jackknife
    count, deviations = len(etas), etas - etas.mean()
    error = np.sqrt((count - 1) / count * np.sum(deviations**2))
    reach = stdtrit(df, (1 + level) / 2) * error
    low, high = back(np.array([eta - reach, eta + reach]))
    if error <= 1e-12 * max(1, abs(eta)):
        notes = [*notes, "all groups score alike: no spread to measure"]
    elif count < 5:
        notes = [*notes, f"{count} groups are too few to check whether a few decide the score"]
    elif _is_skewed(deviations):
        notes = [*notes, "few groups decide it (skewed): the interval may be too narrow"]
    return Interval(float(value), float(low), float(high), df, "; ".join(notes))


def _is_skewed(deviations: np.ndarray) -> bool:
    """Whether the jackknife values (G,), less their mean, are too skewed for the interval to hold its level.

    Their skewness is compared with twice the standard error that it has for normal values, and with 0.2 √G, because
    the mean of many groups is near normal whatever the groups are.
    """
    count = len(deviations)
    skewness = np.mean(deviations**3) / np.mean(deviations**2) ** 1.5
    error = np.sqrt(6 * (count - 2) / ((count + 1) * (count + 3)))
    return bool(abs(skewness) > max(2 * error, 0.2 * np.sqrt(count)))


def _check(counts: np.ndarray, groups: Sequence[Hashable], level: float) -> None:
    """Raise ValueError where the arguments of an interval do not fit together."""
    if counts.ndim != 2 or len(counts) != len(groups):
        raise ValueError(
            f"got counts of shape {counts.shape} and {len(groups)} groups: expected one numerator, one denominator "
            "(or one row of counts) and one group an image"
        )
    if not np.isfinite(counts).all():
        row = int(np.flatnonzero(~np.isfinite(counts).all(axis=1))[0])
        raise ValueError(f"position {row} holds {counts[row].tolist()}: give an image without a score 0 in every count")
    if not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1 such as 0.95, got {level}")


def sum_groups(counts: np.ndarray, groups: Sequence[Hashable]) -> tuple[list[Hashable], np.ndarray]:
    """Return the names of the groups in order of appearance, and the sum of each one's rows (G, M)."""
    codes: dict[Hashable, int] = {}
    rows = [codes.setdefault(group, len(codes)) for group in groups]
    missing = [row for row, group in enumerate(groups) if group is None or group != group]  # NaN differs from itself
    if missing:
        raise ValueError(f"the image at position {missing[0]} has no group: give every image one")
    sums = np.zeros((len(codes), counts.shape[1]))
    np.add.at(sums, rows, counts)
    return list(codes), sums


def _leave_one_out(sums: np.ndarray) -> np.ndarray:
    """The sums (G, M) of all groups but one. Added up from both ends: a difference to the total would not be exact."""
    before, after = np.zeros_like(sums), np.zeros_like(sums)
    before[1:] = np.cumsum(sums[:-1], axis=0)
    after[:-1] = np.cumsum(sums[:0:-1], axis=0)[::-1]
    return before + after


def _reason(count: int, value: float) -> str:
    """Why there is no interval."""
    if count < 3:
        return f"{NONE}{_groups(count)} only, an interval needs three"
    return f"{NONE}every group scores {value:g}, so there is no spread to measure"


def _groups(count: int) -> str:
    return {1: "one group", 2: "two groups"}.get(int(count), f"{count} groups")
