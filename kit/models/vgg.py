"""VGG16, the trunk of FCN, DeconvNet and SegNet: its convolutions, and torchvision's weights for them.

Paper: Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1,
configuration D; optionally with batch normalisation (Ioffe & Szegedy 2015) after each convolution, as in torchvision's
vgg16_bn. The pooling between the stages is left to the networks: each does it in its own way.

torchvision's weights expect RGB images with ImageNet's mean and deviation. For other than 3 channels the first
convolution is adapted as timm does: see kit.models.weight_files.adapt.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kit.models.weight_files import WeightFile, adapt, read_weights

WIDTHS = (64, 128, 256, 512, 512)  # channels of the five stages
DEPTHS = (2, 2, 3, 3, 3)  # convolutions in each
FULLY_CONNECTED = 4096  # channels of the first two fully connected layers
# timm's names of the fully connected layers, which it stores as convolutions, and torchvision's
TIMM_NAMES = {"pre_logits.fc1.": "classifier.0.", "pre_logits.fc2.": "classifier.3.", "head.fc.": "classifier.6."}


def scaled(channels: Sequence[int], width: float) -> tuple[int, ...]:
    """Each number of channels times `width`, rounded, and at least 1. width 1.0 changes nothing."""
    if width <= 0:
        raise ValueError(f"width must be more than 0 (1.0 is the paper's), got {width}")
    return tuple(max(1, round(number * width)) for number in channels)


def conv_relu(in_channels: int, out_channels: int, batch_norm: bool) -> list[nn.Module]:
    """A 3×3 convolution that keeps the size, batch normalisation if wanted, ReLU."""
    norm = [nn.BatchNorm2d(out_channels)] if batch_norm else []
    return [nn.Conv2d(in_channels, out_channels, 3, padding=1), *norm, nn.ReLU(inplace=True)]


def vgg16_stages(*, in_channels: int = 3, batch_norm: bool = False, width: float = 1.0) -> nn.ModuleList:
    """The five stages, (N, C, H, W) -> (N, WIDTHS[i], H, W) each, started as He et al. 2015 advise for ReLU.

    width scales WIDTHS; 1.0 is the paper's.
    """
    stages, channels = nn.ModuleList(), in_channels
    for out_channels, depth in zip(scaled(WIDTHS, width), DEPTHS, strict=True):
        layers = []
        for _ in range(depth):
            layers += conv_relu(channels, out_channels, batch_norm)
            channels = out_channels
        stages.append(nn.Sequential(*layers))
    for module in stages.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return stages


def load_vgg16(stages: Sequence[nn.Module], state_dict: Mapping[str, Tensor]) -> None:
    """Copy the `features.*` of torchvision's vgg16 or vgg16_bn into the stages.

    Stages with batch normalisation take those of vgg16 too, and keep their own new normalisation between them: so
    DeconvNet's and SegNet's authors began. Where the stages take other than 3 channels, the first convolution is
    adapted. Raises ValueError where the tensors are of another kind, width or depth.
    """
    plain = not any(name.endswith("running_mean") for name in state_dict)
    layers = [layer for stage in stages for layer in (*stage, nn.Identity())]  # torchvision numbers the poolings too
    features = nn.Sequential(*(layer for layer in layers if not (plain and isinstance(layer, nn.BatchNorm2d))))
    tensors = {name: value for name, value in state_dict.items() if name.startswith("features.")}
    if "features.0.weight" in tensors:
        tensors["features.0.weight"] = adapt(tensors["features.0.weight"], features[0].weight)
    try:
        nn.ModuleDict({"features": features}).load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{len(tensors)} tensors 'features.*' do not fit these VGG16 stages; expected the state dict of "
            "torchvision's vgg16, or of vgg16_bn for stages with batch normalisation, and a network of width 1.0: "
            f"{str(error)[:500]}"
        ) from error


def load_vgg16_classifier(fc6: nn.Conv2d, fc7: nn.Conv2d, state_dict: Mapping[str, Tensor]) -> None:
    """Copy the first two fully connected layers of torchvision's vgg16, (4096, 25088) and (4096, 4096).

    As convolutions they have weights (4096, 512, 7, 7) and (4096, 4096, 1, 1), in the same order. If the state dict
    holds VGG16's convolutions alone, without any `classifier.*`, both layers stay as they are and a line is printed.
    Raises ValueError where one of `classifier.0` and `classifier.3` is missing or of another size.
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


