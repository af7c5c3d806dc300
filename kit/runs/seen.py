"""A rule together with the views that the levels are of: what tuning tries where views are tuned too.

counts_of = SeenCandidates(run, [TTA(VIEWS["none"]), TTA(VIEWS["d4"])])
counts_of([Seen(Rule(0.4), TTA(VIEWS["d4"]))])       f64 (n, M) each, as kit.runs.candidates
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kit.prediction.rule import Rule
from kit.prediction.views import TTA
from kit.runs.candidates import Candidates, candidates
from kit.runs.finished import FinishedRun
from kit.runs.view_stores import FOLDER, set_name
from kit.scoring.tune import Axis


@dataclass(frozen=True)
class Seen:
    """A rule, and the views whose mean it is applied to."""

    rule: Rule
    tta: TTA


class SeenCandidates:
    """Counts of rules on the levels of several sets of views, whose stores are there (kit.runs.view_stores)."""

    def __init__(self, run: FinishedRun, ttas: Sequence[TTA]) -> None:
        own = candidates(run)
        self.by_tta: dict[TTA, Candidates] = {run.saved.tta: own}
        for tta in ttas:
            if tta not in self.by_tta:
                self.by_tta[tta] = type(own)(replace(run, levels_in=f"{FOLDER}/{set_name(tta)}"))
        self.is_fast = own.is_fast

    @property
    def tried(self) -> int:
        """How many pairs of a rule and views were counted."""
        return sum(one.tried for one in self.by_tta.values())

    def __call__(self, seen: Sequence[Seen]) -> list[np.ndarray]:
        """The counts f64 (n, M) of each."""
        found: dict[Seen, np.ndarray] = {}
        for tta, counts_of in self.by_tta.items():
            own = [one for one in dict.fromkeys(seen) if one.tta == tta]
            found |= dict(zip(own, counts_of([one.rule for one in own]), strict=True)) if own else {}
        return [found[one] for one in seen]

    def views_axis(self, seen: Seen) -> list[Seen]:
        """The other sets of views; those that cost the least difference first."""
        others = [tta for tta in self.by_tta if tta != seen.tta]
        return [replace(seen, tta=tta) for tta in sorted(others, key=lambda tta: abs(tta.cost - seen.tta.cost))]


def lifted(axis: Axis) -> Callable[[Seen], list[Seen]]:
    """An axis of rules as one of rules with views, which stay."""
    return lambda seen: [replace(seen, rule=rule) for rule in axis(seen.rule)]
