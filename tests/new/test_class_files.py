"""Tests for kit/new/look/class_files.py: when several sets of masks are classes, and when they are something else."""

import cv2
import numpy as np
import pytest

from kit.new import Asked, Wishes, choose, recipe_text

LAYOUTS = {
    "two classes": (("masks/{}_cup.png", "masks/{}_disc.png"), ("cup", "disc")),
    "three classes in folders": (("gt/road/{}.png", "gt/river/{}.png", "gt/roof/{}.png"), ("river", "road", "roof")),
    "a folder an image": (("masks/{}/liver.png", "masks/{}/spleen.png"), ("liver", "spleen")),
    "two raters": (("masks/{}_rater_a.png", "masks/{}_rater_b.png"), None),
    "two versions": (("masks_old/{}.png", "masks_new/{}.png"), None),
    "outlines beside masks": (("masks/{}.png", "masks_eroded/{}.png"), None),
    "one class": (("masks/{}_mask.png",), None),
}


def draw(folder, masks, count=9):
    rng = np.random.default_rng(0)
    for number in range(count):
        for place in ("images/{}.jpg", *masks):
            path = folder / place.format(f"s{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, (32, 40, 3), np.uint8)
            if place in masks:
                pixels = cv2.circle(np.zeros((32, 40), np.uint8), rng.integers(8, 24, 2).tolist(), 6, 255, -1)
            cv2.imwrite(str(path), pixels)
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_a_class_is_told_from_other_sets_of_masks(tmp_path, layout):
    masks, classes = LAYOUTS[layout]
    choices = choose(draw(tmp_path, masks), Wishes(device="cpu"))
    assert choices.meaning.task == ("multilabel" if classes else "binary")
    assert tuple(choices.found.layers) == (classes or ())
    assert choices.found.problems == []


def test_one_of_the_classes_can_be_asked_for(tmp_path):
    folder = draw(tmp_path, LAYOUTS["two classes"][0])
    choices = choose(folder, Wishes(Asked(masks="masks/{id}_cup.png"), device="cpu"))
    assert choices.meaning.task == "binary"
    assert choices.found.layers == {}


@pytest.mark.parametrize(("bare", "partial"), [(2, 0), (0, 3), (3, 2), (0, 0)])
def test_images_without_any_file_are_left_out_and_a_class_without_one_is_empty(tmp_path, bare, partial):
    folder = draw(tmp_path, LAYOUTS["two classes"][0])
    for number in range(bare + partial):
        (folder / f"masks/s{number}_cup.png").unlink()
        if number < bare:
            (folder / f"masks/s{number}_disc.png").unlink()
    choices = choose(folder, Wishes(device="cpu"))
    space = {"__name__": "recipe"}
    exec(compile(recipe_text(choices, folder, folder / "mine.py"), "mine.py", "exec"), space)
    data = space["read_data"](folder)
    assert data.ids == choices.found.ids == [f"s{number}" for number in range(bare, 9)]
    for number in range(bare, 9):
        assert data.read_mask(f"s{number}").any(axis=(0, 1)).tolist() == [number >= bare + partial, True]
    assert any(f"no mask belongs to {bare} images" in doubt for doubt in choices.doubts) == bool(bare)


@pytest.mark.parametrize("layout", ["two raters", "two versions", "outlines beside masks"])
def test_a_second_set_of_masks_that_is_not_used_is_named(tmp_path, layout):
    """Unless the user says which is meant."""
    folder, masks = draw(tmp_path, LAYOUTS[layout][0]), [text.format("*") for text in LAYOUTS[layout][0]]
    choices = choose(folder, Wishes(device="cpu"))
    [unused] = choices.found.unused
    assert unused in [f"{text} (9): further masks of the same images" for text in masks]
    assert any("--masks PATTERN takes those" in doubt for doubt in choices.doubts)
    for text in masks:
        assert choose(folder, Wishes(Asked(masks=text), device="cpu")).doubts == []


@pytest.mark.parametrize("lacking", ["empty", "skip"])
def test_what_lacking_masks_are_is_not_said_where_none_lack(tmp_path, lacking):
    folder = draw(tmp_path, LAYOUTS["one class"][0])
    wishes = Wishes(Asked(lacking=lacking), device="cpu")
    with pytest.raises(ValueError, match=f"--lacking {lacking}: every image has a mask, so leave it out"):
        choose(folder, wishes)
    (folder / "masks/s0_mask.png").unlink()
    assert choose(folder, wishes).found.lacking == lacking


def draw_again(folder, apart):
    """As draw, two masks an image: of one disc drawn twice, or of two that are `apart` pixels from one another."""
    draw(folder, ())
    for number in range(9):
        for version in (1, 2):
            mask = cv2.circle(np.zeros((32, 40), np.uint8), (10 + apart * (version - 1), 16), 5, 255, -1)
            path = folder / f"labels/v{version}/s{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), mask)
    return folder


def test_masks_that_cover_one_another_are_no_objects_without_a_question(tmp_path):
    folder = draw_again(tmp_path / "same", apart=1)
    with pytest.raises(ValueError, match=r"cover the same pixels, as labels/v1/s0.png and labels/v2/s0.png: .*--masks"):
        choose(folder, Wishes(device="cpu"))
    assert choose(folder, Wishes(device="cpu", task="instances")).meaning.task == "instances"
    assert choose(folder, Wishes(Asked(masks="labels/v2/*.png"), device="cpu")).meaning.task == "binary"
    others = choose(draw_again(tmp_path / "apart", apart=14), Wishes(device="cpu"))
    assert others.meaning.task == "instances"
