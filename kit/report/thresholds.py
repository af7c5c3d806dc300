"""Dice at every threshold, and an honest score of a picked one.

The best threshold on the images that it is scored on is optimistic. The honest score takes for each fold the threshold
that is best on the other folds.
"""

import numpy as np
import pandas as pd

from kit.scoring.intervals import interval_of_score

CUTS = np.arange(5, 96) / 100  # the thresholds tried
HALF = int(np.flatnonzero(CUTS == 0.5)[0])
WARNING = "The best threshold was picked on the images that it is scored on, so its score is optimistic."


def threshold_curve(images: pd.DataFrame, levels: np.ndarray) -> dict:
    """Return Dice at every threshold of CUTS, the best one, and the score of thresholds picked on the other folds.

    images: columns fold and group. levels: i64 (n, 2, 256), see Results.
    Each of "half" (0.5), "best" and "honest" holds dice_mean and dice_dataset. "honest" also holds the threshold of
    each fold and the gain over 0.5 with its interval; it is None with fewer than two folds.
    """
    cuts = np.round(256 * CUTS).astype(int)
    above = levels[:, :, ::-1].cumsum(axis=-1)[:, :, ::-1][:, :, cuts]  # (n, 2, T) pixels at or above each cut
    hits, sizes = 2 * above[:, 1], above.sum(axis=1) + levels[:, 1].sum(axis=-1)[:, None]
    each = np.where(sizes == 0, 1.0, hits / np.maximum(sizes, 1))
    rows = {"dice_mean": (each, np.ones_like(each)), "dice_dataset": (hits, sizes)}
    result = {"at": CUTS, "warning": WARNING}
    best, honest = {}, {}
    for name, (top, bottom) in rows.items():
        result[name] = _ratio(top.sum(axis=0), bottom.sum(axis=0))
        at = _peak(result[name])
        best[name] = {"threshold": CUTS[at], "value": result[name][at]}
        if images["fold"].nunique() > 1:
            honest[name] = _honest(top, bottom, images)
    return result | {"half": {name: result[name][HALF] for name in rows}, "best": best, "honest": honest or None}


def _honest(top: np.ndarray, bottom: np.ndarray, images: pd.DataFrame) -> dict:
    """Score sum(top) / sum(bottom), both (n, T), with each fold's threshold picked on the other folds.

    The interval of the gain keeps the picked thresholds fixed.
    """
    folds = images["fold"].to_numpy()
    picked = {fold: _peak(_ratio(*(part[folds != fold].sum(axis=0) for part in (top, bottom)))) for fold in set(folds)}
    row, column = np.arange(len(folds)), np.array([picked[fold] for fold in folds])
    counts = np.column_stack([top[row, column], bottom[row, column], top[:, HALF], bottom[:, HALF]]).astype(float)
    gain = interval_of_score(counts, images["group"].tolist(), _gain)
    total = counts.sum(axis=0)
    return {
        "value": _ratio(total[0], total[1]), "gain": gain.value,
        "low": gain.low, "high": gain.high, "df": gain.df, "note": gain.note,
        "picked": {str(fold): CUTS[at] for fold, at in sorted(picked.items())},
    }  # fmt: skip


def _gain(sums: np.ndarray) -> np.ndarray:
    """(..., 4) sums of top and bottom with the picked thresholds, then at 0.5 -> the difference of the two scores."""
    return _ratio(sums[..., 0], sums[..., 1]) - _ratio(sums[..., 2], sums[..., 3])


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Top / bottom, 1 where both are 0 (empty truth, empty prediction)."""
    return np.where(bottom == 0, 1.0, top / np.where(bottom == 0, 1, bottom))[()]


def _peak(curve: np.ndarray) -> int:
    """The index of the highest point; on a plateau the one nearest to 0.5."""
    return max(range(len(CUTS)), key=lambda at: (curve[at], -abs(CUTS[at] - 0.5)))
