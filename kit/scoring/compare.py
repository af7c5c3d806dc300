"""Is run b better than run a, or is it luck? The paired difference of two scores, with all that can be said of it.

The runs predicted the same images, so their scores are compared within each group of images, where most of what makes
images hard cancels. The difference D = score(b) - score(a) has the variance V of the cluster jackknife on the scale of
the difference itself, and its degrees of freedom (kit.scoring.intervals). That is about THESE NETWORKS.

Another seed gives another network. Where a recipe was run with several seeds, the spread of their scores tells how much
that changes, and the sentence can be about THE RECIPES:

    σ²  = Σ_recipes Σ_seeds (score - mean of the recipe)² / f,  f = Σ_recipes (S - 1)
    se² = V + σ² (1/S_A + 1/S_B)

σ² also holds a part of what V holds, how seeds differ from group to group, so se² errs on the careful side. Two seeds
of each recipe leave f = 2, and then Satterthwaite's degrees of freedom of the sum call up to 7.7 % of null differences
significant at 5 % (12.6 % at f = 1). Cochran's quantiles do not: each is the mean of the quantiles of both t
distributions, weighted by the shares of the variance.

    quantile(q) = se · ((1 - r) t_df(q) + r t_f(q)),  r = σ² (1/S_A + 1/S_B) / se²
                  Cochran 1964, "Approximate significance levels of the Behrens-Fisher test", Biometrics 20

p, the interval and all probabilities come from this one distribution around D. tests/scoring/test_null_rates.py
measures how often a null difference is called significant.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from kit.scoring.flips import Flips, flip_groups
from kit.scoring.intervals import interval_of_score, sum_groups

if TYPE_CHECKING:
    from kit.scoring.metrics import Metric

LEVEL = 0.95
POWER = 0.80  # with which the smallest detectable difference is found
NOTHING = 1e-12  # a difference, or a standard error, that is rounding alone
Score = Callable[[np.ndarray], np.ndarray]


class SeedSpread(NamedTuple):
    """How far the scores of one recipe's seeds lie apart. variance: σ². df: f, how many differences it was taken of."""

    variance: float
    df: int


class Comparison(NamedTuple):
    """What can be said of two runs, or of two recipes with several seeds each.

    difference: score(b) - score(a). low, high: its 95 % interval. p: two-sided. error: standard error. df: of t, from
    the groups alone. better, worse, equal: probabilities that the true difference is above, below, and within
    ± margin. detectable: the smallest true difference that such a comparison finds significant in 80 % of cases.
    All of these are None where there is no interval; note then says why.
    flips: the sign-flip test, of these networks; None where it was left out.
    spread: of seeds; None where each recipe has one: then everything is about these networks alone.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    error: float | None
    df: float | None
    better: float | None
    worse: float | None
    equal: float | None
    detectable: float | None
    margin: float
    groups: int
    flips: Flips | None
    spread: SeedSpread | None
    note: str

    @property
    def about(self) -> str:
        """What the numbers are about."""
        return "the recipes" if self.spread else "these networks"

    @property
    def is_significant(self) -> bool:
        """Whether p is below 5 %."""
        return self.p is not None and self.p < 1 - LEVEL


class Pair(NamedTuple):
    """Two recipes by name, and p after Holm's correction for all pairs."""

    a: str
    b: str
    found: Comparison
    holm: float | None


def compare(
    a: np.ndarray,
    b: np.ndarray,
    groups: Sequence[Hashable],
    score: "Metric | Score",
    *,
    margin: float = 0.0,
    spread: SeedSpread | None = None,
    flips: bool = True,
) -> Comparison:
    """Compare two runs on the same images in the same order; positive differences mean that b is better.

    a, b: counts f64 (n, M) of each image; of several seeds of one recipe (S, n, M). The score of a recipe is the mean
    of its seeds'. groups: (n,) names or numbers.
    score: a metric, or a function that maps sums of counts (..., M) to scores (...), such as score_ratio for a mean of
    counts (score, 1).
    margin: differences up to this size make no difference to anybody.
    spread: of seeds, where more recipes than these two are known (seed_spread); None: of these two.
    flips: whether to make the sign-flip test too.
    Raises ValueError on counts of other shapes, groups of another number, and a margin below 0.
    """
    a, b = (_seeds(counts, groups) for counts in (a, b))
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"counts of one shape are compared, got {a.shape[1:]} and {b.shape[1:]}")
    if not margin >= 0:
        raise ValueError(f"margin is 0 or more, got {margin}")
    spread = spread or seed_spread([a, b], score)
    scorers = [score_function(score, run.sum(axis=0)) for run in (*a, *b)]
    counts, sizes = np.concatenate([*a, *b], axis=1), _sizes(score, a, b)
    found = interval_of_score(counts, groups, lambda sums: _difference(sums, scorers, len(a)), LEVEL, sizes=sizes)
    names, sums = sum_groups(np.concatenate([a.mean(axis=0), b.mean(axis=0)], axis=1), groups)
    sums = sums[(sums != 0).any(axis=1)]  # a group with nothing to score says nothing
    parts = np.split(sums, 2, axis=1)
    pooled = score_function(score, sums.sum(axis=0).reshape(2, -1).sum(axis=0))
    flipped = flip_groups(*parts, pooled) if flips else None
    facts = {
        "margin": margin,
        "groups": len(sums) or len(names),
        "flips": flipped,
        "spread": spread,
        "note": found.note,
    }
    value, low, high, df = found[:4]
    if low is None:
        return Comparison(value, *[None] * 9, **facts)
    variance = ((high - low) / (2 * stdtrit(df, (1 + LEVEL) / 2))) ** 2
    of_seeds = spread.variance * (1 / len(a) + 1 / len(b)) if spread else 0.0
    law = _Law(np.sqrt(variance + of_seeds), (df, spread.df if spread else df), of_seeds)
    return Comparison(**_conclusions(value, law, margin), df=df, **facts)


