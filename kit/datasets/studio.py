"""The drawn studio: a small car-masking competition that kit draws, used where no real data is found.

Each car (see studio_car.py) turns through 16 views, 22.5 degrees apart, in a photographer's studio: a wall with
large letters, a grey floor with a turntable, soft boxes, soft shadows, a light that makes some edges hard to see
(white cars before a bright wall, dark sills in the shadow), blur, noise and a vignette. The files lie as in
Carvana's data: train/, train_masks/, train_masks.csv, test/, sample_submission.csv, metadata.csv. One more file is
here that Kaggle does not publish: test_masks.csv, the true masks against which a submission can be scored.

Image and mask are one rendering (studio_render.py): a pixel is foreground where at least half of its samples meet the
car, glass and aerial included. The drawing is a demonstration and a test of the whole path; a score on it says nothing
about photographs.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from kit.datasets import studio_car
from kit.datasets.carvana import STUDIO_MARKER
from kit.datasets.drawn_files import drawn_folder, run_lengths, write_csv
from kit.datasets.studio_car import Body
from kit.datasets.studio_render import Camera, Mesh, draw_mesh

VERSION = 2  # raised whenever the drawing changes, so that an older one in a cache is not used
VIEWS = 16

WALL, TURNTABLE = 14.0, 3.2  # radii around the turntable's axis, in metres

# red, green, blue, and the share of the paint that mirrors its surroundings (metallic)
PAINTS = (
    (0.93, 0.93, 0.92, 0.05), (0.06, 0.06, 0.07, 0.15), (0.70, 0.71, 0.72, 0.50), (0.60, 0.06, 0.07, 0.25),
    (0.42, 0.43, 0.45, 0.45), (0.09, 0.17, 0.42, 0.35), (0.90, 0.90, 0.86, 0.20), (0.20, 0.21, 0.23, 0.40),
    (0.78, 0.36, 0.08, 0.20), (0.60, 0.60, 0.58, 0.50), (0.10, 0.28, 0.20, 0.30), (0.58, 0.51, 0.40, 0.40),
)  # fmt: skip
# by material number (the renderer's HOLE and GLASS, then those of studio_car): red, green, blue, clear coat, metallic
MATERIALS = (
    (0, 0, 0, 0, 0), (0.10, 0.12, 0.12, 0.08, 0), (0.5, 0.5, 0.5, 0.09, 0.3), (0.11, 0.11, 0.115, 0.03, 0),
    (0.05, 0.05, 0.05, 0, 0), (0.66, 0.69, 0.72, 0.20, 0.5), (0.58, 0.05, 0.05, 0.08, 0.1),
    (0.72, 0.73, 0.75, 0.3, 0.8), (0.095, 0.095, 0.10, 0.02, 0), (0.62, 0.63, 0.65, 0.1, 0.6),
    (0.03, 0.03, 0.035, 0.01, 0), (0.88, 0.89, 0.92, 0.02, 0), (0.26, 0.24, 0.22, 0.01, 0),
)  # fmt: skip
WORDS = ("DRAWVIA", "KURVELLO", "MASKARRA", "OUTLINEA")
MAKES = ("Ardelle", "Bexholm", "Corvenna", "Dunmarr", "Elvsted", "Fenwyck")


# ---- the scene -----------------------------------------------------------------------------------------------------


class Car(NamedTuple):
    """One car to be drawn: its kind, mesh, painted panels u8, colours f32 (13, 5), and the shadow of cast_shadow."""

    kind: str
    mesh: Mesh
    atlas: np.ndarray
    table: np.ndarray
    shadow: np.ndarray


def build_car(kind: str, paint: tuple, rng: np.random.Generator) -> Car:
    """A car of a kind (of studio_car.BODIES) and a paint (of PAINTS); all else about it is random."""
    body = studio_car.vary(studio_car.BODIES[kind], rng)
    table = np.array(MATERIALS, np.float32)
    tinted = np.array(paint[:3]) * rng.uniform(0.88, 1.05) + rng.uniform(-0.012, 0.012, 3)
    table[studio_car.PAINT, :3] = np.clip(tinted, 0.03, 0.96)
    table[studio_car.PAINT, 4] = paint[3]
    table[studio_car.RIM, :3] *= rng.choice([0.25, 0.85, 1.15])
    table[studio_car.SEAT, :3] *= rng.choice([0.4, 1.0, 2.2])
    atlas = studio_car.paint_atlas(body, int(rng.choice([5, 6, 7, 10, 15])), rng)
    return Car(kind, studio_car.build_mesh(body, rng), atlas, table, cast_shadow(body))


def cast_shadow(body: Body) -> np.ndarray:
    """The floor's darkness around a car, 0..1, f32 (400, 800): 1 cm a pixel, the car's front to the right."""
    length, width = body.profile[-1][0], body.width
    soft, contact = np.zeros((2, 400, 800), np.float32)
    half_length, half_width = round(50 * length) - 12, round(50 * width) - 8
    cv2.rectangle(soft, (400 - half_length, 200 - half_width), (400 + half_length, 200 + half_width), 1, -1)
    for axle in body.axles:
        column = round(400 + 100 * (length / 2 - axle))
        for row in (200 - half_width + 8, 200 + half_width - 8):
            cv2.rectangle(contact, (column - 20, row - 10), (column + 20, row + 10), 1, -1)
    wide, close = cv2.GaussianBlur(soft, (0, 0), 38), cv2.GaussianBlur(soft, (0, 0), 11)
    return np.clip(0.42 * wide + 0.40 * close + 0.5 * cv2.GaussianBlur(contact, (0, 0), 5), 0, 0.9)


def draw_room(camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The empty studio as f32 (H, W, 3), 0..1: wall, letters, lamp, floor, turntable."""
    height, width = camera.height, camera.width
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32([[[height]], [[width]]])
    wall = rng.uniform(0.88, 1.02) * (1 - 0.10 * np.abs(columns - rng.uniform(0.3, 0.7)) - 0.12 * (0.4 - rows))
    wall = draw_letters(wall, rng)
    wall = draw_softbox(wall, rng)
    turn = np.linspace(0, 2 * np.pi, 181)
    behind = camera.floor(WALL * np.cos(turn[45:136]), WALL * np.sin(turn[45:136]))
    floor_mask = fill(camera, np.vstack([behind, [[2 * width, 2 * height], [-width, 2 * height]]]))
    tone = rng.uniform(0.55, 0.90)
    floor = tone * (1.04 - 0.16 * np.abs(rows - 0.62) - 0.22 * np.abs(columns - rng.uniform(0.4, 0.6)))
    floor = draw_turntable(floor, camera, rng)
    seam = cv2.GaussianBlur(floor_mask, (0, 0), 0.004 * height + 0.3)[..., None]
    warmth = rng.uniform(-0.025, 0.025)
    tint = np.array([1 + warmth, 1, 1 - warmth])
    floor_tint = tint + np.array([-0.012, 0, 0.02]) * rng.uniform(0, 1.5)
    room = wall[..., None] * tint * (1 - seam) + floor[..., None] * floor_tint * seam
    return np.clip(room, 0, 1).astype(np.float32)


