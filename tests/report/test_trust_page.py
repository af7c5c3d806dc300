"""What the page says about trust: verdict, lost score, slices, doubtful labels, and the gallery; each by hand."""

import dataclasses

import cv2
import numpy as np
import pandas as pd
import pytest
from discs import class_results, classes, drawn_run, with_metric

from kit import report
from kit.prediction import Rule
from kit.report.page import page as page_of
from kit.report.thumbnails import draw_thumbnail
from kit.report.verdict import verdict
from kit.scoring import DatasetDice, PrecisionOverThresholds
from kit.scoring.errors import KINDS, error_kinds, touches_edge


def with_errors(results):
    """The same results with all that a run knows of each image."""
    ids = results.images["id"].tolist()
    triples = [(results.read_image(id), results.read_truth(id), results.read_prediction(id)) for id in ids]
    thumbnails = [draw_thumbnail(*triple) for triple in triples]
    return dataclasses.replace(
        results,
        errors=np.stack([error_kinds(truth, prediction) for _, truth, prediction in triples]),
        touches=np.array([touches_edge(truth) for _, truth, _ in triples]),
        brightness=np.array([light for _, light in thumbnails]),
        thumbnails={id: webp for id, (webp, _) in zip(ids, thumbnails, strict=True)},
    )


@pytest.fixture(scope="module")
def results():
    return with_errors(drawn_run().results)


@pytest.mark.parametrize("metric", [None, DatasetDice(), PrecisionOverThresholds()])
def test_all_that_is_lost_is_shared_out(results, metric):
    if metric is not None:
        results = with_metric(results, metric)
    measured = report.measure(results)
    budget = measured["budget"]
    score = measured["pooled"]["dice_mean"]["value"] if metric is None else measured["metric"]["value"]
    np.testing.assert_allclose(budget["lost"], 1 - score)
    np.testing.assert_allclose(sum(row["loss"] for row in budget["kinds"]), 1 - score)
    np.testing.assert_allclose(sum(row["share"] for row in budget["kinds"]), 1)
    losses = [row["loss"] for row in budget["images"]]
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_allclose(budget["share_of_images"], sum(losses) / (1 - score))


def test_the_loss_of_an_image_goes_to_the_kinds_of_its_wrong_pixels(results):
    dice, expected = results.images["dice"].to_numpy(), dict.fromkeys(KINDS, 0.0)
    for lost, id in zip((1 - dice) / len(dice), results.images["id"], strict=True):
        wrong = error_kinds(results.read_truth(id), results.read_prediction(id))
        for kind, count in zip(KINDS, wrong.tolist(), strict=True):
            expected[kind] += lost * count / max(1, wrong.sum())
    found = {row["kind"]: row["loss"] for row in report.measure(results)["budget"]["kinds"]}
    assert set(found) == {kind for kind, loss in expected.items() if loss}
    for kind, loss in found.items():
        np.testing.assert_allclose(loss, expected[kind])
    worst = report.measure(results)["budget"]["images"][0]
    assert worst["id"] == results.images["id"].iloc[dice.argmin()]


def test_slices_hold_the_images_that_they_say(results):
    images = results.images.assign(touches=results.touches, light=results.brightness)
    found = {(row["family"], row["name"].partition(" (")[0]): row for row in report.measure(results)["slices"]}
    full = images[images["area"] > 0]
    names = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
    assert [name for family, name in found if family.startswith("foreground's share")] == list(names)
    small = found["foreground's share of the image", "smallest quarter"]
    np.testing.assert_allclose(small["value"], full.nsmallest(small["images"], "area")["dice"].mean())
    assert abs(small["images"] - len(full) / 4) <= 1
    assert small["low"] < small["value"] < small["high"]
    dark = found["brightness of the image", "darkest quarter"]
    np.testing.assert_allclose(dark["value"], images.nsmallest(dark["images"], "light")["dice"].mean())
    assert sum(row["images"] for (family, _), row in found.items() if family.startswith("brightness")) == len(images)


def test_a_slice_of_few_images_is_left_out(results):
    for count, shown in ((3, False), (4, True)):
        touches = np.arange(len(results.images)) < count
        rows = report.measure(dataclasses.replace(results, touches=touches))["slices"]
        assert ("foreground at the image's border" in {row["family"] for row in rows}) == shown


