import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score
from tiny import TinyDataset
from torch.nn import functional as F

from kit.prediction import Rule
from kit.prediction.enlarge import enlarge
from kit.prediction.store import Store
from kit.scoring import MeanDice, MeanDicePerClass, PrecisionOverThresholds, band_histogram
from kit.scoring.counts import COLUMNS, Scores, read_oof_csv, score
from kit.scoring.outline_scores import outline_scores


class Fixed(TinyDataset):
    """A data set with the truths that a test gives."""

    def __init__(self, truths, num_classes=2):
        super().__init__()
        self.ids, self.truths, self.num_classes = list(truths), truths, num_classes

    def read_mask(self, id):
        return self.truths[id]


def smooth_levels(seed, channels=1, size=(23, 31)):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, channels, 5, 6)))
    return (F.interpolate(coarse, size=size, mode="bicubic")[0].clamp(0, 0.999).numpy() * 256).astype(np.uint8)


def scored(truths, predictions, tmp_path, num_classes=2, metric=None):
    store = Store(tmp_path / "oof", channels=next(iter(predictions.values())).shape[0])
    for id, levels in predictions.items():
        store.write(id, levels)
    return score(Fixed(truths, num_classes), store, list(truths), ["g"] * len(truths), fold=2, metric=metric)


def test_scores_are_scikit_learns_at_the_images_own_size(tmp_path):
    competition = TinyDataset(size=(97, 131))
    truths = {id: competition.read_mask(id) for id in competition.ids[:4]}
    truths["car1_01"] = truths["car1_01"].copy()
    truths["car1_01"][:30] = 255
    predictions = {id: smooth_levels(number) for number, id in enumerate(truths)}
    found = scored(truths, predictions, tmp_path)
    for row, id, matrix, levels in zip(found.images.itertuples(), truths, found.matrices, found.levels, strict=True):
        probs = torch.from_numpy((predictions[id].astype(float) + 0.5) / 256)[None]
        enlarged = F.interpolate(probs, size=(97, 131), mode="bilinear", align_corners=False)[0, 0].numpy()
        valid = truths[id] != 255
        truth, predicted = truths[id][valid], enlarged[valid] >= 0.5
        assert (row.id, row.group, row.fold) == (id, "g", 2)
        assert row.iou == pytest.approx(jaccard_score(truth, predicted), abs=1e-9)
        assert row.dice == pytest.approx(f1_score(truth, predicted), abs=1e-9)
        assert row.accuracy == pytest.approx(accuracy_score(truth, predicted), abs=1e-9)
        assert row.area == pytest.approx(truth.mean())
        assert matrix.sum() == levels.sum() == valid.sum()
        for threshold in (32, 100, 200):
            sure = enlarged[valid] >= threshold / 256
            assert levels[1, threshold:].sum() == np.sum((truth == 1) & sure)
            assert levels[0, threshold:].sum() == np.sum((truth == 0) & sure)


def test_scores_of_several_classes_are_the_mean_over_those_that_are_there(tmp_path):
    truth = np.random.default_rng(0).integers(0, 2, (23, 31)).astype(np.uint8)  # class 2 is in no truth
    truth[:3] = 255
    levels = smooth_levels(1, 3)
    found = scored({"a": truth, "void": np.full((23, 31), 255, np.uint8)}, {"a": levels, "void": levels}, tmp_path, 3)
    valid = truth != 255
    true, predicted = truth[valid], levels.argmax(axis=0)[valid]
    row = found.images.iloc[0]
    present = np.union1d(true, predicted)
    assert row.iou == pytest.approx(jaccard_score(true, predicted, labels=present, average="macro"))
    assert row.dice == pytest.approx(f1_score(true, predicted, labels=present, average="macro"))
    assert row.accuracy == pytest.approx(accuracy_score(true, predicted))
    assert found.levels is None
    assert found.images.iloc[1][["iou", "dice", "accuracy"]].isna().all()  # nothing to score
    found.write(tmp_path)
    pd.testing.assert_frame_equal(Scores.read(tmp_path).images, found.images)
    assert Scores.read(tmp_path).levels is None


def test_nothing_to_find_and_nothing_found_scores_one(tmp_path):
    nothing, full = np.zeros((40, 50), np.uint8), np.full((1, 20, 25), 255, np.uint8)
    truths = {"right": nothing, "wrong": nothing, "void": nothing + 255}
    found = scored(truths, {"right": 0 * full, "wrong": full, "void": full}, tmp_path).images.set_index("id")
    assert found.loc["right", ["iou", "dice", "accuracy", "area"]].tolist() == [1, 1, 1, 0]
    assert found.loc["wrong", ["iou", "dice", "accuracy", "area"]].tolist() == [0, 0, 0, 0]
    assert found.loc["void", ["iou", "dice", "accuracy", "area"]].tolist() == [1, 1, 1, 0]


def some_scores(ids, fold):
    rng = np.random.default_rng(fold)
    rows = [[id, id[:2], fold, *rng.random(4)] for id in ids]
    matrices, levels = rng.integers(0, 10**12, (len(ids), 2, 2)), rng.integers(0, 10**12, (len(ids), 2, 256))
    return Scores(pd.DataFrame(rows, columns=COLUMNS), matrices, levels)


def test_scores_come_back_to_the_last_bit(tmp_path):
    ids = ["NA", "null", "000123", "1e5", "a,b", 'say "x"', "été", " blank ", "None", "-1"]
    scores = some_scores(ids, fold=1)
    scores.write(tmp_path)
    found = Scores.read(tmp_path)
    assert found.images["id"].tolist() == ids
    pd.testing.assert_frame_equal(found.images, scores.images, check_exact=True)
    np.testing.assert_array_equal(found.matrices, scores.matrices)
    np.testing.assert_array_equal(found.levels, scores.levels)
    found.write(tmp_path / "again")
    assert (tmp_path / "again/oof.csv").read_bytes() == (tmp_path / "oof.csv").read_bytes()
    assert read_oof_csv(tmp_path / "oof.csv")["group"].tolist() == [id[:2] for id in ids]


