"""Finished runs blended from their folders alone, up to the CSV."""

import dataclasses
import json
import shutil
import sys

import cv2
import numpy as np
import pytest
from any_data import run_recipe
from task_runs import TASKS
from tiny import TinyDataset
from tiny_run import finished_run

from kit.cli import main
from kit.cli.blend import _lines
from kit.ledger import Ledger, place_of, view
from kit.prediction import Rule, Store, blended
from kit.prediction.chosen import chosen_on
from kit.prediction.saved_blend import SavedBlend, facts_of
from kit.runs import join_runs, read_run
from kit.runs.blend import blend_runs, cost_of, write_facts
from kit.runs.blend_pool import Mixed, moved_rule, own_shifts, pool_of
from kit.runs.blend_submit import write_blend
from kit.runs.blend_tuned import _folds_of
from kit.runs.tuning import verdict
from kit.scoring import Mix, crossfit
from kit.scoring.blend_pools import MaskPool, PixelPool, alike
from kit.submission import rle

SIZE = TinyDataset().size


def copy_of(folder, to, rng, size=None, channels=1):
    """The same run with noisy predictions, of another size."""
    other = shutil.copytree(folder, to)
    for store in (Store(path, channels) for path in [other / "oof", *other.glob("test/fold*")]):
        for path in store.folder.glob("*.png"):
            levels = np.stack([cv2.resize(one, size[::-1]) if size else one for one in store.read(path.stem)])
            store.write(path.stem, (levels + rng.normal(0, 25, levels.shape)).clip(0, 255).astype(np.uint8))
    return other


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of one data set; the second one's predictions are of another size."""
    folder, rng = tmp_path_factory.mktemp("blended"), np.random.default_rng(0)
    one = finished_run(folder / "one").folder
    return one, copy_of(one, folder / "two", rng, (18, 30))


@pytest.fixture(scope="module")
def tuned(runs):
    return blend_runs(runs, tune=True)


def cli(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["kit", *map(str, args)])
    return main()


def rows_of(csv):
    lines = csv.read_text().splitlines()[1:]
    return dict(line.split(",") for line in lines)


def test_the_counts_are_those_of_whole_masks(runs):
    joined = join_runs([read_run(folder) for folder in runs])
    pool = pool_of(joined)
    assert isinstance(pool, PixelPool)
    for mix in (Mix(((1, 3),), (9,)), Mix(((0, 1),), (0,))):
        rule = moved_rule(Rule(), mix.shifts)
        for i, id in enumerate(joined[0].ids):
            mask = rule.mask(blended([run.levels(id) for run in joined], np.array(mix.weights), SIZE, rule), SIZE)
            counts = joined[0].metric.counts(joined[0].truth(id), mask)
            np.testing.assert_array_equal(pool.counts(mix)[i], counts)
    np.testing.assert_array_equal(pool.counts(alike([1, 0], 1)), joined[0].scores.counts)


def test_the_csv_is_that_of_the_blended_test_predictions(runs, tmp_path):
    read = [read_run(folder) for folder in runs]
    mix = Mix(((3, 2),), (-20,))
    assert not [
        one for one in write_blend(read, Mixed(mix, Rule(108 / 256)), tmp_path / "b.csv") if one.severity == "error"
    ]
    rows, rule = rows_of(tmp_path / "b.csv"), Rule(108 / 256)
    assert [*rows] == [f"{id}.jpg" for id in TinyDataset().test_ids]
    for id in TinyDataset().test_ids:
        levels = [run.tests(fold).read(id) for run in read for fold in (0, 1)]
        mask = rule.mask(blended(levels, np.array([3, 3, 2, 2]), SIZE, rule), SIZE)
        np.testing.assert_array_equal(rle.decode(rows[f"{id}.jpg"], SIZE), mask)


