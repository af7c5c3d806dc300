"""The renderer of the drawn studio: a camera, a rasteriser with a depth buffer, and the light.

Meshes are drawn at SAMPLES x SAMPLES samples a pixel into two layers, the nearest opaque surface and the nearest
glass before it. Light is computed at the vertices; colour comes with the material that is painted on the car's panels.
Image and coverage are counted from the same samples, which is what makes the masks exact.
"""

from typing import NamedTuple

import numba
import numpy as np

from kit.system.kernels import kernel

HOLE, GLASS = 0, 1  # material numbers: nothing there, and seen through; all others are opaque
SAMPLES = 2  # along each side of a pixel
DISTANCE, HEIGHT, TARGET, FOCAL = 7.6, 1.95, 0.70, 1.12  # the camera, in metres; focal length in image widths


class Mesh(NamedTuple):
    """points and normals f32 (V, 3), texels f32 (V, 2) as (column, row) of the atlas, faces i32 (F, 3)."""

    points: np.ndarray
    normals: np.ndarray
    texels: np.ndarray
    faces: np.ndarray


def sheet(points: np.ndarray, texels: np.ndarray, normals: np.ndarray | None = None) -> Mesh:
    """A grid of points (R, C, 3) as triangles; texels (R, C, 2), or (2,) for all."""
    if normals is None:
        normals = grid_normals(points)
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    faces = np.concatenate([np.stack(corner, -1).reshape(-1, 3) for corner in ((a, b, c), (a, c, d))])
    texels = np.broadcast_to(texels, (rows, columns, 2)).reshape(-1, 2)
    return Mesh(points.reshape(-1, 3), normals.reshape(-1, 3), texels, faces)


def grid_normals(points: np.ndarray) -> np.ndarray:
    """Unit normals of a grid of points (R, C, 3), pointing away from its middle on the whole."""
    normals = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9
    outwards = (normals * (points - points.mean((0, 1)))).sum()
    return normals if outwards >= 0 else -normals


def ball(centre: tuple, radii: tuple, texel: np.ndarray, power: float = 1.0) -> Mesh:
    """An ellipsoid; with a power below one its sides grow flat, towards a box. All of it has one texel (2,)."""
    polar, turn = np.meshgrid(np.linspace(0, np.pi, 13), np.linspace(0, 2 * np.pi, 21), indexing="ij")
    unit = np.stack([np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn), np.cos(polar)], -1)
    points = np.array(centre) + np.array(radii) * np.sign(unit) * np.abs(unit) ** power
    return sheet(points, texel)


def rod(ends: np.ndarray, radius: float, texel: np.ndarray) -> Mesh:
    """A thin six-sided rod along a line of points (P, 3). All of it has one texel (2,)."""
    turn = np.linspace(0, 2 * np.pi, 7)[:, None]
    ways = np.gradient(ends, axis=0)[:, None]
    aside, over = np.cross(ways, (0.31, 0.95, 0.1)), np.cross(ways, np.cross(ways, (0.31, 0.95, 0.1)))
    aside, over = (way / np.linalg.norm(way, axis=-1, keepdims=True) for way in (aside, over))
    return sheet(ends[:, None] + radius * (np.cos(turn) * aside + np.sin(turn) * over), texel)


