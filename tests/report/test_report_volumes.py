"""Scores of whole volumes: the pixels of all slices of a volume together, against scikit-learn and a plain loop."""

import dataclasses

import numpy as np
import pytest
from discs import class_results, classes, drawn_run
from sklearn.metrics import f1_score, jaccard_score

from kit import report
from kit.report.volumes import volume_scores
from kit.scoring.overlapping import class_matrices, image_scores


@pytest.fixture(scope="module")
def drawn():
    return drawn_run()


def with_volumes(results, size):
    """Volumes of so many images that follow each other."""
    volumes = {id: f"v{row // size}" for row, id in enumerate(results.images["id"])}
    return dataclasses.replace(results, volumes=volumes)


@pytest.mark.parametrize("size", [2, 4])
def test_volumes_score_all_their_pixels_together(drawn, size):
    results = with_volumes(drawn.results, size)
    found = report.measure(results)["volumes"]
    assert found["count"] == 48 // size
    scores = []
    for start in range(0, 48, size):
        ids = results.images["id"].iloc[start : start + size]
        truth = np.concatenate([drawn.truths[id].ravel() for id in ids])
        prediction = np.concatenate([drawn.levels[id].ravel() >= 128 for id in ids])
        scores.append((f1_score(truth, prediction), jaccard_score(truth, prediction)))
    for name, values in zip(("dice_mean", "iou_mean"), np.transpose(scores), strict=True):
        assert found[name]["value"] == pytest.approx(values.mean())
        assert found[name]["low"] < values.mean() < found[name]["high"]
        assert found[name]["df"] == pytest.approx(11)  # 12 groups, however many volumes each has


def test_a_volume_in_several_groups_is_a_group_of_its_own(drawn):
    found = volume_scores(with_volumes(drawn.results, 8))
    assert found["count"] == 6
    assert found["dice_mean"]["df"] == pytest.approx(5)


def test_single_images_have_no_scores_of_volumes(drawn):
    assert report.measure(drawn.results)["volumes"] is None
    assert "volume" not in report.summary(report.measure(drawn.results))


def test_means_over_classes_in_each_volume(drawn):
    truths, predictions = classes()
    found = volume_scores(with_volumes(class_results(drawn, truths, predictions), 5))
    expected = []
    for part in (slice(0, 5), slice(5, 10)):
        counted = truths[part] != 255
        pair = truths[part][counted], predictions[part][counted]
        expected.append((f1_score(*pair, average="macro"), jaccard_score(*pair, average="macro")))
    assert (found["dice_mean"]["value"], found["iou_mean"]["value"]) == pytest.approx(tuple(np.mean(expected, axis=0)))


def test_classes_that_overlap_and_a_volume_without_any(drawn):
    rng = np.random.default_rng(0)
    truth, prediction = (rng.random((4, 9, 9, 2)) < 0.4 for _ in range(2))
    truth[2:], prediction[2:] = False, False
    matrices = np.stack([class_matrices(*pair) for pair in zip(truth, prediction, strict=True)])
    iou, dice, accuracy = np.transpose([image_scores(matrix) for matrix in matrices])
    images = drawn.results.images.head(4).assign(iou=iou, dice=dice, accuracy=accuracy)
    changes = {"images": images, "matrices": matrices, "levels": None, "classes": ("a", "b"), "task": "multilabel"}
    results = with_volumes(dataclasses.replace(drawn.results, **changes), 2)
    of_first = [f1_score(truth[:2, ..., k].ravel(), prediction[:2, ..., k].ravel()) for k in range(2)]
    assert volume_scores(results)["dice_mean"]["value"] == pytest.approx((np.mean(of_first) + 1) / 2)


def test_the_page_and_the_table_show_volumes(drawn, tmp_path):
    measured = report.write_report(with_volumes(drawn.results, 4), tmp_path)
    value = f"{measured['volumes']['dice_mean']['value']:.4f}"
    page, table = (tmp_path / "report.html").read_text(), report.summary(measured)
    assert "means over<br>12 volumes" in page
    assert f"<td>Dice</td><td>{value}</td>" in page
    assert f"Dice {value}  (95 % from" in table
    assert all(len(line) < 80 for line in table.splitlines())


def test_the_page_says_why_volumes_of_two_groups_have_no_interval(drawn, tmp_path):
    images = drawn.results.images.assign(group=["a"] * 24 + ["b"] * 24)
    report.write_report(with_volumes(dataclasses.replace(drawn.results, images=images), 4), tmp_path)
    said = "Its interval is taken over groups; no interval: two groups only, an interval needs three."
    assert said in (tmp_path / "report.html").read_text()
