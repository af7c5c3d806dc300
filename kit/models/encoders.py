"""smp's encoders and their weights: from an installed package, the hub, a file, or none. All networks with an encoder
are built here.

The architectures are in kit.models.pretrained. smp's classes pass options that they do not know to timm or drop them
silently, so only the arguments named here and there reach them.

in_channels other than 3: the first convolution of pretrained weights is adapted, as smp and timm do. For 1 channel it
is the sum over the three, so an image of one channel gives the same as its repetition as RGB, normalised alike. For C
channels it repeats the three in turn, times 3 / C. A file is adapted in the same way (kit.models.weight_files.adapt).

"imagenet" is looked for in installed packages first (kit.models.packages), then on the hub. A line says which package
and file were taken.

Networks with pretrained weights carry `.mean` and `.std`, RGB in 0..1: the images that their weights expect. With
weights "none" they have neither. `statistics` gives both without the network. They also carry `.package`: the package
and file of their weights in words, "" where these are not of a package.
"""

import functools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from kit.models.hub import check_encoder, check_hub, known_weights, offline, statistics
from kit.models.inputs import PadToStride, check_numbers
from kit.models.packages import FIRST, Packaged, packaged_weights, timm_names
from kit.models.weight_files import Fit, WeightFile, adapt, fit, read_weights

__all__ = ["build", "check_encoder", "check_output", "encoder", "freeze_encoder", "load_encoder", "statistics"]


def encoder(name: str, weights: str | None, in_channels: int = 3, depth: int = 5) -> nn.Module:
    """smp's encoder alone: images (N, C, H, W) -> a list of depth + 1 feature maps, of strides 1, 2, 4 ... 2**depth.

    name, weights and errors are those of `kit.models.pretrained.unet`. H and W must be multiples of `.multiple`, which
    is 2**depth, or more for an encoder of one size (some of timm's). `.out_channels` lists the maps' channels. The
    first map is the images themselves (in VGG, its first block); that of stride 2 has no channels in transformers and
    ConvNeXt, which start at stride 4.
    """
    check_numbers(1, in_channels)

    def construct(encoder_weights: str | bool | None, **any_size: bool) -> nn.Module:
        return smp.encoders.get_encoder(name, in_channels, depth, encoder_weights, **any_size)

    net, fixed = build(construct, "encoder", name, weights)
    check_output(net, torch.zeros(1, in_channels, fixed or 64, fixed or 64), "encoder", name)
    net.multiple, net.in_channels = math.lcm(2**depth, fixed or 1), in_channels
    return net


def build(
    construct: Callable[..., nn.Module], architecture: str, encoder: str, weights: str | None
) -> tuple[nn.Module, int | None]:
    """construct(encoder_weights=..., timm's option for any size) -> the network, and its image size if it has one.

    The network gets `.mean`, `.std` and `.package` where weights are loaded. Raises the errors of
    `kit.models.pretrained.unet`.
    """
    check_encoder(encoder, weights)
    named = encoder.startswith("tu-")
    packaged = packaged_weights(encoder, weights)
    from_hub = weights in known_weights(encoder) and packaged is None
    if from_hub:
        check_hub(encoder, weights)
    cfg = timm.get_pretrained_cfg(encoder[3:]) if named else None
    fixed = cfg.input_size[1] if cfg and cfg.fixed_input_size else None
    theirs = (True if named else weights) if from_hub else None
    try:
        net = _for_any_size(partial(construct, encoder_weights=theirs), fixed) if fixed else None
        fixed = None if net is not None else fixed
        net = construct(encoder_weights=theirs) if net is None else net
    except OSError as error:
        raise OSError(offline(encoder, weights)) from error
    except Exception as error:  # smp and timm raise half a dozen types for options that do not go together
        raise ValueError(_UNFIT.format(what=architecture, encoder=encoder, why=_first(error))) from error
    if packaged:
        _load_packaged(getattr(net, "encoder", net), packaged, encoder)
    elif not from_hub and weights not in {"none", None}:
        load_encoder(getattr(net, "encoder", net), Path(weights), encoder)
    if found := statistics(encoder, weights):
        net.mean, net.std = found
        net.package = str(packaged or "")
    return net, fixed


def _for_any_size(construct: Callable[..., nn.Module], fixed: int) -> nn.Module | None:
    """The network with timm's option for images of any size, which has two names; None where the encoder has none.

    fixed: the side of the encoder's own size. The network is tried at another one: before timm 1.0.31 Swin takes the
    second name alone, and it, as others, drops an option that it does not know without a word.
    """
    for option in ({"dynamic_img_size": True}, {"strict_img_size": False}):
        try:
            net = construct(**option)
        except TypeError as error:
            if next(iter(option)) not in str(error):
                raise
            continue
        if _takes_another(getattr(net, "encoder", net), fixed):
            return net
    return None


