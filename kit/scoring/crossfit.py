"""Choose on the other folds, score on the held-out one: the honest score of whatever is chosen by its score.

    found = crossfit(counts, folds, groups, metric)            counts: (candidates, n, M), of each candidate and image
    found.tuned, found.score, found.optimism                   in-sample, cross-fitted, and how much the first flatters

The best of 100 equal candidates beats their common score on the images that it was chosen on, by luck alone. Here each
fold is scored with the candidate that is best on the OTHER folds. Where choosing is a search, the whole search is
repeated for each fold: see crossfit_search.

This is cross-fitting, not nested validation: the networks of the other folds have trained on this fold's images, so
their predictions are not independent of it. That hardly matters for a threshold or a few weights. It matters for a
model with many parameters that is trained on out-of-fold predictions. See Cawley & Talbot 2010, "On over-fitting in
model selection and subsequent selection bias in performance evaluation", JMLR 11. The score is on average slightly too
low, because each pick is made on fewer images than the last one, which is used.

A mean over classes: candidates are compared by the metric of the images at hand, as it is. So a class that no truth
holds counts against the candidates that predict it, and against no other.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from kit.scoring.compare import score_function
from kit.scoring.intervals import Interval, interval_of_score

if TYPE_CHECKING:
    from kit.scoring.metrics import Metric

Pick = TypeVar("Pick")
Score = Callable[[np.ndarray], np.ndarray]
TIE = 1e-12  # scores that differ by less are equal
ONE_SIDED = 0.8  # of the lower bound of a gain


@dataclass(frozen=True)
class CrossFit:
    """What was chosen, and what it scores.

    picks: of each fold, in rising order, the choice made on the other folds; {} with fewer than two folds.
    best: the choice made on all images, the one to use. default: what it is compared with.
    counts: f64 (n, M), of each image with the pick of its fold; None with fewer than two folds.
    score: of `counts`, the cross-fitted score; None with fewer than two folds.
    tuned: of the best choice on the images that it was chosen on, which is too high. default_score: of the default.
    gain: the cross-fitted score less the default's. Its `low` is the one-sided 80 % lower bound over groups, with the
    picks as they are; None with fewer than two folds.
    """

    picks: dict[int, Hashable]
    best: Hashable
    default: Hashable
    counts: np.ndarray | None
    score: float | None
    tuned: float
    default_score: float
    gain: Interval | None

    @property
    def optimism(self) -> float | None:
        """How much the tuned score is above the cross-fitted one; None with fewer than two folds."""
        return None if self.score is None else self.tuned - self.score

    @property
    def is_better(self) -> bool:
        """Whether the lower bound of the gain is above 0."""
        return self.gain is not None and self.gain.low is not None and self.gain.low > 0

    def agreeing(self, alike: Callable[[Hashable, Hashable], bool] | None = None) -> list[int]:
        """The folds whose pick is the best choice, or is `alike`."""
        same = alike or (lambda one, other: one == other)
        return [fold for fold, pick in self.picks.items() if same(pick, self.best)]

    def agrees(self, alike: Callable[[Hashable, Hashable], bool] | None = None) -> bool:
        """Whether the picks of all folds but one agree with the best choice; of two folds both."""
        return len(self.picks) > 1 and len(self.agreeing(alike)) >= max(2, len(self.picks) - 1)


def crossfit(
    counts: np.ndarray,
    folds: Sequence[int],
    groups: Sequence[Hashable],
    metric: "Metric | Score",
    default: int = 0,
    distances: Sequence[float] | None = None,
) -> CrossFit:
    """Choose the candidate with the highest score on the other folds, and score it on the held-out one.

    counts: f64 (candidates, n, M), a metric's counts of each candidate in each image. folds: int (n,). groups: (n,)
    names or numbers, over which the bound of the gain is taken. metric: one, or a function that maps sums (..., M) to
    (...); higher is better. default: the index of the candidate without tuning. distances: (candidates,) of each to the
    default; of candidates that score alike the nearest is taken, then the first. None: the distance of their indices.
    Picks are indices. Raises ValueError on shapes that differ, and where no candidate has a score.
    """
    counts = np.asarray(counts, float)
    if counts.ndim != 3 or not len(counts) or not -len(counts) <= default < len(counts):
        raise ValueError(
            f"got counts of shape {counts.shape} and the default {default}: expected (candidates, images, counts of "
            "the metric), and the default one of the candidates"
        )
    default = range(len(counts))[default]
    near = np.abs(np.arange(len(counts)) - default) if distances is None else np.asarray(distances, float)
    if near.shape != (len(counts),):
        raise ValueError(f"got distances of shape {near.shape}, expected one of each of {len(counts)} candidates")

    def choose(rows: np.ndarray) -> int:
        return best_of(score(counts[:, rows].sum(axis=1)), near)

    score = score_of(metric)
    return crossfit_search(choose, lambda pick: counts[pick], folds, groups, metric, default)


def crossfit_search(
    choose: Callable[[np.ndarray], Pick],
    counts_of: Callable[[Pick], np.ndarray],
    folds: Sequence[int],
    groups: Sequence[Hashable],
    metric: "Metric | Score",
    default: Pick,
) -> CrossFit:
    """The same of any way to choose: the whole search is made again on the other folds of each fold.

    choose(rows): a choice from the images whose places are in `rows`, int (m,); it must look at no other image.
    counts_of(choice): f64 (n, M), the metric's counts of all images with that choice. Choices are compared with ==.
    The rest is as of crossfit.
    """
    folds = np.asarray(folds)
    base = np.asarray(counts_of(default), float)
    if folds.shape != (len(base),) or len(groups) != len(base):
        raise ValueError(
            f"got counts of {len(base)} images, folds of shape {folds.shape} and {len(groups)} groups: expected a fold "
            "and a group of each image"
        )
    best, score = choose(np.arange(len(folds))), score_of(metric)
    whole, start = (float(score(np.asarray(counts_of(one), float).sum(axis=0))) for one in (best, default))
    numbers = np.unique(folds)
    if len(numbers) < 2:
        return CrossFit({}, best, default, None, None, whole, start, None)
    picks, counts = {}, np.empty_like(base)
    for fold in numbers.tolist():
        picks[fold] = choose(np.flatnonzero(folds != fold))
        counts[folds == fold] = np.asarray(counts_of(picks[fold]), float)[folds == fold]
    held = float(score(counts.sum(axis=0)))
    return CrossFit(picks, best, default, counts, held, whole, start, gain_of(counts, base, groups, metric))


def gain_of(
    counts: np.ndarray,
    base: np.ndarray,
    groups: Sequence[Hashable],
    metric: "Metric | Score",
    level: float = 2 * ONE_SIDED - 1,
) -> Interval:
    """The score of `counts` less that of `base`, both f64 (n, M), of the same images in the same order.

    `low` is the one-sided lower bound at ONE_SIDED: the low end of the interval that leaves 20 % out on either side,
    see kit.scoring.intervals; level: another interval. It is None with fewer than three groups. In a mean over classes
    each side has the classes of its own sum, also without a group that alone holds a class.
    """
    width, of_counts, of_base = counts.shape[1], *(score_function(metric, one.sum(axis=0)) for one in (counts, base))

    def difference(sums: np.ndarray) -> np.ndarray:
        return np.asarray(of_counts(sums[..., :width])) - np.asarray(of_base(sums[..., width:]))

    return interval_of_score(np.hstack([counts, base]), groups, difference, level=level)


def score_of(metric: "Metric | Score") -> Score:
    """The score as a function of sums."""
    return getattr(metric, "score", metric)


def best_of(scores: np.ndarray, distances: np.ndarray) -> int:
    """The index of the highest score; of equal ones the nearest, then the first. NaN is below every score.

    Raises ValueError where all are NaN.
    """
    scores = np.asarray(scores, float)
    if np.isnan(scores).all():
        raise ValueError("no candidate has a score on these images: there is nothing to choose by")
    equal = np.flatnonzero(scores >= np.nanmax(scores) - TIE)
    return int(equal[np.argmin(np.asarray(distances)[equal])])
