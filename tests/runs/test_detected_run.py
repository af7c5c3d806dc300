"""A run whose network finds objects itself: OOF, report, CSV, tuning, blending, and prediction by its folder alone."""

import csv
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from any_data import Config, opened, run_recipe
from finders import FindBright
from tasks_data import Objects
from tiny import tiny_network

from kit.bundle.export import export
from kit.data import Resizing, foreground_target
from kit.losses import bce_dice
from kit.prediction import TTA, VIEWS, Frame, Predictor, Rule, Store
from kit.prediction.object_levels import joined, object_levels
from kit.runs import Submission, load, oof_masks, pseudo_samples, read_run, scores
from kit.runs.blend_pool import Mixed, common_rule, pool_of
from kit.runs.blend_submit import write_blend
from kit.runs.check import check_network, check_tests
from kit.runs.doctor import doctor
from kit.runs.oof import predictor
from kit.runs.predict import Request, predict
from kit.runs.tuning import tune_run
from kit.runs.view_stores import predict_views, view_sets
from kit.scoring import InstancePrecision, Mix, instance_precision
from kit.submission import Competition, Dialect, lint, rle

FOUND = Rule(objects=True, detected=True)
CELLS = Dialect(("ImageId", "EncodedPixels"), "instance", "F")


def run_in(folder, **changes):
    data = Objects()
    frame = Frame(Resizing((2 * data.shape("")[0], 2 * data.shape("")[1])))
    competition = Competition(data, CELLS, data.test_ids, InstancePrecision())
    submission = Submission(competition, folder=folder, keep_test=True, **changes)
    own = {"submission": submission, "frame": frame, "lr": 1e-4, "rule": FOUND, "target": foreground_target}
    return run_recipe(data, folder, FindBright, bce_dice, **own)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("found")
    return run_in(folder), folder


def masks_of(path, data):
    """The label image of each image in a CSV."""
    labels = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            own = labels.setdefault(row["ImageId"], np.zeros(data.shape(row["ImageId"]), np.int32))
            own[rle.decode(row["EncodedPixels"], own.shape, "F") > 0] = own.max() + 1
    return labels


def test_held_out_images_are_scored_by_their_objects(finished):
    run, _ = finished
    data, each = run.dataset, []
    for id, truth, found in oof_masks(run):
        kept = run.store.read(id)
        assert kept.shape == (3, *data.shape(id))  # at its own size, though the network sees another
        own = Predictor([load(run, int(run.folds[data.ids.index(id)]), FindBright())], run.frame, rule=FOUND)
        np.testing.assert_array_equal(own.predict(data.read_image(id)), found)
        each.append(instance_precision(truth, found))
    report = json.loads((run.folder / "report.json").read_text())
    assert report["metric"]["value"] == pytest.approx(np.mean(each))
    assert 0.5 < np.mean(each) < 1  # the squares that touch are one component
    assert scores(run).images["dice"].mean() > 0.9
    assert "The network finds objects one by one" in (run.folder / "report.html").read_text()


def test_the_csv_holds_the_joined_objects_of_both_networks(finished):
    run, folder = finished
    [path] = folder.glob("*.csv")
    competition = Competition(run.dataset, CELLS, run.dataset.test_ids)
    assert lint(path, competition) == []
    found = masks_of(path, run.dataset)
    both = predictor(run, [load(run, fold, FindBright()) for fold in (0, 1)])
    for id in run.dataset.test_ids:
        mask = both.predict(run.dataset.read_image(id))
        np.testing.assert_array_equal(found[id] > 0, mask > 0)
        assert found[id].max() == mask.max()
        alone = [predictor(run, [load(run, fold, FindBright())]) for fold in (0, 1)]
        parts = [one.predict_levels(run.dataset.read_image(id)) for one in alone]
        np.testing.assert_array_equal(mask, FOUND.mask(joined(parts), mask.shape))


def test_scores_and_areas_are_tuned_on_the_kept_objects(finished):
    """A threshold that was far too high is found too high on the other folds."""
    run = read_run(finished[0].folder)
    strict = replace(FOUND, threshold=0.995)
    counts = [run.metric.counts(run.truth(id), strict.mask(run.levels(id), run.truth(id).shape)) for id in run.ids]
    saved = replace(run.saved, rule=strict)
    wrong = replace(run, saved=saved, scores=replace(run.scores, counts=np.array(counts)))
    found = tune_run(wrong).found
    assert found.best.threshold < 0.99
    assert found.best.detected
    assert found.score > found.default_score + 0.2
    levels = run.levels(run.ids[0])
    areas = np.bincount(FOUND.mask(levels, levels.shape[1:]).ravel())[1:]
    kept = replace(FOUND, min_area=int(areas.max())).mask(levels, levels.shape[1:])
    assert kept.max() == np.count_nonzero(areas == areas.max())


