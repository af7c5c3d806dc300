"""Tuning a finished run: what it finds on data with many empty masks, what its counts are, and who obeys rule.json."""

import csv
import io
import json
import shutil
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np
import pytest
from any_data import run_recipe
from salt_drawn import SIZE, bright_network, opened, salt_run, submitted
from task_runs import TASKS
from tiny_run import keep_trained

from kit.bundle.weights import copy_run
from kit.cli import main
from kit.cli.tune import rule_words
from kit.data.tasks import Task
from kit.prediction import Predictor, Rule
from kit.prediction.saved import read_ruled, read_saved
from kit.report import summary
from kit.runs import predict_oof, read_run
from kit.runs.candidates import FromMasks, FromTables, candidates
from kit.runs.predict import Request, predict
from kit.runs.tried import PARTS, Grid, alike, axes_of
from kit.runs.tuning import tune_run, write_tuned
from kit.scoring import MeanDice, PrecisionOverThresholds
from kit.submission import rle


@pytest.fixture(scope="module")
def salt(tmp_path_factory):
    """A tuned run with its CSV from before and its CSV from after."""
    run = salt_run(tmp_path_factory.mktemp("salt") / "mine")
    before = submitted(run)
    tuned = tune_run(read_run(run.folder))
    write_tuned(tuned)
    return run, tuned, before, submitted(opened(run.folder))


def masks_of(text):
    rows = csv.DictReader(io.StringIO(text))
    return {row["id"]: rle.decode(row["rle"], SIZE, order="F") for row in rows}


def test_small_false_parts_of_empty_images_are_found(salt):
    _, tuned, _, _ = salt
    found = tuned.found
    assert tuned.used, tuned.why
    assert found.default_score == pytest.approx(0.6, abs=0.05)  # four of ten images are empty and have specks
    assert found.score > 0.95
    assert found.best.min_area in (16, 32, 64) or found.best.top_area
    assert found.gain.low > 0.2
    assert set(found.picks) == {0, 1, 2, 3}


def test_the_score_of_the_rule_is_that_of_its_masks(salt):
    run, tuned, _, _ = salt
    read = read_run(run.folder)
    counts = []
    for id in read.ids:
        counts.append(read.metric.counts(read.truth(id), tuned.found.best.mask(read.levels(id), SIZE)))
    assert tuned.found.tuned == pytest.approx(read.metric.score(np.sum(counts, axis=0)))


def test_the_csv_obeys_the_rule_and_names_it(salt, capsys):
    run, tuned, before, after = salt
    network = bright_network()
    assert before != after
    plain, made = masks_of(before), masks_of(after)
    predictor = Predictor([network], run.frame, run.tta)
    empties = 0
    for id in run.dataset.test_ids:
        levels = predictor.predict_levels(run.dataset.read_image(id))
        np.testing.assert_array_equal(plain[id], Rule().mask(levels, SIZE))
        np.testing.assert_array_equal(made[id], tuned.found.best.mask(levels, SIZE))
        assert made[id].any() != run.dataset.is_empty(id)
        empties += plain[id].any() and not made[id].any()
    assert empties == 4
    assert submitted(opened(run.folder)) == after
    assert f"rule: {tuned.found.best}, tuned" in capsys.readouterr().out


def test_predict_bundle_and_predictor_obey_it_too(salt, tmp_path):
    run, tuned, _, after = salt
    assert read_saved(run.folder).rule == Rule()
    assert read_ruled(run.folder).rule == Predictor.load(run.folder, device="cpu").rule == tuned.found.best
    copy_run(run.folder, read_ruled(run.folder), [0], tmp_path / "bundle")
    assert read_ruled(tmp_path / "bundle").rule == tuned.found.best
    for id in run.dataset.test_ids:
        png = cv2.imencode(".png", run.dataset.read_image(id))[1]
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / f"images/{id}.png").write_bytes(png.tobytes())
    for folder in (run.folder, tmp_path / "bundle"):
        predict(Request(folder, tmp_path / "images", tmp_path / "out.csv", devices=("cpu",)))
        made, own = masks_of((tmp_path / "out.csv").read_text()), masks_of(after)
        assert all((made[id] != own[id]).mean() < 1e-3 and made[id].any() == own[id].any() for id in own)


