"""Folder: anyone's images and masks, in the layouts and formats in which they come."""

import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from encoded import save
from PIL import Image

from kit.data.formats import BadImage
from kit.datasets import Folder

VALUES = {0: 0, 128: 1, 255: 2}


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)


def three_bands(shift: int, size=(20, 30)) -> np.ndarray:
    """Class numbers u8: columns of 0, then 1, then 2; another place for each shift."""
    return np.digitize(np.arange(size[1]) - shift, [10, 20]).astype(np.uint8)[None].repeat(size[0], 0)


@pytest.fixture
def patients(tmp_path):
    """16-bit grey TIFFs of three patients, masks of 0, 128 and 255."""
    root = tmp_path / "lungs"
    for number in range(6):
        labels = three_bands(number)
        write(root / f"images/{7 + number // 2}_slice{number}.tif", labels.astype(np.uint16) * 20000 + number)
        write(root / f"masks/{7 + number // 2}_slice{number}_mask.png", np.array([0, 128, 255], np.uint8)[labels])
    return root


def lungs(root, **changes):
    arguments = {
        "images": "images/*.tif",
        "masks": "masks/{id}_mask.png",
        "classes": ("background", "lung", "tumour"),
        "values": VALUES,
        "groups": lambda id: int(id.split("_")[0]),
    }
    return Folder(root, **arguments | changes)


def test_sixteen_bit_tiffs_with_patients_as_numbers_and_three_classes(patients):
    data = lungs(patients)
    assert data.ids == ["7_slice0", "7_slice1", "8_slice2", "8_slice3", "9_slice4", "9_slice5"]
    assert data.groups == ["7", "7", "8", "8", "9", "9"]
    assert (data.name, data.num_classes, data.channels, data.test_ids) == ("lungs", 3, ("grey",), [])
    for number, id in enumerate(data.ids):
        image, mask = data.read_image(id), data.read_mask(id)
        assert (image.dtype, image.shape, data.shape(id)) == (np.uint16, (20, 30, 1), (20, 30))
        np.testing.assert_array_equal(image[..., 0], three_bands(number).astype(np.uint16) * 20000 + number)
        np.testing.assert_array_equal(mask, three_bands(number))
        assert mask.dtype == np.uint8
    with pytest.raises(KeyError, match="no mask of the id 'x'"):
        data.read_mask("x")


@pytest.mark.parametrize("given", ["lungs.zip", "lungs"])
def test_a_zip_as_the_folder_is_refused_with_a_way_that_works(patients, tmp_path, given):
    (tmp_path / "packed").mkdir()
    with zipfile.ZipFile(tmp_path / "packed/lungs.zip", "w") as archive:
        rows = "".join(f"{path.stem},p{path.stem[0]}\n" for path in patients.glob("images/*"))
        archive.writestr("meta.csv", f"id,who\n{rows}")
        for path in patients.rglob("*.*"):
            archive.write(path, path.relative_to(patients))
    with pytest.raises(FileNotFoundError, match="Unpack the zip, or name the folder in which it lies") as caught:
        lungs(tmp_path / "packed" / given, groups=("meta.csv", "id", "who"))
    root, images = re.search(r"Folder\('(.*?)', images='(.*?)', …\)", str(caught.value)).groups()
    data = lungs(root, images=images, masks="lungs/masks/{id}_mask.png", groups=("lungs/meta.csv", "id", "who"))
    assert data.ids == lungs(patients).ids
    assert data.groups == ["p7", "p7", "p8", "p8", "p9", "p9"]
    np.testing.assert_array_equal(data.read_mask(data.ids[2]), three_bands(2))


def test_the_same_files_in_zips_and_in_a_worker(patients, tmp_path):
    root = tmp_path / "zipped" / "lungs"
    root.mkdir(parents=True)
    for top, inner in (("images", "images/"), ("masks", "")):  # with and without the folder inside
        with zipfile.ZipFile(root / f"{top}.zip", "w") as archive:
            for path in sorted((patients / top).iterdir()):
                archive.write(path, f"{inner}{path.name}")
    plain, zipped = lungs(patients), pickle.loads(pickle.dumps(lungs(root, groups=r"^(\d+)_")))
    assert (zipped.ids, zipped.groups, zipped.fingerprint()) == (plain.ids, plain.groups, plain.fingerprint())
    for id in plain.ids:
        np.testing.assert_array_equal(zipped.read_image(id), plain.read_image(id))
        np.testing.assert_array_equal(zipped.read_mask(id), plain.read_mask(id))


