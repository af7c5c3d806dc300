"""A slide predicted in a stream: the run lengths of the whole image, in bounded memory."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from slide_memory import Cut, draw, predictor

from kit.data.regions import ArrayRegions, open_regions
from kit.data.scaled import ScaledRegions
from kit.prediction import Predictor, Rule
from kit.prediction.slides import SlideLevels, SlideStore, mean_of_levels, predict_slide
from kit.runs.submit import encode_levels
from kit.submission import rle


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "slide.tif"
    draw(path, 1536)
    return open_regions(path)


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("side", [1300, 1536])
def test_the_run_lengths_are_those_of_the_whole_image(slide, order, side):
    own = predictor()
    mask = own.predict(slide.read(0, 0, side, side))
    assert 0.01 < mask.mean() < 0.9
    runs = predict_slide(own, ScaledRegions(Cut(slide, side), 1), order)
    assert rle.encode_edges(runs.edges[1], mask.size) == rle.encode(mask, order)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_shrunk_slide_is_predicted_as_the_shrunk_image_is(slide, scale):
    own, image = predictor(), slide.read(0, 0, 1536, 1536)
    shrunk = ScaledRegions(ArrayRegions(image), scale).read(0, 0, 1536 // scale, 1536 // scale)
    mask = own.rule.mask(own.predict_levels(shrunk), (1536, 1536))
    runs = predict_slide(own, ScaledRegions(slide, scale), "F")
    assert rle.encode_edges(runs.edges[1], mask.size) == rle.encode(mask, "F")


@pytest.mark.parametrize("rows", [1, 100, 300, 700])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_store_gives_back_the_bands_that_it_was_given(tmp_path, rows, channels):
    levels = np.random.default_rng(0).integers(0, 256, (channels, 620, 41)).astype(np.uint8)
    store = SlideStore(tmp_path / "oof", channels, scale=3)
    assert store.missing(["a/1", "b"]) == ["a/1", "b"]
    store.write("a/1", SlideLevels((levels[:, y : y + rows] for y in range(0, 620, rows)), (620, 41), 1))
    assert store.missing(["a/1", "b"]) == ["b"]
    assert "a/1" in store
    kept = store.read("a/1")
    assert (kept.size, kept.scale) == ((620, 41), 3)
    np.testing.assert_array_equal(np.concatenate(list(kept.bands), axis=1), levels)
    store.forget(["a/1"])
    assert "a/1" not in store


def test_a_store_refuses_other_bands_and_names_damage(tmp_path):
    store, levels = SlideStore(tmp_path, 1), np.zeros((1, 600, 4), np.uint8)
    with pytest.raises(ValueError, match="bands of 600 rows in all, expected 610"):
        store.write("a", SlideLevels([levels], (610, 4), 1))
    with pytest.raises(ValueError, match="number of classes"):
        store.write("a", SlideLevels([np.zeros((2, 600, 4), np.uint8)], (600, 4), 1))
    assert "a" not in store
    store.write("a", SlideLevels([levels], (600, 4), 1))
    with pytest.raises(ValueError, match="1 classes, expected 2"):
        SlideStore(tmp_path, 2).read("a")
    with pytest.raises(ValueError, match="not made whole"):
        store.mask("a", (600, 4))
    store.path("a").write_bytes(store.path("a").read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"(damaged|cut short).* delete it and run"):
        list(store.read("a").bands)


def test_the_mean_of_several_slides_of_levels_is_that_of_arrays():
    parts = np.random.default_rng(0).integers(0, 256, (3, 1, 50, 7)).astype(np.uint8)
    found = mean_of_levels([SlideLevels([part[:, :20], part[:, 20:]], (50, 7), 2) for part in parts])
    np.testing.assert_array_equal(np.concatenate(list(found.bands), axis=1), mean_of_levels(list(parts)))
    assert (found.size, found.scale) == ((50, 7), 2)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Rule(objects=True), "no label images of objects"),
        (Rule(fill_holes=9), "holes are not filled"),
        (Rule(top_area=9), "not made empty as a whole"),
    ],
)
def test_rules_that_need_the_whole_mask_are_refused(slide, rule, told):
    own = Predictor(predictor().networks, predictor().frame, rule=rule)
    with pytest.raises(ValueError, match=told):
        predict_slide(own, ScaledRegions(slide, 1))
    with pytest.raises(ValueError, match=told):
        list(levels_of(1, 40)[1].masks((150, 131), rule))
    with pytest.raises(ValueError, match=told):
        levels_of(1, 40)[1].runs((150, 131), rule, "C")


def levels_of(classes, rows, dtype=np.uint8, size=(150, 131), scale=1):
    """Smooth noise, and the same as a slide's bands of `rows`."""
    random = np.random.default_rng(classes)
    coarse = random.random((classes, -(-size[0] // scale), -(-size[1] // scale))).astype(np.float32)
    levels = np.stack([cv2.GaussianBlur(one, (0, 0), 2.5) for one in coarse])
    levels = ((levels - levels.min()) / np.ptp(levels) * 255).astype(dtype)
    bands = (levels[:, y : y + rows] for y in range(0, levels.shape[1], rows))
    return levels, SlideLevels(bands, levels.shape[1:], scale)


KINDS = {"one": (1, Rule(0.55)), "several": (3, Rule()), "overlapping": (3, Rule((0.5, 0.55, 0.6)))}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("parts", [{}, {"min_area": 25}, {"keep_largest": True}, {"min_area": "each"}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ["class", "instance"])
def test_objects_and_what_is_left_of_them_are_those_of_the_whole_image(kind, parts, order, rows):
    classes, rule = KINDS[kind]
    each = {"one": 25, "several": (300, 25), "overlapping": (25, 300, 0)}[kind]
    rule = replace(rule, **{name: each if value == "each" else value for name, value in parts.items()})
    levels, slide = levels_of(classes, 40)
    expected = [pair for pair in encode_levels(levels, (150, 131), order, rule, rows) if pair[1]]
    assert len(expected) > (5 if rows == "instance" and not rule.keep_largest else 0)
    assert encode_levels(slide, (150, 131), order, rule, rows) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_masks_in_bands_have_no_small_objects(kind, monkeypatch):
    monkeypatch.setattr("kit.prediction.slides.BAND_PIXELS", 131 * 32)
    classes, rule = KINDS[kind]
    rule = replace(rule, min_area=25)
    levels, slide = levels_of(classes, 40)
    bands, expected = list(slide.masks((150, 131), rule)), rule.mask(levels, (150, 131))
    assert len(bands) == 5
    found = np.moveaxis(np.concatenate(bands, axis=1), 0, 2) if rule.separate else np.concatenate(bands)
    np.testing.assert_array_equal(found, expected)


def measured(folder, side, *rest):
    script = Path(__file__).with_name("slide_memory.py")
    command = [sys.executable, str(script), str(folder), str(side), *map(str, rest)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_grows_with_a_row_of_tiles_and_not_with_the_slide(tmp_path, order):
    """8,192² pixels of RGB are 200 MB, normalised 800 more, their logits and weights 540 more."""
    found = measured(tmp_path, 8192, 1, order)
    assert found["peak MB"] - found["before MB"] < 330
