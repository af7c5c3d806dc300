import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from discs import class_results, classes, drawn_run, results_of, with_metric
from scipy import stats
from sklearn.metrics import f1_score, jaccard_score, recall_score

from kit import report
from kit.scoring import MeanDice, MeanDicePerClass, PrecisionOverThresholds, foreground_scores


@pytest.fixture(scope="module")
def drawn():
    return drawn_run()


@pytest.fixture(scope="module")
def measured(drawn):
    return report.measure(drawn.results)


# Numbers


def test_scores_are_scikit_learns_on_the_pixels(drawn, measured):
    images = drawn.results.images
    for row in [*measured["per_fold"], {name: score["value"] for name, score in measured["pooled"].items()}]:
        ids = list(images["id"][images["fold"] == row["fold"]] if "fold" in row else images["id"])
        truth = np.stack([drawn.truths[name].ravel() for name in ids])
        prediction = np.stack([drawn.levels[name].ravel() >= 128 for name in ids])
        assert row["dice_dataset"] == pytest.approx(f1_score(truth.ravel(), prediction.ravel()))
        assert row["iou_dataset"] == pytest.approx(jaccard_score(truth.ravel(), prediction.ravel()))
        pairs = list(zip(truth, prediction, strict=True))
        assert row["dice_mean"] == pytest.approx(np.mean([f1_score(*pair, zero_division=1) for pair in pairs]))
        assert row["iou_mean"] == pytest.approx(np.mean([jaccard_score(*pair, zero_division=1) for pair in pairs]))


def jackknife(score, groups, df):
    """The interval on the logit scale of score(rows) by a plain loop over the groups, of equal sizes."""
    logits = []
    for name in dict.fromkeys(groups):
        share = score(np.flatnonzero(groups != name))
        logits.append(np.log(share / (1 - share)))
    whole = score(np.arange(len(groups)))
    eta = np.log(whole / (1 - whole))
    reach = stats.t.ppf(0.975, df) * np.sqrt((len(logits) - 1) / len(logits) * np.sum((logits - np.mean(logits)) ** 2))
    return whole, 1 / (1 + np.exp(reach - eta)), 1 / (1 + np.exp(-reach - eta))


def test_intervals_are_those_of_a_plain_loop(drawn, measured):
    images, matrices = drawn.results.images, drawn.results.matrices

    def dataset(rows):
        (_, false), (missed, hit) = matrices[rows].sum(axis=0)
        return 2 * hit / (2 * hit + false + missed), hit / (hit + false + missed)

    functions = (
        lambda rows: images["dice"].to_numpy()[rows].mean(),
        lambda rows: dataset(rows)[0],
        lambda rows: images["iou"].to_numpy()[rows].mean(),
        lambda rows: dataset(rows)[1],
    )
    for name, function in zip(report.SCORES, functions, strict=True):
        score = measured["pooled"][name]
        expected = jackknife(function, images["group"].to_numpy(), score["df"])
        assert (score["value"], score["low"], score["high"]) == pytest.approx(expected)
        assert score["low"] < score["value"] < score["high"]
    assert measured["pooled"]["dice_mean"]["df"] == pytest.approx(11)  # 12 groups of four images
    assert any("95 %, cluster jackknife over 12 groups" in sentence for sentence in measured["conventions"])


def test_the_competitions_metric_leads_with_its_interval_over_all_and_by_fold(drawn):
    measurements = report.measure(with_metric(drawn.results, PrecisionOverThresholds()))
    images = drawn.results.images
    pairs = [(drawn.truths[id].ravel(), drawn.levels[id].ravel() >= 128) for id in images["id"]]
    union = np.array([jaccard_score(*pair, zero_division=1) for pair in pairs])
    each = np.mean(union[:, None] > np.linspace(0.5, 0.95, 10) + 1e-12, axis=1)
    metric = measurements["metric"]
    assert metric["name"] == "mean precision over IoU thresholds"
    expected = jackknife(lambda rows: each[rows].mean(), images["group"].to_numpy(), 11)
    assert (metric["value"], metric["low"], metric["high"]) == pytest.approx(expected)
    for row in measurements["per_fold"]:
        inside = (images["fold"] == row["fold"]).to_numpy()
        expected = jackknife(lambda rows, part=each[inside]: part[rows].mean(), images["group"][inside].to_numpy(), 3)
        assert (row["metric"]["value"], row["metric"]["low"], row["metric"]["high"]) == pytest.approx(expected)
    assert [row["metric"] for row in measurements["worst"]] == pytest.approx(
        [each[list(images["id"]).index(row["id"])] for row in measurements["worst"]]
    )
    lines = report.summary(measurements).splitlines()
    assert lines[3].startswith(f"mean precision over IoU thresholds: {metric['value']:.4f}  (95 % from ")
    assert max(map(len, lines)) < 80