def test_pairs_in_one_folder_by_a_suffix(tmp_path):
    for number, name in enumerate(["a", "b", "a_b"]):
        write(tmp_path / f"{name}.png", np.full((8, 9, 3), number, np.uint8))
        write(tmp_path / f"{name}_mask.png", np.eye(8, 9, dtype=np.uint8) * 255)
    data = Folder(tmp_path, images="*.png", masks="{id}_mask.png")
    assert data.ids == data.groups == ["a", "a_b", "b"]
    assert data.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(data.read_mask("a_b"), np.eye(8, 9, dtype=np.uint8))
    other = tmp_path / "two"
    for name in ("1", "2"):
        write(other / f"{name}_sat.png", np.zeros((8, 9, 3), np.uint8))
        write(other / f"{name}_mask.png", np.eye(8, 9, dtype=np.uint8))
    assert Folder(other, images="*_sat.png", masks="{id}_mask.png").ids == ["1", "2"]


def test_arrays_of_numpy_with_five_bands(tmp_path):
    rng = np.random.default_rng(0)
    images = {f"scene{n}": rng.normal(size=(6, 7, 5)).astype(np.float32) for n in range(3)}
    for id, image in images.items():
        write(tmp_path / f"x/{id}.npy", image)
        write(tmp_path / f"y/{id}.npy", (image[..., 0] > 0).astype(np.uint8))
    data = Folder(tmp_path, images="x", masks="y", name="bands")
    assert data.channels == ("channel 1", "channel 2", "channel 3", "channel 4", "channel 5")
    for id, image in images.items():
        np.testing.assert_array_equal(data.read_image(id), image)
        np.testing.assert_array_equal(data.read_mask(id), image[..., 0] > 0)
        assert data.shape(id) == (6, 7)


# where images and masks lie, the patterns, and the ids: * and {} stand for the number of a case and of a scan
LAYOUTS = {
    "cases, wildcards that stand for the same text": (
        ("case*/scans/*.png", "case*/masks/*.png"),
        {"images": "case*/scans/*.png", "masks": "case*/masks/*.png"},
        "case{}/scans/{}",
    ),
    "cases, masks in a tree beside": (
        ("in/case*/*.png", "out/case*/*.png"),
        {"images": "in/case*/*.png", "masks": "out"},
        "case{}/{}",
    ),
    "cases, masks by id": (
        ("in/case*/*.png", "out/case*/*.png"),
        {"images": "in/**/*.png", "masks": "out/{id}.png"},
        "case{}/{}",
    ),
    "plain folders": (
        ("in/case*_*.png", "out/case*_*.png"),
        {"images": "in", "masks": "out"},
        "case{}_{}",
    ),
    "an id that is a folder": (
        ("s/case*_*/im.png", "s/case*_*/mk.png"),
        {"images": "s/{id}/im.png", "masks": "s/{id}/mk.png"},
        "case{}_{}",
    ),
    "an id twice": (
        ("s/case*_*/images/case*_*.png", "s/case*_*/masks/case*_*.png"),
        {"images": "s/{id}/images/{id}.png", "masks": "s/{id}/masks/{id}.png"},
        "case{}_{}",
    ),
    "another suffix": (
        ("in/case*_*.png", "out/case*_*.gif"),
        {"images": "in/*.png", "masks": "out/{id}.*"},
        "case{}_{}",
    ),
    "some of the cases": (
        ("in/case*_*.png", "out/case*_*.png"),
        {"images": "in/case[1-2]_?.png", "masks": "out/{id}.png"},
        "case{}_{}",
    ),
}


