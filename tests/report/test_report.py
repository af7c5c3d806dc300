import base64
import dataclasses
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from discs import class_results, classes, drawn_run, results_of
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score, recall_score

from kit import report
from kit.report import cards, plots


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


def test_interval_is_that_of_a_plain_loop(drawn, measured):
    images, matrices = drawn.results.images, drawn.results.matrices
    names = images["group"].unique()
    members = {name: np.flatnonzero(images["group"] == name) for name in names}
    random = np.random.default_rng(0)
    draws = []
    for _ in range(report.RESAMPLES):
        counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)))
        rows = np.concatenate([members[name] for name, count in zip(names, counts, strict=True) for _ in range(count)])
        (_, false), (missed, hit) = matrices[rows].sum(axis=0)
        dice, iou = images["dice"].to_numpy()[rows].mean(), images["iou"].to_numpy()[rows].mean()
        draws.append([dice, 2 * hit / (2 * hit + false + missed), iou, hit / (hit + false + missed)])
    expected = np.percentile(draws, [2.5, 97.5], axis=0)
    for column, name in enumerate(report.SCORES):
        score = measured["pooled"][name]
        assert [score["low"], score["high"]] == pytest.approx(expected[:, column])
        assert score["low"] < score["value"] < score["high"]


def test_a_fold_has_the_interval_of_its_own_groups(drawn, measured):
    inside = (drawn.results.images["fold"] == 1).to_numpy()
    alone = dataclasses.replace(
        drawn.results, images=drawn.results.images[inside], matrices=drawn.results.matrices[inside], levels=None
    )
    pooled = report.measure(alone)["pooled"]
    assert measured["per_fold"][1]["intervals"] == {name: [s["low"], s["high"]] for name, s in pooled.items()}


def test_groups_that_agree_widen_the_interval(drawn, measured):
    alone = dataclasses.replace(drawn.results, images=drawn.results.images.assign(group=drawn.results.images["id"]))
    by_image = report.measure(alone)["pooled"]["dice_mean"]
    by_group = measured["pooled"]["dice_mean"]
    assert by_group["value"] == by_image["value"]
    assert by_group["high"] - by_group["low"] > 1.2 * (by_image["high"] - by_image["low"])


def test_one_group_gets_no_interval_and_one_fold_no_honest_threshold(drawn):
    images = drawn.results.images.assign(group="one", fold=2)
    measurements = report.measure(dataclasses.replace(drawn.results, images=images))
    assert all(score["low"] is score["high"] is None for score in measurements["pooled"].values())
    assert any("No intervals" in sentence for sentence in measurements["conventions"])
    assert measurements["threshold"]["honest"] is None
    assert measurements["folds"] == {"planned": 5, "finished": [2]}
    assert "no interval" in report.summary(measurements)


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
    assert gain["low"] < gain["gain"] < gain["high"]


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
    assert "too narrow" in measurements["conventions"][-2]  # three groups only
    assert measurements["conventions"][-1] == "Discs are drawn."


def test_worst_and_median_images(drawn, measured):
    ranked = drawn.results.images.sort_values(["dice", "id"])
    assert [row["id"] for row in measured["worst"]] == list(ranked["id"][:24])
    assert [row["id"] for row in measured["median"]] == list(ranked["id"][20:28])
    assert measured["by_group"][0]["dice_mean"] == pytest.approx(ranked.groupby("group")["dice"].mean().min())


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
    assert shown["fold 1"] == [f"{measured['per_fold'][1][name]:.4f}" for name in report.SCORES]


# Pictures and charts


def _pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).astype(int)


def _near(pixels, colour):
    return np.abs(pixels - colour).max(axis=-1) < 60


def test_an_error_one_pixel_thin_shows_in_colour(drawn):
    truth = np.zeros((1280, 1918), np.uint8)
    truth[400:800, 600:1200] = 1
    prediction = truth.copy()
    prediction[400:800, 600] = 0  # missed: a column
    prediction[800, 600:1200] = 1  # false alarm: a row
    shown = dataclasses.replace(
        drawn.results,
        read_image=lambda name: np.full((1280, 1918, 3), 128, np.uint8),
        read_truth=lambda name: truth,
        read_prediction=lambda name: prediction,
    )
    pictures = {key: _pixels(uri) for key, uri in cards.card(shown, "x").items()}
    assert {picture.shape for picture in pictures.values()} == {(320, 480, 3)}
    missed, false = _near(pictures["its errors"], cards.BLUE), _near(pictures["its errors"], cards.ORANGE)
    assert missed[105:195, 150].mean() > 0.9
    assert false[200, 155:295].mean() > 0.9
    assert missed.sum() < 300
    assert false.sum() < 400
    assert _near(pictures["its largest error, enlarged"], cards.ORANGE).any()


