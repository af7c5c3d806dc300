"""U-Net as in its paper, and a compact one for small images or few cores.

Paper: Ronneberger, Fischer, Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", figure 1
and sections 2 and 3. Where the paper leaves a choice, this follows the network that its authors published: dropout of
one half after the fourth and the fifth level.

Deviations: the default convolutions are padded, so that logits have the image's size (`valid=True` gives the
paper's); the paper's one input channel is `in_channels` here; batch normalisation is an option. As in figure 1 and
unlike the published network, no ReLU follows an up-convolution.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.inputs import check_images, check_numbers, pad_to_stride

STRIDE = 16  # of the deepest level of UNet
MARGIN = 92  # pixels that the valid convolutions take from each side: 572 -> 388


class UNet(nn.Module):
    """The paper's U-Net: five levels, `width` channels in the first and twice as many in each that follows.

    in_channels: of the images, 1 in the paper. valid: unpadded convolutions, as in the paper; the image is extended by
    mirroring first, so that logits have its size (figure 2). batch_norm: after each 3×3 convolution, in place of its
    bias; not in the paper.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        dropout: float = 0.5,
        batch_norm: bool = False,
        valid: bool = False,
    ) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        widths = [width * 2**level for level in range(5)]
        pairs = list(pairwise(widths))
        padding = 0 if valid else 1
        self.valid = valid
        self.contracting = nn.ModuleList(
            _double_conv(shallow, deep, padding, batch_norm) for shallow, deep in [(in_channels, width), *pairs]
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, shallow, 2, stride=2) for shallow, deep in reversed(pairs))
        self.expanding = nn.ModuleList(
            _double_conv(deep, shallow, padding, batch_norm) for shallow, deep in reversed(pairs)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(width, num_classes, 1)
        _start(self)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) of any size -> logits (N, K, H, W)."""
        check_images(images, self.in_channels)
        height, width = images.shape[2:]
        if self.valid:
            images = mirror(images, (_valid_size(height), _valid_size(width)))
        else:
            images = pad_to_stride(images, STRIDE)
        return self.unpadded(images)[:, :, :height, :width]

    def unpadded(self, images: Tensor) -> Tensor:
        """The network alone: images (N, C, H, W) -> logits (N, K, H, W), or (N, K, H - 184, W - 184) if valid.

        H and W must be multiples of 16, or 16 n + 60 (from 188) if valid, so that each pooling meets an even size.
        """
        least, rest = (188, 60 % STRIDE) if self.valid else (STRIDE, 0)
        if any(side < least or side % STRIDE != rest for side in images.shape[2:]):
            wanted = "16 n + 60, from 188 on" if self.valid else "multiples of 16"
            got = tuple(images.shape[2:])
            raise ValueError(f"height and width must be {wanted}, got {got}; the network's own call takes any size")
        skips, x = [], images
        for level, block in enumerate(self.contracting):
            x = block(F.max_pool2d(x, 2) if level else x)
            x = self.dropout(x) if level >= 3 else x
            skips.append(x)
        skips.pop()
        for up, block in zip(self.up, self.expanding, strict=True):
            x = up(x)
            x = block(torch.cat([_centre(skips.pop(), x.shape[2:]), x], dim=1))
        return self.head(x)


class MirrorTiled(nn.Module):
    """Runs a valid `net` on tiles of a large image, each with its true or mirrored surroundings (section 2).

    The logits equal those of the whole image to rounding, in the memory of one tile. The tiles neither overlap nor need
    blending. A tile must begin where the poolings of the whole image begin, so `tile`, its side in the logits, is a
    multiple of 16. The paper's 388 is not a multiple: its tiles are seamless, but depend on where they begin.
    A side below `tile` has one tile of its own size, rounded up to 16, so that a small image costs no more than its
    margin. In training with batch_norm the statistics are of all pixels that a tile feeds, so they depend on `tile`
    and, of smaller images, on the image's size.
    """

    def __init__(self, net: UNet, tile: int = 384) -> None:
        super().__init__()
        if not net.valid:
            raise ValueError(
                "MirrorTiled needs a UNet(valid=True); for padded networks take kit.prediction's Tiled, which blends"
            )
        if tile < STRIDE or tile % STRIDE:
            raise ValueError(f"the side of a tile must be a multiple of {STRIDE}, got {tile}")
        self.net, self.tile = net, tile

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        height, width = images.shape[2:]
        sides = [min(self.tile, -(-side // STRIDE) * STRIDE) for side in (height, width)]  # of a small image, its own
        fed = [_valid_size(side) for side in sides]
        tops, lefts = range(0, height, sides[0]), range(0, width, sides[1])
        extended = mirror(images, (tops[-1] + fed[0], lefts[-1] + fed[1]))
        rows = [
            torch.cat(
                [
                    self.net.unpadded(extended[:, :, top : top + fed[0], left : left + fed[1]])[
                        :, :, : sides[0], : sides[1]
                    ]
                    for left in lefts
                ],
                dim=3,
            )
            for top in tops
        ]
        return torch.cat(rows, dim=2)[:, :, :height, :width]


class CompactUNet(nn.Module):
    """A U-Net of 4.8 million parameters: 64, 128 and 256 channels, and 256 in the middle.

    Not of a paper: two 3×3 convolutions in each block, each with batch normalisation; nearest-neighbour enlarging in
    place of the paper's up-convolutions, so that no learnt kernel can draw a checkerboard.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        down, up = [(in_channels, 64), (64, 128), (128, 256), (256, 256)], [(512, 256), (384, 128), (192, 64)]
        self.contracting = nn.ModuleList(_double_conv(before, after, 1, True) for before, after in down)
        self.expanding = nn.ModuleList(_double_conv(before, after, 1, True) for before, after in up)
        self.head = nn.Conv2d(64, num_classes, 1)
        _start(self)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) of any size -> logits (N, K, H, W)."""
        check_images(images, self.in_channels)
        skips, x = [], pad_to_stride(images, 8)
        for level, block in enumerate(self.contracting):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for block in self.expanding:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([skips.pop(), x], dim=1))
        return self.head(x)[:, :, : images.shape[2], : images.shape[3]]


def mirror(images: Tensor, size: tuple[int, int]) -> Tensor:
    """images (N, C, H, W) -> (N, C, *size): 92 mirrored pixels above and left, the rest below and right (figure 2).

    The edge itself is not repeated. An image narrower than its margin is mirrored again and again.
    """
    for axis, wanted in zip((2, 3), size, strict=True):
        period = max(1, 2 * (images.shape[axis] - 1))
        places = torch.arange(-MARGIN, wanted - MARGIN, device=images.device) % period
        images = images.index_select(axis, torch.minimum(places, period - places))
    return images


def _valid_size(side: int) -> int:
    """The least 16 n + 60 whose valid output, 184 less, covers `side` pixels."""
    return -(-(side + 2 * MARGIN - 60) // STRIDE) * STRIDE + 60


def _double_conv(in_channels: int, out_channels: int, padding: int, batch_norm: bool) -> nn.Sequential:
    layers = []
    for channels in (in_channels, out_channels):
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=padding, bias=not batch_norm))
        layers += [nn.BatchNorm2d(out_channels), nn.ReLU()] if batch_norm else [nn.ReLU()]
    return nn.Sequential(*layers)


def _centre(maps: Tensor, size: torch.Size) -> Tensor:
    """The centre of the maps, in the size of the up-convolution that they are joined to."""
    top, left = ((have - wanted) // 2 for have, wanted in zip(maps.shape[2:], size, strict=True))
    return maps[:, :, top : top + size[0], left : left + size[1]]


def _start(net: nn.Module) -> None:
    """Normal weights of standard deviation sqrt(2 / N), N the inputs of one neuron (section 3); biases of zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            kernel = 1 if isinstance(module, nn.ConvTranspose2d) else module.weight[0, 0].numel()
            nn.init.normal_(module.weight, std=(2 / (module.in_channels * kernel)) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
