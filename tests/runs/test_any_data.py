"""Runs from end to end, as a recipe makes them, on images, classes, sizes and submissions of every kind."""

import base64
import csv
import dataclasses
import json
import re

import cv2
import numpy as np
import pytest
import torch
from any_data import SIZE, Kept, Shapes, Watched, nearest_colour, run_recipe, times_seen
from drawn import Drawn
from sklearn.metrics import f1_score

from kit.data import Resizing, cell_augment, photo_augment
from kit.losses import bce_dice, cross_entropy
from kit.prediction import Frame, Predictor, Rule
from kit.runs import Submission, load, scores
from kit.scoring import MeanDicePerClass
from kit.submission import Competition, Dialect, lint, write
from kit.submission.rle import encode

KINDS = [(count, dtype) for count in (1, 2, 4, 12) for dtype in ("uint8", "uint16", "float32")]
STATED = [(*kind, number % 2 == 0) for number, kind in enumerate(KINDS)]  # with each count and with each dtype
TOPS = {"uint8": 255, "uint16": 65535, "float32": 1}


def images_of(html):
    """The images of a report, decoded."""
    found = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", html)
    return [cv2.imdecode(np.frombuffer(base64.b64decode(one), np.uint8), cv2.IMREAD_COLOR) for one in found]


def normalised_by_hand(dataset):
    """{id: (image / top - mean) / std, f64 (C, h, w)} at half the size: the mean over cells of 2×2 pixels."""
    images = {id: dataset.read_image(id).astype(np.float64) / TOPS[dataset.kind] for id in dataset.ids}
    pixels = np.concatenate([image.reshape(-1, image.shape[2]) for image in images.values()])
    mean, std = (pixels.mean(axis=0), pixels.std(axis=0)) if dataset.mean is None else (dataset.mean, dataset.std)
    halves = {
        id: image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, -1).mean(axis=(1, 3))
        for id, image in images.items()
    }
    return {id: ((image - mean) / std).transpose(2, 0, 1) for id, image in halves.items()}, np.min(std)


