"""Paired image/mask augmentation, the same for a sample in an epoch whoever computes it.

albumentations 2.0.8 repeats its augmentations: with worker processes epoch 1 gets the crops of epoch 0,
and worker 0 those of worker 1. Every sample is therefore seeded by (seed, epoch, index) just before
its transform, which costs 16 microseconds and makes the stream independent of workers and ranks.
2.0.8 is the last release under the MIT licence, so this file alone imports it.
"""

import os
import random

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for a newer version

import albumentations as A
import cv2


class Augment:
    """A composed transform (image u8 (H, W, 3), mask u8 (H, W)) -> the same, seeded for each call.

    transforms: albumentations', in order. Masks are resampled to the nearest pixel, so no label is ever
    invented. A transform that fills a border with a constant wants fill_mask=255, else that border counts as class 0.
    """

    def __init__(self, transforms: list[A.BasicTransform], seed: int = 0) -> None:
        self.compose = A.Compose(transforms, mask_interpolation=cv2.INTER_NEAREST)
        self.seed = seed

    def __call__(self, image: np.ndarray, mask: np.ndarray, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Augment one sample; the same (seed, epoch, index) always gives the same result."""
        seed = sample_seed(self.seed, epoch, index)
        # Not set_random_seed: it gives each transform the same stream, so that all would toss the same coin.
        self.compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
        result = self.compose(image=image, mask=mask)
        return result["image"], result["mask"]


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A 32-bit seed from three numbers, well mixed: neighbours share no pattern."""
    return int(np.random.SeedSequence([seed, epoch, index]).generate_state(1)[0])


def photo_augment(seed: int = 0, crop: tuple[int, int] | None = None) -> Augment:
    """For photographs of upright things: mirror, a slight shift, zoom and turn, light and colour.

    crop: (height, width) of a random crop taken first, None for the whole picture.
    """
    transforms = [
        A.HorizontalFlip(p=0.5),
        A.Affine(
            scale=(0.85, 1.2),
            translate_percent=(-0.06, 0.06),
            rotate=(-8, 8),
            keep_ratio=True,
            border_mode=cv2.BORDER_REFLECT_101,
            p=0.8,
        ),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.7),
        A.HueSaturationValue(hue_shift_limit=25, sat_shift_limit=40, val_shift_limit=0, p=0.5),
    ]
    if crop is not None:
        transforms.insert(0, A.RandomCrop(*crop, pad_if_needed=True, border_mode=cv2.BORDER_REFLECT_101))
    return Augment(transforms, seed)


class Elastic(A.DualTransform):
    """The elastic deformation of U-Net (Ronneberger, Fischer, Brox 2015, section 3.1), image and mask together.

    A vector for each node of a 3×3 grid over the picture, its two parts Gaussian with a standard deviation of
    `sigma` pixels; displacements between the nodes by bicubic interpolation. The image is read bilinearly, the mask
    at the nearest pixel, both mirrored at the border. The nodes are the centres of the picture's nine parts: the
    paper does not say where they lie. A class, because albumentations takes nothing else.
    """

    def __init__(self, sigma: float = 10.0, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.sigma = sigma

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """The map (H, W, 2) of the places, x then y, that each pixel is read from."""
        height, width = params["shape"][:2]
        nodes = self.random_generator.normal(0, self.sigma, (3, 3, 2)).astype(np.float32)
        places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
        return {"places": places + cv2.resize(nodes, (width, height), interpolation=cv2.INTER_CUBIC)}

    def apply(self, img: np.ndarray, places: np.ndarray, **params) -> np.ndarray:
        """The image u8 (H, W, 3), deformed."""
        return cv2.remap(img, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def apply_to_mask(self, mask: np.ndarray, places: np.ndarray, **params) -> np.ndarray:
        """The mask u8 (H, W), deformed alike; it holds no label that it did not hold before."""
        return cv2.remap(mask, places, None, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)


def cell_augment(seed: int = 0, sigma: float = 0.0) -> Augment:
    """For square pictures of cells under the microscope, which have no upside: the eight symmetries of the square.

    sigma: of `Elastic`, in pixels; 0 leaves it out. The paper's 10 were for pictures of 512 pixels, 5 suit 128.
    """
    return Augment([A.D4(p=1.0), *([Elastic(sigma, p=0.8)] if sigma else [])], seed)
