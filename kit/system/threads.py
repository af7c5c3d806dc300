"""Work done ahead in threads, its results in order.

A prediction is a chain of these: images are decoded ahead of the network and rows of the CSV are encoded behind it, so
only the network waits. Threads do the work, not processes: decoders and kernels release Python's lock, and no array is
copied from one process to another.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AT_ONCE = 4 * 2**30  # bytes that all threads together may hold
COPIES = 4  # of an image that a thread works on: as decoded, turned, in floats, resized

Item = TypeVar("Item")
Result = TypeVar("Result")


def threads_for(image_bytes: int = 0) -> int:
    """How many threads may read images of so many bytes: one a core, at most 32, as many as AT_ONCE has room for.

    0 bytes: not known, or too few to matter.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, 32, AT_ONCE // (COPIES * max(1, image_bytes))))


def ordered_map(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yield work(item) of each item, in their order.

    threads: how many work ahead; 0 starts none and computes each result when it is asked for.
    At most two items a thread are in work or waiting, so memory does not grow where the reader is slow. An error of
    `work` is raised in its item's place; an error of `items` is raised after all results before it. When the reader
    stops, items that are not begun are dropped.
    """
    if threads == 0:
        yield from map(work, items)
        return
    source, ended, waiting = iter(items), None, deque()
    pool = ThreadPoolExecutor(threads)
    try:
        while waiting or not ended:
            while not ended and len(waiting) < 2 * threads:
                try:
                    waiting.append(pool.submit(work, next(source)))
                except Exception as error:  # StopIteration, or what is wrong with the items
                    ended = error
            if waiting:
                yield waiting.popleft().result()
        if not isinstance(ended, StopIteration):
            raise ended
    finally:
        pool.shutdown(cancel_futures=True)


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items; a thread takes them from their source, two ahead of the reader."""
    end = object()
    source = itertools.chain(iter(items), itertools.repeat(end))  # the source is not asked again after its end
    taken = ordered_map(lambda _: next(source), itertools.count(), threads=1)
    return itertools.takewhile(lambda item: item is not end, taken)
