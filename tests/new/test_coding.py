"""Masks whose values hold a class and a number each: kit new asks, and says what becomes of the classes."""

import json

import cv2
import numpy as np
import pytest
from csv_folders import names

from kit.new import Wishes, decide, new
from kit.new.look.coding import coding_of
from kit.new.look.labels import labels_of

SIZE = (64, 96)
IDS = names(12, "street")
SPOTS = [(24, 14), (24, 42), (24, 70), (44, 22), (44, 50), (44, 78)]  # of objects: row and column


def street(seed, base=1000, cars=26, riders=25, road=7):
    """A road without a number below, and things that are counted from 0 in each image and class."""
    random, mask = np.random.default_rng(seed), np.zeros(SIZE, np.uint16)
    mask[54:] = road
    counts = {cars: 0, riders: 0}
    for y, x in random.permutation(SPOTS)[: random.integers(3, 7)]:
        label = cars if random.random() < 0.6 else riders
        middle = int(x + random.integers(-4, 5)), int(y + random.integers(-3, 4))
        cv2.circle(mask, middle, int(random.integers(3, 7)), int(label * base + counts[label]), -1)
        counts[label] += 1
    return mask


def write(folder, draw=street, kind="labels"):
    """Images, and 16-bit masks of a kind beside them."""
    for part in ("photos", kind):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for seed, id in enumerate(IDS):
        mask = draw(seed)
        noise = np.random.default_rng(seed).integers(0, 80, (*SIZE, 3), np.uint8)
        cv2.imwrite(str(folder / f"photos/{id}.png"), noise + 90 * (mask > 0).astype(np.uint8)[..., None])
        cv2.imwrite(str(folder / f"{kind}/{id}.png"), mask)
    return folder


def test_the_question_names_the_coding_and_nothing_is_written(tmp_path, capsys):
    recipe = tmp_path / "mine.py"
    assert new(recipe, write(tmp_path / "data"), Wishes(device="cpu")) == 1
    said = capsys.readouterr().out
    assert "question  the values look like class * 1000 + number: 25000 to 2500" in said
    assert "of class 25, 26000 to 2600" in said
    assert "for classes alone save masks of value // 1000, where it is 1000 or more" in said
    assert "--task instances " in said
    assert "--task multiclass " in said
    assert not recipe.exists()


def test_as_objects_it_says_that_classes_become_one_and_stuff_an_object(tmp_path, capsys):
    assert new(None, write(tmp_path / "data"), Wishes(device="cpu", task="instances"), as_json=True) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["task"] == "instances"
    merged, stuff = facts["doubts"][:2]
    assert merged.startswith("objects of 2 classes (25, 26) become one class")
    assert "kit.scoring.Segments" in merged
    assert stuff.startswith("values without a number (7) are each taken for one object of an image")


def test_as_classes_it_says_what_the_values_look_like(tmp_path):
    choices = decide(write(tmp_path / "data"), Wishes(device="cpu", task="multiclass"))
    assert not choices.questions
    assert choices.doubts[0].startswith("the values look like class * 1000 + number")


def test_masks_of_objects_beside_those_of_classes_are_named_with_the_flags(tmp_path):
    def plain(seed):
        return np.unique(street(seed, road=0), return_inverse=True)[1].reshape(SIZE).astype(np.uint16)

    write(tmp_path, plain, "instances")
    write(tmp_path, lambda seed: (street(seed) // 1000 - 24).clip(0, 9) * (street(seed) > 999), "semantic")
    choices = decide(tmp_path, Wishes(device="cpu"))
    assert choices.meaning.task == "multiclass"
    hint = "they number objects, which train as one class: --task instances --masks 'instances/*.png'"
    assert choices.found.unused[0].endswith(hint)
    (question,) = decide(tmp_path, Wishes(device="cpu", task="instances")).questions
    assert question.is_refused
    assert "instances/*.png number objects of the same images: add --masks 'instances/*.png'" in question.text


def test_codings_of_other_data():
    mapillary = labels_of([street(seed, base=256, cars=55, riders=21, road=13) for seed in range(12)]).coding
    assert (mapillary.base, [*mapillary.numbers], mapillary.plain) == (256, [21, 55], (13,))
    first = coding_of([0, 1001, 1002, 1003, 3001, 65535])
    assert (first.base, first.numbers, first.plain) == (1000, {1: (1, 2, 3), 3: (1,)}, (65535,))
    many = coding_of(number * 1000 + one for number in range(24, 34) for one in range(4))
    assert str(many).endswith("27000 to 27003 of class 27 and 6 more classes")


@pytest.mark.parametrize("values", [
    range(300),  # numbered objects
    range(1, 2500),
    range(1700, 2300),  # numbered on over all images
    (0, 1000, 2000, 3000, 4000),  # classes, scaled
    (0, 1, 2, 3, 255),
    (0, 256, 512, 768),
    (0, 17, 1234, 4021, 18777, 40003),  # any names of objects
    (0, 0.5, 1.0),
    (0,),
    (),
])  # fmt: skip
def test_values_without_a_coding(values):
    assert coding_of(values) is None
