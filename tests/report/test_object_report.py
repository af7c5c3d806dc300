"""The report of objects: numbers by hand, the drawings, and every figure of the page as in the JSON."""

import dataclasses
import functools
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from discs import class_results, classes, drawn_run, with_metric
from squares import scene
from tasks_data import Objects
from tiny import tiny_network
from tiny_run import keep_trained, new_run

from kit import report
from kit.prediction import Rule
from kit.report import templates
from kit.report.object_cards import LINES, draw_objects
from kit.report.of_run import report as report_run
from kit.runs.oof import predict_oof
from kit.runs.run import begin
from kit.scoring import InstanceFBeta, InstancePrecision, MeanIoU, interval, match
from kit.scoring.confusion import confusion_matrix, foreground_scores, level_histogram
from kit.scoring.matching import EXTRA, HIT, MERGED, MISSED, SPLIT
from kit.scoring.object_errors import FoundObjects

IMAGES, GROUPS = 16, 8
TUNED = {
    "rule": {"threshold": 0.5, "objects": True}, "text": "Rule(…)", "metric": "own", "before": {"score": 0.4},
    "tuned": 0.5, "cross_fitted": 0.45, "gap": 0.05, "gain": None, "used": True, "why": "…",
    "components": {"rule": {}, "before": 0.2, "tuned": 0.375, "cross_fitted": 0.3125},
}  # fmt: skip
FURTHER = {"components only": 0.25, "person": {"PQ": 0.5, "SQ": 0.75}, "sky": {"PQ": None, "RQ": 0.125}}


@functools.cache
def squares():
    """The results of a run on squares, and the drawn scenes."""
    drawn = {f"image_{number:02}": scene(number) for number in range(IMAGES)}
    rows = [{"id": id, "group": f"g{at // 2}", "fold": at % 2} for at, id in enumerate(drawn)]
    masks = [[(mask > 0).view(np.uint8) for mask in one[:2]] for one in drawn.values()]
    matrices = np.stack([confusion_matrix(*pair, 2) for pair in masks])
    iou, dice, accuracy = foreground_scores(matrices)
    area = matrices[:, 1].sum(-1) / matrices.sum((1, 2))
    results = dataclasses.replace(
        drawn_run().results,
        images=pd.DataFrame(rows).assign(iou=iou, dice=dice, accuracy=accuracy, area=area),
        matrices=matrices,
        levels=np.stack([level_histogram(truth, other * np.uint8(200)) for truth, other in masks]),
        classes=("background", "cell"),
        task="instances",
        rule=Rule(objects=True),
        read_image=lambda id: np.full((*drawn[id][0].shape, 3), 128, np.uint8),
        read_truth=lambda id: drawn[id][0],
        read_prediction=lambda id: drawn[id][1],
        further=FURTHER,
        tuned=TUNED,
        errors=np.zeros((IMAGES, 5), np.int64),
        brightness=np.arange(IMAGES) / IMAGES,
        objects=FoundObjects.join(match(*one[:2]) for one in drawn.values()),
        kinds=tuple("dark" if at % 4 else "pale" for at in range(IMAGES)),
    )
    return with_metric(results, InstancePrecision()), drawn


@pytest.fixture(scope="module")
def measured():
    return report.measure(squares()[0])


def total(side, kind):
    return sum(one[2][side][kind] for one in squares()[1].values())


def test_the_score_at_every_threshold_is_a_mean_over_images_with_its_interval(measured):
    results, drawn = squares()
    found = measured["objects"]
    groups = results.images["group"].tolist()
    assert [row["at"] for row in found["thresholds"]] == [at / 20 for at in range(10, 20)]
    np.testing.assert_allclose(np.mean([row["value"] for row in found["thresholds"]]), measured["metric"]["value"])
    for row in found["thresholds"]:
        pairs = [[pair for pair in match(*one[:2]).ious if pair > row["at"]] for one in drawn.values()]
        objects = [len(np.unique(one[0])) + len(np.unique(one[1])) - 2 for one in drawn.values()]
        hits = np.array([len(each) for each in pairs])
        expected = interval(hits / (np.array(objects) - hits), np.ones(IMAGES), groups)
        assert (row["value"], row["low"], row["high"]) == pytest.approx(expected[:3])
        assert row["hits"] == hits.sum()


