"""Tests for kit/new/decisions/legend.py and what no file says of classes: on drawn folders."""

import cv2
import numpy as np
import pytest

from kit.new import Asked, Wishes, choose

COLOURS = {"floor": (0, 0, 0), "chair": (255, 64, 0), "table": (0, 128, 255)}  # not in the order of their names


def draw(folder, legend="legend.csv", labels=("table", "chair"), name="room"):
    """A dozen images with masks in colour, a table of the colours, and a sample with class labels."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks", "test"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(12):
        mask = np.zeros((40, 56, 3), np.uint8)
        mask[4:20, 6:22], mask[22:36, 30:50] = COLOURS["chair"], COLOURS["table"]
        image = cv2.GaussianBlur(rng.integers(0, 256, mask.shape, np.uint8), (3, 3), 1)
        cv2.imwrite(str(folder / f"images/{name}{number}.png"), image)
        cv2.imwrite(str(folder / f"test/t{number}.png"), image)
        cv2.imwrite(str(folder / f"masks/{name}{number}.png"), mask[..., ::-1])
    rows = [f"{name},{red},{green},{blue}" for name, (red, green, blue) in COLOURS.items()]
    (folder / legend).write_text("\n".join(["what,r,g,b", *rows]) + "\n")
    lines = [f"t{number},{label}," for number in range(12) for label in labels]
    (folder / "sample_submission.csv").write_text("\n".join(["id,class,rle", *lines]) + "\n")
    return folder


def test_a_table_of_colours_names_the_classes_and_orders_the_labels(tmp_path):
    choices = choose(draw(tmp_path), Wishes(order="F", device="cpu"))
    names = dict(zip(choices.meaning.values, choices.meaning.classes, strict=True))
    assert names == {colour: name for name, colour in COLOURS.items()}
    assert choices.goal.dialect.labels == choices.meaning.classes[1:]


def test_labels_without_a_table_are_asked_for(tmp_path):
    draw(tmp_path, legend="notes.txt")
    with pytest.raises(ValueError, match=r"table, chair, and nothing says which.*--classes background table chair"):
        choose(tmp_path, Wishes(order="F", device="cpu"))


def test_what_is_asked_for_is_obeyed_or_refused(tmp_path):
    folder = draw(tmp_path)
    with pytest.raises(ValueError, match="no masks belong to these images"):
        choose(folder, Wishes(Asked(images="test/*.png"), order="F", device="cpu"))
    with pytest.raises(ValueError, match="the id room0"):
        choose(folder, Wishes(order="F", groups="legend.csv:what:r", device="cpu"))


def test_test_images_never_take_the_masks_of_others(tmp_path):
    folder = draw(tmp_path, name="t")  # test images are called as the others are
    choices = choose(folder, Wishes(order="F", device="cpu"))
    assert choices.found.patterns["images"] == "images/*.png"
    assert set(choices.found.tests) == {f"t{number}" for number in range(12)}
