"""The dynamic U-Net: a decoder that fits itself to any pretrained encoder and enlarges by sub-pixel convolution.

Papers: Ronneberger, Fischer, Brox 2015 (U-Net); Shi et al. 2016, "Real-Time Single Image and Video Super-Resolution
Using an Efficient Sub-Pixel Convolutional Neural Network", equations 3 and 4 (the enlarging); Aitken et al. 2017,
"Checkerboard artifact free sub-pixel convolution" (ICNR, how it starts); Sugawara et al. 2018,
"Super-Resolution using Convolutional Neural Networks without Any Checkerboard Artifacts" (the blur).
The arrangement is that of fast.ai's DynamicUnet (Howard & Gugger 2020, fastai.vision.models.unet).

Deviations from fast.ai's: images are padded to the encoder's multiple, where fast.ai enlarges each map to the size of
the next; `middle_channels` can narrow the decoder; `blur` blurs after every enlarging, the last too; biases start at
zero. The four channels that make a square are neighbours, as in torch, where equation 4 has them C apart.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.inputs import check_images, check_numbers, pad_to_stride
from kit.models.on_encoder import check_encoder, still_batchnorm, take_statistics


class DynamicUNet(nn.Module):
    """fast.ai's U-Net on an encoder as `kit.models.pretrained.encoder` gives it: images -> list of feature maps.

    encoder: has `.out_channels`, the channels of its maps of stride 1, 2, 4 ... 2**n, and `.multiple`: both sides of
    its images must be multiples of it. in_channels: those of the encoder, because the images are joined to the last
    map. middle_channels: the channels that the decoder starts with; each block halves them. None takes fast.ai's
    choice, the encoder's own deepest (much for mobilenet_v2 with its 1280: 256 is several times as fast). batch_norm:
    after each 3×3 convolution of the decoder, in place of its bias (fast.ai's default is without; its skips are
    normalised either way). blur: against checkerboards. `.mean` and `.std` are the encoder's, where it has any.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        num_classes: int,
        in_channels: int = 3,
        middle_channels: int | None = None,
        batch_norm: bool = False,
        blur: bool = False,
    ) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        check_encoder(encoder, in_channels)
        take_statistics(self, encoder)
        self.num_classes, self.in_channels = num_classes, in_channels
        *skips, deepest = encoder.out_channels[1:]
        channels = deepest if middle_channels is None else middle_channels
        self.encoder, self._frozen = encoder, False
        self.middle = nn.Sequential(
            nn.BatchNorm2d(deepest),
            nn.ReLU(),
            *_conv_relu(deepest, 2 * channels, batch_norm),
            *_conv_relu(2 * channels, channels, batch_norm),
        )
        self.blocks = nn.ModuleList()
        for skip in reversed(skips):
            last = len(self.blocks) == len(skips) - 1
            self.blocks.append(_Block(channels, skip, halve=last, batch_norm=batch_norm, blur=blur))
            channels = self.blocks[-1].out_channels
        self.enlarge = SubPixel(channels, channels, blur=blur)
        self.cross = _Residual(channels + in_channels, batch_norm)
        self.head = nn.Conv2d(channels + in_channels, num_classes, 1)
        _start(self.middle, self.blocks, self.cross, self.head)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) of any size -> logits (N, K, H, W)."""
        check_images(images, self.in_channels)
        padded = pad_to_stride(images, self.encoder.multiple)
        _, *skips, deepest = self.encoder(padded)
        x = self.middle(deepest)
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            x = block(x, skip)
        x = torch.cat([self.enlarge(x), padded], dim=1)
        return self.head(self.cross(x))[:, :, : images.shape[2], : images.shape[3]]

    def freeze_batchnorm(self) -> None:
        """From now on the encoder's batch normalisation uses its stored statistics; its weights still learn."""
        self._frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "DynamicUNet":
        """As nn.Module.train, except that frozen batch normalisation stays in evaluation mode."""
        super().train(mode)
        if self._frozen:
            still_batchnorm(self.encoder)
        return self


class SubPixel(nn.Module):
    """Enlarging by two: a 1×1 convolution to four times the channels, ReLU, and four channels make a 2×2 square.

    It starts (ICNR) as a convolution enlarged by the nearest pixel, so it draws no checkerboard. blur: the mean of
    each pixel and its neighbours above, left and above left.
    """

    def __init__(self, in_channels: int, out_channels: int, *, blur: bool = False) -> None:
        super().__init__()
        self.conv, self.blur = nn.Conv2d(in_channels, 4 * out_channels, 1), blur
        weight = nn.init.kaiming_normal_(torch.empty(out_channels, in_channels, 1, 1), nonlinearity="relu")
        with torch.no_grad():
            self.conv.weight.copy_(weight.repeat_interleave(4, dim=0))
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> (N, out_channels, 2 H, 2 W)."""
        x = F.pixel_shuffle(F.relu(self.conv(x)), 2)
        return F.avg_pool2d(F.pad(x, (1, 0, 1, 0), mode="replicate"), 2, stride=1) if self.blur else x


class _Block(nn.Module):
    """Enlarges by two to half the channels, joins the normalised skip, and convolves twice.

    The output has as many channels as were joined, or half as many if `halve`. skip_channels 0: there is no skip.
    """

    def __init__(self, in_channels: int, skip_channels: int, *, halve: bool, batch_norm: bool, blur: bool) -> None:
        super().__init__()
        joined = in_channels // 2 + skip_channels
        self.out_channels = joined // 2 if halve else joined
        self.up = SubPixel(in_channels, in_channels // 2, blur=blur)
        self.norm = nn.BatchNorm2d(skip_channels) if skip_channels else nn.Identity()
        self.convs = nn.Sequential(
            *_conv_relu(joined, self.out_channels, batch_norm),
            *_conv_relu(self.out_channels, self.out_channels, batch_norm),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """x (N, C, H, W), skip (N, skip_channels, 2 H, 2 W) -> (N, out_channels, 2 H, 2 W)."""
        return self.convs(F.relu(torch.cat([self.up(x), self.norm(skip)], dim=1)))


class _Residual(nn.Module):
    """Two 3×3 convolutions, their result added to the input before the last ReLU."""

    def __init__(self, channels: int, batch_norm: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *_conv_relu(channels, channels, batch_norm), *_conv_relu(channels, channels, batch_norm)[:-1]
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> the same shape."""
        return F.relu(x + self.convs(x))


def _conv_relu(in_channels: int, out_channels: int, batch_norm: bool) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return [nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not batch_norm), *norm, nn.ReLU()]


def _start(*parts: nn.Module) -> None:
    """Start every convolution as He et al. 2015 advise, except those of SubPixel, which start themselves."""
    for part in parts:
        for name, module in part.named_modules():
            if isinstance(module, nn.Conv2d) and not name.endswith("up.conv"):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
