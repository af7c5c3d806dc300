"""The parts of a rule that look at components, holes and images, against SciPy; and rules as they were before."""

import hashlib
import json

import numpy as np
import pytest
from scipy import ndimage
from test_rules import EIGHT, SIZE, smooth

from kit.data.tasks import Task
from kit.prediction import Rule, rule_for
from kit.prediction.enlarge import enlarge
from kit.prediction.plain import Decoder, Encoder
from kit.system.files import short_hash
from kit.system.objects import components, without_holes


def noise(seed, share, shape=(40, 53)):
    blurred = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 0.9)
    return (blurred < np.quantile(blurred, share)).astype(np.uint8)


def rough(seed, count, size=(46, 62)):
    """Levels with many small parts and holes."""
    random = np.random.default_rng(seed)
    blurred = ndimage.gaussian_filter(random.random((count, *size)), (0, 1.3, 1.3))
    shifted = (blurred - blurred.mean()) / blurred.std() * 30 + 128 + random.normal(0, 9, (count, 1, 1))
    return shifted.clip(0, 255).astype(np.uint8)


def filled_by_hand(mask, area, allowed=None):
    """Holes of SciPy: parts of the background, connected along sides, that do not touch the edge of the image."""
    labels, count = ndimage.label(mask == 0)
    edge = {*labels[0], *labels[-1], *labels[:, 0], *labels[:, -1]}
    found = mask.copy()
    for k in range(1, count + 1):
        own = labels == k
        if k not in edge and own.sum() < area and (allowed is None or allowed[own].all()):
            found[own] = 1
    return found


def kept_by_hand(mask, area, largest):
    labels, count = ndimage.label(mask, EIGHT)  # numbered in the order of their first pixels
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    kept = [k for k in range(1, count + 1) if areas[k] >= area]
    if largest and kept:
        kept = [max(kept, key=lambda k: (areas[k], -k))]
    return np.isin(labels, kept).astype(np.uint8)


@pytest.mark.parametrize("share", [0.45, 0.5, 0.55])
@pytest.mark.parametrize("area", [0, 1, 2, 5, 40, 10**6])
def test_holes_of_fewer_pixels_are_filled(share, area):
    for seed in range(3):
        mask = np.pad(noise(seed, share), [(0, 5), (4, 0)])  # two sides of the mask are at an edge of the image
        found = without_holes(mask, area)
        np.testing.assert_array_equal(found, filled_by_hand(mask, area))
        assert (found != mask).any() or area < 40
    ring = np.zeros((5, 5), np.uint8)
    ring[1:4, 1:4] = 1
    ring[2, 2] = 0
    assert without_holes(ring, 1).sum() == 8  # a hole of one pixel is not of fewer than one
    assert without_holes(ring, 2).sum() == 9
    assert not without_holes(np.zeros((4, 4), np.uint8), 99).any()
    assert without_holes(np.ones((4, 4), np.uint8), 99).all()


def test_the_largest_component_is_kept_and_of_equal_ones_the_first():
    for seed in range(5):
        mask = noise(seed, 0.4)
        for area in (0, 30, 10**6):
            found = components(mask, area, largest=True)
            np.testing.assert_array_equal(found > 0, kept_by_hand(mask, area, True))
            assert found.max() <= 1
    dots = np.zeros((9, 9), np.uint8)
    dots[7, 1:3] = dots[1, 6:8] = dots[4, 4:6] = 1
    assert np.argwhere(components(dots, largest=True)).tolist() == [[1, 6], [1, 7]]


PARTS = [
    {"fill_holes": 60},
    {"keep_largest": True},
    {"top": 0.6, "top_area": 1200},
    {"top": 0.62, "top_area": 300, "min_area": 150, "fill_holes": 90},
    {"fill_holes": 10**6, "keep_largest": True},
]


def by_hand(levels, rule, size):
    """The mask of each class but the background, u8 (K, H, W), from enlarged levels and SciPy."""
    enlarged = [enlarge(level, size) for level in levels]
    if rule.separate or len(levels) == 1:
        cuts = rule.threshold if rule.separate else (rule.threshold,)
        layers = [(one >= round(256 * cut)).astype(np.uint8) for one, cut in zip(enlarged, cuts, strict=True)]
    else:
        usual = Rule().mask(levels, size)
        layers, enlarged = [(usual == k).astype(np.uint8) for k in range(1, len(levels))], enlarged[1:]
    present = [(one >= round(256 * rule.top)).sum() >= rule.top_area for one in enlarged]
    competing = len(levels) > 1 and not rule.separate
    free = np.sum(layers, axis=0) == 0 if competing else None
    layers = [filled_by_hand(layer, rule.fill_holes, free) for layer in layers]
    layers = [layer * np.uint8(there) for layer, there in zip(layers, present, strict=True)]
    areas = [rule.least_area(k) for k in range(len(layers))]
    return [kept_by_hand(layer, area, rule.keep_largest) for layer, area in zip(layers, areas, strict=True)]


