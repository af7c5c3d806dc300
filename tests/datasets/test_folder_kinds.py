"""Folder: masks of objects, of classes that overlap, bands in files of their own, ids by a template."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy_runs import disc
from PIL import Image

from kit.data import BadImage, check_dataset
from kit.datasets import Folder

SIZE = (20, 30)
DISCS = [disc(SIZE, 5, 6, 4), disc(SIZE, 12, 20, 5), disc(SIZE, 15, 5, 3)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array) if path.suffix == ".npy" else Image.fromarray(array).save(path)


def grey(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SIZE, dtype=np.uint8)


def same_objects(labels: np.ndarray, masks: list[np.ndarray]) -> bool:
    """Whether the objects of a label image are these masks, whatever their numbers."""
    found = {(labels == number).tobytes() for number in np.unique(labels) if number}
    return found == {np.asarray(mask, bool).tobytes() for mask in masks}


@pytest.fixture
def nuclei(tmp_path):
    """The layout of Data Science Bowl 2018 with three images of 1, 2 and 3 nuclei, and a test image, in zips."""
    root = tmp_path / "bowl"
    root.mkdir()
    for name, ids in (("stage1_train", "abc"), ("stage1_test", "t")):
        for count, id in enumerate(ids, 1):
            write(tmp_path / f"{name}/{id}/images/{id}.png", np.dstack([grey(count)] * 3))
            for number in range(count if name == "stage1_train" else 0):
                write(tmp_path / f"{name}/{id}/masks/m{number}.png", DISCS[number] * np.uint8(255))
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            for path in sorted((tmp_path / name).rglob("*.png")):
                archive.write(path, path.relative_to(tmp_path / name))
    return root


NUCLEI = {
    "images": "stage1_train/{id}/images/*.png",
    "masks": "stage1_train/{id}/masks/*.png",
    "tests": "stage1_test/{id}/images/*.png",
    "task": "instances",
}


def test_a_file_an_object_in_zips(nuclei):
    data = pickle.loads(pickle.dumps(Folder(nuclei, **NUCLEI)))
    assert (data.ids, data.test_ids, data.task) == (["a", "b", "c"], ["t"], "instances")
    assert data.classes == ("background", "object")
    for count, id in enumerate(data.ids, 1):
        labels = data.read_mask(id)
        assert (labels.dtype, labels.shape) == (np.int32, SIZE)
        assert same_objects(labels, DISCS[:count])
    facts = check_dataset(data)
    assert facts.objects == (1, 2, 3)
    with pytest.raises(KeyError, match="no mask of the id 't'"):
        data.read_mask("t")


def test_a_file_an_object_counts_in_the_fingerprint(nuclei, tmp_path):
    whole = Folder(nuclei, **NUCLEI).fingerprint()
    unpacked = Folder(tmp_path, **NUCLEI)
    assert unpacked.fingerprint() == whole
    write(tmp_path / "stage1_train/a/masks/m7.png", DISCS[2] * np.uint8(255))
    assert Folder(tmp_path, **NUCLEI).fingerprint() != whole


def test_a_pixel_of_two_objects_goes_to_the_smaller_one_and_none_may_vanish(tmp_path):
    write(tmp_path / "i/a.png", grey(0))
    big, small = disc(SIZE, 10, 12, 8), disc(SIZE, 10, 18, 4)
    for name, mask in (("1", small), ("2", big)):
        write(tmp_path / f"m/a/{name}.png", mask * np.uint8(255))
    arguments = {"images": "i/*.png", "masks": "m/{id}/*.png", "task": "instances"}
    assert same_objects(Folder(tmp_path, **arguments).read_mask("a"), [small, big & ~small])
    write(tmp_path / "m/a/3.png", small * np.uint8(255))
    with pytest.raises(BadImage, match=r"a: nothing is left of m/a/1\.png: .*Delete those that are there twice"):
        Folder(tmp_path, **arguments).read_mask("a")


def test_an_image_without_objects_is_refused_or_empty(tmp_path):
    for id in "ab":
        write(tmp_path / f"i/{id}.png", grey(0))
    write(tmp_path / "m/a_1.png", DISCS[0] * np.uint8(255))
    write(tmp_path / "m/b0_1.png", DISCS[0] * np.uint8(255))
    arguments = {"images": "i/*.png", "masks": "m/{id}_*.png", "task": "instances"}
    with pytest.raises(ValueError, match=r"2 problems(?s:.*)m/b0_1\.png has no image(?s:.*)i/b\.png has no mask"):
        Folder(tmp_path, **arguments)
    (tmp_path / "m/b0_1.png").unlink()
    data = Folder(tmp_path, **arguments, lacking="empty")
    assert data.read_mask("a").max() == 1
    assert not data.read_mask("b").any()
    assert data.read_mask("b").dtype == np.int32
    semantic = Folder(tmp_path, images="i/*.png", masks="m/{id}_1.png", lacking="empty")
    assert [int(semantic.read_mask(id).sum()) for id in "ab"] == [int(DISCS[0].sum()), 0]


NUMBERS = DISCS[0] * 3 + DISCS[1] * 700 + DISCS[2] * 65535
COLOURS = np.dstack([DISCS[0] * 9 + DISCS[1] * 9, DISCS[1] * 200 + DISCS[2] * 1, DISCS[2] * 77]).astype(np.uint8)
LABEL_IMAGES = {
    "16 bits": ("png", NUMBERS.astype(np.uint16)),
    "whole numbers of NumPy": ("npy", (NUMBERS * 30000).astype(np.int64)),
    "colours": ("png", COLOURS),
    "8 bits in TIFF": ("tif", (DISCS[0] * 1 + DISCS[1] * 2 + DISCS[2] * 255).astype(np.uint8)),
}


@pytest.mark.parametrize(("suffix", "labels"), LABEL_IMAGES.values(), ids=LABEL_IMAGES)
def test_an_image_that_numbers_the_objects(tmp_path, suffix, labels):
    write(tmp_path / "i/a.png", grey(0))
    write(tmp_path / f"m/a.{suffix}", labels)
    found = Folder(tmp_path, images="i", masks="m/{id}.*", task="instances").read_mask("a")
    assert found.dtype == np.int32
    assert same_objects(found, DISCS)


def test_regions_of_a_binary_mask_as_objects(tmp_path):
    write(tmp_path / "i/a.png", grey(0))
    write(tmp_path / "m/a.png", np.any(DISCS, axis=0) * np.uint8(255))
    arguments = {"images": "i", "masks": "m", "task": "instances"}
    with pytest.raises(BadImage, match=r"only 0 and 255, in several regions.*values='components'"):
        Folder(tmp_path, **arguments).read_mask("a")
    assert same_objects(Folder(tmp_path, **arguments, values="components").read_mask("a"), DISCS)
    write(tmp_path / "m/a.npy", np.full(SIZE, -1))
    (tmp_path / "m/a.png").unlink()
    with pytest.raises(BadImage, match=r"m/a\.npy: labels -1 to -1, expected 0 to"):
        Folder(tmp_path, **arguments).read_mask("a")


def overlapping(tmp_path):
    """Two classes that overlap, of two images: files of each class, and files with both."""
    masks = {id: np.dstack([disc(SIZE, 8, 10 + k, 6), disc(SIZE, 12, 14, 5)]) for k, id in enumerate("ab")}
    for id, mask in masks.items():
        write(tmp_path / f"i/{id}.png", grey(ord(id)))
        write(tmp_path / f"m/{id}_fish.png", mask[..., 0] * np.uint8(255))
        write(tmp_path / f"m/{id}_sugar.png", mask[..., 1].astype(np.uint8))
        write(tmp_path / f"both/{id}.npy", mask)
    return masks


def test_a_file_a_class_and_a_file_with_all_classes(tmp_path):
    masks = overlapping(tmp_path)
    files = Folder(tmp_path, images="i", masks={"fish": "m/{id}_fish.png", "sugar": "m/{id}_sugar.png"})
    layers = Folder(tmp_path, images="i", masks="both", task="multilabel", classes=("fish", "sugar"))
    turned = Folder(tmp_path, images="i", masks=dict(reversed([*MASKS.items()])), classes=("fish", "sugar"))
    for data in (files, layers, turned):
        assert (data.task, data.classes, data.foreground) == ("multilabel", ("fish", "sugar"), ("fish", "sugar"))
        for id, mask in masks.items():
            assert data.read_mask(id).dtype == bool
            np.testing.assert_array_equal(data.read_mask(id), mask)
    assert check_dataset(files).pixels == tuple(sum(mask.sum(axis=(0, 1)) for mask in masks.values()).tolist())
    assert len({files.fingerprint(), layers.fingerprint()}) == 2


MASKS = {"fish": "m/{id}_fish.png", "sugar": "m/{id}_sugar.png"}


def test_a_class_without_a_file_is_refused_or_nowhere(tmp_path):
    masks = overlapping(tmp_path)
    (tmp_path / "m/b_sugar.png").unlink()
    with pytest.raises(ValueError, match=r"1 problem(?s:.*)i/b\.png has no mask m/b_sugar\.png"):
        Folder(tmp_path, images="i", masks=MASKS)
    found = Folder(tmp_path, images="i", masks=MASKS, lacking="empty").read_mask("b")
    np.testing.assert_array_equal(found, masks["b"] & [True, False])


def test_layers_of_another_number_are_refused(tmp_path):
    overlapping(tmp_path)
    data = Folder(tmp_path, images="i", masks="both", task="multilabel", classes=("fish", "sugar", "gravel"))
    with pytest.raises(BadImage, match=r"both/a\.npy: 2 channels, expected one for each of fish, sugar, gravel"):
        data.read_mask("a")


def test_bands_in_files_of_their_own(tmp_path):
    """Contrails: eight points in time of each band, of which the fifth has the mask (H, W, 1)."""
    rng, bands = np.random.default_rng(0), {}
    for folder, ids in (("train", ("100", "101")), ("test", ("200",))):
        for id in ids:
            for band in ("band_11", "band_14"):
                bands[id, band] = rng.normal(270, 9, (*SIZE, 8)).astype(np.float32)
                write(tmp_path / f"{folder}/{id}/{band}.npy", bands[id, band])
        if folder == "train":
            for id in ids:
                write(tmp_path / f"train/{id}/human_pixel_masks.npy", DISCS[int(id) % 2].astype(np.int32)[..., None])
    both = {folder: {f"b{n}": f"{folder}/{{id}}/band_{n}.npy" for n in (14, 11)} for folder in ("train", "test")}
    masks = "train/{id}/human_pixel_masks.npy"
    data = Folder(tmp_path, images=both["train"], tests=both["test"], masks=masks, planes=(4,))
    assert (data.ids, data.test_ids, data.channels) == (["100", "101"], ["200"], ("b14", "b11"))
    for id in (*data.ids, "200"):
        wanted = np.dstack([bands[id, "band_14"][..., 4], bands[id, "band_11"][..., 4]])
        np.testing.assert_array_equal(data.read_image(id), wanted)
        assert data.shape(id) == SIZE
    np.testing.assert_array_equal(data.read_mask("101"), DISCS[1])
    assert check_dataset(data).dtype == "float32"
    one = Folder(tmp_path, images="train/{id}/band_11.npy", masks=masks, planes=(3, 4))
    assert one.channels == ("plane 3", "plane 4")
    np.testing.assert_array_equal(one.read_image("100"), bands["100", "band_11"][..., 3:5])
    four = Folder(tmp_path, images=both["train"], masks=masks, planes=(3, 4))
    assert four.channels == ("b14 plane 3", "b14 plane 4", "b11 plane 3", "b11 plane 4")
    prints = {each.fingerprint() for each in (data, one, four)}
    assert len(prints) == 3
    with pytest.raises(BadImage, match=r"8 channels, expected one in each file.*planes=\(0,\)"):
        Folder(tmp_path, images=both["train"], masks=masks).read_image("100")
    with pytest.raises(ValueError, match=r"channels names 3 .* give 2: b14, b11"):
        Folder(tmp_path, images=both["train"], masks=masks, planes=(4,), channels=3)
    with pytest.raises(BadImage, match=r"8 channels, and planes=\(8,\) asks for number 8; the first is 0"):
        Folder(tmp_path, images=both["train"], masks=masks, planes=(8,)).read_image("100")


def test_bands_that_are_missing_or_differ_are_named(tmp_path):
    for id in "abc":
        for band in ("red", "nir"):
            write(tmp_path / f"t/{id}/{band}.png", grey(0))
        write(tmp_path / f"m/{id}.png", DISCS[0].astype(np.uint8))
    (tmp_path / "t/b/nir.png").unlink()
    bands = {"red": "t/{id}/red.png", "nir": "t/{id}/nir.png"}
    with pytest.raises(ValueError, match=r"the id b has no file of the channel nir, expected t/b/nir\.png"):
        Folder(tmp_path, images=bands, masks="m")
    write(tmp_path / "t/b/nir.png", grey(0)[:10])
    write(tmp_path / "t/c/nir.png", grey(0).astype(np.uint16))
    data = Folder(tmp_path, images=bands, masks="m")
    for id, found in (("b", r"uint8 \(10, 30\)"), ("c", r"uint16 \(20, 30\)")):
        with pytest.raises(BadImage, match=rf"t/{id}/nir\.png: {found}, expected uint8 \(20, 30\) like t/{id}/red"):
            data.read_image(id)


@pytest.fixture
def slices(tmp_path):
    """UW-Madison's tree: cases, days, slices whose names end with their size."""
    for case, day in ((101, 20), (101, 22), (123, 0)):
        for number in (1, 2):
            path = f"train/case{case}/case{case}_day{day}/scans/slice_{number:04}_266_266_1.50_1.50.png"
            write(tmp_path / path, grey(number).astype(np.uint16) * 100)
            write(tmp_path / f"m/case{case}_day{day}_slice_{number:04}.png", DISCS[number].astype(np.uint8))
            write(tmp_path / path.replace("train", "trees"), DISCS[number].astype(np.uint8))
    return tmp_path