def test_all_objects_at_one_half(measured):
    found = measured["objects"]
    hit, true, predicted = total("true", "hit"), found["truth"]["objects"], found["prediction"]["objects"]
    assert true == sum(total("true", kind) for kind in ("hit", "missed", "split", "merged"))
    assert predicted == sum(total("predicted", kind) for kind in ("hit", "extra", "split", "merged"))
    for side in ("truth", "prediction"):
        for kind, count in found[side].items():
            if kind != "objects":
                assert count == total("true" if side == "truth" else "predicted", kind)
    values = {name: found[name]["value"] for name in ("precision", "recall", "f1", "iou", "pq")}
    ious = np.concatenate([match(*one[:2]).ious for one in squares()[1].values()])
    mean = ious[ious > 0.5].mean()
    expected = {"precision": hit / predicted, "recall": hit / true, "f1": 2 * hit / (true + predicted), "iou": mean}
    assert values == pytest.approx(expected | {"pq": expected["f1"] * mean})
    assert found["recall"]["low"] < values["recall"] < found["recall"]["high"]


def test_sizes_and_kinds_hold_the_objects_that_they_say(measured):
    results, drawn = squares()
    areas = np.array([4, 9, 16, 25, 36, 49, 64, 81])  # of true objects of which every second is missed
    truth, prediction = np.zeros((2, 20, 90), np.int32)
    for number, side in enumerate(np.sqrt(areas).astype(int)):
        truth[:side, 10 * number : 10 * number + side] = number + 1
        prediction[:side, 10 * number : 10 * number + side] = (number + 1) * (number % 2)
    prediction[15, 50], prediction[15, 60:62] = 90, 91  # two specks, tiny beside the median of 30.5
    one = dataclasses.replace(results, objects=FoundObjects.join([match(truth, prediction)] * IMAGES))
    rows = report.measure(one)["objects"]["sizes"]
    assert [row["name"] for row in rows] == [
        "smallest quarter", "second quarter", "third quarter", "largest quarter", "tiny, of these",
    ]  # fmt: skip
    assert [(row["low"], row["high"]) for row in rows] == [(4, 9), (16, 25), (36, 49), (64, 81), (1, 2)]
    assert [row["objects"] for row in rows] == [2 * IMAGES] * 4 + [0]
    assert [row["missed"] for row in rows] == [IMAGES] * 4 + [0]
    assert [row["extra"] for row in rows] == [2 * IMAGES, 0, 0, 0, 2 * IMAGES]
    assert [row["recall"]["value"] for row in rows] == [0.5] * 4 + [None]
    assert [row["iou"] for row in rows] == [1] * 4 + [None]

    slices = {(row["family"], row["name"]): row for row in measured["objects"]["slices"]}
    for name, inside in (("pale", np.arange(IMAGES) % 4 == 0), ("dark", np.arange(IMAGES) % 4 > 0)):
        row = slices["kind of image", name]
        counts = [one[2] for one, own in zip(drawn.values(), inside, strict=True) if own]
        assert (row["images"], row["objects"]) == (inside.sum(), sum(sum(one["true"].values()) for one in counts))
        assert row["missed"] == sum(one["true"]["missed"] for one in counts)
        assert row["extra"] == sum(one["predicted"]["extra"] for one in counts)
        np.testing.assert_allclose(row["score"]["value"], results.counts[inside, 0].mean())
        assert {(one["family"], one["name"]) for one in measured["slices"]} >= {("kind of image", name)}
    crowds = [row for (family, _), row in slices.items() if family == "true objects in the image"]
    counts = results.objects.true()
    for row in crowds:
        low, _, high = row["name"].partition(" to ")
        assert row["images"] == np.count_nonzero((counts >= int(low)) & (counts <= int(high or low))) >= 4
    assert len(crowds) > 1


