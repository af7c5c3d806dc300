"""Shapes and scenes for the replicas: smooth outlines, images in which they can be seen, files of several formats."""

import cv2
import numpy as np

from replicas.replica import write_file


def blob(rng, size, centre=None, scale=(0.25, 0.15), wobble=0.2):
    """A filled smooth outline, bool (H, W). centre, scale: (y, x) and half (height, width), shares of the image's.

    By default it is taller than wide, so that rows and columns that are swapped show.
    """
    height, width = size
    y, x = rng.uniform(0.3, 0.7, 2) if centre is None else centre
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = sum(rng.normal(0, wobble / k) * np.cos(k * angles + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    radius = np.clip(1 + waves, 0.5, 1.5)
    points = np.column_stack(
        [(x + scale[1] * radius * np.cos(angles)) * width, (y + scale[0] * radius * np.sin(angles)) * height]
    )
    mask = np.zeros(size, np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1)
    return mask.view(bool)


def smooth(rng, size, low, high, cells=6):
    """A smooth field f32 (H, W) between two values."""
    coarse = rng.uniform(low, high, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def scene(rng, size, layers, colours, ground=(60, 110), channels=3):
    """An image u8 (H, W, channels): a smooth ground, and where a layer (bool (H, W)) is True, its colour on top."""
    image = np.stack([smooth(rng, size, *ground) for _ in range(channels)], axis=-1)
    for layer, colour in zip(layers, colours, strict=True):
        image[layer] = 0.3 * image[layer] + 0.7 * np.asarray(colour[:channels], np.float32)
    grain = np.tile(rng.normal(0, 4, (32, 32)).astype(np.float32), (size[0] // 32 + 1, size[1] // 32 + 1))
    return np.clip(image + grain[: size[0], : size[1], None], 0, 255).astype(np.uint8)


def write_jpeg(path, image):
    """Write u8 (H, W, 3), red first, or (H, W, 1)."""
    stored = image[..., ::-1] if image.shape[2] == 3 else image
    write_file(path, cv2.imencode(".jpg", np.ascontiguousarray(stored), [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())


def write_png(path, image):
    """Write u8 or u16 (H, W), (H, W, 3) or (H, W, 4), red first."""
    stored = image
    if image.ndim == 3 and image.shape[2] >= 3:
        stored = image[..., [2, 1, 0, 3][: image.shape[2]]]
    write_file(path, cv2.imencode(".png", np.ascontiguousarray(stored), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes())
