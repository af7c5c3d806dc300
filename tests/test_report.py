import base64
import dataclasses
import io
import itertools
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import f1_score, jaccard_score

from kit import report, report_plots
from kit.metrics import confusion_matrix, foreground_scores, level_histogram, mean_dice, mean_iou

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
SCRIPT = "<script>document.title='broken'</script>"


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A run on drawn discs: the results, and the pixels that they came from."""

    results: report.Results
    truths: dict
    levels: dict


@pytest.fixture(scope="module")
def drawn():
    """48 discs in 12 groups and 3 folds; a group's predictions are wrong in one and the same way."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:60, :90]
    truths, levels, rows = {}, {}, []
    for number in range(48):
        group = number // 4
        shift = np.random.default_rng(group).normal(0, 4, 2)
        radius, top, left = random.uniform(12, 24), random.uniform(25, 35), random.uniform(35, 55)
        name = SCRIPT if number == 5 else f"{group:02}_{number:03}"
        truths[name] = (np.hypot(y - top, x - left) < radius).astype(np.uint8)
        distance = np.hypot(y - top - shift[0], x - left - shift[1]) + random.normal(0, 0.5, y.shape)
        levels[name] = np.clip(128 + 12 * (radius * 1.05 - distance), 0, 255).astype(np.uint8)
        if number == 7:
            truths[name][:], levels[name][:] = 0, 0
        rows.append({"id": name, "group": f"car{group:02}", "fold": group % 3})
    return Drawn(_results(rows, truths, levels), truths, levels)


def _results(rows, truths, levels):
    joint = np.stack([level_histogram(truths[row["id"]], levels[row["id"]]) for row in rows])
    matrices = np.stack([joint[:, :, :128].sum(-1), joint[:, :, 128:].sum(-1)], axis=-1)
    iou, dice, accuracy = foreground_scores(matrices)
    area = matrices[:, 1].sum(-1) / matrices.sum((1, 2))
    images = pd.DataFrame(rows).assign(iou=iou, dice=dice, accuracy=accuracy, area=area)
    return report.Results(
        title="discs",
        drawn=True,
        command="python recipes/discs.py --fold all",
        config={"epochs": 4, "image_size": (64, 96), "lr": float("nan")},
        versions={"python": "3.11", "device": "cpu"},
        tta="hflip",
        size=(64, 96),
        images=images,
        matrices=matrices,
        levels=joint,
        history={fold: [_epoch(fold, epoch) for epoch in range(4)] for fold in range(3)},
        seconds={"train": 130.0, "predict": 4.2},
        folds=5,
        read_image=lambda name: np.repeat(80 + 100 * truths[name][..., None], 3, axis=2),
        read_truth=truths.__getitem__,
        read_prediction=lambda name: (levels[name] >= 128).astype(np.uint8),
    )


def _epoch(fold, epoch):
    # the first epoch was not evaluated, as a recipe may choose
    score = None if epoch == 0 else 0.9 + 0.02 * epoch - 0.01 * fold
    return {"epoch": epoch, "loss": 1 / (1 + epoch), "val_dice": score, "val_iou": score, "lr": 1e-3, "seconds": 1.0}


@pytest.fixture(scope="module")
def measured(drawn):
    return report.measure(drawn.results)


def _classes():
    """Ten images of three classes, and a fourth that never occurs; the corner is ignored."""
    random = np.random.default_rng(1)
    truths = random.integers(0, 3, (10, 20, 30)).astype(np.uint8)
    predictions = np.where(random.random(truths.shape) < 0.8, truths, random.integers(0, 3, truths.shape)).astype(
        np.uint8
    )
    truths[:, :5, :5] = 255
    return truths, predictions


def _class_results(drawn, truths, predictions):
    matrices = np.stack([confusion_matrix(*pair, 4) for pair in zip(truths, predictions, strict=True)])
    images = drawn.results.images.head(len(truths)).assign(dice=mean_dice(matrices), iou=mean_iou(matrices))
    rows = {name: row for row, name in enumerate(images["id"])}
    return dataclasses.replace(
        drawn.results,
        images=images,
        matrices=matrices,
        levels=None,
        read_image=lambda name: np.zeros((20, 30, 3), np.uint8),
        read_truth=lambda name: truths[rows[name]],
        read_prediction=lambda name: predictions[rows[name]],
    )


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
    threshold = report.measure(_results(rows, drawn.truths, sure))["threshold"]
    assert threshold["best"]["dice_mean"] == {"threshold": 0.5, "value": 1.0}


