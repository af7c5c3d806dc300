import csv
import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from kit.datasets import studio, studio_car
from kit.datasets.carvana import Carvana
from kit.datasets.studio import draw_studio
from kit.datasets.studio_render import GLASS, Camera, ball, draw_mesh
from kit.submission.rle import decode

SIZE = (96, 144)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_studio(tmp_path_factory.mktemp("studio") / "drawn", cars=2, test_cars=1, size=SIZE)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_same_seed_same_bytes_and_more_cars_change_no_earlier_one(drawn, tmp_path):
    again = contents(draw_studio(tmp_path / "again", cars=2, test_cars=1, size=SIZE))
    assert again == contents(drawn)
    fewer = contents(draw_studio(tmp_path / "fewer", cars=1, test_cars=1, size=SIZE))
    pictures = {name: content for name, content in fewer.items() if name.endswith((".jpg", ".gif"))}
    assert len(pictures) == 48
    assert pictures.items() <= again.items()


def test_another_seed_gives_other_cars_and_images(drawn, tmp_path):
    other = contents(draw_studio(tmp_path / "other", cars=1, test_cars=1, seed=1, size=SIZE))
    mine = contents(drawn)
    shared = other.keys() & mine.keys()
    assert shared == {"train_masks.csv", "test_masks.csv", "sample_submission.csv", "metadata.csv", "studio.json"}
    assert not {content for name, content in other.items() if name not in shared} & set(mine.values())


def test_layout_is_carvanas(drawn):
    train = sorted(path.stem for path in (drawn / "train").iterdir())
    test = sorted(path.stem for path in (drawn / "test").iterdir())
    assert (len(train), len(test)) == (32, 16)
    assert all(re.fullmatch(r"[0-9a-f]{12}_(0[1-9]|1[0-6])", name) for name in train + test)
    cars, test_cars = {name[:12] for name in train}, {name[:12] for name in test}
    assert (len(cars), len(test_cars), cars & test_cars) == (2, 1, set())
    assert sorted(path.name for path in (drawn / "train_masks").iterdir()) == [f"{name}_mask.gif" for name in train]
    assert [row["img"] for row in table(drawn / "train_masks.csv")] == [f"{name}.jpg" for name in train]
    assert (drawn / "sample_submission.csv").read_text().splitlines() == [
        "img,rle_mask",
        *(f"{name}.jpg,1 1" for name in test),
    ]
    about = table(drawn / "metadata.csv")
    assert list(about[0]) == ["id", "year", "make", "model", "trim1", "trim2"]
    assert {row["id"] for row in about} == cars | test_cars
    for name in train:
        with Image.open(drawn / "train" / f"{name}.jpg") as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", SIZE[::-1])


def test_gifs_hold_indices_0_and_1_and_equal_the_csv(drawn):
    rows = {row["img"][:-4]: row["rle_mask"] for row in table(drawn / "train_masks.csv")}
    for path in (drawn / "train_masks").iterdir():
        with Image.open(path) as image:
            assert (image.mode, getattr(image, "n_frames", 1)) == ("P", 1)
            assert image.getpalette()[:6] == [0, 0, 0, 255, 255, 255]
            mask = np.array(image)
        assert set(np.unique(mask)) == {0, 1}
        np.testing.assert_array_equal(mask, decode(rows[path.name.removesuffix("_mask.gif")], SIZE))
        assert 0.05 < mask.mean() < 0.60
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()


def test_carvana_reads_it(drawn):
    data = Carvana(drawn)
    assert len(data.ids) == 32
    assert len(set(data.groups)) == 2
    assert len(data.test_ids) == 16
    assert data.read_image(data.ids[0]).shape == (*SIZE, 3)
    assert data.read_mask(data.ids[0]).shape == SIZE


@pytest.mark.parametrize("view", [0, 3, 4])
def test_image_and_mask_agree_to_a_tenth_of_a_pixel(view):
    rng = np.random.default_rng(0)
    car = studio.build_car("suv", studio.PAINTS[0], rng)
    car.table[:] = 0
    car.atlas[car.atlas == GLASS] = studio_car.PAINT  # a black, opaque car in a white, shadowless room
    room = np.ones((240, 360, 3), np.float32)
    image, coverage = studio.render(car._replace(shadow=np.zeros_like(car.shadow)), room, view)
    np.testing.assert_allclose(1 - image[..., 1], coverage, atol=1e-6)
    photo = studio.photograph(np.ascontiguousarray(image), rng)[..., 1].astype(np.float32)
    mask = (coverage >= 0.5).astype(np.float32)
    shift, _ = cv2.phaseCorrelate(255 * (1 - mask), photo, cv2.createHanningWindow((360, 240), cv2.CV_32F))
    assert np.hypot(*shift) < 0.1


