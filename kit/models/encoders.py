"""smp's encoders and their weights: from the hub, from a file, or none; and what every network with one shares.

The architectures stand in pretrained.py. smp's classes hand options they do not know to timm or lose them in
silence, so nothing but what is named here and there gets through.
"""

import math
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

import huggingface_hub as hub
import safetensors.torch
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from kit.models.padding import pad_to_stride


class PadToStride(nn.Module):
    """Runs `net` on pictures of any size: edges repeated up to a multiple of `stride`, logits cropped back exactly.

    Pictures are enlarged to `smallest` in the same way. In training, raises ValueError where a batch leaves batch
    normalisation one value a channel.
    """

    def __init__(self, net: nn.Module, stride: int = 32, smallest: int = 0) -> None:
        super().__init__()
        self.net, self.stride, self.smallest = net, stride, smallest

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        height, width = images.shape[2:]
        try:
            logits = self.net(pad_to_stride(images, self.stride, self.smallest))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ValueError(_ONE_VALUE.format(count=len(images), height=height, width=width)) from error
        return logits[:, :, :height, :width]


_ONE_VALUE = (
    "a batch of {count} picture of {height} x {width} leaves batch normalisation one value a channel, which has no "
    "variance. Train with 2 pictures a batch or more (and drop a last batch of 1), or, unless the network pools whole "
    "pictures, with larger ones"
)


def encoder(name: str, weights: str | None, in_channels: int = 3, depth: int = 5) -> nn.Module:
    """smp's encoder alone: images (N, C, H, W) -> a list of depth + 1 feature maps, of strides 1, 2, 4 ... 2**depth.

    name, weights and errors are those of `kit.models.pretrained.unet`. H and W must be multiples of `.multiple`, which
    is 2**depth, or more for an encoder of one size, as some of timm's are. `.out_channels` lists the maps' channels.
    The first map is the images themselves (in VGG, its first block); that of stride 2 has no channels in transformers
    and ConvNeXt, which start at stride 4.
    """

    def construct(encoder_weights: str | bool | None, **any_size: bool) -> nn.Module:
        return smp.encoders.get_encoder(name, in_channels, depth, encoder_weights, **any_size)

    net, fixed = build(construct, "encoder", name, weights)
    check(net, torch.zeros(1, in_channels, fixed or 64, fixed or 64), "encoder", name)
    net.multiple = math.lcm(2**depth, fixed or 1)
    return net


def build(
    construct: Callable[..., nn.Module], architecture: str, encoder: str, weights: str | None
) -> tuple[nn.Module, int | None]:
    """construct(encoder_weights=..., timm's option for any size) -> the network, and its picture size if it has one.

    Raises what `kit.models.pretrained.unet` says.
    """
    check_name(encoder)
    named = encoder.startswith("tu-")
    settings = {} if named else smp.encoders.encoders[encoder]["pretrained_settings"]
    from_hub = weights == "imagenet" or weights in settings
    if from_hub:
        _check_hub(encoder, weights)
    cfg = timm.get_pretrained_cfg(encoder[3:]) if named else None
    fixed = cfg.input_size[1] if cfg and cfg.fixed_input_size else None
    theirs = (True if named else weights) if from_hub else None
    try:
        try:
            net = construct(encoder_weights=theirs, **({"dynamic_img_size": True} if fixed else {}))
            fixed = None
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
            net = construct(encoder_weights=theirs)
    except OSError as error:
        raise OSError(_OFFLINE.format(encoder=encoder, weights=weights)) from error
    except Exception as error:  # of what does not go together smp and timm raise half a dozen types
        raise ValueError(_UNFIT.format(what=architecture, encoder=encoder, why=_told(error))) from error
    if not from_hub and weights not in {"none", None}:
        load_encoder(getattr(net, "encoder", net), Path(weights))
    return net, fixed


def check_name(encoder: str) -> None:
    """Raise ValueError with the nearest names if neither smp nor timm has this encoder."""
    if encoder.startswith("tu-") and encoder[3:].split(".")[0] in timm.list_models():  # .tag names the weights
        return
    if encoder in smp.encoders.get_encoder_names():
        return
    every = [*smp.encoders.get_encoder_names(), *(f"tu-{model}" for model in timm.list_models())]
    near = ", ".join(get_close_matches(encoder, every, n=4)) or "none at all alike"
    raise ValueError(f"encoder {encoder!r}: smp has none of that name (timm's are called tu-NAME). Nearest: {near}")


def check(net: nn.Module, images: Tensor, architecture: str, encoder: str) -> Tensor | list[Tensor]:
    """Run `net` once and return what comes out: ValueError if it does not take these images.

    Parameters that no output needs stop training: the stages below a depth under 5, EfficientNet's last convolution.
    They would have no gradient, for which DistributedDataParallel waits in vain.
    """
    training = net.training
    net.eval()
    with torch.enable_grad():
        try:
            outputs = net(images)
        except Exception as error:
            raise ValueError(_UNFIT.format(what=architecture, encoder=encoder, why=_told(error))) from error
        parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if not torch.is_inference_mode_enabled():
            total = sum(output.sum() for output in outputs)
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.requires_grad_(gradient is not None)
    net.train(training)
    return outputs


def _check_hub(encoder: str, weights: str) -> None:
    """Ask the hub once, where its own retries take 23 s (smp's encoders) or 47 s (timm's) to find no network."""
    if encoder.startswith("tu-"):
        cfg = timm.get_pretrained_cfg(encoder[3:])
        repo, revision = cfg.hf_hub_id if cfg else None, None
    else:
        settings = smp.encoders.encoders[encoder]["pretrained_settings"].get(weights, {})
        repo, revision = settings.get("repo_id"), settings.get("revision")
    if repo is None or isinstance(hub.try_to_load_from_cache(repo, "model.safetensors", revision=revision), str):
        return
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(repo, "config.json", revision=revision), timeout=10)
    except hub.errors.HfHubHTTPError:
        pass  # it answers; the download will tell what is wrong
    except Exception as error:  # whichever HTTP library the hub's client is built on has its own types
        raise OSError(_OFFLINE.format(encoder=encoder, weights=weights)) from error


def _told(error: Exception) -> str:
    return str(error.args[0] if error.args and error.args[0] else type(error).__name__)


_UNFIT = "{what} does not work with the encoder {encoder!r} and these options: {why}"

_OFFLINE = (
    "the weights {weights!r} of {encoder!r} are not on this machine and the hub cannot be reached. Either connect "
    "once, or give a file with --encoder-weights FILE (a state dict of the encoder), or train from scratch with "
    "--encoder-weights none"
)


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load an encoder's state dict from a .safetensors or .pth file; nothing in it is run.

    Raises FileNotFoundError, or ValueError naming the file when it is no state dict or not this encoder's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--encoder-weights {path}: no such file; expected 'imagenet', 'none' or a file")
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        encoder.load_state_dict(tensors)
    except Exception as error:  # of a damaged file torch raises whatever it stumbles on, a dozen types
        told = str(error)[:500] or "cut short"
        raise ValueError(f"{path} does not hold the weights of this encoder: {told}") from error


def freeze_encoder(model: PadToStride) -> None:
    """Stop training the encoder: no gradients, and its batch normalisation keeps its statistics."""
    model.net.freeze_encoder()
