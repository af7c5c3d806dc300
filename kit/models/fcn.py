"""Fully convolutional networks: FCN-32s, FCN-16s and FCN-8s on VGG16.

Paper: Long, Shelhamer, Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation", section 4 and
figure 3; the training at once from the version in PAMI 2017. Details of layers from the authors' release for Caffe
(shelhamer/fcn.berkeleyvision.org): poolings that round up, scores that start at zero, the two scales of `at_once`.

Deviations:
- Images are not padded and fc6 is, by 3, so that fc7 has one cell for every 32 × 32 pixels. The release pads
  conv1_1 by 100 and leaves fc6 bare, which doubles the work of the stages at 500 × 500: `pad_100=True`.
- Every upsampling starts bilinear and learns. The paper fixes the last one, the release all of them:
  `net.upscore8.requires_grad_(False)`.
- `batch_norm=True` puts batch normalisation after each 3 × 3 convolution, for training from scratch. Without weights
  of VGG16 the trunk and fc6, fc7 start as He et al. 2015 advise.

Where a map lies. Number the cells of a grid of stride s from the image's corner: cell j is pixels sj … sj + s - 1.
A transposed convolution of stride f with a kernel of 2f turns cell j into the indices fj … fj + 2f - 1, whose middle
is fj + f - 1/2. On the grid that is f times finer, the middle of cell j lies at fj + (f - 1)/2, which is f/2 less.
So index 0 belongs on cell -f/2; on cell f·start - f/2 if the coarse map itself begins at cell `start` (`finer`).
From `start` = 0 follow all crops here: 16 pixels (32s); 1 and 8 (16s); 1, 1 and 4 (8s). With pad_100, fc6 begins at
cell 3 of pool5, the image at pixel 99, and the same rule gives the release's 19; 5 and 27; 5, 9 and 31.

Beyond its map an upsampling sees zeros: without pad_100 the scores shrink within half a cell of the image's edge,
at the start all classes by one factor, so the sign of a score and the best class stay those of the cell.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.inputs import check_images, check_numbers
from kit.models.vgg import FULLY_CONNECTED, WIDTHS, load_vgg16, load_vgg16_classifier, scaled, vgg16_stages


class FCNTrunk(nn.Module):
    """VGG16 without its last layer, the fully connected ones turned into convolutions.

    `.channels`: those of pool3, pool4 and fc7. width: see FCN32s.
    """

    def __init__(self, *, in_channels: int, batch_norm: bool, pad_100: bool, dropout: float, width: float) -> None:
        super().__init__()
        check_numbers(1, in_channels)
        *_, pool3, pool4, pool5, fc7 = scaled((*WIDTHS, FULLY_CONNECTED), width)
        self.in_channels, self.width, self.channels = in_channels, width, (pool3, pool4, fc7)
        self.stages = vgg16_stages(in_channels=in_channels, batch_norm=batch_norm, width=width)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)  # as Caffe's: a last odd row or column is a cell of its own
        self.fc6 = nn.Conv2d(pool5, fc7, 7, padding=0 if pad_100 else 3)
        self.fc7 = nn.Conv2d(fc7, fc7, 1)
        self.dropout = nn.Dropout(dropout)
        self.margin = 99 if pad_100 else 0  # pixels around the image: 100 with conv1_1's own padding
        self.start = 3 if pad_100 else 0  # the cell of pool5 at which fc7 begins
        for conv in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """images (N, C, H, W) -> pool3 (N, 256, ⌈H/8⌉, ⌈W/8⌉), pool4 (N, 512, ⌈H/16⌉, …), fc7 (N, 4096, ⌈H/32⌉, …).

        With pad_100, of an image 198 pixels higher and wider, and fc7 smaller by 6 cells. Another width scales 256, 512
        and 4096.
        """
        check_images(images, self.in_channels)
        features, pools = F.pad(images, [self.margin] * 4), []
        for stage in self.stages:
            features = self.pool(stage(features))
            pools.append(features)
        features = self.dropout(F.relu(self.fc6(features)))
        return pools[2], pools[3], self.dropout(F.relu(self.fc7(features)))

    def load_vgg16(self, state_dict: Mapping[str, Tensor]) -> None:
        """Copy torchvision's vgg16, all except its last layer, or its convolutions alone.

        With batch_norm, vgg16_bn fits too. Raises ValueError where the tensors are of another kind or size.
        """
        load_vgg16(self.stages, state_dict)
        load_vgg16_classifier(self.fc6, self.fc7, state_dict)


class FCN32s(nn.Module):
    """Scores of cells of 32 × 32 pixels, upsampled at once. Images of any size from 1 × 1.

    width: 1.0 is the paper's; another number scales every count of channels, and VGG16's weights fit only 1.0.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        batch_norm: bool = False,
        pad_100: bool = False,
        dropout: float = 0.5,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.trunk = FCNTrunk(
            in_channels=in_channels, batch_norm=batch_norm, pad_100=pad_100, dropout=dropout, width=width
        )
        self.score_fr = score(self.trunk.channels[2], num_classes)
        self.upscore = bilinear_upsampling(num_classes, 32)

    @classmethod
    def from_vgg16(
        cls,
        state_dict: Mapping[str, Tensor],
        *,
        num_classes: int,
        in_channels: int = 3,
        batch_norm: bool = False,
        pad_100: bool = False,
    ) -> "FCN32s":
        """The first stage of training: all of VGG16's layers, the scores at zero. See FCNTrunk.load_vgg16."""
        net = cls(num_classes=num_classes, in_channels=in_channels, batch_norm=batch_norm, pad_100=pad_100)
        net.trunk.load_vgg16(state_dict)
        return net

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        _, _, fc7 = self.trunk(images)
        scores = self.upscore(self.score_fr(fc7))
        return cut(scores, self.trunk.margin - finer(self.trunk.start, 32), images)