@pytest.mark.parametrize("metric", [InstancePrecision(), InstanceFBeta(2), InstanceFBeta(1, (0.5,)), MeanIoU(2), None])
def test_what_is_lost_is_shared_out_to_kinds_of_objects(metric):
    results = squares()[0]
    if metric is None or not metric.ratio:
        results = dataclasses.replace(results, metric=metric, counts=metric and np.ones((IMAGES, 4)))
    else:
        results = with_metric(results, metric)
    measured = report.measure(results)
    budget = measured["budget"]
    np.testing.assert_allclose(sum(row["share"] for row in budget["kinds"]), 1)
    if isinstance(metric, InstancePrecision | InstanceFBeta):
        assert budget["of"] == metric.name == measured["objects"]["mean"]
        np.testing.assert_allclose(budget["lost"], 1 - measured["metric"]["value"])
        beta = getattr(metric, "beta", None)
        expected = results.objects.losses(getattr(metric, "thresholds", (*np.arange(10, 20) / 20,)), beta).mean(axis=0)
        shown = {row["kind"]: row["loss"] for row in budget["kinds"]}
        assert [shown.get(kind, 0) for kind in ("inexact", "missed", "extra", "split", "merged")] == pytest.approx(
            expected
        )
        assert ("inexact" in shown) == (metric != InstanceFBeta(1, (0.5,)))
    else:
        assert budget["of"] == InstancePrecision.name


def test_the_outline_of_an_object_says_what_became_of_it():
    truth, prediction = np.zeros((2, 60, 100), np.int32)
    truth[4:24, 4:24] = prediction[4:24, 4:24] = 9  # a hit
    truth[4:24, 34:54] = 2  # missed
    prediction[4:24, 64:84] = 3  # extra
    truth[34:54, 4:24], prediction[34:44, 4:24], prediction[44:54, 4:24] = 4, 5, 6  # split
    truth[34:54, 34:54], truth[34:54, 64:84], prediction[34:54, 34:84] = 7, 8, 1  # merged
    image = np.full((60, 100, 3), 128, np.uint8)
    drawings = [*draw_objects(image, truth, prediction, (800, 480)).values()]
    places = {HIT: (4, 4), MISSED: (4, 34), EXTRA: (4, 64), SPLIT: (34, 4), MERGED: (34, 34)}

    def coloured(drawing, kind):  # along the upper edge of a square, which pixels have the colour of a kind
        row, column = (8 * place for place in places[kind])
        strip = drawing[row : row + 8, column + 8 : column + 140].astype(int)
        return (np.abs(strip - LINES[kind].colour).max(axis=-1) < 40).any(axis=0)

    def share(drawing, kind):
        return coloured(drawing, kind).mean()

    for at, kinds in enumerate(((HIT, MISSED, SPLIT, MERGED), (HIT, EXTRA, SPLIT, MERGED))):
        shares = {kind: share(drawings[at], kind) for kind in places}
        assert {kind for kind, found in shares.items() if found > 0.1} == {*kinds}
        assert shares[HIT] > 0.95
    assert share(drawings[0], MISSED) > 0.95  # a line without gaps; the others differ by their gaps
    lines = ((1, EXTRA, 8 + 5), (0, SPLIT, 3 + 4), (0, MERGED, (9 + 4 + 2 + 4) / 2))
    for at, kind, step in lines:
        gaps = np.count_nonzero(np.diff(coloured(drawings[at], kind).astype(int)) < 0)
        assert abs(gaps - 132 / step) <= 2
    letters = [line.letter for line in LINES.values()]
    assert len(set(letters)) == 5
    lone = draw_objects(image, truth, truth, (800, 480))["its predicted objects"]
    assert share(lone, HIT) > 0.95


