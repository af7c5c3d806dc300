"""The truth of a run's held-out images, kept in its folder: tuning, comparing and blending need no data set.

    runs/<run>/truth/ID.png     u8 of classes, 255 = ignored; of classes that overlap K images one below the other;
                                of objects u16 labels
    runs/<run>/truth/ID.npz     of slides: the runs of each class

A run folder is often brought home from a cluster or a notebook, without the data.
"""

import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from kit.data.resize import single_threaded_cv2
from kit.data.run_masks import RunMask
from kit.data.tasks import Task
from kit.system.files import check_id, file_name, run_lock, write_atomic
from kit.system.objects import numbered

FOLDER = "truth"
PACKED = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
HALF = 1 << 16  # labels of objects are kept in 16 bits; of more objects in two halves, as two channels
LOCK = ".truth"  # a folder that is locked while masks of other data are removed
KEY = "key"  # a file beside the masks: a name of the data that they are of
THREADS = 4  # that read and write masks


class Truth:
    """The masks of a run folder, each written whole or not at all.

    task: of the data set. slides: the masks are RunMasks.
    """

    def __init__(self, folder: Path, task: Task, slides: bool = False) -> None:
        self.folder, self.task, self.slides = Path(folder) / FOLDER, task, slides

    def path(self, id: str) -> Path:
        """Where the mask of `id` is kept. Raises ValueError if the id is unsafe."""
        return self.folder / f"{file_name(check_id(id))}{'.npz' if self.slides else '.png'}"

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` without a mask, from one look at the folder."""
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        return [id for id in ids if self.path(id).name not in there]

    def keep(self, ids: Sequence[str], read: Callable[[str], np.ndarray | RunMask], key: str) -> None:
        """Keep the masks of `ids` that are not there. key: a name of the data; masks of other data are removed."""
        path = self.folder / KEY
        with run_lock(self.folder.with_name(LOCK), wait=600):  # two folds may end at the same time
            if not (path.is_file() and path.read_text() == key):
                for kept in self.folder.iterdir() if self.folder.is_dir() else ():
                    kept.unlink()
                write_atomic(path, key)
        if missing := self.missing(ids):
            with ThreadPoolExecutor(THREADS) as pool, single_threaded_cv2():
                list(pool.map(lambda id: self.write(id, read(id)), missing))

    def write(self, id: str, mask: np.ndarray | RunMask) -> None:
        """Keep a mask of the task's kind. Labels of objects become 1, 2, … in their order."""
        if isinstance(mask, RunMask):
            write_atomic(self.path(id), lambda file: _write_runs(file, mask))
            return
        if self.task.overlaps:
            mask = np.moveaxis(mask, 2, 0).reshape(-1, mask.shape[1]).astype(np.uint8)
        elif self.task.has_objects:
            mask = _numbered(mask)
        write_atomic(self.path(id), cv2.imencode(".png", np.ascontiguousarray(mask), PACKED)[1].tobytes())

    def read(self, id: str) -> np.ndarray | RunMask:
        """The mask, of the task's kind. Raises ValueError if the file is damaged, FileNotFoundError without one."""
        data = self.path(id).read_bytes()
        if self.slides:
            return _read_runs(self.path(id), data)
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
        layers = len(self.task.classes) if self.task.overlaps else 1
        if mask is not None and mask.ndim == 3 and self.task.has_objects:
            mask = mask[..., 0] + HALF * mask[..., 1].astype(np.int32)
        if mask is None or mask.ndim != 2 or len(mask) % layers:
            raise _damaged(self.path(id))
        if self.task.overlaps:
            return np.ascontiguousarray(np.moveaxis(mask.reshape(layers, -1, mask.shape[1]), 0, 2)).view(np.bool_)
        return mask.astype(np.int32) if self.task.has_objects else mask


def _numbered(labels: np.ndarray) -> np.ndarray:
    """The labels of an image without gaps: u16 (H, W), of HALF objects or more (H, W, 3), the low half first."""
    numbers = numbered(labels)
    if numbers.max(initial=0) < HALF:
        return numbers.astype(np.uint16)
    return np.stack([numbers % HALF, numbers // HALF, np.zeros_like(numbers)], axis=2).astype(np.uint16)


def _write_runs(file: io.BufferedIOBase, mask: RunMask) -> None:
    arrays = {f"class{label}": edges for label, edges in mask.edges.items()}
    np.savez_compressed(file, shape=mask.shape, order=mask.order, **arrays)


# NumPy reads headers by ast.parse, and Python 3.11 counts its depth in one place for all threads: now and then a
# SystemError (python/cpython issue 106905), which would be taken for damage
_parsing = threading.Lock()


def _read_runs(path: Path, data: bytes) -> RunMask:
    try:
        with _parsing, np.load(io.BytesIO(data), allow_pickle=False) as kept:
            edges = {int(name.removeprefix("class")): kept[name] for name in kept.files if name.startswith("class")}
            return RunMask(tuple(kept["shape"].tolist()), str(kept["order"]), edges)
    except Exception as error:  # zipfile and zlib raise many kinds
        raise _damaged(path) from error


def _damaged(path: Path) -> ValueError:
    return ValueError(f"{path} is damaged; delete it and run the recipe with this run folder again")
