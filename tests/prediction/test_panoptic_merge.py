"""Things and stuff merged into one image, against the authors' steps on full-size masks, written out here."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from kit.models.mask_rcnn import Detections
from kit.prediction.panoptic import by_components, draw_things, merge

SIZE = (90, 120)
STUFF = (3, 4, 5)


def authors_way(masks, scores, classes, semantic, stuff_area):
    """combine_semantic_and_instance_predictions of panopticapi, from its description in the paper."""
    labels, found = np.zeros(semantic.shape, int), []
    for k in sorted(range(len(scores)), key=lambda k: -scores[k]):
        wanted = masks[k] & (labels == 0)
        area = masks[k].sum()
        if scores[k] < 0.5 or area == 0 or (area - wanted.sum()) / area > 0.5 or not wanted.any():
            continue
        found.append(classes[k])
        labels[wanted] = len(found)
    for k in STUFF:
        wanted = (semantic == k) & (labels == 0)
        if wanted.any() and wanted.sum() >= stuff_area:
            found.append(k)
            labels[wanted] = len(found)
    return labels, found


def scene(seed):
    """Boxes of things with all of their masks, and a map of classes in patches."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(-10, 100, (12, 2))
    boxes = np.concatenate([corners, corners + rng.integers(4, 50, (12, 2))], axis=1)
    masks = np.zeros((12, *SIZE), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, np.maximum(boxes, 0), strict=True):
        mask[y0:y1, x0:x1] = True
    semantic = np.repeat(np.repeat(rng.integers(0, 7, (9, 12)), 10, axis=0), 10, axis=1).astype(np.uint8)
    return boxes, masks, rng.permutation(np.linspace(0.2, 0.95, 12)), rng.integers(0, 3, 12), semantic


def test_the_merge_is_that_of_the_paper():
    left_out = 0
    for seed in range(30):
        boxes, masks, scores, classes, semantic = scene(seed)
        # cells of 2 around: boxes are drawn whole, corners too
        ones = np.ones((12, 28, 28), np.float32) * 4
        found = Detections(*map(torch.from_numpy, (boxes, scores, classes + 1, ones)))
        merged = merge(*draw_things(found, SIZE), semantic, STUFF, stuff_area=500)
        labels, wanted = authors_way(masks, scores, classes, semantic, 500)
        np.testing.assert_array_equal(merged.labels, labels)
        assert list(merged.classes.items()) == list(enumerate(wanted, start=1))
        assert merged.labels.dtype == np.int32
        left_out += np.count_nonzero(scores >= 0.5) - sum(k < 3 for k in merged.classes.values())
        assert not np.isin(semantic[merged.labels == 0], STUFF).all()  # things of the map without an object are void
    assert left_out > 20  # that others had taken


def test_components_of_a_class_are_things_without_a_network_for_them():
    for seed in range(5):
        *_, semantic = scene(seed)
        merged = by_components(semantic, things=(0, 1, 2), stuff=STUFF, thing_area=150, stuff_area=500)
        wanted, classes = np.zeros(SIZE, int), []
        for k in (0, 1, 2):
            parts, count = ndimage.label(semantic == k, np.ones((3, 3)))
            for part in range(1, count + 1):
                if np.count_nonzero(parts == part) >= 150:
                    classes.append(k)
                    wanted[parts == part] = len(classes)
        for k in STUFF:
            if np.count_nonzero(semantic == k) >= 500:
                classes.append(k)
                wanted[semantic == k] = len(classes)
        assert list(merged.classes.items()) == list(enumerate(classes, start=1))
        np.testing.assert_array_equal(merged.labels, wanted)
        assert {0, 1, 2, 3} & set(classes)


def test_an_image_without_anything_is_void():
    nothing = np.full(SIZE, 255, np.uint8)
    for merged in (merge(np.zeros(SIZE, np.int32), [], nothing, STUFF, 0), by_components(nothing, (0,), STUFF, 0, 0)):
        assert not merged.labels.any()
        assert merged.classes == {}


def test_objects_that_do_not_fit_the_map_are_refused():
    objects = np.zeros(SIZE, np.int32)
    with pytest.raises(ValueError, match=r"objects \(90, 120\) and the map of classes \(90, 90\) differ in size"):
        merge(objects, [], np.zeros((90, 90), np.uint8), STUFF)
    objects[3, 4] = 3
    with pytest.raises(ValueError, match="there is an object 3, and classes of 2 objects"):
        merge(objects, [1, 2], objects, STUFF)