def test_patterns_as_people_write_them(patients):
    plain = lungs(patients)
    assert lungs(patients, images="images/").ids == plain.ids
    assert lungs(patients, images=Path("images"), masks=Path("masks/{id}_mask.png")).ids == plain.ids
    assert lungs(patients, images="images/**", masks="**/{id}_mask.png").ids == plain.ids
    with pytest.raises(ValueError, match=r"has \{name\}, expected no other name in braces than \{id\}"):
        lungs(patients, masks="masks/{name}_mask.png")


@pytest.mark.parametrize(("files", "arguments", "ids"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path, files, arguments, ids):
    (images, masks), expected = files, {}
    for case in (1, 2):
        for number in (3, 4):
            labels = three_bands(case + number) > 0
            numbers = [case, number] * (images.count("*") // 2)
            path = tmp_path / images.replace("*", "{}").format(*numbers)
            write(path, np.full((20, 30, 3), 10 * case + number, np.uint8))
            write(tmp_path / masks.replace("*", "{}").format(*numbers), labels.astype(np.uint8))
            expected[ids.format(case, number)] = 10 * case + number, labels
    data = Folder(tmp_path, groups=r"case(\d)", **arguments)
    assert data.ids == sorted(expected)
    assert data.groups == [id[4] for id in sorted(expected)]
    for id, (level, labels) in expected.items():
        assert (data.read_image(id) == level).all()
        np.testing.assert_array_equal(data.read_mask(id), labels)


def test_everything_without_a_partner_is_listed_at_once(patients):
    (patients / "images/7_slice0.tif").unlink()
    (patients / "masks/8_slice2_mask.png").unlink()
    (patients / "masks/9_slice4_mask.png").rename(patients / "masks/9_slice04_mask.png")
    write(patients / "images/x.tif", np.zeros((4, 4), np.uint16))
    with pytest.raises(ValueError, match="6 problems with the files in") as refused:
        lungs(patients, groups=r"^(\d+)_")
    for told in (
        "images/8_slice2.tif has no mask masks/8_slice2_mask.png",
        "images/9_slice4.tif has no mask masks/9_slice4_mask.png",
        "images/x.tif has no mask masks/x_mask.png",
        "masks/7_slice0_mask.png has no image",
        "masks/9_slice04_mask.png has no image",
        "groups='^(\\\\d+)_' does not match the id x",
    ):
        assert told in str(refused.value)


def test_double_and_unsafe_ids_and_several_masks(tmp_path):
    for name in ("a.png", "A.jpg", "b.png"):
        write(tmp_path / f"im/{name}", np.zeros((4, 5, 3), np.uint8))
    for name in ("A/1.png", "b/1.png", "b/2.png"):
        write(tmp_path / f"mk/{name}", np.zeros((4, 5), np.uint8))
    with pytest.raises(ValueError, match="2 problems") as refused:
        Folder(tmp_path, images="im/*", masks="mk/{id}/*.png")
    assert "im/a.png has the same id as im/A.jpg" in str(refused.value)
    assert "im/b.png has 2 masks, expected one: mk/b/1.png, mk/b/2.png" in str(refused.value)


def test_a_pattern_without_files_says_what_is_there(patients):
    for changes in (
        {"images": "imgs/*.tif"},
        {"images": "images/*.png"},
        {"masks": "masks/{id}.png_"},
        {"tests": "t/*"},
    ):
        with pytest.raises(ValueError, match=r"no file matches .*(?s:.*)images: 6 \.tif\n.*masks: 6 \.png"):
            lungs(patients, **changes)
    with pytest.raises(ValueError, match="name the same files"):
        lungs(patients, images="images/*.tif", masks="images/*.tif")
    with pytest.raises(ValueError, match=r"cannot be paired .*expected \{id\} in it"):
        lungs(patients, masks="*/*_mask.png")
    with pytest.raises(ValueError, match="is no path below the data's folder"):
        lungs(patients, images="/images/*.tif")
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        lungs(patients.with_name("nowhere"))


def test_test_images_and_fingerprints(patients):
    write(patients / "test/100_slice9.tif", np.full((9, 9), 3, np.uint16))
    data = lungs(patients, tests="test/*.tif")
    assert data.test_ids == ["100_slice9"]
    assert data.shape("100_slice9") == (9, 9)
    assert data.fingerprint() == lungs(patients).fingerprint()  # training does not know the test images
    prints = {data.fingerprint(), data.test_fingerprint()}
    prints.add(lungs(patients, values={**VALUES, 255: 1}).fingerprint())
    prints.add(lungs(patients, ignore=128, values={0: 0, 255: 2}).fingerprint())
    prints.add(lungs(patients, channels=3).fingerprint())
    write(patients / "masks/7_slice0_mask.png", np.zeros((300, 300), np.uint8))
    prints.add(lungs(patients).fingerprint())
    write(patients / "test/100_slice9.tif", np.full((90, 90), 3, np.uint16))
    prints.add(lungs(patients, tests="test/*.tif").test_fingerprint())
    assert len(prints) == 7


RULES = {
    "binary of 0 and 255": ([0, 255], "binary", None, [0, 1]),
    "labels": ([0, 1, 2, 255], "labels", None, [0, 1, 2, 255]),
    "labels and void": ([0, 1, 2, 11], "labels", 11, [0, 1, 2, 255]),
    "labels and two values of void": ([0, 1, 7, 8], "labels", (7, 8), [0, 1, 255, 255]),
    "binary and a value between": ([0, 100, 255], "binary", 100, [0, 255, 1]),
    "a threshold": ([0, 100, 101, 255], 100, None, [0, 0, 1, 1]),
    "a mapping of 16 bits": ([0, 500, 65535], {0: 0, 500: 2, 65535: 1}, None, [0, 2, 1]),
    "a mapping and void": ([3, 4, 9], {3: 1, 4: 0}, 9, [1, 0, 255]),
}


@pytest.mark.parametrize(("stored", "values", "ignore", "expected"), RULES.values(), ids=RULES)
def test_values_of_masks(tmp_path, stored, values, ignore, expected):
    array = np.array(stored, np.uint16 if max(stored) > 255 else np.uint8)[None].repeat(3, 0)
    write(tmp_path / "i/a.png", np.zeros((*array.shape, 3), np.uint8))
    write(tmp_path / "m/a.png", array)
    classes = ("none", "one", "two") if 2 in expected or values == "labels" else ("none", "one")
    data = Folder(tmp_path, images="i/*.png", masks="m/{id}.png", classes=classes, values=values, ignore=ignore)
    assert data.read_mask("a").tolist() == [expected] * 3


def test_colours_of_masks(tmp_path):
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255], [255, 255, 255]], np.uint8)
    write(tmp_path / "i/a.png", np.zeros((2, 4, 3), np.uint8))
    write(tmp_path / "m/a.png", colours[None].repeat(2, 0))
    palette = Image.fromarray(np.array([[3, 1, 0, 2]] * 2, np.uint8))  # the same colours in another order
    palette.putpalette([0, 0, 255, 255, 0, 0, 255, 255, 255, 0, 0, 0])
    (tmp_path / "i/b.png").write_bytes((tmp_path / "i/a.png").read_bytes())
    (tmp_path / "m/b.png").write_bytes(save(palette, "PNG"))
    arguments = {"images": "i", "masks": "m", "classes": ("none", "red", "blue")}
    values = {(0, 0, 0): 0, (255, 0, 0): 1, (0, 0, 255): 2}
    data = Folder(tmp_path, values=values, ignore=(255, 255, 255), **arguments)
    assert data.read_mask("a").tolist() == data.read_mask("b").tolist() == [[0, 1, 2, 255]] * 2
    with pytest.raises(BadImage, match=r"^m/a\.png: colours \(255, 255, 255\)"):
        Folder(tmp_path, values=values, **arguments).read_mask("a")


