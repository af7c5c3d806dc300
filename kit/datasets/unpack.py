"""Unpacks zips and tars from anywhere: all members are checked before the first is written, and only files are made.

The checks are kit's own. tarfile's filter="data" accepts links inside the folder, names that occur twice or differ in
case alone, and any size and number; it removes the slash of absolute names without a word (tried with Python 3.11).
zipfile checks less.
"""

import functools
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from kit.system.files import check_name, raise_all

MAX_BYTES, MAX_FILES = 8 << 30, 100_000  # of all that is unpacked; VOC takes 2 GB and 40,000 files
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, EOFError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """A member of an archive. odd: what it is if it is no regular file (a link, a special file), else None."""

    name: str
    size: int
    odd: str | None
    open: Callable[[], BinaryIO]


def unpack(archives: Sequence[tuple[Path, str]], folder: Path) -> None:
    """Unpack members of zips and tars into `folder`, which must not exist; all together, or none.

    archives: paths, each with a pattern: of a member that it matches in full, group 1 is the path in `folder`. Other
    members are never written. Folders are made where files need them; owners, permissions and times are dropped.
    Raises ValueError listing every unsafe member (outside the folder, absolute, a link, a device, twice, different in
    case alone, too many, too large) before anything is written, or naming a damaged archive; OSError without room.
    """
    with ExitStack() as stack:
        members, problems = {}, []
        for path, keep in archives:
            opened = stack.enter_context(_open_archive(path))
            try:
                _choose(_members(opened), keep, members, problems)
            except DAMAGE as error:
                raise ValueError(f"{path} is damaged or cut short ({error})") from error
        raise_all(problems, f"members of {', '.join(str(path) for path, _ in archives)} cannot be unpacked safely")
        if not members:
            raise ValueError(f"{archives[0][0]} holds nothing of this data set: no member matches {archives[0][1]}")
        check_room(folder.parent, sum(member.size for member in members.values()), folder)
        folder.mkdir()
        try:
            for name, member in tqdm(members.items(), "unpacking", leave=False, disable=None):
                _write(member, folder / name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _write(member: Member, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with member.open() as source, path.open("xb") as file:
            shutil.copyfileobj(source, file)
    except DAMAGE as error:
        raise ValueError(f"{member.name} cannot be unpacked ({error}): the archive is damaged") from error
    if path.stat().st_size != member.size:
        raise ValueError(f"{member.name} is cut short: the archive is damaged")


def _open_archive(path: Path) -> zipfile.ZipFile | tarfile.TarFile:
    """Open a zip or tar. The first bytes decide, because names can be wrong and a tar may end in a zip."""
    with path.open("rb") as file:
        head = file.read(512)
    try:
        return zipfile.ZipFile(path) if head.startswith((b"PK\3\4", b"PK\5\6")) else tarfile.open(path, tarinfo=_Header)
    except DAMAGE as error:
        what = "a web page" if is_page(head) else f"it begins {head[:16]!r}"
        raise ValueError(f"{path} is no zip or tar, or damaged: {what} ({error})") from error


class _Header(tarfile.TarInfo):
    """Refuses a member whose name alone is a bomb: tarfile reads names into memory."""

    def _proc_member(self, archive):
        if self.type in _NAMES and self.size > 1 << 20:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(archive)


_NAMES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


def _members(archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[Member]:
    """Every member that is no folder. A tar's come one by one, so that the caller can stop inside a bomb."""
    if isinstance(archive, zipfile.ZipFile):
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the zip does not come from Unix
            odd = None if kind in {0, stat.S_IFREG} else "a link" if kind == stat.S_IFLNK else "a special file"
            if not info.is_dir():
                yield Member(info.filename, info.file_size, odd, functools.partial(archive.open, info))
    else:
        for info in archive:
            odd = None if info.isreg() else "a link" if info.issym() or info.islnk() else "a special file"
            if not info.isdir():
                yield Member(info.name, info.size, odd, functools.partial(archive.extractfile, info))


def _choose(found: Iterable[Member], keep: str, members: dict[str, Member], problems: list[str]) -> None:
    """Add the members that `keep` matches to `members`, {path: member}, and their faults to `problems`."""
    total = sum(member.size for member in members.values())
    seen = {_fold(name): name for name in members}  # some file systems ignore case and the spelling of accents
    folders = {parent for name in seen for parent in _parents(name)}
    for count, member in enumerate(found, len(members) + 1):
        total += abs(member.size)  # a tar can state sizes below 0
        if count > MAX_FILES or total > MAX_BYTES:
            problems.append(f"more than {MAX_FILES} files, or than {in_words(MAX_BYTES)}: the rest was not looked at")
            return
        match = re.fullmatch(keep, member.name.removeprefix("./"), re.DOTALL)
        if match is None:
            continue
        name, folded = match[1], _fold(match[1])
        if member.odd is not None:
            problems.append(f"{member.name!r} is {member.odd}")
        elif fault := _path_fault(name):
            problems.append(f"{member.name!r}: {fault}")
        elif folded in seen:
            same = seen[folded] == name
            problems.append(f"{member.name!r} is there {'twice' if same else f'also as {seen[folded]!r}'}")
        elif folded in folders or not seen.keys().isdisjoint(_parents(folded)):
            problems.append(f"{member.name!r} is a file and a folder")
        seen.setdefault(folded, name)
        folders.update(_parents(folded))
        members[name] = member


def _path_fault(name: str) -> str | None:
    """Why `name` is unfit as a path below a folder on some system, in words; None if it is fit."""
    try:
        for part in name.split("/"):
            if ":" in check_name(part):
                return "a colon is a drive or a stream on Windows"
    except ValueError:
        return "leads out of the folder, or has an empty, overlong or odd part"
    return None


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name.casefold())


def _parents(name: str) -> list[str]:
    return [name[: slash.start()] for slash in re.finditer("/", name)]


def check_room(folder: Path, needed: int, what: object) -> None:
    """Raise OSError if the disk of `folder` has fewer than `needed` bytes left, which `what` needs."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{what} needs {in_words(needed)} and {folder} has {in_words(free)} left")


def is_page(head: bytes) -> bool:
    """Whether a file that begins like this is a web page (an error, a login)."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml"))


def in_words(count: int) -> str:
    """Bytes as "1.5 GB" or "0.2 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