def test_labels_that_the_network_contradicts(results):
    drawn = drawn_run()
    truths, levels = dict(drawn.truths), dict(drawn.levels)
    expected = []
    for id in results.images["id"]:
        added, missed = (truths[id] == 0) & (levels[id] >= 243), (truths[id] == 1) & (levels[id] < 13)
        expected.append((float(added.mean() + missed.mean()), id))
    share, id = max(expected)
    first = report.measure(results)["doubtful"][0]
    assert first["id"] == id
    np.testing.assert_allclose(first["share"], share)
    assert report.measure(class_results(drawn, *classes()))["doubtful"] == []


def test_objects_have_no_kinds_and_classes_without_a_background_no_foreground(results):
    labels = dataclasses.replace(results, task="instances", rule=Rule(objects=True))
    assert report.measure(labels)["budget"]["kinds"] == []
    assert len(report.measure(labels)["budget"]["images"]) == 10
    drawn = class_results(drawn_run(), *classes())
    touches, brightness = np.arange(10) % 2 == 0, np.linspace(0, 1, 10)
    of_classes = dataclasses.replace(drawn, touches=touches, brightness=brightness)
    families = {row["family"] for row in report.measure(of_classes)["slices"]}
    named = dataclasses.replace(of_classes, classes=("background", *of_classes.classes[1:]))
    more = {row["family"] for row in report.measure(named)["slices"]} - families
    assert more == {"foreground at the image's border"}


def test_shares_of_classes_that_overlap_are_at_most_one(results):
    levels = np.zeros((4, 3, 2, 256), np.int64)
    levels[:, :, 1, 0] = 100  # all of every class is there, and is surely denied
    images = results.images.head(4).assign(dice=0.0, iou=0.0)
    matrices = np.zeros((4, 3, 2, 2), np.int64)
    matrices[:, :, 1, 0] = 100
    own = dataclasses.replace(
        results, task="multilabel", classes=("a", "b", "c"), rule=Rule((0.5,) * 3), images=images, matrices=matrices,
        levels=levels, errors=None, touches=None, brightness=None, thumbnails=None, history={},
    )  # fmt: skip
    assert [row["share"] for row in report.measure(own)["doubtful"]] == [1.0] * 4


def facts(**changes):
    score = {"value": 0.9, "low": 0.88, "high": 0.92, "note": ""}
    plain = {
        "drawn": False, "images": 90, "groups": 9, "folds": {"planned": 3, "finished": [0, 1, 2]}, "metric": None,
        "pooled": {"dice_mean": score}, "dataset": {"mean_iou": 0.8}, "constant": {"class": "sky", "mean_iou": 0.4},
        "conventions": [], "threshold": None, "tuned": None,
    }  # fmt: skip
    return plain | changes