@pytest.mark.parametrize(
    ("channels", "dtype", "stated"),
    [case if number % 2 else pytest.param(*case, marks=pytest.mark.slow) for number, case in enumerate(STATED)],
)
def test_what_reaches_the_network_in_training_and_prediction(channels, dtype, stated, tmp_path):
    dataset = Drawn([f"band{number}" for number in range(channels)], dtype, count=8, size=SIZE)
    if stated:
        top = TOPS[dtype]
        dataset.mean = tuple((20.0 + 3 * at) / top for at in range(channels))
        dataset.std = tuple((50.0 + at) / top for at in range(channels))
    kept = Kept()
    half = Frame(Resizing((SIZE[0] // 2, SIZE[1] // 2)))
    run = run_recipe(dataset, tmp_path, lambda: Watched(channels, 1, kept), bce_dice, frame=half)
    expected, least_std = normalised_by_hand(dataset)
    rounding = 0.501 / TOPS[dtype] / least_std if dtype != "float32" else 0  # whole numbers are rounded when shrunk
    seen = times_seen(kept.training, expected, rounding + 1e-3)
    assert seen == dict.fromkeys(dataset.ids, 2)  # two epochs of the one fold that does not hold it out
    predicted = [image for image in kept.prediction if image.any()]  # the check of the network gives it black
    counts = times_seen(predicted, expected, rounding + 1e-3)
    assert min(counts.values()) >= 3  # validated after each of two epochs, then predicted
    assert len(scores(run).images) == 8


@pytest.mark.parametrize(("channels", "dtype"), KINDS[4::4])
def test_augmented_training_ends_in_a_report_that_shows_the_images(channels, dtype, tmp_path, recwarn):
    dataset = Drawn([f"band{number}" for number in range(channels)], dtype, count=8, size=SIZE)
    photo = photo_augment(1, dtype=dtype, channels=dataset.channels)
    cells = cell_augment(1, sigma=2)

    def augment(image, mask, epoch, index):
        image, mask = photo(image, mask, epoch, index)
        square = cells(np.ascontiguousarray(image[:, :24]), np.ascontiguousarray(mask[:, :24]), epoch, index)
        assert square[0].shape == (24, 24, channels)
        return np.concatenate([square[0], image[:, 24:]], axis=1), np.concatenate([square[1], mask[:, 24:]], axis=1)

    run = run_recipe(dataset, tmp_path, lambda: Watched(channels, 1), bce_dice, augment)
    report = json.loads((run.folder / "report.json").read_text())
    assert report["images"] == 8
    truth = np.concatenate([dataset.read_mask(id).ravel() for id in dataset.ids])
    found = np.concatenate([Rule().mask(run.store.read(id), SIZE).ravel() for id in dataset.ids])
    assert report["dataset"]["pixel_accuracy"] == pytest.approx((truth == found).mean())
    images = images_of((run.folder / "report.html").read_text())
    assert len(images) >= 8
    assert all(image.std() > 5 for image in images)  # none is black, or one grey
    assert not recwarn.list


# --- three classes and a CSV

IN_THE_KEY = Dialect(("ImageId_ClassId", "EncodedPixels"), "class", "F", key="{id}.jpg_{class}")
IN_A_COLUMN = Dialect(("id", "kind", "runs"), "class", class_column="kind", labels=("square", "disc"))


def rows_by_hand(path, dialect):
    """{(id, class number): runs} of a CSV of one of the two dialects, by the csv module alone."""
    rows = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if dialect is IN_THE_KEY:
                assert list(row) == ["ImageId_ClassId", "EncodedPixels"]
                id, number = re.fullmatch(r"(test_\d\d)\.jpg_([12])", row["ImageId_ClassId"]).groups()
                rows[id, int(number)] = row["EncodedPixels"]
            else:
                assert list(row) == ["id", "kind", "runs"]
                rows[row["id"], {"square": 1, "disc": 2}[row["kind"]]] = row["runs"]
    return rows


def decoded_by_hand(runs, shape, order):
    pixels = np.zeros(shape[0] * shape[1], bool)
    numbers = list(map(int, runs.split()))
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        pixels[start - 1 : start - 1 + length] = True
    return pixels.reshape(shape, order=order)


@pytest.mark.parametrize(
    ("dialect", "sizes"),
    [(IN_THE_KEY, ((24, 36), (40, 30), (33, 47))), (IN_A_COLUMN, (SIZE,))],
    ids=["in the key, three sizes", "in a column, one size"],
)
def test_a_submission_of_three_classes_holds_what_the_networks_predict(dialect, sizes, tmp_path, capsys):
    dataset = Shapes(sizes=sizes)
    competition = Competition(dataset, dialect, dataset.test_ids, MeanDicePerClass(3))
    submission = Submission(competition, folder=tmp_path)
    run = run_recipe(dataset, tmp_path, nearest_colour, cross_entropy, submission=submission, lr=1e-5)
    [path] = tmp_path.glob("*.csv")
    assert lint(path, competition) == []
    rows = rows_by_hand(path, dialect)
    assert list(rows) == [(id, number) for id in dataset.test_ids for number in (1, 2)]
    predictor = Predictor([load(run, fold, nearest_colour()) for fold in (0, 1)], run.frame)
    for id, levels in predictor.stream(dataset, dataset.test_ids, lambda id, size, levels: (id, levels)):
        predicted, truth = Rule().mask(levels, dataset.shape(id)), dataset.read_mask(id)
        for number in (1, 2):
            found = decoded_by_hand(rows[id, number], dataset.shape(id), dialect.order)
            np.testing.assert_array_equal(found, predicted == number)
            assert found.any() == (truth == number).any()
            if found.any():
                assert f1_score(truth.ravel() == number, found.ravel()) > 0.9
    report = json.loads((run.folder / "report.json").read_text())
    assert report["metric"]["name"] == "mean Dice over images and classes"
    assert report["metric"]["value"] > 0.9
    shown = capsys.readouterr().out
    assert shown.index("mean Dice over images and classes: ") < shown.index("pooled")
    html = (run.folder / "report.html").read_text()
    assert html.index("mean Dice over images and classes") < html.index("IoU")


def test_one_channel_for_three_classes_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"logits of 1 channel, .* 3 classes \(background, square, disc\): expected 3"):
        run_recipe(Shapes(), tmp_path, lambda: Watched(3, 1), bce_dice)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("metrics.jsonl"))


def test_other_channels_than_the_images_have_are_refused_before_training(tmp_path):
    grey = Drawn(("grey",), "uint16", count=4, size=SIZE)
    with pytest.raises(ValueError, match=r"does not take an image of 1 channel \(grey\).*in_channels"):
        run_recipe(grey, tmp_path, lambda: Watched(3, 1), bce_dice)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(("ImageId", "EncodedPixels"), "instance", "F")])
def test_rows_without_a_class_are_refused_for_three_classes(dialect):
    with pytest.raises(ValueError, match=r"2 foreground classes \(square, disc\).*one class.*class_column"):
        Competition(Shapes(), dialect, ["test_00"])


