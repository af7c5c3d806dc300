"""The training images at the network's size: read from the files, or from a cache on the disk."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from kit.data.check import sample_ids
from kit.data.dataset import RGB, Dataset, data_key
from kit.data.label_images import resize_labels, small_labels
from kit.data.own_sizes import OwnSizes
from kit.data.resize import Resizing, single_threaded_cv2
from kit.data.sample_checks import check_sample, describe_error, name_error
from kit.data.tasks import task_of
from kit.system.files import raise_all, run_lock, write_atomic
from kit.system.threads import threads_for

FORMAT = 3  # raised whenever the content of a cache changes, so that an older one is not used
CHUNK = 256  # samples that are brought to the disk together
FILES, SIZES = ("images.npy", "masks.npy"), "sizes.npy"

Reader = Callable[[str], tuple[np.ndarray, np.ndarray]]


def sample_reader(
    dataset: Dataset, resizing: Resizing, cache: Path | None, labels: bool = False
) -> "ImageCache | SizedReader":
    """The reader for a SegmentationDataset: the cache below the folder `cache`, or the files themselves if it is None.

    Images at their own sizes have no cache. labels: give label images, see SizedReader; their cache holds any sizes,
    because a label image is often read from a file for each object.
    """
    if cache is None or (resizing.size is None and not labels):
        return SizedReader(dataset, resizing, labels)
    return ImageCache.open(dataset, resizing, cache, labels)


class SizedReader:
    """Reads a sample's image and mask, checks them, and brings both to the network's size. Picklable, for workers.

    labels: of task instances, give label images u16 in place of where an object is. Raises ValueError for another task,
    and for a resizing that pads, because nothing is known there.
    """

    def __init__(self, dataset: Dataset, resizing: Resizing, labels: bool = False) -> None:
        self.dataset, self.resizing, self.labels = dataset, resizing, labels
        if labels and (not task_of(dataset).has_objects or (resizing.size and resizing.keep_ratio)):
            raise ValueError(
                f"label images of task {task_of(dataset).name} with {resizing!r}: expected task instances, and a "
                "resizing that does not pad"
            )
        self.channels, self.task = getattr(dataset, "channels", RGB), task_of(dataset)

    def __call__(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, C) and the mask that training sees, u8 (H, W) or (H, W, K), of `id`; or its label image u16.

        Raises ValueError naming what cannot be used.
        """
        image, mask = self.dataset.read_image(id), self.dataset.read_mask(id)
        check_sample(id, image, mask, self.channels, self.task)
        if not self.labels:
            return self.resizing.image(image), self.resizing.mask(self.task.target(mask))
        try:
            return self.resizing.image(image), resize_labels(small_labels(mask), self.resizing.size or mask.shape)
        except ValueError as error:
            raise ValueError(f"{id}: {error}") from None