def test_a_metric_that_does_not_fit_the_results_is_refused(drawn):
    results = with_metric(drawn.results, MeanDice())
    with pytest.raises(ValueError, match="there are no counts of the metric mean Dice over images: score the folds"):
        dataclasses.replace(results, counts=None)
    with pytest.raises(ValueError, match="48 images but 47 counts of the metric mean Dice"):
        dataclasses.replace(results, counts=results.counts[1:])
    with pytest.raises(ValueError, match=r"the counts of 00_000 have shape \(3,\), expected \(2,\)"):
        dataclasses.replace(results, counts=np.ones((48, 3)))


def test_a_fold_has_the_interval_of_its_own_groups(drawn, measured):
    inside = (drawn.results.images["fold"] == 1).to_numpy()
    alone = dataclasses.replace(
        drawn.results, images=drawn.results.images[inside], matrices=drawn.results.matrices[inside], levels=None
    )
    pooled = report.measure(alone)["pooled"]
    ends = {name: {end: score[end] for end in ("low", "high", "df", "note")} for name, score in pooled.items()}
    assert measured["per_fold"][1]["intervals"] == ends


def test_groups_that_agree_widen_the_interval(drawn, measured):
    alone = dataclasses.replace(drawn.results, images=drawn.results.images.assign(group=drawn.results.images["id"]))
    by_image = report.measure(alone)["pooled"]["dice_mean"]
    by_group = measured["pooled"]["dice_mean"]
    assert by_group["value"] == by_image["value"]
    assert by_group["high"] - by_group["low"] > 1.2 * (by_image["high"] - by_image["low"])


@pytest.mark.parametrize(("groups", "said"), [(1, "one group only"), (2, "two groups only")])
def test_one_or_two_groups_get_no_interval_and_one_fold_no_honest_threshold(drawn, groups, said):
    images = drawn.results.images.assign(fold=2, group=[f"group {row % groups}" for row in range(48)])
    measurements = report.measure(with_metric(dataclasses.replace(drawn.results, images=images), MeanDice()))
    for score in [measurements["metric"], *measurements["pooled"].values()]:
        assert score["low"] is score["high"] is score["df"] is None
        assert score["note"] == f"none: {said}, an interval needs three"
    assert any(f"No intervals: {said}" in sentence for sentence in measurements["conventions"])
    assert measurements["threshold"]["honest"] is None
    assert measurements["folds"] == {"planned": 5, "finished": [2]}
    assert f"no interval: {said}" in report.summary(measurements)


def test_a_fold_of_two_groups_has_no_interval_though_the_pool_has_one(drawn):
    keep = drawn.results.images["group"].isin(["car00", "car03", "car01", "car04", "car07"]).to_numpy()
    part = {name: getattr(drawn.results, name)[keep] for name in ("images", "matrices", "levels")}
    measurements = report.measure(dataclasses.replace(drawn.results, **part))
    first, second = measurements["per_fold"]
    assert first["intervals"]["dice_mean"]["note"] == "none: two groups only, an interval needs three"
    assert second["intervals"]["dice_mean"]["df"] == pytest.approx(2)
    assert measurements["pooled"]["dice_mean"]["df"] == pytest.approx(4)


def test_one_fold_has_one_row_in_the_summary(drawn):
    images = drawn.results.images.assign(fold=0)
    lines = report.summary(report.measure(dataclasses.replace(drawn.results, images=images, folds=1))).splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("fold", "pooled"))] == ["fold"]