def _takes_another(encoder: nn.Module, fixed: int) -> bool:
    """Whether it takes a small square image that is not of the side `fixed`."""
    stride, training = encoder.output_stride, encoder.training
    side = math.ceil(64 / stride) * stride
    images = torch.zeros(1, encoder.out_channels[0], *[side + stride * (side == fixed)] * 2)
    try:
        with torch.no_grad():
            encoder.eval()(images)
    except Exception:  # each network has its own way to refuse
        return False
    finally:
        encoder.train(training)
    return True


def check_output(net: nn.Module, images: Tensor, architecture: str, encoder: str) -> Tensor | list[Tensor]:
    """Run `net` once and return its output: ValueError if it does not take these images.

    Parameters that no output needs stop training: the stages below a depth under 5, EfficientNet's last convolution.
    They would have no gradient, and DistributedDataParallel would wait for it forever.
    """
    training = net.training
    net.eval()
    with torch.enable_grad():
        try:
            outputs = net(images)
        except Exception as error:
            raise ValueError(_UNFIT.format(what=architecture, encoder=encoder, why=_first(error))) from error
        parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        if not torch.is_inference_mode_enabled():
            total = sum(output.sum() for output in outputs)
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.requires_grad_(gradient is not None)
    net.train(training)
    return outputs


def load_encoder(encoder: nn.Module, path: Path, name: str) -> None:
    """Load an encoder's weights from a file: see kit.models.weight_files for what may be in it.

    name: of the encoder, for messages and to know a tu- encoder's whole network. Tensors of other parts, as a
    classifier, are ignored, and a line says so. Raises FileNotFoundError, or ValueError that says first what the file
    holds and then what does not fit.
    """
    file = read_weights(path)
    found = _load(encoder, file, name)
    if found.others:
        shown = ", ".join(found.others[:4]) + (" ..." if len(found.others) > 4 else "")
        key = f", read at {file.key!r}" if file.key else ""
        print(
            f"{path}, {file.kind}{key}: {len(found.names)} tensors loaded into the encoder {name}; {len(found.others)} "
            f"of other parts ignored ({shown})",
            flush=True,
        )


def _load_packaged(encoder: nn.Module, packaged: Packaged, name: str) -> None:
    """Load an encoder's weights from the file of a package, and say so.

    Raises ValueError unless the file has all tensors of timm's whole network and no others.
    """
    file = read_weights(packaged.path)
    tensors = timm_names(file.tensors)
    if other := sorted(tensors.keys() ^ _whole_names(f"tu-{packaged.network}")):
        raise ValueError(
            f"{file}. Expected those of timm's {packaged.network}, of which it lacks or has beside them {len(other)} "
            f"({', '.join(other[:4])}): kit does not know this version of the package {packaged.package}"
        )
    _load(encoder, file._replace(tensors=tensors), name)
    _say_once(f"encoder {name}: weights of the installed package {packaged}; the hub was not asked")


def _load(encoder: nn.Module, file: WeightFile, name: str) -> Fit:
    """Load an encoder's weights from the tensors of a file. Returns how these fit.

    Raises ValueError that says first what the file holds and then what does not fit.
    """
    wanted = encoder.state_dict()
    if FIRST in file.tensors and not any(ours.endswith(FIRST) for ours in wanted):
        file = file._replace(tensors=timm_names(file.tensors))
    found = fit(wanted, file, _whole_names(name))
    if found.missing or found.shapes or found.deeper:
        problems = "; ".join(
            f"{len(names)} {what} ({', '.join(names[:3])})"
            for what, names in (
                ("tensors are missing", found.missing),
                ("have another shape", found.shapes),
                ("more belong to a deeper network", found.deeper),
            )
            if names
        )
        raise ValueError(f"{file}. It does not fit the encoder {name!r}, of {len(wanted)} tensors: {problems}")
    tensors = {ours: adapt(file.tensors[theirs], wanted[ours]) for ours, theirs in found.names.items()}
    kept = {ours: value for ours, value in wanted.items() if ours not in tensors}  # only counts of batches
    nn.Module.load_state_dict(encoder, kept | tensors)  # not smp's own, which renames once more
    return found


@functools.cache  # a process may build the same network several times
def _say_once(line: str) -> None:
    print(line, flush=True)


def freeze_encoder(model: PadToStride) -> None:
    """Stop training the encoder: no gradients, and its batch normalisation keeps its statistics."""
    model.net.freeze_encoder()


def _whole_names(name: str) -> set[str]:
    """The names of timm's whole network, of which smp's encoder may keep the first stages alone."""
    if not name.startswith("tu-"):
        return set()
    try:
        with torch.device("meta"):
            return set(timm.create_model(name[3:]).state_dict())
    except (NotImplementedError, RuntimeError):  # a few read values while they are built
        return set(timm.create_model(name[3:]).state_dict())


def _first(error: Exception) -> str:
    return str(error.args[0] if error.args and error.args[0] else type(error).__name__)


_UNFIT = "{what} does not work with the encoder {encoder!r} and these options: {why}"