def parted(template):
    """The page's template without the parts that this file is about."""
    text = re.sub(r'\{% elif m\.task == "instances" %\}\{% include "objects_legend.html" %\}\n', "", template)
    condition = r'\{% if (?:m\.objects|m\.further_table|m\.task == "instances") %\}'
    return re.sub(
        condition + r"(?:(?!\{% else %\}).)*?(?:\{% else %\}(.*?))?\{% endif %\}\n?", lambda m: m[1] or "", text
    )


def test_pages_of_masks_of_classes_are_byte_for_byte_as_without_objects(monkeypatch):
    drawn = drawn_run()
    few = {name: getattr(drawn.results, name)[:6] for name in ("images", "matrices", "levels")}
    runs = [dataclasses.replace(drawn.results, **few), class_results(drawn, *classes())]
    found = [report.page(one, report.measure(one)) for one in runs]
    source = parted((Path(templates.__file__).parent / "report.html").read_text(encoding="utf-8"))
    assert not re.search(r"m\.objects|further_table|objects_\w+\.html", source)

    def own(*arguments):
        return templates.template(*arguments).environment.from_string(source)

    monkeypatch.setattr(sys.modules["kit.report.page"], "template", own)
    assert found == [report.page(one, report.measure(one)) for one in runs]


def test_a_run_of_objects_is_read_from_its_kept_truth_and_predictions(tmp_path, capsys):
    dataset = Objects()
    dataset.kinds = ["odd", "even"] * 4
    run = new_run(tmp_path / "mine", dataset, size=(24, 36))
    begin(run)
    for fold in (0, 1):
        keep_trained(run, fold, tiny_network(seed=fold))
        predict_oof(run, fold, tiny_network, InstancePrecision())
    dataset.read_mask = None  # the truth is kept
    report_run(run, InstancePrecision(), lambda run: {"components": 0.5})
    found = report.measure(page_results(run))["objects"]
    ids = [id for fold in (0, 1) for id in run.held_out(fold)]
    pairs = [match(Objects().read_mask(id), run.store.mask(id, (24, 36))) for id in ids]
    assert found["truth"]["objects"] == sum(len(pair.truth) for pair in pairs) == 30
    assert found["prediction"]["objects"] == sum(len(pair.prediction) for pair in pairs)
    assert found["images"][ids[0]]["hit"] == pairs[0].errors().hits
    assert {row["name"] for row in found["slices"] if row["family"] == "kind of image"} == {"odd", "even"}
    shown = capsys.readouterr().out
    assert "30 true objects: " in shown
    dataset.kinds = ["odd"]
    with pytest.raises(ValueError, match="1 kind of 8 images"):
        page_results(run)


def page_results(run):
    from kit.report.of_run import results
    from kit.runs.oof import scores

    return results(run, scores(run), InstancePrecision())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    return folder / "report.html", report.write_report(squares()[0], folder)


def cells(page, table):
    script = "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => cell.innerText.trim()))"
    return [row for row in page.locator(f"table.{table} tbody tr").evaluate_all(script) if row]


def text(value, low=None, high=None):
    return "–" if value is None else f"{value:.4f}"


def bounds(row):
    return "no interval" if row["low"] is None else f"{row['low']:.4f} – {row['high']:.4f}"


def test_a_page_says_why_there_is_no_interval():
    results = squares()[0]
    images = results.images.assign(group="alone")
    html = report.page(alone := dataclasses.replace(results, images=images), report.measure(alone))
    assert re.search(r"These scores – no interval: [^;<]+\.</p>", html)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), pytest.param(390, "dark", marks=pytest.mark.slow)])
