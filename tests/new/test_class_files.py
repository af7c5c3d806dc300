"""Tests for kit/new/look/class_files.py: when several sets of masks are classes, and when they are something else."""

import cv2
import numpy as np
import pytest

from kit.new import Asked, Wishes, choose

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
