"""Every file below a folder, however deep, with an end: link loops, pipes and devices are listed, never followed."""

import os
from pathlib import Path

MAX_FILES = 1_000_000
HIDDEN = {"__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir"}


def walk(root: Path, folder: str = "") -> tuple[list[str], list[str]]:
    """Sorted paths of the regular files below root/folder, relative to `root` with forward slashes; and odd entries.

    Hidden files and folders are left out. Links to folders are followed, but not back into a folder that they lie in.
    The odd entries are pipes, devices, broken links and link loops, each with its kind in words.
    Raises ValueError for more than MAX_FILES files.
    """
    files, odd = [], []
    _walk(root, folder, (), files, odd)
    return sorted(files), sorted(odd)


def _walk(root: Path, folder: str, above: tuple, files: list[str], odd: list[str]) -> None:
    place = root / folder
    facts = place.stat()
    here = (facts.st_dev, facts.st_ino)
    if here in above:
        odd.append(f"{folder} (a link to a folder that it lies in)")
        return
    with os.scandir(place) as found:
        entries = sorted((entry for entry in found if not is_hidden(entry.name)), key=lambda entry: entry.name)
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        kind = kind_of(entry)
        if kind == "a folder":
            _walk(root, path, (*above, here), files, odd)
        elif kind == "a file":
            files.append(path)
        else:
            odd.append(f"{path} ({kind})")
        if len(files) > MAX_FILES:
            raise ValueError(f"{root} holds more than {MAX_FILES:,} files; name a smaller folder")


def kind_of(entry: os.DirEntry) -> str:
    """What an entry of a folder is, in words: a file, a folder, a broken link, a pipe or device."""
    try:
        if entry.is_file():
            return "a file"
        if entry.is_dir():
            return "a folder"
    except OSError:  # a link that leads to itself
        return "a broken link"
    return "a broken link" if entry.is_symlink() and not Path(entry.path).exists() else "a pipe or device"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is clutter that systems leave: names with a dot first, and a few more."""
    return (name.startswith(".") and name not in {".", ".."}) or name in HIDDEN
