"""The cars of the drawn studio: shapes as data, and the mesh and the painted panels made from them.

A body is its side view: an outline from the front bumper over the roof to the rear one, swept across a width
that narrows towards both ends, the sills and the roof. What lies on the sheet metal (glass, lamps, door gaps,
wheel arches) is painted as material numbers on panels, in metres, and looked up by the renderer: the flank seen
from the side, the skin unrolled along the outline, and the wheel. Wheels, mirrors, aerial, roof rails and seats
are meshes of their own. So colour and silhouette come from one geometry, and the mask is exact.

Lengths are metres; x runs from the front bumper backwards, y from the middle plane outwards, z up from the floor.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from kit.datasets.studio_render import GLASS, HOLE, Mesh, ball, grid_normals, rod, sheet

PAINT, TRIM, GAP, LAMP, TAIL, CHROME, TYRE, RIM, DARK, PLATE, SEAT = range(2, 13)  # after the renderer's HOLE, GLASS
FLANK_ROWS, SKIN_ROWS, WHEEL_ROWS, SWATCH = 560, 300, 256, 16  # heights of the atlas's panels, in pixels
ATLAS_WIDTH, SCALE = 2000, 250  # pixels; pixels in a metre
BOW = 0.09  # how far the ends bulge in plan, in metres at one metre from the middle


@dataclass(frozen=True)
class Body:
    """One kind of car. Intervals are in x; `profile` is the corners of the outline, rounded when built."""

    profile: tuple[tuple[float, float], ...]
    windscreen: tuple[float, float]
    rear_glass: tuple[float, float]
    side_glass: tuple[float, float]
    pillars: tuple[float, ...]
    axles: tuple[float, float]
    belt: float
    width: float = 1.80
    wheel: float = 0.32
    tumblehome: float = 0.36  # metres of lean inwards for each metre above the belt
    rails: bool = False
    bed: tuple[float, float] = (0.0, 0.0)  # the covered load bed of a pick-up


SALOON = Body(
    profile=((0, 0.22), (0.01, 0.50), (0.05, 0.68), (0.20, 0.78), (1.30, 0.93), (2.12, 1.39), (2.75, 1.46),
             (3.35, 1.40), (4.02, 1.08), (4.55, 1.03), (4.70, 0.92), (4.76, 0.60), (4.78, 0.25)),
    windscreen=(1.42, 2.08), rear_glass=(3.42, 3.96), side_glass=(1.62, 3.85), pillars=(2.62, 3.42),
    axles=(0.92, 3.70), belt=0.93,
)  # fmt: skip
COUPE = Body(
    profile=((0, 0.20), (0.01, 0.45), (0.06, 0.61), (0.24, 0.71), (1.50, 0.88), (2.30, 1.27), (2.75, 1.32),
             (3.20, 1.26), (4.10, 0.95), (4.36, 0.92), (4.46, 0.80), (4.50, 0.25)),
    windscreen=(1.62, 2.24), rear_glass=(3.18, 3.92), side_glass=(1.82, 3.55), pillars=(3.02,),
    axles=(0.90, 3.55), belt=0.86, width=1.84, wheel=0.34, tumblehome=0.46,
)  # fmt: skip
HATCHBACK = Body(
    profile=((0, 0.22), (0.01, 0.52), (0.05, 0.72), (0.22, 0.82), (1.05, 0.97), (1.85, 1.43), (2.40, 1.50),
             (3.30, 1.44), (3.62, 1.32), (3.92, 0.98), (4.00, 0.80), (4.04, 0.25)),
    windscreen=(1.18, 1.78), rear_glass=(3.55, 3.86), side_glass=(1.36, 3.55), pillars=(2.32, 3.02),
    axles=(0.82, 3.34), belt=0.95, width=1.75, wheel=0.31,
)  # fmt: skip
ESTATE = Body(
    profile=((0, 0.22), (0.01, 0.50), (0.05, 0.69), (0.20, 0.79), (1.30, 0.94), (2.12, 1.41), (2.75, 1.48),
             (4.10, 1.43), (4.42, 1.33), (4.68, 0.95), (4.76, 0.75), (4.80, 0.25)),
    windscreen=(1.42, 2.06), rear_glass=(4.36, 4.62), side_glass=(1.62, 4.38), pillars=(2.62, 3.42),
    axles=(0.92, 3.72), belt=0.95, width=1.82, rails=True,
)  # fmt: skip
SUV = Body(
    profile=((0, 0.30), (0.01, 0.68), (0.04, 0.92), (0.18, 1.02), (1.22, 1.12), (1.95, 1.64), (2.50, 1.72),
             (3.95, 1.66), (4.25, 1.54), (4.52, 1.12), (4.58, 0.85), (4.62, 0.34)),
    windscreen=(1.34, 1.88), rear_glass=(4.18, 4.45), side_glass=(1.52, 4.15), pillars=(2.48, 3.30),
    axles=(0.88, 3.60), belt=1.12, width=1.90, wheel=0.37, tumblehome=0.28, rails=True,
)  # fmt: skip
VAN = Body(
    profile=((0, 0.26), (0.01, 0.62), (0.06, 0.86), (0.22, 0.98), (0.80, 1.14), (1.62, 1.74), (2.20, 1.86),
             (4.40, 1.84), (4.62, 1.74), (4.78, 1.10), (4.80, 0.30)),
    windscreen=(0.92, 1.54), rear_glass=(4.65, 4.76), side_glass=(1.12, 4.48), pillars=(2.05, 3.35),
    axles=(0.82, 3.75), belt=1.08, width=1.92, wheel=0.34, tumblehome=0.18,
)  # fmt: skip
PICKUP = Body(
    profile=((0, 0.34), (0.01, 0.76), (0.04, 1.00), (0.16, 1.08), (1.35, 1.16), (1.95, 1.70), (2.45, 1.78),
             (3.15, 1.75), (3.38, 1.64), (3.46, 1.17), (3.60, 1.15), (5.05, 1.15), (5.18, 1.10), (5.20, 0.42)),
    windscreen=(1.46, 1.90), rear_glass=(3.37, 3.44), side_glass=(1.60, 3.30), pillars=(2.50,),
    axles=(0.92, 4.12), belt=1.16, width=1.92, wheel=0.39, tumblehome=0.24, bed=(3.58, 5.04),
)  # fmt: skip
MICROCAR = Body(
    profile=((0, 0.24), (0.01, 0.58), (0.05, 0.80), (0.18, 0.90), (0.75, 1.02), (1.30, 1.50), (1.75, 1.60),
             (3.00, 1.58), (3.25, 1.50), (3.40, 1.00), (3.45, 0.80), (3.48, 0.26)),
    windscreen=(0.86, 1.25), rear_glass=(3.27, 3.39), side_glass=(0.98, 3.14), pillars=(1.95, 2.62),
    axles=(0.66, 2.86), belt=1.00, width=1.66, wheel=0.30, tumblehome=0.22,
)  # fmt: skip
BODIES = {
    "saloon": SALOON, "suv": SUV, "hatchback": HATCHBACK, "pick-up": PICKUP,
    "coupe": COUPE, "van": VAN, "estate": ESTATE, "microcar": MICROCAR,
}  # fmt: skip


class Outline(NamedTuple):
    """The rounded side view: x and z, and the way along it from the front bumper, each f64 (S,)."""

    x: np.ndarray
    z: np.ndarray
    way: np.ndarray

    def top(self, x: np.ndarray | float) -> np.ndarray:
        """The height of the outline over `x`."""
        return np.interp(x, self.x, self.z)

    def along(self, x: float) -> float:
        """The way from the front bumper to `x`."""
        return float(np.interp(x, self.x, self.way))

    def front(self, z: float) -> float:
        """The way to height `z` of the front end."""
        return float(np.interp(z, self.z[:30], self.way[:30]))

    def rear(self, z: float) -> float:
        """The way to height `z` of the rear end."""
        return float(np.interp(-z, -self.z[-30:], self.way[-30:]))


def vary(body: Body, rng: np.random.Generator) -> Body:
    """A body of the same kind, up to 5 % longer or shorter, higher or lower, wider or narrower, with other wheels."""
    long, high, wide, wheel = rng.uniform(0.95, 1.05, 4)

    def stretched(places: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(float(place * long) for place in places)

    return replace(
        body,
        profile=tuple((x * long, z * high) for x, z in body.profile),
        windscreen=stretched(body.windscreen),
        rear_glass=stretched(body.rear_glass),
        side_glass=stretched(body.side_glass),
        pillars=stretched(body.pillars),
        axles=stretched(body.axles),
        bed=stretched(body.bed),
        belt=body.belt * high,
        width=body.width * wide,
        wheel=body.wheel * wheel,
        tumblehome=body.tumblehome * rng.uniform(0.85, 1.15),
        rails=body.rails and rng.random() < 0.7,
    )


def outline(body: Body, points: int = 170) -> Outline:
    """The profile with its corners cut three times (Chaikin), at `points` places: even in way, x never falling."""
    corners = np.array(body.profile, dtype=float)
    for _ in range(3):
        near, far = 0.78 * corners[:-1] + 0.22 * corners[1:], 0.22 * corners[:-1] + 0.78 * corners[1:]
        corners = np.vstack([corners[:1], np.stack([near, far], 1).reshape(-1, 2)[1:-1], corners[-1:]])
    way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(corners, axis=0).T))])
    even = np.linspace(0, way[-1], points)
    return Outline(np.interp(even, way, corners[:, 0]), np.interp(even, way, corners[:, 1]), even)


def half_width(body: Body, x: np.ndarray | float, z: np.ndarray | float) -> np.ndarray:
    """Half the body's width at (x, z): round in plan at both ends, drawn in at the sills, leaning in above the belt."""
    length, radius = body.profile[-1][0], 0.16
    from_end = np.minimum(x, length - x)
    inside = np.clip(radius - from_end, 0, radius)
    taper = 0.06 * np.abs(2 * x / length - 1) ** 3 + radius - np.sqrt(radius**2 - inside**2)
    above, below = np.maximum(z - body.belt, 0), np.maximum(0.55 - z, 0)
    shoulder = 0.05 * np.sin(np.pi / 2 * np.clip((z - body.belt + 0.12) / 0.22, 0, 1)) ** 2
    hollow = 0.02 * np.sin(np.pi * np.clip((z - body.belt + 0.55) / 0.42, 0, 1)) ** 2  # catches the light
    return body.width / 2 - taper - shoulder - hollow - body.tumblehome * above - 0.45 * below**2