def test_each_class_is_painted_in_its_own_colour_truth_and_prediction_apart(drawn):
    truths, predictions = classes()
    truths[:], predictions[:] = 0, 0
    truths[:, :, 15:], predictions[:, 10:] = 1, 2
    results = class_results(drawn, truths, predictions)
    pictures = cards.card(results, results.images["id"][0])
    paint = [tuple(round(0.6 * part) for part in colour) for colour in cards.palette(results.classes)]
    truth, prediction, errors = (_pixels(uri) for uri in pictures.values())
    half, middle = truth.shape[0] // 2, truth.shape[1] // 2
    assert _near(truth, paint[0])[:, : middle - 8].all()
    assert _near(truth, paint[1])[:, middle + 8 :].all()
    assert _near(prediction, paint[2])[half + 8 :].all()
    right = ~_near(errors, cards.ORANGE)
    assert right[: half - 8, : middle - 8].all()
    assert not right[: half - 8, middle + 8 :].any()


@pytest.mark.parametrize("count", [3, 11, 21])
def test_no_two_classes_have_nearly_the_same_colour(count):
    colours = np.array(cards.palette([f"class {k}" for k in range(count)]))
    distances = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + 999 * np.eye(count)
    assert distances.min() > 90


@pytest.mark.parametrize(
    ("size", "shape"), [((1280, 1918), (320, 480)), ((2000, 900), (400, 180)), ((128, 128), (400, 400))]
)
def test_pictures_fit_their_box(drawn, size, shape):
    blank = np.zeros(size, np.uint8)
    shown = dataclasses.replace(
        drawn.results,
        read_image=lambda name: np.zeros((*size, 3), np.uint8),
        read_truth=lambda name: blank,
        read_prediction=lambda name: blank,
    )
    assert {_pixels(uri).shape[:2] for uri in cards.card(shown, "x").values()} == {shape}


def test_a_prediction_of_another_size_is_refused_by_name(drawn):
    wrong = dataclasses.replace(drawn.results, read_prediction=lambda name: np.zeros((3, 4), np.uint8))
    with pytest.raises(ValueError, match=r"00_000: image \(60, 90\), truth \(60, 90\), prediction \(3, 4\)"):
        cards.card(wrong, "00_000")


def test_the_zoom_goes_where_most_pixels_are_wrong():
    wrong = np.zeros((1000, 1500), bool)
    wrong[100, :] = True
    wrong[700:720, 900:930] = True
    rows, columns = cards._error_window(wrong, (320, 480))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (80, 120)
    assert wrong[rows, columns].sum() == 600
    assert (rows.start + rows.stop, columns.start + columns.stop) == (700 + 720, 900 + 930)  # in the middle
    wrong[300:800, 300:1300] = True
    rows, columns = cards._error_window(wrong, (320, 480))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (320, 480)


@pytest.mark.parametrize("values", [[0.91, 0.998], [1.0, 1.0], [0.0, 0.0], [3, 120], [1e-4, 3e-4], [0.5]])
def test_ticks_are_distinct_and_span_the_values(values):
    ticks = plots._ticks(np.array(values), 5)
    assert min(ticks) <= min(values) + 1e-9
    assert max(ticks) >= max(values) - 1e-9
    assert 2 <= len(set(ticks.values())) == len(ticks) <= 9


def test_chart_leaves_out_what_is_not_a_number(drawn, measured):
    charts = plots.charts(drawn.results, measured)
    points = re.findall(r"[\d.]+,[\d.]+", charts["val_dice"]["paths"][0]["d"])
    assert len(points) == 3  # of four epochs one was not evaluated
    empty = dataclasses.replace(drawn.results, history={0: []})
    assert plots.charts(empty, measured)["loss"] == {}


@pytest.mark.parametrize("score", [0.0, 0.93, 1.0])
def test_charts_of_scores_that_are_all_alike(drawn, measured, score):
    images = drawn.results.images.assign(dice=score)
    lines = plots.charts(SimpleNamespace(images=images, history={}), measured)["dice"]
    heights = set(re.findall(r",([\d.]+)", lines["paths"][0]["d"]))
    places = [at for at, _ in lines["y_ticks"]]
    assert len(heights) == 1
    assert min(places) < max(places)
    assert min(places) <= float(heights.pop()) <= max(places)


def test_a_score_of_zero_is_drawn(drawn, measured):
    history = {0: [{"epoch": 1, "val_dice": 0.0}, {"epoch": 2, "val_dice": 0.5}]}
    lines = plots.charts(SimpleNamespace(images=drawn.results.images, history=history), measured)["val_dice"]
    assert lines["paths"][0]["d"].count(",") == 2
