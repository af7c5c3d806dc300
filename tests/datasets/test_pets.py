import pickle
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from encoded import save
from miniatures import draw_pets
from PIL import Image

from kit.data.formats import BadImage
from kit.datasets.pets import TWINS, Pets
from kit.folds.kfold import stratified_group_kfold

REAL = Path(__file__).resolve().parents[3] / "shared/data/pets"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="needs the real photographs in shared/data/pets")


@pytest.fixture
def folder(tmp_path):
    """The drawn set, with the clutter of the real one: .mat and hidden files, a photograph and a trimap unlisted."""
    root = draw_pets(tmp_path / "pets")
    (root / "images/Abyssinian_1.mat").write_bytes(b"x")
    (root / "annotations/trimaps/._Abyssinian_1.png").write_bytes(b"x")
    (root / "annotations/README").write_bytes(b"x")
    (root / "images/Siamese_999.jpg").write_bytes((root / "images/Siamese_1.jpg").read_bytes())
    (root / "annotations/trimaps/Siamese_999.png").write_bytes(b"x")
    return root


def test_ids_breeds_and_the_official_split(folder):
    pets = Pets(folder)
    trained = [f"{breed}_{number}" for breed in ("Abyssinian", "Siamese", "american_bulldog") for number in range(1, 5)]
    held_out = ["Abyssinian_101", "Abyssinian_102", "Siamese_101", "Siamese_102", "american_bulldog_101"]
    assert pets.train_ids == trained
    assert pets.ids == trained + held_out
    assert pets.split().tolist() == [-1] * 12 + [0] * 5
    assert pets.breeds == ["Abyssinian"] * 4 + ["Siamese"] * 4 + ["american_bulldog"] * 4 + (
        ["Abyssinian"] * 2 + ["Siamese"] * 2 + ["american_bulldog"]
    )
    assert len(set(pets.groups)) == len(pets.groups) == 17


def test_two_images_are_read_although_they_are_published_damaged(folder):
    """With bytes too many before the end, as chihuahua_121 has; in any other image they are refused."""
    jpeg, listed = (folder / "images/Siamese_2.jpg").read_bytes(), (folder / "annotations/trainval.txt").open("a")
    with listed:
        listed.write("chihuahua_121 4 1 1\n")
    for id in ("chihuahua_121", "Siamese_1"):
        (folder / f"images/{id}.jpg").write_bytes(jpeg[:-2] + bytes(240) + jpeg[-2:])
    shutil.copy(folder / "annotations/trimaps/Siamese_2.png", folder / "annotations/trimaps/chihuahua_121.png")
    pets = Pets(folder)
    np.testing.assert_array_equal(pets.read_image("chihuahua_121"), pets.read_image("Siamese_2"))
    assert pets.notes[1:] == ("chihuahua_121.jpg is published damaged, and is decoded as far as it goes.",)
    with pytest.raises(
        BadImage, match=r"Siamese_1\.jpg: damaged .*Fetch it again; if it is published so, save it anew"
    ):
        pets.read_image("Siamese_1")


def test_breeds_give_folds_with_a_like_share_of_each(folder):
    pets = Pets(folder)
    breeds, groups = pets.breeds[: len(pets.train_ids)], pets.groups[: len(pets.train_ids)]
    folds = stratified_group_kfold(breeds, groups, 4, seed=0)
    assert all(len({breed for breed, own in zip(breeds, folds, strict=True) if own == fold}) == 3 for fold in range(4))


@pytest.mark.parametrize(
    ("border", "labels", "classes"),
    [
        ("foreground", {1: 1, 2: 0, 3: 1}, ("background", "pet")),
        ("ignored", {1: 1, 2: 0, 3: 255}, ("background", "pet")),
        ("class", {1: 1, 2: 0, 3: 2}, ("background", "pet", "border")),
    ],
)
def test_the_border_by_each_rule(folder, border, labels, classes):
    pets = Pets(folder, border=border)
    assert (pets.classes, pets.num_classes) == (classes, len(classes))
    assert len(pets.notes) == 1
    assert "border" in pets.notes[0]
    for id in pets.ids:
        trimap = np.asarray(Image.open(folder / f"annotations/trimaps/{id}.png"))
        assert set(np.unique(trimap)) == {1, 2, 3}
        mask = pets.read_mask(id)
        assert mask.dtype == np.uint8
        for value, label in labels.items():
            assert (mask[trimap == value] == label).all()


def test_another_rule_is_another_data_set_to_the_cache_and_unknown_ones_are_refused(folder):
    assert len({Pets(folder, border=border).fingerprint() for border in ("foreground", "ignored", "class")}) == 3
    with pytest.raises(ValueError, match="border='background', expected one of 'foreground', 'ignored', 'class'"):
        Pets(folder, border="background")


