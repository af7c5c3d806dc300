"""The passes over a share of the images on one device, and several devices side by side.

Each device has a process of its own that predicts its share, as kit.training.processes.World shares it out, and sends
the rows to the one that writes. The processes are not joined to a group that waits for all: one that is killed or late
must not hold up the others.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kit.data.dataset import Dataset
from kit.data.sample_checks import check_image, name_error
from kit.prediction.predictor import Predictor, Take, UnreadableImages, images_at_once
from kit.prediction.saved_blend import Member, Mixing
from kit.prediction.slides import open_slide, slide_levels
from kit.runs.passes import Budget, Share, Timing, passes
from kit.runs.together import Networks, stream_together
from kit.system.files import counted
from kit.training.loaders import default_workers
from kit.training.processes import World, choose_device

SIZES = 200  # images whose headers are read to know their pixels
NETWORK_PIXELS = 0.1  # of a pixel of the network's: what reading a pixel of the file costs


class OutOfTime(Exception):
    """The time ended within a slide."""


@dataclass(frozen=True)
class Said:
    """A line to print."""

    text: str


@dataclass(frozen=True)
class Ended:
    """A process ended before its share was done; why."""

    problem: str


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read or predicted, and why."""

    id: str
    problem: str


@dataclass(frozen=True)
class Job:
    """What a worker predicts: with the networks of one run, or of the members of a blend.

    views: a name in VIEWS, or None for the runs' own. images: as each member reads them. take: makes what is sent of an
    image. stop: raise ValueError at the first image that cannot be read. mixing: of a blend.
    """

    members: Sequence[Member]
    views: str | None
    ids: list[str]
    images: Sequence[Dataset]
    take: Take
    stop: bool = False
    mixing: Mixing | None = None


def work_together(job: Job, devices: Sequence[str], budget: Budget) -> Iterator[object]:
    """What the workers of all devices give: what `take` made, Said, Unreadable and Ended.

    The shape of a batch does not depend on the number of devices, so neither do the predictions.
    """
    names = _each_device(devices)
    if len(names) == 1:
        yield from Worker(job, World(0, 1, choose_device(names[0])), budget).work()
        return
    context = multiprocessing.get_context("spawn")
    running: dict[multiprocessing.connection.Connection, multiprocessing.process.BaseProcess] = {}
    for rank, name in enumerate(names):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(job, (rank, len(names), name), budget, theirs), daemon=True)
        process.start()
        theirs.close()
        running[ours] = process
    try:
        yield from _received(running, budget)
    finally:
        for process in running.values():
            process.kill()


def _received(running: dict, budget: Budget) -> Iterator[object]:
    """What comes from the processes, until all have ended or the time is over. Raises the error of one of them."""
    while running and budget.left() > 0:
        patience = min(1.0, budget.left())
        for connection in multiprocessing.connection.wait(list(running), max(0.0, patience)):
            try:
                update = connection.recv()
            except EOFError:
                process = running.pop(connection)
                process.join()
                if process.exitcode:
                    yield Ended(
                        f"a process ended by itself (exit status {process.exitcode}; -9 mostly means too little "
                        "memory): its images keep the masks that they have. Run again with one device"
                    )
                continue
            if isinstance(update, Exception):
                raise update
            yield update


def _run(job: Job, place: tuple[int, int, str], budget: Budget, connection: object) -> None:
    """One process: predict its share, send what comes of it."""
    rank, size, name = place
    device = choose_device(name)
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // size))
    with contextlib.suppress(BrokenPipeError):
        try:
            for update in Worker(job, World(rank, size, device), budget).work():
                connection.send(update)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            connection.send(
                type(error)(str(error)) if type(error) in (ValueError, RuntimeError) else ValueError(str(error))
            )
        connection.close()


