"""The report of classes that overlap and of objects: drawings, tables and sentences."""

import base64
import dataclasses
import io
import re

import numpy as np
import pandas as pd
import pytest
from discs import drawn_run, with_metric
from PIL import Image

from kit import report
from kit.prediction import Rule
from kit.report import cards
from kit.report.thresholds import threshold_curve
from kit.scoring import InstancePrecision, MeanDicePerClass
from kit.scoring.confusion import confusion_matrix, level_histogram
from kit.scoring.overlapping import class_matrices, image_scores

SIZE, IDS = (40, 60), [f"image_{number}" for number in range(8)]
NAMES = ("square", "band")


def _pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).astype(int)


def _near(pixels, colour):
    return np.abs(pixels - colour).max(axis=-1) < 60


@pytest.fixture(scope="module")
def base():
    return drawn_run().results


def _changed(base, truths, predictions, **changes):
    """The results of a drawn run with other masks, all images of one size."""
    return dataclasses.replace(
        base,
        read_image=lambda id: np.full((*SIZE, 3), 128, np.uint8),
        read_truth=truths.__getitem__,
        read_prediction=predictions.__getitem__,
        **changes,
    )


def histograms(truth, levels):
    return np.stack([level_histogram(truth[..., k].copy(), levels[..., k].copy()) for k in range(truth.shape[2])])


def overlapping(base):
    """A square and a band over it; the prediction has the band two rows lower; the last image holds nothing."""
    truths = {id: np.zeros((*SIZE, 2), bool) for id in IDS}
    for number, truth in enumerate(truths.values()):
        if number < 7:
            truth[8:32, 10 + number : 34 + number, 0] = truth[18:24, :, 1] = True
    predictions = {
        id: np.stack([truth[..., 0], np.roll(truth[..., 1], 2, axis=0)], axis=2) for id, truth in truths.items()
    }
    matrices = np.stack([class_matrices(truths[id], predictions[id]) for id in IDS])
    levels = np.stack([histograms(truths[id].view(np.uint8), predictions[id] * np.uint8(200)) for id in IDS])
    scores = [dict(zip(("iou", "dice", "accuracy"), image_scores(matrix), strict=True)) for matrix in matrices]
    rows = [{"id": id, "group": id, "fold": at % 2, "area": truths[id].any(axis=2).mean()} for at, id in enumerate(IDS)]
    images = pd.DataFrame(rows).assign(**{name: [one[name] for one in scores] for name in scores[0]})
    changes = {"images": images, "matrices": matrices, "levels": levels, "classes": NAMES, "task": "multilabel"}
    return _changed(base, truths, predictions, rule=Rule((0.5, 0.6)), **changes)


def test_both_of_two_classes_show_where_they_overlap(base):
    results = overlapping(base)
    drawings = {what: _pixels(uri) for what, uri in cards.card(results, "image_0").items()}
    assert list(drawings) == ["the truth", "the prediction", "its errors"]
    square, band = (np.array(colour) for colour in cards.palette(NAMES))
    truth, height = drawings["the truth"], drawings["the truth"].shape[0]
    scale = height / SIZE[0]

    def at(row, column, image):
        return image[round((row + 0.5) * scale), round((column + 0.5) * scale)]

    grey = np.full(3, 128)
    one, other = grey * 0.65 + square * 0.35, grey * 0.65 + band * 0.35
    assert np.abs(at(11, 22, truth) - one).max() < 12
    assert np.abs(at(21, 50, truth) - other).max() < 12
    assert np.abs(at(21, 22, truth) - (one * 0.65 + band * 0.35)).max() < 12  # both
    assert np.abs(at(36, 55, truth) - grey).max() < 12
    assert _near(truth, square).sum() > 3 * height  # its outline, also below the band
    errors = drawings["its errors"]
    assert _near(errors[round(18 * scale) : round(20 * scale)], cards.BLUE).mean() > 0.9
    assert _near(errors[round(24 * scale) : round(26 * scale)], cards.ORANGE).mean() > 0.9
    assert _near(errors, cards.BLUE).sum() + _near(errors, cards.ORANGE).sum() < 0.12 * errors[..., 0].size


