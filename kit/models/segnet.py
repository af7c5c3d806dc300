"""SegNet and SegNet-Basic: a decoder that unpools by the encoder's indices and fills in with convolutions.

Paper: Badrinarayanan, Kendall & Cipolla 2017, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation" (PAMI 39/12), section 3 for SegNet and 3.1 for SegNet-Basic. Where it leaves a choice (the layers at which
the decoder's widths change, the sizes of the last kernels), this follows the authors' tutorial prototxts. SegNet-Basic
has no biases, as the paper says; its prototxt has them.

Deviations. SegNet starts from VGG16 with batch normalisation (`load_vgg16(net.encoder, …)` takes torchvision's
vgg16_bn): weights and statistics then fit each other from the first step. The authors put new batch normalisation
between plain VGG16's layers; so does a state dict of torchvision's vgg16. SegNet-Basic leaves out the normalisation of
local contrast before the first layer: the prototxt's (across channels, 1 + 0.0001/5 · Σx², to the power 0.75) acts on
values of 0 to 255, and changes images that are normalised already by less than a thousandth. Images of any size, see
deconvnet.py; the prototxt fixes the sizes by hand.
"""

from torch import Tensor, nn

from kit.models.deconvnet import decode, encode, start_for_relu
from kit.models.inputs import check_images, check_numbers
from kit.models.vgg import DEPTHS, WIDTHS, conv_relu, scaled, vgg16_stages


class SegNet(nn.Module):
    """VGG16's 13 convolutions, and 13 that mirror them; the last gives the logits, with nothing after it.

    width: 1.0 is the paper's; another number scales every count of channels, and VGG16's weights fit only 1.0.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.encoder = vgg16_stages(in_channels=in_channels, batch_norm=True, width=width)
        self.decoder = nn.ModuleList()
        widths = scaled(WIDTHS, width)
        for channels, depth, narrower in zip(widths[::-1], DEPTHS[::-1], (*widths[-2::-1], None), strict=True):
            layers = [layer for _ in range(depth - 1) for layer in conv_relu(channels, channels, batch_norm=True)]
            if narrower is None:
                layers.append(nn.Conv2d(channels, num_classes, 3, padding=1))
            else:
                layers += conv_relu(channels, narrower, batch_norm=True)
            self.decoder.append(nn.Sequential(*layers))
        start_for_relu(self)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        check_images(images, self.in_channels)
        return decode(self.decoder, *encode(self.encoder, images))


class SegNetBasic(nn.Module):
    """Four stages of one 7×7 convolution to 64 channels, four that mirror them without ReLU, a 1×1 classifier."""

    def __init__(self, *, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        check_numbers(num_classes, in_channels)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.encoder = nn.ModuleList(
            nn.Sequential(*_conv_norm(channels), nn.ReLU(inplace=True)) for channels in (in_channels, 64, 64, 64)
        )
        self.decoder = nn.ModuleList(nn.Sequential(*_conv_norm(64)) for _ in range(4))
        self.head = nn.Conv2d(64, num_classes, 1)
        start_for_relu(self)

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        check_images(images, self.in_channels)
        return self.head(decode(self.decoder, *encode(self.encoder, images)))


def _conv_norm(in_channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(in_channels, 64, 7, padding=3, bias=False), nn.BatchNorm2d(64)
