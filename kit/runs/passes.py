"""How a prediction uses its time: passes over the images, from the cheapest that gives every image a mask to the whole.

    1 network, 1 view -> more networks, 1 view each -> all networks, more views -> all networks, views and scales

Networks come before views: those of other folds differ more from each other than mirror images do. Where there is no
limit of time, there is one pass, the whole. With one, the first pass measures what an image costs, by its pixels; then
comes the best pass that fits in what is left, and so on. A pass that is late goes on as a cheaper one.

An out-of-fold gain of each step would order them better; a run does not know it, because a held-out image is predicted
by one network.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kit.prediction.views import TTA

SAFETY = 1.05  # of an estimate


@dataclass(frozen=True)
class Pass:
    """How many of the networks, and which views, are used for an image. cost: 1 for one network and one view."""

    networks: int
    tta: TTA

    @property
    def cost(self) -> float:
        """What it costs, in forward passes at the network's own size."""
        return self.networks * self.tta.cost

    @property
    def parts(self) -> tuple["Pass"]:
        """Itself: a run has one part."""
        return (self,)

    def __str__(self) -> str:
        count = len(self.tta.views)
        views = f"{count} views" if count > 1 else "one view"
        scales = f" at {len(self.tta.scales)} scales" if len(self.tta.scales) > 1 else ""
        return f"{self.networks} network{'s' * (self.networks > 1)} with {views}{scales}"


@dataclass(frozen=True)
class BlendPass:
    """The passes of the runs of a blend at one image. parts: of each run; None: it takes no part yet.

    units: what one network of each run costs with one view.
    """

    parts: tuple[Pass | None, ...]
    units: tuple[float, ...]

    @property
    def cost(self) -> float:
        """What it costs, in the unit of `units`."""
        return sum(unit * part.cost for part, unit in zip(self.parts, self.units, strict=True) if part)

    def __str__(self) -> str:
        own = [part for part in self.parts if part]
        networks, views = sum(part.networks for part in own), {str(replace(part, networks=1)) for part in own}
        each = views.pop().partition(" with ")[2] if len(views) == 1 else "the views of each"
        runs = f"{len(own)} run{'s' * (len(own) > 1)}"
        return f"{networks} network{'s' * (networks > 1)} of {runs} with {each}"


def blend_ladder(
    networks: Sequence[int], ttas: Sequence[TTA], weights: Sequence[float], costs: Sequence[float]
) -> list[BlendPass]:
    """The passes of a blend, BlendPass, each dearer than the one before; the last is the whole.

    networks, ttas, weights: of each run. costs: of one of its networks with all views. One network of each run comes
    before a second one of any, in the order of their weights: runs differ more from each other than folds do.
    """
    order = sorted(range(len(networks)), key=lambda r: -weights[r])
    units = tuple(cost / Pass(1, tta).cost for cost, tta in zip(costs, ttas, strict=True))
    parts: list[Pass | None] = [None] * len(networks)
    found = []
    for depth in range(max(networks)):
        for r in order:
            if depth < networks[r]:
                parts[r] = Pass(depth + 1, ladder(1, ttas[r])[0].tta)
                found.append(BlendPass(tuple(parts), units))
    rest = [ladder(count, tta)[count - 1 :] for count, tta in zip(networks, ttas, strict=True)]
    for step in range(max(map(len, rest))):
        found.append(BlendPass(tuple(own[min(step, len(own) - 1)] for own in rest), units))
    return list(dict.fromkeys(found))


def ladder(networks: int, tta: TTA) -> list[Pass]:
    """The passes, each better and dearer than the one before; the last is the whole."""
    first = TTA(tta.views[:1], (1.0,) if 1.0 in tta.scales else tta.scales[:1])
    found = [Pass(count, first) for count in range(1, networks + 1)]
    count = 2
    while count < len(tta.views):
        found.append(Pass(networks, TTA(tta.views[:count], first.scales)))
        count *= 2
    found += [Pass(networks, TTA(tta.views, first.scales)), Pass(networks, tta)]
    return list(dict.fromkeys(found))


