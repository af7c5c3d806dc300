"""Measure a run's out-of-fold predictions: every number of the report, computed once.

report.json, report.html and the summary only show these numbers. Images of one group rise and fall together (16 views
of one car), so every interval is taken over groups, by kit.scoring.

The content of report.json. An interval is {"low", "high", "df", "note"}: 95 %, low and high null where there is none;
the note says why.

title, drawn, command, tta, size, images, groups, classes, task: the run and the data that it was scored on
verdict         {"level": "pass", "warn" or "fail", "text": a sentence, "reasons": [{"level", "text", "todo"}]}
averaged        whether Dice and IoU are means over classes
rule            {"threshold": one or one of each class, "objects", "min_area", …}: what makes masks of predictions
metric          {"name", "value", interval} of the competition's own metric; null without one
volumes         {"count", "dice_mean", "iou_mean": {"value", interval}}, over volumes; null for single images
dataset         {pixel_accuracy, mean_accuracy, mean_iou, frequency_weighted_iou} of the summed matrix, over all
                classes, the background too; {mean_iou_images}: the mean over images of the same mean IoU
constant        {"class", "pixel_accuracy", "mean_iou"}: the scores of the commonest class everywhere
further         {name: score}, the recipe's own; further_table: see kit.report.further
folds           {"planned", "finished": [fold]}
conventions     sentences that say what the numbers mean
pooled          {score: {"value", interval}}, score in dice_mean (over images), dice_dataset (from the summed
                confusion matrix), iou_mean, iou_dataset
per_fold        [{"fold", "images", "groups", "metric": as above, the four scores, "intervals": {score: interval},
                "best_epoch", "best_val_dice"}]
per_class       [{"class", "name", "share", "iou", "dice", "accuracy"}], share of the truth's pixels
threshold       {"at", "dice_mean", "dice_dataset": curves, "half", "best", "honest", "warning"}; null for K > 2
thresholds      [{"name", and the same}] of each class of task multilabel
outlines        {"measures": {name: {"value", interval}} of boundary_iou, boundary_f1, surface (the normalised surface
                distance at 2 pixels), means over images; "hd95": {"value", interval, "median", in pixels, "images":
                with a distance, "one_empty", "both_empty": pairs of image and class}, "per_class": [{"name", the four,
                "one_empty"}]}; null for slides
calibration     {"of": "foreground", "class" or "predicted class": what probabilities are of; then foreground below is
                the share of pixels that are right, "all", "band" around the true outlines: {"error": {"value",
                interval}, "too_sure": above 0 where the network is right less often than it says, "leans": where it
                makes the foreground too probable, "bins": [{"probability", "foreground", "share"}]}, "per_class":
                [{"name", "all", "band"}] of task multilabel}; null where nothing was counted, as of classes that
                compete on slides; band null for slides
tuned           of rule.json {"rule", "text": the rule in one line, "metric", "before": {"rule", "score"}, "tuned",
                "cross_fitted", "gap", "gain": {"value", "low": one-sided 80 % bound, "df", "note"}, "used": whether the
                CSV obeys it, "why"}; null without one, as each score that rule.json lacks
quantiles       {"0.05": Dice, ...} over images
ranked_by       the name of the metric, "Dice" without one: of each image, it decides which are the worst
worst, median   [{"id", "group", "fold", "iou", "dice", "accuracy", "area", "metric"}]; area: of the truth
worst_by_group  the same, the worst image of each of the 24 worst groups, in the order of by_group
every_image     [{"id", "group", "fold", "score", "dice", "area"}], the worst first; score is what it is ranked by
by_group        [{"group", "images", "dice_mean", "dice_worst", "mean", "worst"}], the lowest mean first; mean and
                worst are of what it is ranked by
slices          [{"family", "name", "images", "groups", "value", interval}], of the metric, else of mean Dice
budget          {"of", "lost": 1 - score, "kinds": [{"kind", "words", "loss", "share"}], "images": [{"id", "loss",
                "share"}], "share_of_images"}: what errors and images lose; null for slides and older runs
doubtful        [{"id", "share", "added", "missed"}]: shares of the image's pixels that the network contradicts with a
                probability of 0.95 or more
objects         what became of each object, see kit.report.objects; null where masks are no objects
seconds, config, versions   as given
"""

import numpy as np