def test_classes_against_scikit_learn(drawn):
    truths, predictions = _classes()
    measurements = report.measure(_class_results(drawn, truths, predictions))
    kept = truths != 255
    expected = f1_score(truths[kept], predictions[kept], average=None)
    rows = measurements["per_class"]
    assert [row["dice"] for row in rows[:3]] == pytest.approx(expected)
    assert (rows[3]["dice"], rows[3]["iou"], rows[3]["share"]) == (None, None, 0)
    assert measurements["pooled"]["dice_dataset"]["value"] == pytest.approx(expected.mean())
    assert measurements["threshold"] is None
    assert any("class [3]" in sentence for sentence in measurements["conventions"])
    assert "too narrow" in measurements["conventions"][-1]  # three groups only


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
    pictures = {key: _pixels(uri) for key, uri in report_plots.card(shown, "x").items()}
    assert {picture.shape for picture in pictures.values()} == {(320, 480, 3)}
    missed, false = _near(pictures["errors"], report_plots.BLUE), _near(pictures["errors"], report_plots.ORANGE)
    assert missed[105:195, 150].mean() > 0.9
    assert false[200, 155:295].mean() > 0.9
    assert missed.sum() < 300
    assert false.sum() < 400
    assert _near(pictures["zoom"], report_plots.ORANGE).any()


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
    assert {_pixels(uri).shape[:2] for uri in report_plots.card(shown, "x").values()} == {shape}


def test_a_prediction_of_another_size_is_refused_by_name(drawn):
    wrong = dataclasses.replace(drawn.results, read_prediction=lambda name: np.zeros((3, 4), np.uint8))
    with pytest.raises(ValueError, match=r"00_000: image \(60, 90\), truth \(60, 90\), prediction \(3, 4\)"):
        report_plots.card(wrong, "00_000")


def test_the_zoom_goes_where_most_pixels_are_wrong():
    wrong = np.zeros((1000, 1500), bool)
    wrong[100, :] = True
    wrong[700:720, 900:930] = True
    rows, columns = report_plots._error_window(wrong, (320, 480))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (80, 120)
    assert wrong[rows, columns].sum() == 600
    wrong[300:800, 300:1300] = True
    rows, columns = report_plots._error_window(wrong, (320, 480))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (320, 480)


@pytest.mark.parametrize("values", [[0.91, 0.998], [1.0, 1.0], [0.0, 0.0], [3, 120], [1e-4, 3e-4], [0.5]])
def test_ticks_are_distinct_and_span_the_values(values):
    ticks = report_plots._ticks(np.array(values), 5)
    assert min(ticks) <= min(values) + 1e-9
    assert max(ticks) >= max(values) - 1e-9
    assert 2 <= len(set(ticks.values())) == len(ticks) <= 9


def test_chart_leaves_out_what_is_not_a_number(drawn, measured):
    charts = report_plots.charts(drawn.results, measured)
    points = re.findall(r"[\d.]+,[\d.]+", charts["val_dice"]["paths"][0]["d"])
    assert len(points) == 3  # of four epochs one was not evaluated
    empty = dataclasses.replace(drawn.results, history={0: []})
    assert report_plots.charts(empty, measured)["loss"] == {}


# The page