def test_the_numbers_of_classes_that_overlap(base):
    results = with_metric(overlapping(base), MeanDicePerClass(2))
    measured = report.measure(results)
    band = 2 * 4 * 60 / (2 * 6 * 60)  # of six rows four are met
    assert [row["dice"] for row in measured["per_class"]] == [1, pytest.approx(band)]
    assert measured["pooled"]["dice_mean"]["value"] == pytest.approx((7 * (1 + band) / 2 + 1) / 8)
    assert measured["pooled"]["dice_dataset"]["value"] == pytest.approx((1 + band) / 2)
    assert measured["metric"]["value"] == pytest.approx((7 * (1 + band) + 2) / 16)
    assert (measured["task"], measured["averaged"], measured["threshold"]) == ("multilabel", True, None)
    assert measured["constant"]["class"] == "no class"
    assert measured["constant"]["mean_iou"] == 0
    for k, (name, found) in enumerate(zip(NAMES, measured["thresholds"], strict=True)):
        assert found["name"] == name
        alone = threshold_curve(results.images, results.levels[:, k])
        np.testing.assert_allclose(found["dice_mean"], alone["dice_mean"])
    sentences = " ".join(measured["conventions"])
    assert "means over the 2 classes, which may overlap. " in sentences
    assert "1 of 8 images have an empty mask" in sentences
    assert "reaches its threshold: square 0.5, band 0.6." in sentences
    assert "255" not in sentences
    shown = report.summary(measured)
    assert "thresholds picked on the other folds: mean Dice (gain over 0.5) of square" in shown
    assert "Dice and IoU are means over all 2 classes: square, band" in shown
    html = report.page(results, measured)
    assert "Threshold of each class" in html
    assert re.search(r"<td>band</td><td>0\.\d{4}</td>", html)
    assert "tinted and with an outline" in html


def test_scores_that_are_not_those_of_the_matrices_are_refused(base):
    results = overlapping(base)
    wrong = results.images.assign(dice=results.images["dice"][::-1].to_numpy())
    with pytest.raises(ValueError, match="dice is not that of the confusion matrix"):
        dataclasses.replace(results, images=wrong)


def objects(base):
    """Three squares: one found, one found as two halves, one missed; and one that is not there."""
    truth, found = np.zeros(SIZE, np.int32), np.zeros(SIZE, np.int32)
    truth[4:14, 4:14], truth[4:14, 24:34], truth[24:34, 4:14] = 900, 255, 2
    found[4:14, 4:13], found[4:9, 24:34], found[9:14, 24:34], found[24:34, 40:50] = 1, 2, 3, 4
    truths, predictions = dict.fromkeys(IDS, truth), dict.fromkeys(IDS, found)
    matrix = confusion_matrix((truth > 0).view(np.uint8), (found > 0).view(np.uint8), 2)
    levels = level_histogram((truth > 0).view(np.uint8), (found > 0) * np.uint8(255))
    hits, wrong = matrix[1, 1], matrix[0, 1] + matrix[1, 0]
    scores = {"iou": hits / (hits + wrong), "dice": 2 * hits / (2 * hits + wrong), "accuracy": 0.9, "area": 0.1}
    images = pd.DataFrame([{"id": id, "group": id, "fold": 0, **scores} for id in IDS])
    changes = {"images": images, "matrices": np.stack([matrix] * 8), "levels": np.stack([levels] * 8)}
    rule = Rule(objects=True, min_area=9)
    return _changed(base, truths, predictions, classes=("background", "cell"), task="instances", rule=rule, **changes)


def test_the_page_says_what_an_object_is(base):
    results = objects(base)
    measured = report.measure(results)
    sentences = " ".join(measured["conventions"])
    assert "Objects are the connected components of the predicted foreground" in sentences
    assert "fewer than 9 pixels are left out" in sentences
    assert measured["rule"] == {"threshold": 0.5, "objects": True, "min_area": 9}
    assert measured["threshold"]["half"]["dice_mean"] == pytest.approx(results.images["dice"][0])
    html = report.page(results, measured)
    assert "what became of it at an IoU of 0.5" in html
    assert measured["objects"] is None  # of results that were not read from a run
    assert '<i class="ignored"></i>' not in html


def test_the_worst_images_of_objects_are_those_of_the_metric(base):
    results = with_metric(objects(base), InstancePrecision())
    counts = results.counts.copy()
    counts[:, 0] = [0.5, 0.4, 0.9, 0.1, 0.6, 0.7, 0.3, 0.2]
    measured = report.measure(dataclasses.replace(results, counts=counts))
    assert [row["metric"] for row in measured["worst"]] == pytest.approx(sorted(counts[:, 0]))
    shown = report.summary(measured)
    assert re.search(r"worst image: image_3 \(metric 0.1000, Dice 0.\d{4}\)$", shown)
    assert measured["ranked_by"] == InstancePrecision.name
    assert report.measure(objects(base))["ranked_by"] == "Dice"


def test_a_binary_report_names_its_own_threshold(base):
    results = dataclasses.replace(base, rule=Rule(0.4))
    measured = report.measure(results)
    assert "The foreground is predicted where its probability reaches 0.4." in " ".join(measured["conventions"])
    assert "The scores above and the CSV are at 0.4." in report.summary(measured)
    assert "The scores above and the CSV are at 0.5." in report.summary(report.measure(base))
