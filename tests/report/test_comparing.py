"""Runs compared from their folders: seeds found, numbers against plain ones, sentences, and the page."""

import dataclasses
import itertools
import json
import re
import shutil

import numpy as np
import pytest
from any_data import Shapes, nearest_colour, run_recipe
from tasks_data import Overlapping
from tiny import TinyDataset, tiny_network
from tiny_run import ALONE, new_run, train

from kit.cli import main
from kit.folds.keeping import keep_folds
from kit.losses import bce_dice, cross_entropy
from kit.recipe import finish
from kit.report.comparing import _classes, compare_recipes, join_recipes
from kit.report.comparing_page import (
    FIRST,
    IGNORED_COLOUR,
    PAPER,
    SECOND,
    drawn,
    most_changed,
    painted,
    painted_alone,
    write_comparison,
)
from kit.report.comparing_text import comparison_text
from kit.report.slices import slices_of
from kit.runs import join_runs, predict_oof, read_run, recipes_of
from kit.runs.run import begin
from kit.scoring import DatasetIoU, MeanDice, compare, dice, iou

CARS = 8
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def finished(folder, seed=0, lr=0.1, order=None):
    """A run of two folds. order: the fold of each image, where it is another than usual."""
    run = new_run(folder, TinyDataset(cars=CARS), config={"fold": 0, "lr": lr, "seed": seed})
    if order is not None:
        object.__setattr__(run, "folds", order)
    keep_folds(folder, run.dataset, ALONE, lambda: run.folds)
    begin(run)
    for fold in (0, 1):
        train(run, fold, seed=10 * seed + fold + round(100 * lr))
        predict_oof(run, fold, tiny_network)
    finish(run, "all", None, tiny_network)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    return {
        f"{name}{seed}": finished(folder / f"{name}{seed}", seed, lr)
        for name, lr in (("a", 0.1), ("b", 0.3))
        for seed in (0, 1)
    }


def facts_of(folders, names, margin=0.0, find=True):
    recipes = join_recipes(recipes_of([read_run(folders[name]) for name in names], find=find))
    return compare_recipes(recipes, margin), recipes


def test_seeds_of_a_recipe_are_found(folders, tmp_path):
    runs = [read_run(folders[name]) for name in ("a0", "b0", "a1", "b1")]
    found = recipes_of(runs)
    assert {name: [run.name for run in own] for name, own in found.items()} == {"a0": ["a0", "a1"], "b0": ["b0", "b1"]}
    assert list(recipes_of(runs, find=False)) == ["a0", "b0", "a1", "b1"]
    assert list(recipes_of([runs[0], runs[2]])) == ["a0", "a1"]  # nothing else is there to compare
    other = shutil.copytree(folders["a1"], tmp_path / "a1")
    config = json.loads((other / "config.json").read_text())
    for recipe in ("another", "unknown"):
        (other / "config.json").write_text(json.dumps(config | {"recipe": recipe}))
        assert list(recipes_of([runs[0], read_run(other), runs[1]])) == ["a0", "a1", "b0"]
    twin = shutil.copytree(folders["a0"], tmp_path / "twin/a0")
    names = list(recipes_of([runs[0], read_run(twin)], find=False))
    assert len(set(names)) == 2
    assert all(name.endswith("/a0") for name in names)
    with pytest.raises(ValueError, match="a0 is given twice"):
        recipes_of([runs[0], runs[1], read_run(folders["a0"])])


def test_the_same_seed_twice_is_no_second_seed(folders, tmp_path):
    runs = [read_run(folder) for folder in (folders["a0"], shutil.copytree(folders["a0"], tmp_path / "again"))]
    found = recipes_of([*runs, read_run(folders["b0"])])
    assert list(found) == ["a0", "again", "b0"]


