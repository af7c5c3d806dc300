"""One fold's network as ONNX: for programs that have no PyTorch. Checked against PyTorch before the file is left.

    input   "images" f32 (N, C, H, W): pixels as they are in the files, 0..255 of u8 images; normalising is in the graph
    output  "logits" f32 (N, K, H, W). A sigmoid of each channel makes probabilities of one class, of classes that may
            overlap, and of objects and their borders (2 channels); else a softmax over the channels. metadata_props
            says it: `activation` and `outputs`

Resizing, views, tiles, the mean over folds and the rule are not in the graph; metadata_props says what they are.
Networks that find objects one by one (`Rule.detected`) give no map of logits and are refused.

Which exporter? torch.export's, not the older one that traces: tracing has no max-unpooling (SegNet, DeconvNet), bakes
in sizes that Python computes, and is deprecated. N, H and W may be any; H and W multiples of the number, and at least
the smallest, that metadata_props names, because padding to these is left out. Networks that pool to a grid of fixed
size (PSPNet, UPerNet), that mirror by the size (a valid UNet) or that embed positions (DPT) need a fixed H and W.
"""

import contextlib
import copy
import functools
import io
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

import kit
from kit.data.normalise import TOPS, Normalisation
from kit.models.deconvnet import DeconvNet
from kit.prediction.saved import SavedRun, load_network, read_ruled
from kit.system.files import write_atomic

STRIDE, LIMIT = 32, 1e-4  # of encoders; the largest difference allowed, relative to the largest logit
GRIDS, TRIES = ((0, 1), (2, 0), (1, 3)), 10  # sizes that are tried, in strides above the smallest; batches of each
LARGEST = 1e30  # the difference of arrays of other shapes
DTYPES = {"uint8": torch.uint8, "uint16": torch.uint16, "float32": torch.float32}


@dataclass(frozen=True)
class Difference:
    """The largest difference between ONNX and PyTorch on images of this shape; relative: to the largest logit."""

    shape: tuple[int, ...]
    absolute: float
    relative: float

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        return f"images of {shape}: logits differ by at most {self.absolute:.2g} ({self.relative:.1g} of the largest)"


def export(run: Path, fold: int, out: Path, size: tuple[int, int] | None = None) -> list[Difference]:
    """Write the network of a fold as ONNX. size: a fixed (height, width); None: any multiple of the network's stride.

    It executes the code of the run. Raises ImportError where packages are missing; ValueError where the network cannot
    be exported, or where its logits are not PyTorch's: then no file is left.
    """
    import onnx  # noqa: F401 (before the run is loaded, which takes seconds)
    import onnxruntime  # noqa: F401
    import onnxscript  # noqa: F401

    saved = read_ruled(run)
    if saved.rule.detected:
        raise ValueError(f"the network of {run} finds objects; ONNX files are of networks that give a map of logits")
    network = load_network(run, fold, saved)
    multiple = stride_of(network)
    if size and (size[0] % multiple or size[1] % multiple):
        raise ValueError(f"a size of {size[0]} x {size[1]}: expected multiples of {multiple}, the network's stride")
    normalise = saved.frame.normalise
    whole = Whole(with_constant_padding(network), normalise, DTYPES[saved.dtype])
    model = to_onnx(whole, len(saved.channels), multiple, size)
    content = _with_facts(model, saved, fold, (multiple, smallest_of(network)), size)
    found = differences(
        content, lambda batch: network(normalise(batch)), _draws(saved, multiple, smallest_of(network), size)
    )
    if worst := [one for one in found if not one.relative <= LIMIT]:
        raise ValueError(
            f"ONNX does not compute what PyTorch computes, so {out} is not written: {worst[0]}, and {LIMIT} of the "
            f"largest is allowed. {ADVICE}"
        )
    write_atomic(out, content)
    return found


ADVICE = "Networks that compute with the size of images need one fixed height and width: give it"


