"""Folder: test images among the training images, as a CSV names them; and images without a mask that are left out."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from kit.datasets import Folder
from kit.submission import Competition, CsvIds, CsvMasks, Dialect

ROWS = Dialect(("key", "rle"), key="{id}.png", order="F")
TWO = Dialect(("key", "rle"), "class", key="{id}_{class}", labels=("a", "b"))


def draw(folder, ids, masked=()):
    for part, names, top in (("all", ids, 200), ("m", masked, 2)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for at, id in enumerate(names):
            pixels = np.random.default_rng(at).integers(0, top, (9, 12), np.uint8) * (255 if part == "m" else 1)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / part / f"{id}.png")
    return folder


def write(folder, name, header, rows):
    (folder / name).write_text("\n".join([header, *rows]) + "\n")


def test_rows_for_some_and_a_sample_for_the_others(tmp_path):
    """In one folder; the id of an image with rows is no test, whatever the order of the names."""
    draw(tmp_path, ["k", "a", "z", "b", "q"])
    write(tmp_path, "train.csv", "key,rle", ["k.png,1 3", "b.png,", "z.png,20 4"])
    write(tmp_path, "sample.csv", "key,rle", ["q.png,", "a.png,"])
    arguments = {"images": "all/*.png", "masks": CsvMasks("train.csv", ROWS), "tests": CsvIds("sample.csv", ROWS)}
    data = pickle.loads(pickle.dumps(Folder(tmp_path, **arguments)))
    assert (data.ids, data.test_ids, data.notes) == (["b", "k", "z"], ["a", "q"], ())
    assert data.read_mask("k").sum() == 3
    assert data.read_image("q").shape == (9, 12, 1)
    assert data.reading["images"] == "all/*.png"
    with pytest.raises(KeyError):
        data.read_mask("q")
    Competition(data, ROWS, data.test_ids, sample_csv=tmp_path / "sample.csv")
    before = data.test_fingerprint()
    Image.new("L", (12, 9), 7).save(tmp_path / "all/q.png")
    assert Folder(tmp_path, **arguments).test_fingerprint() != before


def test_mask_files_for_some_and_a_sample_for_others(tmp_path):
    draw(tmp_path, "abcdef", masked="bdf")
    write(tmp_path, "sample.csv", "key,rle", [f"{id}_{label}," for id in "ca" for label in "ab"])
    arguments = {"images": "all", "masks": "m", "tests": CsvIds("sample.csv", TWO)}
    with pytest.raises(ValueError, match=r"1 problem(?s:.*)all/e\.png has no mask(?s:.*)left out: lacking='skip'"):
        Folder(tmp_path, **arguments)
    data = Folder(tmp_path, lacking="skip", **arguments)
    assert (data.ids, data.test_ids) == (["b", "d", "f"], ["a", "c"])
    assert data.notes == ("1 image without a mask are left out: e",)
    assert data.fingerprint() == Folder(tmp_path, lacking="skip", **arguments).fingerprint()


def test_a_test_image_with_a_mask_is_named(tmp_path):
    draw(tmp_path, "abcd", masked="abc")
    write(tmp_path, "sample.csv", "key,rle", ["b.png,", "d.png,", "y.png,"])
    with pytest.raises(ValueError, match=r"2 problems") as caught:
        Folder(tmp_path, images="all", masks="m", tests=CsvIds("sample.csv", ROWS))
    for told in ("sample.csv names y, and no image has this id", "m/b.png is the mask of b, which `tests` names"):
        assert told in str(caught.value)
    write(tmp_path, "train.csv", "key,rle", ["a.png,1 3", "b.png,", "c.png,"])
    write(tmp_path, "sample.csv", "key,rle", ["b.png,", "d.png,"])
    with pytest.raises(ValueError, match=r"line 3: 'b' is an image to be predicted"):
        Folder(tmp_path, images="all", masks=CsvMasks("train.csv", ROWS), tests=CsvIds("sample.csv", ROWS))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["u.png,"], r"sample\.csv names none of 3 images(?s:.*)It names u; images are called a, b, c"),
        ([f"{id}.png," for id in "abc"], r"names all of 3 images"),
        (["a.png,", "x/b.png,"], r"sample\.csv names x/b, and no image has this id"),
        (["a.jpg,", "b.png,"], r"the keys of sample\.csv are not those of its dialect(?s:.*)a\.jpg"),
    ],
)
def test_a_csv_of_tests_that_cannot_be(tmp_path, rows, told):
    draw(tmp_path, "abc", masked="abc")
    write(tmp_path, "sample.csv", "key,rle", rows)
    with pytest.raises(ValueError, match=told):
        Folder(tmp_path, images="all", masks="m", tests=CsvIds("sample.csv", ROWS))


def test_a_csv_of_tests_that_its_dialect_does_not_fit_says_what_does(tmp_path):
    draw(tmp_path, "abcd", masked="ab")
    write(tmp_path, "sample.csv", "key,rle", ["c.png,", "d.png,"])
    plain = replace(ROWS, key="{id}")
    with pytest.raises(ValueError, match=r'as c\.png, and their ids are without(?s:.*)key="\{id\}\.png"'):
        Folder(tmp_path, images="all", masks="m", tests=CsvIds("sample.csv", plain))
    with pytest.raises(ValueError, match=r"expected the path below the data's folder"):
        Folder(tmp_path, images="all", masks="m", tests=CsvIds(str(tmp_path / "sample.csv"), ROWS))
    write(tmp_path, "sample.csv", "file,runs", ["c.png,", "d.png,"])
    with pytest.raises(ValueError, match=r"has the columns file, runs, and its dialect key, rle: key, rle") as caught:
        Folder(tmp_path, images="all", masks="m", tests=CsvIds("sample.csv", ROWS))
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    "patterns",
    [
        {"images": "all/*.png", "masks": "m/*.png"},
        {"images": "all/*.png", "masks": "m/{id}.png"},
        {"images": "all", "masks": "m"},
        {"images": "all/*.png", "masks": "m", "ids": "{1}"},
    ],
)
def test_a_mask_of_a_test_image_is_named_as_such_however_masks_are_found(tmp_path, patterns):
    draw(tmp_path, ["k1", "k2", "k3"], masked=["k1", "k2"])
    write(tmp_path, "sample.csv", "key,rle", ["k2.png,", "k3.png,"])
    with pytest.raises(ValueError, match=r"1 problem(?s:.*)m/k2\.png is the mask of k2, which `tests` names"):
        Folder(tmp_path, tests=CsvIds("sample.csv", ROWS), **patterns)


def test_a_csv_of_tests_that_is_not_there_or_without_dialect(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no none\.csv"):
        Folder(draw(tmp_path, "ab", "a"), images="all", masks="m", tests=CsvIds("none.csv", ROWS))
    with pytest.raises(TypeError, match="dialect of CsvIds is a str"):
        CsvIds("sample.csv", "id")


def test_images_without_a_mask_are_left_out(tmp_path):
    draw(tmp_path, ["p1_a", "p1_b", "p2_c", "odd", "p2_d"], masked=["p1_a", "p2_c"])
    data = Folder(tmp_path, images="all/*.png", masks="m/{id}.png", lacking="skip", groups=r"^(p\d)_")
    assert (data.ids, list(data.groups)) == (["p1_a", "p2_c"], ["p1", "p2"])  # no group is asked of those left out
    assert data.notes == ("3 images without a mask are left out: odd, p1_b, p2_d",)
    objects = Folder(tmp_path, images="all/*.png", masks="m/{id}*.png", lacking="skip", task="instances")
    assert objects.ids == data.ids
    for id in ("p1_a", "p2_c"):
        (tmp_path / f"m/{id}.png").rename(tmp_path / f"m/x{id}.png")
    with pytest.raises(ValueError, match=r"none of 5 images(?s:.*)has a mask"):
        Folder(tmp_path, images="all/*.png", masks="m/{id}.png", lacking="skip")


def test_a_file_a_class_is_skipped_only_without_any(tmp_path):
    draw(tmp_path, "abc")
    for name in ("a_x", "a_y", "b_x"):
        Image.new("L", (12, 9), 255).save(tmp_path / f"m/{name}.png")
    masks = {"x": "m/{id}_x.png", "y": "m/{id}_y.png"}
    data = Folder(tmp_path, images="all", masks=masks, lacking="skip")
    assert data.ids == ["a", "b"]
    assert data.read_mask("b").any(axis=(0, 1)).tolist() == [True, False]  # without a file of y it shows none of y
    assert data.notes == ("1 image without a mask are left out: c",)
    assert Folder(tmp_path, images="all", masks=masks, lacking="empty").ids == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"3 problems(?s:.*)all/b\.png has no mask m/b_y\.png"):
        Folder(tmp_path, images="all", masks=masks)


def test_images_without_a_row_are_left_out(tmp_path):
    draw(tmp_path, "abc")
    write(tmp_path, "train.csv", "key,rle", ["a_a,1 3", "a_b,", "c_a,", "c_b,"])
    task = {"images": "all", "task": "multilabel", "classes": ("a", "b")}
    data = Folder(tmp_path, masks=CsvMasks("train.csv", TWO, lacking="skip"), **task)
    assert data.ids == ["a", "c"]
    assert not data.read_mask("c").any()
    write(tmp_path, "train.csv", "key,rle", ["a_a,1 3", "a_b,", "c_a,"])
    with pytest.raises(ValueError, match=r"'c' has no row of b"):
        Folder(tmp_path, masks=CsvMasks("train.csv", TWO, lacking="skip"), **task)