def test_a_blend_of_one_is_the_submission_of_the_run(runs, tmp_path):
    write_blend([read_run(folder) for folder in runs], Mixed(Mix(((1, 0),), (0,)), Rule()), tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == (runs[0].parent / "tiny_one.csv").read_bytes()


def test_the_rows_are_those_of_the_sample_and_unreadable_images_are_empty(runs, tmp_path):
    unreadable = shutil.copytree(runs[0], tmp_path / "one")
    sizes = unreadable / "test/sizes.csv"
    sizes.write_text("\n".join(line for line in sizes.read_text().splitlines() if "test_03" not in line) + "\n")
    sample = tmp_path / "sample.csv"
    sample.write_text("img,rle_mask\ntest_03.jpg,\ntest_01.jpg,\n")
    write_blend([read_run(unreadable)], Mixed(Mix(((1,),), (0,)), Rule()), tmp_path / "b.csv", sample)
    rows = rows_of(tmp_path / "b.csv")
    assert [*rows] == ["test_03.jpg", "test_01.jpg"]
    assert rows["test_03.jpg"] == ""
    assert rows["test_01.jpg"]
    sample.write_text("img,rle_mask\nother.jpg,\n")
    with pytest.raises(ValueError, match=r"1 image of .*sample.csv are no test images"):
        write_blend([read_run(unreadable)], Mixed(Mix(((1,),), (0,)), Rule()), tmp_path / "b.csv", sample)


def test_the_command_writes_the_csv_and_the_facts(runs, tmp_path, capsys, monkeypatch):
    out = tmp_path / "new/blend.csv"
    assert cli(monkeypatch, "blend", *runs, "--out", out) == 0
    text = capsys.readouterr().out
    facts = json.loads(out.with_suffix(".json").read_text())
    for part in ("best run", "equal mean", "greedy", "weights and threshold", "expected score", "alone (test.json)"):
        assert part in text
    assert [one["name"] for one in facts["runs"]] == ["one", "two"]
    assert facts["runs"][0]["score"]["value"] == pytest.approx(read_run(runs[0]).scores.images["dice"].mean())
    assert facts["runs"][0]["key"] == read_run(runs[0]).key
    assert facts["csv"] == "blend.csv"
    chosen = next(one for one in facts["table"] if one["name"] == facts["chosen"]["name"])
    assert f"expected score of new groups: {facts['expected']['value']:.5f}" in text
    assert chosen["score"]["value"] == max(one["score"]["value"] for one in facts["table"])
    assert cli(monkeypatch, "blend", *runs, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**facts, "csv": str(out), "errors": []}
    [blend] = view(Ledger(place_of(runs[0])).facts())["blends"]  # written twice, and nothing new the second time
    assert (blend["csv"], blend["members"]) == ("blend.csv", pytest.approx(facts["chosen"]["weights"]))
    assert blend["expected"]["value"] == pytest.approx(facts["expected"]["value"])


def test_a_budget_in_seconds_and_as_a_factor(runs, tmp_path, capsys, monkeypatch):
    cost = json.loads((runs[0] / "test.json").read_text())["seconds"]
    for budget in ("1.5x", f"{1.5 * cost:.4f}"):
        assert cli(monkeypatch, "blend", *runs, "--out", tmp_path / "b.csv", "--budget", budget, "--json") == 0
        facts = json.loads(capsys.readouterr().out)
        assert len(facts["chosen"]["weights"]) == 1
        assert not next(one for one in facts["table"] if one["name"] == "equal mean")["within_budget"]
    assert cli(monkeypatch, "blend", *runs, "--budget", "much") == 1
    assert "--budget is a number of seconds" in capsys.readouterr().out


def test_the_cost_is_of_all_networks_of_a_run(runs, tmp_path):
    folder = shutil.copytree(runs[0], tmp_path / "one")
    for facts, seconds, source in (
        ({"seconds": 10, "images": 5, "networks": 1}, 20.0, "test.json"),
        ({"seconds": 10, "images": 5, "networks": 2}, 10.0, "test.json"),
        ({"seconds": 10, "images": 5}, 10.0, "test.json, which does not say of how many networks"),
    ):
        (folder / "test.json").write_text(json.dumps(facts))
        cost = cost_of(read_run(folder))
        assert (cost.seconds, cost.images, cost.source) == (seconds, 5, source)


def test_a_single_fold_and_a_score_that_is_none_are_said(runs, tmp_path, capsys, monkeypatch):
    folders = [shutil.copytree(folder, tmp_path / folder.name) for folder in runs]
    for folder in folders:
        shutil.rmtree(folder / "fold1")
    assert cli(monkeypatch, "blend", *folders, "--out", tmp_path / "b.csv") == 0
    text, facts = capsys.readouterr().out, json.loads((tmp_path / "b.json").read_text())
    assert "made on other groups, because one fold is finished in all runs" in text
    assert "\nno interval: two groups only" in text
    assert facts["left_out"] == "parts of the groups"
    blended = blend_runs(folders)
    assert blended.caution == facts["notes"][-1]
    assert blended.caution.startswith("the expected score is that of the best run alone: with two groups the choice")
    assert f"\n{blended.caution}\n" in text
    assert not blend_runs(folders[:1]).caution  # of one run there is no choice
    nothing = blended.found.expected._replace(value=float("nan"))
    blended = dataclasses.replace(blended, found=blended.found._replace(expected=nothing))
    write_facts(tmp_path / "b.json", blended, None)
    assert json.loads((tmp_path / "b.json").read_text(), parse_constant=pytest.fail)["expected"]["value"] is None


def test_a_gain_that_cannot_be_measured_is_not_said_to_be_0(runs):
    blended = blend_runs(runs)
    chosen, parts = blended.found.candidates[1], tuple(blended.found.nested)  # the mean of both
    some, every = (
        dataclasses.replace(blended, found=blended.found._replace(chosen=chosen, unchosen=own))
        for own in (parts[:1], parts)
    )
    assert not blended.caution
    assert f"best run alone on 1 of {len(parts)} parts of the images: the choice" in some.caution
    assert "of 2 runs: its gain over the best run is not known, see below" in "\n".join(_lines(every))
    for one in (blended, some):
        assert "its gain over the best run is not known" not in "\n".join(_lines(one))


def test_without_kept_predictions_the_command_says_how_to_keep_them(runs, tmp_path, capsys, monkeypatch):
    lacking = [shutil.copytree(folder, tmp_path / folder.name) for folder in runs]
    for folder in lacking:
        shutil.rmtree(folder / "test")
    assert cli(monkeypatch, "blend", *lacking, "--out", tmp_path / "b.csv") == 1
    text = capsys.readouterr().out
    assert "has not kept the test predictions of folds 0, 1 of its networks. Run its recipe again" in text
    assert not (tmp_path / "b.csv").exists()
    assert json.loads((tmp_path / "b.json").read_text())["csv"] is None


def test_what_cannot_be_blended_is_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="each run is given once, by a name of its own; got one, one"):
        blend_runs([runs[0], runs[0]])
    other = shutil.copytree(runs[1], tmp_path / "other")
    path = other / "predictor.json"
    path.write_text(path.read_text().replace('"min_area": 0', '"min_area": 7'))
    with pytest.raises(ValueError, match="make masks by other rules"):
        blend_runs([runs[0], other])
    (other / "fold0/oof.csv").write_text((other / "fold0/oof.csv").read_text().replace("car0_01,car0", "car0_01,car7"))
    with pytest.raises(ValueError, match="cannot be joined: another group of 1 image"):
        blend_runs([runs[0], other])


