"""Runs from end to end on classes that overlap and on objects: data, folds, training, OOF, report, CSV, lint."""

import csv
import json

import numpy as np
import pytest
import torch
from any_data import SIZE, run_recipe
from drawn import Drawn
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score
from tasks_data import Grey, Objects, Overlapping, enlarged_by_hand, levels_by_hand
from torch import nn

from kit.data import Resizing, cell_augment, photo_augment
from kit.losses import bce_dice, cross_entropy, focal
from kit.prediction import Frame, Rule
from kit.runs import Submission, load, oof_masks, scores
from kit.runs.oof import predictor
from kit.scoring import InstanceFBeta, InstancePrecision, MeanDice, MeanDicePerClass, MeanIoU
from kit.scoring.counts import score as count_images
from kit.submission import Competition, Dialect, lint, object_masks, rle, write
from kit.submission.score import score, truth_reader

IN_A_COLUMN = Dialect(("id", "class", "rle"), "class", "F", class_column="class")
CELLS = Dialect(("ImageId", "EncodedPixels"), "instance", "F")
HALF = Frame(Resizing((SIZE[0] // 2, SIZE[1] // 2)))
EIGHT = np.ones((3, 3))  # of pixels that touch, also at a corner


def report_of(run):
    return json.loads((run.folder / "report.json").read_text())


def rows_of(folder):
    """The rows of the one CSV in a folder, read by the csv module."""
    [path] = folder.glob("*.csv")
    with path.open(newline="") as file:
        return path, list(csv.DictReader(file))


def stored_masks(run, thresholds):
    """Truths and predictions of all images, both bool (n, H, W, K), by hand from the kept levels."""
    truths = [run.dataset.read_mask(id) for id in run.dataset.ids]
    levels = [enlarged_by_hand(run.store.read(id), SIZE) for id in run.dataset.ids]
    cuts = np.array([round(256 * one) - 0.5 for one in thresholds])
    return np.array(truths), np.array([np.moveaxis(each >= cuts[:, None, None], 0, 2) for each in levels])


def levels_of_tests(run, network):
    """The id and the mean levels of both networks of each test image."""
    predict = predictor(run, [load(run, fold, network()) for fold in (0, 1)])
    return list(predict.stream(run.dataset, run.dataset.test_ids, lambda id, size, levels: (id, levels)))


# --- classes that overlap


@pytest.mark.parametrize("thresholds", [pytest.param((0.5,), marks=pytest.mark.slow), (0.3, 0.5, 0.62)], ids=["1", "3"])
def test_a_run_of_overlapping_classes_with_a_threshold_each(thresholds, tmp_path):
    count = len(thresholds)
    dataset, network = Overlapping(count), lambda: Grey(count, slope=1.0)
    competition = Competition(dataset, IN_A_COLUMN, dataset.test_ids, MeanDicePerClass(count))
    submission, rule = Submission(competition, folder=tmp_path), Rule(thresholds)
    run = run_recipe(dataset, tmp_path, network, bce_dice, submission=submission, frame=HALF, lr=1e-6, rule=rule)
    statistics = np.array([run.frame.normalise.mean, run.frame.normalise.std])
    for id in dataset.ids:  # a sigmoid each
        kept, fold = run.store.read(id), int(run.folds[dataset.ids.index(id)])
        model = load(run, fold, network())
        assert np.abs(kept - levels_by_hand(model, dataset.read_image(id), *statistics, HALF.resizing.size)).max() <= 3
    truths, predictions = stored_masks(run, thresholds)
    for (_, truth, found), own, by_hand in zip(oof_masks(run), *_in_order(run, truths, predictions), strict=True):
        np.testing.assert_array_equal(truth, own)
        np.testing.assert_array_equal(found, by_hand)
        assert found.dtype == bool
    dices = [
        [f1_score(t[..., k].ravel(), p[..., k].ravel(), zero_division=1) for k in range(count)]
        for t, p in zip(truths, predictions, strict=True)
    ]
    report = report_of(run)
    assert report["metric"]["value"] == pytest.approx(np.mean(dices))
    assert 0.5 < np.mean(dices) < 1
    for k, row in enumerate(report["per_class"]):
        pair = truths[..., k].ravel(), predictions[..., k].ravel()
        assert (row["name"], row["dice"]) == (dataset.classes[k], pytest.approx(f1_score(*pair)))
        assert row["iou"] == pytest.approx(jaccard_score(*pair))
        assert row["share"] == pytest.approx(truths[..., k].mean())
    assert report["dataset"]["pixel_accuracy"] == pytest.approx((truths == predictions).mean())
    path, rows = rows_of(tmp_path)
    assert lint(path, competition) == []
    assert [(row["id"], row["class"]) for row in rows] == [
        (id, str(k + 1)) for id in dataset.test_ids for k in range(count)
    ]
    for id, levels in levels_of_tests(run, network):
        mask = run.rule.mask(levels, SIZE)
        enlarged = enlarged_by_hand(levels, SIZE)
        for k in range(count):
            [row] = [row for row in rows if (row["id"], row["class"]) == (id, str(k + 1))]
            decoded = rle.decode(row["rle"], SIZE, "F").view(bool)
            np.testing.assert_array_equal(decoded, mask[..., k])
            np.testing.assert_array_equal(decoded, enlarged[k] >= round(256 * thresholds[k]) - 0.5)


def _in_order(run, *arrays):
    """The arrays (n, …) in the order of oof_masks: fold by fold."""
    places = [run.dataset.ids.index(id) for fold in (0, 1) for id in run.held_out(fold)]
    return [array[places] for array in arrays]


def test_the_scores_of_each_image_are_means_over_the_classes_that_it_holds(tmp_path):
    dataset = Overlapping(3)
    run = run_recipe(dataset, tmp_path, lambda: Grey(3, 1.0), bce_dice, submission=MeanIoU(3, overlapping=True))
    truths, predictions = stored_masks(run, (0.5,) * 3)
    table = scores(run).images.set_index("id")
    for id, truth, found in zip(dataset.ids, truths, predictions, strict=True):
        dices = [
            f1_score(truth[..., k].ravel(), found[..., k].ravel()) for k in range(3) if (truth | found)[..., k].any()
        ]
        assert table.loc[id, "dice"] == pytest.approx(np.mean(dices) if dices else 1)
        assert table.loc[id, "area"] == pytest.approx(truth.any(axis=2).mean())
        assert table.loc[id, "accuracy"] == pytest.approx((truth == found).mean())
    ious = [jaccard_score(truths[..., k].ravel(), predictions[..., k].ravel()) for k in range(3)]
    report = report_of(run)
    assert report["metric"]["value"] == report["dataset"]["mean_iou"] == pytest.approx(np.mean(ious))
    assert report["metric"]["low"] < np.mean(ious) < report["metric"]["high"]


def test_overlapping_classes_are_trained_augmented_and_padded(tmp_path):
    dataset, seen = Overlapping(2, sizes=((24, 36), (30, 30))), []
    photo, cells = photo_augment(1, (20, 20), channels=dataset.channels), cell_augment(1, sigma=2)

    def augment(image, mask, epoch, index):
        image, mask = cells(*photo(image, mask, epoch, index), epoch, index)
        assert image.shape == mask.shape == (20, 20, 2)
        return image, mask

    def loss(logits, masks):
        seen.append(masks.clone())
        return bce_dice(logits, masks) + focal(logits, masks)

    frame = Frame(Resizing(SIZE, keep_ratio=True))
    run = run_recipe(dataset, tmp_path, lambda: nn.Conv2d(2, 2, 3, padding=1), loss, augment, frame=frame, lr=0.05)
    masks = torch.cat(seen)
    assert masks.shape[1:] == (2, 20, 20)
    assert set(masks.unique().tolist()) == {0, 1, 255}
    np.testing.assert_array_equal(masks[:, 0] == 255, masks[:, 1] == 255)  # padding is in no class
    assert all(0 < line["loss"] < 10 and 0 <= line["val_dice"] <= 1 for line in run.history(0))


def test_validation_counts_every_class_with_its_threshold(tmp_path):
    dataset = Overlapping(2)
    run = run_recipe(dataset, tmp_path, lambda: Grey(2, 1.0), bce_dice, lr=1e-9, rule=Rule((0.4, 0.7)))
    for fold in (0, 1):
        truths, predictions = (
            np.array([one for id, one in zip(dataset.ids, ones, strict=True) if id in run.held_out(fold)])
            for ones in stored_masks(run, (0.4, 0.7))
        )
        expected = np.mean([f1_score(truths[..., k].ravel(), predictions[..., k].ravel()) for k in range(2)])
        assert run.history(fold)[-1]["val_dice"] == pytest.approx(expected, abs=0.02)  # before it is quantised


STOP_AT = []  # at which of its calls the loss is interrupted, counted down


def stopping_loss(logits, masks):
    """bce_dice, but interrupted as STOP_AT says."""
    if STOP_AT:
        STOP_AT[0] -= 1
        if STOP_AT[0] == 0:
            STOP_AT.clear()
            raise KeyboardInterrupt
    return bce_dice(logits, masks)


@pytest.mark.slow
def test_an_interrupted_training_of_overlapping_classes_resumes_bit_for_bit(tmp_path):
    dataset = Overlapping(2, images=12)

    def trained(folder):
        augment = photo_augment(1, channels=dataset.channels)
        return run_recipe(dataset, folder, lambda: Grey(2, 1.0), stopping_loss, augment, lr=0.01)

    STOP_AT.append(2)  # in the second epoch
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped")
    assert not (tmp_path / "stopped/any_data/fold0/finished.json").exists()
    again, whole = trained(tmp_path / "stopped"), trained(tmp_path / "whole")
    for name in ("fold0/last.safetensors", "fold1/last.safetensors", "oof.csv"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()


# --- objects


def test_a_run_of_objects_ends_in_a_row_for_each(tmp_path):
    dataset = Objects()
    competition = Competition(dataset, CELLS, dataset.test_ids, InstancePrecision())
    submission = Submission(competition, folder=tmp_path)
    run = run_recipe(dataset, tmp_path, _bright, bce_dice, submission=submission, lr=1e-6)
    path, rows = rows_of(tmp_path)
    assert lint(path, competition) == []
    assert [row["ImageId"] for row in rows] == sorted(row["ImageId"] for row in rows)  # those of an image together
    counts = {id: [row["EncodedPixels"] for row in rows if row["ImageId"] == id] for id in dataset.test_ids}
    assert counts["test_03"] == [""]  # one empty row
    for id in dataset.test_ids[:3]:
        semantic = dataset.read_mask(id) > 0
        labels, found = ndimage.label(semantic, EIGHT)
        assert len(counts[id]) == found == 4  # five squares, of which two touch
        assert set(counts[id]) == {rle.encode(labels == label, "F") for label in range(1, found + 1)}
        starts = [int(text.split()[0]) for text in counts[id]]
        assert starts == sorted(starts)
    kept = {id: (truth, found) for id, truth, found in oof_masks(run)}
    truth, found = kept["image_00"]
    assert truth.dtype == found.dtype == np.int32
    np.testing.assert_array_equal(found > 0, truth > 0)
    report = report_of(run)
    hits, with_objects = 3 / 6, 6 / 8  # three squares alone, two that are one; TP 3, FP 1, FN 2
    assert report["metric"]["value"] == pytest.approx(with_objects * hits + (1 - with_objects))
    assert report["pooled"]["dice_mean"]["value"] == 1
    assert report["per_class"][1]["share"] == pytest.approx(np.mean([dataset.read_mask(id) > 0 for id in dataset.ids]))
    found = score(path, CELLS, dataset.read_mask, dataset.test_ids)
    assert found == {
        "images": 4,
        "mean_dice": 1.0,
        "mean_iou": 1.0,
        "instance_precision": pytest.approx(0.75 * hits + 0.25),
    }
    assert score(path, CELLS, truth_reader(path, CELLS, SIZE))["instance_precision"] == 1
    oof = tmp_path / "oof_rows.csv"
    write((cells for id, (_, mask) in kept.items() for cells in CELLS.cells(id, object_masks(mask, "F"))), oof, CELLS)
    rescored = score(oof, CELLS, dataset.read_mask, dataset.ids, InstancePrecision())
    assert rescored["metric"] == pytest.approx(report["metric"]["value"], abs=1e-12)
    f2 = InstanceFBeta()  # two images are empty
    counted = count_images(dataset, run.store, dataset.ids, dataset.ids, 0, f2).counts
    rescored = score(oof, CELLS, dataset.read_mask, dataset.ids, f2)
    assert rescored["metric"] == pytest.approx(f2.score(counted.sum(axis=0)), abs=1e-12)
    assert rescored["metric"] == pytest.approx(with_objects * 15 / (4 * 5 + 4) + (1 - with_objects))


def _bright():
    """One logit, above 0 where a pixel is bright."""
    network = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        network.weight[:] = 3.0
        network.bias[:] = -3 * 3 * (0.47 - 0.45) / 0.225
    return network


@pytest.mark.slow
def test_another_rule_scores_and_writes_anew_without_predicting(tmp_path):
    dataset, made = Objects(), []

    def network():
        made.append(1)
        return _bright()

    competition = Competition(dataset, CELLS, dataset.test_ids, InstancePrecision())
    submission = Submission(competition, folder=tmp_path, keep_test=True)

    def run_with(rule):
        run = run_recipe(dataset, tmp_path, network, bce_dice, submission=submission, lr=1e-6, rule=rule)
        return report_of(run)["metric"]["value"], rows_of(tmp_path)[1]

    first, rows = run_with(None)
    networks = len(made)
    value, few = run_with(Rule(objects=True, min_area=26))  # larger than a square alone: the two that touch are left
    assert len(made) == networks
    assert value == pytest.approx(0.25)  # of the six images with objects none is found
    assert value < first
    assert [row["ImageId"] for row in few] == dataset.test_ids
    assert [len(row["EncodedPixels"]) > 0 for row in few] == [True, True, True, False]
    assert run_with(Rule(objects=True)) == (first, rows)


def test_a_binary_data_set_may_have_a_row_for_each_object(tmp_path):
    dataset = Drawn(("red", "green", "blue"), count=8, size=SIZE)
    dataset.test_ids = [f"test_{number}" for number in range(3)]
    competition = Competition(dataset, CELLS, dataset.test_ids, MeanDice())

    def network():
        return nn.Conv2d(3, 1, 3, padding=1)  # its predictions are noise, of many objects

    submission = Submission(competition, folder=tmp_path)
    run = run_recipe(dataset, tmp_path, network, bce_dice, submission=submission, rule=Rule(min_area=3))
    path, rows = rows_of(tmp_path)
    assert not [problem for problem in lint(path, competition) if problem.severity == "error"]
    for id, levels in levels_of_tests(run, network):
        labels, found = ndimage.label(enlarged_by_hand(levels, SIZE)[0] >= 127.5, EIGHT)
        expected = [rle.encode(labels == k, "F") for k in range(1, found + 1) if (labels == k).sum() >= 3]
        assert sorted(row["EncodedPixels"] for row in rows if row["ImageId"] == id) == sorted(expected) or [""]
    for _, _, found in oof_masks(run):
        labels, count = ndimage.label(found, EIGHT)
        assert count == 0 or np.bincount(labels.ravel())[1:].min() >= 3


@pytest.mark.slow
def test_objects_of_several_classes_have_rows_too(tmp_path):
    dialect = Dialect(("id", "class", "rle"), "instance", class_column="class", keep_empty=False)
    dataset = Overlapping(2)
    competition = Competition(dataset, dialect, dataset.test_ids, MeanDice())
    submission = Submission(competition, folder=tmp_path)
    run = run_recipe(dataset, tmp_path, lambda: Grey(2, 1.0), bce_dice, submission=submission, lr=1e-6)
    path, rows = rows_of(tmp_path)
    assert [problem for problem in lint(path, competition) if problem.severity == "error"] == []
    for id, levels in levels_of_tests(run, lambda: Grey(2)):
        for k in range(2):
            labels, found = ndimage.label(enlarged_by_hand(levels, SIZE)[k] >= 127.5, EIGHT)
            own = [row["rle"] for row in rows if (row["id"], row["class"]) == (id, str(k + 1))]
            assert sorted(own) == sorted(rle.encode(labels == label) for label in range(1, found + 1))


# --- refused before training


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": lambda: Grey(3)}, r"does not take an image of 2 channels"),
        (
            {"network": lambda: nn.Conv2d(2, 1, 1)},
            r"logits of 1 channel.*\(box 0, box 1\) that may overlap, a ",
        ),
        ({"loss": cross_entropy}, r"of classes that overlap: each needs a sigmoid of its own"),
        ({"rule": Rule((0.5, 0.5, 0.5))}, "the rule has 3 thresholds; task multilabel of 2 classes"),
        ({"rule": Rule(objects=True)}, "the rule has objects; task multilabel"),
        ({"submission": MeanDicePerClass(3)}, "is of 3 classes, the data set has 2 classes"),
        ({"submission": MeanIoU(2)}, r"masks are of overlapping classes .*: MeanIoU\(2, overlapping=True\)"),
    ],
    ids=["channels", "logits", "loss", "thresholds", "objects", "classes", "kind of masks"],
)
def test_what_does_not_fit_overlapping_classes_is_refused(changes, told, tmp_path):
    parts = {"network": lambda: Grey(2), "loss": bce_dice, "rule": None, "submission": None} | changes
    network, loss = parts.pop("network"), parts.pop("loss")
    with pytest.raises(ValueError, match=f"(?s){told}"):
        run_recipe(Overlapping(2), tmp_path, network, loss, **parts)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("dataset", "rule", "told"),
    [
        (Objects(), Rule(), r"objects=False; task instances needs Rule\(objects=True\)"),
        (Objects(), Rule((0.5,)), "threshold of each class, which only task multilabel has; this is instances"),
        (Drawn(count=4), Rule(objects=True), r"task binary has no objects: Rule\(objects=False\)"),
    ],
)
def test_a_rule_of_another_task_is_refused(dataset, rule, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        run_recipe(dataset, tmp_path, _bright, bce_dice, rule=rule)


def test_labels_of_a_csv_are_those_of_all_classes_where_there_is_no_background():
    dataset = Overlapping(2)
    named = Dialect(("id", "class", "rle"), "class", class_column="class", labels=("a", "b"))
    assert Competition(dataset, named).dialect.labels == ("a", "b")
    assert Competition(dataset, IN_A_COLUMN).dialect.labels == ("1", "2")
    turned = Dialect(("id", "class", "rle"), "class", class_column="class", labels=("box 1", "box 0"))
    with pytest.raises(ValueError, match="classes in another order"):
        Competition(dataset, turned)
    with pytest.raises(
        ValueError, match=r"2 foreground classes \(box 0, box 1\) and the dialect writes rows of one class"
    ):
        Competition(dataset, Dialect())
    assert Competition(Overlapping(1), Dialect()).dialect == Dialect()
    assert (Overlapping(2).foreground, Objects().foreground) == (("box 0", "box 1"), ("square",))