def test_the_report_shows_it_and_keeps_its_own_scores(salt):
    run, tuned, _, _ = salt
    report = json.loads((run.folder / "report.json").read_text())
    assert report["metric"]["value"] == pytest.approx(tuned.found.default_score)
    shown = report["tuned"]
    assert (shown["before"]["score"], shown["tuned"]) == (tuned.found.default_score, tuned.found.tuned)
    assert (shown["cross_fitted"], shown["gap"]) == (tuned.found.score, tuned.found.optimism)
    assert shown["used"]
    page = (run.folder / "report.html").read_text()
    assert "Tuned rule" in page
    said = " ".join(summary(report).split())
    assert f"tuned {shown['tuned']:.4f}, cross-fitted {shown['cross_fitted']:.4f}, gap {shown['gap']:.4f}" in said
    assert f"{tuned.found.score:.4f}" in page


def test_other_predictions_make_it_stale(salt, tmp_path, capsys):
    run, _, before, _ = salt
    moved = tmp_path / "mine"
    shutil.copytree(run.folder, moved)
    path = moved / "fold1/finished.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"key": "another"}))
    assert read_ruled(moved).rule == Rule()
    shutil.copytree(run.folder, tmp_path / "edited/mine")
    rule = tmp_path / "edited/mine/rule.json"
    rule.write_text(json.dumps(json.loads(rule.read_text()) | {"key": "of other predictions"}))
    assert submitted(opened(tmp_path / "edited/mine")) == before
    out = capsys.readouterr().out
    assert "is not applied. It was chosen on other predictions" in out
    assert json.loads((tmp_path / "edited/mine/report.json").read_text())["tuned"]["used"] is False


@pytest.mark.slow
def test_a_further_fold_makes_it_stale(tmp_path):
    run = salt_run(tmp_path / "mine", planned=[0, 1, 2])
    submitted(run, fold=2)
    tuned = tune_run(read_run(run.folder))
    assert tuned.used
    write_tuned(tuned)
    assert read_ruled(run.folder).rule == tuned.found.best
    keep_trained(run, 3, bright_network())
    predict_oof(run, 3, bright_network, PrecisionOverThresholds())
    assert read_ruled(run.folder).rule == Rule()


def test_a_damaged_file_is_named(salt, tmp_path):
    shutil.copytree(salt[0].folder, tmp_path / "mine")
    (tmp_path / "mine/rule.json").write_text("{")
    with pytest.raises(ValueError, match=r"rule.json cannot be read .* Delete it, and tune the run again"):
        read_ruled(tmp_path / "mine")


@pytest.mark.slow
def test_areas_are_scaled_where_the_csv_has_another_size(salt, tmp_path):
    run, tuned, _, _ = salt
    shutil.copytree(run.folder, tmp_path / "mine")
    text = submitted(opened(tmp_path / "mine"), size=(24, 32))
    rows = {row["id"]: row["rle"] for row in csv.DictReader(io.StringIO(text))}
    predictor = Predictor([bright_network()], run.frame, run.tta)
    for id in run.dataset.test_ids:
        levels = predictor.predict_levels(run.dataset.read_image(id))
        expected = tuned.found.best.scaled(1 / 4).mask(levels, (24, 32))
        np.testing.assert_array_equal(rle.decode(rows[id], (24, 32), order="F"), expected)
    assert Rule(min_area=(10, 40), fill_holes=8).scaled(1 / 4) == Rule(min_area=(2, 10), fill_holes=2)


@pytest.mark.parametrize(("folds", "planned"), [(4, [2])])
def test_one_fold_is_never_used(tmp_path, folds, planned):
    run = salt_run(tmp_path / "mine", folds=folds, planned=planned)
    submitted(run, fold=2)
    tuned = tune_run(read_run(run.folder))
    assert not tuned.used
    assert "one fold is finished" in tuned.why
    assert tuned.found.tuned > tuned.found.default_score
    assert tuned.facts["cross_fitted"] is tuned.facts["gap"] is tuned.facts["gain"] is None
    write_tuned(tuned)
    assert read_ruled(run.folder).rule == Rule()


@dataclass(frozen=True)
class Slow:
    """The same metric without counts from a matrix."""

    name: ClassVar[str] = "mean Dice, slowly"
    ratio: ClassVar[bool] = True

    def counts(self, truth, prediction):
        return MeanDice().counts(truth, prediction)

    def score(self, sums):
        return MeanDice().score(sums)