# ---- the panels ----------------------------------------------------------------------------------------------------


def _fill(panel: np.ndarray, points: list | np.ndarray, material: int) -> None:
    corners = np.round(np.asarray(points, dtype=float) * SCALE).astype(np.int32)
    cv2.fillPoly(panel, [corners.reshape(-1, 1, 2)], material)


def _box(panel: np.ndarray, x: tuple[float, float], y: tuple[float, float], material: int) -> None:
    _fill(panel, [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])], material)


def _line(panel: np.ndarray, points: list, material: int, width: int = 3) -> None:
    corners = np.round(np.array(points) * SCALE).astype(np.int32)
    cv2.polylines(panel, [corners.reshape(-1, 1, 2)], False, material, width)


def paint_atlas(body: Body, spokes: int, rng: np.random.Generator) -> np.ndarray:
    """All panels of one car, u8 (rows, ATLAS_WIDTH) of material numbers: flank, half skin, wheel, swatches."""
    atlas = np.full((FLANK_ROWS + SKIN_ROWS + WHEEL_ROWS + SWATCH, ATLAS_WIDTH), PAINT, np.uint8)
    flank, skin, wheel, swatches = np.split(atlas, np.cumsum([FLANK_ROWS, SKIN_ROWS, WHEEL_ROWS]))
    _paint_flank(flank, body, rng)
    _paint_skin(skin, body)
    _paint_wheel(wheel, spokes)
    for material in range(1, 13):
        swatches[:, material * SWATCH : (material + 1) * SWATCH] = material
    return atlas


