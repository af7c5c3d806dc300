"""A target whose objects are whole: each connected part of a label is one, and slivers are none."""

import numpy as np
from scipy import ndimage

from kit.data import whole_objects
from kit.data.label_images import SLIVER


def test_each_connected_part_is_an_object_of_its_own():
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 2:6] = labels[12:18, 20:26] = 7  # in two parts
    labels[6:9, 6:9] = 300  # touches 7 at a corner, and is another object
    labels[10, 2] = 12  # a true object of one pixel
    labels[0:2, 28:30] = labels[19, 10:13] = 40  # slivers at the edge
    labels[12:15, 2:5], labels[16, 2] = 41, 41  # a part and a sliver beside it
    found = whole_objects(labels)
    assert found.dtype == np.int64
    wanted = [(labels == 300), (labels == 12)]
    wanted += [(labels == 7) & (np.arange(30) < 10), (labels == 7) & (np.arange(30) >= 10), labels == 41]
    wanted[-1][16, 2] = False
    assert found.max() == len(wanted)
    for mask in wanted:
        [number] = np.unique(found[mask])
        np.testing.assert_array_equal(found == number, mask)


def test_random_labels_against_components_of_each():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(rng.integers(0, 5, (12, 12)), 4, axis=0), 4, axis=1).astype(np.int32)
    found, numbers = whole_objects(labels), []
    for label in range(1, 5):
        parts, count = ndimage.label(labels == label, np.ones((3, 3)))
        for part in range(1, count + 1):
            assert np.count_nonzero(parts == part) >= SLIVER
            own = np.unique(found[parts == part])
            assert len(own) == 1
            numbers.append(int(own[0]))
    assert sorted(numbers) == list(range(1, found.max() + 1))
    np.testing.assert_array_equal(found > 0, labels > 0)
    assert not whole_objects(np.zeros((5, 5), np.int32)).any()
