"""Blends of runs: exact on the undecided pixels, chosen as Caruana's greedy selection does, cross-fitted."""

import functools

import cv2
import numpy as np
import pytest

from kit.prediction import Rule, blended
from kit.prediction.blended import undecided
from kit.prediction.enlarge import sums_at
from kit.scoring import (
    Costs,
    DatasetDice,
    DatasetIoU,
    MeanDice,
    MeanDicePerClass,
    MeanIoU,
    Mix,
    PixelPool,
    PrecisionOverThresholds,
    blend,
    confusion_matrix,
    layer_of,
)
from kit.scoring.blend_classes import ClassPool, rivals_of
from kit.scoring.blend_pools import MaskPool, alike
from kit.scoring.blend_search import Judge, greedy
from kit.scoring.blending import enough

SIZE, REACH = (100, 150), (-64, 64)


def drawn(rng, shape, wavering):
    """Levels u8 of a disc with a border that wavers, and its truth at SIZE."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    angle, distance = np.arctan2(y - 50, x - 75), np.hypot(y - 50, x - 75)
    waves = sum(np.sin(k * angle + phase) for k, phase in zip((3, 7, 11), rng.uniform(0, 6, 3), strict=True))
    probs = 1 / (1 + np.exp((distance - 30 - wavering * waves) / 3))
    return cv2.resize((255 * probs).astype(np.uint8), shape[::-1], interpolation=cv2.INTER_AREA)


def disc():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return (np.hypot(y - 50, x - 75) < 30).astype(np.uint8)


def layer(maps, truth, level=128):
    """What kit.runs.blend_pool makes of the maps of an image."""
    size = truth.shape
    pixels, above = undecided(maps, size, level + REACH[0], level + REACH[1])
    own = truth.reshape(-1)[pixels]
    decided = confusion_matrix(truth, above, 2) - confusion_matrix(own, above.reshape(-1)[pixels], 2)
    return layer_of(np.stack([sums_at(one, size, pixels) for one in maps]), own, decided, 4 * truth.size, level)


@functools.cache
def drawn_images(count=20, shapes=((32, 48), (32, 48), (50, 75))):
    """Of each image the levels of each run, and the truth, of which a corner is ignored."""
    rng = np.random.default_rng(0)
    truth = disc()
    truth[:9, :9] = 255
    truth[50:60, 70:105] = 255
    return [([drawn(rng, shape, 1 + r) for r, shape in enumerate(shapes)], truth) for _ in range(count)]


def pool_of(images, metric, level=128):
    return PixelPool([[layer(maps, truth, level)] for maps, truth in images], metric, REACH)


@pytest.mark.parametrize("metric", [MeanDice(), DatasetIoU(), MeanIoU(2), PrecisionOverThresholds()])
def test_pruned_equals_brute_force(metric):
    images = drawn_images()
    pool, rng = pool_of(images, metric), np.random.default_rng(1)
    assert np.mean([own[0].truth.size for own in pool.images]) < 0.2 * SIZE[0] * SIZE[1]
    for _ in range(6):
        weights, shift = rng.integers(0, 9, 3) + np.eye(3, dtype=int)[0], int(rng.integers(-64, 65))
        rule = Rule((128 + shift) / 256)
        masks = [rule.mask(blended([m[None] for m in maps], weights, SIZE, rule), SIZE) for maps, _ in images]
        brute = np.array([metric.counts(truth, mask) for (_, truth), mask in zip(images, masks, strict=True)])
        mix = alike(weights, 1).with_shift(shift)
        np.testing.assert_allclose(pool.counts(mix), brute, rtol=0, atol=1e-12)
        shifts, counts = pool.shifted(mix, None, 5)
        np.testing.assert_allclose(counts[shifts.index(0)], brute, rtol=0, atol=1e-12)


@pytest.mark.parametrize("level", [128, 66, 190])  # from a cut near an end the other end is far
def test_steps_and_shifts_are_the_blends_that_they_stand_for(level):
    opposed = [np.random.default_rng(r).choice(np.array([0, 255], np.uint8), SIZE) for r in range(3)]
    pool = pool_of([*drawn_images(), (opposed, disc())], MeanDice(), level)
    for weights in ((0, 0, 0), (1, 0, 0), (2, 0, 0), (0, 0, 2), (3, 1, 7)):
        for r, counts in enumerate(pool.steps(alike(weights, 1))):
            np.testing.assert_array_equal(counts, pool.counts(alike(np.array(weights) + np.eye(3, dtype=int)[r], 1)))
    mix = alike((3, 1, 7), 1).with_shift(60)
    shifts, counts = pool.shifted(mix, None, 9)
    assert shifts == list(range(-9, 5))
    for shift, found in zip(shifts, counts, strict=True):
        np.testing.assert_array_equal(found, pool.counts(mix.with_shift(shift)))


@pytest.mark.parametrize("weights", [(1, 0, 0), (5, 3, 2)])
def test_blends_close_to_one_are_counted_on_fewer_pixels(weights):
    pool, rng = pool_of(drawn_images(), MeanDice()), np.random.default_rng(3)
    centre = alike(weights, 1).with_shift(-20)
    close = pool.around(centre, None, 1 / 8, 8)
    assert close.reach == (-28, -12)
    assert sum(one[0].truth.size for one in close.images) < 0.6 * sum(one[0].truth.size for one in pool.images)
    members = np.flatnonzero(weights)
    for _ in range(20):
        moved = 512 * np.array(weights) // sum(weights)
        one, other = rng.choice(members, 2)
        part = int(rng.integers(0, min(64, moved[one]) + 1))
        moved[one] -= part
        moved[other] += part
        mix = alike(moved, 1).with_shift(int(rng.integers(-28, -11)))
        np.testing.assert_array_equal(close.counts(mix), pool.counts(mix))


def test_large_images_are_counted_in_wide_numbers():
    maps = [np.array([[0, 255]], np.uint8), np.array([[255, 0]], np.uint8)]
    truth = np.zeros((1, 2), np.uint8)
    pixels = np.arange(2)
    sums = np.stack([sums_at(one, (1, 2), pixels) for one in maps]) * 10**8
    own = layer_of(sums, truth.reshape(-1), np.zeros((2, 2), np.int64), 8 * 10**8, 128)
    assert own.values.dtype == np.int64
    pool = PixelPool([[own]], DatasetDice(), REACH)
    assert pool.counts(alike([1, 1], 1).with_shift(0)).tolist() == [[0, 2]]  # 127.5 is foreground, as Rule has it
    assert pool.counts(alike([1, 1], 1).with_shift(1)).tolist() == [[0, 0]]


def plain_caruana(levels, truths, rows, steps=25):
    """Greedy selection with replacement, as the paper says it: one run at a time, each mean made anew.

    levels: int (R, n, P) at the images' own size. Returns the weights of the best prefix.
    """

    levels, truths = levels[:, rows], truths[rows]
    bag, best, best_score = [], None, -1.0
    for _ in range(steps):
        means = levels[bag].sum(axis=0) + levels  # of the bag with each of the runs, times their number
        masks = 2 * means >= 255 * (len(bag) + 1)
        sizes, hits = masks.sum(axis=2) + truths.sum(axis=1), (masks & truths).sum(axis=2)
        scores = np.round(np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 1.0).mean(axis=1), 6).tolist()
        equal = [r for r, one in enumerate(scores) if one == max(scores)]
        bag = [*bag, next((r for r in equal if r in bag), equal[0])]
        if max(scores) > best_score:
            best, best_score = list(bag), max(scores)
    return np.bincount(best, minlength=len(levels))


def small_store(rng):
    runs, count, pixels = rng.integers(2, 6), rng.integers(2, 5), rng.integers(4, 12)
    truths = rng.random((count, pixels)) < rng.uniform(0.1, 0.9)
    skill = rng.uniform(20, 150, (runs, 1, 1))
    levels = (128 + np.where(truths, 1, -1) * 60 + rng.normal(0, skill, (runs, count, pixels))).clip(0, 255)
    return levels.astype(np.uint8), truths


@pytest.mark.parametrize("stores", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_greedy_is_a_plain_caruana(stores):
    rng, uneven = np.random.default_rng(2), 0
    for _ in range(stores):
        levels, truths = small_store(rng)
        images = [([own[i][None] for own in levels], truths[i][None].astype(np.uint8)) for i in range(len(truths))]
        pool = pool_of(images, MeanDice())
        rows = np.flatnonzero(rng.random(len(truths)) < 0.8) if len(truths) > 2 else np.arange(len(truths))
        rows = rows if len(rows) else np.arange(len(truths))
        found = greedy(Judge(pool, rows, MeanDice.score), alike([0] * pool.runs, 1))
        expected = plain_caruana(levels.astype(int), truths, rows)
        assert found.weights[0] == tuple((expected // np.gcd.reduce(expected)).tolist())
        uneven += len(set(expected) - {0}) > 1
    assert uneven > stores / 10  # many of them are more than an equal mean


def noisy_images(rng, count, noise):
    """Runs whose errors are independent, so that a blend is better; as many runs as `noise` has values."""
    truth, images = disc(), []
    for _ in range(count):
        clean = cv2.GaussianBlur(truth.astype(np.float32) * 160 + 48, (0, 0), 4)
        maps = [
            (clean + cv2.resize(rng.normal(0, one, (10, 15)), SIZE[::-1], interpolation=cv2.INTER_CUBIC))
            for one in noise
        ]
        images.append(([one.clip(0, 255).astype(np.uint8) for one in maps], truth))
    return images


FOLDS, GROUPS = np.arange(40) % 5, [f"g{i % 20}" for i in range(40)]


@functools.cache
def good_pool():
    return pool_of(noisy_images(np.random.default_rng(3), 40, (40, 45, 50, 90)), MeanDice())


def test_a_blend_of_good_runs_wins_and_its_parts_fit():
    pool = good_pool()
    found = blend(pool, FOLDS, GROUPS)
    names = [one.name for one in found.candidates]
    assert names == ["best run", "equal mean", "best k, equal", "greedy", "weights and threshold"]
    best, chosen = found.candidates[0], found.chosen
    assert chosen.score > best.score + 0.01
    assert best.score + 0.01 < found.expected.value < chosen.score
    assert found.gain.value == pytest.approx(found.expected.value - best.score)
    assert found.gain.low > 0
    for one in found.candidates:
        for fold, mix in one.picks.items():
            held = np.flatnonzero(fold == FOLDS)
            np.testing.assert_array_equal(one.counts[held], pool.counts(mix)[held])
        assert one.tuned == pytest.approx(MeanDice.score(pool.counts(one.mix).sum(axis=0)))
    for r, alone in enumerate(found.runs):
        weights = np.eye(4, dtype=int)[r]
        assert alone.value == MeanDice.score(pool.counts(alike(weights, 1)).sum(axis=0))
    tuned = {one.name: one.tuned for one in found.candidates}
    assert tuned["weights and threshold"] >= tuned["greedy"] >= tuned["best run"]


def test_what_is_scored_has_no_say_in_the_choice():
    """Other predictions of a fold's images change no pick of that fold."""
    images = noisy_images(np.random.default_rng(3), 40, (40, 45, 90))
    others = noisy_images(np.random.default_rng(4), 40, (90, 45, 40))
    mixed = [other if fold == 2 else own for own, other, fold in zip(images, others, FOLDS, strict=True)]
    found, changed = (blend(pool_of(each, MeanDice()), FOLDS, GROUPS) for each in (images, mixed))
    for one, other in zip(found.candidates, changed.candidates, strict=True):
        assert one.picks[2] == other.picks[2]
    assert found.candidates[4].mix != changed.candidates[4].mix