def test_a_metric_of_other_classes_is_refused_before_training(tmp_path):
    competition = Competition(Shapes(), IN_A_COLUMN, ["test_00"], MeanDicePerClass(2))
    with pytest.raises(ValueError, match=r"is of 2 classes, the data set has 3 classes.*: give it num_classes=3"):
        run_recipe(Shapes(), tmp_path, nearest_colour, cross_entropy, submission=Submission(competition))
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["test_00.png_1", "test_00.png_2"], ["'test_00.jpg_1' is a test image's", "'test_00.png_2' is in sample.csv"]),
        (
            ["test_00.jpg_1", "test_00.jpg_2", "test_07.jpg_1"],
            ["1 problem with test_ids.*'test_07.jpg_1' is in"],
        ),
    ],
)
def test_a_sample_file_of_other_images_is_refused_before_training(tmp_path, rows, told):
    sample = tmp_path / "sample.csv"
    sample.write_text("\n".join(["ImageId_ClassId,EncodedPixels", *(f"{row},1 1" for row in rows)]) + "\n")
    competition = Competition(Shapes(), IN_THE_KEY, ["test_00"], sample_csv=sample)
    for text in told:
        with pytest.raises(ValueError, match=f"(?s){text}"):
            run_recipe(Shapes(), tmp_path, nearest_colour, cross_entropy, submission=Submission(competition))
    assert not list(tmp_path.rglob("*.safetensors"))
    sample.write_text("key,runs\ntest_00.jpg_1,1 1\n")
    with pytest.raises(ValueError, match=r"sample file sample\.csv: line 1"):
        run_recipe(Shapes(), tmp_path, nearest_colour, cross_entropy, submission=Submission(competition))


# --- images of several sizes, their ratio kept

RATIOS = ((24, 36), (48, 36), (20, 60), (30, 45))
CONTENT = {(24, 36): (24, 36), (48, 36): (24, 18), (20, 60): (12, 36), (30, 45): (24, 36)}  # inside 24 × 36


def padded_by_hand(image):
    """The image at its content's size, its mirror image around it, normalised: f32 (3, 24, 36)."""
    rows, columns = CONTENT[image.shape[:2]]
    kind = cv2.INTER_AREA if rows <= image.shape[0] and columns <= image.shape[1] else cv2.INTER_LINEAR
    small = cv2.resize(image, (columns, rows), interpolation=kind).astype(np.float64)
    top, left = (SIZE[0] - rows) // 2, (SIZE[1] - columns) // 2
    margins = ((top, SIZE[0] - rows - top), (left, SIZE[1] - columns - left), (0, 0))
    padded = np.pad(small, margins, "reflect") / 255
    return ((padded - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).transpose(2, 0, 1), (top, left, rows, columns)


def test_padding_keeps_the_ratio_and_is_no_part_of_a_prediction(tmp_path):
    dataset = Shapes(count=8, tests=0, sizes=RATIOS)
    kept = Kept()
    frame = Frame(Resizing(SIZE, keep_ratio=True))
    run = run_recipe(dataset, tmp_path, lambda: Watched(3, 3, kept), cross_entropy, frame=frame, lr=0.05)
    padded = {id: padded_by_hand(dataset.read_image(id)) for id in dataset.ids}
    rounding = 0.501 / 255 / 0.224
    assert times_seen(kept.training, {id: one[0] for id, one in padded.items()}, rounding + 1e-3)
    found = scores(run).images.set_index("id")
    for id in dataset.ids:
        levels = run.store.read(id)
        image, (top, left, rows, columns) = padded[id]
        assert levels.shape == (3, rows, columns)
        network = load(run, int(run.folds[dataset.ids.index(id)]), Watched(3, 3))
        with torch.no_grad():
            probs = network(torch.tensor(image[None], dtype=torch.float32)).softmax(1)[0].numpy()
        inside = probs[:, top : top + rows, left : left + columns]
        assert np.abs(levels - 256 * inside).max() <= 4  # levels, and the rounding of the shrunk image
        truth, predicted = dataset.read_mask(id), Rule().mask(levels, dataset.shape(id))
        assert predicted.shape == truth.shape == dataset.shape(id)
        assert found.loc[id, "accuracy"] == pytest.approx((truth == predicted).mean())


def test_a_dialect_of_the_other_order_than_the_training_csv_is_refused_before_training(tmp_path):
    data = Shapes()
    rows = [
        row
        for id in data.ids
        for row in IN_A_COLUMN.cells(id, [(k, encode(data.read_mask(id) == k, IN_A_COLUMN.order)) for k in (1, 2)])
    ]
    write(rows, tmp_path / "train.csv", IN_A_COLUMN)
    other = dataclasses.replace(IN_A_COLUMN, order="C" if IN_A_COLUMN.order == "F" else "F")
    competition = Competition(data, other, data.test_ids, train_csv=tmp_path / "train.csv")
    with pytest.raises(ValueError, match=rf"train\.csv .* with order='{IN_A_COLUMN.order}'; the dialect says"):
        run_recipe(data, tmp_path, nearest_colour, cross_entropy, submission=Submission(competition))
    assert not list(tmp_path.rglob("*.safetensors"))