def test_numbers_are_those_of_the_scores(folders):
    facts, _ = facts_of(folders, ("a0", "b0"), margin=0.01)
    a, b = (read_run(folders[name]).scores.images.set_index("id") for name in ("a0", "b0"))
    b = b.loc[a.index]
    (pair,) = facts["pairs"]
    counts = [np.column_stack([one["dice"], np.ones(24)]) for one in (a, b)]
    found = compare(*counts, a["group"].tolist(), MeanDice(), margin=0.01)
    for name in ("difference", "low", "high", "p", "better", "worse", "equal", "detectable"):
        assert pair[name] == pytest.approx(getattr(found, name))
    assert pair["difference"] == pytest.approx((b["dice"] - a["dice"]).mean())
    assert (facts["images"], facts["groups"], facts["folds"], facts["sigma_seed"]) == (24, CARS, [0, 1], None)
    assert [one["score"] for one in facts["recipes"]] == pytest.approx([a["dice"].mean(), b["dice"].mean()])
    changed = facts["changed"]
    assert {row["id"] for row in changed} == set(a.index)
    effects = [row["effect"] for row in changed]
    assert effects == sorted(effects, reverse=True)
    for row in changed:
        assert row["effect"] == pytest.approx((b["dice"][row["id"]] - a["dice"][row["id"]]) / 24, abs=1e-12)
        assert (row["a"], row["b"]) == pytest.approx((a["dice"][row["id"]], b["dice"][row["id"]]))
    json.dumps(facts, allow_nan=False)


def test_slices_are_parts_of_all_images_with_their_own_difference(folders):
    facts, _ = facts_of(folders, ("a0", "b0"))
    a, b = join_runs([read_run(folders[name]) for name in ("a0", "b0")])
    found = slices_of(a.scores.images, a.scores.touches)
    for kind in ("area", "border", "fold", "group"):
        rows = np.concatenate([one.rows for one in found if one.kind == kind])
        assert sorted(rows) == list(range(24))
    for one, row in zip(found, facts["slices"], strict=True):
        d = b.scores.images["dice"].to_numpy() - a.scores.images["dice"].to_numpy()
        assert (row["kind"], row["name"], row["images"]) == (one.kind, one.name, len(one.rows))
        assert row["difference"] == pytest.approx(d[one.rows].mean())
        assert (row["low"] is None) == (row["groups"] < 3)
    areas = a.scores.images["area"].to_numpy()
    quarters = [areas[one.rows] for one in found if one.kind == "area"]
    assert [len(one) for one in quarters] == [6] * 4
    assert all(low.max() <= high.min() for low, high in itertools.pairwise(quarters))
    touching = {id for id, mask in ((id, a.truth(id)) for id in a.ids) if mask[[0, -1]].any() or mask[:, [0, -1]].any()}
    (own,) = (one for one in found if one.name == "touches the border")
    assert {a.ids[row] for row in own.rows} == touching


def test_empty_truth_is_a_slice_of_its_own_and_what_is_unknown_is_none(folders):
    images = read_run(folders["a0"]).scores.images
    areas = images["area"].to_numpy()
    images["area"] = np.where(areas > np.median(areas), areas, 0)
    found = {one.name: one.rows for one in slices_of(images, np.arange(24) % 3 == 1)}
    assert found["no foreground"].tolist() == np.flatnonzero(areas <= np.median(areas)).tolist()
    assert found["touches the border"].tolist() == list(range(1, 24, 3))
    assert "touches the border" not in {one.name for one in slices_of(images)}


def test_groups_of_one_image_are_no_slices(folders):
    scores = read_run(folders["a0"]).scores
    for groups in (scores.images["id"], "one"):
        images = scores.images.assign(group=groups)
        assert {one.kind for one in slices_of(images, scores.touches)} == {"area", "border", "fold"}


def test_seeds_speak_of_the_recipes(folders):
    facts, _ = facts_of(folders, ("a0", "a1", "b0", "b1"))
    assert facts["verdict"].endswith("; the recipes, from 2 and 2 seeds")
    assert [one["seeds"] for one in facts["recipes"]] == [[0, 1], [0, 1]]
    scores = [[read_run(folders[f"{name}{seed}"]).scores.images["dice"].mean() for seed in (0, 1)] for name in "ab"]
    assert facts["sigma_seed"] == pytest.approx({"value": np.sqrt(np.var(scores, axis=1, ddof=1).mean()), "df": 2})
    assert any("deviation of a recipe's score over its seeds" in note for note in facts["notes"])
    alone, _ = facts_of(folders, ("a0", "a1"))
    assert alone["verdict"].endswith("; these networks only")
    assert "These are seeds of one recipe" in alone["notes"][0]