def test_a_metric_of_masks_alone_is_tuned_too(salt):
    run = read_run(salt[0].folder)
    scores = replace(run.scores, counts=np.stack([MeanDice().counts_of_matrix(m) for m in run.scores.matrices]))
    slow = tune_run(replace(run, metric=Slow(), scores=scores))
    assert isinstance(slow.candidates, FromMasks)
    assert slow.used
    assert slow.found.best.min_area or slow.found.best.top_area
    fast = tune_run(replace(run, metric=MeanDice(), scores=scores))
    assert isinstance(fast.candidates, FromTables)
    assert fast.candidates.looks < slow.candidates.looks
    assert fast.found.default_score == slow.found.default_score


def test_scores_of_other_masks_are_refused(salt):
    run = read_run(salt[0].folder)
    scores = replace(run.scores, counts=run.scores.counts * [0.5, 1])
    with pytest.raises(ValueError, match="do not give the scores that the run has"):
        candidates(replace(run, scores=scores))


def test_lost_truth_is_named(salt, tmp_path):
    shutil.copytree(salt[0].folder, tmp_path / "mine")
    (tmp_path / "mine/truth/salt_003.png").unlink()
    with pytest.raises(FileNotFoundError, match="lacks the true masks of 1 held-out image"):
        tune_run(read_run(tmp_path / "mine"))


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["kit", "tune", *map(str, arguments)])
    status = main()
    return status, capsys.readouterr().out


def test_the_command(salt, tmp_path, monkeypatch, capsys):
    shutil.copytree(salt[0].folder, tmp_path / "mine")
    kept = (tmp_path / "mine/rule.json").read_text()
    (tmp_path / "mine/rule.json").unlink()
    status, out = command(monkeypatch, capsys, tmp_path / "mine")
    assert status == 0
    assert "The rule is used: " in out
    assert f"cross-fitted                    {salt[1].found.score:.5f}" in out
    ours, theirs = (json.loads(text) | {"seconds": 0} for text in ((tmp_path / "mine/rule.json").read_text(), kept))
    assert ours == theirs
    status, out = command(monkeypatch, capsys, tmp_path / "mine", "--only", "keep_largest", "--json")
    assert (status, json.loads(out)) == (0, json.loads((tmp_path / "mine/rule.json").read_text()))
    assert json.loads(out)["parts"] == ["keep_largest"]
    for arguments in (["--only", "size"], ["--only", "size", "--json"]):
        status, out = command(monkeypatch, capsys, tmp_path / "mine", *arguments)
        assert status == 1
        assert "a rule has no part size to tune" in out


@pytest.fixture(
    scope="module",
    params=["multiclass", "instances", pytest.param("multilabel", marks=pytest.mark.slow)],
)
def task_run(request, tmp_path_factory):
    data, network, loss = TASKS[request.param]
    return read_run(run_recipe(data(), tmp_path_factory.mktemp(request.param), network, loss).folder)


def noisy(run, seed):
    """The run with random levels in place of its own, smooth enough for parts and holes of many sizes."""

    class Noisy(type(run)):
        def levels(self, id):
            random = np.random.default_rng([seed, *id.encode()])
            shape = super().levels(id).shape
            blurred = np.stack([cv2.GaussianBlur(random.random(shape[1:]), (0, 0), 1.1) for _ in range(shape[0])])
            return ((blurred - blurred.min()) / np.ptp(blurred) * 255).astype(np.uint8)

    return Noisy(run.folder, run.saved, run.metric, run.folds, run.scores)


def rules_of(task):
    """Rules with every part, alone and together."""
    base = [{}, {"min_area": 6}, {"fill_holes": 5}, {"keep_largest": True}, {"top": 0.6, "top_area": 150}]
    base.append({"min_area": 4, "fill_holes": 9, "top": 0.55, "top_area": 90})
    base.append({"fill_holes": 20, "keep_largest": True, "top_area": 40})
    cuts = [(0.4, 0.5, 0.6), (0.55,) * 3] if task.overlaps else [0.5] if task.outputs > 1 else [0.4, 0.5, 0.62]
    found = [Rule(cut, objects=task.has_objects, **parts) for cut in cuts for parts in base]
    count = len(task.foreground)
    return found + ([Rule(cuts[0], min_area=tuple(range(0, 9 * count, 9)))] if count > 1 else [])