def test_two_runs_are_blended_by_their_objects(finished, tmp_path):
    """The second run finds the left squares badly: alone it is worse, and it is not chosen."""
    run, _ = finished
    other = shutil.copytree(run.folder, tmp_path / "other")
    for folder in (other / "oof", *other.glob("test/fold*")):
        store = Store(folder, 3, FOUND)
        for path in folder.glob("*.png"):
            levels = store.read(path.stem)
            levels[0][:, :12] //= 4
            store.write(path.stem, levels)
    runs = [read_run(folder) for folder in (run.folder, other)]
    assert common_rule(runs) == FOUND
    pool = pool_of(runs)
    counts = pool.counts(Mix(((1, 2),), (0,)))
    for id, row in zip(runs[0].ids, counts, strict=True):
        mask = FOUND.mask(joined([one.levels(id) for one in runs], (1, 2)), runs[0].truth(id).shape)
        assert row[0] == instance_precision(runs[0].truth(id), mask)
    assert write_blend(runs, Mixed(Mix(((1, 0),), (0,)), FOUND), tmp_path / "blend.csv") == []
    [path] = run.folder.parent.glob("*.csv")
    assert (tmp_path / "blend.csv").read_bytes() == path.read_bytes()
    assert write_blend(runs, Mixed(Mix(((1, 3),), (0,)), FOUND), tmp_path / "blend.csv") == []
    found = masks_of(tmp_path / "blend.csv", run.dataset)
    for id, labels in found.items():
        levels = [one.tests(fold).read(id) for one in runs for fold in (0, 1)]
        wanted = FOUND.mask(joined(levels, (1, 1, 3, 3)), labels.shape)
        np.testing.assert_array_equal(labels > 0, wanted > 0)


def write_images(folder, data, ids):
    folder.mkdir()
    for id in ids:
        cv2.imwrite(str(folder / f"{id}.png"), data.read_image(id)[..., ::-1])
    return folder


def test_other_views_are_kept_as_objects_too(finished, tmp_path):
    run = shutil.copytree(finished[0].folder, tmp_path / "mine")
    data = finished[0].dataset
    [folder] = predict_views(
        read_run(run), write_images(tmp_path / "images", data, data.ids), view_sets(["flips"]), "cpu"
    )
    store = Store(folder, 3, FOUND)
    for id in data.ids:
        network = load(finished[0], int(finished[0].folds[data.ids.index(id)]), FindBright())
        own = Predictor([network], finished[0].frame, TTA(VIEWS["flips"]), FOUND, finished[0].dtype)
        np.testing.assert_array_equal(store.read(id), own.predict_levels(data.read_image(id)))


def test_the_folder_alone_predicts(finished, tmp_path):
    run, _ = finished
    images = write_images(tmp_path / "images", run.dataset, run.dataset.test_ids)
    out = tmp_path / "out.csv"
    predict(Request(run.folder, images, out, devices=("cpu",)))
    [path] = finished[1].glob("*.csv")
    assert out.read_bytes() == path.read_bytes()
    loaded = Predictor.load(run.folder, device="cpu")
    assert loaded.rule == FOUND


def test_what_does_not_fit_objects_is_said(finished, tmp_path):
    run, _ = finished
    with pytest.raises(
        ValueError, match=r"returns \(1, 1, 128, 192\)|returns \(1, 1, .*expected a list with a Detections"
    ):
        check_network(run, tiny_network())
    pixels = opened(Config(tmp_path / "pixels"), Objects())
    with pytest.raises(ValueError, match=r"returns list, expected logits .* rule=Rule\(objects=True, detected=True\)"):
        check_network(pixels, FindBright())
    sized = Competition(run.dataset, replace(CELLS, size=(10, 10)), run.dataset.test_ids)
    with pytest.raises(ValueError, match=r"leave `size` out of the dialect"):
        check_tests(run, sized)
    with pytest.raises(ValueError, match="finds objects; ONNX files are of networks that give a map of logits"):
        export(run.folder, 0, tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="pseudo-labels are probabilities of pixels"):
        pseudo_samples(run, 0, [run.folder], sized)


def test_an_object_that_was_not_found_does_not_make_its_label_doubtful(finished, tmp_path):
    run, _ = finished
    copied = read_run(shutil.copytree(run.folder, tmp_path / "copied"))
    store, [lost, more, *_] = Store(copied.folder / "oof", 3, FOUND), copied.ids
    store.write(lost, np.zeros_like(store.read(lost)))
    rows, columns = np.nonzero(copied.truth(more) == 0)
    top, left = next(
        (y, x)
        for y, x in zip(rows, columns, strict=True)
        if not (square := copied.truth(more)[y : y + 12, x : x + 12]).any() and square.size == 144
    )
    labels = np.zeros(copied.truth(more).shape, np.int32)
    labels[top : top + 12, left : left + 12] = 1
    store.write(more, object_levels(labels, np.array([0.97])))
    found = [doubt for doubt in doctor(copied) if doubt.kind != "image"]
    assert [(doubt.id, doubt.kind, doubt.predicted) for doubt in found] == [(more, "missing", run.dataset.classes[1])]
    assert found[0].box == (top, left, 12, 12)