def test_of_more_runs_the_best_two_are_shown_and_p_is_corrected(folders):
    facts, _ = facts_of(folders, ("a0", "b0", "b1"), find=False)
    assert len(facts["pairs"]) == 3
    order = sorted(facts["recipes"], key=lambda one: one["score"])
    assert facts["shown"] == {"a": order[1]["name"], "b": order[2]["name"]}
    assert "(the best two of 3)" in facts["verdict"]
    assert "p is corrected for 3 pairs (Holm)." in facts["notes"]
    assert all(pair["holm"] >= pair["p"] for pair in facts["pairs"])


@pytest.mark.slow
def test_other_folds_are_compared_image_by_image_with_a_note(folders, tmp_path):
    order = np.arange(24) // 3 % 2
    order = np.where(np.arange(24) < 12, order, 1 - order)
    other = read_run(finished(tmp_path / "turned", seed=1, order=order))
    first = read_run(folders["a0"])
    with pytest.raises(ValueError, match="another fold of 12 images"):
        join_runs([first, other])
    recipes = join_recipes(recipes_of([first, other]))
    facts = compare_recipes(recipes)
    assert any("split into other folds" in note for note in facts["notes"])
    dice_of = dict(zip(other.ids, other.scores.images["dice"], strict=True))
    for row in facts["changed"]:
        assert row["b"] == pytest.approx(dice_of[row["id"]])
    half = first.of_folds([0])
    joined = join_runs([half, other], same_folds=False)
    assert [run.ids for run in joined] == [half.ids] * 2
    with pytest.raises(ValueError, match="no image is held out in all of the runs"):
        join_runs(
            [half, other.of_rows([row for row, id in enumerate(other.ids) if id not in half.ids])], same_folds=False
        )


def changed_scores(run, matrices, folder):
    """The same run in another folder with other confusion matrices."""
    counts = np.stack([run.metric.counts_of_matrix(one) for one in matrices])
    scores = dataclasses.replace(run.scores, matrices=matrices, counts=counts)
    return dataclasses.replace(run, scores=scores, folder=shutil.copytree(run.folder, folder))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "network", "loss"),
    [(Shapes(), nearest_colour, cross_entropy), (Overlapping(3), lambda: tiny_network(3), bce_dice)],
    ids=["multiclass", "multilabel"],
)
def test_classes_are_slices(dataset, network, loss, tmp_path):
    run = read_run(run_recipe(dataset, tmp_path, network, loss).folder)
    matrices = run.scores.matrices.copy()
    matrices[..., -1, 0] += 40  # misses of the last class, or of each class that may overlap
    other = changed_scores(run, matrices, tmp_path / "other")
    recipes = join_recipes(recipes_of([run, other]))
    facts = compare_recipes(recipes)
    rows = [row for row in facts["slices"] if row["kind"] == "class"]
    skipped = run.saved.classes[0] == "background"
    assert [row["name"] for row in rows] == list(run.saved.classes[skipped:])
    for name in ("a", "b"):
        total = {"a": run, "b": other}[name].scores.matrices.sum(axis=0)
        expected = dice(total)[..., 1] if run.task.overlaps else dice(total)[int(skipped) :]
        assert [row[name] for row in rows] == pytest.approx(list(expected))
    assert rows[-1]["difference"] < 0
    assert {row["score"] for row in rows} == {"Dice over all pixels"}
    run_of_iou = dataclasses.replace(run, metric=DatasetIoU())
    rows = _classes(run_of_iou, list(recipes.values()), np.array(run.groups, object))
    assert {row["score"] for row in rows} == {"IoU over all pixels"}
    expected = iou(run.scores.matrices.sum(axis=0))
    assert [row["a"] for row in rows] == pytest.approx(
        list(expected[..., 1] if run.task.overlaps else expected[skipped:])
    )
    found = drawn(run, run, run.ids[0], ("one", "two"))
    for what, both in found["pairs"].items():
        assert all(one.startswith("data:image/jpeg;base64,") for one in (found["drawings"][what], *both.values()))
        assert ("class" in what) == run.task.overlaps


