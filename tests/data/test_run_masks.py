"""Runs of large masks: any region, any order, pieces of any size. Truth: the mask in memory and kit's own encoder."""

import numpy as np
import pytest

from kit.data.run_masks import RunCollector, RunMask, run_mask_of
from kit.submission import rle

SHAPE = (61, 43)


def drawn(seed, labels=2, shape=SHAPE):
    """Blobs of several labels, some touching each other and the borders."""
    noise = np.random.default_rng(seed).random((-(-shape[0] // 4), -(-shape[1] // 4)))
    large = np.kron(noise, np.ones((4, 4)))[: shape[0], : shape[1]]
    return (large * labels * 1.3).clip(0, labels - 1).astype(np.uint8)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("seed", range(4))
def test_every_region_is_that_of_the_decoded_mask(order, seed):
    mask = drawn(seed)
    runs = RunMask.of_text({1: rle.encode(mask, order)}, SHAPE, order)
    random = np.random.default_rng(seed)
    for _ in range(60):
        y, x = random.integers(0, SHAPE[0]), random.integers(0, SHAPE[1])
        height, width = random.integers(1, SHAPE[0] - y + 1), random.integers(1, SHAPE[1] - x + 1)
        np.testing.assert_array_equal(runs.read(y, x, height, width), mask[y : y + height, x : x + width])
    np.testing.assert_array_equal(runs.read(0, 0, *SHAPE), mask)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rows", [1, 7, 61])
@pytest.mark.parametrize("labels", [2, 4])
def test_bands_of_any_height_give_the_run_lengths_of_the_whole(order, rows, labels):
    for seed in range(6):
        mask = drawn(seed, labels)
        mask[0], mask[:, 0] = (labels - 1) * (seed % 2), (labels - 1) * (seed // 2 % 2)
        collected = run_mask_of((mask[y : y + rows] for y in range(0, SHAPE[0], rows)), SHAPE, order)
        for label in range(1, labels):
            edges = collected.edges.get(label, np.empty(0, np.int64))
            assert rle.encode_edges(edges, mask.size) == rle.encode(mask == label, order)
        np.testing.assert_array_equal(collected.read(0, 0, *SHAPE), mask)


@pytest.mark.parametrize("order", ["C", "F"])
def test_full_and_empty_masks(order):
    for value in (0, 1):
        mask = np.full(SHAPE, value, np.uint8)
        found = run_mask_of([mask[:20], mask[20:]], SHAPE, order)
        assert found.count(1) == mask.sum()
        np.testing.assert_array_equal(found.read(3, 4, 9, 8), mask[3:12, 4:12])


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_pixels_of_a_class_are_counted_through(order):
    mask = drawn(3, 3)
    runs = run_mask_of([mask], SHAPE, order)
    np.testing.assert_array_equal(runs.counts()[:3], np.bincount(mask.ravel()))
    for label in (1, 2):
        found = {runs.pixel(label, number) for number in range(runs.count(label))}
        assert found == set(zip(*(axis.tolist() for axis in np.nonzero(mask == label)), strict=True))


def test_labels_are_joined_by_their_meaning():
    mask = drawn(5, 4)
    found = run_mask_of([mask], SHAPE).relabelled({1: 0, 2: 1, 3: 1})
    np.testing.assert_array_equal(found.read(0, 0, *SHAPE), mask >= 2)
    assert rle.encode_edges(found.edges[1], mask.size) == rle.encode(mask >= 2)


@pytest.mark.parametrize("text", ["1", "0 4", "1 0", "5 3 6 2", "9 1 2 1", "1 2624", "1 x", "-1 2", "1.5 2"])
def test_malformed_run_lengths_are_refused(text):
    with pytest.raises(ValueError, match=r"run|class"):
        RunMask.of_text({1: text}, SHAPE, "F")


@pytest.mark.parametrize("order", ["C", "F"])
def test_runs_of_classes_may_overlap(order):
    first, second = drawn(0), drawn(1)
    runs = RunMask.of_text({1: rle.encode(first, order), 3: rle.encode(second, order)}, SHAPE, order)
    for label, expected in ((1, first), (2, np.zeros(SHAPE)), (3, second)):
        np.testing.assert_array_equal(runs.layer(label).read(0, 0, *SHAPE), expected)
    assert (first & second).any()
    assert runs.covered() == (first | second).sum()
    assert RunMask(SHAPE, order, {}).covered() == 0


@pytest.mark.parametrize("order", ["C", "F"])
def test_several_texts_of_a_class_are_united(order):
    parts = [drawn(seed) == 1 for seed in range(4)]
    texts = [rle.encode(part, order) for part in parts]
    runs = RunMask.of_text({1: texts, 2: [], 5: [texts[0], "", texts[0]]}, SHAPE, order)
    np.testing.assert_array_equal(runs.layer(1).read(0, 0, *SHAPE), np.any(parts, axis=0))
    assert rle.encode_edges(runs.edges[1], parts[0].size) == rle.encode(np.any(parts, axis=0), order)
    assert rle.encode_edges(runs.edges[5], parts[0].size) == texts[0]
    assert runs.count(2) == 0
    assert runs.overlaps()
    assert not RunMask.of_text({1: "1 3 9 1", 2: "4 5"}, SHAPE, order).overlaps()
    for odd in ("9 1 2 1", "1 9999999"):
        with pytest.raises(ValueError, match="runs of class 1"):
            RunMask.of_text({1: ["1 2", odd]}, SHAPE, order)


def test_regions_outside_and_missing_rows_are_refused():
    runs = RunMask(SHAPE, "C", {})
    with pytest.raises(ValueError, match="not inside"):
        runs.read(60, 0, 2, 2)
    with pytest.raises(ValueError, match="rows were added"):
        RunCollector("C", SHAPE).add(np.zeros((5, SHAPE[1]), np.uint8)).mask()
