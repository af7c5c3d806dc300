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


@pytest.mark.parametrize("layout", ["two raters", "outlines beside masks"])
def test_a_second_set_of_masks_that_is_not_used_is_named(tmp_path, layout):
    """Unless the user says which is meant."""
    folder, masks = draw(tmp_path, LAYOUTS[layout][0]), [text.format("*") for text in LAYOUTS[layout][0]]
    choices = choose(folder, Wishes(device="cpu"))
    [unused] = choices.found.unused
    assert unused in [f"{text} (9): further masks of the same images" for text in masks]
    assert any("--masks PATTERN takes those" in doubt for doubt in choices.doubts)
    for text in masks:
        assert choose(folder, Wishes(Asked(masks=text), device="cpu")).doubts == []
