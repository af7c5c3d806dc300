"""The training pictures at their size: read from the files, or from a uint8 cache on the disk."""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kit.data.images import resize_image, resize_mask, single_threaded_cv2
from kit.data.samples import Competition
from kit.system.files import raise_all, run_lock

FORMAT = 2  # raised whenever what a cache holds changes, so that an older one is not taken for it
CHUNK = 256  # samples that are brought to the disk together


def sample_reader(
    competition: Competition, size: tuple[int, int] | None, cache: Path | None
) -> "ImageCache | SizedReader":
    """What a SegmentationDataset reads from: the cache below `cache`, or the files themselves if it is None.

    size: (height, width); None reads pictures at their own sizes, and then there is no cache.
    """
    if size is None:
        return SizedReader(competition, None)
    return SizedReader(competition, size) if cache is None else ImageCache.open(competition, size, cache)


class SizedReader:
    """Reads a sample's image and mask and brings both to one size. Picklable, for worker processes.

    size: (height, width), or None for each picture's own.
    """

    def __init__(self, competition: Competition, size: tuple[int, int] | None) -> None:
        self.competition, self.size = competition, size

    def __call__(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Image u8 (H, W, 3) and mask u8 (H, W) of `id`. Raises ValueError naming what cannot be used."""
        image, mask = self.competition.read_image(id), self.competition.read_mask(id)
        if image.shape[:2] != mask.shape:
            raise ValueError(
                f"{id}: the mask is {mask.shape}, its image {image.shape[:2]} (height, width); they must agree"
            )
        labels = np.unique(mask)
        if (bad := labels[(labels >= self.competition.num_classes) & (labels != 255)]).size:
            raise ValueError(
                f"{id}: mask labels {bad.tolist()}, expected 0 to {self.competition.num_classes - 1} or 255"
            )
        return (image, mask) if self.size is None else (resize_image(image, self.size), resize_mask(mask, self.size))


class ImageCache:
    """All samples of a competition at one size, uint8, in two memory-mapped files.

    A 512 x 512 sample reads in 0.02 ms, where decoding and shrinking a Carvana picture and its mask takes 16.
    Written once into a temporary folder that is then renamed, so it is complete or absent, and a killed build goes on
    where it was; its name holds the data's fingerprint and the size, so other data never meets an old cache.
    """

    def __init__(self, folder: Path, ids: Sequence[str]) -> None:
        self.folder, self.rows = folder, {id: row for row, id in enumerate(ids)}
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def open(cls, competition: Competition, size: tuple[int, int], root: Path) -> "ImageCache":
        """The cache of `competition` at `size` below `root`, built first if it is not there.

        Raises OSError when the disk is too small for it, ValueError listing every sample that cannot be read.
        """
        folder = root / f"{competition.name}-{size[0]}x{size[1]}-{competition.fingerprint()[:16]}-v{FORMAT}"
        if not folder.exists():
            with run_lock(root / f".{folder.name}.lock", wait=-1):  # another process may be building it
                if not folder.exists():
                    _build_cache(competition, size, folder)
        return cls(folder, competition.ids)

    def __call__(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Image u8 (H, W, 3) and mask u8 (H, W) of `id`, read-only views."""
        if self._arrays is None:
            self._arrays = tuple(np.load(self.folder / name, mmap_mode="r") for name in ("images.npy", "masks.npy"))
        images, masks = self._arrays
        return images[self.rows[id]], masks[self.rows[id]]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_arrays": None}  # a worker opens the files itself: pickling would copy them


def _build_cache(competition: Competition, size: tuple[int, int], folder: Path) -> None:
    """Build it, or go on where an earlier build was killed; the caller holds its lock."""
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        if not (partial / "done.npy").exists():  # written last
            _begin_cache(len(competition.ids), size, partial)
        _fill_cache(SizedReader(competition, size), competition.ids, partial)
    except (ValueError, OSError):
        shutil.rmtree(partial, ignore_errors=True)  # what is to be mended changes the fingerprint, or the disk is full
        raise
    (partial / "done.npy").unlink()
    partial.rename(folder)


def _begin_cache(count: int, size: tuple[int, int], folder: Path) -> None:
    """Lay out the files of a cache in `folder`, on the disk to their last byte, with no row done."""
    shutil.rmtree(folder, ignore_errors=True)
    needed, free = count * size[0] * size[1] * 4, shutil.disk_usage(folder.parent).free
    if needed * 1.05 > free:
        raise OSError(
            f"the image cache {folder} takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free. "
            "Free some, set KIT_CACHE to another disk or, where the recipe has it, train with --no-cache"
        )
    folder.mkdir(parents=True)
    for name, shape in (("images.npy", (*size, 3)), ("masks.npy", size), ("done.npy", ())):
        np.lib.format.open_memmap(folder / name, "w+", np.uint8, (count, *shape))
        _reserve(folder / name)


def _fill_cache(read: SizedReader, ids: Sequence[str], folder: Path) -> None:
    """Read the samples that are not done. A sample counts as done when it is on the disk, so a kill costs CHUNK."""
    images, masks, done = (np.load(folder / name, mmap_mode="r+") for name in ("images.npy", "masks.npy", "done.npy"))
    left = np.flatnonzero(done == 0)
    print(f"reading {len(left)} pictures into the cache {folder.parent / folder.stem[1:]}, once", flush=True)
    problems = []

    def fill(row: int) -> None:
        try:
            images[row], masks[row] = read(ids[row])
        except (ValueError, OSError) as error:
            problems.append(str(error))

    with ThreadPoolExecutor(os.cpu_count()) as pool, single_threaded_cv2():
        for rows in np.split(left, range(CHUNK, len(left), CHUNK)):
            list(pool.map(fill, rows))
            images.flush()
            masks.flush()
            done[rows] = 1
            done.flush()
    raise_all(sorted(problems), "samples cannot be read")


def _reserve(path: Path) -> None:
    """Take the blocks of a sparse file now: a disk that fills under a memory map kills the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