@pytest.mark.slow
def test_a_useless_run_costs_nothing():
    images = noisy_images(np.random.default_rng(5), 40, (40, 45, 50, 55, 60))
    rng = np.random.default_rng(6)
    more = [([*maps, rng.integers(0, 256, (10, 15)).astype(np.uint8)], truth) for maps, truth in images]
    five, six = (blend(pool_of(each, MeanDice()), FOLDS, GROUPS, steps=10) for each in (images, more))
    assert six.chosen.score > five.chosen.score - 1e-5
    assert 5 not in six.chosen.mix.members


def test_copies_of_one_run_are_a_blend_of_one():
    images = [([maps[0]] * 3, truth) for maps, truth in noisy_images(np.random.default_rng(7), 20, (60,))]
    found = blend(pool_of(images, MeanDice()), FOLDS[:20], GROUPS[:20])
    assert found.candidates[3].mix.members == (0,)
    assert found.chosen.name in {"best run", "weights and threshold"}
    assert found.chosen.mix.members == (0,)


def test_the_budget_limits_the_members():
    pool = good_pool()
    found = blend(pool, FOLDS, GROUPS, costs=Costs([10, 10, 20, 5], budget=21))
    assert not found.candidates[1].is_affordable  # the mean of all
    assert found.chosen.is_affordable
    assert found.chosen.cost <= 21
    assert len(found.chosen.mix.members) == 2
    alone = blend(pool, FOLDS, GROUPS, costs=Costs([10, 10, 20, 5], budget=7))
    assert alone.chosen.mix.members == (3,)
    with pytest.raises(ValueError, match="every run costs more than the budget of 1 seconds"):
        blend(pool, FOLDS, GROUPS, costs=Costs([10, 10, 20, 5], budget=1))