class Whole(nn.Module):
    """A network with its normalisation: images as they are in the files, f32 -> logits."""

    def __init__(self, network: nn.Module, normalise: Normalisation, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.eval()
        for name in ("mean", "std"):
            values = torch.tensor(getattr(normalise, name)) * TOPS[dtype]
            self.register_buffer(name, values.view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """images f32 (N, C, H, W) -> logits (N, K, H, W)."""
        return self.network((images - self.mean) / self.std)


def stride_of(network: nn.Module) -> int:
    """A number of which height and width are to be multiples, so that the network pads nothing."""
    strides = [module.stride for module in network.modules() if hasattr(module, "smallest")]
    return math.lcm(STRIDE, *strides)


def smallest_of(network: nn.Module) -> int:
    """The least height and width: below it the network enlarges images, which is left out of the graph."""
    least = [224 if isinstance(module, DeconvNet) else getattr(module, "smallest", 0) for module in network.modules()]
    multiple = stride_of(network)
    return math.ceil(max(2 * STRIDE, *least) / multiple) * multiple


def with_constant_padding(network: nn.Module) -> nn.Module:
    """A copy of the network whose convolutions of TensorFlow's kind pad by constants.

    timm computes their padding from the size of the image, and the exporter takes many minutes over these formulas. Of
    sides that are multiples of the stride s it is max((k - 1) d + 1 - s, 0) for kernels k of dilation d, the smaller
    half of it left and above.
    """
    copied = copy.deepcopy(network)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Conv2dSame):
                setattr(parent, name, _padded_by_constants(child))
    return copied


def _padded_by_constants(conv: Conv2dSame) -> nn.Sequential:
    sizes = zip(conv.kernel_size, conv.dilation, conv.stride, strict=True)
    down, across = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, dilation, stride in sizes)
    pad = nn.ZeroPad2d((across // 2, across - across // 2, down // 2, down - down // 2))
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    plain.load_state_dict(conv.state_dict())
    return nn.Sequential(pad, plain)


def to_onnx(whole: nn.Module, channels: int, multiple: int, size: tuple[int, int] | None) -> "onnx.ModelProto":  # noqa: F821
    """The graph. Raises ValueError where the exporter cannot follow the network."""
    least = smallest_of(whole)
    height, width = size or (least + 2 * multiple, least + 3 * multiple)
    axes = {0: torch.export.Dim("batch")}
    if size is None:  # multiples of the stride, so that no layer's size depends on a remainder
        axes |= {2: multiple * torch.export.Dim("height", min=2), 3: multiple * torch.export.Dim("width", min=2)}
    try:
        with _quiet(), torch.inference_mode(False), torch.no_grad():
            program = torch.onnx.export(
                whole,
                (torch.zeros(2, channels, height, width),),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=(axes,),
            )
        return program.model_proto
    except Exception as error:  # the exporter has a dozen types of its own, and the user's code any
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise ValueError(f"the network cannot be exported ({type(error).__name__}: {reason:.300}). {ADVICE}") from error


def differences(
    content: bytes, expected_of: Callable[[Tensor], Tensor], draws: Sequence[Iterable[Tensor]]
) -> list[Difference]:
    """What ONNX's logits differ from expected_of(images); draws: of each shape several batches of random images.

    Of each shape the first batch counts that is within LIMIT, or the best. For in a network with max-unpooling the last
    bit decides now and then which pixel is the maximum: PyTorch then differs from itself by some percent when it runs
    the same images in another memory layout. A wrong graph agrees on no batch.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised
    session, found = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]), []
    for batches in draws:
        best = Difference((), math.inf, math.inf)
        for batch in batches:
            best = min(best, _difference(session, expected_of, batch), key=lambda one: one.relative)
            if best.relative <= LIMIT:
                break
        found.append(best)
    return found


def _difference(session: object, expected_of: Callable[[Tensor], Tensor], batch: Tensor) -> Difference:
    with torch.inference_mode():
        expected = expected_of(batch).numpy()
    try:
        (logits,) = session.run(None, {"images": batch.float().numpy()})
    except Exception as error:  # onnxruntime's errors have no base but Exception
        raise ValueError(
            f"ONNX fails on images of {' x '.join(map(str, batch.shape))}: {str(error).strip():.200}. {ADVICE}"
        ) from error
    absolute = float(np.abs(logits - expected).max()) if logits.shape == expected.shape else LARGEST
    return Difference(tuple(batch.shape), absolute, absolute / max(float(np.abs(expected).max()), 1e-30))


def _draws(saved: SavedRun, multiple: int, least: int, size: tuple[int, int] | None) -> list[Iterator[Tensor]]:
    """Batches of 1, 2 and 3 random images in the run's dtype, of three sizes; TRIES of each."""
    sizes = [size] * 3 if size else [(least + rows * multiple, least + columns * multiple) for rows, columns in GRIDS]
    shapes = [(count, len(saved.channels), *one) for count, one in enumerate(sizes, 1)]
    return [map(functools.partial(_random_images, saved, shape), range(TRIES)) for shape in shapes]


def _random_images(saved: SavedRun, shape: tuple[int, ...], seed: int) -> Tensor:
    """Noise with the mean and deviation of the run's images, in their dtype."""
    mean, std = (np.array(one)[:, None, None] for one in (saved.frame.normalise.mean, saved.frame.normalise.std))
    values, top = mean + std * np.random.default_rng(seed).normal(size=shape), TOPS[DTYPES[saved.dtype]]
    pixels = (values * top).clip(0, top) if top > 1 else values
    return torch.from_numpy(pixels.astype(saved.dtype))


def _with_facts(model: "onnx.ModelProto", saved: SavedRun, fold: int, sides: tuple[int, int], size: object) -> bytes:  # noqa: F821
    """The file, with what a program must know in metadata_props: JSON where it is no plain text."""
    multiple, smallest = sides
    count = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    activation, outputs = meaning_of(saved, count)
    facts = {
        "kit": kit.__version__,
        "recipe": saved.name,
        "fold": fold,
        "task": saved.task,
        "classes": saved.classes,
        "channels": saved.channels,
        "pixels": f"float32, as in files of {saved.dtype}; normalising is in the graph",
        "activation": activation,
        "outputs": outputs,
        "multiple": multiple,
        "smallest": smallest,
        "size": size or "any multiple of `multiple`",
        "resizing": repr(saved.frame.resizing),
        "tile": saved.frame.tile,
        "rule": repr(saved.rule),
    }
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
    return model.SerializeToString()


def meaning_of(saved: SavedRun, count: int) -> tuple[str, tuple[str, ...]]:
    """How `count` channels of logits become probabilities, and of what each then is."""
    foreground = saved.classes[-1]
    if saved.rule.border:
        return "sigmoid of each channel", (foreground, "border between objects")
    if saved.rule.separate:
        return "sigmoid of each channel", saved.classes
    return ("sigmoid of each channel", (foreground,)) if count == 1 else ("softmax over channels", saved.classes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the exporter says of itself: warnings, lines of logs and of progress."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
