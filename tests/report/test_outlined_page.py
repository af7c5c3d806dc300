"""Scores of outlines and calibration on the page: against plain loops over the images, and in the browser."""

import dataclasses

import numpy as np
import pytest
from discs import class_results, classes, drawn_run

from kit import report
from kit.report.outlined import outline_facts
from kit.scoring import band_histogram, boundary_f1, boundary_iou, confidence_histograms, hd95, interval, surface_dice
from kit.scoring.outline_scores import outline_scores


def with_outlines(results, levels=None):
    pairs = [(results.read_truth(id), results.read_prediction(id)) for id in results.images["id"]]
    band = levels and np.stack([band_histogram(results.read_truth(id), levels[id]) for id in results.images["id"]])
    scores = np.stack([outline_scores(*pair, len(results.classes), results.has_background) for pair in pairs])
    return dataclasses.replace(results, outlines=scores, band=band), pairs


@pytest.fixture(scope="module")
def binary():
    drawn = drawn_run()
    return with_outlines(drawn.results, drawn.levels)


@pytest.fixture(scope="module")
def written(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outlines")
    return folder / "report.html", report.write_report(binary[0], folder)


def test_the_means_of_a_foreground_are_those_of_a_loop(binary, written):
    results, pairs = binary
    found, groups = written[1]["outlines"], results.images["group"].tolist()
    loops = {
        "boundary_iou": [np.nan_to_num(boundary_iou(*pair, 2)[1], nan=1) for pair in pairs],
        "boundary_f1": [np.nanmean(boundary_f1(*pair, 2)) for pair in pairs],
        "surface": [np.nan_to_num(surface_dice(*pair, 2)[1], nan=1) for pair in pairs],
    }
    for name, values in loops.items():
        expected = interval(values, np.ones(48), groups)
        assert found["measures"][name]["value"] == pytest.approx(np.mean(values)) == pytest.approx(expected.value)
        assert found["measures"][name]["low"] == pytest.approx(expected.low)
    distances = [hd95(*pair, 2)[1] for pair in pairs if pair[0].any()]  # one image is empty in both
    assert found["hd95"]["value"] == pytest.approx(np.mean(distances))
    assert found["hd95"]["median"] == pytest.approx(np.median(distances))
    assert [found["hd95"][name] for name in ("images", "one_empty", "both_empty")] == [47, 0, 1]
    assert found["hd95"]["low"] < found["hd95"]["value"] < found["hd95"]["high"]
    assert found["per_class"] == []


def test_classes_are_averaged_where_they_are_and_one_empty_side_is_counted(binary):
    results, pairs = with_outlines(class_results(drawn_run(), *classes()))
    lost = results.outlines.copy()
    lost[0, 1, 3] = np.inf  # as where one of both masks is empty
    found = outline_facts(dataclasses.replace(results, outlines=lost))
    each = np.stack([boundary_iou(*pair, 4) for pair in pairs])  # "sky" is no background: all classes count
    assert found["measures"]["boundary_iou"]["value"] == pytest.approx(np.nanmean(np.nanmean(each, axis=1)))
    assert [row["name"] for row in found["per_class"]] == ["sky", "tree", "road", "cat"]
    np.testing.assert_allclose([row["boundary_iou"] for row in found["per_class"][:3]], each[:, :3].mean(axis=0))
    distances = np.stack([hd95(*pair, 4) for pair in pairs])
    assert found["per_class"][1]["hd95"] == pytest.approx(distances[1:, 1].mean())
    assert found["per_class"][1]["one_empty"] == found["hd95"]["one_empty"] == 1
    assert found["hd95"]["both_empty"] == 10  # "cat" never occurs
    distances[0, 1] = np.nan
    assert found["hd95"]["value"] == pytest.approx(np.nanmean(distances[:, :3], axis=1).mean())


def test_calibration_is_that_of_the_pixels(binary, written):
    results, found = binary[0], written[1]["calibration"]
    for name, histograms in (("all", results.levels), ("band", results.band)):
        total, part = histograms.sum(axis=0), found[name]
        pixels = np.repeat(np.tile((np.arange(256) + 0.5) / 256, 2), total.ravel())
        truth = np.repeat([0, 1], total.sum(axis=1))
        assert part["leans"] == pytest.approx(pixels.mean() - truth.mean(), abs=1e-9)
        assert sum(one["share"] for one in part["bins"]) == pytest.approx(1)
        gaps = [one["share"] * abs(one["probability"] - one["foreground"]) for one in part["bins"]]
        assert part["error"]["value"] == pytest.approx(sum(gaps))
        assert part["error"]["low"] < sum(gaps)
    assert results.band.sum() < results.levels.sum() / 2


def test_of_classes_that_compete_the_confidence_is_shown(tmp_path):
    results, pairs = with_outlines(class_results(drawn_run(), *classes()))
    sure = [confidence_histograms(*pair, np.full(pair[0].shape, 230, np.uint8)) for pair in pairs]
    measured = report.write_report(dataclasses.replace(results, confidence=np.stack(sure)), tmp_path)
    found, right = measured["calibration"], np.concatenate([(a == b)[a != 255] for a, b in pairs]).mean()
    assert found["of"] == "predicted class"
    assert found["all"]["leans"] == pytest.approx(230.5 / 256 - right)
    assert found["all"]["error"]["value"] == pytest.approx(abs(230.5 / 256 - right))
    html = (tmp_path / "report.html").read_text()
    assert "Share of right pixels at each probability" in html
    assert "There the network is too sure" in html


def cells(page, table):
    rows = page.locator(f"table.{table} tbody tr").all()
    return [[text.strip() for text in row.locator("td").all_inner_texts()] for row in rows]


@pytest.mark.browser
def test_the_page_shows_the_figures_of_the_json(visit, written):
    path, measured = written
    page = visit(path, 390, 844, "dark")
    found = measured["outlines"]
    ends = lambda one, digits: f"{one['low']:.{digits}f} – {one['high']:.{digits}f}"  # noqa: E731
    expected = [
        [label, f"{found['measures'][name]['value']:.4f}", ends(found["measures"][name], 4)]
        for name, label in (
            ("boundary_iou", "Boundary IoU"),
            ("boundary_f1", "Boundary F1"),
            ("surface", "Normalised surface distance"),
        )
    ]
    far = found["hd95"]
    expected += [["HD95, in pixels", f"{far['value']:.2f}", ends(far, 2)], ["HD95, median", f"{far['median']:.2f}", ""]]
    assert cells(page, "outlines") == expected
    errors = [measured["calibration"][name]["error"] for name in ("all", "band")]
    labels = ["all pixels", "band around the outlines"]
    rows = [[label, f"{one['value']:.4f}", ends(one, 4)] for label, one in zip(labels, errors, strict=True)]
    assert cells(page, "calibration") == rows
    diagram = page.locator("h2#calibration ~ .charts svg").first
    assert diagram.locator("path.line").count() == 3
    assert "1 of the other scores; there are 1." in page.inner_text("body")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_counts_there_is_nothing(binary):
    measured = report.measure(dataclasses.replace(binary[0], outlines=None, band=None, levels=None))
    assert (measured["outlines"], measured["calibration"]) == (None, None)
