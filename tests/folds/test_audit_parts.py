"""The parts of the audit: hashes, twins, series of frames, metadata, odd images, the shift."""

import cv2
import imagehash
import numpy as np
import pytest
from drawn_scenes import Scenes, scene, scenes
from PIL import Image

from kit.cli.audit_text import audit_lines
from kit.datasets import Folder
from kit.folds import audit
from kit.folds.copies import NEAREST, _candidates
from kit.folds.hashes import VIEWS, distances_of, hash_views
from kit.folds.looks import look
from kit.folds.shift import groups_of_tests
from kit.folds.verify import turned_window


def bits(hashes):
    return np.unpackbits(hashes.view(np.uint8)).astype(bool)


def test_a_hash_is_that_of_imagehash_and_each_symmetry_is_hashed():
    grey = cv2.cvtColor(scene(1, (64, 64)), cv2.COLOR_RGB2GRAY)
    hashes = hash_views(grey)
    for number in range(8):
        image = grey.T if number >= 4 else grey
        turned = np.rot90(image, number % 4)
        expected = imagehash.phash(Image.fromarray(np.ascontiguousarray(turned)), hash_size=16).hash.reshape(-1)
        assert any(np.array_equal(bits(one), expected) for one in hashes[:8])
    assert np.array_equal(bits(hashes[0]), imagehash.phash(Image.fromarray(grey), hash_size=16).hash.reshape(-1))


def test_distances_are_those_of_counted_bits():
    hashes = np.random.default_rng(0).integers(0, 2**64, (9, 5, 4), np.uint64)
    distances, views = distances_of(hashes, 2, 6)
    for i in range(2, 6):
        for j in range(9):
            all_views = [np.count_nonzero(bits(view) != bits(hashes[j, 0])) for view in hashes[i]]
            assert (distances[i - 2, j], views[i - 2, j]) == (min(all_views), int(np.argmin(all_views)))


def test_candidates_are_the_nearest_of_each_image_and_grow_with_the_number_of_images():
    """Each image gives a dozen, and the one image that is nearest to it; none for each block of rows."""
    count = 1500
    hashes = np.random.default_rng(1).integers(0, 2**64, (count, 2, 4), np.uint64)
    found = _candidates(list(hashes), 1e9, 1)
    distances = distances_of(hashes, 0, count)[0].astype(int) + 9999 * np.eye(count, dtype=int)
    pairs = {frozenset(pair[:2]) for pair in found}
    assert len(pairs) == len(found) <= (NEAREST + 1) * count
    for j in range(count):
        assert any(frozenset((int(i), j)) in pairs for i in np.flatnonzero(distances[:, j] == distances[:, j].min()))
        near = np.flatnonzero(distances[j] < np.sort(distances[j])[NEAREST - 1])
        assert all(frozenset((int(i), j)) in pairs for i in near)


def test_windows_are_turned_as_images_are():
    marked = np.zeros((100, 100), np.uint8)
    for view in {VIEWS[8], VIEWS[12], VIEWS[20], VIEWS[-1]}:
        for symmetry in range(8):
            top, left, rows, columns = (round(100 * share) for share in view.window)
            marked[:] = 0
            marked[top : top + rows, left : left + columns] = 1
            turned = np.rot90(marked[:, ::-1] if symmetry >= 4 else marked, symmetry % 4)
            there, along = np.nonzero(turned)
            box = there.min(), along.min(), np.ptp(there) + 1, np.ptp(along) + 1
            found = turned_window(type(view)(symmetry, view.window))
            np.testing.assert_allclose(np.array(box) / 100, found, atol=0.011)


def test_groups_of_one_colour_are_the_first_pair():
    images, groups = {}, []
    hues = [(40, 60, 200), (200, 60, 40), (60, 200, 40), (200, 200, 60), (200, 60, 200)]
    for number, colours in enumerate([*hues, hues[2]]):  # the last group shows what the third shows
        for view in range(6):
            images[f"{number}_{view}x"] = scene(100 * number + view, colours=colours)
            groups.append(f"car{number}")
    twins = audit(Scenes(images, groups)).twins
    assert {twins[0].first, twins[0].second} == {"car2", "car5"}
    assert len(twins) == 15  # all pairs of six groups
    assert [one.distance for one in twins] == sorted(one.distance for one in twins)


def frames(count, speed=20):
    wide = scene(5, (120, 160 + speed * count))
    return {f"video_{k:03}": wide[:, speed * k : speed * k + 160] for k in range(count)}