class ImageCache:
    """All samples of a data set at one size, in two memory-mapped files: images.npy in its dtype, masks.npy in u8.

    Masks are those that training sees: (h, w), or (h, w, K) of classes that overlap. A cache of label images has them
    in u16, and may hold samples of several sizes: then sizes.npy lists these (kit.data.own_sizes).

    A 512 x 512 sample reads in 0.02 ms. Decoding and shrinking a Carvana image and its mask takes 16. The cache is
    written once into a temporary folder that is then renamed, so it is complete or absent; a killed build continues
    where it was. Its name holds data_key and the resizing, its ids.json says which row is whose, and some rows are
    read anew whenever it is opened: a cache of other data or of other code is never used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = {id: row for row, id in enumerate(json.loads((folder / "ids.json").read_text()))}
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def open(cls, dataset: Dataset, resizing: Resizing, root: Path, labels: bool = False) -> "ImageCache":
        """The cache of `dataset` below `root`, built first if it is not there or does not hold what is read now.

        Raises OSError when the disk is too small for it, ValueError listing every sample that cannot be read.
        """
        read = SizedReader(dataset, resizing, labels)
        kind = f"{resizing}-labels" if labels else f"{resizing}"
        folder = root / f"{dataset.name}-{kind}-{data_key(dataset)[:16]}-v{FORMAT}"
        if cls._difference(folder, read) is None:
            return cls(folder)
        with run_lock(root / f".{folder.name}.lock", wait=-1):  # another process may be building it
            why = cls._difference(folder, read)
            if why is not None:
                if folder.exists():
                    print(f"the cache {folder} is built again: {why}", flush=True)
                    _remove(folder)
                _build_cache(read, folder)
        return cls(folder)

    def __call__(self, id: str) -> tuple[np.ndarray, np.ndarray]:
        """Image (H, W, C) and mask u8 (H, W) or (H, W, K) of `id`, or its label image u16: read-only views."""
        if self._arrays is None:
            self._arrays = _open_arrays(self.folder, "r")
        images, masks = self._arrays
        return images[self.rows[id]], masks[self.rows[id]]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_arrays": None}  # a worker opens the files itself: pickling would copy them

    @classmethod
    def _difference(cls, folder: Path, read: SizedReader) -> str | None:
        """Why the cache cannot be used; None where its ids and a sample of its rows are what is read now.

        Raises ValueError where the data set's own code gives another image each time.
        """
        if not folder.exists():
            return "it is absent"
        ids = list(read.dataset.ids)
        try:
            cache = cls(folder)
            if list(cache.rows) != ids:
                return "it holds other ids"
            cache(ids[0])
        except (OSError, ValueError) as error:
            return f"it is damaged ({describe_error(error)})"
        return _row_difference(read, cache, sample_ids(ids))


def _row_difference(read: SizedReader, cached: Reader, ids: list[str]) -> str | None:
    """The first of `ids` whose row is not what is read now."""
    for id in ids:
        try:
            now = read(id)
        except Exception as error:  # building it anew lists all that cannot be read
            return f"{id} cannot be read any more ({describe_error(error)})"
        if not _are_equal(now, cached(id)):
            if not _are_equal(now, read(id)):
                raise ValueError(f"{id} reads differently each time; move what is random from read_image to augment")
            return f"{id} now reads differently, so a file or the reading code has changed"
    return None


def _are_equal(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether two samples are equal in every byte, dtype and shape included."""
    return all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        for a, b in zip(one, other, strict=True)
    )