def test_threshold_curve_is_that_of_thresholded_predictions(drawn, measured):
    curve, images = measured["threshold"], drawn.results.images
    truth = np.stack([drawn.truths[name].ravel() for name in images["id"]])
    level = np.stack([drawn.levels[name].ravel() for name in images["id"]])
    assert (curve["at"][0], curve["at"][-1], len(curve["at"])) == (0.05, 0.95, 91)
    scores = np.empty((len(images), len(curve["at"])))
    for column, threshold in enumerate(curve["at"]):
        prediction = level >= round(256 * threshold)
        both, either = (truth & prediction).sum(axis=1), truth.sum(axis=1) + prediction.sum(axis=1)
        scores[:, column] = np.where(either == 0, 1, 2 * both / np.maximum(either, 1))
        assert curve["dice_dataset"][column] == pytest.approx(2 * both.sum() / either.sum())
    assert curve["dice_mean"] == pytest.approx(scores.mean(axis=0))
    assert curve["half"]["dice_mean"] == pytest.approx(measured["pooled"]["dice_mean"]["value"])
    assert curve["best"]["dice_mean"]["value"] == max(curve["dice_mean"])

    honest = []
    for fold in range(3):
        inside = images["fold"].to_numpy() == fold
        picked = scores[~inside].mean(axis=0).argmax()
        assert curve["honest"]["dice_mean"]["picked"][str(fold)] == curve["at"][picked]
        honest += list(scores[inside, picked])
    assert curve["honest"]["dice_mean"]["value"] == pytest.approx(np.mean(honest))
    assert curve["honest"]["dice_mean"]["value"] <= curve["best"]["dice_mean"]["value"]
    gain = curve["honest"]["dice_mean"]
    assert gain["gain"] == pytest.approx(np.mean(honest) - curve["half"]["dice_mean"])
    order = [row for fold in range(3) for row in np.flatnonzero(images["fold"].to_numpy() == fold)]
    gains = (
        pd.Series(np.array(honest) - scores[order, 45], index=order).groupby(images["group"].to_numpy()[order]).mean()
    )
    reach = stats.t.ppf(0.975, 11) * stats.sem(gains)  # for groups of one size the jackknife of a mean
    assert (gain["low"], gain["high"]) == pytest.approx((gain["gain"] - reach, gain["gain"] + reach))


def test_a_flat_threshold_curve_stays_at_a_half(drawn):
    sure = {name: 255 * truth for name, truth in drawn.truths.items()}
    rows = drawn.results.images[["id", "group", "fold"]].to_dict("records")
    threshold = report.measure(results_of(rows, drawn.truths, sure))["threshold"]
    assert threshold["best"]["dice_mean"] == {"threshold": 0.5, "value": 1.0}


def test_classes_against_scikit_learn(drawn):
    truths, predictions = classes()
    measurements = report.measure(class_results(drawn, truths, predictions))
    kept = truths != 255
    expected = f1_score(truths[kept], predictions[kept], average=None)
    rows = measurements["per_class"]
    assert [row["dice"] for row in rows[:3]] == pytest.approx(expected)
    assert (rows[3]["dice"], rows[3]["iou"], rows[3]["share"]) == (None, None, 0)
    assert measurements["pooled"]["dice_dataset"]["value"] == pytest.approx(expected.mean())
    assert measurements["threshold"] is None
    assert "\nDice and IoU are means over all 4 classes: sky, tree, road, cat\n" in report.summary(measurements)
    assert any("whole set that is cat." in sentence for sentence in measurements["conventions"])
    assert [row["name"] for row in rows] == ["sky", "tree", "road", "cat"]
    recall = recall_score(truths[kept], predictions[kept], average=None)
    assert [row["accuracy"] for row in rows] == pytest.approx([*recall, None])
    union = jaccard_score(truths[kept], predictions[kept], average=None)
    weights = np.bincount(truths[kept]) / kept.sum()
    each = [jaccard_score(t[k], p[k], average="macro") for t, p, k in zip(truths, predictions, kept, strict=True)]
    assert measurements["dataset"] == pytest.approx({
        "pixel_accuracy": np.mean(truths[kept] == predictions[kept]),
        "mean_accuracy": recall.mean(),
        "mean_iou": union.mean(),
        "frequency_weighted_iou": weights @ union,
        "mean_iou_images": np.mean(each),
    })  # fmt: skip
    commonest = np.bincount(truths[kept]).argmax()
    constant = np.full_like(truths[kept], commonest)
    assert measurements["constant"] == {
        "class": rows[commonest]["name"],
        "pixel_accuracy": pytest.approx(np.mean(truths[kept] == commonest)),
        "mean_iou": pytest.approx(jaccard_score(truths[kept], constant, average="macro")),
    }
    assert "cluster jackknife over 3 groups" in measurements["conventions"][-2]
    assert measurements["conventions"][-1] == "Discs are drawn."


def test_worst_and_median_images(drawn, measured):
    ranked = drawn.results.images.sort_values(["dice", "id"])
    assert [row["id"] for row in measured["worst"]] == list(ranked["id"][:24])
    assert [row["id"] for row in measured["median"]] == list(ranked["id"][20:28])
    assert measured["by_group"][0]["dice_mean"] == pytest.approx(ranked.groupby("group")["dice"].mean().min())
    assert [row["group"] for row in measured["worst_by_group"]] == [row["group"] for row in measured["by_group"]]
    for row in measured["worst_by_group"]:
        assert row["id"] == ranked["id"][ranked["group"] == row["group"]].iloc[0]