def test_outlines_band_and_confidence_are_kept_and_read_back(tmp_path):
    random = np.random.default_rng(5)
    for channels in (1, 3):
        classes = max(2, channels)
        truths = {id: np.kron(random.integers(classes, size=(5, 5)), np.ones((8, 10))).astype(np.uint8) for id in "ab"}
        levels = {id: smooth_levels(number, channels) for number, id in enumerate(truths)}
        folder = tmp_path / str(channels)
        folder.mkdir()
        scored(truths, levels, folder, classes).write(folder)
        found = Scores.read(folder)
        for row, (id, truth) in enumerate(truths.items()):
            mask = Rule().mask(levels[id], truth.shape)
            np.testing.assert_array_equal(found.outlines[row], outline_scores(truth, mask, classes))
            if channels == 1:
                np.testing.assert_array_equal(
                    found.band[row], band_histogram(truth, enlarge(levels[id][0], truth.shape))
                )
            else:
                assert found.confidence[row, 0, 1].sum() == (truth == mask).sum()
                assert found.confidence[row, 0].sum() == truth.size > found.confidence[row, 1].sum() > 0
        assert (found.band is None, found.confidence is None) == (channels > 1, channels == 1)


def test_folds_join_row_by_row():
    first, second = some_scores(["a_1", "a_2"], 0), some_scores(["b_1"], 1)
    both = Scores.join([first, second])
    assert both.images["id"].tolist() == ["a_1", "a_2", "b_1"]
    assert both.images.index.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(both.matrices[2], second.matrices[0])
    np.testing.assert_array_equal(both.levels[:2], first.levels)


@pytest.mark.parametrize(("channels", "metric"), [(1, PrecisionOverThresholds()), (3, MeanDicePerClass(3))])
def test_the_counts_of_a_metric_are_kept_and_read_back(tmp_path, channels, metric):
    random = np.random.default_rng(0)
    num_classes = max(2, channels)
    truths = {id: random.integers(0, num_classes, (40, 50)).astype(np.uint8) for id in "abc"}
    predictions = {id: smooth_levels(number, channels) for number, id in enumerate(truths)}
    found = scored(truths, predictions, tmp_path, num_classes, metric)
    for id, counts in zip(truths, found.counts, strict=True):
        np.testing.assert_array_equal(counts, metric.counts(truths[id], Rule().mask(predictions[id], (40, 50))))
    found.write(tmp_path)
    np.testing.assert_array_equal(Scores.read(tmp_path).counts, found.counts)
    assert Scores.join([found, found]).counts.shape == (6, 2)
    without = scored(truths, predictions, tmp_path, num_classes)
    assert without.counts is None
    assert Scores.join([found, without]).counts is None


def test_a_metric_whose_counts_do_not_fit_names_the_image(tmp_path):
    class Length:
        name, ratio = "length", False

        def counts(self, truth, prediction):
            return truth[: 1 + truth[0, 0]].sum(axis=1)

        def score(self, sums):
            return sums[..., 0]

    truths = {"first": np.zeros((4, 5), np.uint8), "second": np.ones((4, 5), np.uint8)}
    predictions = {id: smooth_levels(0) for id in truths}
    with pytest.raises(ValueError, match=r"metric length: the counts of second have shape \(2,\)"):
        scored(truths, predictions, tmp_path, metric=Length())


class InMemory(dict):
    """A store of predictions without files."""

    channels, rule = 1, Rule()
    read = dict.__getitem__


def test_ids_with_folders_in_them_are_scored_and_kept(tmp_path):
    ids = ["case1/day0/slice_1", "case1/day2/slice_1", "case2/day0/slice_1"]
    truths = {id: np.zeros((23, 31), np.uint8) for id in ids}
    store = InMemory((id, smooth_levels(number)) for number, id in enumerate(ids))
    groups = [id.split("/")[0] for id in ids]
    score(Fixed(truths), store, ids, groups, fold=0).write(tmp_path)
    images = Scores.read(tmp_path).images
    assert images["id"].tolist() == ids
    assert images["group"].tolist() == ["case1", "case1", "case2"]


@pytest.mark.parametrize("rule", [Rule(0.4), Rule(0.6, min_area=60), Rule(0.45, objects=True, min_area=60)], ids=str)
def test_the_rule_of_a_store_decides_what_is_scored(rule, tmp_path):
    truths = {id: TinyDataset(size=(97, 131)).read_mask(id) for id in ("car1_01", "car1_02")}
    store = Store(tmp_path / "oof", 1, rule)
    for number, id in enumerate(truths):
        store.write(id, smooth_levels(number))
    found = score(Fixed(truths), store, list(truths), ["g", "g"], fold=0, metric=MeanDice())
    for row, id, matrix, counts in zip(found.images.itertuples(), truths, found.matrices, found.counts, strict=True):
        predicted = rule.mask(store.read(id), truths[id].shape) > 0
        assert row.dice == pytest.approx(f1_score(truths[id].ravel(), predicted.ravel()))
        assert counts[0] == pytest.approx(row.dice)
        assert matrix[1, 1] == np.sum(predicted & (truths[id] == 1))
        assert (predicted != (enlarged_half(store, id, truths[id].shape) >= 127.5)).any()


def enlarged_half(store, id, size):
    """The level of each pixel, f64 (H, W), bilinear."""
    maps = torch.from_numpy(store.read(id).astype(float))[None]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()