def _paint_flank(panel: np.ndarray, body: Body, rng: np.random.Generator) -> None:
    """The side view: x to the right, z downwards (the panel's row is the height)."""
    shape, length = outline(body), body.profile[-1][0]
    sill = body.profile[0][1] + 0.02
    _box(panel, (0, length), (0, sill + rng.uniform(0.02, 0.16)), TRIM)
    front, rear = body.side_glass
    for start, end in zip((front, *body.pillars), (*body.pillars, rear), strict=True):
        x = np.linspace(start + 0.03, end - 0.03, 30)
        upper = np.minimum(shape.top(x - 0.10), shape.top(x + 0.10)) - 0.13
        lower = np.full(30, body.belt + 0.03)
        keep = upper > lower + 0.01
        if keep.sum() > 2:
            _fill(panel, np.concatenate([np.c_[x, upper][keep], np.c_[x, lower][keep][::-1]]), GLASS)
    doors = (body.axles[0] + body.wheel + 0.10, *body.pillars)
    for x in doors:
        _line(panel, [(x, sill + 0.10), (x, body.belt)], GAP)
    handle = int(rng.choice([CHROME, GAP]))
    for x in doors[1:]:
        _box(panel, (x - 0.20, x - 0.05), (body.belt - 0.12, body.belt - 0.085), handle)
    _line(panel, [(doors[0], sill + 0.10), (body.axles[1] - body.wheel - 0.05, sill + 0.10)], GAP)
    for axle in body.axles:
        centre = (round(axle * SCALE), round(body.wheel * SCALE))
        if body.wheel > 0.35:
            cv2.circle(panel, centre, round((body.wheel * 1.15 + 0.06) * SCALE), TRIM, -1)
        cv2.circle(panel, centre, round(body.wheel * 1.10 * SCALE), HOLE, -1)
    low, high = _lamp_heights(body)
    _fill(panel, [(0, low), (0.16, low), (0.42, high - 0.02), (0.36, high + 0.01), (0, high)], LAMP)
    _fill(panel, [(length, body.belt - 0.24), (length, body.belt - 0.04), (length - 0.30, body.belt - 0.07),
                  (length - 0.16, body.belt - 0.22)], TAIL)  # fmt: skip