def test_a_palette_of_greys_is_mapped_by_its_greys(tmp_path):
    write(tmp_path / "i/a.png", np.zeros((2, 3, 3), np.uint8))
    gif = Image.fromarray(np.array([[0, 128, 255]] * 2, np.uint8))
    (tmp_path / "m").mkdir()
    (tmp_path / "m/a.gif").write_bytes(save(gif, "GIF"))
    data = Folder(tmp_path, images="i", masks="m", classes=("a", "b", "c"), values=VALUES)
    assert data.read_mask("a").tolist() == [[0, 1, 2]] * 2
    with pytest.raises(BadImage, match=r"^m/a\.gif: mask values 128, 255 are not in `values`; expected 0, 77"):
        Folder(tmp_path, images="i", masks="m", classes=("a", "b", "c"), values={0: 0, 77: 1}).read_mask("a")


def test_a_mask_of_another_size_is_refused_by_name(patients):
    write(patients / "masks/7_slice0_mask.png", np.zeros((20, 31), np.uint8))
    with pytest.raises(BadImage, match=r"^masks/7_slice0_mask\.png: a mask of \(20, 31\), expected \(20, 30\) like"):
        lungs(patients).read_mask("7_slice0")


GROUPS = {
    "a mapping": {f"{7 + n // 2}_slice{n}": f"p{n // 2}" for n in range(6)},
    "a column of pandas": pd.Series([f"p{n // 2}" for n in range(6)], [f"{7 + n // 2}_slice{n}" for n in range(6)]),
    "a CSV": ("patients.csv", "file", "patient"),
    "a function": lambda id: f"p{int(id[0]) - 7}",
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_groups(patients, groups):
    rows = [f"{7 + n // 2}_slice{n}.tif,p{n // 2}\n" for n in range(6)]
    (patients / "patients.csv").write_text("\ufefffile,patient\n" + "".join(rows), encoding="utf-8")
    assert lungs(patients, groups=groups).groups == ["p0", "p0", "p1", "p1", "p2", "p2"]


def test_groups_that_are_missing_or_two_are_refused(patients):
    (patients / "p.csv").write_text("id,who\n7_slice0,a\n7_slice0,b\n")
    with pytest.raises(ValueError, match=r"p\.csv gives 7_slice0 two groups, a and b"):
        lungs(patients, groups=("p.csv", "id", "who"))
    with pytest.raises(ValueError, match=r"p\.csv has no column 'patient'; it has id, who"):
        lungs(patients, groups=("p.csv", "id", "patient"))
    with pytest.raises(ValueError, match=r"4 problems(?s:.*)`groups` gives nothing for the id 8_slice2"):
        lungs(patients, groups=pd.Series([1.0, 2.0, float("nan")], ["7_slice0", "7_slice1", "8_slice2"]))
    with pytest.raises(ValueError, match="has 2 parentheses that capture, expected one"):
        lungs(patients, groups=r"^(\d+)_(slice)")
    with pytest.raises(TypeError, match="groups is a list, expected"):
        lungs(patients, groups=["a"] * 6)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"classes": "lung"}, "classes='lung', expected two or more different names"),
        ({"classes": ("a", "a", "b")}, "expected two or more different names"),
        ({"values": "colour"}, "values='colour', expected 'binary'"),
        ({"values": {0: 0, 255: 3}}, r"values maps to \[3\], expected class numbers 0 to 2, or 255"),
        ({"values": {"red": 1}}, "expected one key or more, whole numbers or colours"),
        ({"values": "binary"}, "values='binary' gives two classes, and there are 3"),
        ({"values": True}, "values=True, expected"),
        ({"channels": "red"}, "channels='red', expected a number or several names"),
        ({"channels": 0}, "channels=0, expected 1 or more"),
    ],
)
def test_arguments_that_cannot_be(patients, changes, told):
    with pytest.raises(ValueError, match=told):
        lungs(patients, **changes)


def test_channels_are_the_most_that_images_have_and_grey_is_repeated(tmp_path):
    mask = np.eye(4, 5, dtype=np.uint8)
    opaque = np.dstack([np.full((4, 5, 3), 9, np.uint8), np.full((4, 5), 255, np.uint8)])
    for id, image in {"a": np.full((4, 5), 7, np.uint8), "b": opaque, "c": np.full((4, 5, 3), 8, np.uint8)}.items():
        write(tmp_path / f"i/{id}.png", image)
        write(tmp_path / f"m/{id}.png", mask)
    data = Folder(tmp_path, images="i", masks="m")
    assert data.channels == ("red", "green", "blue")
    assert [int(data.read_image(id)[0, 0, 2]) for id in data.ids] == [7, 9, 8]
    assert {data.read_image(id).shape for id in data.ids} == {(4, 5, 3)}
