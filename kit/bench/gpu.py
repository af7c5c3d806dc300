"""A real network on a GPU: kit's prediction against the bare forward pass and a plain script; its training."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from kit.bench import gpu_training
from kit.bench.cars import FILES, Cars, car_logits, competition
from kit.bench.idioms import where_idiom
from kit.bench.measure import Row, rate
from kit.bench.prediction import GPU, frame, predict_to_csv
from kit.models.pretrained import unet
from kit.prediction import TTA, VIEWS, Predictor
from kit.prediction.predictor import images_at_once
from kit.submission.lint import lint
from kit.system.files import raise_all
from kit.training.loaders import default_workers
from kit.training.loop import best_dtype

HFLIP = TTA(VIEWS["hflip"])
ROUNDS = 3


class CarFinder(nn.Module):
    """All the work of `net`, and a car whatever it finds: an untrained network's noise is no mask to encode."""

    def __init__(self, net: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("car", torch.from_numpy(car_logits(size)))

    def forward(self, images: Tensor) -> Tensor:
        """images (N, 3, H, W) -> logits (N, 1, H, W)."""
        return self.net(images).nan_to_num().clamp(-0.01, 0.01) + self.car


def rows(
    scratch: Path,
    results: Path,
    size: tuple[int, int] = (1024, 1024),
    count: int = 1000,
    batch: int = 16,
    device: str = "cuda",
) -> Iterator[Row]:
    """Prediction of `count` images at `size`; training on as many at half of it, in batches of `batch`."""
    if device == "cuda" and not torch.cuda.is_available():
        print("  no CUDA device: left out")
        return
    yield from _prediction(scratch, size, count, device)
    half = (size[0] // 2, size[1] // 2)
    yield from gpu_training.rows(scratch, half, count, batch, torch.device(device))


def _prediction(scratch: Path, size: tuple[int, int], count: int, device: str) -> Iterator[Row]:
    """U-Net on ResNet-34 at `size` with horizontal flips, from the JPEG to the row of a full-size RLE."""
    threads = default_workers(torch.device(device), None) or 1
    network = CarFinder(unet("resnet34", "none", num_classes=1), size)
    network = network.to(device, memory_format=torch.channels_last).eval()
    cars, few = Cars(scratch / "cars", count), Cars(scratch / "cars", min(count, 4 * FILES))

    dtype = torch.float32 if device == "cpu" else best_dtype(torch.device(device))
    predictor = Predictor([network], frame(size), HFLIP, dtype=dtype)

    def own(folder: str, images: Cars = cars) -> int:
        predict_to_csv(images, predictor, scratch / folder, threads)
        return len(images.ids)

    def bare(rounds: int = max(1, count // 16)) -> int:
        return _forward(network, size, device, rounds)

    # what a device does once, at its first batches, does not count
    bare(rounds=2)
    _plain(network, scratch / "cars", size, device, 2)
    own("warm", few)
    rates = [(rate(bare), rate(partial(own, f"run{number}"))) for number in range(ROUNDS)]
    problems = lint(scratch / "run0/submission.csv", competition(cars))
    raise_all([f"{one.where}: {one.what}" for one in problems], "problems in the CSV")
    alone, whole = np.median(rates, axis=0)
    plain = rate(partial(_plain, network, scratch / "cars", size, device, max(1, count // 10)))
    job = f"prediction of 1918×1280 by U-Net-ResNet-34 at {size[0]}×{size[1]}, flips, to CSV row"
    yield Row(job, f"{whole:.1f}/s", "the bare forward pass", f"{alone:.1f}/s", whole / alone, 0.9)
    yield Row(job, f"{whole:.1f}/s", "a plain script in float32", f"{plain:.1f}/s", whole / plain)


@torch.inference_mode()
def _forward(network: nn.Module, size: tuple[int, int], device: str, rounds: int) -> int:
    """The network alone, both views of a batch already on the device."""
    batch = images_at_once(HFLIP, size, GPU)
    images = torch.randn(2 * batch, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
    dtype = best_dtype(torch.device(device))
    for _ in range(rounds):
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            network(images)
    return rounds * batch


@torch.inference_mode()
def _plain(network: nn.Module, folder: Path, size: tuple[int, int], device: str, count: int) -> int:
    """What prediction scripts do: one image after the other, Pillow, floats, logits at full size, then the mask."""
    for number in range(count):
        photograph = Image.open(folder / f"{number % FILES}.jpg")
        small = np.asarray(photograph.resize(size[::-1], Image.BICUBIC), np.float32) / 255
        image = torch.from_numpy(small.transpose(2, 0, 1).copy())[None].to(device)
        logits = (network(image) + network(image.flip(3)).flip(3)) / 2
        full = F.interpolate(logits, photograph.size[::-1], mode="bilinear")
        where_idiom((torch.sigmoid(full)[0, 0] > 0.5).cpu().numpy().astype(np.uint8))
    return count
