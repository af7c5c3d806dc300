"""What recipes share beyond the folds' own work: official splits, stages, loaders, scores of the recipe's own."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from tiny import TinyDataset, tiny_competition, tiny_network
from tiny_run import ALONE, SIZE, finish_two_folds, new_run, train

from kit.folds.keeping import keep_folds
from kit.report.of_run import report, write_run_report
from kit.runs import Plan, load, load_stage, oof_masks, predict_oof, scores, unfinished
from kit.runs.check import check_metric, check_network, check_tests
from kit.runs.run import begin
from kit.runs.training import evaluator, train_loader
from kit.scoring import MeanDicePerClass, MeanIoU, PrecisionOverThresholds
from kit.scoring.confusion import confusion_matrix
from kit.scoring.counts import read_oof_csv


@pytest.fixture(scope="module")
def two_folds(tmp_path_factory):
    return finish_two_folds(tmp_path_factory.mktemp("two"))


def official(folder, **changes):
    """A run of one fold: the last car is held out, the others are always trained on."""
    run = new_run(folder, **changes)
    return dataclasses.replace(run, folds=np.where(np.arange(12) < 9, -1, 0))


def test_an_official_split_has_one_fold_and_says_what_is_always_trained_on(tmp_path):
    run = official(tmp_path)
    assert run.held_out(0) == run.dataset.ids[9:]
    assert run.trained_on(0) == run.dataset.ids[:9]
    assert list(unfinished(run, "all")) == [0]
    with pytest.raises(ValueError, match=r"--fold 1: there is only fold 0, the data set’s own split"):
        next(unfinished(run, 1))
    begin(run)
    train(run, 0, seed=1)
    predict_oof(run, 0, tiny_network)
    report(run)
    assert list(unfinished(run, "all")) == []
    measured = json.loads((tmp_path / "report.json").read_text())
    assert measured["images"] == 3
    assert any("9 images are in no fold and always trained on." in text for text in measured["conventions"])


def test_an_official_split_may_share_a_group_and_a_made_fold_may_not(tmp_path):
    dataset = TinyDataset()
    folds = np.where(np.arange(12) < 10, -1, 0)
    assert keep_folds(tmp_path / "official", dataset, ALONE, lambda: folds).tolist() == folds.tolist()
    run = dataclasses.replace(official(tmp_path / "run"), folds=folds)
    begin(run)
    train(run, 0, seed=1)
    predict_oof(run, 0, tiny_network)
    report(run)
    conventions = json.loads((tmp_path / "run/report.json").read_text())["conventions"]
    assert any("Groups shared with the held-out ones: car3 (1)." in text for text in conventions)
    with pytest.raises(ValueError, match="1 group in more than one fold"):
        keep_folds(tmp_path / "made", dataset, ALONE, lambda: np.where(np.arange(12) < 10, 1, 0))


def test_scores_of_the_recipes_own_hold_for_the_folds_that_they_were_taken_from(tmp_path, two_folds):
    run = new_run(shutil.copytree(two_folds, tmp_path / "run"))
    report(run, further=lambda run: {"images counted": np.float64(len(scores(run).images))})
    assert json.loads((run.folder / "report.json").read_text())["further"] == {"images counted": 12.0}
    pairs = {id: (truth, found) for id, truth, found in oof_masks(run)}
    assert sorted(pairs) == sorted(run.dataset.ids)
    for (_, row), matrix in zip(scores(run).images.iterrows(), scores(run).matrices, strict=True):
        np.testing.assert_array_equal(confusion_matrix(*pairs[row["id"]], 2), matrix)
    (run.fold_folder(1) / "finished.json").unlink()
    write_run_report(run)
    assert json.loads((run.folder / "report.json").read_text())["further"] == {}


def test_the_table_of_a_run_ends_with_the_metric_of_each_image_alone(tmp_path, two_folds):
    run, metric = new_run(shutil.copytree(two_folds, tmp_path / "run")), PrecisionOverThresholds()
    report(run, metric)
    folds = [(run.folder / f"fold{fold}/oof.csv").read_text().splitlines() for fold in (0, 1)]
    lines = (run.folder / "oof.csv").read_text().splitlines()
    assert lines[0] == f"{folds[0][0]},metric"
    assert [line.rpartition(",")[0] for line in lines[1:]] == [*folds[0][1:], *folds[1][1:]]
    table = read_oof_csv(run.folder / "oof.csv").set_index("id")["metric"]
    for id, truth, found in oof_masks(run):
        assert table[id] == metric.score(metric.counts(truth, found))
    worst = {row["id"]: row["metric"] for row in json.loads((run.folder / "report.json").read_text())["worst"]}
    assert {id: table[id] for id in worst} == worst
    assert table.nunique() > 2
    report(run)  # without a metric
    assert read_oof_csv(run.folder / "oof.csv")["metric"].isna().all()
    assert "metric" not in read_oof_csv(run.folder / "fold0/oof.csv")


def test_a_stage_takes_the_weights_of_a_finished_one_on_the_same_data(tmp_path, two_folds):
    run = new_run(tmp_path / "later")
    keep_folds(run.folder, run.dataset, ALONE, lambda: run.folds)
    expected = load(new_run(two_folds), 1, tiny_network()).state_dict()
    loaded = load_stage(run, two_folds, 1, tiny_network(seed=5)).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    with pytest.raises(FileNotFoundError, match="where fold 7 is not finished: run that first"):
        load_stage(run, two_folds, 7, tiny_network())
    other = new_run(tmp_path / "later", TinyDataset(size=(45, 62)))
    with pytest.raises(ValueError, match="may have seen the held-out images"):
        load_stage(other, two_folds, 1, tiny_network())
    (run.folder / "folds.csv").write_text((run.folder / "folds.csv").read_text().replace(",0", ",1"))
    with pytest.raises(ValueError, match="may have seen the held-out images"):
        load_stage(run, two_folds, 1, tiny_network())


def test_loaders_read_at_the_networks_size_or_at_the_images_own(tmp_path):
    for size, shape in ((SIZE, SIZE), (None, (45, 61))):
        run = new_run(tmp_path, size=size)
        plan = Plan(1, 2, schedule=lambda progress: 1.0, cache=False)
        batches, held_out = train_loader(run, 0, plan), evaluator(run, 0, plan).loader
        assert next(iter(batches)).image.shape == (2, 3, *shape)
        assert next(iter(held_out)).mask.shape == (2 if size else 1, *shape)
        assert [id for batch in held_out for id in batch.id] == run.held_out(0)
        assert {id for batch in batches for id in batch.id} <= set(run.trained_on(0))


def test_validation_holds_no_more_pixels_at_once_than_a_step_of_crops(tmp_path):
    """With crops of 24×24 the network never sees the whole image of 45×61."""
    run = new_run(tmp_path, size=(45, 61))
    run = dataclasses.replace(run, frame=dataclasses.replace(run.frame, tile=(24, 24)))
    plan, net, seen = Plan(1, 4, lambda progress: 1.0, parts=2, cache=False), tiny_network(), []
    net.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    tiled = evaluator(run, 0, plan)(net)
    assert set(seen) == {(2, 3, 24, 24)}
    whole = evaluator(new_run(tmp_path, size=(45, 61)), 0, plan)(tiny_network())
    assert tiled == pytest.approx(whole, abs=0.02)


class Rgba(TinyDataset):
    channels = ("red", "green", "blue", "alpha")


class Three(TinyDataset):
    classes = ("blue", "disc", "ring")


@pytest.mark.parametrize(
    ("dataset", "network", "said"),
    [
        (Rgba(), tiny_network(), r"does not take an image of 4 channels \(red, green, blue, alpha\)"),
        (Three(), tiny_network(), r"logits of 1 channel, the data set has 3 classes \(blue, disc, ring\): expected 3"),
        (TinyDataset(), tiny_network(3), "logits of 3 channels, the data set has 2 classes .*: expected 1 or 2"),
        (
            TinyDataset(),
            torch.nn.Conv2d(3, 1, 3, stride=2),
            r"returns \(1, 1, 11, 19\), expected logits \(N, K, 24, 40\)",
        ),
        (TinyDataset(), torch.nn.Sequential(tiny_network(), torch.nn.Flatten()), r"returns \(1, 960\)"),
    ],
)
def test_a_network_that_does_not_fit_the_data_is_refused_before_training(tmp_path, dataset, network, said):
    with pytest.raises(ValueError, match=said):
        check_network(new_run(tmp_path, dataset), network)


def test_the_check_of_the_network_leaves_no_trace(tmp_path):
    net = torch.nn.Sequential(tiny_network(4), torch.nn.BatchNorm2d(4), torch.nn.Dropout(), torch.nn.Conv2d(4, 2, 1))
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    check_network(new_run(tmp_path), net)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in net] == [True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_test_images_that_do_not_suit_the_network_are_found_before_training(tmp_path, capsys):
    class Odd(TinyDataset):
        def read_image(self, id):
            image = super().read_image(id)
            return {"test_01": image[..., :2], "test_04": image.astype(np.uint16)}.get(id, image)

    run = new_run(tmp_path)
    run.dataset.dtype = "uint8"
    tests = Odd(broken={"test_02"})  # a data set of its own
    check_tests(run, tiny_competition(tests))
    said = capsys.readouterr().out
    assert said.startswith("3 of 5 test images tried cannot be predicted:")
    for part in ("test_01: the image is (45, 61, 2)", "test_02.jpg: damaged", "test_04: the image is uint16"):
        assert part in said
    with pytest.raises(ValueError, match="none of the 2 test images that were tried can be predicted"):
        check_tests(run, tiny_competition(tests, test_ids=["test_01", "test_04"]))


class Lacking:
    name = "a score"

    def counts(self, truth, prediction):
        return np.ones(2)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (MeanDicePerClass(4), "of 4 classes, the data set has 3 classes .*: give it num_classes=3"),
        (MeanIoU(2), "of 2 classes, the data set has 3 classes .*: give it num_classes=3"),
        (MeanIoU, r"is the class MeanIoU, expected an object of it: MeanIoU\(\)"),
        (lambda truth, prediction: 1.0, "has no name, ratio, counts, score"),
        (Lacking(), "has no ratio, score"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused_before_training(tmp_path, metric, said):
    run = new_run(tmp_path, Three())
    check_metric(run, MeanDicePerClass(3))
    with pytest.raises(ValueError, match=said):
        check_metric(run, metric)
