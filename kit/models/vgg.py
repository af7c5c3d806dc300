"""VGG16, the trunk of FCN, DeconvNet and SegNet: its convolutions, and torchvision's weights for them.

Paper: Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1,
configuration D; with batch normalisation (Ioffe & Szegedy 2015) after each convolution where asked for, as in
torchvision's vgg16_bn. The pooling between the stages is left to the networks: each does it in its own way.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models

WIDTHS = (64, 128, 256, 512, 512)  # channels of the five stages
DEPTHS = (2, 2, 3, 3, 3)  # convolutions in each


def conv_relu(in_channels: int, out_channels: int, batch_norm: bool) -> list[nn.Module]:
    """A 3×3 convolution that keeps the size, batch normalisation if asked for, ReLU."""
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return [nn.Conv2d(in_channels, out_channels, 3, padding=1), *norm, nn.ReLU(inplace=True)]


def vgg16_stages(*, in_channels: int = 3, batch_norm: bool = False) -> nn.ModuleList:
    """The five stages, (N, C, H, W) -> (N, WIDTHS[i], H, W) each, started as He et al. 2015 advise for ReLU."""
    stages, channels = nn.ModuleList(), in_channels
    for width, depth in zip(WIDTHS, DEPTHS, strict=True):
        layers = []
        for _ in range(depth):
            layers += conv_relu(channels, width, batch_norm)
            channels = width
        stages.append(nn.Sequential(*layers))
    for module in stages.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return stages


def load_vgg16(stages: Sequence[nn.Module], state_dict: Mapping[str, Tensor]) -> None:
    """Copy the `features.*` of torchvision's vgg16 or vgg16_bn into the stages.

    Stages with batch normalisation take those of vgg16 too, and keep their own new normalisation between them: so
    DeconvNet's and SegNet's authors began. Raises ValueError where the tensors are of another kind, width or depth.
    """
    plain = not any(name.endswith("running_mean") for name in state_dict)
    layers = [layer for stage in stages for layer in (*stage, nn.Identity())]  # torchvision numbers the poolings too
    features = nn.Sequential(*(layer for layer in layers if not (plain and isinstance(layer, nn.BatchNorm2d))))
    tensors = {name: value for name, value in state_dict.items() if name.startswith("features.")}
    try:
        nn.ModuleDict({"features": features}).load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{len(tensors)} tensors 'features.*' do not fit these VGG16 stages; expected the state dict of "
            f"torchvision's vgg16, or of vgg16_bn for stages with batch normalisation: {str(error)[:500]}"
        ) from error


def load_vgg16_classifier(fc6: nn.Conv2d, fc7: nn.Conv2d, state_dict: Mapping[str, Tensor]) -> None:
    """Copy the first two fully connected layers of torchvision's vgg16, (4096, 25088) and (4096, 4096).

    As convolutions they have weights (4096, 512, 7, 7) and (4096, 4096, 1, 1), in the same order. Of VGG16's
    convolutions alone, without any `classifier.*`, it leaves both as they are, and says so.
    Raises ValueError where one of `classifier.0` and `classifier.3` is not there or of another size.
    """
    if not any(name.startswith("classifier.") for name in state_dict):
        print("the weights of VGG16 are those of its convolutions alone: fc6 and fc7 start new", flush=True)
        return
    for conv, layer in ((fc6, "classifier.0"), (fc7, "classifier.3")):
        weight, bias = state_dict.get(f"{layer}.weight"), state_dict.get(f"{layer}.bias")
        if weight is None or bias is None or weight.numel() != conv.weight.numel() or bias.shape != conv.bias.shape:
            found = None if weight is None else tuple(weight.shape)
            raise ValueError(
                f"{layer!r} has weights {found} where {tuple(conv.weight.shape)} is needed; expected the whole state "
                "dict of torchvision's vgg16 or vgg16_bn, or its 'features.*' alone"
            )
        conv.load_state_dict({"weight": weight.view_as(conv.weight), "bias": bias})


def read_vgg16(weights: str, batch_norm: bool) -> dict[str, Tensor] | None:
    """State dict of torchvision's vgg16 (or vgg16_bn): 'imagenet', from the hub; 'none', None; else from a file.

    The file is one that torchvision offers (.pth), or the same tensors as .safetensors, with or without the
    `classifier.*`; nothing in it is run. With batch normalisation that of the plain vgg16 will do. Raises OSError when
    the hub cannot be reached, FileNotFoundError, or ValueError naming the file when it holds something else.
    """
    name = "vgg16_bn" if batch_norm else "vgg16"
    if weights == "none":
        return None
    if weights == "imagenet":
        try:
            published = models.get_model_weights(name).IMAGENET1K_V1
            return published.get_state_dict(check_hash=True, weights_only=True)
        except OSError as error:
            files = "vgg16_bn or vgg16" if batch_norm else "vgg16"
            raise OSError(_OFFLINE.format(name=name, files=files)) from error
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"--encoder-weights {path}: no such file; expected 'imagenet', 'none' or a file")
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        if batch_norm and not any(key.endswith("running_mean") for key in tensors):
            name = "vgg16"
        with torch.device("meta"):  # a network without values, only to compare names and shapes
            vgg = models.get_model(name)
            if not any(key.startswith("classifier.") for key in tensors):
                vgg.classifier = nn.Identity()
            vgg.load_state_dict(tensors, assign=True)
    except Exception as error:  # of a damaged file torch raises whatever it stumbles on, a dozen types
        told = str(error)[:500] or "cut short"
        raise ValueError(f"{path} does not hold the weights of torchvision's {name}: {told}") from error
    return tensors


_OFFLINE = (
    "the ImageNet weights of {name!r} are not on this machine and the hub cannot be reached. Either connect once, "
    "or give a file with --encoder-weights FILE (the state dict of torchvision's {files}, or its convolutions "
    "alone), or train from scratch with --encoder-weights none"
)
