"""Recipes for objects: small ones are told apart by their borders, at the images' own scale."""

import math
from collections import Counter

import cv2
import numpy as np
import pytest
from csv_folders import table

from kit.new import Wishes, choose, recipe_text
from kit.new.decisions.object_sizes import object_side
from kit.new.decisions.sizing import Device, of_objects
from kit.submission.rle import encode

COUNT, SIDE = 10, 160


def labels_of(seed, radius):
    """A label image of discs on a grid, some of which touch."""
    random, labels, step = np.random.default_rng(seed), np.zeros((SIDE, SIDE), np.uint16), 2 * radius
    for number, (y, x) in enumerate(np.ndindex(SIDE // step, SIDE // step), start=1):
        if random.random() < 0.8:
            middle = (x * step + radius, y * step + radius)
            cv2.circle(labels, middle, radius - int(random.integers(0, 2)), number, -1)
    return labels


def draw(folder, kind, radius):
    """Images, and masks of a kind. Returns the areas of all objects."""
    (folder / "images").mkdir(parents=True)
    rows, areas = [], []
    for seed in range(COUNT):
        labels, id = labels_of(seed, radius), f"tile_{seed:02}"
        noise = np.random.default_rng(seed).integers(0, 90, (SIDE, SIDE), np.uint8)
        cv2.imwrite(str(folder / f"images/{id}.png"), noise + 120 * (labels > 0).astype(np.uint8))
        for number in np.unique(labels[labels > 0]):
            own = (labels == number).astype(np.uint8)
            areas.append(int(own.sum()))
            rows.append(f"{id},{encode(own, 'F')}")
            if kind == "files":
                (folder / f"masks/{id}").mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / f"masks/{id}/{number}.png"), 255 * own)
        if kind == "numbers":
            (folder / "masks").mkdir(exist_ok=True)
            cv2.imwrite(str(folder / f"masks/{id}.png"), labels)
    if kind == "rows":
        table(folder / "train.csv", "ImageId,EncodedPixels", rows)
    return areas


@pytest.mark.parametrize(("kind", "said"), [("files", {}), ("numbers", {}), ("rows", {"order": "F"})])
def test_small_objects_get_borders_and_keep_their_scale(tmp_path, kind, said):
    areas = draw(tmp_path / "data", kind, radius=8)
    choices = choose(tmp_path / "data", Wishes(device="cpu", task="instances", **said))
    assert choices.has_borders
    assert (choices.sizing.size, choices.sizing.crop) == (None, (SIDE, SIDE))
    assert object_side(choices.found, choices.meaning) == pytest.approx(math.sqrt(np.median(areas)), rel=0.05)
    text = recipe_text(choices, tmp_path / "data", tmp_path / "mine.py")
    assert len(text.splitlines()) <= 120
    for part in ("target=border_target", "EncoderUNet(", "num_classes=2", "Rule(objects=True, border=True)"):
        assert part in text
    compile(text, "mine.py", "exec")
    assert "decoder with a skip at the images' own size" in dict(choices.reasons)["network"]
    assert "narrow" not in str(choices.reasons)  # that is said of decoder_channels alone
    assert "decoder_channels" not in text


def test_objects_that_no_crop_shows_whole_are_components_of_shrunk_images(tmp_path):
    draw(tmp_path / "data", "files", radius=40)
    choices = choose(tmp_path / "data", Wishes(device="cpu"))
    assert not choices.has_borders
    text = recipe_text(choices, tmp_path / "data", tmp_path / "mine.py")
    assert "border" not in text.partition('"""\n\n')[2]
    assert dict(choices.reasons)["network"].endswith("; a narrow decoder")
    assert f"decoder_channels={choices.network.decoder}" in text


def test_few_large_images_give_several_crops_each():
    shapes = Counter({(2000, 2000): 12})
    sizing = of_objects(shapes, 12, Device("cpu"), 20.0)
    assert sizing.crops > 1
    assert 8 <= sizing.epochs <= 60
    assert of_objects(shapes, 12, Device("cpu"), 300.0) is None
    assert of_objects(shapes, 12, Device("cpu"), None) is None