def test_one_fold_is_cross_fitted_by_groups():
    found = blend(good_pool(), np.zeros(40, int), GROUPS, steps=3)
    assert sorted(found.candidates[0].picks) == [0, 1, 2, 3, 4]
    assert found.unchosen == ()
    with pytest.raises(ValueError, match="of one fold and of one group"):
        blend(good_pool(), np.zeros(40, int), ["g"] * 40)
    with pytest.raises(ValueError, match="got 40 folds and 3 groups for 40 images"):
        blend(good_pool(), np.zeros(40, int), ["g"] * 3)


@pytest.mark.parametrize("folds", [np.zeros(40, int), np.arange(40) % 2])
def test_of_two_groups_the_expected_score_is_that_of_the_best_run_and_it_is_known(folds):
    pool, groups = good_pool(), ["left", "right"] * 20
    found = blend(pool, folds, groups, steps=3)
    assert found.unchosen == (0, 1)
    assert all(len(mix.members) == 1 for mix in found.nested.values())
    assert found.expected.value == found.candidates[0].score
    assert blend(pool, folds, ["left", "right", "left", "other"] * 10, steps=3).unchosen == ()


def test_whole_masks_give_the_same_blend():
    """The slow path and the pruned one, where both may be taken; the search tries fewer thresholds there."""
    images = noisy_images(np.random.default_rng(8), 20, (40, 50, 60))

    def count(i, weights, shifts):
        maps, truth = images[i]
        rule = Rule((128 + shifts[0]) / 256)
        mask = rule.mask(blended([one[None] for one in maps], weights, SIZE, rule), SIZE)
        return MeanDice().counts(truth, mask)

    slow, fast = MaskPool(count, (20, 1, 3), MeanDice(), REACH), pool_of(images, MeanDice())
    rows = np.arange(20)
    start = alike([0, 0, 0], 1)
    found = greedy(Judge(slow, rows, MeanDice.score), start, steps=6)
    assert found == greedy(Judge(fast, rows, MeanDice.score), start, steps=6)
    shifts, counts = slow.shifted(found.with_shift(60), None, 8)
    assert shifts == [-8, -4, -2, 0, 2, 4]
    for shift, own in zip(shifts, counts, strict=True):
        np.testing.assert_array_equal(own, fast.counts(found.with_shift(60 + shift)))