def test_the_worst_images_are_those_of_the_metric_where_it_leaves_the_background_out(drawn):
    """One image is wrong in the background, the others in a class: Dice of all classes ranks them otherwise."""
    truths, predictions = classes()
    results = class_results(drawn, truths, predictions)
    metric = MeanDicePerClass(num_classes=results.matrices.shape[-1])
    counts = np.stack([metric.counts(*pair) for pair in zip(truths, predictions, strict=True)])
    measured = report.measure(dataclasses.replace(results, metric=metric, counts=counts))
    each = pd.Series(metric.score(counts), results.images["id"])
    worst = [row["id"] for row in measured["worst"]]
    assert each[worst].is_monotonic_increasing
    assert worst != list(results.images.sort_values(["dice", "id"])["id"])
    assert measured["ranked_by"] == metric.name
    means = each.groupby(results.images["group"].to_numpy()).mean().sort_values()
    assert [row["mean"] for row in measured["by_group"]] == pytest.approx(list(means))
    assert measured["worst_by_group"][0]["group"] == means.index[0]
    line = report.summary(measured).splitlines()[-1]
    assert line.startswith(f"worst image: {worst[0]} (metric {each[worst[0]]:.4f}, Dice ")


def test_the_worst_image_of_each_group_is_there_when_one_group_has_all_the_worst(drawn):
    """30 groups; the first holds the 24 worst images alone. Of the 30 the 24 worst are shown."""
    random = np.random.default_rng(0)
    groups = [f"g{0 if row < 24 else row - 23:02}" for row in range(60)]
    dice = np.where(np.arange(60) < 24, 0.2, 0.8) + random.uniform(0, 0.1, 60)
    hits = np.round(100_000 * dice / (2 - dice)).astype(int)  # IoU of dice, of a union of 100,000 pixels
    matrices = np.stack([np.zeros(60, int), 100_000 - hits, 0 * hits, hits], axis=1).reshape(60, 2, 2)
    iou, dice, accuracy = foreground_scores(matrices)
    table = {"id": [f"i{row:02}" for row in range(60)], "group": groups, "fold": 0, "iou": iou, "dice": dice}
    images = pd.DataFrame(table).assign(accuracy=accuracy, area=0.5)
    measurements = report.measure(dataclasses.replace(drawn.results, images=images, matrices=matrices, levels=None))
    assert {row["group"] for row in measurements["worst"]} == {"g00"}
    shown = measurements["worst_by_group"]
    assert len(shown) == 24
    assert shown[0]["id"] == measurements["worst"][0]["id"]
    means = images.groupby("group")["dice"].mean().sort_values()
    assert [row["group"] for row in shown] == list(means.index[:24])


def test_everything_that_does_not_fit_is_named_at_once(drawn):
    images = drawn.results.images.copy()
    images.loc[1, "id"] = images.loc[0, "id"]
    images.loc[2, "iou"] = 1.5
    images.loc[3, "dice"] = 0.0
    with pytest.raises(ValueError, match=r"more than once: \['00_000'\].*outside 0..1 for \['00_002'\].*\['00_003'\]"):
        dataclasses.replace(drawn.results, images=images)
    with pytest.raises(ValueError, match="48 images but 47 confusion matrices"):
        dataclasses.replace(drawn.results, matrices=drawn.results.matrices[1:])
    with pytest.raises(ValueError, match="finish a fold first"):
        dataclasses.replace(drawn.results, images=images.head(0))
    with pytest.raises(ValueError, match=r"lacks the columns \['dice'\]"):
        dataclasses.replace(drawn.results, images=images.drop(columns="dice"))


def test_summary_fits_a_terminal_and_holds_the_numbers(measured):
    text = report.summary(measured)
    assert max(map(len, text.splitlines())) < 80
    assert "DRAWN" in text
    assert "3 of 5 folds" in text
    shown = {name: re.findall(r"\d\.\d{4}", line) for line in text.splitlines() for name in [line[:6].strip()]}
    assert shown["pooled"] == [f"{measured['pooled'][name]['value']:.4f}" for name in report.SCORES]
    assert "\nThe scores above and the CSV are at 0.5.\n" in text
    assert "are means over" not in text
    assert shown["fold 1"] == [f"{measured['per_fold'][1][name]:.4f}" for name in report.SCORES]


# Drawings and charts
