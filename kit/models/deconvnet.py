"""DeconvNet: pooling that remembers the place of each maximum, and unpooling that puts it back there.

Papers: Noh, Hong & Han 2015, "Learning Deconvolution Network for Semantic Segmentation" (ICCV, figure 2; the layers as
in the authors' training prototxt), and the small network for blood cells made after it: "Semantic Segmentation on
Variable Sized Images of Red Blood Cells using Deconvolution Networks" (taveeshsharma.com/projects/segmentation).

Deviations. Weights start as He et al. 2015 advise (the authors: a Gaussian of 0.01 in the deconvolutions). Images of
any size: the pooling keeps a last odd row or column as a window of its own, and the unpooling returns to the size that
went in. So nothing is padded, except for the fully connected layers of DeconvNet (see there). DeconvNet classifies
whole images here; the paper's object proposals and CRF are no part of the network. The small network's source states
its layers but not their widths (64, 128 and 256 are VGG16's) nor its last layer (1×1, as in DeconvNet); batch
normalisation in it is our addition, off by default.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.inputs import ONE_VALUE, check_images, check_numbers, pad_to_stride
from kit.models.vgg import (
    DEPTHS,
    FULLY_CONNECTED,
    WIDTHS,
    conv_relu,
    load_vgg16,
    load_vgg16_classifier,
    scaled,
    vgg16_stages,
)

Switches = tuple[Tensor, tuple[int, int]]  # the place of each maximum in its plane, i64 (N, C, h, w); the plane's size


def pool(features: Tensor) -> tuple[Tensor, Switches]:
    """2×2 maxima, (N, C, H, W) -> (N, C, ⌈H/2⌉, ⌈W/2⌉), and their places."""
    maxima, places = F.max_pool2d(features, 2, ceil_mode=True, return_indices=True)
    return maxima, (places, features.shape[2:])


def unpool(maxima: Tensor, switches: Switches) -> Tensor:
    """Put each value back at its place, zero elsewhere: (N, C, ⌈H/2⌉, ⌈W/2⌉) -> (N, C, H, W).

    Windows do not overlap, so the result is always the same. torch.use_deterministic_algorithms(True) cannot know that
    and refuses the operator: give it warn_only=True.
    """
    places, size = switches
    return F.max_unpool2d(maxima, places, 2, output_size=size)


def encode(stages: Iterable[nn.Module], features: Tensor) -> tuple[Tensor, list[Switches]]:
    """Run each stage and a pooling: features (N, C, ⌈H/2ⁿ⌉, ⌈W/2ⁿ⌉) after n stages, and the switches of each."""
    switches = []
    for stage in stages:
        features, places = pool(stage(features))
        switches.append(places)
    return features, switches


def decode(stages: Iterable[nn.Module], features: Tensor, switches: Sequence[Switches]) -> Tensor:
    """Run an unpooling and each stage, with the switches from the last to the first: back to (N, C, H, W)."""
    for stage, places in zip(stages, reversed(switches), strict=True):
        features = stage(unpool(features, places))
    return features


def deconv_relu(in_channels: int, out_channels: int, batch_norm: bool, size: int = 3) -> list[nn.Module]:
    """A deconvolution (3×3 keeps the size, 7×7 adds 6), batch normalisation if wanted, ReLU."""
    deconv = nn.ConvTranspose2d(in_channels, out_channels, size, padding=1 if size == 3 else 0)
    return [deconv, *([nn.BatchNorm2d(out_channels)] if batch_norm else []), nn.ReLU(inplace=True)]


def deconv_stages(widths: Sequence[int], depths: Sequence[int], batch_norm: bool) -> nn.ModuleList:
    """The encoder's stages mirrored, deepest first; the last layer of each has the next stage's width."""
    stages = nn.ModuleList()
    for width, depth, narrower in zip(widths[::-1], depths[::-1], [*widths[-2::-1], widths[0]], strict=True):
        layers = []
        for out_channels in [width] * (depth - 1) + [narrower]:
            layers += deconv_relu(width, out_channels, batch_norm)
        stages.append(nn.Sequential(*layers))
    return stages


def start_for_relu(net: nn.Module) -> None:
    """Weights by He et al. 2015, biases zero: the number of inputs that a layer sums over gives the scale."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # a deconvolution's weight is (in, out, h, w), so torch calls its fan-in fan-out
            mode = "fan_out" if isinstance(module, nn.ConvTranspose2d) else "fan_in"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SmallDeconvNet(nn.Module):
    """Three stages of two convolutions, dropout, and the same mirrored; trained at 128×128 in the paper.

    width: channels of the first stage, doubled in each that follows. batch_norm: before every ReLU (not in the paper).
    dropout: the share of features set to zero between encoder and decoder.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        width: int = 64,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        widths = (width, 2 * width, 4 * width)
        self.encoder = nn.ModuleList(
            nn.Sequential(*conv_relu(before, after, batch_norm), *conv_relu(after, after, batch_norm))
            for before, after in zip((in_channels, *widths), widths, strict=False)
        )
        self.dropout = nn.Dropout(dropout)
        self.decoder = deconv_stages(widths, (2, 2, 2), batch_norm)
        self.head = nn.Conv2d(width, num_classes, 1)
        start_for_relu(self)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        check_images(images, self.in_channels)
        features, switches = encode(self.encoder, images)
        return self.head(decode(self.decoder, self.dropout(features), switches))


class DeconvNet(nn.Module):
    """VGG16 with its two fully connected layers, and all of it mirrored: 252 million parameters.

    The fully connected layers see 7×7 features. So an image is enlarged to a multiple of 32, and to at least 224×224,
    by repeating its last row and column, and the logits are cropped back exactly. An image of 224×224 has a single 7×7
    window: batch normalisation then needs two images or more per batch to train (else ValueError). width: 1.0 is the
    paper's; another number scales every count of channels, and VGG16's weights fit only 1.0.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        widths = scaled(WIDTHS, width)
        deepest, (connected,) = widths[-1], scaled((FULLY_CONNECTED,), width)
        self.encoder = vgg16_stages(in_channels=in_channels, batch_norm=True, width=width)
        self.fc6 = nn.Sequential(nn.Conv2d(deepest, connected, 7), nn.BatchNorm2d(connected), nn.ReLU(inplace=True))
        self.fc7 = nn.Sequential(nn.Conv2d(connected, connected, 1), nn.BatchNorm2d(connected), nn.ReLU(inplace=True))
        self.fc6_deconv = nn.Sequential(*deconv_relu(connected, deepest, batch_norm=True, size=7))
        self.decoder = deconv_stages(widths, DEPTHS, batch_norm=True)
        self.head = nn.Conv2d(widths[0], num_classes, 1)
        for part in (self.fc6, self.fc7, self.fc6_deconv, self.decoder, self.head):
            start_for_relu(part)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        check_images(images, self.in_channels)
        height, width = images.shape[2:]
        padded = pad_to_stride(images, 32, smallest=224)
        if self.training and padded.shape[0] == 1 and padded.shape[2:] == (224, 224):
            raise ValueError(ONE_VALUE.format(count=1, height=height, width=width, more=""))
        features, switches = encode(self.encoder, padded)
        features = self.fc6_deconv(self.fc7(self.fc6(features)))
        return self.head(decode(self.decoder, features, switches))[:, :, :height, :width]

    def load_vgg16(self, state_dict: Mapping[str, Tensor]) -> None:
        """Start the encoder, fc6 and fc7 from torchvision's vgg16_bn or vgg16; the paper starts from vgg16.

        The batch normalisation of fc6 and fc7 stays new, because vgg16_bn has none there. Raises ValueError where the
        tensors are of another kind or shape.
        """
        load_vgg16(self.encoder, state_dict)
        load_vgg16_classifier(self.fc6[0], self.fc7[0], state_dict)
