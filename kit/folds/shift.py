"""How train and test images differ: their sizes, their brightness channel by channel, and whether a classifier that
sees only such simple numbers can say which is which.

An area under the curve (AUC) of 0.5 is a guess, 1 is certainty. It is cross-validated with whole groups: images of one
car in training and validation would be recognised by the car alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kit.folds.looks import Look

FOLDS, TREES = 5, 200
LEAST = 20  # images on either side for a classifier
CLEAR = 0.6  # an AUC whose lower end is above this is a shift


@dataclass(frozen=True)
class Shift:
    """auc: cross-validated; error: its standard error where there is no shift, from the numbers of groups.

    channels: of each channel the Hellinger distance between train and test, and the means of both. new_sizes: test
    images, by size, of sizes that no training image has. features: the numbers that separate best, each with its own
    AUC.
    """

    train: int
    test: int
    auc: float | None
    error: float | None
    channels: list[dict]
    new_sizes: list[tuple[str, int]]
    features: list[tuple[str, float]]

    @property
    def is_clear(self) -> bool:
        """Whether train and test can be told apart."""
        return self.auc is not None and self.auc - 2 * self.error > CLEAR


def find_shift(train: Mapping[str, Look], test: Mapping[str, Look], groups: Sequence[str]) -> Shift | None:
    """Compare train with test images; None without either. groups: of each training image.

    Test images have groups too where ids show them: where the ids of each training group, and of no other, begin alike.
    """
    if not train or not test:
        return None
    channels = min(one.shape[2] for one in [*train.values(), *test.values()])
    sizes = {one.shape[:2] for one in train.values()}
    new: dict[tuple, int] = {}
    for one in test.values():
        if one.shape[:2] not in sizes:
            new[one.shape[:2]] = new.get(one.shape[:2], 0) + 1
    names = ["height", "width", *_NAMES, *(f"{what} of channel {k + 1}" for what in _OF for k in range(channels))]
    rows = np.array([_row(one, channels) for one in [*train.values(), *test.values()]])
    is_test = np.arange(len(rows)) >= len(train)
    own = [f"test\0{name}" for name in groups_of_tests(list(train), groups, list(test))]
    auc = _auc(rows, is_test, [*map(str, groups), *own])
    alone = [(name, _rank_auc(column, is_test)) for name, column in zip(names, rows.T, strict=True)]
    alone.sort(key=lambda one: -one[1])
    return Shift(
        len(train),
        len(test),
        auc,
        _error(len(set(groups)), len(set(own))) if auc is not None else None,
        [_channel(train, test, k) for k in range(channels)],
        sorted(((f"{h} × {w}", count) for (h, w), count in new.items()), key=lambda one: -one[1]),
        alone[:5],
    )


_NAMES = ("sharpness", "entropy", "darkest", "brightest", "colour")
_OF = ("mean", "spread")


def groups_of_tests(ids: Sequence[str], groups: Sequence[str], tests: Sequence[str]) -> list[str]:
    """The group of each test image: its id up to the last number where that names the training groups; else alone."""
    pairs = {(_front(id), group) for id, group in zip(ids, groups, strict=True)}
    fronts, named = ({pair[k] for pair in pairs} for k in (0, 1))
    is_named = len(pairs) == len(fronts) == len(named) < len(ids)
    return [_front(id) if is_named else id for id in tests]


def _front(id: str) -> str:
    return re.sub(r"\d+\D*$", "", id)


def _row(one: Look, channels: int) -> list[float]:
    own = [one.shape[0], one.shape[1], one.sharpness, one.entropy, one.dark, one.bright, one.colour]
    return [*own, *one.means[:channels].tolist(), *one.spreads[:channels].tolist()]


def _channel(train: Mapping[str, Look], test: Mapping[str, Look], k: int) -> dict:
    """What differs in one channel."""
    a, b = (np.mean([one.levels[k] for one in looks.values()], axis=0) for looks in (train, test))
    means = [float(np.mean([one.means[k] for one in looks.values()])) for looks in (train, test)]
    distance = float(np.sqrt(max(0.0, 1 - np.sqrt(a * b).sum()))) if a.sum() and b.sum() else None
    return {"distance": distance, "train_mean": means[0], "test_mean": means[1]}


def _auc(rows: np.ndarray, is_test: np.ndarray, groups: list[str]) -> float | None:
    """The cross-validated area under the curve of a random forest; None where there is too little of either."""
    kinds = [len({*np.asarray(groups)[side]}) for side in (is_test, ~is_test)]
    if min(is_test.sum(), (~is_test).sum()) < LEAST or min(kinds) < FOLDS:
        return None
    from sklearn.ensemble import RandomForestClassifier  # here: it takes a second to import
    from sklearn.metrics import roc_auc_score

    from kit.folds.kfold import stratified_group_kfold

    folds, scores = stratified_group_kfold(is_test.tolist(), groups, FOLDS, seed=0), np.zeros(len(rows))
    for fold in range(FOLDS):
        held = folds == fold
        if len(set(is_test[~held].tolist())) < 2:
            return None
        forest = RandomForestClassifier(TREES, min_samples_leaf=3, class_weight="balanced", random_state=0)
        scores[held] = forest.fit(rows[~held], is_test[~held]).predict_proba(rows[held])[:, 1]
    return float(roc_auc_score(is_test, scores))


def _rank_auc(column: np.ndarray, is_test: np.ndarray) -> float:
    """The area under the curve of one number by itself, in the direction in which it separates."""
    from scipy.stats import rankdata

    ranks, m, n = rankdata(column), int(is_test.sum()), int((~is_test).sum())
    area = (ranks[is_test].sum() - m * (m + 1) / 2) / (m * n)
    return float(max(area, 1 - area))


def _error(groups: int, tests: int) -> float:
    """The standard error of an area of 0.5 (Mann and Whitney), with a group counted as one image."""
    return float(np.sqrt((groups + tests + 1) / (12 * groups * tests)))