@pytest.mark.slow
def test_frames_of_a_video_are_a_series():
    images = {**frames(30), **{f"photo_{k}": scene(300 + k) for k in range(30)}}
    found = audit(Scenes(images), np.arange(60) % 5)
    assert found.fails == []
    assert [(one.name, len(one.ids), len(one.steps)) for one in found.sequences] == [("video_…", 30, 29)]
    found = audit(Scenes(images, ["video"] * 30 + [f"p{k}" for k in range(30)]))
    assert [one.is_split for one in found.sequences] == [False]
    assert "frames    1 series of neighbouring images, each in one group" in audit_lines(found)


def test_twins_by_exif_and_by_rows_of_a_table(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    times = ["2020:05:01 10:00:00", "2020:05:01 10:00:01", "2021:05:01 10:00:00", "2021:06:01 10:00:00"]
    rows = ["id,make,year,trim", "a,ford,2001,x", "b,opel,2002,y", "c,fiat,2003,z", "d,fiat,2003,z"]
    for k, name in enumerate("abcd"):
        exif = Image.Exif()
        exif[0x0110] = "camera 7"
        exif.get_ifd(0x8769)[0x9003] = times[k]
        Image.fromarray(scene(k)).save(tmp_path / f"images/{name}.jpg", exif=exif)
        Image.fromarray(np.zeros((120, 160), np.uint8)).save(tmp_path / f"masks/{name}.png")
    (tmp_path / "cars.csv").write_text("\n".join([*rows, *(f"e{k},make{k},19{k},t{k}" for k in range(9))]))
    more = {f"e{k}": scene(50 + k) for k in range(9)}
    for name, image in more.items():
        Image.fromarray(image).save(tmp_path / f"images/{name}.jpg")
        Image.fromarray(np.zeros((120, 160), np.uint8)).save(tmp_path / f"masks/{name}.png")
    data = Folder(tmp_path, images="images/*.jpg", masks="masks/{id}.png", classes=("background", "car"))
    found = [(one.first, one.second, one.what) for one in audit(data).metadata]
    assert found == [
        ("a", "b", "EXIF: taken 1 s apart by one camera 7"),
        ("c", "d", "cars.csv: make fiat, year 2003, trim z"),
    ]


def test_odd_images_are_named_by_what_is_odd():
    images = scenes(40)
    images["blurred"] = cv2.GaussianBlur(scene(70), (0, 0), 6)
    images["dark"] = scene(71) // 9
    images["large"] = scene(72, (480, 640))
    images["long"] = scene(73, (60, 320))
    images["grey"] = np.repeat(scene(74)[..., :1], 3, axis=2)
    found = {(one.id, one.kind) for one in audit(Scenes(images)).quality}
    assert found >= {("blurred", "blurred"), ("dark", "dark"), ("large", "odd size"), ("long", "odd shape")}
    assert ("grey", "grey") in found
    assert {id for id, _ in found} == {"blurred", "dark", "large", "long", "grey"}


@pytest.mark.parametrize("factor", [pytest.param(1.0, marks=pytest.mark.slow), 0.7])
def test_the_shift_is_clear_where_test_images_are_darker(factor):
    tests = {f"t{k}": (scene(500 + k) * factor).astype(np.uint8) for k in range(20)}
    shift = audit(Scenes(scenes(30), tests=tests)).shift
    assert shift.is_clear == (factor < 1)
    assert (shift.train, shift.test, shift.new_sizes) == (30, 20, [])
    assert shift.auc > 0.9 or factor == 1.0


def test_test_images_of_one_car_are_one_group():
    ids, groups = ["a_1", "a_2", "b_1", "b_2"], ["car a", "car a", "car b", "car b"]
    assert groups_of_tests(ids, groups, ["c_1", "c_2", "d_1"]) == ["c_", "c_", "d_"]
    assert groups_of_tests(ids, ids, ["c_1", "c_2"]) == ["c_1", "c_2"]
    assert groups_of_tests(ids, ["x", "y", "x", "y"], ["c_1", "c_2"]) == ["c_1", "c_2"]


def test_looks_do_not_depend_on_the_grey_of_a_type():
    image = scene(3)
    assert look(image).content != look(image[::-1]).content
    assert look(image).content == look(image.copy()).content
    assert look(np.zeros((50, 50, 3), np.uint8)).is_flat
