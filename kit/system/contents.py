"""What files hold, named by CRC-32 and size, and kept so that a file is read again only after it changed.

    name_contents("data/cars", ["train/a.jpg"])  # {"train/a.jpg": (3405691582, 10240)}

A file counts as unchanged while its size, its time of modification (mtime) and its time of change (ctime) are those of
the last reading. Programs can set mtime back, but not ctime. (On Windows ctime is the time of creation.)
Times have a grain: a file that was written just before it was read may change again without another time. Its CRC is
not kept, and the next call reads it again.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import stat
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from kit.system.files import cache_folder, write_atomic
from kit.system.threads import ordered_map

Result = TypeVar("Result")
Content = tuple[int | None, int]  # CRC-32, None where a file cannot be read; size in bytes
Stamp = tuple[int, int, int]  # size in bytes, mtime and ctime in nanoseconds
FORMAT = 1  # raised when the form of the table changes
GRAIN = 60_000_000_000  # nanoseconds: a file that is mapped into memory gets its times when its pages are written
LONG = 5.0  # seconds after which one line says that files are being read
PIECE = 1 << 20  # bytes of a file that a thread holds
BATCH = 64  # files in a thread's task: a task costs as much as a small file
THREADS = min(32, 4 + (os.cpu_count() or 1))  # more than processors: over a network a thread mostly waits
_keeping = threading.Lock()


def name_contents(root: Path | str, paths: Iterable[str]) -> dict[str, Content]:
    """Map each path below `root` to the CRC-32 and the size of its file. Copies of a file have the same ones.

    Changed files are read in threads, in pieces. Their CRCs are kept in memory, and in a table below the cache folder,
    one for each root. Where the table cannot be written, the next process reads the files again.
    Raises OSError for a path that is missing or no regular file. A file that cannot be read has the CRC None.
    """
    begin, root = time.time_ns(), os.path.realpath(root)
    path = cache_folder() / "contents" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}-v{FORMAT}.json"
    table, stamps = _table(path), dict(_for_all(_stamp, root, paths))
    crcs = {name: _kept_crc(table, name, stamp) for name, stamp in stamps.items()}
    changed = {name: stamp for name, stamp in stamps.items() if crcs[name] is None}
    entries: dict[str, str] = {}
    try:
        with _saying_when_long(len(changed), sum(stamp[0] for stamp in changed.values())) as progress:
            for name, crc in _for_all(functools.partial(_crc, progress=progress), root, changed):
                crcs[name] = crc
                if crc is not None and _is_steady(changed[name], begin):
                    entries[name] = _entry(changed[name], crc)
    finally:  # also what was read before Ctrl-C
        _keep(path, table, entries)
    return {name: (crcs[name], stamp[0]) for name, stamp in stamps.items()}


def _for_all(work: Callable[[str], Result], root: str, names: Iterable[str]) -> Iterator[tuple[str, Result]]:
    """Each name once, with work(its path), done in threads."""
    names = list(dict.fromkeys(names))
    batches = (names[start : start + BATCH] for start in range(0, len(names), BATCH))
    done = ordered_map(lambda batch: [work(f"{root}/{name}") for name in batch], batches, THREADS)
    return zip(names, itertools.chain.from_iterable(done), strict=True)


def _stamp(path: str) -> Stamp:
    """What the system says of a file. Raises OSError if it is missing or no regular file."""
    facts = os.stat(path)  # noqa: PTH116 (pathlib takes twice as long)
    if not stat.S_ISREG(facts.st_mode):  # reading a pipe would wait for ever
        raise FileNotFoundError(f"{path} is no regular file")
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _is_steady(stamp: Stamp, now: int) -> bool:
    """Whether a later change gives the file another stamp: it is older than the grain of its times.

    A ctime in the future comes from another clock, whose "now" is not known. An mtime in the future is often a copy's.
    """
    _, mtime, ctime = stamp
    return now - ctime > GRAIN and abs(now - mtime) > GRAIN


def _crc(path: str, progress: list[int]) -> int | None:
    """The CRC-32 of a file, None if it cannot be read; the numbers of bytes read go to `progress`."""
    crc = 0
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (as above)
            while piece := file.read(PIECE):
                crc = zlib.crc32(piece, crc)
                progress.append(len(piece))
    except OSError:
        return None
    return crc


@contextlib.contextmanager
def _saying_when_long(count: int, total: int) -> Iterator[list[int]]:
    """A list for the numbers of bytes read; after LONG seconds one line says how long the rest will take."""
    progress: list[int] = []
    if not count:
        yield progress
        return

    def say() -> None:
        rest = f": about {LONG * max(0, total / done - 1):.0f} s more" if (done := sum(progress)) else ""
        print(f"reading {count:,} file{'s' * (count != 1)} once, to name their content{rest}", flush=True)

    timer = threading.Timer(LONG, say)
    timer.daemon = True
    timer.start()
    try:
        yield progress
    finally:
        timer.cancel()


@functools.lru_cache(8)
def _table(path: Path) -> dict[str, str]:
    """The table of a root, in memory from its first use on; empty where the file is missing or damaged."""
    return _load(path)


def _load(path: Path) -> dict[str, str]:
    try:
        crc, _, content = path.read_bytes().partition(b"\n")
        return json.loads(content) if int(crc, 16) == zlib.crc32(content) else {}
    except (OSError, ValueError):
        return {}


def _keep(path: Path, table: dict[str, str], entries: Mapping[str, str]) -> None:
    """Add entries to the table, and to its file what other processes have added too."""
    if not entries:
        return
    with _keeping:
        table |= entries
        content = json.dumps(_load(path) | table)
        with contextlib.suppress(OSError):
            write_atomic(path, f"{zlib.crc32(content.encode()):08x}\n{content}")


def _entry(stamp: Stamp, crc: int) -> str:
    """A line of the table: text, because lists of numbers take three times as long to load."""
    return f"{stamp[0]} {stamp[1]} {stamp[2]} {crc}"


def _kept_crc(table: Mapping[str, str], name: str, stamp: Stamp) -> int | None:
    """The CRC-32 in the table, if the file is unchanged."""
    kept, _, crc = table.get(name, "").rpartition(" ")
    return int(crc) if kept == f"{stamp[0]} {stamp[1]} {stamp[2]}" else None
