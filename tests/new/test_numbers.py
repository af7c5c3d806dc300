"""Tests for kit/new/look/numbers.py: whether numbers in masks are classes or count objects."""

import cv2
import numpy as np
import pytest

from kit.new import Wishes, choose
from kit.new.look.labels import labels_of
from kit.new.look.numbers import is_own

SIZE = 96


def verdict(draw, count=24, seed=0):
    rng = np.random.default_rng(seed)
    return labels_of([draw(rng, number) for number in range(count)]).verdict.kind


def organs(rng, number, missing=()):
    """Liver, spleen and kidney: each where it always is, a few pixels to and fro."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for label, (place, radius) in enumerate(zip([(30, 30), (32, 68), (66, 48)], (18, 9, 11), strict=True), start=1):
        if label not in missing:
            middle = [int(v) for v in np.array(place) + rng.integers(-5, 6, 2)]
            cv2.circle(mask, middle[::-1], int(radius + rng.integers(-2, 3)), label, -1)
    return mask


def slices(rng, number):
    return organs(rng, number, missing=((), (3,), (2, 3), ())[number % 4])


def teeth(rng, number):
    """Sixteen in two rows, some missing."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for label in range(1, 17):
        if rng.random() < 0.9:
            middle = 10 + 11 * ((label - 1) % 8), (34, 60)[label > 8]
            cv2.circle(mask, [int(v) for v in np.array(middle) + rng.integers(-1, 2, 2)], 4, label, -1)
    return mask


def tumour(rng, number):
    """A tumour in a liver that lies anywhere: numbered without gaps, and not in all images."""
    mask, middle = np.zeros((SIZE, SIZE), np.uint8), rng.integers(26, 70, 2)
    cv2.circle(mask, middle.tolist(), 24, 1, -1)
    if number % 3:
        cv2.circle(mask, (middle + rng.integers(-10, 11, 2)).tolist(), 4, 2, -1)
    return mask


def nuclei(rng, number, most=12, by_rows=True):
    """Numbered from the top, as programs do it, or in any order."""
    places = rng.permutation(16)[: rng.integers(1, most + 1)]
    mask = np.zeros((SIZE, SIZE), np.uint16)
    for label, place in enumerate(sorted(places) if by_rows else places, start=1):
        middle = 12 + 24 * int(place % 4), 12 + 24 * int(place // 4)
        cv2.circle(mask, middle, int(rng.integers(4, 11)), label, -1)
    return mask


def few_nuclei(rng, number):
    return nuclei(rng, number, most=3, by_rows=False)


def shuffled_nuclei(rng, number):
    return nuclei(rng, number, by_rows=False)


def always_three(rng, number):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for label, place in enumerate(rng.permutation(16)[:3], start=1):
        cv2.circle(mask, (12 + 24 * int(place % 4), 12 + 24 * int(place // 4)), int(rng.integers(5, 11)), label, -1)
    return mask


def things(rng, number):
    """Two of twelve classes, anywhere."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for label, place in zip(rng.permutation(12)[:2] + 1, rng.permutation(16), strict=False):
        cv2.circle(mask, (12 + 24 * int(place % 4), 12 + 24 * int(place // 4)), 9, int(label), -1)
    return mask


def with_void(rng, number):
    mask = nuclei(rng, number)
    return np.where(cv2.dilate(mask, np.ones((3, 3))) != mask, 255, mask).astype(np.uint8)


CLASSES = [organs, slices, teeth, things]
OBJECTS = [nuclei, few_nuclei, shuffled_nuclei, with_void]


@pytest.mark.parametrize("draw", CLASSES)
def test_what_has_its_own_place_or_leaves_gaps_is_a_class(draw):
    assert [verdict(draw, seed=seed) for seed in range(6)] == ["classes"] * 6


@pytest.mark.parametrize("draw", OBJECTS)
def test_numbers_without_a_place_or_size_of_their_own_count_objects(draw):
    assert [verdict(draw, seed=seed) for seed in range(6)] == ["objects"] * 6


@pytest.mark.parametrize("draw", [always_three, tumour])
def test_what_could_be_both_is_not_guessed(draw):
    assert [verdict(draw, seed=seed) for seed in range(6)] == ["unclear"] * 6


def write(folder, draw, paint, count=24):
    """Images in which number k of a mask has the grey paint(random generator, k)."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        mask = draw(rng, number)
        grey = np.array([80, *(paint(rng, label) for label in range(1, 30))])
        image = np.clip(grey[mask][..., None] + rng.normal(0, 8, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"images/{number}.png"), image)
        cv2.imwrite(str(folder / f"masks/{number}.png"), mask)
    return folder


def test_brightness_tells_classes_that_lie_anywhere(tmp_path):
    folder = write(tmp_path, always_three, lambda rng, label: 90 + 40 * label)
    meaning = choose(folder, Wishes(device="cpu", groups="none")).meaning
    assert (meaning.task, len(meaning.classes)) == ("multiclass", 4)


def test_what_is_unclear_is_asked_for_and_the_answer_is_obeyed(tmp_path):
    folder = write(tmp_path, always_three, lambda rng, label: int(rng.integers(120, 220)))
    with pytest.raises(ValueError, match="--task multiclass or --task instances"):
        choose(folder, Wishes(device="cpu", groups="none"))
    for task in ("multiclass", "instances"):
        assert choose(folder, Wishes(task=task, device="cpu", groups="none")).meaning.task == task
    assert choose(folder, Wishes(classes=tuple("abcd"), device="cpu", groups="none")).meaning.task == "multiclass"


def test_a_trait_is_not_found_in_noise():
    rng = np.random.default_rng(0)
    numbers = np.arange(60) % 6
    assert sum(is_own(numbers, rng.normal(size=60)) for _ in range(300)) <= 3
    assert sum(is_own(numbers, numbers + rng.normal(0, 1, 60)) for _ in range(100)) >= 98
    assert not is_own([1, 2, 3], [0.1, 0.5, 0.9])  # each once: nothing to compare