def fill(camera: Camera, outline: np.ndarray) -> np.ndarray:
    """A filled outline (P, 2), in pixels, as f32 (H, W) 0..1 with smooth edges."""
    mask = np.zeros((camera.height, camera.width), np.uint8)
    cv2.fillPoly(mask, [np.round((outline - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def draw_letters(wall: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The wall with a word across it; drawn large, then shrunk, which smooths its edges."""
    height, width = wall.shape
    word = str(rng.choice(WORDS))
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 8
    (long, high), base = cv2.getTextSize(word, font, scale, 44)
    board = np.zeros((high + base + 80, long + 80), np.uint8)
    cv2.putText(board, word, (40, high + 40), font, scale, 255, 44, cv2.LINE_AA)
    across, down = round(width * rng.uniform(0.80, 0.90)), round(height * 0.22)
    board = cv2.resize(board, (across, down), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    top, left = round(height * rng.uniform(0.05, 0.10)), (width - across) // 2
    wall[top : top + down, left : left + across] *= 1 - board * rng.uniform(0.35, 0.68)
    return wall


def draw_softbox(wall: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The wall with a soft box at its left or right edge: a bright, slanting panel with a dark rim, on a stand."""
    height, width = wall.shape
    side = 1 if rng.random() < 0.5 else -1
    centre = np.array([width * (0.5 + side * rng.uniform(0.44, 0.50)), height * rng.uniform(0.16, 0.26)])
    corners = np.array([(-0.055, -0.15), (0.045, -0.13), (0.045, 0.13), (-0.055, 0.11)]) * (side * width, height)
    camera, foot = Camera(height, width), np.array([0, 0.5 * height])
    pole = centre + np.array([(-0.003 * width, 0), (0.003 * width, 0)])
    stand = fill(camera, np.vstack([pole, pole[::-1] + foot]))
    rim, panel = fill(camera, centre + corners), fill(camera, centre + corners * 0.90)
    wall = wall * (1 - 0.7 * stand)
    wall = wall * (1 - rim) + 0.16 * rim
    return wall * (1 - panel) + 0.99 * panel


def draw_turntable(floor: np.ndarray, camera: Camera, rng: np.random.Generator) -> np.ndarray:
    """The floor with the turntable: a plate a little lighter or darker, the gap around it and its bright lip."""
    turn = np.linspace(0, 2 * np.pi, 181)[:-1]
    ring = [
        fill(camera, camera.floor(r * np.cos(turn), r * np.sin(turn)))
        for r in (TURNTABLE, TURNTABLE + 0.02, TURNTABLE + 0.035)
    ]
    floor = floor * (1 + rng.uniform(-0.05, 0.05) * ring[0])
    return floor * (1 - 0.5 * (ring[1] - ring[0])) * (1 + 0.12 * (ring[2] - ring[1]))


def render(car: Car, room: np.ndarray, view: int) -> tuple[np.ndarray, np.ndarray]:
    """One view (0 = from the front) -> the image f32 (H, W, 3), 0..1 but unclipped, and the coverage f32 (H, W)."""
    angle = -2 * np.pi * view / VIEWS
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float32)
    turned = car.mesh._replace(points=car.mesh.points @ turn.T, normals=car.mesh.normals @ turn.T)
    image = lay_shadow(car.shadow, room, angle)
    return image, draw_mesh(turned, car.atlas, car.table, image)


def lay_shadow(shadow: np.ndarray, room: np.ndarray, angle: float) -> np.ndarray:
    """The room with the car's shadow on its floor, turned by `angle` (radians) and seen in perspective."""
    camera = Camera(*room.shape[:2])
    corners = np.float32([[0, 0], [800, 0], [800, 400], [0, 400]])
    x, y = (corners[:, 0] - 400) / 100, (corners[:, 1] - 200) / 100
    floor = camera.floor(np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y)
    seen = cv2.warpPerspective(shadow, cv2.getPerspectiveTransform(corners, floor - 0.5), (camera.width, camera.height))
    return room * (1 - seen[..., None])


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photograph an image f32 (H, W, 3), 0..1: blur, vignette, noise -> u8."""
    height, width = image.shape[:2]
    image = cv2.GaussianBlur(image, (0, 0), 0.0007 * width)
    rows, columns = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    vignette = 255 * (1 - 0.05 * (rows[:, None] ** 2 + columns**2))
    noise = rng.standard_normal((height, width), dtype=np.float32) * np.float32(2.2)
    return np.clip(image * vignette[..., None] + noise[..., None] + 0.5, 0, 255).astype(np.uint8)


# ---- the files -----------------------------------------------------------------------------------------------------


def car_id(seed: int, part: str, number: int) -> str:
    """The name of a car, 12 hex digits, as Carvana's."""
    return hashlib.sha256(f"{seed} {part} {number}".encode()).hexdigest()[:12]


def draw_car(folder: Path, part: str, number: int, seed: int, size: tuple[int, int]) -> tuple[list[str], str]:
    """Draw the 16 views of car `number` of `part` (train or test) into `folder`; its rows for the CSV files.

    Kinds and paints take turns, so that a few cars already show most of them, and in the test in other pairs.
    """
    # a generator of its own, so that a car's drawing depends on no other car
    rng, shift = np.random.default_rng([seed, part == "test", number]), 5 if part == "test" else 0
    kinds, name, rows = list(studio_car.BODIES), car_id(seed, part, number), []
    car = build_car(kinds[(number + shift + seed) % len(kinds)], PAINTS[(number + 5 * seed) % len(PAINTS)], rng)
    room = draw_room(Camera(*size), rng)
    about = f'"{name}","{rng.integers(2004, 2018)}","{rng.choice(MAKES)}","{car.kind.title()}","base","drawn"'
    for view in range(VIEWS):
        image, coverage = render(car, room, view)
        mask, stem = (coverage >= 0.5).astype(np.uint8), f"{name}_{view + 1:02}"
        Image.fromarray(photograph(image, rng)).save(folder / part / f"{stem}.jpg", quality=92)
        if part == "train":
            (folder / "train_masks" / f"{stem}_mask.gif").write_bytes(encode_gif(mask))
        rows.append(f"{stem}.jpg,{run_lengths(mask)}")
    return rows, about


def encode_gif(mask: np.ndarray) -> bytes:
    """A mask u8 (H, W) of 0 and 1 as a GIF of these indices, 0 black and 1 white."""
    image, content = Image.fromarray(mask), BytesIO()
    image.putpalette([0, 0, 0, 255, 255, 255])
    image.save(content, "GIF", optimize=False)
    return content.getvalue()


def draw_studio(
    folder: Path | str,
    cars: int = 12,
    test_cars: int = 4,
    seed: int = 0,
    size: tuple[int, int] = (640, 959),
) -> Path:
    """Draw the competition into `folder`, in Carvana's layout, unless it is there, and return the folder.

    cars, test_cars: how many of each, 16 views a car; more cars never change the earlier ones. seed: not negative.
    size: (height, width) of every image. The same arguments give the same bytes with the same library versions.
    A folder that already holds this drawing is returned at once. Otherwise kit draws beside `folder` and renames when
    the drawing is whole; of two processes the second waits. Raises FileExistsError, saying what to do, when `folder`
    holds anything else, a drawing of other arguments among it, and ValueError for arguments out of range.
    """
    folder = Path(folder)
    wanted = {"version": VERSION, "cars": cars, "test_cars": test_cars, "seed": seed, "size": list(size)}
    if cars < 1 or test_cars < 1 or seed < 0 or min(size) < 48:
        raise ValueError(
            f"cannot draw {wanted}: expected cars and test_cars >= 1, seed >= 0, size of 48 pixels or more"
        )
    return drawn_folder(folder, STUDIO_MARKER, wanted, lambda place: draw_all(place, wanted), "studio")


def draw_all(folder: Path, wanted: dict) -> None:
    """Draw every car into `folder`, several at a time, and write its four CSV files."""
    for part in ("train", "train_masks", "test"):
        (folder / part).mkdir()
    pool, jobs = ThreadPoolExecutor(min(4, os.cpu_count() or 1)), {}
    try:
        for part, count in (("train", wanted["cars"]), ("test", wanted["test_cars"])):
            jobs[part] = [
                pool.submit(draw_car, folder, part, number, wanted["seed"], tuple(wanted["size"]))
                for number in range(count)
            ]
        drawn = {part: [job.result() for job in jobs[part]] for part in jobs}
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted, no other car is begun
    masks = {part: [row for rows, _ in drawn[part] for row in rows] for part in drawn}
    write_csv(folder / "train_masks.csv", "img,rle_mask", masks["train"])
    write_csv(folder / "test_masks.csv", "img,rle_mask", masks["test"])
    sample = [f"{row.partition(',')[0]},1 1" for row in masks["test"]]
    write_csv(folder / "sample_submission.csv", "img,rle_mask", sample)
    about = [about for part in drawn for _, about in drawn[part]]
    write_csv(folder / "metadata.csv", '"id","year","make","model","trim1","trim2"', about)
