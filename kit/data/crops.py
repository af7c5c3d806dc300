"""Crops of slides: each reads only its own region.

    samples = SlideCrops(data, run.trained_on(fold), (512, 512), count=2000, augment=augment, seed=run.seed)
    fit_fold(run, fold, model, optimizer, loss, Plan(epochs=20, batch_size=8, schedule=warmup_cosine, samples=samples))

Where a crop lies depends on (seed, epoch, index) alone, as augmentation does: so training resumes bit for bit.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from kit.data.dataset import Dataset
from kit.data.samples import Sample
from kit.data.scaled import ScaledLayers, ScaledMask
from kit.data.tasks import task_of
from kit.system.files import spread

CROPS = 1  # tells the random numbers of crops from those of augmentation
IGNORED = 255

Augmentation = Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]


class SlideCrops(TorchDataset):
    """Random crops of slides, as many an epoch as `count`; each slide gives as many as any other.

    size: (height, width) of a crop, in pixels of the shrunk slide: the tile of the Frame. foreground: the share of
    crops whose centre is a random pixel of a random class that the slide shows, 0..1; the others lie anywhere. Near the
    border a crop is moved inside. A slide that is smaller is padded, the image by its mirror image, the mask with 255.
    augment: for example photo_augment without a crop.
    Index with (epoch, index), as EpochBatches gives. Raises ValueError for a share outside 0..1, without slides or
    with no crop.
    """

    def __init__(
        self,
        dataset: Dataset,
        ids: Sequence[str],
        size: tuple[int, int],
        *,
        count: int,
        foreground: float = 0.5,
        augment: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= foreground <= 1 or count < 1 or not ids:
            raise ValueError(
                f"crops of {len(ids)} slides, count={count}, foreground={foreground}: expected a slide or more, a "
                "crop or more, and a share from 0 to 1"
            )
        self.dataset, self.ids, self.size, self.count = dataset, list(ids), tuple(size), count
        self.foreground, self.augment, self.seed = foreground, augment, seed
        self._masks = {id: dataset.mask(id) for id in self.ids}  # read once, here and not in each worker

    def __repr__(self) -> str:
        """The settings, one way to write them: a run compares them when it is resumed."""
        return (
            f"SlideCrops({self.size}, count={self.count}, foreground={self.foreground}, augment={self.augment!r}, "
            f"seed={self.seed})"
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        id = self.ids[index % len(self.ids)]
        image, mask = cut(self.dataset, id, self.corner(epoch, index), self.size)
        if self.augment is not None:
            image, mask = self.augment(image, mask, epoch, index)
        return _sample(image, mask, id)

    def corner(self, epoch: int, index: int) -> tuple[int, int]:
        """Row and column of the first pixel of a crop, in the shrunk slide."""
        id = self.ids[index % len(self.ids)]
        random, mask = np.random.default_rng([self.seed, epoch, index, CROPS]), self._masks[id]
        sides = self.dataset.regions(id).shape[:2]
        free = [max(0, side - own) for side, own in zip(sides, self.size, strict=True)]
        labels = [label for label in mask.edges if label != IGNORED and mask.count(label)]
        if not labels or random.random() >= self.foreground:
            return tuple(int(random.integers(0, most + 1)) for most in free)
        label = labels[int(random.integers(len(labels)))]
        pixel = mask.pixel(label, int(random.integers(mask.count(label))))
        middle = [place // self.dataset.scale - own // 2 for place, own in zip(pixel, self.size, strict=True)]
        return tuple(min(max(0, place), most) for place, most in zip(middle, free, strict=True))


class SlideTiles(TorchDataset):
    """At most `count` tiles of each slide, spread evenly over a grid that covers it: what validation looks at."""

    def __init__(self, dataset: Dataset, ids: Sequence[str], size: tuple[int, int], count: int) -> None:
        self.dataset, self.size = dataset, tuple(size)
        self.tiles = [(id, corner) for id in ids for corner in _spread(dataset.regions(id).shape[:2], size, count)]

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> Sample:
        id, corner = self.tiles[index]
        return _sample(*cut(self.dataset, id, corner, self.size), id)


def cut(dataset: Dataset, id: str, corner: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Image (h, w, C) and mask u8 of a region of the shrunk slide, padded where the slide is smaller.

    The mask is (h, w) of class numbers; of classes that overlap (h, w, K) of 0 and 1.
    """
    regions, mask, task = dataset.regions(id), dataset.mask(id), task_of(dataset)
    scaled = ScaledLayers(mask, dataset.scale, len(task.classes)) if task.overlaps else ScaledMask(mask, dataset.scale)
    inside = [min(own, side) for own, side in zip(size, regions.shape, strict=False)]
    image, labels = regions.read(*corner, *inside), scaled.read(*corner, *inside)
    missing = [own - there for own, there in zip(size, inside, strict=True)]
    if any(missing):
        around = [(0, more) for more in missing]
        image = np.pad(image, [*around, (0, 0)], "reflect" if min(inside) > 1 else "edge")
        labels = np.pad(labels, [*around, (0, 0)][: labels.ndim], constant_values=IGNORED)
    return image, labels


def _spread(sides: tuple[int, int], size: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """The corners of at most `count` tiles of a grid without gaps."""
    starts = [_starts(side, own) for side, own in zip(sides, size, strict=True)]
    corners = [(y, x) for y in starts[0] for x in starts[1]]
    return spread(corners, count)


def _starts(length: int, tile: int) -> list[int]:
    count = max(1, -(-length // tile))
    return [round(number * max(0, length - tile) / max(1, count - 1)) for number in range(count)]


def _sample(image: np.ndarray, mask: np.ndarray, id: str) -> Sample:
    layers = mask if mask.ndim == 2 else mask.transpose(2, 0, 1)
    rows, labels = (torch.from_numpy(np.array(array, order="C")) for array in (image, layers))
    return Sample(rows.permute(2, 0, 1), labels, id)