def test_runs_alone_are_scored_at_their_own_thresholds(runs, tmp_path):
    one = finished_run(tmp_path / "low", rule=Rule(0.3)).folder
    joined = join_runs([read_run(runs[0]), read_run(one)])
    np.testing.assert_array_equal(own_shifts(joined), [[128 - 103], [77 - 103]])  # 103: the mean of both
    blended = blend_runs([runs[0], one])
    assert [run.name for run in blended.joined] == ["low", "one"]
    for run, alone in zip(blended.joined, blended.found.runs, strict=True):
        assert alone.value == pytest.approx(run.metric.score(run.scores.counts.sum(axis=0)))


@pytest.mark.slow
def test_the_table_does_not_depend_on_the_order_of_the_runs(runs, tmp_path):
    low, rng = finished_run(tmp_path / "low", rule=Rule(0.3)).folder, np.random.default_rng(3)
    three = [runs[0], copy_of(low, tmp_path / "noisy", rng), runs[1]]
    tables = []
    for order in (three, three[::-1], [three[1], three[0], three[2]]):
        facts = blend_runs(order).facts()
        tables.append([[one["name"], one["score"], one["weights"], one["threshold"]] for one in facts["table"]])
        tables[-1] += [facts["expected"], facts["gain_over_best_run"]]
    assert tables[0] == tables[1] == tables[2]


