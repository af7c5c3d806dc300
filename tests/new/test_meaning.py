"""Tests for kit/new/look/labels.py, groups.py, alikeness.py and upright.py, on drawn masks and images."""

import cv2
import numpy as np
import pytest

from kit.new.look.alikeness import alikeness, describe
from kit.new.look.labels import Labels, labels_of, read_labels
from kit.new.look.upright import LEAST, measure, sides


def disc(size=64, centre=(32, 32), radius=14, value=1, dtype=np.uint8):
    mask = np.zeros((size, size), dtype)
    return cv2.circle(mask, centre[::-1], radius, value, -1)


def some(draw, count=12, seed=0):
    """Masks by a function of a random generator."""
    rng = np.random.default_rng(seed)
    return [draw(rng) for _ in range(count)]


def trimap(rng):
    centre = tuple(int(v) for v in rng.integers(24, 40, 2))
    mask = np.full((64, 64), 2, np.uint8)
    cv2.circle(mask, centre, 16, 3, -1)
    return cv2.circle(mask, centre, 12, 1, -1)


def numbered(rng):
    mask = np.zeros((96, 96), np.uint16)
    for number, place in enumerate(rng.permutation(16)[: rng.integers(6, 14)], start=1):
        cv2.circle(mask, (12 + 24 * int(place % 4), 12 + 24 * int(place // 4)), 9, number, -1)
    return mask


def test_the_border_of_a_trimap_is_an_outline_and_its_background_fills_the_edges():
    labels = labels_of(some(trimap))
    assert labels.outlines() == [3]
    assert labels.background == 2
    assert not labels.are_objects


def test_classes_side_by_side_have_no_outline():
    def three(rng):
        mask = np.zeros((64, 64), np.uint8)
        mask[:, 20:40], mask[:, 40:] = 1, 2
        return np.roll(mask, int(rng.integers(64)), axis=1)

    assert labels_of(some(three)).outlines() == []


def test_numbers_of_objects_are_told_from_classes():
    assert labels_of(some(numbered)).are_objects
    classes = [disc(value=k % 3 + 1) for k in range(12)]
    assert not labels_of(classes).are_objects


def test_a_jpeg_of_two_greys_is_soft_and_a_photograph_is_no_mask(tmp_path):
    rng = np.random.default_rng(0)
    files = {}
    for number in range(4):
        files[f"mask{number}"] = cv2.imencode(".jpg", disc(value=255))[1].tobytes()
        photo = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), np.uint8), (5, 5), 2)
        files[f"photo{number}"] = cv2.imencode(".png", photo)[1].tobytes()
    masks = read_labels(files.get, [name for name in files if name.startswith("mask")])
    assert masks.is_soft
    assert masks.is_like_masks
    assert not read_labels(files.get, [name for name in files if name.startswith("photo")]).is_like_masks


def test_masks_in_colour_are_counted_by_colour():
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[8:16, 8:24] = (0, 0, 255)  # OpenCV writes blue first: this is red
    content = cv2.imencode(".png", colours)[1].tobytes()
    labels = read_labels({"a": content}.get, ["a"])
    assert labels.colours
    assert labels.pixels == {(0, 0, 0): 32 * 32 - 128, (255, 0, 0): 128}
    assert labels.background == (0, 0, 0)


def test_what_cannot_be_read_is_listed():
    labels = read_labels({"a": b"text"}.get, ["a"])
    assert labels.problems
    assert "a" in labels.problems[0]
    assert not Labels().is_like_masks


def scenes(groups, per_group, spread, seed=0):
    """Images whose colour and pattern are those of their group, as far as `spread` is small."""
    rng = np.random.default_rng(seed)
    images, names = {}, {}
    for group in range(groups):
        own = rng.integers(40, 216, (4, 4, 3)).astype(np.float32)
        for number in range(per_group):
            small = own + rng.normal(0, spread, own.shape)
            id = f"g{group}_{number}"
            images[id] = cv2.resize(small.clip(0, 255).astype(np.uint8), (48, 48))
            names[id] = str(group)
    return images, names


@pytest.mark.parametrize(("spread", "low", "high"), [(8, 0.95, 1.0), (2000, 0.35, 0.65)])
def test_images_of_a_group_are_more_alike_where_they_are(spread, low, high):
    images, names = scenes(8, 6, spread)
    found = alikeness(list(images), list(names.values()), lambda id: describe(images[id]))
    assert low <= found <= high


def test_an_upper_side_is_found_where_there_is_one():
    rng = np.random.default_rng(0)
    sky = np.linspace(220, 60, 48)[:, None]
    upright = [(sky + rng.normal(0, 25, (48, 48))).clip(0, 255).astype(np.uint8)[..., None] for _ in range(LEAST)]
    cells = [cv2.GaussianBlur(rng.integers(0, 256, (48, 48), np.uint8), (7, 7), 2)[..., None] for _ in range(3 * LEAST)]
    assert sides([measure(image, None) for image in upright]).is_upright
    assert not sides([measure(image, None) for image in cells]).is_upright
    assert sides([measure(cells[0], None)]).is_upright  # too few to find out
