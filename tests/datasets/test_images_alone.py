"""Images to predict, found and read as the data set that was trained on would."""

import json
import pickle
import shutil

import cv2
import numpy as np
import pytest

from kit.data.formats import BadImage
from kit.datasets import Folder, Neighbours
from kit.datasets.images_alone import Images, describe_left_out, open_images
from kit.prediction.plain import Decoder, Encoder

RGB = ("red", "green", "blue")


def picture(number, channels=3):
    return np.random.default_rng(number).integers(0, 255, (6 + number, 9, channels)).astype(np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, image)
    else:
        pixels = image[..., ::-1] if image.shape[2] == 3 else image
        path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(pixels))[1].tobytes())


def kept(reading):
    """As predictor.json keeps it."""
    return Decoder()(json.loads(json.dumps(Encoder()(reading))))


def same(one, other, ids):
    for id in ids:
        np.testing.assert_array_equal(one.read_image(id), other.read_image(id))
        assert tuple(one.shape(id)) == tuple(other.shape(id))


def test_files_by_their_names_in_a_folder_and_in_a_zip(tmp_path):
    for number, name in enumerate(("b.png", "deep/a.png", "é.png")):
        save(tmp_path / "new" / name, picture(number))
    (tmp_path / "new/readme.txt").write_text("no image")
    shutil.make_archive(tmp_path / "packed", "zip", tmp_path / "new")
    for root in (tmp_path / "new", tmp_path / "packed.zip"):
        images = pickle.loads(pickle.dumps(Images(root, RGB)))
        assert images.ids == ["a", "b", "é"]
        assert images.left_out == []
        assert images.shape("a") == (7, 9)
        np.testing.assert_array_equal(images.read_image("b"), picture(0))
        np.testing.assert_array_equal(images.read_image("e\u0301"), picture(2))  # as macOS writes it
        with pytest.raises(KeyError, match="no image of the id 'c'"):
            images.read_image("c")


def test_files_of_one_name_go_by_their_paths(tmp_path):
    for folder in ("p1", "p2"):
        save(tmp_path / folder / "scan.png", picture(1))
    assert Images(tmp_path, RGB).ids == ["p1/scan", "p2/scan"]


def test_an_image_of_other_channels_is_refused_by_name(tmp_path):
    save(tmp_path / "a.npy", picture(1, 5))
    with pytest.raises(BadImage, match=r"a.npy: 5 channels, expected 3"):
        Images(tmp_path, RGB).read_image("a")


@pytest.fixture
def nuclei(tmp_path):
    """A data set in Kaggle's layout of the nuclei, with a second stage that comes later."""
    for number, id in enumerate(("x1", "x2")):
        save(tmp_path / f"data/train/{id}/images/{id}.png", picture(number))
        mask = np.zeros((*picture(number).shape[:2], 1), np.uint8)
        mask[2:4, 2:4] = 255
        save(tmp_path / f"data/train/{id}/masks/m.png", mask)
    for number, id in enumerate(("y1", "y2")):
        save(tmp_path / f"data/test/{id}/images/{id}.png", picture(10 + number))
    for number, id in enumerate(("z1", "z2", "z3")):
        save(tmp_path / f"later/{id}/images/{id}.png", picture(20 + number))
    folder = {"images": "train/{id}/images/*.png", "masks": "train/{id}/masks/*.png"}
    return Folder(tmp_path / "data", **folder, tests="test/{id}/images/*.png", task="instances", channels=3)


def test_a_pattern_is_found_below_the_data_and_below_a_folder_of_any_name(nuclei, tmp_path):
    for root in (tmp_path / "data", tmp_path / "data/test"):
        images = open_images(root, RGB, "uint8", kept(nuclei.reading))
        assert images.ids == nuclei.test_ids == ["y1", "y2"]
        same(images, nuclei, images.ids)
    later = open_images(tmp_path / "later", RGB, "uint8", kept(nuclei.reading))
    assert later.ids == ["z1", "z2", "z3"]
    np.testing.assert_array_equal(later.read_image("z3"), picture(22))


def test_files_that_the_pattern_leaves_out_are_counted(nuclei, tmp_path):
    save(tmp_path / "later/other.png", picture(1))
    images = open_images(tmp_path / "later", RGB, "uint8", kept(nuclei.reading))
    assert images.ids == ["z1", "z2", "z3"]
    assert describe_left_out(images, tmp_path) == [
        f"1 image file of {tmp_path} has another name than the run's images, and is left out: other.png"
    ]
    for name in "abcd":
        save(tmp_path / f"later/{name}.png", picture(1))
    [line] = describe_left_out(open_images(tmp_path / "later", RGB, "uint8", kept(nuclei.reading)), tmp_path)
    assert line.startswith("5 image files of ")
    assert line.endswith("have other names than the run's images, and are left out: a.png, b.png, c.png, …")


def test_without_a_match_every_image_file_is_taken(nuclei, tmp_path):
    save(tmp_path / "flat/q.png", picture(1))
    assert open_images(tmp_path / "flat", RGB, "uint8", kept(nuclei.reading)).ids == ["q"]


def test_a_file_a_channel_templates_of_ids_and_planes(tmp_path):
    for id in ("a", "b"):
        for place in ("train", "test"):
            for band in ("red", "nir"):
                save(tmp_path / f"{place}/{id}{place[0]}/{band}.npy", picture(3, 4) + np.uint8(ord(id) + len(band)))
        save(tmp_path / f"masks/{id}t.png", (picture(3, 1) > 100) * np.uint8(255))
    patterns = [{band: f"{place}/{{id}}/{band}.npy" for band in ("red", "nir")} for place in ("train", "test")]
    data = Folder(tmp_path, images=patterns[0], masks="masks/{id}.png", tests=patterns[1], planes=(2,))
    images = open_images(tmp_path / "test", data.channels, "uint8", kept(data.reading))
    assert images.ids == ["at", "bt"]
    same(images, data, images.ids)


def test_slices_come_with_their_neighbours(tmp_path):
    for place in ("train", "test"):
        for case in ("c1", "c2"):
            for number in (1, 2, 3):
                save(tmp_path / f"{place}/{case}/s_{number}_x.png", picture(3, 1) + np.uint8(number))
                save(tmp_path / f"masks/{case}_{number}.png", (picture(3, 1) > 100) * np.uint8(255))
    layout = {"images": "train/*/s_*_*.png", "ids": "{1}_{2}", "masks": "masks/{id}.png"}
    slices = Folder(tmp_path, **layout, tests="test/*/s_*_*.png")
    data = Neighbours(slices, (-1, 0, 1), volume=r"(c\d)_", order=r"_(\d)$")
    save(tmp_path / "test/c3/s_end_x.png", picture(3, 1))  # a file without a place is left out
    images = open_images(tmp_path / "test", data.channels, "uint8", kept(data.reading))
    assert images.ids == data.test_ids
    assert images.left_out == ["c3/s_end_x.png"]
    same(images, data, images.ids)
