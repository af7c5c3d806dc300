"""The drawings and charts of the report."""

import base64
import dataclasses
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
from discs import class_results, classes, drawn_run
from PIL import Image

from kit import report
from kit.report import cards, plots
from kit.report.windows import error_window


@pytest.fixture(scope="module")
def drawn():
    return drawn_run()


@pytest.fixture(scope="module")
def measured(drawn):
    return report.measure(drawn.results)


# Numbers


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
    drawings = {key: _pixels(uri) for key, uri in cards.card(shown, "x").items()}
    assert {drawing.shape for drawing in drawings.values()} == {(320, 480, 3)}
    missed, false = _near(drawings["its errors"], cards.BLUE), _near(drawings["its errors"], cards.ORANGE)
    assert missed[105:195, 150].mean() > 0.9
    assert false[200, 155:295].mean() > 0.9
    assert missed.sum() < 300
    assert false.sum() < 400
    assert _near(drawings["its largest error, enlarged"], cards.ORANGE).any()


def test_each_class_is_painted_in_its_own_colour_truth_and_prediction_apart(drawn):
    truths, predictions = classes()
    truths[:], predictions[:] = 0, 0
    truths[:, :, 15:], predictions[:, 10:] = 1, 2
    results = class_results(drawn, truths, predictions)
    drawings = cards.card(results, results.images["id"][0])
    paint = [tuple(round(0.6 * part) for part in colour) for colour in cards.palette(results.classes)]
    truth, prediction, errors = (_pixels(uri) for uri in drawings.values())
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
def test_drawings_fit_their_box(drawn, size, shape):
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
    rows, columns = error_window(wrong, (320, 480))
    assert (rows.stop - rows.start, columns.stop - columns.start) == (80, 120)
    assert wrong[rows, columns].sum() == 600
    assert (rows.start + rows.stop, columns.start + columns.stop) == (700 + 720, 900 + 930)  # in the middle
    wrong[300:800, 300:1300] = True
    rows, columns = error_window(wrong, (320, 480))
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