@pytest.mark.slow
def test_each_class_may_have_its_own_weights():
    """Run 0 is good at one class, run 1 at the other."""
    rng = np.random.default_rng(9)
    parts = [noisy_images(rng, 40, noise) for noise in ((40, 160), (160, 40))]
    layers = [[layer(*one[i]) for one in parts] for i in range(40)]
    pool = PixelPool(layers, MeanDicePerClass(2), REACH, overlapping=True)
    classes = enough(np.ones((40, 2), bool), GROUPS)
    found = blend(pool, FOLDS, GROUPS, classes=classes)
    assert found.chosen.name == "weights of each class"
    first, second = found.chosen.mix.weights
    assert first[0] > first[1]
    assert second[1] > second[0]
    mix = Mix(((1, 0), (0, 1)), (0, 0))
    brute = []
    for i in range(40):
        masks = [Rule().mask(one[i][0][k][None], SIZE) for k, one in enumerate(parts)]
        brute.append(MeanDicePerClass(2).counts(np.stack([disc()] * 2, axis=2) > 0, np.stack(masks, axis=2) > 0))
    np.testing.assert_allclose(pool.counts(mix), brute, rtol=0, atol=1e-12)


def test_all_pools_keep_no_more_counts_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("kit.scoring.blend_pools.KEPT_BYTES", 5000)
    truth, rng = disc(), np.random.default_rng(0)
    maps = np.stack([certain(truth, 3, 200.0), certain(np.roll(truth, 9), 3, 150.0)])
    asked = []

    def count(i, weights, shifts):
        asked.append(weights.tolist())
        return np.array([weights[0, 0], weights.sum()], float)

    pools = [
        pool_of([(one[:2], own) for one, own in drawn_images(4)], MeanDice()),
        ClassPool([rivals_of(maps, truth)], MeanIoU(3)),
        MaskPool(count, (4, 1, 2), MeanDice()),
    ]
    mixes = [alike(rng.integers(1, 10**6, 2), 1) for _ in range(200)]
    for pool in pools:
        found = [pool.counts(mix) for mix in mixes]
        kept = list(pool._kept._arrays.values())
        assert 1 < len(kept) < 200
        assert sum(one.nbytes for one in kept) <= 5000
        for mix, counts in zip(mixes, found, strict=True):
            np.testing.assert_array_equal(pool.counts(mix), counts)
    before = len(asked)
    pools[2].counts(mixes[-1])
    assert len(asked) == before