def test_a_drawn_ball_lies_where_the_pinhole_camera_sees_it():
    centre, radius = np.array([0.5, 0.8, 0.9]), 0.6
    image = np.zeros((240, 360, 3), np.float32)
    mesh = ball(tuple(centre), (radius,) * 3, np.array([0.5, 0.5]))
    atlas, colours = np.full((1, 1), studio_car.PAINT, np.uint8), np.zeros((13, 5), np.float32)
    coverage = draw_mesh(mesh, atlas, colours, image)
    # by rays: a pixel is inside where its ray passes the centre nearer than the radius
    eye, pitch = np.array([7.6, 0, 1.95]), np.arctan2(1.95 - 0.70, 7.6)
    rows, columns = np.mgrid[0:240, 0:360] + 0.5
    right, up = (columns - 180) / (1.12 * 360), (240 * 0.48 - rows) / (1.12 * 360)
    ahead, upwards = np.array([-np.cos(pitch), 0, -np.sin(pitch)]), np.array([-np.sin(pitch), 0, np.cos(pitch)])
    rays = ahead + right[..., None] * np.array([0, 1, 0]) + up[..., None] * upwards
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    inside = np.linalg.norm(np.cross(rays, centre - eye), axis=-1) < radius
    assert (inside != (coverage >= 0.5)).sum() < 0.03 * inside.sum()  # the ball is a polyhedron, a little smaller
    for axis in (0, 1):
        places = np.arange(inside.shape[axis]) + 0.5
        mine, theirs = coverage.sum(1 - axis), inside.sum(1 - axis)
        assert abs((places * mine).sum() / mine.sum() - (places * theirs).sum() / theirs.sum()) < 0.15
    assert Camera(240, 360).project(centre[None])[0, 2] == pytest.approx(1 / ((centre - eye) @ ahead), rel=1e-5)


def test_glass_lets_the_wall_through_and_belongs_to_the_mask():
    car = studio.build_car("van", studio.PAINTS[3], np.random.default_rng(3))
    dark, bright = np.zeros((240, 360, 3), np.float32), np.ones((240, 360, 3), np.float32)
    (behind_dark, coverage), (behind_bright, _) = studio.render(car, dark, 4), studio.render(car, bright, 4)
    seen_through = (coverage == 1) & (behind_bright - behind_dark > 0.2).all(-1)
    assert seen_through.sum() > 300


def test_every_variation_stays_on_its_panels():
    for body in studio_car.BODIES.values():
        for seed in range(8):
            rng = np.random.default_rng(seed)
            varied = studio_car.vary(body, rng)
            atlas, mesh = studio_car.paint_atlas(varied, 5, rng), studio_car.build_mesh(varied, rng)
            assert (mesh.texels >= 0).all()
            assert (mesh.texels < atlas.shape[::-1]).all()
            assert mesh.faces.max() < len(mesh.points)
            assert (np.diff(studio_car.outline(varied).x) >= 0).all()


def test_second_call_returns_at_once_and_touches_nothing(drawn):
    before = {path: path.stat().st_mtime_ns for path in drawn.rglob("*")}
    start = time.process_time()  # other processes do not count
    assert draw_studio(str(drawn), cars=2, test_cars=1, size=SIZE) == drawn
    assert time.process_time() - start < 0.1
    assert {path: path.stat().st_mtime_ns for path in drawn.rglob("*")} == before


def test_other_content_is_refused_and_kept(drawn, tmp_path):
    before = contents(drawn)
    with pytest.raises(FileExistsError, match=r"(?s)'cars': 2.*'cars': 3.*choose another folder"):
        draw_studio(drawn, cars=3, test_cars=1, size=SIZE)
    assert contents(drawn) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no drawn studio"):
        draw_studio(tmp_path, size=SIZE)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("wrong", [{"cars": 0}, {"test_cars": 0}, {"seed": -1}, {"size": (8, 144)}])
def test_arguments_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match="expected cars and test_cars >= 1"):
        draw_studio(tmp_path / "new", **wrong)
    assert not list(tmp_path.iterdir())


def start_drawing(folder: Path) -> subprocess.Popen:
    code = f"from kit.datasets.studio import draw_studio; draw_studio({str(folder)!r}, 2, 1, size={SIZE})"
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("signal_number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_interrupted_drawing_leaves_nothing_half(drawn, tmp_path, signal_number):
    folder = tmp_path / "cut"
    process = start_drawing(folder)
    while not list(tmp_path.glob(".cut.partial/train/*.jpg")):
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.002)
    process.send_signal(signal_number)
    assert process.wait(30) != 0
    assert not folder.exists()
    assert signal_number == signal.SIGKILL or not (tmp_path / ".cut.partial").exists()
    draw_studio(folder, cars=2, test_cars=1, size=SIZE)
    assert contents(folder) == contents(drawn)
    assert not (tmp_path / ".cut.partial").exists()


@pytest.mark.slow
def test_two_processes_at_once_draw_one_competition(drawn, tmp_path):
    processes = [start_drawing(tmp_path / "both") for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert contents(tmp_path / "both") == contents(drawn)
