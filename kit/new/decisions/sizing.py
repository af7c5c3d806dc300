"""How large images reach the network, and how long it is trained: by the images and the device."""

import math
from collections import Counter
from dataclasses import dataclass

LARGE_OBJECT = 1 / 3  # of a crop's side, from which on a crop shows too little of an object
STRIDE = 32  # most encoders halve five times
CPU_PIXELS, CPU_WORK = 256 * 384, 5e8  # of an image at the network's size; of all images of a training
GPU_WORK = 4e10
FEWEST, MOST = 8, 60  # epochs
SAME_RATIO = 1.25  # of the sides' ratios, up to which images may be stretched to one size
SEVERAL_SIZES = 3.0  # of the images' areas, from which on they keep their scale and are cropped


@dataclass(frozen=True)
class Device:
    """kind: "cpu" or "cuda"; memory in GB of one GPU."""

    kind: str
    memory: float = 0.0
    name: str = ""

    @property
    def pixels(self) -> int:
        """The most pixels of an image at the network's size."""
        if self.kind == "cpu":
            return CPU_PIXELS
        return 512 * 512 if self.memory < 10 else 768 * 768 if self.memory < 20 else 1024 * 1024

    @property
    def work(self) -> float:
        """The pixels that all images of a training have together."""
        return CPU_WORK if self.kind == "cpu" else GPU_WORK

    def __str__(self) -> str:
        return f"a {self.name} of {self.memory:.0f} GB" if self.kind == "cuda" else "a CPU"


@dataclass(frozen=True)
class Sizing:
    """size: (height, width) at the network, None: each image's own. crop: of training, and the tile of prediction.

    crops: how often an epoch takes each image, each time another crop.
    """

    size: tuple[int, int] | None
    keep_ratio: bool
    crop: tuple[int, int] | None
    batch_size: int
    epochs: int
    reasons: tuple[str, ...]
    crops: int = 1


def device_of(name: str) -> Device:
    """The device that training would use: "auto", "cpu", "cuda", as the recipe's --device."""
    import torch

    if name == "cpu" or not torch.cuda.is_available():
        return Device("cpu")
    facts = torch.cuda.get_device_properties(0)
    return Device("cuda", facts.total_memory / 2**30, facts.name)


def sizing_of(shapes: Counter, n: int, device: Device, is_upright: bool) -> Sizing:
    """Decide for n training images of `shapes` (height, width).

    is_upright: photographs, in which a thing is large where the image is; else a scale that is the same in all.
    """
    sizes = sorted(shapes.elements(), key=lambda size: size[0] * size[1])
    middle = sizes[len(sizes) // 2]
    size, keep_ratio, crop, why = _size_of(sizes, middle, device, is_upright)
    pixels = math.prod(crop or size)
    batch = batch_of(pixels, n, device)
    epochs = int(min(MOST, max(FEWEST, device.work / (n * pixels))))
    reasons = (
        why,
        f"{epochs} epochs in batches of {batch}: {n * epochs:,} images of {math.isqrt(pixels)}² pixels, for {device}",
    )
    return Sizing(size, keep_ratio, crop, batch, epochs, reasons)


def of_objects(shapes: Counter, n: int, device: Device, object_side: float | None) -> Sizing | None:
    """Decide for n images of objects that are told apart: crops at the images' own scale.

    object_side: the square root of the usual area of an object, in pixels. None where objects are too large for crops,
    or unknown.
    """
    sizes = sorted(shapes.elements(), key=lambda size: size[0] * size[1])
    side = _crop_side(sizes, device)
    if object_side is None or object_side > LARGE_OBJECT * side:
        return None
    batch, every = batch_of(side * side, n, device), device.work / (n * side * side)  # crops of each image
    crops = max(1, math.ceil(every / MOST))
    epochs = int(min(MOST, max(FEWEST, every / crops)))
    reasons = (
        f"images of {_shown(sizes)} keep their scale, because shrinking joins objects; training sees crops of "
        f"{side}×{side}, prediction goes by overlapping tiles of that size; an object is about "
        f"{object_side:.0f}² pixels",
        f"{epochs} epochs of {n * crops:,} crops in batches of {batch}, for {device}",
    )
    return Sizing(None, False, (side, side), batch, epochs, reasons, crops)


def _size_of(sizes: list, middle: tuple[int, int], device: Device, is_upright: bool) -> tuple:
    """Size, keep_ratio, crop and the reason."""
    areas = [height * width for height, width in sizes]
    ratios = sorted(width / height for height, width in sizes)
    shown = _shown(sizes)
    if not is_upright and areas[-1] > SEVERAL_SIZES * areas[0] and areas[0] >= 96 * 96:
        side = _crop_side(sizes, device)
        why = (
            f"sizes from {shown}: the scale of each image is kept, training sees crops of {side}×{side}, and "
            "prediction goes by overlapping tiles of that size"
        )
        return None, False, (side, side), why
    factor = min(1.0, math.sqrt(device.pixels / (middle[0] * middle[1])))
    size = tuple(_rounded(side * factor) if factor < 1 else math.ceil(side / STRIDE) * STRIDE for side in middle)
    keep_ratio = ratios[-1] > SAME_RATIO * ratios[0]
    if keep_ratio:
        side = _rounded(math.sqrt(size[0] * size[1]))
        size = (side, side)
    if sizes[0] == sizes[-1] == size:
        return size, False, None, f"images of {shown} reach the network as they are: multiples of {STRIDE}"
    how = "padded with their ratio kept" if keep_ratio else "stretched"
    limit = f"at most {math.isqrt(device.pixels)}² pixels on this device; " if factor < 1 else ""
    return size, keep_ratio, None, f"images of {shown} are {how} to {size[0]}×{size[1]}: {limit}multiples of {STRIDE}"


def _crop_side(sizes: list, device: Device) -> int:
    """The side of crops: as the small images, and as the device can take. sizes: by rising area."""
    height, width = sizes[len(sizes) // 20]
    return _rounded(min(math.sqrt(device.pixels), max(128, math.sqrt(height * width))))


def _shown(sizes: list) -> str:
    """The smallest and the largest size in words."""
    (height, width), (most_height, most_width) = sizes[0], sizes[-1]
    return f"{height}×{width}" + f" to {most_height}×{most_width}" * (sizes[0] != sizes[-1])


def _rounded(side: float) -> int:
    """The nearest multiple of STRIDE."""
    return max(1, round(side / STRIDE)) * STRIDE


def batch_of(pixels: int, n: int, device: Device) -> int:
    """Images a step: a power of two, at most an eighth of the images."""
    most = 16 if device.kind == "cpu" and pixels <= 160 * 160 else 8
    if device.kind == "cuda":
        most = int(max(2, min(32, device.memory * 700_000 / pixels)))
    return 2 ** int(math.log2(max(2, min(most, n // 8))))
