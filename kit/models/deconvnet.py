"""DeconvNet: pooling that remembers where each maximum stood, unpooling that puts it back there.

Papers: Noh, Hong & Han 2015, "Learning Deconvolution Network for Semantic Segmentation" (ICCV, figure 2; the layers as
in the authors' training prototxt), and the small network for blood cells made after it: "Semantic Segmentation on
Variable Sized Images of Red Blood Cells using Deconvolution Networks" (taveeshsharma.com/projects/segmentation).

Deviations. Weights start as He et al. 2015 advise (the authors: a Gaussian of 0.01 in the deconvolutions). Pictures of
any size: the pooling keeps a last odd row or column as a window of its own and the unpooling returns to the size that
went in, so nothing is padded, but for the fully connected layers of DeconvNet (see there). DeconvNet classifies whole
pictures here; the paper's object proposals and CRF belong to no network. The small network's source tells its layers
but not their widths (64, 128 and 256 are VGG16's) nor its last layer (1×1, as in DeconvNet); batch normalisation in it
is our addition, off unless asked for.
"""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.padding import pad_to_stride
from kit.models.vgg import DEPTHS, WIDTHS, conv_relu, load_vgg16, load_vgg16_classifier, vgg16_stages

Switches = tuple[Tensor, tuple[int, int]]  # each maximum's place in its plane, i64 (N, C, h, w), and the plane's size


def pool(features: Tensor) -> tuple[Tensor, Switches]:
    """2×2 maxima, (N, C, H, W) -> (N, C, ⌈H/2⌉, ⌈W/2⌉), and where they stood."""
    maxima, places = F.max_pool2d(features, 2, ceil_mode=True, return_indices=True)
    return maxima, (places, features.shape[2:])


def unpool(maxima: Tensor, switches: Switches) -> Tensor:
    """Each value back at its place, zero elsewhere: (N, C, ⌈H/2⌉, ⌈W/2⌉) -> (N, C, H, W).

    Windows do not overlap, so the result is always the same; torch.use_deterministic_algorithms(True) refuses
    the operator all the same, as it cannot know that: give it warn_only=True.
    """
    places, size = switches
    return F.max_unpool2d(maxima, places, 2, output_size=size)


def encode(stages: Iterable[nn.Module], features: Tensor) -> tuple[Tensor, list[Switches]]:
    """Each stage and a pooling: features (N, C, ⌈H/2ⁿ⌉, ⌈W/2ⁿ⌉) after n stages, and the switches of each."""
    switches = []
    for stage in stages:
        features, places = pool(stage(features))
        switches.append(places)
    return features, switches


def decode(stages: Iterable[nn.Module], features: Tensor, switches: Sequence[Switches]) -> Tensor:
    """An unpooling and each stage, by the switches from the last to the first: back to (N, C, H, W)."""
    for stage, places in zip(stages, reversed(switches), strict=True):
        features = stage(unpool(features, places))
    return features


def deconv_relu(in_channels: int, out_channels: int, batch_norm: bool, size: int = 3) -> list[nn.Module]:
    """A deconvolution (3×3 keeps the size, 7×7 adds 6), batch normalisation if asked for, ReLU."""
    deconv = nn.ConvTranspose2d(in_channels, out_channels, size, padding=1 if size == 3 else 0)
    return [deconv, *([nn.BatchNorm2d(out_channels)] if batch_norm else []), nn.ReLU(inplace=True)]


def deconv_stages(widths: Sequence[int], depths: Sequence[int], batch_norm: bool) -> nn.ModuleList:
    """The encoder's stages mirrored, deepest first: the last layer of each goes down to the next stage's width."""
    stages = nn.ModuleList()
    for width, depth, narrower in zip(widths[::-1], depths[::-1], [*widths[-2::-1], widths[0]], strict=True):
        layers = []
        for out_channels in [width] * (depth - 1) + [narrower]:
            layers += deconv_relu(width, out_channels, batch_norm)
        stages.append(nn.Sequential(*layers))
    return stages


def start_for_relu(net: nn.Module) -> None:
    """Weights by He et al. 2015, biases zero: what each layer sums over gives the scale."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            # a deconvolution's weight is (in, out, h, w), so that torch calls its fan-in fan-out
            mode = "fan_out" if isinstance(module, nn.ConvTranspose2d) else "fan_in"
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SmallDeconvNet(nn.Module):
    """Three stages of two convolutions, dropout, and the same mirrored; trained at 128×128 in the paper.

    width: channels of the first stage, doubled in each that follows; batch_norm: before every ReLU (not in the paper);
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
        features, switches = encode(self.encoder, images)
        return self.head(decode(self.decoder, self.dropout(features), switches))


class DeconvNet(nn.Module):
    """VGG16 with its two fully connected layers, and all of it mirrored: 252 million parameters.

    The fully connected layers see 7×7 features, so a picture is made a multiple of 32 and at least 224 high and wide,
    by repeating its last row and column, and the logits are cropped back exactly. They see one 7×7 window in a
    picture of 224×224: batch normalisation then needs two pictures or more in a batch to train (else ValueError).
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.encoder = vgg16_stages(in_channels=in_channels, batch_norm=True)
        self.fc6 = nn.Sequential(nn.Conv2d(512, 4096, 7), nn.BatchNorm2d(4096), nn.ReLU(inplace=True))
        self.fc7 = nn.Sequential(nn.Conv2d(4096, 4096, 1), nn.BatchNorm2d(4096), nn.ReLU(inplace=True))
        self.fc6_deconv = nn.Sequential(*deconv_relu(4096, 512, batch_norm=True, size=7))
        self.decoder = deconv_stages(WIDTHS, DEPTHS, batch_norm=True)
        self.head = nn.Conv2d(64, num_classes, 1)
        for part in (self.fc6, self.fc7, self.fc6_deconv, self.decoder, self.head):
            start_for_relu(part)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        height, width = images.shape[2:]
        padded = pad_to_stride(images, 32, smallest=224)
        if self.training and padded.shape[0] == 1 and padded.shape[2:] == (224, 224):
            raise ValueError(
                f"a batch of 1 picture of {height} x {width} leaves batch normalisation one value a channel, which has "
                "no variance: train with 2 pictures a batch or more (and drop a last batch of 1)"
            )
        features, switches = encode(self.encoder, padded)
        features = self.fc6_deconv(self.fc7(self.fc6(features)))
        return self.head(decode(self.decoder, features, switches))[:, :, :height, :width]

    def load_vgg16(self, state_dict: Mapping[str, Tensor]) -> None:
        """Start the encoder, fc6 and fc7 from torchvision's vgg16_bn or vgg16, as the paper does from the latter.

        The batch normalisation of fc6 and fc7 stays new: vgg16_bn has none there. Raises ValueError where the tensors
        are of another kind or shape.
        """
        load_vgg16(self.encoder, state_dict)
        load_vgg16_classifier(self.fc6[0], self.fc7[0], state_dict)