def test_runs_that_leave_too_many_pixels_undecided_are_refused(runs, monkeypatch):
    monkeypatch.setattr("kit.runs.blend_pool.TRIED", 4)
    monkeypatch.setattr("kit.runs.blend_pool.MOST_MEMORY", 1000)
    with pytest.raises(ValueError, match=r"would take 0.0 GB of memory.*one \d+.\d%, .*two \d+.\d%. Leave out a run"):
        blend_runs(runs)


def test_a_search_by_whole_masks_that_would_take_too_long_is_refused(runs, tmp_path, monkeypatch):
    own = [shutil.copytree(folder, tmp_path / folder.name) for folder in runs]
    for folder in own:
        path = folder / "predictor.json"
        path.write_text(path.read_text().replace('"min_area": 0', '"min_area": 7'))
    assert isinstance(pool_of(join_runs([read_run(folder) for folder in own])), MaskPool)
    monkeypatch.setattr("kit.runs.blend_pool.LONGEST", 0.01)
    with pytest.raises(ValueError, match="needs the whole mask of every image of every blend that is tried: about 0 h"):
        blend_runs(own)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_task(task, tmp_path):
    """The counts of a blend are those of the masks that the same blend makes of test images."""
    dataset, network, loss = TASKS[task]
    run = run_recipe(dataset(), tmp_path / "one", network, loss)
    other = copy_of(run.folder, tmp_path / "two", np.random.default_rng(1), channels=run.channels)
    joined = join_runs([read_run(run.folder), read_run(other)])
    pool = pool_of(joined)
    assert isinstance(pool, MaskPool) == run.rule.objects
    weights = np.array([[2, 1]] * pool.layers)
    counts = pool.counts(alike([2, 1], pool.layers))
    for i, id in enumerate(joined[0].ids):
        truth, levels = joined[0].truth(id), [one.levels(id) for one in joined]
        mask = run.rule.mask(blended(levels, weights, truth.shape[:2], run.rule), truth.shape[:2])
        np.testing.assert_array_equal(counts[i], joined[0].metric.counts(truth, mask))
    result = blend_runs([run.folder, other])
    assert np.isfinite(result.found.chosen.score)
    facts = json.loads(json.dumps(result.facts()))
    assert facts["chosen"] == {"name": result.found.chosen.name, **json.loads(json.dumps(result.mix_facts(result.mix)))}
    if run.rule.separate:
        first, *others = run.dataset.classes
        own = result.mix_facts(Mix(((1, 0), *[(1, 3)] * len(others)), (3, *[0] * len(others))))
        assert own["weights"][first] == {result.runs[0].name: 1}
        assert own["weights"][others[0]] == {result.runs[0].name: 0.25, result.runs[1].name: 0.75}
        assert own["threshold"][:2] == (131 / 256, 0.5)
    elif not run.rule.objects:
        assert facts["chosen"]["threshold"] is None