def certain(classes, of, level):
    """Levels f32 (of, H, W) that are highest for the class of each pixel."""
    return np.where(classes == np.arange(of)[:, None, None], level, (255 - level) / 2).astype(np.float32)


def test_a_class_that_no_truth_holds_counts_only_against_runs_that_predict_it():
    """Run 1 errs less, but sees a third class everywhere, which costs it a third of its score."""
    rng, rivals = np.random.default_rng(0), []
    for _ in range(24):
        truth = (rng.random((16, 16)) < 0.4).astype(np.uint8)
        one, other = (np.where(rng.random(truth.shape) < share, 1 - truth, truth) for share in (0.1, 0.04))
        other[0, 0] = 2
        rivals.append(rivals_of(np.stack([certain(one, 3, 150.0), certain(other, 3, 200.0)]), truth))
    found = blend(ClassPool(rivals, MeanIoU(3)), np.arange(24) % 4, [f"g{i}" for i in range(24)])
    best = found.candidates[0]
    assert {best.mix, *best.picks.values()} == {alike([1, 0], 1)}
    assert best.score == best.tuned == found.runs[0].value > found.runs[1].value + 0.1
    assert found.chosen.score >= max(one.value for one in found.runs)


def test_classes_with_few_images_or_groups_share_the_weights():
    held = np.zeros((40, 3), bool)
    held[:, 0] = held[:19, 1] = held[[i for i in range(40) if i % 20 < 4], 2] = True
    assert enough(held, GROUPS) == [0]