from kit.report.budget import loss_budget
from kit.report.conventions import conventions
from kit.report.doubts import doubtful_images
from kit.report.further import further_scores
from kit.report.objects import object_scores
from kit.report.outlined import calibration_facts, outline_facts
from kit.report.results import Results
from kit.report.sliced import sliced_scores
from kit.report.thresholds import threshold_curve
from kit.report.verdict import verdict
from kit.report.volumes import volume_scores
from kit.scoring.counts import COLUMNS
from kit.scoring.intervals import Interval, interval, interval_of_metric, interval_of_score
from kit.scoring.metrics import DatasetDice, DatasetIoU, scores_of_images
from kit.system.plain import plain

SCORES = ("dice_mean", "dice_dataset", "iou_mean", "iou_dataset")
EVERY = ("id", "group", "fold", "score", "dice", "area")
WORST, MEDIAN = 24, 8  # images shown; of as many groups the worst image


def measure(results: Results) -> dict:
    """Return the content of report.json, see above: plain values only, null where a number does not exist."""
    images, every = results.images, np.ones(len(results.images), bool)
    one_curve = results.levels is not None and not results.overlaps
    found = plain({
        **_about(results),
        "metric": _metric(results, every),
        "pooled": {name: found._asdict() for name, found in _intervals(results, every).items()},
        "volumes": volume_scores(results),
        "dataset": _dataset(results), "constant": _constant(results),
        **further_scores(results),
        "per_fold": [_fold_row(results, fold) for fold in sorted(set(images["fold"]))],
        "per_class": _per_class(results),
        "threshold": threshold_curve(images, results.levels) if one_curve else None,
        "thresholds": _class_curves(results),
        "tuned": results.tuned,
        "quantiles": {str(q): images["dice"].quantile(q) for q in (0, 0.05, 0.25, 0.5, 0.75, 1)},
        **_examples(results),
        "outlines": outline_facts(results), "calibration": calibration_facts(results),
        "slices": sliced_scores(results), "budget": loss_budget(results), "doubtful": doubtful_images(results),
        "objects": object_scores(results),
        "seconds": results.seconds, "config": results.config, "versions": results.versions,
    })  # fmt: skip
    return {"verdict": verdict(found), **found}


def _about(results: Results) -> dict:
    """The run, the data that it was scored on, and what the numbers mean."""
    images = results.images
    return {
        "title": results.title, "drawn": results.drawn, "command": results.command,
        "tta": results.tta, "size": results.size, "images": len(images), "groups": images["group"].nunique(),
        "classes": len(results.classes), "task": results.task, "averaged": results.averaged,
        "rule": results.rule.facts,
        "folds": {"planned": results.folds, "finished": sorted(set(images["fold"].astype(int)))},
        "conventions": conventions(results),
    }  # fmt: skip


def _metric(results: Results, inside: np.ndarray) -> dict | None:
    """The competition's metric over the images `inside`, bool (n,)."""
    if results.metric is None:
        return None
    found = interval_of_metric(results.metric, results.counts[inside], results.images["group"][inside].tolist())
    return {"name": results.metric.name, **found._asdict()}


def _class_curves(results: Results) -> list[dict]:
    """The curve of Dice over thresholds of each class that may overlap others."""
    if not results.overlaps or results.levels is None:
        return []
    curves = (threshold_curve(results.images, results.levels[:, k]) for k in range(len(results.classes)))
    return [{"name": name, **curve} for name, curve in zip(results.classes, curves, strict=True)]


def _intervals(results: Results, inside: np.ndarray) -> dict[str, Interval]:
    """The four SCORES of the images `inside`, bool (n,), with their intervals."""
    images, matrices = results.images[inside], results.matrices[inside]
    groups, of = images["group"].tolist(), results.of_classes
    scored = images["dice"].notna()  # of several classes and every pixel ignored: no score
    found = {
        name: interval(images[name].where(scored, 0), scored.astype(float), groups) for name in ("dice", "iou")
    }  # fmt: skip
    if not (results.averaged or results.overlaps):
        hits, wrong = matrices[:, 1, 1], matrices[:, 0, 1] + matrices[:, 1, 0]
        whole = [
            interval_of_metric(DatasetDice(), np.column_stack([2 * hits, 2 * hits + wrong]), groups),
            interval_of_metric(DatasetIoU(), np.column_stack([hits, hits + wrong]), groups),
        ]
    else:
        rows, total = matrices.reshape(len(matrices), -1), matrices.sum(axis=0)
        whole = [
            interval_of_score(
                rows, groups, lambda sums, mean=mean: mean(sums.reshape(-1, *total.shape), total), logit=True
            )
            for mean in (of.mean_dice, of.mean_iou)
        ]
    return dict(zip(SCORES, (found["dice"], whole[0], found["iou"], whole[1]), strict=True))