def test_a_tuned_rule_of_a_run_takes_no_part_and_is_named(runs, tmp_path):
    tuned = shutil.copytree(runs[0], tmp_path / "tuned")
    facts = {"format": 1, "rule": {"threshold": 0.3}, "used": True, "why": "", "key": chosen_on(tuned, [0, 1])}
    (tuned / "rule.json").write_text(json.dumps(facts))
    blended = blend_runs([tuned, runs[1]])
    assert blended.rule == read_run(runs[0]).rule
    [note] = blended.facts()["notes"]
    assert note.startswith(f"{tuned / 'rule.json'} is not applied")
    assert blend_runs(runs[:2]).notes == []


def test_the_rule_of_a_blend_is_tuned_on_its_own_levels_and_predicts(runs, tuned, tmp_path, capsys, monkeypatch):
    found, joined, tuned = tuned.found, tuned.joined, tuned.tuned
    metric, counts = joined[0].metric, []
    for i, id in enumerate(joined[0].ids):  # each image by the weights and the rule chosen without it, mask by mask
        part = int(found.parts[i])
        mix, rule = found.nested[part], tuned.found.picks[part]
        levels = [run.levels(id) for run in joined]
        counts.append(
            metric.counts(joined[0].truth(id), rule.mask(blended(levels, np.array(mix.weights), SIZE, rule), SIZE))
        )
    assert tuned.found.score == pytest.approx(float(metric.score(np.sum(counts, axis=0))), abs=1e-12)
    assert tuned.found.default_score == pytest.approx(found.expected.value, abs=1e-12)
    assert tuned.found.best != tuned.found.default  # noise leaves specks: an area gains
    out = tmp_path / "b.csv"
    assert cli(monkeypatch, "blend", *runs, "--out", out, "--tune") == 0
    text, facts = capsys.readouterr().out, json.loads(out.with_suffix(".json").read_text())
    assert tuned.why in text
    used = Rule(**facts["chosen"]["rule"])
    assert used == (tuned.found.best if tuned.used else tuned.found.default)
    assert facts["expected"]["value"] == pytest.approx(tuned.found.score if tuned.used else found.expected.value)
    rows, weights = rows_of(out), np.repeat(facts["chosen"]["whole_weights"][0], 2)
    for id in TinyDataset().test_ids:
        levels = [run.tests(fold).read(id) for run in map(read_run, sorted(runs)) for fold in (0, 1)]
        mask = used.mask(blended(levels, weights, SIZE, used), SIZE)
        np.testing.assert_array_equal(rle.decode(rows[f"{id}.jpg"], SIZE), mask)


@pytest.mark.parametrize("used", [False, True])
def test_the_gain_over_the_best_run_is_that_of_the_expected_score(tuned, used):
    one = dataclasses.replace(tuned, tuned=dataclasses.replace(tuned.tuned, used=used))
    facts, best_run = one.facts(), one.found.candidates[0].score
    gain, expected = facts["gain_over_best_run"], facts["expected"]["value"]
    assert expected == pytest.approx(tuned.tuned.found.score if used else tuned.found.expected.value)
    assert gain["value"] == pytest.approx(expected - best_run)
    assert gain["low"] < gain["value"] < gain["high"]
    [line] = [line for line in _lines(one) if "over the best run" in line]
    assert f"{' by its own rule:' if used else 'runs:'} {gain['value']:+.5f} (" in line


