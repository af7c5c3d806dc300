"""The rule of a blend, tuned on its own out-of-fold predictions: the work behind `python -m kit blend --tune`.

    tuned = tune_blend(runs, rule, found)       of kit.runs.blend.RunsBlend: joined, rule, found
    tuned.found.score                           with the weights and the rule that the other folds choose, both

A mean of several networks' levels is smoother than each of them, so the areas, seeds and thresholds that suit a run do
not suit the blend, and the runs' own rules are not asked. For the expected score of a blend the weights are chosen
without each part of the images in turn (kit.scoring.blending); here the rule is searched without the same part, on the
levels that those weights give.
"""

import dataclasses
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.prediction.blended import blended, enlarged_mean
from kit.prediction.rule import Rule
from kit.runs.blend_pool import Mixed, is_competing, moved_rule
from kit.runs.candidates import Candidates, FromMasks, first_that_counts, kinds_of
from kit.runs.finished import FinishedRun
from kit.runs.tried import alike
from kit.runs.tuning import parts_of, space_of, verdict
from kit.scoring.blend_pools import Mix
from kit.scoring.blending import Blend
from kit.scoring.crossfit import CrossFit, crossfit_search, gain_of
from kit.scoring.intervals import Interval, interval_of_metric
from kit.scoring.tune import climb
from kit.system.plain import number


@dataclass(frozen=True, kw_only=True)
class MixedRun(FinishedRun):
    """Joined runs as one, whose levels are those of a mix of `members`; all else is the first one's."""

    members: tuple[FinishedRun, ...]
    mix: Mix

    def levels(self, id: str) -> np.ndarray:
        """The blended levels of an image at its mask's own size: u8 (K, H, W); of classes that compete f32."""
        used = self.mix.members
        maps = [self.members[r].levels(id) for r in used]
        if len(used) == 1:
            return maps[0]
        weights, size = np.array(self.mix.weights)[:, list(used)], self.truth(id).shape[:2]
        if self.rule.detected or is_competing(self):
            return blended(maps, weights, size, self.rule)
        return enlarged_mean(maps, weights, size)


@dataclass(frozen=True)
class TunedBlend:
    """What tuning found. found: its picks are rules, by the parts that the weights were chosen without.

    used: whether the rule is to be used; why: a sentence or two. expected: around the cross-fitted score. gain: this
    score less the cross-fitted one of the best run alone, by its recipe's rule. folds: of each part its fold; {} where
    parts are no folds, but groups of one or several folds together.
    """

    found: CrossFit
    used: bool
    why: str
    parts: tuple[str, ...]
    expected: Interval
    gain: Interval
    folds: dict[int, int]
    seconds: float

    @property
    def facts(self) -> dict:
        """As plain values, for a JSON file."""
        found, gain = self.found, self.found.gain
        return {
            "rule": found.best.facts,
            "used": self.used,
            "why": self.why,
            "before": {"rule": found.default.facts, "score": number(found.default_score)},
            "tuned": number(found.tuned),
            "cross_fitted": number(found.score),
            "gain": {"value": number(gain.value), "low": number(gain.low), "note": gain.note},
            "picks": {str(self.folds.get(part, part)): rule.facts for part, rule in found.picks.items()},
            "left_out": "folds" if self.folds else "parts",
            "parts": list(self.parts),
            "seconds": round(self.seconds, 2),
        }


def tune_blend(runs: Sequence[FinishedRun], rule: Rule, found: Blend, parts: Sequence[str] | None = None) -> TunedBlend:
    """Search the best rule of a blend. runs: joined. rule: their common one. found: the blend that was chosen.

    parts: of kit.runs.tried, those that may differ from the recipes' rule; None: all that it has.
    Raises ValueError for a part that is not known, and where masks do not give the blend's counts.
    """
    started, metric, groups = time.perf_counter(), runs[0].metric, runs[0].groups
    first = _mixed(runs, rule, found.chosen.mix)
    parts, kind = parts_of(first, parts), _kind(runs, rule, found)
    grid, axes = space_of(first, parts, kind.is_fast)
    known: dict[Mix, Candidates] = {}

    def candidates_of(mix: Mix) -> Candidates:
        if mix not in known:
            known[mix] = kind(_mixed(runs, rule, mix))
        return known[mix]

    def choose(rows: np.ndarray) -> Mixed:
        left = np.setdiff1d(found.parts, found.parts[rows])
        mix = found.nested[int(left[0])] if len(left) else found.chosen.mix
        counts_of = candidates_of(mix)
        return Mixed(mix, climb(counts_of.run.rule, axes, counts_of, rows, groups, metric))

    def counts_of(one: Mixed | None) -> np.ndarray:
        return found.counts if one is None else candidates_of(one.mix)([one.rule])[0]

    chosen = crossfit_search(choose, counts_of, found.parts, groups, metric, default=None)
    rules = {part: one.rule for part, one in chosen.picks.items()}
    of_rules = dataclasses.replace(chosen, picks=rules, best=chosen.best.rule, default=first.rule)
    near = functools.partial(alike, grid=grid)
    folds = _folds_of(found.parts, first.fold_of)
    used, why = verdict(of_rules, of_rules.agrees(near), len(of_rules.agreeing(near)), "fold" if folds else "part")
    expected = interval_of_metric(metric, chosen.counts, groups)
    gain = gain_of(chosen.counts, found.candidates[0].counts, groups, metric, level=0.95)
    return TunedBlend(of_rules, used, why, parts, expected, gain, folds, time.perf_counter() - started)


def _folds_of(parts: np.ndarray, fold_of: np.ndarray) -> dict[int, int]:
    """Of each part its fold; {} where they are not one to one."""
    pairs = np.unique(np.stack([parts, fold_of]), axis=1).T.tolist()
    alone = len(pairs) == len(np.unique(parts)) == len(np.unique(fold_of))
    return dict(pairs) if alone else {}


def _mixed(runs: Sequence[FinishedRun], rule: Rule, mix: Mix) -> MixedRun:
    first = runs[0]
    facts = {field.name: getattr(first, field.name) for field in dataclasses.fields(FinishedRun)}
    facts["saved"] = dataclasses.replace(first.saved, rule=moved_rule(rule, mix.shifts))
    return MixedRun(**facts, members=tuple(runs), mix=mix)


def _kind(runs: Sequence[FinishedRun], rule: Rule, found: Blend) -> type[Candidates]:
    """How masks are counted: the fastest way that gives the counts of the blend.

    Classes that compete have levels that are no whole numbers, of which there are no tables.
    """
    part, mix = next(iter(found.nested.items()))
    run = _mixed(runs, rule, mix)
    run = dataclasses.replace(run, scores=dataclasses.replace(run.scores, counts=found.counts))
    few = run.of_rows(np.flatnonzero(found.parts == part))
    if counting := first_that_counts(few, [FromMasks] if is_competing(run) else kinds_of(run)):
        return type(counting)
    raise ValueError("the masks of the blend do not give the scores that it was chosen by: its rule cannot be tuned")
