"""Training with a network that only sleeps: how long it waits for its pictures."""

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kit.bench.cars import Cars
from kit.bench.measure import Row
from kit.data.augment import photo_augment
from kit.data.cache import ImageCache
from kit.data.resize import Resizing
from kit.data.samples import SegmentationDataset, collate_samples, loading
from kit.training.loop import Settings, adamw, fit, new_state, warmup_cosine
from kit.training.processes import EpochBatches, World

SIZE = (512, 512)
STEP = 0.02  # seconds that a step of the network takes
BATCH, STEPS, WORKERS = 4, 100, 2


class Sleeper(nn.Module):
    """A network that takes as long as is asked, and next to no processor."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.bias = seconds, nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        """images (N, 3, H, W) -> logits (N, 1, 1, 1), which the criterion below takes."""
        time.sleep(self.seconds)
        return self.bias.expand(len(images), 1, 1, 1)


def rows(scratch: Path, results: Path, steps: int = STEPS) -> Iterator[Row]:
    """The share of the second epoch that the network was busy; the first starts the workers."""
    cars, world = Cars(scratch / "cars", BATCH * steps), World(0, 1, torch.device("cpu"))
    samples = SegmentationDataset(ImageCache.open(cars, Resizing(SIZE), scratch), cars.ids, photo_augment())
    batches = EpochBatches(len(samples), BATCH, seed=0, world=world)
    load = {"persistent_workers": True, "collate_fn": collate_samples, **loading(WORKERS, world)}
    model = Sleeper(STEP)
    state = new_state(model, adamw(model, 1e-3), torch.float32, {}, ema_decay=None)
    settings = Settings(2, world, torch.float32, warmup_cosine)
    loader, nothing = DataLoader(samples, batch_sampler=batches, **load), DataLoader([])
    fit(state, loader, nothing, lambda logits, masks: logits.square().mean(), settings, scratch / "training")
    line = state.history[-1]
    share = line["waited"] / line["seconds"]
    job = f"training, steps of {1000 * STEP:g} ms, {BATCH} samples of {SIZE[0]}×{SIZE[1]} each"
    yield Row(job, f"waits {share:.1%}", "the epoch", f"{line['seconds']:.2f} s", 1 - share, 0.97)