def test_parts_of_a_tuned_blend_are_named_by_their_folds_where_they_are_folds(tuned):
    facts = tuned.facts()["tuned"]  # of two folds: the parts are groups of both
    assert (facts["left_out"], sorted(facts["picks"])) == ("parts", [str(part) for part in sorted(tuned.found.nested)])
    folds = dataclasses.replace(tuned.tuned, folds={part: 10 + part for part in tuned.found.nested}).facts
    assert (folds["left_out"], sorted(folds["picks"])) == ("folds", [str(10 + part) for part in tuned.found.nested])
    assert _folds_of(np.array([0, 0, 1, 2]), np.array([3, 3, 5, 4])) == {0: 3, 1: 5, 2: 4}
    for parts, fold_of in [([0, 1], [0, 0]), ([0, 0, 1], [0, 1, 2]), ([0, 1, 0, 1], [0, 0, 1, 1])]:
        assert _folds_of(np.array(parts), np.array(fold_of)) == {}
    gains = crossfit(np.array([[[1.0, 2]] * 6, [[2.0, 2]] * 6]), [0, 0, 1, 1, 2, 2], range(6), lambda s: s[..., 0] / 12)
    assert "3 of 3 parts agree" in verdict(gains, True, 3, "part")[1]
    few = crossfit(np.array([[[1.0, 2]] * 6, [[2.0, 2]] * 6]), [0, 0, 1, 1, 2, 2], [0, 1] * 3, lambda s: s[..., 0] / 12)
    assert "has no lower bound (two groups only, an interval needs three)." in verdict(few, True, 3)[1]


def test_a_choice_for_a_part_looks_at_no_image_of_it(runs, tuned, tmp_path):
    """Other predictions of a part's images change neither the weights nor the rule that are scored on it."""
    before = tuned
    others, part = [shutil.copytree(folder, tmp_path / folder.name) for folder in runs], int(before.found.parts[0])
    ids, rng = np.array(before.joined[0].ids)[before.found.parts == part], np.random.default_rng(7)
    for store in (Store(folder / "oof", 1) for folder in others):
        for id in ids:
            store.write(id, rng.permutation(store.read(id).reshape(-1)).reshape(store.read(id).shape))
    after = blend_runs(others, tune=True)
    assert after.found.nested[part] == before.found.nested[part]
    assert after.tuned.found.picks[part] == before.tuned.found.picks[part]
    assert after.tuned.found.picks != before.tuned.found.picks  # the other parts' rules are chosen on these images
    assert abs(after.tuned.found.score - before.tuned.found.score) > 0.01


def test_the_areas_of_a_tuned_rule_are_of_the_images_own_size(runs, tmp_path):
    """A CSV of another size has them scaled, as a run's own tuned rule does."""
    half, rule = (SIZE[0] // 2, SIZE[1] // 2), Rule(min_area=600)
    read = [read_run(folder) for folder in runs]
    small = dataclasses.replace(read[0].dialect, size=half)
    read = [dataclasses.replace(run, saved=dataclasses.replace(run.saved, dialect=small)) for run in read]
    scaled, found = rule.scaled(half[0] * half[1] / (SIZE[0] * SIZE[1])), {}
    for tuned, own in ((True, scaled), (False, rule)):
        write_blend(read, Mixed(Mix(((1, 2),), (0,)), rule, tuned), tmp_path / "b.csv")
        found[tuned] = rows_of(tmp_path / "b.csv")
        for id in TinyDataset().test_ids:
            levels = [run.tests(fold).read(id) for run in read for fold in (0, 1)]
            mask = own.mask(blended(levels, np.array([1, 1, 2, 2]), half, own), half)
            np.testing.assert_array_equal(rle.decode(found[tuned][f"{id}.jpg"], half), mask)
    assert found[True] != found[False]
    saved = {"format": 1, "runs": [], "chosen": {"whole_weights": [[1]], "rule": rule.facts, "tuned": True}}
    blend = SavedBlend(tmp_path, (), (read[0].saved,), rule, saved)
    assert blend.saved.tuned
    assert facts_of(blend)["chosen"]["tuned"] is True
    assert "tuned" not in facts_of(dataclasses.replace(blend, facts={"chosen": {}}))["chosen"]
