"""Masks whose palettes have their colours in other orders: a few are named, many are read by their colours."""

import cv2
import numpy as np
import pytest
from PIL import Image

from kit.new import Wishes, choose, recipe_text

COLOURS = [(0, 0, 0), (220, 30, 30), (30, 160, 60), (40, 60, 230)]
ORDERS = {"swapped": (0, 2, 1, 3), "reversed": (3, 2, 1, 0)}


def draw(folder, odd, count=20):
    """Masks with palettes; odd: the order of the colours in some files. Returns the true labels by id."""
    rng, truth = np.random.default_rng(0), {}
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for number in range(count):
        labels = np.kron(rng.integers(0, 4, (6, 8)), np.ones((6, 6))).astype(np.uint8)
        order = odd.get(number, range(4))  # the colour of each number
        mask = Image.fromarray(np.argsort(order).astype(np.uint8)[labels], "P")
        mask.putpalette([value for at in order for value in COLOURS[at]])
        mask.save(folder / f"masks/m{number}.png")
        cv2.imwrite(str(folder / f"images/m{number}.png"), rng.integers(0, 256, (36, 48, 3), np.uint8))
        truth[f"m{number}"] = labels
    return truth


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("name", ORDERS)
def test_a_swapped_palette_is_named_by_its_file(tmp_path, name):
    draw(tmp_path, {4: ORDERS[name], 11: ORDERS[name]})
    problems = choose(tmp_path, Wishes(device="cpu")).found.problems
    assert [one.partition(":")[0] for one in problems] == ["masks/m11.png", "masks/m4.png"]
    assert "(220, 30, 30) is number 2, and 1 in 18 files" in problems[0]


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_masks_of_many_orders_are_read_by_their_colours(tmp_path):
    rng = np.random.default_rng(1)
    truth = draw(tmp_path, {number: (0, *rng.permutation(3) + 1) for number in range(20)})
    choices = choose(tmp_path, Wishes(device="cpu"))
    assert choices.found.problems == []
    names = {"__name__": "recipe"}
    exec(compile(recipe_text(choices, tmp_path, tmp_path / "mine.py"), "mine.py", "exec"), names)
    data = names["read_data"](tmp_path)
    classes = np.array([choices.meaning.values[colour] for colour in COLOURS])
    for id, labels in truth.items():
        np.testing.assert_array_equal(data.read_mask(id), classes[labels])


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
def test_files_that_lack_a_colour_are_not_swapped(tmp_path):
    draw(tmp_path, {})
    blank = Image.fromarray(np.zeros((36, 48), np.uint8), "P")
    blank.putpalette([0, 0, 0])
    blank.save(tmp_path / "masks/m3.png")
    choices = choose(tmp_path, Wishes(device="cpu"))
    assert choices.found.problems == []
    assert not choices.found.labels.colours