@pytest.fixture(scope="module")
def written(drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, report.write_report(drawn.results, folder)


@pytest.mark.parametrize("score", [0.0, 0.93, 1.0])
def test_charts_of_scores_that_are_all_alike(drawn, measured, score):
    images = drawn.results.images.assign(dice=score)
    lines = report_plots.charts(SimpleNamespace(images=images, history={}), measured)["dice"]
    heights = set(re.findall(r",([\d.]+)", lines["paths"][0]["d"]))
    places = [at for at, _ in lines["y_ticks"]]
    assert len(heights) == 1
    assert min(places) < max(places)
    assert min(places) <= float(heights.pop()) <= max(places)


def test_a_score_of_zero_is_drawn(drawn, measured):
    history = {0: [{"epoch": 1, "val_dice": 0.0}, {"epoch": 2, "val_dice": 0.5}]}
    lines = report_plots.charts(SimpleNamespace(images=drawn.results.images, history=history), measured)["val_dice"]
    assert lines["paths"][0]["d"].count(",") == 2


def test_report_is_written_whole_and_is_plain_json(written):
    folder, measurements = written

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads((folder / "report.json").read_text(), parse_constant=refuse) == measurements
    assert measurements["config"] == {"epochs": 4, "image_size": [64, 96], "lr": None}
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
    assert (folder / "report.html").stat().st_size < 6e6


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: the page of the report was not looked at")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Open a page, and fail at the end if it asked for anything or complained."""
    seen, contexts = [], []

    def visit(path, width=1280, height=900, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or seen.append(request.url))
        page.goto(path.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert seen == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_page_shows_every_picture_and_fits(visit, written, width, height, scheme):
    page = visit(written[0] / "report.html", width, height, scheme)
    assert page.locator("article.card").count() == 24 + 8
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("img").count() == 3 * 32
    assert page.locator("img").first.bounding_box()["width"] == pytest.approx(358 if width == 390 else 368, abs=2)
    page.evaluate(
        "(async () => {for (const image of document.images) {image.scrollIntoView(); await image.decode()}})()"
    )
    assert min(page.evaluate("[...document.images].map(image => image.naturalWidth)")) > 0
    assert all(page.evaluate("[...document.images].map(image => image.loading == 'lazy' && image.alt != '')"))
    paper, ink = page.evaluate(
        "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
        ".map(colour => colour.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0))"
    )
    assert (paper > 600 > 200 > ink) if scheme == "light" else (paper < 200 < 600 < ink)


@pytest.mark.browser
def test_page_shows_the_numbers_of_the_json(visit, written):
    page, m = visit(written[0] / "report.html"), written[1]

    def cells(name):
        return [row.locator("td").all_inner_texts() for row in page.locator(f"table.{name} tr:has(td)").all()]

    def shown(row):
        return [f"{row[name]:.4f}" for name in report.SCORES]

    pooled = {name: m["pooled"][name]["value"] for name in report.SCORES}
    assert page.locator(".hero b").all_inner_texts() == shown(pooled)
    low, high = m["pooled"]["dice_mean"]["low"], m["pooled"]["dice_mean"]["high"]
    assert f"{low:.4f} – {high:.4f}" in page.locator(".hero div").first.inner_text()
    rows = [
        [str(r["fold"]), str(r["images"]), str(r["groups"]), *shown(r), str(r["best_epoch"])] for r in m["per_fold"]
    ]
    assert cells("folds") == [*rows, ["pooled", "48", "12", *shown(pooled), ""]]
    groups = [[r["group"], str(r["images"]), f"{r['dice_mean']:.4f}", f"{r['dice_worst']:.4f}"] for r in m["by_group"]]
    assert cells("groups") == groups
    honest = m["threshold"]["honest"]["dice_mean"]
    assert cells("threshold")[2][1].startswith(f"{honest['value']:.4f}")
    assert [row[:2] for row in cells("seconds")] == [["train", "2 min"], ["predict", "4.2 s"]]
    assert page.locator("article b").all_inner_texts() == [row["id"] for row in m["worst"] + m["median"]]
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(heading => Number(heading.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.title() == "discs · out-of-fold report"
    assert page.locator(".banner").inner_text().startswith("Drawn data.")
    assert page.locator("svg .line").count() == 2 + 3 + 3 + 1  # threshold, losses, scores, every image


@pytest.mark.browser
def test_page_of_several_classes_real_data_and_no_history(visit, drawn, tmp_path):
    results = dataclasses.replace(_class_results(drawn, *_classes()), drawn=False, history={}, seconds={})
    report.write_report(results, tmp_path)
    page = visit(tmp_path / "report.html", 390, 844)
    assert page.locator(".banner, #threshold, #training").count() == 0
    assert page.locator("table.classes tbody tr").last.locator("td").all_inner_texts() == ["3", "0.00 %", "–", "–"]
    assert page.locator("article.card").count() == 10 + 8
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