class Camera(NamedTuple):
    """A camera at (DISTANCE, 0, HEIGHT) that looks at the turntable's axis; image size in pixels."""

    height: int
    width: int

    def project(self, points: np.ndarray) -> np.ndarray:
        """Points (V, 3) in metres -> f32 (V, 3): column and row in pixels (0 is the image's edge), 1 / depth."""
        pitch = np.arctan2(HEIGHT - TARGET, DISTANCE)
        away, up = points - np.array([DISTANCE, 0, HEIGHT]), points[:, 2] - HEIGHT
        depth = -away[:, 0] * np.cos(pitch) - up * np.sin(pitch)
        rise = up * np.cos(pitch) - away[:, 0] * np.sin(pitch)
        focal = FOCAL * min(self.width, 1.5 * self.height)
        column, row = self.width / 2 + focal * points[:, 1] / depth, self.height * 0.48 - focal * rise / depth
        return np.stack([column, row, 1 / depth], 1).astype(np.float32)

    def floor(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Places on the floor -> pixels f32 (V, 2)."""
        return self.project(np.stack([x, y, np.zeros_like(x)], 1))[:, :2]


@kernel
def rasterise(faces, vertices, atlas, depth, surface, light):
    """Draw triangles into two layers, 0 = opaque and 1 = glass, keeping the nearest surface of each.

    faces i32 (F, 3); vertices f32 (V, 8): column, row, 1 / depth, in samples, the texel's column and row, the light
    of `shine`; atlas u8. Out: depth f32 (2, H, W), zero where empty; surface u8 (2, H, W), the material; light f32
    (2, H, W, 3).
    """
    height, width = depth.shape[1:]
    for face in range(faces.shape[0]):
        a, b, c = faces[face]
        (ax, ay), (bx, by), (cx, cy) = vertices[a, :2], vertices[b, :2], vertices[c, :2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        left, right = max(0, int(min(ax, bx, cx) - 0.5)), min(width - 1, int(max(ax, bx, cx) + 0.5))
        upper, lower = max(0, int(min(ay, by, cy) - 0.5)), min(height - 1, int(max(ay, by, cy) + 0.5))
        for row in range(upper, lower + 1):
            for column in range(left, right + 1):
                x, y = column + 0.5, row + 0.5
                share_b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                share_c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                share_a = 1 - share_b - share_c
                if share_a < 0 or share_b < 0 or share_c < 0:
                    continue
                near = share_a * vertices[a, 2] + share_b * vertices[b, 2] + share_c * vertices[c, 2]
                if near <= depth[0, row, column]:
                    continue
                u = share_a * vertices[a, 3] + share_b * vertices[b, 3] + share_c * vertices[c, 3]
                v = share_a * vertices[a, 4] + share_b * vertices[b, 4] + share_c * vertices[c, 4]
                material = atlas[int(v), int(u)]
                layer = 1 if material == GLASS else 0
                if material == HOLE or near <= depth[layer, row, column]:
                    continue
                depth[layer, row, column], surface[layer, row, column] = near, material
                for i in range(3):
                    light[layer, row, column, i] = (
                        share_a * vertices[a, 5 + i] + share_b * vertices[b, 5 + i] + share_c * vertices[c, 5 + i]
                    )


@kernel
def resolve(depth, surface, light, table, samples, image):
    """Average samples into `image` f32 (H, W, 3), which holds the background; returns the coverage f32 (H, W).

    Glass lets a part of what lies behind it through, be that the cabin or the studio.
    """
    height, width = image.shape[:2]
    coverage = np.zeros((height, width), np.float32)
    colour, total = np.zeros(3, np.float32), np.zeros(3, np.float32)
    for row in range(height):
        for column in range(width):
            total[:] = 0
            count = 0
            for y in range(row * samples, (row + 1) * samples):
                for x in range(column * samples, (column + 1) * samples):
                    glass = depth[1, y, x] > depth[0, y, x]
                    for i in range(3):
                        colour[i] = image[row, column, i]
                        if depth[0, y, x] > 0:
                            colour[i] = shade(table[surface[0, y, x]], light[0, y, x], i)
                        if glass:
                            colour[i] = 0.42 * colour[i] + 0.8 * shade(table[surface[1, y, x]], light[1, y, x], i)
                        total[i] += colour[i]
                    count += glass or depth[0, y, x] > 0
            if count:
                for i in range(3):
                    image[row, column, i] = total[i] / samples**2
                coverage[row, column] = count / samples**2
    return coverage


@numba.njit(nogil=True, inline="always")
def shade(material, light, i):
    """One channel of a surface's colour: matt light, metallic mirror, and the clear coat's mirror (Schlick)."""
    base, coat, metal = material[i], material[3], material[4]
    matt = base * ((1 - metal) * light[0] + metal * light[1])
    return matt + coat * light[1] + (1 - coat) * min(1.0, 12 * coat) * light[2]


def shine(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The light at points of the car (V, 3) with unit normals: f32 (V, 3).

    The columns are the matt light; what the mirror direction shows; and that, weighted by Fresnel's growth towards
    grazing angles. Surfaces seen from behind (the cabin through a window) are dark.
    """
    view = np.array([DISTANCE, 0, HEIGHT], np.float32) - points
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    facing = (view * normals).sum(1)
    inside = np.clip(1 + 6 * facing, 0.12, 1)
    mirrored = 2 * facing[:, None] * normals - view
    up, key = normals[:, 2], normals @ np.array([0.62, -0.42, 0.66], np.float32)
    open_sky = np.clip(0.45 + 0.8 * points[:, 2], 0.45, 1)  # the floor and the car itself darken what is low
    matt = (0.52 + 0.22 * up + 0.42 * np.maximum(key, 0)) * open_sky * inside
    mirror = studio_light(mirrored) * open_sky * inside
    fresnel = (1 - np.clip(np.abs(facing), 0, 1)) ** 5
    return np.stack([matt, mirror, mirror * fresnel], 1).astype(np.float32)


def studio_light(direction: np.ndarray) -> np.ndarray:
    """How bright the studio is in a direction (V, 3): dark floor, bright wall, grey ceiling with two soft boxes."""
    up = direction[:, 2]
    surround = 0.40 + 0.60 * ramp(up, -0.14, 0.02) - 0.45 * ramp(up, 0.22, 0.42)
    boxes = np.maximum(1 - 2.2 * np.abs(direction[:, 1] + 0.45), 1 - 2.6 * np.abs(direction[:, 1] - 0.55))
    return surround + 1.1 * np.clip(2.5 * boxes, 0, 1) * ramp(up, 0.45, 0.60)


def ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, straight between."""
    return np.clip((values - low) / (high - low), 0, 1)


def draw_mesh(mesh: Mesh, atlas: np.ndarray, table: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Draw a mesh over `image` f32 (H, W, 3), 0..1, in place; returns the coverage f32 (H, W), 0..1.

    atlas: u8 material numbers. table: f32 (13, 5), for each: red, green, blue, clear coat, metallic share.
    """
    camera = Camera(*image.shape[:2])
    screen = camera.project(mesh.points)
    left, top = np.maximum(np.floor(screen[:, :2].min(0)).astype(int), 0)
    right, bottom = np.minimum(np.ceil(screen[:, :2].max(0)).astype(int), (camera.width, camera.height))
    screen = (screen - np.float32([left, top, 0])) * np.float32([SAMPLES, SAMPLES, 1])
    shape = (2, (bottom - top) * SAMPLES, (right - left) * SAMPLES)
    depth, surface, light = np.zeros(shape, np.float32), np.zeros(shape, np.uint8), np.empty((*shape, 3), np.float32)
    vertices = np.hstack([screen, mesh.texels, shine(mesh.points, mesh.normals)]).astype(np.float32)
    rasterise(mesh.faces, vertices, atlas, depth, surface, light)
    coverage, inside = np.zeros(image.shape[:2], np.float32), (slice(top, bottom), slice(left, right))
    coverage[inside] = resolve(depth, surface, light, table, SAMPLES, image[inside])
    return coverage