def test_ids_by_a_template(slices):
    arguments = {"images": "train/*/*/scans/slice_*_*.png", "ids": "{2}_slice_{3}", "groups": r"^(case\d+)_"}
    data = Folder(slices, masks="m/{id}.png", **arguments)
    assert data.ids[:3] == ["case101_day20_slice_0001", "case101_day20_slice_0002", "case101_day22_slice_0001"]
    assert data.groups == ["case101"] * 4 + ["case123"] * 2
    np.testing.assert_array_equal(data.read_image(data.ids[1])[..., 0], grey(2).astype(np.uint16) * 100)
    others = [Folder(slices, masks=masks, **arguments) for masks in ("trees", "trees/*/*/scans/slice_*_*.png")]
    for each in (data, *others):
        for id in data.ids:
            np.testing.assert_array_equal(each.read_mask(id), DISCS[int(id[-1])])
    with pytest.raises(ValueError, match=r"have the id case101: let ids='\{1\}' name more of the wildcards"):
        Folder(slices, masks="m/{id}.png", images=arguments["images"], ids="{1}")


WRONG = {
    "a template of too many": ({"ids": "{5}"}, r"ids='\{5\}' does not fit 'i/\*\.png': expected \{1\} to \{1\}"),
    "a template without numbers": ({"ids": "slice"}, "ids='slice' does not fit"),
    "a template beside {id}": ({"images": "i/{id}_*.png", "ids": "{1}"}, "and no {id} in the pattern"),
    "another task": ({"task": "panoptic"}, "task='panoptic', expected one of binary, multiclass, multilabel"),
    "a background that overlaps": (
        {"task": "multilabel", "classes": ("background", "fish")},
        "expected one or more different names without a background",
    ),
    "no classes that overlap": ({"task": "multilabel"}, "classes=None, expected one or more different names"),
    "objects of two classes": ({"task": "instances", "classes": ("a", "b", "c")}, "expected two names"),
    "three classes that are binary": ({"task": "binary", "classes": ("a", "b", "c")}, "expected two names"),
    "patterns of other classes": (
        {"masks": {"a": "m/{id}.png"}, "classes": ("b",)},
        "masks has patterns of a, expected one for each of the classes b",
    ),
    "patterns of classes that compete": (
        {"masks": {"a": "m/{id}.png"}, "task": "binary"},
        "expected task='multilabel', got 'binary'",
    ),
    "ignored objects": ({"task": "instances", "ignore": 9}, "ignored pixels are known to binary and multiclass"),
    "values of a label image": ({"task": "instances", "values": 127}, "expected 'labels' for an image that numbers"),
    "no lacking": ({"lacking": "zero"}, "lacking='zero', expected what is done about an image without a mask"),
    "planes below zero": ({"planes": (-1,)}, "expected numbers of channels in a file, the first is 0"),
    "a band without an id": ({"images": {"red": "i/*.png"}}, r"has 'i/\*\.png': expected \{id\} in each pattern"),
    "tests of other bands": (
        {"images": {"red": "i/{id}.png"}, "tests": {"nir": "t/{id}.png"}},
        "tests has nir, expected red as `images`",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "told"), WRONG.values(), ids=WRONG)
def test_arguments_that_do_not_go_together(tmp_path, changes, told):
    write(tmp_path / "i/a.png", grey(0))
    with pytest.raises(ValueError, match=told):
        Folder(tmp_path, **{"images": "i/*.png", "masks": "m/{id}.png"} | changes)


def test_all_wrong_arguments_are_named_at_once(tmp_path):
    with pytest.raises(ValueError, match="task='x'") as refused:
        Folder(tmp_path, images="/i", masks="m", task="x", planes=(), tests="../t", channels="red")
    for told in ("task='x'", "'/i'", "'../t'", "channels='red'"):
        assert told in str(refused.value)
    with pytest.raises(TypeError, match=r"masks is a list, expected a pattern, a mapping .*CsvMasks"):
        Folder(tmp_path, images="i", masks=["m"])
