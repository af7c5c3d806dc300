"""A U-Net on any pretrained encoder with a skip at the image's own size, for objects of few pixels.

Paper: Ronneberger, Fischer, Brox 2015, "U-Net", figure 1, whose first skip has the image's own size.

A pretrained encoder's first map has half that size, so the usual U-Net on one (smp's) makes its last step without a
skip: outlines are off by a pixel here and there. That hardly matters for a car. Of a nucleus 20 pixels wide it decides:
a prediction that is one pixel too large everywhere has a precision of .55 in the Data Science Bowl's metric.

Deviations from the paper: the encoder; the skip of full size is two convolutions of the images beside the encoder;
enlarging repeats pixels, with no up-convolution; convolutions are padded, with batch normalisation in place of biases.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.inputs import check_images, check_numbers, pad_to_stride
from kit.models.on_encoder import check_encoder, take_statistics


class EncoderUNet(nn.Module):
    """images -> logits at their size, by a U-Net on an encoder as `kit.models.pretrained.encoder` gives it.

    encoder: has `.out_channels`, the channels of its maps of stride 1, 2, 4 ... 2**n, and `.multiple`: both sides of
    its images must be multiples of it. in_channels: those of the encoder. decoder_channels: of each step from the
    deepest on, n numbers; the last is also that of the skip of full size. `.mean` and `.std` are the encoder's.
    Raises ValueError where the numbers do not fit the encoder.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        num_classes: int,
        in_channels: int = 3,
        decoder_channels: Sequence[int] = (128, 96, 64, 32, 16),
    ) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        *skips, deepest = encoder.out_channels[1:]
        if len(decoder_channels) != len(skips) + 1:
            raise ValueError(f"decoder_channels has {len(decoder_channels)} numbers, expected {len(skips) + 1}")
        check_encoder(encoder, in_channels)
        take_statistics(self, encoder)
        self.num_classes, self.in_channels = num_classes, in_channels
        full = decoder_channels[-1]
        self.encoder, self.full = encoder, _convs(in_channels, full)
        joined = [*reversed(skips), full]
        self.blocks = nn.ModuleList(
            _convs(above + skip, own)
            for above, skip, own in zip([deepest, *decoder_channels[:-1]], joined, decoder_channels, strict=True)
        )
        self.head = nn.Conv2d(full, num_classes, 1)
        for part in (self.full, self.blocks, self.head):
            _start(part)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) of any size -> logits (N, K, H, W)."""
        check_images(images, self.in_channels)
        padded = pad_to_stride(images, self.encoder.multiple)
        _, *skips, x = self.encoder(padded)
        for block, skip in zip(self.blocks, [*reversed(skips), self.full(padded)], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
        return self.head(x)[:, :, : images.shape[2], : images.shape[3]]


def _convs(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [nn.Conv2d(channels, out_channels, 3, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


def _start(part: nn.Module) -> None:
    """Start every convolution as He et al. 2015 advise."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