@pytest.mark.parametrize("parts", PARTS, ids=str)
@pytest.mark.parametrize("kind", ["one", "competing", "overlapping", "objects"])
def test_every_part_is_obeyed_by_every_kind_of_mask(kind, parts):
    changed = 0
    for seed in range(4):
        levels = rough(seed, {"one": 1, "objects": 1, "competing": 4, "overlapping": 3}[kind])
        threshold = (0.45, 0.5, 0.55) if kind == "overlapping" else 0.5
        rule, usual = Rule(threshold, kind == "objects", **parts), Rule(threshold, kind == "objects")
        found, expected = rule.mask(levels, SIZE), by_hand(levels, rule, SIZE)
        layers = list(np.moveaxis(found, 2, 0)) if kind == "overlapping" else [found > 0]
        if kind == "competing":
            layers = [found == k for k in range(1, 4)]
        for one, other in zip(layers, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        assert found.dtype == usual.mask(levels, SIZE).dtype
        assert not rule.by_pixel
        assert rule.edges(levels, SIZE, "C") is None
        changed += not np.array_equal(found, usual.mask(levels, SIZE))
    assert changed


@pytest.mark.parametrize("kind", ["competing", "overlapping"])
def test_each_class_has_a_min_area_of_its_own(kind):
    areas = (0, 150, 400)
    levels = smooth(3, 4 if kind == "competing" else 3)
    threshold = 0.5 if kind == "competing" else (0.5,) * 3
    found = Rule(threshold, min_area=areas).mask(levels, SIZE)
    for k, area in enumerate(areas):
        single = Rule(threshold, min_area=area).mask(levels, SIZE)
        own = [mask == k + 1 if kind == "competing" else mask[..., k] for mask in (found, single)]
        np.testing.assert_array_equal(*own)


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (lambda: Rule(top=1.0), "top is a probability between 0 and 1, got 1.0"),
        (lambda: Rule(top_area=-1), "top_area is a number of pixels, 0 or more; got -1"),
        (lambda: Rule(fill_holes=-2), "fill_holes is a number of pixels, 0 or more; got -2"),
        (lambda: Rule(min_area=(3, -1)), r"min_area is a number of pixels, 0 or more; got \(3, -1\)"),
        (lambda: Rule(min_area=()), "min_area is a number"),
        (lambda: Rule(objects=True, min_area=(3,)), "objects are of one class, which has one min_area"),
        (lambda: Rule(min_area=(3, 4)).mask(smooth(0, 4), SIZE), "one of each of the 3 classes but the background"),
        (lambda: Rule(min_area=(3,)).mask(smooth(0, 1), SIZE), "expected one number$"),
        (lambda: rule_for(Task("multilabel", ("a", "b")), Rule(min_area=(3,))), "one of each of the 2 classes"),
    ],
)
def test_parts_that_cannot_be_are_refused(rule, told):
    with pytest.raises(ValueError, match=told):
        rule()


BEFORE = {  # repr of rules before the later parts came: hashes of rows and scores hold them
    Rule(): "Rule(threshold=0.5, objects=False, min_area=0)",
    Rule(0.35, min_area=9): "Rule(threshold=0.35, objects=False, min_area=9)",
    Rule((0.5, 0.25)): "Rule(threshold=(0.5, 0.25), objects=False, min_area=0)",
    Rule(objects=True, min_area=40): "Rule(threshold=0.5, objects=True, min_area=40)",
}


@pytest.mark.parametrize("rule", BEFORE, ids=str)
def test_names_of_rules_of_before_stay(rule):
    assert repr(rule) == BEFORE[rule]
    text = f"('a', {BEFORE[rule]})"
    assert short_hash(("a", rule)) == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "rule", [*BEFORE, Rule(0.3, fill_holes=4), Rule(min_area=(1, 2), top=0.7, top_area=9)], ids=str
)
def test_a_rule_is_its_text_and_its_json(rule):
    assert eval(repr(rule)) == rule
    assert Decoder()(json.loads(json.dumps(Encoder()(rule)))) == rule
    assert Rule(**json.loads(json.dumps(rule.facts))) == rule


def test_a_rule_in_a_file_of_before_is_read():
    kept = {
        "object": {"name": "kit.prediction.rule:Rule"},
        "fields": {"threshold": 0.4, "objects": False, "min_area": 7},
    }
    assert Decoder()(kept) == Rule(0.4, min_area=7)
