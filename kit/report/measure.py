"""The report of a run: what was measured on its out-of-fold predictions, as JSON, a page and a short table.

`measure` computes every number once; `report.json`, `report.html` and `summary` only show them.
An image's Dice says little alone: 16 views of one car rise and fall together, so every interval
resamples groups. A threshold picked on the data it is scored on flatters itself, so the report gives
the score of thresholds picked on the other folds beside it.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from kit.report.page import page
from kit.scoring.confusion import (
    dice,
    foreground_scores,
    frequency_weighted_iou,
    iou,
    mean_accuracy,
    mean_dice,
    mean_iou,
    pixel_accuracy,
)
from kit.scoring.counts import COLUMNS
from kit.system.files import write_atomic

SCORES = ("dice_mean", "dice_dataset", "iou_mean", "iou_dataset")
CUTS = np.arange(5, 96) / 100  # the thresholds tried
RESAMPLES = 10_000
WORST, MEDIAN = 24, 8


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run leaves behind, for the folds finished so far; n images, K classes.

    images: one row an image, with COLUMNS; dice, iou and area are shares in 0..1.
    matrices: i64 (n, K, K) confusion matrices at the images' own size, rows = truth, in the order of `images`.
    levels: i64 (n, 2, 256) pixels by truth and by level; a pixel is foreground at threshold t where its
        level >= round(256 t). None for K > 2.
    history: for each fold the lines of its metrics.jsonl. seconds: run time of each stage.
    folds: how many are planned. size: (height, width) the network saw, None for each image's own.
    drawn: the toolkit drew the data. classes: K names. notes: further conventions, a sentence each.
    further: the recipe's own scores, by name.
    read_image -> u8 (H, W, 3) RGB; read_truth, read_prediction -> u8 (H, W), 255 = ignored.
    """

    title: str
    drawn: bool
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    further: dict[str, float]
    command: str
    config: dict
    versions: dict
    tta: str
    size: tuple[int, int] | None
    images: pd.DataFrame
    matrices: np.ndarray
    levels: np.ndarray | None
    history: dict[int, list[dict]]
    seconds: dict[str, float]
    folds: int
    read_image: Callable[[str], np.ndarray]
    read_truth: Callable[[str], np.ndarray]
    read_prediction: Callable[[str], np.ndarray]

    def __post_init__(self) -> None:
        """Raise ValueError listing everything that does not fit together."""
        problems = _problems(self)
        if problems:
            raise ValueError(f"no report for {self.title}: " + "; ".join(problems))


def _problems(results: Results) -> list[str]:
    images, matrices, levels = results.images, results.matrices, results.levels
    missing = [name for name in COLUMNS if name not in images.columns]
    if missing:
        return [f"the table of images lacks the columns {missing}, expected {list(COLUMNS)}"]
    if not len(images):
        return ["there is no image yet: finish a fold first"]
    if len(matrices) != len(images) or (levels is not None and len(levels) != len(images)):
        counts = f"{len(matrices)} confusion matrices, {'no' if levels is None else len(levels)} histograms"
        return [f"{len(images)} images but {counts}: expected one of each an image, in the same order"]
    problems = []
    if len(results.classes) != matrices.shape[-1]:
        problems.append(f"{len(results.classes)} names of classes, confusion matrices of {matrices.shape[-1]}")
    if images["id"].duplicated().any():
        problems.append(f"ids more than once: {sorted(set(images['id'][images['id'].duplicated()]))}")
    if images[["id", "group", "fold"]].isna().any(axis=None):
        problems.append(f"id, group or fold missing in rows {list(np.flatnonzero(images.isna().any(axis=1)))}")
    binary = matrices.shape[-1] == 2
    scores = images[["iou", "dice", "area"]]
    wild = ~((scores >= 0) & (scores <= 1) | scores.isna() & (not binary)).all(axis=1)
    if wild.any():
        problems.append(f"iou, dice or area outside 0..1 for {list(images['id'][wild])}")
    if binary:
        wrong = ~np.isclose(_dataset_scores(matrices)[1], images["dice"], atol=1e-4) & ~wild
        if wrong.any():
            names = list(images["id"][wrong])
            problems.append(f"dice is not that of the confusion matrix (rows in another order?) for {names}")
    return problems


