"""Normalisation on the device: a quarter of the bytes travel when workers send u8 and not f32."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kit.data.check import Facts
from kit.data.dataset import RGB, Dataset

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1, as most weights of torchvision, timm and smp expect
IMAGENET_STD = (0.229, 0.224, 0.225)
TOPS = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 1}  # the value of the type that mean and std call 1


@dataclass(frozen=True)
class Normalisation:
    """Takes a mean out of each channel and divides by a standard deviation.

    mean, std: one number a channel; of u8 and u16 images in 0..1 of the type's largest value, of f32 images in their
    own units.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or not all(std > 0 for std in self.std):
            raise ValueError(f"mean {self.mean} and std {self.std}: expected one number a channel, each std above 0")

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), u8, u16 or f32 -> f32, channels last in memory. The images stay as they are."""
        count, channels, height, width = images.shape
        if channels != len(self.mean) or images.dtype not in TOPS:
            raise ValueError(
                f"images of {channels} channels of {images.dtype}, expected {len(self.mean)} of uint8, uint16 or "
                "float32: one mean and std a channel"
            )
        # a row of the batch at a time: over the channels alone it takes three times as long
        rows = images.permute(0, 2, 3, 1).reshape(count * height, width * channels)
        rows = rows.clone() if rows.dtype == torch.float32 else rows.float()
        mean, std = _row_statistics(self, TOPS[images.dtype], width, images.device)
        return rows.sub_(mean).div_(std).view(count, height, width, channels).permute(0, 3, 1, 2)


IMAGENET = Normalisation(IMAGENET_MEAN, IMAGENET_STD)


def normalisation_of(dataset: Dataset, facts: Facts, network: nn.Module | None = None) -> Normalisation:
    """The normalisation that a network and a data set need.

    The data set's own mean and std come first. Without them, RGB u8 images take those of the network's weights
    (its `mean` and `std`) where it has them, else ImageNet's; all other images take the measured ones of `facts`.
    """
    if dataset.mean is not None and dataset.std is not None:
        return Normalisation(tuple(map(float, dataset.mean)), tuple(map(float, dataset.std)))
    if tuple(dataset.channels) != RGB or facts.dtype != "uint8":
        return Normalisation(facts.mean, tuple(std if std > 0 else 1.0 for std in facts.std))
    mean, std = getattr(network, "mean", None), getattr(network, "std", None)
    return IMAGENET if mean is None or std is None else Normalisation(tuple(map(float, mean)), tuple(map(float, std)))


@functools.lru_cache(64)
@torch.inference_mode(False)  # tensors made in it could be used in no training
def _row_statistics(own: Normalisation, top: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a row of pixels, f32 (C · width,). Kept: a copy to a GPU waits for all that is queued."""
    return tuple((torch.tensor(one).repeat(width) * top).to(device) for one in (own.mean, own.std))