def _lamp_heights(body: Body) -> tuple[float, float]:
    """Where the head lamps begin and end: below the edge of the bonnet."""
    bonnet = float(outline(body).top(0.20))
    return bonnet - 0.21, bonnet - 0.07


def _paint_skin(panel: np.ndarray, body: Body) -> None:
    """The skin unrolled: the way along the outline to the right, the distance from the middle downwards."""
    shape, half = outline(body), body.width / 2
    front, rear = shape.front, shape.rear
    low, high = _lamp_heights(body)
    sill = body.profile[0][1]
    _box(panel, (front(sill), front(sill + 0.07)), (0, 2), TRIM)
    _box(panel, (front(sill + 0.08), front(sill + 0.19)), (0, half - 0.34), TRIM)
    _box(panel, (front(low - 0.06), front(high - 0.01)), (0, half - 0.50), TRIM)
    for z in np.linspace(low - 0.03, high - 0.05, 3):
        _box(panel, (front(z), front(z + 0.015)), (0, half - 0.53), CHROME)
    _fill(panel, [(front(low), half - 0.38), (front(high), half - 0.46), (front(high), 2), (front(low), 2)], LAMP)
    cv2.circle(panel, (round(front((low + high) / 2) * SCALE), round((half - 0.28) * SCALE)), 11, DARK, 3)
    _box(panel, (front(low - 0.20), front(low - 0.09)), (0, 0.26), PLATE)
    for start, end in (body.windscreen, body.rear_glass):
        edges = [float(half_width(body, x, shape.top(x))) - 0.16 for x in (start, end)]
        ways = shape.along(start), shape.along(end)
        _fill(panel, [(ways[0], 0), (ways[1], 0), (ways[1], edges[1]), (ways[0], edges[0])], GLASS)
    cowl = shape.along(body.windscreen[0] - 0.04)
    _line(panel, [(cowl, 0), (cowl, 2)], DARK, 8)
    if body.bed[1]:
        _box(panel, (shape.along(body.bed[0]), shape.along(body.bed[1])), (0, half - 0.16), DARK)
    _box(panel, (rear(body.belt - 0.04), rear(body.belt - 0.22)), (half - 0.36, 2), TAIL)
    _box(panel, (rear(body.belt - 0.10), rear(body.belt - 0.21)), (0, 0.26), PLATE)
    _line(panel, [(rear(sill + 0.36), 0), (rear(sill + 0.36), 2)], GAP)
    _box(panel, (rear(sill + 0.16), rear(sill)), (0, 2), TRIM)


