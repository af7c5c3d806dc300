"""From a competition's files to samples: the dataset, batches to predict, normalisation.

competition.read_image(id), read_mask(id)  ->  at the training size, from the cache (see cache.py)
SegmentationDataset[(epoch, index)]        ->  Sample(image u8 (3, H, W), mask u8 (H, W), id)
PictureBatches                             ->  Pictures(images u8 (N, 3, H, W), ids, their own sizes)
normalise(images)                          ->  f32 on the device, not in the worker: a quarter of the bytes travel
"""

import contextlib
import functools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from kit.data.images import resize_image, single_threaded_cv2
from kit.system.files import raise_all
from kit.system.threads import ordered_map
from kit.training.processes import World

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1, as torchvision's, timm's and smp's weights expect
IMAGENET_STD = (0.229, 0.224, 0.225)


class Competition(Protocol):
    """What the rest of kit asks of a data set; each file of kit/competitions/ has one."""

    name: str
    slug: str  # below /kaggle/input
    ids: list[str]  # of the training pictures
    groups: list[str]  # of each, for the folds
    test_ids: list[str]
    num_classes: int
    classes: tuple[str, ...]  # their names, the background first where there is one
    notes: tuple[str, ...]  # sentences for the report: what of the data was used, and how it was read
    drawn: bool  # kit drew it: its scores are its own
    order: str  # of the CSV's run lengths, "C" or "F"
    columns: tuple[str, str]  # of the CSV
    sample_csv: Path | None
    truth_csv: Path | None  # true masks of test pictures, where they are known

    def read_image(self, id: str) -> np.ndarray:
        """Read a picture, u8 (H, W, 3) RGB."""

    def read_mask(self, id: str) -> np.ndarray:
        """Read a training mask, u8 (H, W), 255 = ignore."""

    def shape(self, id: str) -> tuple[int, int]:
        """Find a picture's height and width."""

    def csv_name(self, id: str) -> str:
        """Name a picture as the CSV does."""

    def fingerprint(self) -> str:
        """Tell this training data from other."""

    def test_fingerprint(self) -> str:
        """Tell these test pictures from others; only asked where there are any."""


class Sample(NamedTuple):
    """One training sample, or a batch of them after collation (then with N in front, and a list of ids)."""

    image: Tensor  # u8 (3, H, W), RGB
    mask: Tensor  # u8 (H, W), 255 = ignore
    id: str


class Pictures(NamedTuple):
    """A batch of pictures to predict, and what was wrong with those that cannot be."""

    images: Tensor  # u8 (N, 3, H, W), RGB; filled up with the last one where there are fewer ids; (0,) without any
    ids: list[str]
    sizes: list[tuple[int, int]]  # (height, width) of the originals, which the predictions come back to
    problems: list[str]


