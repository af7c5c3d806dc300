"""What messages advise a user of Folder: its own arguments, and following the advice helps."""

import pickle

import numpy as np
import pytest
from encoded import save

from kit.data import BadImage, check_dataset, decode_image
from kit.datasets import Folder

OF_A_CLASS = (
    "read_image", "read_mask", "read_", "binary_mask", "class_mask", "colour_mask", "threshold_mask", "decode",
    "self.", "np.", "num_classes", "absent = ",
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def make(root, masks, images=None, **arguments):
    """A Folder of some masks; images of their size, or as given."""
    for number, mask in enumerate(masks):
        shape = np.shape(mask)[:2]
        image = images[number] if images else np.full(shape, number, np.uint8)
        for folder, array in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            if array.dtype == np.float32:
                np.save(root / folder / f"{number}.npy", array)
            else:
                (root / folder / f"{number}.tif").write_bytes(save(array, "TIFF"))
    return lambda **more: Folder(root, **{"images": "images", "masks": "masks", **arguments, **more})


def halves(low, high, shape=(8, 10)):
    mask = np.full(shape, low, np.uint8)
    mask[4:] = high
    return mask


def refused(data):
    with pytest.raises(ValueError, match="cannot be trained on yet") as caught:
        check_dataset(data)
    text = str(caught.value)
    assert not [word for word in OF_A_CLASS if word in text]
    return text


THREE = ("background", "lung", "tumour")
RED = np.dstack([halves(0, 255), np.zeros((8, 10), np.uint8), np.zeros((8, 10), np.uint8)])

CASES = {
    "values of three classes": (
        [halves(0, 100), halves(100, 200)],
        {"classes": THREE},
        "Say which value is which class: values=",
        {"values": {0: 0, 100: 1, 200: 2}},
    ),
    "soft edges": ([halves(0, 200), halves(17, 255)], {}, "values=127", {"values": 127}),
    "two greys of two classes": ([halves(0, 200)] * 2, {}, "Say what they mean: values=", {"values": {0: 0, 200: 1}}),
    "a colour": (
        [RED] * 2,
        {},
        "Say which colour is which class: values={(0, 0, 0): 0, (255, 0, 0): 1, …}",
        {"values": {(0, 0, 0): 0, (255, 0, 0): 1}},
    ),
    "a colour without a class": (
        [RED] * 2,
        {"values": {(255, 0, 0): 1}},
        "Add them to `values`",
        {"values": {(0, 0, 0): 0, (255, 0, 0): 1}},
    ),
    "255 as a class": (
        [halves(0, 255)] * 2,
        {"values": "labels"},
        "If 255 means foreground, say so: values={0: 0, 255: 1}",
        {"values": {0: 0, 255: 1}},
    ),
    "a class that never occurs": (
        [halves(0, 1)] * 2,
        {"classes": THREE},
        "where it may be missing: absent=('tumour',)",
        {"absent": ("tumour",)},
    ),
}


@pytest.mark.parametrize(("masks", "arguments", "advice", "followed"), CASES.values(), ids=CASES)
def test_advice_about_masks_names_arguments_and_helps(tmp_path, masks, arguments, advice, followed):
    folder = make(tmp_path / "data", masks, **arguments)
    assert advice in refused(folder())
    assert check_dataset(folder(**followed)).images == 2


def test_absent_may_be_one_name_and_must_be_a_class(tmp_path):
    folder = make(tmp_path / "data", [halves(0, 1)], classes=THREE)
    assert folder(absent="tumour").absent == ("tumour",)
    assert folder().absent == ()
    with pytest.raises(ValueError, match="absent names 'heart', which classes does not have"):
        check_dataset(folder(absent="heart"))


def test_advice_about_images_names_no_code(tmp_path):
    masks = [halves(0, 1)] * 3
    kinds = [np.full((8, 10), 9, np.uint16), np.full((8, 10), 9, np.uint16), np.full((8, 10), 9, np.uint8)]
    text = refused(make(tmp_path / "types", masks, kinds)())
    assert "2: uint8, expected uint16 as the others; save all images with one type" in text
    nan = [np.ones((8, 10, 1), np.float32) for _ in masks]
    nan[1][0, 0] = np.nan
    assert "1: 1 value is NaN or infinite; replace them in the file" in refused(make(tmp_path / "nan", masks, nan)())


def test_another_number_of_channels(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (8, 10, 4)).astype(np.uint8), rng.integers(0, 255, (8, 10, 3)).astype(np.uint8)]
    text = refused(make(tmp_path / "data", [halves(0, 1)] * 2, images)())
    assert "1.tif: 3 channels, expected 4" in text
    assert "Give `channels` the number that every image has, or save this one with as many" in text


def test_an_image_that_is_refused_keeps_its_advice_through_a_worker():
    with pytest.raises(BadImage) as caught:
        decode_image(save(np.arange(60, dtype=np.uint8).reshape(4, 5, 3), "PNG"), "a.png", channels=2)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.found, error.advice) == (str(caught.value), caught.value.found, caught.value.advice)
    assert error.found == "a.png: 3 channels, expected 2"


def test_the_same_advice_is_said_once(tmp_path):
    text = refused(make(tmp_path / "data", [halves(0, 100)] * 25, classes=THREE)())
    assert text.count("Say which value is which class") == 1
    assert text.count(": mask values 100, expected 0 to 2") == 20
    assert "… and 5 more" in text
