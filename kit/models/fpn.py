"""The feature pyramid (FPN): maps of every stride of an encoder, all of one width and all rich in meaning.

Paper: Lin, Dollár, Girshick, He, Hariharan, Belongie 2017, "Feature Pyramid Networks for Object Detection", figure 3.
A 1×1 convolution brings each map of the encoder to the same width; from the coarsest on, each is enlarged by two (the
nearest pixel) and added to the next finer one; a 3×3 convolution smooths each sum. The coarsest is also subsampled by
two (section 4.1's P6).

Deviations: each convolution is followed by group normalisation (Wu & He 2018), which the paper has not; without it
(group_norm=False) the convolutions have biases, as the paper's. Images are filled up with zeros, which is the mean
colour, to the encoder's multiple.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.inputs import check_images
from kit.models.on_encoder import check_encoder, still_batchnorm

STRIDES = (4, 8, 16, 32, 64)


class FPN(nn.Module):
    """Maps of an encoder, each of half the size of the one before -> as many maps of `channels`, and one coarser.

    in_channels: those of the encoder's maps, the finest first.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, *, group_norm: bool = True) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(each, channels, 1, group_norm) for each in in_channels)
        self.smooth = nn.ModuleList(_conv(channels, channels, 3, group_norm) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (N, C_i, H_i, W_i), the finest first -> maps (N, channels, H_i, W_i) and one of half the last size."""
        *finer, sums = (lateral(each) for lateral, each in zip(self.lateral, maps, strict=True))
        outputs = [self.smooth[-1](sums)]
        for each, smooth in zip(reversed(finer), reversed(self.smooth[:-1]), strict=True):
            sums = each + F.interpolate(sums, size=each.shape[2:], mode="nearest")
            outputs.insert(0, smooth(sums))
        return [*outputs, outputs[-1][:, :, ::2, ::2]]


class Pyramid(nn.Module):
    """An encoder and its FPN: images of any size -> five maps of `channels`, of the strides 4, 8, 16, 32, 64.

    encoder: as `kit.models.pretrained.encoder` gives it, with `.out_channels` of its maps of stride 1, 2, 4 ... 32, and
    `.multiple`. Raises ValueError where it has another number of maps or another in_channels.
    """

    def __init__(self, encoder: nn.Module, in_channels: int, channels: int, *, group_norm: bool = True) -> None:
        super().__init__()
        check_encoder(encoder, in_channels)
        if len(encoder.out_channels) != len(STRIDES) + 1:
            strides = [2**power for power in range(len(encoder.out_channels))]
            raise ValueError(f"a pyramid needs maps of the strides 1 to 32, the encoder gives {strides}: take depth=5")
        self.in_channels, self.encoder, self._frozen = in_channels, encoder, False
        self.fpn = FPN(encoder.out_channels[2:], channels, group_norm=group_norm)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, C, H, W) -> maps (N, channels, h, w), h · stride ≥ H and w · stride ≥ W."""
        check_images(images, self.in_channels)
        below, right = (-side % self.encoder.multiple for side in images.shape[2:])
        return self.fpn(self.encoder(F.pad(images, (0, right, 0, below)))[2:])

    def freeze_batchnorm(self) -> None:
        """From now on the encoder's batch normalisation uses its stored statistics; its weights still learn."""
        self._frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "Pyramid":
        """As nn.Module.train, except that frozen batch normalisation stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            still_batchnorm(self.encoder)
        return self


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation of 32 groups, or of fewer where 32 does not divide the channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def _conv(in_channels: int, channels: int, kernel: int, normed: bool) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=not normed)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, group_norm(channels)) if normed else nn.Sequential(conv)
