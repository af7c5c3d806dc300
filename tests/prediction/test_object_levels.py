"""Objects as levels: kept by score and area, and joined from several networks, against sets of pixels by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from kit.data.tasks import Task
from kit.prediction import Rule, Store, blended
from kit.prediction.drawing import draw
from kit.prediction.object_levels import LEVELS, MOST, joined, object_levels, read_objects
from kit.prediction.rule import channels_of

FOUND = Rule(objects=True, detected=True)
SIZE = (60, 80)


def detections(count, seed, size=SIZE):
    """Ellipses in overlapping boxes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:28, :28] - 13.5
    mask = 1 / (1 + np.exp(np.hypot(y, x) - 13))
    corners, sides = rng.uniform(-5, (size[1] - 5, size[0] - 5), (count, 2)), rng.uniform(4, 25, (count, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    return SimpleNamespace(boxes=boxes, scores=rng.random(count), classes=np.ones(count, int), masks=[mask] * count)


def levels_of(count, seed, size=SIZE):
    found = detections(count, seed, size)
    drawn = draw(found, size)
    return object_levels(drawn.labels, found.scores[drawn.kept])


def objects_in(levels):
    """Score and pixels of each object, the best first."""
    labels = levels[1] + 256 * levels[2].astype(int)
    found = []
    for number in np.unique(labels[labels > 0]):
        [score] = np.unique(levels[0][labels == number])
        found.append((int(score), frozenset(np.flatnonzero(labels == number).tolist())))
    return found


def test_a_threshold_afterwards_gives_what_it_gives_before_drawing():
    """Removing objects of low scores frees no pixel that another one wanted; so tuning needs no network."""
    for seed in range(10):
        found = detections(60, seed)
        drawn = draw(found, SIZE)
        levels = object_levels(drawn.labels, found.scores[drawn.kept])
        for threshold in (1 / 256, 0.25, 0.5, 0.8125):
            wanted = draw(found, SIZE, least_score=threshold).labels
            rule = Rule(threshold, objects=True, detected=True)
            mask = rule.mask(levels, SIZE)
            np.testing.assert_array_equal(mask, wanted)
            assert mask.dtype == np.int32
        areas = np.bincount(wanted.ravel())[1:]
        least = int(np.median(areas))
        kept = Rule(threshold, objects=True, detected=True, min_area=least).mask(levels, SIZE)
        np.testing.assert_array_equal(np.bincount(kept.ravel())[1:], areas[areas >= least])
        np.testing.assert_array_equal(kept > 0, np.isin(wanted, np.flatnonzero(areas >= least) + 1))
        largest = Rule(threshold, objects=True, detected=True, keep_largest=True).mask(levels, SIZE)
        np.testing.assert_array_equal(largest, wanted == np.argmax(areas) + 1)
        sure = int((levels[0] >= 230).sum())
        for area, is_there in ((sure, True), (sure + 1, False)):
            assert Rule(0.1, True, top=0.9, top_area=area, detected=True).mask(levels, SIZE).any() == is_there


def by_hand(parts, weights):
    """The objects of several networks joined: scores and sets of pixels, in order."""
    each = [(score, network, pixels) for network, levels in enumerate(parts) for score, pixels in objects_in(levels)]
    each = sorted([one for one in each if weights[one[1]]], key=lambda one: -one[0])
    groups = []
    for score, network, pixels in each:
        ious = [len(pixels & group["pixels"]) / len(pixels | group["pixels"]) for group in groups]
        best = max(range(len(groups)), key=lambda k: ious[k], default=None)
        if best is None or ious[best] <= 0.5:
            groups.append({"pixels": pixels, "sum": 0, "networks": []})
            best = len(groups) - 1
        groups[best]["sum"] += weights[network] * score
        groups[best]["networks"].append(network)
    taken, found = frozenset(), []
    for group in sorted(groups, key=lambda group: -group["sum"]):
        assert len(set(group["networks"])) == len(group["networks"])  # a network counts once
        own = group["pixels"] - taken
        if own and 2 * len(own) >= len(group["pixels"]):
            taken |= own
            found.append((int(np.floor(group["sum"] / sum(weights) + 0.5)), without_specks(own)))
    return [one for one in found if one[0]]


def without_specks(pixels):
    """The pixels of an object but those of parts of less than an eighth of it."""
    mask = np.isin(np.arange(SIZE[0] * SIZE[1]), list(pixels)).reshape(SIZE)
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(parts.ravel())
    return frozenset(np.flatnonzero(mask & (areas[parts] >= len(pixels) / 8)).tolist())


def test_objects_of_several_networks_are_joined():
    together = 0
    for seed in range(8):
        one = detections(25, seed)
        moved = SimpleNamespace(
            **{**vars(one), "boxes": one.boxes + np.random.default_rng(seed).normal(0, 1.5, (25, 4))}
        )
        moved.scores = np.random.default_rng(seed + 50).random(25)
        parts = [levels_of(25, seed)]
        drawn = draw(moved, SIZE)
        parts += [object_levels(drawn.labels, moved.scores[drawn.kept]), levels_of(10, seed + 100)]
        for weights in ((1, 1, 1), (3, 0, 2), (1, 5, 0)):
            found = joined(parts, weights)
            wanted = by_hand(parts, weights)
            assert objects_in(found) == wanted
            together += sum(score > 128 for score, _ in wanted)
        np.testing.assert_array_equal(joined(parts), joined(parts, (2, 2, 2)))
        np.testing.assert_array_equal(blended(parts, np.array([3, 0, 2]), SIZE, FOUND), joined(parts, (3, 0, 2)))
        for alone in ((0, 7, 0), (0, 0, 1)):
            np.testing.assert_array_equal(joined(parts, alone), parts[int(np.argmax(alone))])
    assert together > 20
    same = joined([parts[0]] * 3)
    assert objects_in(same) == objects_in(parts[0])


def test_what_one_of_four_networks_found_has_a_quarter_of_its_score():
    labels = np.zeros((20, 20), np.int32)
    labels[2:9, 2:9] = 1
    nothing = object_levels(np.zeros((20, 20), np.int32), np.zeros(0))
    found = joined([nothing, object_levels(labels, np.array([0.9])), nothing, nothing])
    assert objects_in(found)[0][0] == round(230 / 4)
    assert not FOUND.mask(found, (20, 20)).any()
    assert not joined([nothing, nothing]).any()


def test_many_objects_come_back_from_the_store(tmp_path):
    labels = np.arange(300 * 300, dtype=np.int32).reshape(300, 300) % 66_000
    labels[labels > 40_000] = 0
    levels = object_levels(labels, np.linspace(1, 0.004, 40_000))
    store = Store(tmp_path, channels_of(Task("instances", ("background", "cell")), FOUND), FOUND)
    store.write("a", levels)
    found, scores = read_objects(store.read("a"))
    np.testing.assert_array_equal(found, labels)
    assert scores.tolist() == [0, *np.clip(np.linspace(1, 0.004, 40_000) * 256, 0, 255).astype(int)]
    assert store.mask("a", (300, 300)).max() == np.count_nonzero(scores >= 128)
    with pytest.raises(ValueError, match="an image with 65,536 objects; 65,535 can be kept"):
        object_levels(labels, np.ones(MOST + 1))
    # a score below the lowest step would read as no object
    faint = object_levels(np.array([[0, 1, 2]], np.int32), np.array([0.5, 0.003]))
    np.testing.assert_array_equal(faint[:, 0], [[0, 128, 0], [0, 1, 0], [0, 0, 0]])


def test_what_cannot_be_is_refused():
    levels = levels_of(5, 0)
    assert len(levels) == LEVELS
    with pytest.raises(ValueError, match="drawn at 60×80 pixels, asked for at 30×40: a label image is not resized"):
        FOUND.mask(levels, (30, 40))
    with pytest.raises(ValueError, match=r"levels of uint8 \(1, 60, 80\): those of objects are uint8 \(3, H, W\)"):
        FOUND.mask(levels[:1], SIZE)
    with pytest.raises(ValueError, match=r"objects drawn at several sizes: \[\(30, 80\), \(60, 80\)\]"):
        joined([levels, levels[:, :30]])
    for wrong in ({"objects": False}, {"fill_holes": 9}, {"border": True}):
        with pytest.raises(ValueError, match="expected objects=True, border=False and fill_holes=0"):
            Rule(**{"objects": True, "detected": True, **wrong})


def test_old_rules_are_named_as_before():
    assert repr(Rule(objects=True)) == "Rule(threshold=0.5, objects=True, min_area=0)"
    assert repr(FOUND) == "Rule(threshold=0.5, objects=True, min_area=0, detected=True)"
    assert Rule(**FOUND.facts) == FOUND