def read_vgg16(weights: str, batch_norm: bool, width: float = 1.0) -> dict[str, Tensor] | None:
    """State dict of torchvision's vgg16 (or vgg16_bn): "imagenet", from the hub; "none", None; else from a file.

    The file is torchvision's or timm's (.pth or .safetensors), with or without the `classifier.*`, or a checkpoint of
    a training framework that holds it; nothing in it is run. With batch_norm a file of the plain vgg16 fits too.
    width: of the network that the file is for. Raises OSError when the hub cannot be reached, FileNotFoundError, or
    ValueError that names the file and says first what it holds.
    """
    if weights == "none":
        return None
    name = "vgg16_bn" if batch_norm else "vgg16"
    if weights == "imagenet":
        return _published(name)
    file = read_weights(Path(weights))
    tensors = _torchvisions_names(file)
    if batch_norm and not any(key.endswith("running_mean") for key in tensors):
        name = "vgg16"
    if problems := _problems(tensors, name == "vgg16_bn", width):
        raise ValueError(f"{file}. It does not hold the weights of torchvision's {name}: {problems}")
    return tensors


def _published(name: str) -> dict[str, Tensor]:
    from torchvision import models  # imported here: it takes two seconds

    from kit.models.hub import OFFLINE, check_reachable

    published = models.get_model_weights(name).IMAGENET1K_V1
    files = "vgg16_bn or vgg16" if name == "vgg16_bn" else "vgg16"
    offline = OFFLINE.format(
        weights="imagenet", encoder=name, file=f"the state dict of torchvision's {files}, or its convolutions alone"
    )
    if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name).is_file():
        check_reachable(published.url, offline)
    try:
        return published.get_state_dict(check_hash=True, weights_only=True)
    except OSError as error:
        raise OSError(offline) from error


def _torchvisions_names(file: WeightFile) -> dict[str, Tensor]:
    """The tensors of VGG16 in a file, under torchvision's names, without what leads up to "features.0.weight"."""
    first = next((name for name in file.tensors if name.endswith("features.0.weight")), "")
    lead = first.removesuffix("features.0.weight")
    tensors = {name[len(lead) :]: value for name, value in file.tensors.items() if name.startswith(lead)}
    for theirs, ours in TIMM_NAMES.items():
        tensors = {
            ours + name.removeprefix(theirs) if name.startswith(theirs) else name: value
            for name, value in tensors.items()
        }
    return {name: value for name, value in tensors.items() if name.startswith(("features.", "classifier."))}


def _problems(tensors: Mapping[str, Tensor], batch_norm: bool, width: float) -> str:
    """How the tensors differ in name or number of values from VGG16's, "" if they do not."""
    with torch.device("meta"):  # a network without values
        stages = vgg16_stages(batch_norm=batch_norm, width=width)
    layers = nn.Sequential(*(layer for stage in stages for layer in (*stage, nn.Identity())))
    sizes = {f"features.{name}": value.numel() for name, value in layers.state_dict().items()}
    deepest, connected = scaled((WIDTHS[-1], FULLY_CONNECTED), width)
    if any(name.startswith("classifier.") for name in tensors):
        sizes |= {"classifier.0.weight": 49 * deepest * connected, "classifier.0.bias": connected}
        sizes |= {"classifier.3.weight": connected**2, "classifier.3.bias": connected}
    counted = {name for name in sizes if not name.endswith("num_batches_tracked")}  # old files have none
    missing = [name for name in counted if name not in tensors]
    # the first convolution may be of any number of channels
    other = [name for name in counted & tensors.keys() - {"features.0.weight"} if tensors[name].numel() != sizes[name]]
    extra = [name for name in tensors if name.startswith("features.") and name not in sizes]
    found = (("missing", missing), ("of another size", other), ("too many", extra))
    told = [f"{len(names)} tensors are {what} ({', '.join(sorted(names)[:3])})" for what, names in found if names]
    return "; ".join(told)
