"""Builds a cache slowly in another process, for tests that stop it.

The processes are forked from a server, which has imported torch once: a new interpreter takes seconds to do so.
"""

import multiprocessing
import os
import time
from pathlib import Path

from tiny import TinyDataset

from kit.data import cache
from kit.data.cache import ImageCache
from kit.data.resize import Resizing

SIZE = (32, 40)
# of the server, before a test starts it: what kit.training.loaders asks for, and what tiny imports
multiprocessing.set_forkserver_preload(["torch", "kit.data.samples", "kit.scoring", "kit.submission"])


class Slow(TinyDataset):
    """Logs each id, then waits. The environment says where and how long: an attribute would be part of the key."""

    def read_image(self, id):
        with Path(os.environ["SLOW_LOG"]).open("a") as log:
            print(id, file=log, flush=True)
        time.sleep(float(os.environ["SLOW_SECONDS"]))
        return super().read_image(id)


def build(root, seconds):
    os.environ.update(SLOW_LOG=str(root / "log"), SLOW_SECONDS=str(seconds))
    cache.CHUNK = 4
    ImageCache.open(Slow(), Resizing(SIZE), root)


def start_build(root, seconds):
    process = multiprocessing.get_context("forkserver").Process(target=build, args=(root, seconds))
    process.start()
    return process


def stop_build(root, after, sign):
    """Stop a build when it has begun to read `after` images; the ids that it began."""
    process, log = start_build(root, 0.2), root / "log"
    while not log.exists() or len(log.read_text().split()) < after:
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid, sign)
    process.join()
    return log.read_text().split()