def _paint_wheel(panel: np.ndarray, spokes: int) -> None:
    """The wheel's face, its middle at (WHEEL_ROWS/2, WHEEL_ROWS/2) and its radius half the panel."""
    middle, radius = (WHEEL_ROWS // 2, WHEEL_ROWS // 2), WHEEL_ROWS / 2
    panel[:] = TYRE
    for share, material in ((0.76, RIM), (0.70, DARK), (0.20, RIM)):
        cv2.circle(panel, middle, round(share * radius), material, -1)
    for angle in np.arange(spokes) * 2 * np.pi / spokes:
        tip = (round(middle[0] + 0.72 * radius * np.cos(angle)), round(middle[1] + 0.72 * radius * np.sin(angle)))
        cv2.line(panel, middle, tip, RIM, max(5, 90 // spokes))
    cv2.circle(panel, middle, round(0.07 * radius), DARK, -1)


# ---- the mesh ------------------------------------------------------------------------------------------------------


def _swatch(material: int) -> np.ndarray:
    return np.array([(material + 0.5) * SWATCH, FLANK_ROWS + SKIN_ROWS + WHEEL_ROWS + SWATCH / 2])


def _shell(body: Body) -> list[Mesh]:
    """The left half of the body: 7 points across the skin, 5 round its edge, 27 down the flank, at every x."""
    shape = outline(body)
    x, top = shape.x[:, None], shape.z[:, None]
    length, sill = body.profile[-1][0], body.profile[0][1]
    bottom = np.minimum(sill + 0.25 * np.clip(0.35 - np.minimum(x, length - x), 0, 1) ** 2, top - 0.01)
    radius = np.minimum(0.10, (top - bottom) / 3)
    half = half_width(body, x, top - radius)
    across, turn, down = np.linspace(0, 1, 7), np.linspace(0, np.pi / 2, 6)[1:], np.linspace(0, 1, 10)[1:]
    crown = np.minimum(0.035, (top - bottom) / 3)
    start = top - crown - radius
    y_skin, z_skin = (half - radius) * across, top - crown * across**2
    y_edge, z_edge = half - radius + radius * np.sin(turn), start + radius * np.cos(turn)
    # rows keep to the belt, or its shading would ripple where the roof comes down
    above = np.minimum(body.belt + 0.11, start - 0.06 * (start - bottom))
    below = np.minimum(body.belt - 0.13, above - 0.06 * (start - bottom))
    z_side = np.hstack(
        [start + (above - start) * down, above + (below - above) * down, below + (bottom - below) * down]
    )
    y_side = half_width(body, x, z_side) + half - half_width(body, x, start)
    y, z = np.hstack([y_skin, y_edge, y_side]), np.hstack([z_skin, z_edge, z_side])
    points = np.stack([np.broadcast_to(x, y.shape), y, z], -1)
    normals = grid_normals(points)
    skin = np.stack([np.broadcast_to(shape.way[:, None], y.shape) * SCALE, FLANK_ROWS + np.abs(y) * SCALE], -1)
    flank = np.stack([points[..., 0] * SCALE, np.maximum(z, 0) * SCALE], -1)
    return [sheet(points[:, :7], skin[:, :7], normals[:, :7]), sheet(points[:, 6:], flank[:, 6:], normals[:, 6:])]


def _wheel(x: float, y: float, radius: float) -> Mesh:
    """A wheel whose outer face is at `y`, turned from a profile: hub, dished rim, tyre, tread, back."""
    shares = np.array([0, 0.2, 0.6, 0.68, 0.72, 0.95, 1.0, 1.0, 0.95, 0.0])
    depth = np.array([0.03, 0.025, 0.035, 0.005, 0.0, 0.0, 0.03, 0.17, 0.20, 0.20])
    angle = np.linspace(0, 2 * np.pi, 41)
    flat = np.stack([np.cos(angle), np.sin(angle)], -1)[None] * shares[:, None, None]
    across = np.broadcast_to((y - depth)[:, None], flat.shape[:2])
    points = np.stack([x + radius * flat[..., 0], across, radius * (1 + flat[..., 1])], -1)
    texels = WHEEL_ROWS / 2 * (1 + 0.98 * flat) + np.array([0, FLANK_ROWS + SKIN_ROWS])
    texels[7:] = _swatch(TYRE)
    return sheet(points, texels)


def _cabin(body: Body, length: float) -> list[Mesh]:
    """The parts seen through the glass and the wheel arches: a dark hull, the seats, the dashboard."""
    width, back = body.width / 2, min(body.side_glass[1], body.rear_glass[0])
    hull = (length / 2, 0, body.belt / 2 - 0.03), (length / 2 - 0.45, width - 0.27, body.belt / 2 - 0.20)
    parts = [ball(*hull, _swatch(DARK), 0.12)]
    for x in (body.side_glass[0] + 0.95, back - 0.35):
        for y in (-0.36, 0.36):
            parts.append(ball((x, y, body.belt - 0.08), (0.10, 0.24, 0.30), _swatch(SEAT), 0.5))
            parts.append(ball((x + 0.04, y, body.belt + 0.27), (0.05, 0.13, 0.09), _swatch(SEAT), 0.6))
    parts.append(ball((body.windscreen[0] + 0.42, 0, body.belt - 0.06), (0.30, width - 0.2, 0.09), _swatch(DARK), 0.6))
    return parts


def _fittings(body: Body, rng: np.random.Generator) -> list[Mesh]:
    """The aerial, a thin part that belongs to the mask, or a fin in its place."""
    roof = body.rear_glass[0] - 0.18
    foot = np.array([roof, 0.0, float(outline(body).top(roof)) - 0.02])
    if rng.random() < 0.65:
        tip = foot + np.array([rng.uniform(0.15, 0.45), 0, rng.uniform(0.28, 0.50)])
        return [rod(np.linspace(foot, tip, 4), 0.007, _swatch(TRIM))]
    return [ball(tuple(foot), (0.10, 0.02, 0.09), _swatch(PAINT))]


def _pair(body: Body, mirror_material: int) -> list[Mesh]:
    """What a car has on its left and again on its right: half the shell, two wheels, a mirror, a rail."""
    parts = _shell(body)
    for axle in body.axles:
        parts.append(_wheel(axle, float(half_width(body, axle, body.wheel)) - 0.015, body.wheel))
    x, z = body.side_glass[0] + 0.22, body.belt + 0.09
    y = float(half_width(body, x, z))
    parts.append(ball((x, y + 0.13, z), (0.06, 0.11, 0.075), _swatch(mirror_material), 0.8))
    parts.append(rod(np.linspace((x, y - 0.05, z - 0.06), (x, y + 0.12, z - 0.03), 3), 0.02, _swatch(TRIM)))
    if body.rails:
        x = np.linspace(body.windscreen[1] + 0.25, body.rear_glass[0] - 0.15, 12)
        lift = 0.035 - 0.09 * np.abs(np.linspace(-1, 1, 12)) ** 6
        z = outline(body).top(x) + lift
        parts.append(rod(np.stack([x, half_width(body, x, z) - 0.10, z], -1), 0.014, _swatch(CHROME)))
    return parts


def build_mesh(body: Body, rng: np.random.Generator) -> Mesh:
    """The whole car, standing on z = 0 with its middle at x = y = 0 and its front towards +x."""
    length = body.profile[-1][0]
    left = _pair(body, PAINT if rng.random() < 0.7 else TRIM)
    flip = np.array([1.0, -1.0, 1.0])
    right = [part._replace(points=part.points * flip, normals=part.normals * flip) for part in left]
    parts = left + right + _cabin(body, length) + _fittings(body, rng)
    starts = np.cumsum([0] + [len(part.points) for part in parts[:-1]])
    faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)])
    points, normals, texels = (np.concatenate([part[i] for part in parts]) for i in range(3))
    x, y, z = points.T
    points = np.stack([length / 2 - x - BOW * y**2 * (1 - 2 * x / length), y, z], 1)
    normals = normals * np.array([-1.0, 1.0, 1.0])
    return Mesh(*(array.astype(np.float32) for array in (points, normals, texels)), faces.astype(np.int32))
