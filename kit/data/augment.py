"""Paired image and mask augmentation: one result for a sample in an epoch, on any worker or rank.

albumentations 2.0.8 repeats its augmentations: with worker processes epoch 1 gets the crops of epoch 0, and worker 0
those of worker 1. Every sample is therefore seeded by (seed, epoch, index) just before its transform. This costs 16
microseconds and makes the stream independent of workers and ranks. 2.0.8 is the last release under the MIT licence, so
only this file imports it.

Which images it takes was tried with 1, 2, 3, 4 and 12 channels of u8, u16 and f32. Mirroring, D4, Affine and RandomCrop
are right for all. HueSaturationValue takes RGB u8 alone. RandomBrightnessContrast cuts f32 to 0..1, and on u16 moves by
a share of 65,535, which blackens 12-bit data; `Intensity` stands in for it there.
"""

import os
import random
from collections.abc import Iterator, Sequence

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for a newer version

import albumentations as A
import cv2

from kit.data.dataset import RGB


class Augment:
    """A composed transform (image (H, W, C), mask u8 (H, W) or (H, W, K)) -> the same, seeded for each call.

    transforms: albumentations', in order. Masks are resampled to the nearest pixel, so no new label appears. A
    transform that fills a border with a constant needs fill_mask=255 for masks of classes (u8), else that border counts
    as class 0. Label images (u16) know no ignored pixels: there 255 would be an object, so fill_mask stays 0. All
    layers of a mask (H, W, K) move with the image.
    Raises ValueError, when it is called, for a label image that would be filled with another value than 0.
    """

    def __init__(self, transforms: list[A.BasicTransform], seed: int = 0) -> None:
        self.compose = A.Compose(transforms, mask_interpolation=cv2.INTER_NEAREST)
        self.seed = seed
        self._fills = [one for one in _each(transforms) if _fills_masks(one)]

    def __repr__(self) -> str:
        """The transforms with their parameters, one way to write them: a run compares it when it is resumed."""
        return f"Augment({self.compose!r}, seed={self.seed})"

    def __call__(self, image: np.ndarray, mask: np.ndarray, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Augment one sample; the same (seed, epoch, index) always gives the same result."""
        if self._fills and mask.dtype == np.uint16:
            one = self._fills[0]
            raise ValueError(
                f"{type(one).__name__}(fill_mask={one.fill_mask}) fills masks, and the masks are label images, where "
                "this value is an object: give fill_mask=0"
            )
        seed = sample_seed(self.seed, epoch, index)
        # Not set_random_seed: it gives each transform the same stream, so that all would toss the same coin.
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        result = self.compose(image=image, mask=mask)
        moved = result["mask"]
        return result["image"], moved if moved.ndim == mask.ndim else moved[..., None]  # OpenCV drops a single layer


def _each(transforms: Sequence[object]) -> Iterator[object]:
    """The transforms, and those within others (OneOf, Sequential)."""
    for one in transforms:
        yield one
        yield from _each(getattr(one, "transforms", ()))


def _fills_masks(transform: object) -> bool:
    """Whether it may fill a part of a mask with a value that is not 0."""
    if not np.any(getattr(transform, "fill_mask", None) or 0):
        return False
    return getattr(transform, "border_mode", cv2.BORDER_CONSTANT) == cv2.BORDER_CONSTANT


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A 32-bit seed from three numbers, mixed so that neighbours share no pattern."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1)[0])


def photo_augment(
    seed: int = 0,
    crop: tuple[int, int] | None = None,
    *,
    dtype: str = "uint8",
    channels: Sequence[str] = RGB,
) -> Augment:
    """Mirror, a slight shift, zoom and turn, light and colour: suits photographs of upright things.

    crop: (height, width) of a random crop taken first, None keeps the whole image. dtype, channels: of the data set's
    images. Hue and saturation change in RGB u8 alone.
    """
    return Augment([*_crops(crop), A.HorizontalFlip(p=0.5), _moves(8), *_lights(dtype, channels)], seed)


def turning_augment(
    seed: int = 0,
    crop: tuple[int, int] | None = None,
    *,
    dtype: str = "uint8",
    channels: Sequence[str] = RGB,
) -> Augment:
    """As photo_augment, with all mirrored and quarter-turned copies: suits images without an upper side.

    Such are images from above and under the microscope. Only square images and crops are turned by a quarter.
    """
    return Augment([*_crops(crop), Symmetry(p=1.0), _moves(20), *_lights(dtype, channels)], seed)


def _crops(crop: tuple[int, int] | None) -> list[A.BasicTransform]:
    return [] if crop is None else [A.RandomCrop(*crop, pad_if_needed=True, border_mode=cv2.BORDER_REFLECT_101)]


def _moves(degrees: float) -> A.BasicTransform:
    """A slight zoom, shift and turn."""
    return A.Affine(
        scale=(0.85, 1.2),
        translate_percent=(-0.06, 0.06),
        rotate=(-degrees, degrees),
        keep_ratio=True,
        border_mode=cv2.BORDER_REFLECT_101,
        p=0.8,
    )


def _lights(dtype: str, channels: Sequence[str]) -> list[A.BasicTransform]:
    """Light, and in RGB u8 colour."""
    if dtype != "uint8":
        return [Intensity(p=0.7)]
    light = A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.7)
    colour = A.HueSaturationValue(hue_shift_limit=25, sat_shift_limit=40, val_shift_limit=0, p=0.5)
    return [light, colour] if tuple(channels) == RGB else [light]


class Symmetry(A.DualTransform):
    """One of the symmetries of the image: eight of a square, four of any other rectangle. All are equally likely.

    A class, because A.D4 would give rectangles of one shape another one.
    """

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Which of the three steps are taken."""
        height, width = params["shape"][:2]
        transpose, vertical, horizontal = self.random_generator.integers(0, 2, 3).tolist()
        return {"steps": (transpose and height == width, vertical, horizontal)}

    def apply(self, img: np.ndarray, steps: tuple[bool, int, int], **params) -> np.ndarray:
        """The image (H, W, C) or a mask, mirrored and turned."""
        transpose, vertical, horizontal = steps
        img = img.swapaxes(0, 1) if transpose else img
        return np.ascontiguousarray(img[:: -1 if vertical else 1, :: -1 if horizontal else 1])

    def apply_to_mask(self, mask: np.ndarray, steps: tuple[bool, int, int], **params) -> np.ndarray:
        """The mask, alike."""
        return self.apply(mask, steps)


class Intensity(A.ImageOnlyTransform):
    """Brightness and contrast by the image's own spread, so that it suits u16 and f32 in any unit.

    With the mean m and standard deviation s of a channel, x becomes m + contrast (x - m) + brightness s. contrast is
    uniform in 1 ± `limit`, brightness in ± `limit`, both the same for all channels. u8 and u16 are rounded and clipped
    to the type's range, f32 is not clipped. A class, because albumentations takes nothing else.
    """

    def __init__(self, limit: float = 0.2, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.limit = limit

    def get_params(self) -> dict:
        """The two numbers of one call."""
        contrast, brightness = self.random_generator.uniform(-self.limit, self.limit, 2)
        return {"contrast": float(1 + contrast), "brightness": float(brightness)}

    def apply(self, img: np.ndarray, contrast: float, brightness: float, **params) -> np.ndarray:
        """The image (H, W, C), of its own dtype."""
        pixels = img.reshape(-1, img.shape[2])
        mean, std = pixels.mean(axis=0, dtype=np.float64), pixels.std(axis=0, dtype=np.float64)
        offset = (1 - contrast) * mean + brightness * std
        changed = img * np.float32(contrast) + offset.astype(np.float32)
        if img.dtype == np.float32:
            return changed
        return np.rint(changed).clip(0, np.iinfo(img.dtype).max).astype(img.dtype)


class Elastic(A.DualTransform):
    """The elastic deformation of U-Net (Ronneberger, Fischer, Brox 2015, section 3.1), image and mask together.

    Each node of a 3×3 grid over the image gets a vector whose two parts are Gaussian with a standard deviation of
    `sigma` pixels. Displacements between the nodes are interpolated bicubically. The image is read bilinearly, the mask
    at the nearest pixel, both mirrored at the border. The nodes are the centres of the image's nine parts: the paper
    does not say where they lie. A class, because albumentations has another one: its ElasticTransform smooths a vector
    of every pixel, and its GridElasticDeform shears the cells of a grid.
    """

    def __init__(self, sigma: float = 10.0, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.sigma = sigma

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """The map (H, W, 2) of the places, x then y, from which each pixel is read."""
        height, width = params["shape"][:2]
        nodes = self.random_generator.normal(0, self.sigma, (3, 3, 2)).astype(np.float32)
        places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        return {"places": places + cv2.resize(nodes, (width, height), interpolation=cv2.INTER_CUBIC)}

    def apply(self, img: np.ndarray, places: np.ndarray, **params) -> np.ndarray:
        """The image (H, W, C), deformed."""
        deformed = cv2.remap(img, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return deformed.reshape(img.shape)  # OpenCV drops the axis of a single channel

    def apply_to_mask(self, mask: np.ndarray, places: np.ndarray, **params) -> np.ndarray:
        """The mask u8 (H, W) or (H, W, K), deformed alike; no new label appears."""
        return cv2.remap(mask, places, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)


def cell_augment(seed: int = 0, sigma: float = 0.0, *, light: float = 0.0) -> Augment:
    """The eight symmetries of the square: suit square images of cells under the microscope, which have no upside.

    Images of any dtype and number of channels. sigma: of `Elastic`, in pixels; 0 leaves it out. The paper's 10 were for
    images of 512 pixels; 5 suit 128. light: the limit of `Intensity`, the paper's "gray value variations"; 0 leaves it
    out.
    """
    moves = [A.D4(p=1.0), *([Elastic(sigma, p=0.8)] if sigma else [])]
    return Augment([*moves, *([Intensity(light, p=0.7)] if light else [])], seed)
