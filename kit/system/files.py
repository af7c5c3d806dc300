"""Files that are never half written, names that are safe as paths, and the lock of a run folder."""

import contextlib
import functools
import hashlib
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import filelock

Value = TypeVar("Value")

MAX_BYTES = 200  # of a name; file systems take 255, and kit adds suffixes
ESCAPED = frozenset('/%:*?"<>|')


def write_atomic(path: Path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write `path` whole or not at all: into a file beside it that is flushed to the disk, then renamed over it.

    content: the bytes, the text (UTF-8), or a function that writes into an open binary file.
    When the process is killed or the disk fills at any byte, the old file is still there, untouched.
    Raises OSError naming `path` when it cannot be written; nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = content.encode()
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb", buffering=1 << 20) as file:
            content(file) if callable(content) else file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.filename not in {None, str(partial)}:
            raise  # of a file that `content` reads
        raise OSError(
            error.errno, f"could not write {path} (the old file, if any, is intact): {error.strerror or error}"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def link_atomic(source: Path, path: Path) -> None:
    """Make `path` the file that `source` is now, whole or not at all: a hard link, or a copy where links fail.

    When write_atomic later replaces one of the two, the other stays as it is.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        os.link(source, partial)
    except OSError:
        write_atomic(path, source.read_bytes())
        return
    partial.replace(path)
    sync_folder(path.parent)


def digest(path: Path) -> str:
    """The file's SHA-256; kept in memory for a file that has not changed since."""
    facts = path.stat()
    return _digest_of(path, facts.st_ino, facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(64)
def _digest_of(path: Path, *facts: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_hash(value: object) -> str:
    """16 hexadecimal digits that change when the value's repr does."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut, where the system allows it (not on Windows)."""
    with contextlib.suppress(OSError):  # some file systems refuse: the file itself is safe by then
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_id(name: str) -> str:
    """Return `name` if it is a safe id, else raise ValueError.

    An id may hold slashes between its parts, as in "case1/case1_day0/slice_0001". Refused: an empty id or part, a
    part "." or "..", a backslash, a control character, and more than 200 bytes in its file_name.
    """
    if not _has_safe_characters(name) or len(file_name(name).encode()) > MAX_BYTES or _has_odd_part(name):
        raise ValueError(
            f"the id {name!r} is no file name: expected 1 to {MAX_BYTES} bytes without \\ or control characters, and "
            "slashes only between parts that are not empty, . or .."
        )
    return name


def check_name(name: str) -> str:
    """Return `name` if it is safe as the name of one file or folder: check_id without slashes. Raises ValueError."""
    safe = _has_safe_characters(name) and "/" not in name and len(name.encode()) <= MAX_BYTES
    if not safe or _has_odd_part(name):
        raise ValueError(
            f"{name!r} is no file name: expected 1 to {MAX_BYTES} bytes without / \\ or control characters"
        )
    return name


def _has_safe_characters(name: str) -> bool:
    """Whether `name` is text that a file name can hold; a lone surrogate (0xD800 to 0xDFFF) has no UTF-8."""
    return isinstance(name, str) and not any(c == "\\" or ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in name)


def _has_odd_part(name: str) -> bool:
    return any(part in {"", ".", ".."} for part in name.split("/"))


def file_name(id: str) -> str:
    """The id as one file name, without a suffix. Two ids never share a name, and id_of gives the id back.

    A slash, a percent sign and the characters that Windows forbids become %XX. Most ids stay as they are.
    """
    return "".join(f"%{ord(c):02X}" if c in ESCAPED else c for c in id)


def id_of(name: str) -> str:
    """The id that file_name made `name` of."""
    return re.sub("%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), name)


def cache_folder() -> Path:
    """The folder for files that can be made again: $KIT_CACHE, ~/.cache/kit, or one below the temporary folder."""
    if os.environ.get("KIT_CACHE"):
        return Path(os.environ["KIT_CACHE"])
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "kit"
        home.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return Path(tempfile.gettempdir()) / "kit"
    return home if os.access(home, os.W_OK) else Path(tempfile.gettempdir()) / "kit"


@contextlib.contextmanager
def run_lock(folder: Path, wait: float = 0, way_out: str = "") -> Iterator[None]:
    """Hold a lock on `folder` for this process; the system frees it when the process ends, however it ends.

    wait: seconds to wait for another holder, -1 without end. way_out: advice for the message, beside waiting.
    Raises BlockingIOError naming the folder when another process keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock", timeout=wait)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BlockingIOError(f"another run is at work in {folder}. Wait for it, or end it{way_out}") from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether another process holds the lock on `folder`."""
    try:
        with run_lock(folder):
            return False
    except BlockingIOError:
        return True


def spread(values: Sequence[Value], count: int) -> list[Value]:
    """At most `count` of the values, in their order, spread evenly, the first and the last among them."""
    if len(values) <= count:
        return list(values)
    return [values[round(place * (len(values) - 1) / max(1, count - 1))] for place in range(count)]


def list_some(items: Sequence[str], limit: int = 20) -> str:
    """Text for a message, one item a line: the first `limit`, and how many more there are.

    A last sentence that three or more items share, mostly what to do, is said once, below these.
    """
    shown = items[:limit]
    more = [f"… and {len(items) - limit} more"] if len(items) > limit else []
    parts: dict[str, list[str]] = {}
    for item, end in zip(shown, _shared_ends(shown), strict=True):
        parts.setdefault(end, []).append(item.removesuffix(end))
    if len(parts) == 1:
        parts = {end: beginnings + more for end, beginnings in parts.items()}
        more = []
    lines = [
        line
        for end, beginnings in parts.items()
        for line in (*beginnings, *([f"all of these: {end[2:]}"] if end else []))
    ]
    return "".join(f"\n  {line}" for line in [*lines, *more])


def _shared_ends(items: Sequence[str]) -> list[str]:
    """For each item the longest end, behind a full stop or semicolon, that three or more items have; else ""."""
    ends = [[item[found.start() :] for found in re.finditer(r"\. (?=[A-Z])|; ", item)] for item in items]
    counts = Counter(end for own in ends for end in own)
    return [next((end for end in own if counts[end] >= 3), "") for own in ends]


def counted(count: int, noun: str) -> str:
    """The count and its noun, in the plural unless there is one: "1 image", "3 images"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def raise_all(problems: Sequence[str], what: str) -> None:
    """Raise one ValueError that lists the problems; do nothing where there are none.

    what: begins with a plural noun, as in "masks cannot be read"; of one problem the noun becomes singular.
    """
    if problems:
        nouns, _, rest = what.partition(" ")
        raise ValueError(f"{counted(len(problems), nouns.removesuffix('s'))} {rest}:{list_some(problems)}")