def write_report(results: Results, run_dir: Path) -> dict:
    """Write report.json and report.html into `run_dir`, each whole or not at all; return the measurements."""
    measurements = measure(results)
    text = json.dumps(measurements, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    html = page(results, measurements)
    write_atomic(Path(run_dir) / "report.json", text)
    write_atomic(Path(run_dir) / "report.html", html)
    return measurements


def measure(results: Results) -> dict:
    """Return the content of report.json: plain values only, null where a number does not exist.

    title, drawn, command, tta, size, images, groups, classes: the run and what it was scored on
    dataset         {pixel_accuracy, mean_accuracy, mean_iou, frequency_weighted_iou} of the summed matrix, over all
                    classes, the background too; {mean_iou_images}: the mean over images of the same mean IoU
    constant        {"class", "pixel_accuracy", "mean_iou"}: what the commonest class everywhere would score
    further         {name: score}, the recipe's own
    folds           {"planned", "finished": [fold]}
    conventions     sentences that say what the numbers mean
    pooled          {score: {"value", "low", "high"}}, score in dice_mean (over images), dice_dataset (from
                    the summed confusion matrix), iou_mean, iou_dataset; low, high: 95 % interval or null
    per_fold        [{"fold", "images", "groups", the four scores, "intervals": {score: [low, high] or null},
                    "best_epoch", "best_val_dice"}]
    per_class       [{"class", "name", "share", "iou", "dice", "accuracy"}], share of the truth's pixels
    threshold       {"at", "dice_mean", "dice_dataset": curves, "half", "best", "honest", "warning"}; null for K > 2
    quantiles       {"0.05": Dice, ...} over images
    worst, median   [{"id", "group", "fold", "iou", "dice", "accuracy", "area"}]
    by_group        [{"group", "images", "dice_mean", "dice_worst"}], the lowest first
    seconds, config, versions   as given
    """
    images, matrices = results.images, results.matrices
    ranked = images.assign(fold=images["fold"].astype(int)).sort_values(["dice", "id"], kind="stable")
    middle = max(0, (len(ranked) - MEDIAN) // 2)
    return _plain({
        "title": results.title, "drawn": results.drawn, "command": results.command,
        "tta": results.tta, "size": results.size, "images": len(images), "groups": images["group"].nunique(),
        "classes": matrices.shape[-1],
        "folds": {"planned": results.folds, "finished": sorted(set(images["fold"].astype(int)))},
        "conventions": _conventions(results),
        "pooled": _pooled(images, matrices),
        "dataset": _dataset(matrices), "constant": _constant(matrices.sum(axis=0), results.classes),
        "further": results.further,
        "per_fold": [_fold_row(results, fold) for fold in sorted(set(images["fold"]))],
        "per_class": _per_class(matrices.sum(axis=0), results.classes),
        "threshold": None if results.levels is None else threshold_curve(images, results.levels),
        "quantiles": {str(q): images["dice"].quantile(q) for q in (0, 0.05, 0.25, 0.5, 0.75, 1)},
        "worst": ranked[list(COLUMNS)].head(WORST).to_dict("records"),
        "median": ranked[list(COLUMNS)].iloc[middle : middle + MEDIAN].to_dict("records"),
        "by_group": _by_group(images),
        "seconds": results.seconds, "config": results.config, "versions": results.versions,
    })  # fmt: skip


def _conventions(results: Results) -> list[str]:
    matrices, groups = results.matrices, results.images["group"].nunique()
    num_classes = matrices.shape[-1]
    empty = int((matrices[:, 1:].sum(axis=(1, 2)) == 0).sum())
    absent = [results.classes[k] for k in np.flatnonzero(np.isnan(iou(matrices.sum(axis=0))))]
    of_what = "those of the foreground" if num_classes == 2 else f"means over the {num_classes} classes"
    what = (
        f"IoU and Dice are {of_what}. An empty mask predicted empty scores 1; {empty} of {len(matrices)} images have "
        "an empty mask. A class absent from truth and prediction is left out of means over classes; over the whole set "
        f"that is {', '.join(absent) or 'none'}."
    )
    interval = "No intervals: there is one group only, and resampling its images would promise too much."
    if groups > 1:
        what_is_drawn = "images" if groups == len(matrices) else f"{groups} groups, not of the images"
        interval = f"Intervals: 95 %, percentile bootstrap, {RESAMPLES:,} resamples of the {what_is_drawn}."
        interval += " From fewer than 10 groups they come out too narrow." if groups < 10 else ""
    saw = "each at that size" if results.size is None else f"{results.size[0]} × {results.size[1]} (height × width)"
    return [
        f"Scored at each image's own size; the network saw {saw}; test-time augmentation: {results.tta}.",
        what,
        "Ignored pixels (255 in the truth) are in neither intersection nor union.",
        "Over the data set: from the summed confusion matrix, so every pixel weighs the same. "
        "Mean over images: every image weighs the same.",
        interval,
        *results.notes,
    ]


def _dataset_scores(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU and Dice of (..., K, K): of the foreground for K = 2, else the mean over the classes that occur."""
    if matrices.shape[-1] == 2:
        return foreground_scores(matrices)[:2]
    return mean_iou(matrices), mean_dice(matrices)


def _rows(images: pd.DataFrame, matrices: np.ndarray) -> np.ndarray:
    """(n, 3 + K²) rows whose sums over any choice of images are all that `_scores` needs."""
    scored = images["dice"].notna()  # of several classes and every pixel ignored: no score
    each = [scored, images["dice"].where(scored, 0), images["iou"].where(scored, 0)]
    return np.column_stack([*each, matrices.reshape(len(images), -1)]).astype(float)


def _scores(sums: np.ndarray) -> np.ndarray:
    """(..., 3 + K²) sums of `_rows` -> (..., 4) SCORES."""
    side = round((sums.shape[-1] - 3) ** 0.5)
    iou_dataset, dice_dataset = _dataset_scores(sums[..., 3:].reshape(*sums.shape[:-1], side, side))
    return np.stack([sums[..., 1] / sums[..., 0], dice_dataset, sums[..., 2] / sums[..., 0], iou_dataset], axis=-1)


def bootstrap(rows: np.ndarray, groups: pd.Series, statistic: Callable, resamples: int = RESAMPLES) -> np.ndarray:
    """95 % percentile interval of statistic(sum of rows) when whole groups are drawn with replacement.

    rows (n, M); statistic maps sums (..., M) to (..., S). Returns (2, S): low and high. The same seed always.
    """
    codes, names = pd.factorize(groups)
    by_group = np.zeros((len(names), rows.shape[1]))
    np.add.at(by_group, codes, rows)
    random = np.random.default_rng(0)
    draws = []
    for start in range(0, resamples, 1000):  # in blocks: 10,000 x 5,000 counts at once would take 400 MB
        counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), min(1000, resamples - start))
        draws.append(statistic(counts @ by_group))
    return np.percentile(np.concatenate(draws), [2.5, 97.5], axis=0)


def _pooled(images: pd.DataFrame, matrices: np.ndarray) -> dict:
    rows = _rows(images, matrices)
    low, high = bootstrap(rows, images["group"], _scores) if images["group"].nunique() > 1 else np.full((2, 4), np.nan)
    values = _scores(rows.sum(axis=0))
    return {name: {"value": values[i], "low": low[i], "high": high[i]} for i, name in enumerate(SCORES)}


def _fold_row(results: Results, fold: int) -> dict:
    inside = (results.images["fold"] == fold).to_numpy()
    images = results.images[inside]
    scores = _pooled(images, results.matrices[inside])
    bounded = images["group"].nunique() > 1
    epochs = [line for line in results.history.get(fold, []) if np.isfinite(line.get("val_dice") or np.nan)]
    best = max(epochs, key=lambda line: line["val_dice"], default={})
    return {
        "fold": int(fold), "images": len(images), "groups": images["group"].nunique(),
        **{name: score["value"] for name, score in scores.items()},
        "intervals": {name: [score["low"], score["high"]] if bounded else None for name, score in scores.items()},
        "best_epoch": best.get("epoch"), "best_val_dice": best.get("val_dice"),
    }  # fmt: skip


def _dataset(matrices: np.ndarray) -> dict[str, float]:
    """The four scores of Long, Shelhamer & Darrell 2015, and mean IoU image by image."""
    total = matrices.sum(axis=0)
    each = mean_iou(matrices)
    return {
        "pixel_accuracy": pixel_accuracy(total), "mean_accuracy": mean_accuracy(total), "mean_iou": mean_iou(total),
        "frequency_weighted_iou": frequency_weighted_iou(total),
        "mean_iou_images": each[~np.isnan(each)].mean() if not np.isnan(each).all() else np.nan,
    }  # fmt: skip


def _constant(matrix: np.ndarray, names: tuple[str, ...]) -> dict:
    """The scores of a predictor that has learnt nothing but which class is the commonest."""
    truth = matrix.sum(axis=1)
    commonest = truth.argmax()
    constant = np.zeros_like(matrix)
    constant[:, commonest] = truth
    return {
        "class": names[commonest], "pixel_accuracy": pixel_accuracy(constant), "mean_iou": mean_iou(constant)
    }  # fmt: skip


def _per_class(matrix: np.ndarray, names: tuple[str, ...]) -> list[dict]:
    truth = matrix.sum(axis=1)
    accuracy = np.divide(np.diag(matrix), truth, out=np.full(len(matrix), np.nan), where=truth > 0)
    columns = {"share": truth / max(1, truth.sum()), "iou": iou(matrix), "dice": dice(matrix), "accuracy": accuracy}
    return [
        {"class": k, "name": name, **{column: values[k] for column, values in columns.items()}}
        for k, name in enumerate(names)
    ]


def _by_group(images: pd.DataFrame) -> list[dict]:
    table = images.groupby("group")["dice"].agg(images="size", dice_mean="mean", dice_worst="min").reset_index()
    return table.sort_values(["dice_mean", "group"]).to_dict("records")


def threshold_curve(images: pd.DataFrame, levels: np.ndarray) -> dict:
    """Dice at every threshold of CUTS, the best one, and what thresholds picked on the other folds score.

    Each of "half" (0.5), "best" and "honest" holds dice_mean and dice_dataset; "honest" also the thresholds
    picked for each fold and the gain over 0.5 with its interval; it is None with fewer than two folds.
    """
    cuts = np.round(256 * CUTS).astype(int)
    above = levels[:, :, ::-1].cumsum(axis=-1)[:, :, ::-1][:, :, cuts]  # (n, 2, T) pixels at or above each cut
    hits, sizes = 2 * above[:, 1], above.sum(axis=1) + levels[:, 1].sum(axis=-1)[:, None]
    each = np.where(sizes == 0, 1.0, hits / np.maximum(sizes, 1))
    rows = {"dice_mean": (each, np.ones_like(each)), "dice_dataset": (hits, sizes)}
    half = int(np.flatnonzero(CUTS == 0.5)[0])
    folds = images["fold"].to_numpy()
    result = {"at": CUTS, "warning": "The best threshold was picked on the images it is scored on: it is optimistic."}
    best, honest = {}, {}
    for name, (top, bottom) in rows.items():
        result[name] = _ratio(top.sum(axis=0), bottom.sum(axis=0))
        at = _peak(result[name])
        best[name] = {"threshold": CUTS[at], "value": result[name][at]}
        if len(set(folds)) > 1:
            honest[name] = _honest(top, bottom, folds, images["group"], half)
    return result | {"half": {name: result[name][half] for name in rows}, "best": best, "honest": honest or None}


def _honest(top: np.ndarray, bottom: np.ndarray, folds: np.ndarray, groups: pd.Series, half: int) -> dict:
    """Score sum(top) / sum(bottom), both (n, T), with each fold's threshold picked on the other folds."""
    picked = {fold: _peak(_ratio(*(part[folds != fold].sum(axis=0) for part in (top, bottom)))) for fold in set(folds)}
    row, column = np.arange(len(folds)), np.array([picked[fold] for fold in folds])
    rows = np.column_stack([top[row, column], bottom[row, column], top[:, half], bottom[:, half]]).astype(float)

    def gain(sums: np.ndarray) -> np.ndarray:
        return _ratio(sums[..., 0:1], sums[..., 1:2]) - _ratio(sums[..., 2:3], sums[..., 3:4])

    low, high = bootstrap(rows, groups, gain)[:, 0] if groups.nunique() > 1 else (np.nan, np.nan)
    total = rows.sum(axis=0)
    return {
        "value": _ratio(total[0], total[1]), "gain": gain(total)[0], "low": low, "high": high,
        "picked": {str(fold): CUTS[at] for fold, at in sorted(picked.items())},
    }  # fmt: skip


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Top / bottom, 1 where both are 0 (empty truth, empty prediction)."""
    return np.where(bottom == 0, 1.0, top / np.where(bottom == 0, 1, bottom))[()]


def _peak(curve: np.ndarray) -> int:
    """The index of the highest point; on a plateau the one nearest to 0.5."""
    return max(range(len(CUTS)), key=lambda at: (curve[at], -abs(CUTS[at] - 0.5)))


def _plain(value: object) -> object:
    """The same value for JSON: NaN and infinities as None, NumPy's and other types as Python's or as text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _rounded(score: float | None) -> str:
    return "none" if score is None else f"{score:.4f}"


def summary(measurements: dict) -> str:
    """The measurements as a table for a terminal, under 80 columns."""
    m, folds = measurements, measurements["folds"]
    lines = [f"{m['title']}: out-of-fold scores" + (" on DRAWN data, not a competition's" if m["drawn"] else "")]
    counts = f"{m['images']} images, {m['groups']} groups, tta {m['tta']}"
    lines.append(f"{len(folds['finished'])} of {folds['planned']} folds, {counts}")
    lines += ["", f"{'':8}{'images':>7}{'Dice':>10}{'Dice':>10}{'IoU':>10}{'IoU':>10}"]
    lines.append(f"{'':8}{'':7}" + f"{'mean':>10}{'data set':>10}" * 2)
    rows = [(f"fold {row['fold']}", row["images"], [row[name] for name in SCORES]) for row in m["per_fold"]]
    rows.append(("pooled", m["images"], [m["pooled"][name]["value"] for name in SCORES]))
    lines += [f"{name:8}{count:7}" + "".join(f"{score:10.4f}" for score in scores) for name, count, scores in rows]
    bounds = [[m["pooled"][name][end] for name in SCORES] for end in ("low", "high")]
    if None in bounds[0]:
        lines.append("no interval: one group only")
    else:
        for label, values in zip(("95 % from", "     to"), bounds, strict=True):
            lines.append(f"{label:15}" + "".join(f"{value:10.4f}" for value in values))
    labels = {
        "pixel accuracy": "pixel_accuracy",
        "mean accuracy": "mean_accuracy",
        "mean IoU of all classes": "mean_iou",
    }
    scores = {label: m["dataset"][name] for label, name in labels.items()} | m["further"]
    lines += ["", *(f"{label}: {_rounded(score)}" for label, score in scores.items())]
    lines.append(f"{m['constant']['class']} everywhere would have a mean IoU of {_rounded(m['constant']['mean_iou'])}")
    honest = (m["threshold"] or {}).get("honest")
    if honest:
        value, gain = honest["dice_mean"]["value"], round(honest["dice_mean"]["gain"], 5) + 0.0
        lines += ["", f"threshold picked on the other folds: mean Dice {value:.4f} ({gain:+.5f} over 0.5)"]
    worst = m["worst"][0]
    return "\n".join([*lines, "", f"worst image: {worst['id'][:48]} (Dice {worst['dice']:.4f})"])