class FCN16s(nn.Module):
    """FCN-32s with a skip from pool4. Images of any size from 1 × 1."""

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        batch_norm: bool = False,
        pad_100: bool = False,
        dropout: float = 0.5,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.trunk = FCNTrunk(
            in_channels=in_channels, batch_norm=batch_norm, pad_100=pad_100, dropout=dropout, width=width
        )
        _, pool4, fc7 = self.trunk.channels
        self.score_fr = score(fc7, num_classes)
        self.score_pool4 = score(pool4, num_classes)
        self.upscore2 = bilinear_upsampling(num_classes, 2)
        self.upscore16 = bilinear_upsampling(num_classes, 16)

    @classmethod
    def from_fcn32s(cls, fcn32s: FCN32s) -> "FCN16s":
        """The second stage of training: a copy of all layers of the trained FCN-32s, the new score at zero."""
        trunk = fcn32s.trunk
        net = cls(num_classes=fcn32s.num_classes, in_channels=trunk.in_channels, width=trunk.width)
        net.trunk, net.score_fr = copy.deepcopy(fcn32s.trunk), copy.deepcopy(fcn32s.score_fr)
        return net.to(fcn32s.score_fr.weight.device).train()

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        _, pool4, fc7 = self.trunk(images)
        scores, start = self.score_fr(fc7), self.trunk.start
        scores, start = fuse(self.upscore2(scores), self.score_pool4(pool4), finer(start, 2))
        return cut(self.upscore16(scores), self.trunk.margin - finer(start, 16), images)


class FCN8s(nn.Module):
    """FCN-16s with a further skip from pool3. Images of any size from 1 × 1.

    at_once: pool4 is scaled by 0.01 and pool3 by 0.0001 before they are scored, in place of a learning rate a hundred
    times lower for each stage, so that the three need not be trained one after the other. The two numbers fit the
    activations of Caffe's VGG16, on pixels of 0..255.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        batch_norm: bool = False,
        pad_100: bool = False,
        dropout: float = 0.5,
        at_once: bool = False,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.trunk = FCNTrunk(
            in_channels=in_channels, batch_norm=batch_norm, pad_100=pad_100, dropout=dropout, width=width
        )
        pool3, pool4, fc7 = self.trunk.channels
        self.score_fr = score(fc7, num_classes)
        self.score_pool4 = score(pool4, num_classes)
        self.score_pool3 = score(pool3, num_classes)
        self.upscore2 = bilinear_upsampling(num_classes, 2)
        self.upscore_pool4 = bilinear_upsampling(num_classes, 2)
        self.upscore8 = bilinear_upsampling(num_classes, 8)
        self.scale_pool4, self.scale_pool3 = (0.01, 0.0001) if at_once else (1.0, 1.0)

    @classmethod
    def from_fcn16s(cls, fcn16s: FCN16s) -> "FCN8s":
        """The third stage of training: a copy of all layers of the trained FCN-16s, the new score at zero."""
        trunk = fcn16s.trunk
        net = cls(num_classes=fcn16s.num_classes, in_channels=trunk.in_channels, width=trunk.width)
        net.trunk, net.score_fr = copy.deepcopy(fcn16s.trunk), copy.deepcopy(fcn16s.score_fr)
        net.score_pool4, net.upscore2 = copy.deepcopy(fcn16s.score_pool4), copy.deepcopy(fcn16s.upscore2)
        return net.to(fcn16s.score_fr.weight.device).train()

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        pool3, pool4, fc7 = self.trunk(images)
        scores, start = self.score_fr(fc7), self.trunk.start
        skip = self.score_pool4(self.scale_pool4 * pool4)
        scores, start = fuse(self.upscore2(scores), skip, finer(start, 2))
        skip = self.score_pool3(self.scale_pool3 * pool3)
        scores, start = fuse(self.upscore_pool4(scores), skip, finer(start, 2))
        return cut(self.upscore8(scores), self.trunk.margin - finer(start, 8), images)


def score(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1 × 1 convolution, zero at the start: (N, C, h, w) -> (N, K, h, w)."""
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


def bilinear_upsampling(num_classes: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution, bilinear in each class at the start: (N, K, h, w) -> (N, K, factor·(h + 1), …)."""
    conv = nn.ConvTranspose2d(num_classes, num_classes, 2 * factor, stride=factor, bias=False)
    taps = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    nn.init.zeros_(conv.weight)
    with torch.no_grad():
        for k in range(num_classes):
            conv.weight[k, k] = torch.outer(taps, taps)
    return conv


def finer(start: int, factor: int) -> int:
    """The cell, of a grid `factor` times finer, on which index 0 of an upsampled map lies: see the head."""
    return factor * start - factor // 2


def cut(maps: Tensor, first: int, like: Tensor) -> Tensor:
    """As many rows and columns as `like` has, from index `first` on."""
    height, width = like.shape[2:]
    return maps[:, :, first : first + height, first : first + width]


def fuse(coarse: Tensor, skip: Tensor, start: int) -> tuple[Tensor, int]:
    """coarse + skip where both are, and the cell at which that begins; `start`: the cell of skip on which coarse does.

    Without pad_100 coarse reaches beyond skip on every side, with it skip beyond coarse.
    """
    if start < 0:
        return cut(coarse, -start, skip) + skip, 0
    return coarse + cut(skip, start, coarse), start
