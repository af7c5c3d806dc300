"""The audit on drawn scenes: changed copies and split groups fail, everything else is shown or told."""

import cv2
import numpy as np
import pytest
from changed_images import CHANGES, Planted, brighter, compressed, cut, half
from drawn_scenes import Scenes, scene, scenes

from kit.cli.audit_text import audit_lines
from kit.folds import audit
from kit.folds.auditing import describe
from kit.report.audit_page import audit_page

ALL = {
    **CHANGES,
    "mirrored, half, q50": lambda image: compressed(half(image[:, ::-1])),
    "cut, q50": lambda image: compressed(cut(image)),
    "mirrored and cut": lambda image: cut(image[:, ::-1]),
    "brighter and cut": lambda image: brighter(cut(image)),
    "cut at the top": lambda image: image[6:],
    "cut aside": lambda image: image[3:117, 5:157],
    "gamma": lambda image: np.round(255 * (image / 255) ** 0.8).astype(np.uint8),
}


@pytest.fixture(scope="module")
def originals():
    return Scenes(scenes(30))


def leaking(found):
    return {id for one in found.fails for id in (one.first, one.second)}


def test_every_changed_copy_is_found_and_nothing_else(originals):
    """Of each image one changed copy, in another fold; the last ones are changed twice, or at one border alone."""
    images = dict(originals.images)
    for id, (name, change) in zip(originals.ids, ALL.items(), strict=False):
        images[f"{id}+{name}"] = np.ascontiguousarray(change(images[id]))
    found = audit(Scenes(images), [int("+" in id) for id in images])
    pairs = {(one.first, one.second.partition("+")[0]) for one in found.copies}
    assert pairs == {(id, id) for id in originals.ids[: len(ALL)]}
    assert len(found.copies) == len(ALL)
    assert all(one.leaks and one.places == ("fold 0", "fold 1") for one in found.copies)
    assert [one.second for one in found.copies if one.same] == ["a0+bytes"]


@pytest.mark.slow
def test_copies_of_copies_are_found(originals):
    planted = Planted(originals, originals.ids[5:6])
    found = audit(planted, planted.folds)
    assert leaking(found) == {originals.ids[5], *planted.planted}


def test_a_scene_in_which_something_moved_is_no_copy(originals):
    moved = originals.images["a0"].copy()
    cv2.circle(moved, (80, 60), 9, (250, 30, 30), -1)
    assert audit(Scenes({**originals.images, "zz": moved})).copies == []


@pytest.mark.slow
def test_images_of_one_grey_and_other_channels_are_no_copies(originals):
    """Two images of the same luma with other colours, and two of six bands of the same mean."""
    wave = np.add.outer(np.sin(np.arange(120) / 9), np.cos(np.arange(160) / 11)) * 15
    image = originals.images["a0"] * 0.5 + 60
    other = image + np.stack([wave, -wave * 0.299 / 0.587, 0 * wave], axis=2)
    moved = {"first": image.astype(np.uint8), "second": np.round(other).astype(np.uint8)}
    grey = np.repeat(cv2.cvtColor(moved["first"], cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert np.abs(cv2.cvtColor(moved["second"], cv2.COLOR_RGB2GRAY).astype(int) - grey[..., 0]).max() <= 2
    few = dict(list(originals.images.items())[1:9])
    assert audit(Scenes({**few, **moved})).copies == []
    found = audit(Scenes({**few, "first": moved["first"], "grey": grey})).copies  # without its colours it is a copy
    assert [(one.first, one.second) for one in found] == [("first", "grey")]
    bands = {id: np.concatenate([image, image[::-1]], axis=2) for id, image in {**few, "first": moved["first"]}.items()}
    bands["half"] = half(bands["first"][..., :3]), half(bands["first"][..., 3:])
    bands["half"] = np.concatenate(bands["half"], axis=2)
    signs = np.array([1, -1, 1, -1, 0, 0])
    bands["second"] = np.round(bands["first"] + wave[..., None] * signs).astype(np.uint8)
    assert [(one.first, one.second) for one in audit(Scenes(bands)).copies] == [("first", "half")]


def test_originals_alone_raise_no_alarm(originals):
    found = audit(originals, np.arange(30) % 5)
    assert (found.copies, found.fails, found.sequences) == ([], [], [])
    assert found.check() is None
    assert (found.images, found.tests, found.folds, found.grouped, found.has_groups) == (30, 0, 5, 30, False)


def test_black_images_are_odd_and_no_copies(originals):
    black = {f"black{k}": np.zeros((120, 160, 3), np.uint8) for k in range(3)}
    found = audit(Scenes({**originals.images, **black}))
    assert found.copies == []
    assert {one.id for one in found.quality if one.kind == "shows nothing"} == set(black)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, pytest.param(np.float32, marks=pytest.mark.slow)])
