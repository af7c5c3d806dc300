"""Training samples from the cache: kit's uint8 path against the usual one, normalised floats from the workers."""

from collections.abc import Iterator
from pathlib import Path

import albumentations as A
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from torch.utils.data import DataLoader, Dataset

from kit.bench.cars import Cars
from kit.bench.measure import Contest, Row, contested
from kit.data.augment import photo_augment
from kit.data.cache import ImageCache
from kit.data.resize import Resizing
from kit.data.samples import SegmentationDataset, collate_samples, start_worker

SIZE = (512, 512)
COUNT, BATCH, WORKERS = 256, 8, 2


class Usual(Dataset):
    """The same arrays and the same augmentation, then albumentations' Normalize and ToTensorV2, in each worker."""

    def __init__(self, read: ImageCache, ids: list[str]) -> None:
        transforms = photo_augment().compose.transforms
        self.read, self.ids, self.compose = read, ids, A.Compose([*transforms, A.Normalize(), ToTensorV2()])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.read(self.ids[index])
        result = self.compose(image=np.array(image), mask=np.array(mask))
        return result["image"], result["mask"].long()


def rows(scratch: Path, results: Path, rounds: int = 7, count: int = COUNT) -> Iterator[Row]:
    """A pass over the samples by two worker processes that stay."""
    cars = Cars(scratch / "cars", count)
    read = ImageCache.open(cars, Resizing(SIZE), scratch)
    load = {"batch_size": BATCH, "num_workers": WORKERS, "persistent_workers": True, "worker_init_fn": start_worker}
    ours = DataLoader(SegmentationDataset(read, cars.ids, photo_augment()), collate_fn=collate_samples, **load)
    usual = DataLoader(Usual(read, cars.ids), **load)
    contest = Contest(
        f"a sample of {SIZE[0]}×{SIZE[1]}, cached, augmented, {WORKERS} workers",
        lambda: sum(len(batch.id) for batch in ours),
        {"albumentations with Normalize and ToTensorV2": lambda: sum(len(images) for images, _ in usual)},
        {"albumentations with Normalize and ToTensorV2": 2},
        int.__eq__,
        per=count,
    )
    yield from contested([contest], rounds)