class Worker:
    """Predicts the share of one process."""

    def __init__(self, job: Job, world: World, budget: Budget) -> None:
        self.job, self.world, self.budget = job, world, budget
        self.networks = Networks(job.members, job.views, world.device, job.mixing is not None)
        self.bad: dict[str, str] = {}
        noting = {id(images): _Noting(images, self.bad) for images in job.images}
        self.images = [noting[id(images)] for images in job.images]
        self._said: list[Said] = []

    def work(self) -> Iterator[object]:
        """What `take` makes of each image, again after each pass that improves it; Said and Unreadable."""
        ids = list(self.world.share(self.job.ids))
        weights, steps = self._weights(ids), self.networks.steps
        timing = Timing(weights, steps, self.budget, lambda text: self._said.append(Said(text)))
        sent: set[str] = set()
        for share in passes(ids, timing, self.bad):
            if self.budget.left() <= 0:
                return
            if self.world.main:
                yield Said(f"{counted(len(share.ids), 'image')}, {share.now}")
            for update in self._pass(share):
                yield update
                yield from self._taken()
            yield from self._taken()
            yield from (Unreadable(id, self.bad[id]) for id in [*self.bad] if id not in sent)
            sent |= self.bad.keys()

    def _taken(self) -> list[Said]:
        said, self._said[:] = list(self._said), []
        return said

    def _pass(self, share: Share) -> Iterator[object]:
        """One pass, to its end or to that of the time."""
        while share.remaining:
            step, predictors = share.step, self.networks.predictors(share.now)
            count = max(map(self._at_once, filter(None, predictors)))
            ended, done = time.monotonic(), 0
            with contextlib.closing(self._stream(predictors, share.left, count)) as stream:
                for more, update in stream:
                    if update is not None:
                        yield update
                    if self.job.stop and self.bad:
                        raise ValueError("\n".join(self.bad.values()))
                    done += more
                    if done < min(count, share.remaining):
                        continue  # the rest of the batch is there already
                    share.add(done, time.monotonic() - ended)
                    ended, done = time.monotonic(), 0
                    if share.step != step:
                        break
                    if share.should_stop(count):
                        return
                else:  # all are done, or the time ended within a slide
                    return

    def _stream(
        self, predictors: Sequence[Predictor | None], ids: list[str], count: int
    ) -> Iterator[tuple[int, object]]:
        """For each step how many of `ids` are done, and what was made of the last of them, or None.

        An image that cannot be read, or whose batch cannot be predicted, is noted and passed over.
        """
        if self.networks.saved[0].scale is not None:
            yield from self._stream_slides(predictors[0], ids)
            return
        at = 0
        while at < len(ids):
            try:
                for update in self._predicted(predictors, ids[at:]):
                    place = ids.index(update[0], at)
                    yield place + 1 - at, update
                    at = place + 1
            except UnreadableImages:
                pass
            except OSError:  # of the disk that is written to
                raise
            except Exception as error:  # whatever an odd image brings about
                failed = [id for id in ids[at:] if id not in self.bad][:count]
                self.bad.update({id: name_error(id, error) for id in failed})
                end = ids.index(failed[-1], at) + 1 if failed else len(ids)
                yield end - at, None
                at = end
                continue
            if at < len(ids):
                yield len(ids) - at, None
            return

    def _predicted(self, predictors: Sequence[Predictor | None], ids: list[str]) -> Iterator[object]:
        """What `take` makes of each image. None: a member of the blend that takes no part yet."""
        threads, mixing, take = default_workers(self.world.device, None), self.job.mixing, self.job.take
        if mixing is None:
            return predictors[0].stream(self.images[0], ids, take, threads)
        counts = [len(one.networks) if one else 0 for one in predictors]
        used = [(one, images) for one, images in zip(predictors, self.images, strict=True) if one]

        def mix(id: str, size: tuple[int, int], levels: list[np.ndarray]) -> object:
            return take(id, size, mixing(levels, size, counts))

        return stream_together(used, ids, mix, threads)

    def _stream_slides(self, predictor: Predictor, ids: list[str]) -> Iterator[tuple[int, object]]:
        """The same of slides. It ends where the time does, also within a slide, which then counts as not done."""
        threads = max(1, min(4, default_workers(self.world.device, None)))
        for id in ids:
            try:
                image = open_slide(self.job.images[0], id)
                levels = slide_levels(predictor, image, threads, self._check_time)
                update = self.job.take(id, image.regions.shape[:2], levels)
            except OutOfTime:
                return
            except OSError:  # of the disk that is written to; one of reading is a BadImage
                raise
            except Exception as error:  # whatever an odd slide brings about
                self.bad[id], update = name_error(id, error), None
            yield 1, update

    def _check_time(self) -> None:
        if self.budget.left() <= 0:
            raise OutOfTime

    def _at_once(self, predictor: Predictor) -> int:
        size = predictor.frame.resizing.size
        return images_at_once(predictor.tta, size, self.world.device) if size else 1

    def _weights(self, ids: Sequence[str]) -> dict[str, float]:
        """About the pixels that an image costs: the network's, or its own where it keeps its size; and reading it."""
        sizes: dict[str, float] = {}
        for id in ids[:: max(1, len(ids) // SIZES)] if self.budget.is_limited else ():
            with contextlib.suppress(ValueError, OSError, LookupError):
                height, width = self.job.images[0].shape(id)
                sizes[id] = float(height * width)
        usual = sum(sizes.values()) / len(sizes) if sizes else 1.0
        each = [saved.frame.resizing.size for saved in self.networks.saved]
        return {id: sum(_weight(sizes.get(id, usual), size) for size in each) for id in ids}


def _weight(pixels: float, size: tuple[int, int] | None) -> float:
    return size[0] * size[1] + NETWORK_PIXELS * pixels if size else pixels


class _Noting(Dataset):
    """Images of which those that cannot be read are noted in `bad`."""

    def __init__(self, images: Dataset, bad: dict[str, str]) -> None:
        self.images, self.bad = images, bad
        self.channels, self.dtype = images.channels, images.dtype

    def read_image(self, id: str) -> np.ndarray:
        """Read an image; notes what is wrong with it, and raises it again."""
        try:
            image = self.images.read_image(id)
            check_image(id, image, self.channels, self.dtype)
            return image
        except Exception as error:
            self.bad[id] = name_error(id, error)
            raise


def _each_device(devices: Sequence[str]) -> list[str]:
    """The devices by name; of "auto" every GPU, else the one that there is."""
    if list(devices) != ["auto"]:
        return list(devices)
    count = torch.cuda.device_count()
    return [f"cuda:{number}" for number in range(count)] if count > 1 else ["auto"]