def _fold_row(results: Results, fold: int) -> dict:
    inside = (results.images["fold"] == fold).to_numpy()
    images = results.images[inside]
    scores = _intervals(results, inside)
    epochs = [line for line in results.history.get(fold, []) if np.isfinite(line.get("val_dice") or np.nan)]
    best = max(epochs, key=lambda line: line["val_dice"], default={})
    return {
        "fold": int(fold), "images": len(images), "groups": images["group"].nunique(),
        "metric": _metric(results, inside),
        **{name: score.value for name, score in scores.items()},
        "intervals": {
            name: {"low": s.low, "high": s.high, "df": s.df, "note": s.note} for name, s in scores.items()
        },
        "best_epoch": best.get("epoch"), "best_val_dice": best.get("val_dice"),
    }  # fmt: skip


def _dataset(results: Results) -> dict[str, float]:
    """The four scores of Long, Shelhamer & Darrell 2015, and mean IoU image by image."""
    total, of = results.matrices.sum(axis=0), results.of_classes
    each = results.images["iou"].to_numpy(float) if results.overlaps else of.mean_iou(results.matrices)
    return {
        "pixel_accuracy": of.pixel_accuracy(total), "mean_accuracy": of.mean_accuracy(total),
        "mean_iou": of.mean_iou(total), "frequency_weighted_iou": of.frequency_weighted_iou(total),
        "mean_iou_images": each[~np.isnan(each)].mean() if not np.isnan(each).all() else np.nan,
    }  # fmt: skip


def _constant(results: Results) -> dict:
    """The scores of a predictor that has learnt nothing but which class is the commonest, over the same classes.

    Where classes overlap it predicts none.
    """
    total, of = results.matrices.sum(axis=0), results.of_classes
    constant, truth = np.zeros_like(total), total.sum(axis=-1)
    commonest = 0 if results.overlaps else truth.argmax()
    constant[..., commonest] = truth
    return {
        "class": "no class" if results.overlaps else results.classes[commonest],
        "pixel_accuracy": of.pixel_accuracy(constant),
        "mean_iou": of.mean_iou(constant, whole=total),
    }


def _per_class(results: Results) -> list[dict]:
    total, of = results.matrices.sum(axis=0), results.of_classes
    truth, hits = (total[:, 1].sum(axis=1), total[:, 1, 1]) if results.overlaps else (total.sum(axis=1), np.diag(total))
    pixels = total[0].sum() if results.overlaps else truth.sum()
    accuracy = np.divide(hits, truth, out=np.full(len(truth), np.nan), where=truth > 0)
    columns = {"share": truth / max(1, pixels), "iou": of.iou(total), "dice": of.dice(total), "accuracy": accuracy}
    return [
        {"class": k, "name": name, **{column: values[k] for column, values in columns.items()}}
        for k, name in enumerate(results.classes)
    ]


def _examples(results: Results) -> dict[str, str | list[dict]]:
    """The images that the page shows, and the table of groups: by the metric, else by Dice; of equal ones, by Dice."""
    images = results.images.assign(fold=results.images["fold"].astype(int), metric=np.nan)
    if results.metric is not None:
        images["metric"] = scores_of_images(results.metric, results.counts)
    own = "dice" if results.metric is None else "metric"
    ranked = images.sort_values([own, "dice", "id"], kind="stable")[[*COLUMNS, "metric"]]
    middle = max(0, (len(ranked) - MEDIAN) // 2)
    parts = {"images": ("id", "size"), "dice_mean": ("dice", "mean"), "dice_worst": ("dice", "min")}
    groups = images.groupby("group").agg(**parts, mean=(own, "mean"), worst=(own, "min")).reset_index()
    groups = groups.sort_values(["mean", "dice_mean", "group"])
    worst_of = ranked.drop_duplicates("group").set_index("group", drop=False)
    return {
        "ranked_by": "Dice" if results.metric is None else results.metric.name,
        "worst": ranked.head(WORST).to_dict("records"),
        "worst_by_group": worst_of.loc[groups["group"].head(WORST)].to_dict("records"),
        "median": ranked.iloc[middle : middle + MEDIAN].to_dict("records"),
        "by_group": groups.to_dict("records"),
        "every_image": ranked.assign(score=ranked[own])[list(EVERY)].to_dict("records"),
    }