class SegmentationDataset(Dataset):
    """Samples of a competition at the training size.

    read(id) -> image u8 (H, W, 3) and mask u8 (H, W), both at the training size (see cache.sample_reader).
    Index with a plain number, or with (epoch, index) as EpochBatches gives, so that the augmentation differs
    between epochs with no state to keep in the workers.
    """

    def __init__(
        self,
        read: Callable[[str], tuple[np.ndarray, np.ndarray]],
        ids: Sequence[str],
        augment: Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> None:
        self.read, self.ids, self.augment = read, list(ids), augment

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        image, mask = self.read(self.ids[index])
        if self.augment is not None:
            image, mask = self.augment(image, mask, epoch, index)
        rows = torch.from_numpy(np.array(image, order="C"))  # a copy: of a turned view, or of the cache's own memory
        return Sample(rows.permute(2, 0, 1), torch.tensor(mask), self.ids[index])


def collate_samples(samples: list[Sample]) -> Sample:
    """Samples -> a batch, channels last in memory. Raises ValueError where their sizes differ, naming them."""
    sizes = {sample.id: tuple(sample.mask.shape) for sample in samples}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{id} {height}×{width}" for id, (height, width) in sizes.items())
        raise ValueError(f"pictures of several sizes in a batch ({listed}): give --image-size H W, or --batch-size 1")
    images = default_collate([sample.image.permute(1, 2, 0) for sample in samples]).permute(0, 3, 1, 2)
    return Sample(images, default_collate([sample.mask for sample in samples]), [sample.id for sample in samples])


class PictureBatches:
    """Batches of pictures to predict, read ahead in threads.

    size: (height, width) that they are brought to; None keeps their own, and then `count` is 1. count: of pictures in a
    batch, in the last one too: kernels are chosen by the shape of a batch, and a picture's prediction must not depend
    on how many are left. A picture that cannot be read is told in its batch's `problems`: a bad one among 100,000 must
    not cost the night's work on the others. pin: keep batches in memory that a GPU can copy from by itself.
    """

    def __init__(
        self,
        competition: Competition,
        ids: Sequence[str],
        size: tuple[int, int] | None,
        count: int,
        threads: int = 0,
        pin: bool = False,
    ) -> None:
        self.competition, self.size, self.count, self.threads, self.pin = competition, size, count, threads, pin
        self.batches = [ids[start : start + count] for start in range(0, len(ids), count)]

    def __iter__(self) -> Iterator[Pictures]:
        with single_threaded_cv2() if self.threads else contextlib.nullcontext():
            yield from ordered_map(self.read, self.batches, self.threads)

    def read(self, ids: Sequence[str]) -> Pictures:
        """Read one batch."""
        good, problems = [], []
        for id in ids:
            try:
                image = self.competition.read_image(id)
            except (ValueError, OSError) as error:
                problems.append(str(error))
            else:
                good.append((id, image.shape[:2], image if self.size is None else resize_image(image, self.size)))
        if not good:
            return Pictures(torch.empty(0, dtype=torch.uint8), [], [], problems)
        kept, sizes, images = zip(*good, strict=True)
        filled = np.stack([*images, *images[-1:] * (self.count - len(images))])
        batch = torch.from_numpy(filled).permute(0, 3, 1, 2)
        return Pictures(batch.pin_memory() if self.pin else batch, list(kept), list(sizes), problems)


def normalise(images: Tensor) -> Tensor:
    """Images u8 (N, 3, H, W) -> f32 with ImageNet's mean and deviation taken out, channels last in memory."""
    count, _, height, width = images.shape
    # a row of the batch at a time: over the three channels alone it takes three times as long
    rows = images.permute(0, 2, 3, 1).reshape(count * height, width * 3).float()
    mean, std = _statistics(width, images.device)
    return rows.sub_(mean).div_(std).view(count, height, width, 3).permute(0, 3, 1, 2)


@functools.lru_cache(64)
@torch.inference_mode(False)  # tensors made in it could be used in no training
def _statistics(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a row of pixels, f32 (3 · width,). Kept: a copy to a GPU waits for all that is queued."""
    return tuple((torch.tensor(one).repeat(width) * 255).to(device) for one in (IMAGENET_MEAN, IMAGENET_STD))


def foreground_shares(competition: Competition) -> np.ndarray:
    """The share of each training picture that is not background, f64 (n,) in 0..1, read in threads."""
    problems = []

    def share(id: str) -> float:
        try:
            mask = competition.read_mask(id)
        except (ValueError, OSError) as error:
            problems.append(str(error))
            return 0.0
        return float(np.mean((mask != 0) & (mask != 255)))

    with ThreadPoolExecutor() as pool:
        shares = np.array(list(pool.map(share, competition.ids)))
    raise_all(sorted(problems), "masks cannot be read")
    return shares


def default_workers(device: torch.device, wanted: int | None) -> int:
    """Processes that load data for this one: `wanted`, else none where a CPU does it all, and for a GPU up to eight,
    one a core, shared with the other processes that torchrun started on this machine.
    """
    if wanted is not None:
        return wanted
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(8, cores)) if device.type == "cuda" else 0


def loading(workers: int, world: World) -> dict:
    """How a DataLoader loads: its arguments for `workers` processes, pinned memory, and the way they start.

    In a group of processes they come from a server process that was started clean: a process forked while a
    communication thread holds one of Python's locks waits for that lock for ever (seen with gloo on Python 3.11).
    """
    options = {"num_workers": workers, "worker_init_fn": start_worker, "pin_memory": world.device.type == "cuda"}
    if workers and world.size > 1:
        multiprocessing.set_forkserver_preload(["torch", "kit.data.samples"])
        options["multiprocessing_context"] = "forkserver"
    return options


def start_worker(number: int) -> None:
    """Set up a process that loads data: without OpenCV's own threads, for there are as many such processes as cores.

    0 and not 1: in a forked process 1 waits for ever for the parent's threads, which did not come along.
    """
    cv2.setNumThreads(0)