def test_equal_dim_images_are_copies_and_constant_ones_are_none(originals, dtype):
    """Spots of 14 levels on 3, as in fluorescence: the spread is below 2 of 255; and images of one colour."""
    random = np.random.default_rng(3)
    dim = np.full((256, 256, 3), 3)
    for y, x in random.integers(5, 250, (25, 2)):
        dim[y : y + 4, x : x + 4] = 14
    other = np.roll(dim, 40, axis=0)
    plain = np.broadcast_to([10, 200, 30], dim.shape)
    images = {**originals.images, "dim": dim, "same": dim.copy(), "other": other, "plain": plain, "plain too": plain}
    images = {id: image.astype(dtype) / dtype(255 if dtype == np.float32 else 1) for id, image in images.items()}
    images = {id: image.astype(dtype) for id, image in images.items()}
    found = audit(Scenes(images), np.arange(35) % 5)
    assert [(one.first, one.second, one.same) for one in found.fails] == [("dim", "same", True)]


def test_copies_in_one_fold_or_group_do_not_leak(originals):
    images = {**originals.images, "zz": half(originals.images["a0"])}
    groups = [*map(str, range(30)), "0"]
    found = audit(Scenes(images, groups))
    assert found.fails == []
    assert [(one.first, one.second, one.places) for one in found.kept] == [("a0", "zz", ("group 0", "group 0"))]
    folds = np.arange(31) % 5  # "a0" and the last are both of fold 0, and of one group
    assert audit(Scenes(images, groups), folds).fails == []
    folds[30] = 1
    found = audit(Scenes(images, groups), folds)
    assert [one.group for one in found.split] == ["0"]
    assert len(found.fails) == 2
    with pytest.raises(ValueError, match=r"(?s)2 leaks.*group 0 is in fold 0, fold 1.*a0 and zz \(fold 0 and fold 1\)"):
        found.check()


def test_copies_in_the_test_images_and_beside_an_official_split_leak(originals):
    data = Scenes(originals.images, tests={"t1": scene(900), "t2": half(originals.images["b0"])})
    assert [(one.first, one.second, one.places) for one in audit(data).fails] == [("b0", "t2", ("group b0", "test"))]
    always = np.full(31, -1)
    always[1] = 0
    images = dict(originals.images)
    images["zz"] = brighter(images["b0"])
    found = audit(Scenes(images), always)
    assert [one.places for one in found.fails] == [("fold 0", "always trained on")]


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 5])
def test_other_types_and_channels(dtype, channels):
    random = np.random.default_rng(0)
    images = {}
    for name, image in scenes(12).items():
        stack = np.concatenate([image, image[::-1]], axis=2)[..., :channels].astype(float)
        images[name] = (stack * 200 + random.normal(0, 50, stack.shape)).clip(0, 65535).astype(dtype)
    images["zz"] = cv2.resize(images["c0"], (80, 60), interpolation=cv2.INTER_AREA).reshape(60, 80, channels)
    assert [(one.first, one.second) for one in audit(Scenes(images)).copies] == [("c0", "zz")]


def test_folds_of_another_length_are_refused(originals):
    with pytest.raises(ValueError, match="3 folds of 30 images"):
        audit(originals, [0, 1, 2])


def test_a_test_image_that_is_trained_on_fails_and_keeps_its_place(originals):
    images = {**originals.images, "zz": originals.images["c0"].copy()}
    data = Scenes(images)
    found = audit(data, np.arange(31) % 5, tests=["b0", "c0"])
    assert [describe(one) for one in found.fails] == [
        "b0 is a training image (fold 1) and a test image",
        "c0 is a training image (fold 2) and a test image",
        "c0 and zz (fold 2 and fold 0): the same pixels",
    ]
    assert found.facts()["fails"]["shared"][0] == {"id": "b0", "place": "fold 1"}
    assert "b0 is a training image (fold 1) and a test image" in audit_page(found, data.read_image)
    with pytest.raises(ValueError, match="b0 is a training image"):
        found.check()


def test_the_audit_says_where_no_test_images_are_known(originals):
    note = "No test images are known: copies in them were not looked for."
    assert note in audit(Scenes(scenes(3))).notes
    assert note not in audit(Scenes(scenes(3), tests={"t": scene(900)})).notes


def test_a_copy_without_a_mask_does_not_leak_and_is_named_apart(originals):
    more = {"zz0": half(originals.images["b0"]), "zz1": brighter(originals.images["c0"]), "zz2": scene(901)}
    data = Scenes(originals.images, tests={**more, "t": compressed(originals.images["c0"])})
    found = audit(data, np.arange(30) % 5, tests=["t"], unlabelled=list(more))
    assert [(one.first, one.second, one.places) for one in found.fails] == [("c0", "t", ("fold 2", "test"))]
    apart = {(one.first, one.second, one.places) for one in found.kept}
    assert ("b0", "zz0", ("fold 1", "without a mask")) in apart
    assert (found.tests, found.unlabelled) == (1, 3)
    assert "1 test image, 3 images without a mask" in audit_lines(found)[0]
    assert any(line.startswith("copy      b0 and zz0 (fold 1 and without a mask)") for line in audit_lines(found))