class Budget:
    """The time that is left. seconds: None for no limit; started: on the clock of time.monotonic.

    reserve: seconds of it that are kept for what comes after the last image.
    """

    def __init__(self, seconds: float | None, started: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self.end = None if seconds is None else started + seconds
        self.reserve = 0.0

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit."""
        return self.end is not None

    def left(self) -> float:
        """Seconds that are left for images; infinite without a limit."""
        return float("inf") if self.end is None else self.end - self.reserve - self.clock()


class Costs:
    """What passes have cost so far: seconds by weight, which stands for the pixels of images."""

    def __init__(self) -> None:
        self._seen: dict[float, list[float]] = {}  # by the cost of a pass: weight, seconds, how often
        self.latest = 0.0  # seconds per weight of the last images

    def add(self, one: Pass | BlendPass, weight: float, seconds: float) -> None:
        """Images of this weight took so long. The first ones of a pass, which warm up, count until others come."""
        seen = self._seen.setdefault(one.cost, [0.0, 0.0, 0])
        if seen[2] == 1:
            seen[:2] = 0.0, 0.0
        seen[:] = seen[0] + weight, seen[1] + seconds, seen[2] + 1
        self.latest = seconds / weight if weight > 0 else 0.0

    def estimate(self, one: Pass | BlendPass, weight: float) -> float:
        """Seconds that images of this weight will take; 0 before the first image.

        A pass that did not run yet is estimated by the one of the nearest cost, as if networks alone took time.
        """
        rates = {cost: seconds / done for cost, (done, seconds, _) in self._seen.items() if done > 0}
        if not rates:
            return 0.0
        nearest = min(rates, key=lambda cost: abs(cost - one.cost))
        return rates[nearest] * max(1.0, one.cost / nearest) * weight


@dataclass(frozen=True)
class Timing:
    """What the passes over some images go by. weights: of the images, by id. say: prints a line."""

    weights: Mapping[str, float]
    steps: Sequence[Pass | BlendPass]
    budget: Budget
    say: Callable[[str], None]
    costs: Costs = field(default_factory=Costs)

    def fits(self, step: int, weight: float) -> bool:
        """Whether images of this weight can be done in the time that is left."""
        return self.costs.estimate(self.steps[step], weight) * SAFETY < self.budget.left()


def passes(ids: Sequence[str], timing: Timing, bad: Collection[str] = ()) -> Iterator["Share"]:
    """The passes over the images, as Shares. The caller works through each until it is done or should_stop.

    bad: ids that were found to be unreadable, and that later passes leave out.
    """
    got, last = dict.fromkeys(ids, -1), len(timing.steps) - 1  # the best step of each image so far
    step = 0 if timing.budget.is_limited else last
    while step is not None:
        share = Share([id for id in ids if id not in bad and got[id] < step], timing, step, got)
        yield share
        if share.remaining:
            return
        reached = min((got[id] for id in ids if id not in bad), default=last)
        weights = [sum(timing.weights[id] for id in ids if got[id] < number) for number in range(last + 1)]
        fitting = [number for number in range(reached + 1, last + 1) if timing.fits(number, weights[number])]
        step = fitting[-1] if fitting else reached + 1 if reached < last else None


class Share:
    """One pass over the images, which becomes cheaper where it is late.

    step: of the timing's steps, the one in use. got: the best step that each image had, filled in by `add`.
    """

    def __init__(self, ids: list[str], timing: Timing, step: int, got: dict[str, int]) -> None:
        self.ids, self.timing, self.step, self._got = ids, timing, step, got
        self._reached = min((got[id] for id in ids), default=-1)
        self._at, self._weight = 0, sum(timing.weights[id] for id in ids)
        self._is_late = False

    @property
    def left(self) -> list[str]:
        """The images that are still to come."""
        return self.ids[self._at :]

    @property
    def remaining(self) -> int:
        """How many these are."""
        return len(self.ids) - self._at

    @property
    def now(self) -> Pass | BlendPass:
        """The pass that the next images get."""
        return self.timing.steps[self.step]

    def add(self, count: int, seconds: float) -> None:
        """The next `count` images are done, in so many seconds; the pass is made cheaper if the rest would be late."""
        done = self.ids[self._at : self._at + count]
        weight = sum(self.timing.weights[id] for id in done)
        self._got.update(dict.fromkeys(done, self.step))
        self.timing.costs.add(self.now, weight, seconds)
        self._at, self._weight = self._at + count, self._weight - weight
        late = self.timing.costs.estimate(self.now, self._weight) > self.timing.budget.left()
        if late and not self._is_late and self.remaining:
            self._shrink()

    def should_stop(self, count: int = 1) -> bool:
        """Whether the time does not suffice for the next `count` images."""
        weight = sum(self.timing.weights[id] for id in self.ids[self._at : self._at + count])
        at_once = self.timing.costs.latest * weight if self._at else 0.0  # the machine may have become slower
        return not self.timing.fits(self.step, weight) or at_once * SAFETY > self.timing.budget.left()

    def _shrink(self) -> None:
        """Take the best cheaper pass that is better than what the images have; if none fits, the cheapest of these."""
        steps, before, count = self.timing.steps, self.now, self.remaining
        fitting = [step for step in range(self._reached + 1, self.step) if self.timing.fits(step, self._weight)]
        self._is_late = not fitting
        self.step = fitting[-1] if fitting else self._reached + 1
        if fitting:
            return self.timing.say(f"late: the other {count} images get {self.now}, not {before}")
        kept = "have empty masks" if self._reached < 0 else f"keep the masks of {steps[self._reached]}"
        self.timing.say(f"late: not all of the other {count} images get {self.now}; those that do not {kept}")