def _sizes(score: "Metric | Score", a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """What each image weighs, (n,): the denominators of a ratio; None where the score is none."""
    if not getattr(score, "ratio", False):
        return None
    return a[..., 1].mean(axis=0) + b[..., 1].mean(axis=0)


def compare_all(
    recipes: Mapping[str, np.ndarray],
    groups: Sequence[Hashable],
    score: "Metric | Score",
    *,
    margin: float = 0.0,
) -> list[Pair]:
    """Compare all pairs, in the order of `recipes`: counts (n, M) or (S, n, M) by name. σ² is that of all of them."""
    counts = {name: _seeds(one, groups) for name, one in recipes.items()}
    spread = seed_spread(list(counts.values()), score)
    pairs = list(combinations(counts, 2))
    found = [compare(counts[a], counts[b], groups, score, margin=margin, spread=spread) for a, b in pairs]
    return [Pair(*pair, *rest) for pair, *rest in zip(pairs, found, holm([one.p for one in found]), strict=True)]


def seed_spread(recipes: Sequence[np.ndarray], score: "Metric | Score") -> SeedSpread | None:
    """Return the spread of the seeds' scores around the mean of their recipe; None where no recipe has two seeds.

    recipes: counts (S, n, M) of each. It is taken as one for all recipes.
    """
    scores = [np.array([score_function(score, run.sum(axis=0))(run.sum(axis=0)) for run in one]) for one in recipes]
    df = sum(len(one) - 1 for one in scores)
    return SeedSpread(float(sum(np.sum((one - one.mean()) ** 2) for one in scores) / df), df) if df else None


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return p after Holm's correction: below 5 % for true null hypotheses of any of the tests in 5 % of cases.

    Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6. None
    stays None and does not count as a test.
    """
    known = [place for place, one in enumerate(p) if one is not None]
    adjusted, least = list(p), 0.0
    for rank, place in enumerate(sorted(known, key=lambda place: p[place])):
        least = max(least, min(1.0, (len(known) - rank) * p[place]))
        adjusted[place] = least
    return adjusted


class _Law:
    """The distribution of the true difference around D: Cochran's quantiles of two t distributions.

    error: the standard error. df: of the groups and of the seeds. of_seeds: the seeds' part of error².
    """

    def __init__(self, error: float, df: tuple[float, float], of_seeds: float) -> None:
        self.error, self.df = float(error), df
        self.share = of_seeds / error**2 if error else 0.0

    def quantile(self, q: float) -> float:
        parts = stdtrit(self.df[0], q), stdtrit(self.df[1], q)
        return float(self.error * ((1 - self.share) * parts[0] + self.share * parts[1]))

    def below(self, x: float) -> float:
        """The probability of less than x. It lies between those of both t distributions."""
        if x > 0:
            return 1 - self.below(-x)  # lower tails, because 1 - p of a small p is not exact
        low, high = sorted(float(stdtr(df, x / self.error)) for df in self.df)
        for _ in range(100):
            middle = (low + high) / 2
            if not low < middle < high:
                break
            low, high = (middle, high) if self.quantile(middle) < x else (low, middle)
        return (low + high) / 2


def _conclusions(value: float, law: _Law, margin: float) -> dict[str, float | None]:
    """The fields of a Comparison that follow from the difference and its distribution."""
    reach = law.quantile((1 + LEVEL) / 2)
    facts = {"difference": value, "low": value - reach, "high": value + reach, "error": law.error}
    if law.error > NOTHING:
        worse, not_better = law.below(-margin - value), law.below(margin - value)
        chances = (1 - not_better, worse, max(0.0, not_better - worse))
        facts |= {"p": min(1.0, 2 * law.below(-abs(value))), "detectable": reach + law.quantile(POWER)}
    else:  # all groups differ by the same: where that is nothing, the runs are copies
        is_copy = abs(value) <= NOTHING
        chances = (0.0, 0.0, 1.0) if is_copy else (None, None, None)
        facts |= {"p": 1.0 if is_copy else None, "detectable": None}
    return facts | dict(zip(("better", "worse", "equal"), chances, strict=True))


def _seeds(counts: np.ndarray, groups: Sequence[Hashable]) -> np.ndarray:
    """Counts as (S, n, M)."""
    counts = np.asarray(counts, float)
    counts = counts[None] if counts.ndim == 2 else counts
    if counts.ndim != 3 or counts.shape[1] != len(groups) or not len(counts):
        raise ValueError(
            f"counts are (images, counts), or (seeds, images, counts), of {len(groups)} images, because there are as "
            f"many groups; got {counts.shape}"
        )
    return counts


def score_function(score: "Metric | Score", total: np.ndarray) -> Score:
    """The score as a function of sums; of a metric over classes with the classes of `total` (M,)."""
    fix = getattr(score, "fix_classes", None)
    return fix(total) if fix else getattr(score, "score", score)


def _difference(sums: np.ndarray, scorers: Sequence[Score], count: int) -> np.ndarray:
    """The mean score of the later runs less that of the first `count`; sums (..., runs · M) -> (...)."""
    parts = np.split(sums, len(scorers), axis=-1)
    scores = np.stack([np.asarray(score(part), float) for score, part in zip(scorers, parts, strict=True)])
    return scores[count:].mean(axis=0) - scores[:count].mean(axis=0)
