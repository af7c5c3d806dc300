"""Objects of an image that share pixels: the check before training says which objects lose how many to which."""

import json

import numpy as np
import pytest
from PIL import Image

from kit.data import BadImage, Dataset, check_dataset
from kit.data.shared_pixels import Shared, shared_in_words
from kit.datasets import Folder, Neighbours
from kit.submission import CsvMasks, Dialect
from kit.submission.rle import encode

SIZE = (12, 17)
CELLS = Dialect(("cell", "runs"), "instance", "F")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def box(top, left, bottom, right):
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


# a shares 4 pixels of its first object, of which 2 are in three objects; b none, its boxes touch; c 1 pixel
OBJECTS = {
    "a": [box(0, 0, 8, 8), box(6, 6, 10, 10), box(7, 6, 8, 8)],
    "b": [box(0, 0, 4, 4), box(4, 0, 8, 4)],
    "c": [box(1, 1, 3, 3), box(2, 2, 6, 6)],
}


def write_images(folder, ids=OBJECTS):
    (folder / "images").mkdir(parents=True)
    for seed, id in enumerate(ids):
        pixels = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"images/{id}.png")


def of_rows(folder, objects=OBJECTS):
    write_images(folder, objects)
    rows = [f"{id},{encode(mask, 'F')}" for id, own in objects.items() for mask in own]
    (folder / "truth.csv").write_text("\n".join(["cell,runs", *rows]) + "\n")
    return Folder(folder, images="images/*.png", masks=CsvMasks("truth.csv", CELLS), task="instances")


def of_files(folder):
    write_images(folder)
    for id, own in OBJECTS.items():
        (folder / f"masks/{id}").mkdir(parents=True)
        for number, mask in enumerate(own):
            Image.fromarray(mask * np.uint8(255)).save(folder / f"masks/{id}/{number}.png")
    return Folder(folder, images="images/{id}.png", masks="masks/{id}/*.png", task="instances")


@pytest.mark.parametrize(("make", "names"), [
    (of_rows, ("line 2", "line 3", "line 4", "line 7", "line 8", "truth.csv, ")),
    (of_files, ("masks/a/0.png", "masks/a/1.png", "masks/a/2.png", "masks/c/0.png", "masks/c/1.png", "")),
])  # fmt: skip
def test_the_check_names_the_objects_that_lose_pixels_and_who_gets_them(tmp_path, capsys, make, names):
    large, middle, small, corner, square, file = names
    facts = check_dataset(make(tmp_path / "data"))
    said = capsys.readouterr().out
    assert f"warning: {facts.shared}" in said
    assert "5 pixels of 2 images are in several objects, in 4 pairs of objects. The smallest object gets each" in said
    assert f"{file}a: 4 pixels: 2 of the 64 of {large} go to {middle}, 2 of the 64 of {large} go to {small}, " in said
    assert f"2 of the 16 of {middle} go to {small}" in said
    assert f"{file}c: 1 pixel: 1 of the 16 of {square} go to {corner}" in said
    assert f"{file}b:" not in said
    assert said.index(f"{file}a:") < said.index(f"{file}c:")


def test_the_smallest_object_gets_the_pixels_whatever_the_order_of_the_rows(tmp_path):
    data = of_rows(tmp_path / "data")
    mask = data.read_mask("a")
    assert [int((mask == number).sum()) for number in (1, 2, 3)] == [60, 14, 2]
    assert data.shared_pixels("a")[:2] == (4, 3)
    assert data.shared_pixels("b") == Shared()


def test_slices_with_neighbours_say_it_too(tmp_path):
    data = of_rows(tmp_path / "data", {f"v_{at}": own for at, own in enumerate(OBJECTS.values())})
    slices = Neighbours(data, volume="^(v)", order=r"(\d+)$")
    assert slices.shared_pixels("v_2") == data.shared_pixels("v_2") != Shared()


def test_an_object_of_which_nothing_is_left_is_an_error_as_before(tmp_path):
    data = of_rows(tmp_path / "data", {"a": [box(0, 0, 4, 4), box(0, 0, 4, 4)], "b": [box(1, 1, 3, 3)]})
    with pytest.raises(BadImage, match="nothing is left of line 2"):
        data.shared_pixels("a")
    with pytest.raises(ValueError, match="nothing is left of line 2"):
        check_dataset(data)


def test_objects_apart_and_a_class_without_the_method_warn_of_nothing(tmp_path, capsys):
    assert check_dataset(of_rows(tmp_path / "data", {"b": OBJECTS["b"], "d": OBJECTS["b"]})).shared == ""

    class Own:  # does not inherit from Dataset
        name, ids, groups, classes, task, channels = "own", ["x"], ["x"], ("background", "cell"), "instances", ("grey",)
        fingerprint = Dataset.fingerprint

        def read_image(self, id):
            return np.arange(204, dtype=np.uint8).reshape(*SIZE, 1)

        def read_mask(self, id):
            return box(1, 1, 3, 3).astype(np.int32)

    assert check_dataset(Own()).shared == ""
    assert "warning" not in capsys.readouterr().out


def test_of_many_images_and_pairs_the_first_are_shown_and_the_rest_counted():
    found = [Shared(number, 2, f"image {number}") for number in range(8)]
    said = shared_in_words(found, " (of 8)")
    assert said.startswith("28 pixels of 7 images (of 8) are in several objects, in 14 pairs")
    assert said.index("image 7") < said.index("image 6")
    assert said.endswith("… and 2 more")
    assert json.loads(json.dumps(said)) == said
    assert shared_in_words([Shared()] * 3) == ""