def _remove(folder: Path) -> None:
    """Remove a cache at once by its name; a process that reads it keeps its memory map."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def _build_cache(read: SizedReader, folder: Path) -> None:
    """Build it, or continue where an earlier build was killed; the caller holds its lock."""
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        if not _continues(read, partial):
            _begin_cache(read, partial)
        _fill_cache(read, partial)
    except (ValueError, OSError):
        shutil.rmtree(partial, ignore_errors=True)  # the data is to be mended first, or the disk is full
        raise
    (partial / "done.npy").unlink()
    partial.rename(folder)


def _continues(read: SizedReader, partial: Path) -> bool:
    """Whether an earlier build left rows that are what is read now."""
    if not (partial / "done.npy").exists():  # written last
        return False
    done = [read.dataset.ids[row] for row in np.flatnonzero(np.load(partial / "done.npy"))]
    return not done or _row_difference(read, ImageCache(partial), sample_ids(done)) is None


def _begin_cache(read: SizedReader, folder: Path) -> None:
    """Lay out the files of a cache in `folder`, on the disk to their last byte, with no row done."""
    shutil.rmtree(folder, ignore_errors=True)
    count, channels = len(read.dataset.ids), len(read.channels)
    dtype = np.dtype(getattr(read.dataset, "dtype", None) or _first_dtype(read))
    layers = (read.task.outputs,) if read.task.overlaps else ()
    labels = np.dtype(np.uint16 if read.labels else np.uint8)
    sizes = None if read.resizing.size else _sizes_of(read)
    shape = (count, *read.resizing.size) if sizes is None else (int(sizes.prod(axis=1).sum()),)
    pixel = channels * dtype.itemsize + math.prod(layers) * labels.itemsize  # bytes
    needed, free = math.prod(shape) * pixel, shutil.disk_usage(folder.parent).free
    if needed * 1.05 > free:
        raise OSError(
            f"the image cache {folder} takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} are free. "
            "Free some, set KIT_CACHE to another disk, or train without it (cache=False)"
        )
    folder.mkdir(parents=True)
    write_atomic(folder / "ids.json", json.dumps(list(read.dataset.ids)))
    if sizes is not None:
        np.save(folder / SIZES, sizes)
    layout = (("images.npy", dtype, (*shape, channels)), ("masks.npy", labels, (*shape, *layers)))
    for name, kind, size in (*layout, ("done.npy", np.uint8, (count,))):
        np.lib.format.open_memmap(folder / name, "w+", kind, size)
        _reserve(folder / name)


def _open_arrays(folder: Path, mode: str) -> tuple:
    """Images and masks of a cache, by row."""
    arrays = tuple(np.load(folder / name, mmap_mode=mode) for name in FILES)
    if not (folder / SIZES).exists():
        return arrays
    sizes = np.load(folder / SIZES)
    return tuple(OwnSizes(array, sizes) for array in arrays)


def _sizes_of(read: SizedReader) -> np.ndarray:
    """(height, width) of each image, int64 (n, 2); of one that cannot be read 0, and the build lists it."""
    sizes = np.zeros((len(read.dataset.ids), 2), np.int64)
    for row, id in enumerate(read.dataset.ids):
        with contextlib.suppress(Exception):  # whatever the data set's own code raises
            sizes[row] = read.dataset.shape(id)
    return sizes


def _first_dtype(read: SizedReader) -> np.dtype:
    """The dtype of the first image that can be read; u8 where none can, for then the build fails anyway."""
    for id in read.dataset.ids:
        try:
            return read.dataset.read_image(id).dtype
        except Exception:  # listed when the rows are filled
            continue
    return np.dtype(np.uint8)


def _fill_cache(read: SizedReader, folder: Path) -> None:
    """Read the samples that are not done. A sample counts as done when it is on the disk, so a kill costs CHUNK."""
    (images, masks), done = _open_arrays(folder, "r+"), np.load(folder / "done.npy", mmap_mode="r+")
    left, ids = np.flatnonzero(done == 0), read.dataset.ids
    print(f"reading {len(left)} images into the cache {folder.parent / folder.stem[1:]}, once", flush=True)
    problems = []

    def fill(row: int) -> None:
        try:
            image, mask = read(ids[row])
            if image.dtype != images.dtype:
                raise ValueError(f"{ids[row]}: the image is {image.dtype}, expected {images.dtype} as the first one")
            images[row], masks[row] = image, mask
        except Exception as error:  # whatever the data set's own code raises
            problems.append(name_error(ids[row], error))

    with ThreadPoolExecutor(_threads(read, images.dtype)) as pool, single_threaded_cv2():
        for rows in np.split(left, range(CHUNK, len(left), CHUNK)):
            list(pool.map(fill, rows))
            images.flush()
            masks.flush()
            done[rows] = 1
            done.flush()
    raise_all(sorted(problems), "samples cannot be read")


def _threads(read: SizedReader, dtype: np.dtype) -> int:
    """How many images are read at once, by the largest of some; what cannot be read is listed by the build."""
    pixels = [0]
    for id in sample_ids(list(read.dataset.ids)):
        with contextlib.suppress(Exception):  # whatever the data set's own code raises
            pixels.append(math.prod(read.dataset.shape(id)))
    return threads_for(max(pixels) * len(read.channels) * dtype.itemsize)


def _reserve(path: Path) -> None:
    """Take the blocks of a sparse file now: a disk that fills under a memory map kills the process (SIGBUS)."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