def test_the_page_shows_the_objects_of_the_json(visit, written, width, scheme):
    path, measured = written
    page, found = visit(path, width, 900, scheme), measured["objects"]
    rows = [[f"{r['at']:.2f}", text(r["value"]), bounds(r), str(r["hits"])] for r in found["thresholds"]]
    assert cells(page, "at-iou") == rows
    names = ("precision", "recall", "f1", "iou", "pq")
    assert [row[1:] for row in cells(page, "at-half")] == [[text(found[n]["value"]), bounds(found[n])] for n in names]
    kinds = ("hit", "missed", "extra", "split", "merged")
    sides = [[str(found[side].get(kind, "–")) for side in ("truth", "prediction")] for kind in kinds]
    assert [row[1:] for row in cells(page, "became")] == sides
    together = page.locator("table.became tfoot td").all_inner_texts()[1:]
    assert together == [str(found[side]["objects"]) for side in ("truth", "prediction")]
    assert cells(page, "sizes") == [
        [r["name"], " to ".join(map(str, dict.fromkeys((r["low"], r["high"])))), str(r["objects"]),
         text(r["recall"]["value"]), bounds(r["recall"]),
         text(r["iou"]), *(str(r[kind]) for kind in ("missed", "split", "merged", "extra"))]
        for r in found["sizes"]
    ]  # fmt: skip
    assert cells(page, "of-objects") == [
        [r["name"], *(str(r[name]) for name in ("images", "groups", "objects")), text(r["score"]["value"]),
         bounds(r["score"]), *(text(r[name]) for name in ("precision", "recall", "f1")),
         *(str(r[name]) for name in ("missed", "extra", "split", "merged"))]
        for r in found["slices"]
    ]  # fmt: skip
    assert [row[1] for row in cells(page, "beside")] == ["0.2500", "0.3750", "0.3125"]
    assert cells(page, "further") == [["person", "0.5000", "0.7500", "–"], ["sky", "–", "–", "0.1250"]]
    kinds = [[r["words"], f"{r['loss']:.4f}", f"{100 * r['share']:.1f} %"] for r in measured["budget"]["kinds"]]
    assert cells(page, "budget") == kinds
    worst = measured["worst"][0]["id"]
    facts, own = page.locator("#image-0 .facts").inner_text(), found["images"][worst]
    assert f"{own['hit']} of {own['objects']} objects hit" in facts
    assert [kind for kind in ("missed", "extra", "split", "merged") if f"{own[kind]} {kind}" in facts] == [
        kind for kind in ("missed", "extra", "split", "merged") if own[kind]
    ]
    legend = page.locator("#worst ~ ul.legend").first
    assert [item.strip() for item in legend.locator("text").all_text_contents()] == ["", "M", "E", "S", "J"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_detected_objects_have_scores_and_their_own_words():
    """No object drawn is no probability of background, and nothing that is said is of components or of means."""
    found = Rule(objects=True, detected=True, min_area=9, top_area=30, keep_largest=True)
    results, drawn = squares()
    sure = np.stack(
        [level_histogram((one[0] > 0).view(np.uint8), (one[1] > 0) * np.uint8(250)) for one in drawn.values()]
    )
    of_pixels, of_objects = (
        report.measure(dataclasses.replace(results, levels=sure, rule=rule, tta="hflip"))
        for rule in (Rule(objects=True), found)
    )
    assert any(row["missed"] for row in of_pixels["doubtful"])
    assert of_objects["doubtful"]
    for row in of_objects["doubtful"]:
        one = sure[list(drawn).index(row["id"])]
        added = one[0, 250] / one.sum()
        assert row == {"id": row["id"], "share": added, "added": added, "missed": 0}
    assert of_pixels["calibration"]
    assert of_objects["calibration"] is None
    said = " ".join(of_objects["conventions"])
    assert "the objects found in the image and in its mirror image, joined" in said
    assert "All objects are left out of an image where fewer than 30 pixels have a score of 0.5." in said
    assert "The largest object is kept alone." in said
    assert "component" not in said
    assert "probability" not in said
    alone = dataclasses.replace(results, rule=Rule(objects=True, detected=True))
    assert "curve" not in " ".join(report.measure(alone)["conventions"])
