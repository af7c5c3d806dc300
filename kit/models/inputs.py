"""What all networks share about their input: a number of channels that is checked, and images of any size.

A network checks its images in each forward, because torch's own message names the weight of the first convolution and
not the argument to change.
"""

from torch import Tensor, nn
from torch.nn import functional as F

ONE_VALUE = (
    "a batch of {count} image of {height} x {width} leaves batch normalisation one value per channel, which has no "
    "variance. Train with 2 images per batch or more (and drop a last batch of 1){more}"
)


def check_numbers(num_classes: int, in_channels: int) -> None:
    """Raise ValueError unless a network can have this many classes and channels. torch itself takes 0 of both."""
    for name, number in (("num_classes", num_classes), ("in_channels", in_channels)):
        if number < 1:
            raise ValueError(f"{name} must be 1 or more, got {number}")


def check_images(images: Tensor, in_channels: int) -> None:
    """Raise ValueError unless images are (N, in_channels, H, W)."""
    if images.ndim != 4 or images.shape[1] != in_channels:
        found = f"; build it with in_channels={images.shape[1]} for these images" if images.ndim == 4 else ""
        raise ValueError(f"the network takes images (N, {in_channels}, H, W), got {tuple(images.shape)}{found}")


def pad_to_stride(images: Tensor, stride: int, smallest: int = 0) -> Tensor:
    """images (N, C, H, W) with their last row and column repeated until both sides are multiples of `stride`.

    smallest: the least height and width. The caller crops the logits back to H and W.
    """
    below, right = (max(-side % stride, smallest - side) for side in images.shape[2:])
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images


class PadToStride(nn.Module):
    """Runs `net` on images of any size: edges are repeated up to a multiple of `stride`, logits cropped back exactly.

    Images smaller than `smallest` are enlarged in the same way. in_channels: None takes any number. In training, raises
    ValueError where a batch leaves batch normalisation one value per channel.
    """

    def __init__(self, net: nn.Module, stride: int = 32, smallest: int = 0, in_channels: int | None = None) -> None:
        super().__init__()
        self.net, self.stride, self.smallest, self.in_channels = net, stride, smallest, in_channels

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        if self.in_channels is not None:
            check_images(images, self.in_channels)
        height, width = images.shape[2:]
        try:
            logits = self.net(pad_to_stride(images, self.stride, self.smallest))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            more = ". Larger images help too, unless the network pools whole images"
            raise ValueError(ONE_VALUE.format(count=len(images), height=height, width=width, more=more)) from error
        return logits[:, :, :height, :width]
