"""A real network in training on a GPU: kit's whole epoch against the bare steps on one batch that is already there."""

import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from kit.bench.cars import Cars
from kit.bench.measure import Row, rate
from kit.data.augment import photo_augment
from kit.data.cache import ImageCache
from kit.data.normalise import IMAGENET
from kit.data.resize import Resizing
from kit.data.samples import SegmentationDataset, collate_samples
from kit.losses import bce_dice
from kit.models.pretrained import unet
from kit.training import EpochBatches, Settings, World, adamw, fit, new_state, supervised, warmup_cosine
from kit.training.loaders import default_workers, loading
from kit.training.loop import best_dtype

EPOCHS, ROUNDS = 4, 3  # the first epoch starts the workers and does what a device does once: it does not count


def rows(scratch: Path, size: tuple[int, int], count: int, batch: int, device: torch.device) -> Iterator[Row]:
    """U-Net on ResNet-34 and `count` images an epoch. kit's steps also clip gradients and average the weights."""
    dtype = torch.float32 if device.type == "cpu" else best_dtype(device)
    job = f"training of U-Net-ResNet-34 at {size[0]}×{size[1]}, batches of {batch}, from the cache, augmented"
    whole, waited = _epochs(_network(device), scratch, size, count, batch, dtype)
    bare = partial(_bare_steps, _network(device), size, batch, dtype)
    bare(2)
    alone = statistics.median(rate(partial(bare, max(1, count // batch))) for _ in range(ROUNDS))
    other = "the bare steps, a batch on the device"
    yield Row(job, f"{whole:.1f}/s, waits {waited:.1%}", other, f"{alone:.1f}/s", whole / alone)


def _network(device: torch.device) -> nn.Module:
    return unet("resnet34", "none", num_classes=1).to(device, memory_format=torch.channels_last)


def _epochs(
    network: nn.Module, scratch: Path, size: tuple[int, int], count: int, batch: int, dtype: torch.dtype
) -> tuple[float, float]:
    """kit's loop: images a second of the median epoch, and the share of it that the network waited for images."""
    cars, world = Cars(scratch / "cars", count), World(0, 1, next(network.parameters()).device)
    samples = SegmentationDataset(ImageCache.open(cars, Resizing(size), scratch), cars.ids, photo_augment())
    batches, workers = EpochBatches(count, batch, seed=0, world=world), default_workers(world.device, None)
    load = {"persistent_workers": workers > 0, "collate_fn": collate_samples, **loading(workers, world)}
    state = new_state(network, adamw(network, 1e-3), dtype, {})
    settings = Settings(EPOCHS, world, dtype, warmup_cosine, IMAGENET)
    loader = DataLoader(samples, batch_sampler=batches, **load)
    fit(state, loader, supervised(bce_dice), lambda network: {}, settings, scratch / "gpu-training")
    seconds, waited = (statistics.median(line[name] for line in state.history[1:]) for name in ("seconds", "waited"))
    return batches.steps * batch / seconds, waited / seconds


def _bare_steps(network: nn.Module, size: tuple[int, int], batch: int, dtype: torch.dtype, steps: int) -> int:
    """Forward, loss, backward and step on the same batch, again and again. Returns the number of images."""
    device, optimizer = next(network.parameters()).device, adamw(network, 1e-3)
    images = torch.randn(batch, 3, *size, device=device).contiguous(memory_format=torch.channels_last)
    masks = torch.randint(2, (batch, *size), device=device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    network.train()
    for _ in range(steps):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = network(images)
        scaler.scale(bce_dice(logits.float(), masks)).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
    return steps * batch