def test_tables_count_as_masks_do(task_run):
    """On random levels, for every image, exactly: of all rules that the first steps try, and of rules of many parts."""
    task, pixels = task_run.task, 24 * 36
    tried = {rule for axis in axes_of(task, Grid.of(pixels, True), PARTS) for rule in axis(task_run.rule)}
    assert len(tried) > 20
    for seed in range(2):
        run = noisy(task_run, seed)
        rules = [*rules_of(task), *tried]
        fast, slow = FromTables(run), FromMasks(run)
        changed = 0
        usual = slow(rules[:1])[0]
        for rule, one, other in zip(rules, fast(rules), slow(rules), strict=True):
            np.testing.assert_array_equal(one, other, err_msg=str(rule))
            changed += not np.array_equal(other, usual)
        assert changed > len(rules) // 3
        assert fast.looks == len(run.ids)


def test_every_task_is_tuned(task_run):
    tuned = tune_run(noisy_scored(task_run))
    assert tuned.found.tuned >= tuned.found.default_score
    facts = json.loads(json.dumps(tuned.facts, allow_nan=False))
    assert Rule(**facts["rule"]) == tuned.found.best
    assert [Rule(**pick) for pick in facts["picks"].values()] == list(tuned.found.picks.values())


def noisy_scored(run):
    found = noisy(run, 0)
    counts = FromMasks(found)([found.rule])[0]
    object.__setattr__(found, "scores", replace(run.scores, counts=counts))
    return found


def test_what_is_tried():
    grid = Grid.of(40_000, fine=True)
    binary, three = Task("binary", ("a", "b")), Task("multiclass", ("a", "b", "c"))
    overlapping = Task("multilabel", ("a", "b"))
    tried = {rule for axis in axes_of(binary, grid, PARTS) for rule in axis(Rule())}
    assert {Rule(0.35), Rule(min_area=64), Rule(fill_holes=64), Rule(keep_largest=True)} <= tried
    assert Rule(top=0.8, top_area=512) in tried
    assert max(rule.min_area for rule in tried) <= 5000
    assert not any(rule.threshold != 0.5 for axis in axes_of(three, grid, PARTS) for rule in axis(Rule()))
    assert Rule(min_area=(0, 8)) in {rule for axis in axes_of(three, grid, PARTS) for rule in axis(Rule())}
    shrunk = {rule for axis in axes_of(overlapping, grid, ["per_class"]) for rule in axis(Rule((0.5, 0.5)))}
    assert Rule((0.5, 0.4)) in shrunk  # half way between 0.3 and 0.5
    slides = {rule for axis in axes_of(binary, grid, PARTS, slides=True) for rule in axis(Rule())}
    assert not any(rule.fill_holes or rule.top_area for rule in slides)
    nearest = [rule.threshold for rule in axes_of(binary, grid, ["threshold"])[0](Rule())]
    assert nearest[:4] == [0.45, 0.55, 0.4, 0.6]


def test_a_rule_in_words():
    two, three = ("background", "car"), ("background", "car", "van")
    assert rule_words(Rule(0.45, min_area=64), two) == "threshold 0.45, min_area 64"
    assert rule_words(Rule(keep_largest=True, top=0.8, top_area=128), two) == (
        "threshold 0.5, keep_largest yes, top_area 128 at 0.8"
    )
    assert rule_words(Rule(), three) == "the likeliest class"
    assert rule_words(Rule(min_area=(0, 8)), three) == "the likeliest class, min_area 0/8"
    assert rule_words(Rule((0.4, 0.6)), ("car", "van")) == "threshold 0.4/0.6"


def test_when_two_rules_are_alike():
    grid = Grid.of(40_000, fine=True)
    assert alike(Rule(0.5, min_area=64), Rule(0.45, min_area=32), grid)
    assert not alike(Rule(0.5), Rule(0.4), grid)
    assert not alike(Rule(min_area=64), Rule(min_area=16), grid)
    assert not alike(Rule(keep_largest=True), Rule(), grid)
    assert not alike(Rule(top=0.5, top_area=64), Rule(top=0.9, top_area=64), grid)
    assert alike(Rule(top=0.5, top_area=64), Rule(top=0.6, top_area=32), grid)
    assert alike(Rule(min_area=(8, 64)), Rule(min_area=(16, 64)), grid)
    assert not alike(Rule(min_area=(8, 64)), Rule(min_area=8), grid)