def test_errors_are_painted_in_the_colour_of_the_run_that_makes_them():
    truth = np.array([[0, 1, 1, 1, 255]], np.uint8)
    first = np.array([[0, 1, 0, 0, 1]], np.uint8)
    second = np.array([[1, 1, 1, 0, 0]], np.uint8)
    canvas, differs = painted(truth, first, second)
    assert differs.tolist() == [[True, False, True, False, False]]
    nearest = lambda pixel, colours: int(np.argmin([np.abs(pixel - np.array(c)).sum() for c in colours]))  # noqa: E731
    assert nearest(canvas[0, 0], (FIRST, SECOND)) == 1
    assert nearest(canvas[0, 2], (FIRST, SECOND)) == 0
    assert canvas[0, 4].tolist() == list(IGNORED_COLOUR)
    objects = [np.where(mask == 255, 0, mask).astype(np.int32) * 300 for mask in (truth, first, second)]
    canvas, differs = painted(*objects)
    assert differs.tolist() == [[True, False, True, False, True]]
    assert painted(truth * 0, truth * 0, truth * 0)[0][0, 0].tolist() == list(PAPER)
    alone = painted_alone(truth, first, FIRST)
    assert (alone != painted_alone(truth, truth, FIRST)).any(axis=2).tolist() == [[False, False, True, True, False]]


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["kit", "compare", *map(str, arguments)])
    return main(), capsys.readouterr().out


def test_the_command(folders, tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.html"
    a, b = folders["a0"], folders["b0"]
    code, said = command(monkeypatch, capsys, a, b, "--margin", "0.001", "--html", page)
    facts, _ = facts_of(folders, ("a0", "b0"), margin=0.001)
    assert code == 0
    assert " ".join(said.split()).startswith(facts["verdict"])
    assert said.endswith(f"page: {page}\n")
    assert comparison_text(facts) in said
    html = page.read_text()
    assert facts["verdict"] in html
    assert html.count("<article") == min(24, len(most_changed(facts["changed"])))
    assert not re.search(r'(src|href)="(?!data:|#)', html)
    code, said = command(monkeypatch, capsys, a, b, "--json", "--no-seeds")
    assert (code, json.loads(said)["pairs"][0]["difference"]) == (0, facts["pairs"][0]["difference"])


@pytest.mark.slow
@pytest.mark.browser
def test_the_page_fits_a_desktop_and_a_phone_and_asks_for_nothing(folders, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: the page of the comparison was not looked at")
    from playwright.sync_api import sync_playwright

    facts, recipes = facts_of(folders, ("a0", "b0", "b1"), find=False)
    write_comparison(facts, recipes, tmp_path / "page.html")
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]).new_page()
        asked = []
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or asked.append(request.url))
        page.on("console", lambda message: asked.append(message.text))
        page.goto((tmp_path / "page.html").as_uri())
        assert page.inner_text("h1") == facts["verdict"]
        assert page.locator("article").count() == len(most_changed(facts["changed"]))
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 100)")
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        first = page.locator("article").first
        assert most_changed(facts["changed"])[0]["id"] in first.inner_text()
        at = lambda: first.locator(".slide").evaluate("one => one.style.getPropertyValue('--at')")  # noqa: E731
        first.locator("input").focus()
        page.keyboard.press("ArrowLeft")
        assert at() == "49%"
        second = first.locator(".pair figure").nth(1)
        assert second.evaluate("one => getComputedStyle(one).clipPath") == "inset(0px 0px 0px 49%)"
        box = first.locator(".pair").first.bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 9)
        assert at() in {"79%", "80%", "81%"}
        plain = page.context.browser.new_context(java_script_enabled=False).new_page()
        plain.goto((tmp_path / "page.html").as_uri())
        boxes = [plain.locator(".pair").first.locator("img").nth(k).bounding_box() for k in (0, 1)]
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]  # side by side
        assert not plain.locator("article input").first.is_visible()
        assert asked == []


def test_the_command_refuses_what_cannot_be_compared(folders, tmp_path, monkeypatch, capsys):
    code, said = command(monkeypatch, capsys, folders["a0"])
    assert (code, said) == (1, f"error: a comparison needs two runs or more, got {folders['a0']}\n")
    code, said = command(monkeypatch, capsys, folders["a0"], tmp_path / "none", "--json")
    assert code == 1
    assert "predictor.json is missing" in json.loads(said)["error"]
    code, said = command(monkeypatch, capsys, folders["a0"], folders["b0"], "--margin", "-1")
    assert (code, said) == (1, "error: margin is 0 or more, got -1.0\n")