def test_sizes_vary_and_a_gif_under_a_jpeg_name_is_read(folder):
    pets = pickle.loads(pickle.dumps(Pets(folder)))
    assert (folder / "images/Abyssinian_1.jpg").read_bytes().startswith(b"GIF8")
    for id in pets.ids:
        with Image.open(folder / f"images/{id}.jpg") as image:
            width, height = image.size
        assert pets.shape(id) == (height, width) == pets.read_mask(id).shape
        assert pets.read_image(id).shape == (height, width, 3)
    assert len({pets.shape(id) for id in pets.ids}) > 10
    image, mask = pets.read_image("Abyssinian_1").astype(int), pets.read_mask("Abyssinian_1")
    red_over_green = image[..., 0] - image[..., 1]
    assert np.median(red_over_green[mask == 1]) > 40 > -40 > np.median(red_over_green[mask == 0])


def test_unlisted_images_are_no_images(folder):
    pets = Pets(folder)
    for read in (pets.read_image, pets.read_mask, pets.shape):
        with pytest.raises(KeyError, match="no image of the id 'Siamese_999'"):
            read("Siamese_999")


def test_the_fingerprint_sees_lists_and_sizes(folder):
    found = {Pets(folder).fingerprint()}
    with (folder / "annotations/trimaps/Siamese_1.png").open("ab") as file:
        file.write(b"\0")
    found.add(Pets(folder).fingerprint())
    lists = {name: (folder / f"annotations/{name}.txt").read_text() for name in ("trainval", "test")}
    (folder / "annotations/trainval.txt").write_text(lists["test"])
    (folder / "annotations/test.txt").write_text(lists["trainval"])
    found.add(Pets(folder).fingerprint())
    assert len(found) == 3


def test_all_problems_are_told_at_once(folder):
    (folder / "images/Siamese_1.jpg").unlink()
    (folder / "annotations/trimaps/Siamese_2.png").unlink()
    with (folder / "annotations/test.txt").open("a") as file:
        file.write("Siamese_101 2 1 1\n\n# a remark\n../secret_1 1 1 1\nrex 1 1 1\nSiamese_3 2 1 1\n")
    with pytest.raises(ValueError, match="6 problems with the files of Oxford-IIIT Pet") as caught:
        Pets(folder)
    for told in (
        "images/Siamese_1.jpg is missing",
        "annotations/trimaps/Siamese_2.png is missing",
        "annotations/test.txt, line 6: Siamese_101 is also in line 3",
        "annotations/test.txt, line 9: '../secret_1' is no file name",
        "annotations/test.txt, line 10: 'rex' is not named like <breed>_<number>",
        "Siamese_3 is in trainval.txt and in test.txt",
    ):
        assert told in str(caught.value)


def test_an_empty_folder_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match="4 problems") as caught:
        Pets(tmp_path)
    for told in (
        "annotations/trainval.txt is missing",
        "annotations/test.txt is missing",
        "images/",
        "annotations/trimaps/",
    ):
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("trimap", "told"),
    [
        (np.full((9, 9), 2, np.uint8), r"a mask of \(9, 9\), expected \(\d+, \d+\) like images/Siamese_1\.jpg"),
        (None, r"trimap values \[0, 4\], expected 1 \(pet\)"),
    ],
)
def test_trimaps_of_another_size_or_other_values_are_refused(folder, trimap, told):
    if trimap is None:
        trimap = np.full(Pets(folder).shape("Siamese_1"), 1, np.uint8)
        trimap[0, :2] = 0, 4
    (folder / "annotations/trimaps/Siamese_1.png").write_bytes(save(trimap, "PNG"))
    with pytest.raises(BadImage, match=r"^annotations/trimaps/Siamese_1\.png: " + told):
        Pets(folder).read_mask("Siamese_1")


@needs_real
def test_real_data():
    pets = Pets(REAL, border="ignored")
    assert (len(pets.ids), len(pets.train_ids), int((pets.split() == 0).sum())) == (393, 300, 93)
    assert len(set(pets.breeds[:300])) == 3
    some = pets.ids[::20]
    for id in some:
        assert pets.read_image(id).shape[:2] == pets.shape(id) == pets.read_mask(id).shape
    masks = [pets.read_mask(id) for id in some]
    assert 0.15 < np.mean([np.mean(mask == 1) for mask in masks]) < 0.45  # of 393: 0.30
    assert 0.08 < np.mean([np.mean(mask == 255) for mask in masks]) < 0.17  # of 393: 0.12


@needs_real
def test_real_twins_are_one_photograph_and_one_group():
    pets = Pets(REAL)
    groups = dict(zip(pets.ids, pets.groups, strict=True))
    assert len(set(pets.groups)) == len(pets.ids) - 2

    def small(id):
        return cv2.resize(pets.read_image(id), (32, 32), interpolation=cv2.INTER_AREA).ravel()

    for second, first in TWINS.items():
        assert groups[first] == groups[second]
        assert np.corrcoef(small(first), small(second))[0, 1] > 0.99
        assert np.corrcoef(small(first), small("Abyssinian_100"))[0, 1] < 0.9
