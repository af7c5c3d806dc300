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