NONE = {"value": None, "low": None, "high": None, "note": ""}
CASES = {
    "nothing": ({}, "pass", []),
    "drawn": ({"drawn": True}, "warn", ["drawn by kit"]),
    "few groups": ({"groups": 5}, "warn", ["5 groups; below 6"]),
    "no groups": ({"conventions": ["No groups were given: …"]}, "warn", ["No groups were given"]),
    "leak": ({"conventions": ["… Groups shared with the held-out ones: a (1)."]}, "fail", ["both trained on and held"]),
    "nothing learnt": ({"dataset": {"mean_iou": 0.405}}, "fail", ["no better than sky everywhere"]),
    "a fold": ({"folds": {"planned": 3, "finished": [1]}, "groups": 3}, "warn", ["1 of 3 folds", "3 groups"]),
    "no score": ({"pooled": {"dice_mean": NONE}}, "fail", ["no score"]),
    "allowed leak": ({"conventions": ["The audit found 2 leaks, so the scores may …"]}, "warn", ["found 2 leaks."]),
    "tuned": ({"tuned": {"gap": 0.02, "used": True}}, "warn", ["tuned rule flatters by 0.0200"]),
    "tuned well": ({"tuned": {"gap": 0.002, "used": True}}, "pass", []),
    "tuned, stale or not used": ({"tuned": {"gap": 0.02, "used": False}}, "pass", []),
    "wide": ({"pooled": {"dice_mean": {"value": 0.9, "low": 0.7, "high": 0.95, "note": ""}}}, "warn", ["0.25 wide"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_names_what_speaks_against_the_score(case):
    changes, level, texts = CASES[case]
    found = verdict(facts(**changes))
    assert found["level"] == level
    assert len(found["reasons"]) == len(texts)
    for reason, text in zip(found["reasons"], texts, strict=True):
        assert text in reason["text"]
        assert reason["todo"].endswith(".")


def test_the_verdict_is_a_sentence():
    text = "Mean Dice over images: 0.9000 on 90 held-out images of 9 groups; on new groups it is between 0.8800 and"
    assert verdict(facts())["text"].startswith(text)
    alone = {"name": "own", "value": 0.5, "low": None, "high": None, "note": "none: …"}
    assert verdict(facts(metric=alone))["text"].endswith("; there is no interval for new groups.")


@pytest.mark.parametrize("shape", [(60, 90, 3), (300, 200, 3), (40, 400, 1)])
def test_a_thumbnail_is_small_and_shows_the_errors(shape):
    image = np.full(shape, 100, np.uint8)
    truth, prediction = np.zeros((2, *shape[:2]), np.uint8)
    truth[: shape[0] // 2, : shape[1] // 2] = 1
    prediction[shape[0] // 2 :, shape[1] // 2 :] = 1
    webp, brightness = draw_thumbnail(image, truth, prediction)
    drawing = cv2.imdecode(np.frombuffer(webp, np.uint8), cv2.IMREAD_COLOR)
    assert brightness == pytest.approx(100 / 255)
    assert len(webp) < 1200
    assert max(drawing.shape) == min(96, max(shape[:2]))
    height, width = drawing.shape[:2]
    drawing = drawing.astype(int)
    blue, red = drawing[height // 4, width // 4, [0, 2]], drawing[-height // 4, -width // 4, [0, 2]]
    assert blue[0] > blue[1] + 60
    assert red[1] > red[0] + 60
    assert np.ptp(drawing[height // 4, -width // 4]) < 30


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trust")
    return folder / "report.html", report.write_report(results, folder)


def cells(page, table):
    rows = page.locator(f"table.{table} tbody tr")
    return [
        [text.strip() for text in row.locator("td").all_inner_texts()]
        for row in rows.all()
        if row.locator("td").count()
    ]


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)])
def test_the_page_shows_the_figures_of_the_json(visit, written, width, scheme):
    path, measured = written
    page = visit(path, width, 900, scheme)
    verdict_shown = page.locator("section.verdict").inner_text()
    assert measured["verdict"]["text"] in verdict_shown
    for reason in measured["verdict"]["reasons"]:
        assert f"{reason['text']} {reason['todo']}" in verdict_shown
    budget = [
        [row["words"], f"{row['loss']:.4f}", f"{100 * row['share']:.1f} %"] for row in measured["budget"]["kinds"]
    ]
    assert cells(page, "budget") == budget
    losers = [[row["id"], f"{row['loss']:.4f}", f"{100 * row['share']:.1f} %"] for row in measured["budget"]["images"]]
    assert cells(page, "losers") == losers
    shown = {tuple(row[:4]) for row in cells(page, "slices")}
    assert shown == {(r["name"], str(r["images"]), str(r["groups"]), f"{r['value']:.4f}") for r in measured["slices"]}
    assert [row[0] for row in cells(page, "doubtful")] == [row["id"] for row in measured["doubtful"]]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def ids_shown(page):
    return page.evaluate("[...document.querySelectorAll('#gallery li:not([hidden])')].map(item => item.dataset.id)")


@pytest.mark.browser
def test_the_gallery_is_sorted_filtered_and_copied(visit, written):
    path, measured = written
    page = visit(path)
    every = measured["every_image"]
    assert ids_shown(page) == [row["id"] for row in every]
    page.select_option("#g-sort", "area -1")
    assert ids_shown(page) == [row["id"] for row in sorted(every, key=lambda row: -row["area"])]
    page.select_option("#g-fold", "1")
    page.fill("#g-text", "CAR04")
    assert set(ids_shown(page)) == {row["id"] for row in every if row["fold"] == 1 and row["group"] == "car04"} != set()
    assert page.inner_text("#g-count") == f"{len(ids_shown(page))} of {len(every)} images"
    page.fill("#g-text", "")
    page.select_option("#g-fold", "")
    page.locator("#g-below").fill("0.9")
    assert set(ids_shown(page)) == {row["id"] for row in every if row["score"] <= 0.9} != set()
    copied = page.evaluate(
        "(() => { let text; document.addEventListener('copy', () => text = document.activeElement.value, true);"
        " document.getElementById('g-copy').click(); return text })()"
    )
    header, *rows = copied.strip().split("\n")
    assert header == "id,group,fold,score,dice,area"
    assert [row.split(",")[0] for row in rows] == ids_shown(page)


@pytest.mark.browser
def test_images_without_a_score_come_last_and_are_in_no_part_by_score(visit, results, tmp_path):
    counts = np.ones((len(results.images), 2))
    counts[::2, 0], counts[3] = 0.5, 0  # half of the scores are one half; one image holds nothing to score

    class Own:
        name, ratio = "own", True

        def score(self, sums):
            with np.errstate(invalid="ignore"):
                return sums[..., 0] / sums[..., 1]

    own = dataclasses.replace(results, metric=Own(), counts=counts)
    report.write_report(own, tmp_path)
    page = visit(tmp_path / "report.html")
    without = results.images["id"].iloc[3]
    for order in ("score 1", "score -1"):
        page.select_option("#g-sort", order)
        assert ids_shown(page)[-1] == without
    page.locator("#g-below").fill("0.6")
    assert set(ids_shown(page)) == set(results.images["id"].iloc[::2])


@pytest.mark.browser
def test_the_viewer_has_layers_keys_and_links(visit, written):
    path, measured = written
    first, second = (row["id"] for row in measured["every_image"][:2])
    page = visit(path)
    source = "document.getElementById('v-image').getAttribute('src')"

    def press(key):
        """The viewer follows the address, whose change is an event of later."""
        shown = page.evaluate(source)
        page.keyboard.press(key)
        page.wait_for_function(f"shown => {source} !== shown", arg=shown)
        return page.evaluate(source)

    page.locator("#gallery li").first.click()
    page.wait_for_function("document.getElementById('viewer').open")
    assert first in page.inner_text("#v-facts")
    sources = [page.evaluate(source), press("2")]
    assert page.evaluate("location.hash").endswith("&layer=2")
    sources.append(press("ArrowRight"))
    assert second in page.inner_text("#v-facts")
    assert len(set(sources)) == 3
    width = page.locator("#v-image").bounding_box()["width"]
    page.keyboard.press("+")
    assert page.locator("#v-image").bounding_box()["width"] == pytest.approx(2 * width, rel=0.05)
    link = page.evaluate("location.href")
    page.keyboard.press("Escape")
    assert not page.evaluate("document.getElementById('viewer').open")
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_function("document.getElementById('viewer').open")
    assert second in page.inner_text("#v-facts")
    assert page.locator("#v-layers button[aria-pressed=true]").inner_text().startswith("2 ")


def test_five_thousand_images_are_below_ten_megabytes(results):
    times = -(-5000 // len(results.images))
    frames = [results.images.assign(id=[f"{id} {k}" for id in results.images["id"]]) for k in range(times)]
    images = pd.concat(frames, ignore_index=True)
    arrays = ("matrices", "levels", "errors", "touches", "brightness")
    read = {name: getattr(results, name) for name in ("read_image", "read_truth", "read_prediction")}
    many = dataclasses.replace(
        results,
        images=images,
        **{name: np.concatenate([getattr(results, name)] * times) for name in arrays},
        thumbnails=dict.fromkeys(images["id"], bytes(900)),  # of photographs they have about 800
        **{name: (lambda id, own=own: own(id.rpartition(" ")[0])) for name, own in read.items()},
    )
    html = page_of(many, report.measure(many))
    assert html.count("<li data-id=") == len(images) >= 5000
    assert len(html.encode()) < 10e6
