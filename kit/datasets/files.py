"""Where a competition's data lies, and its files, whether unpacked or still in Kaggle's zips."""

import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.data.images import BadImage, image_size
from kit.system.files import cache_folder, check_id, check_name, list_some, write_atomic

if TYPE_CHECKING:
    from kit.data.dataset import Dataset

HIDDEN = {"__MACOSX", "Thumbs.db", "desktop.ini"}
STUDIO_MARKER = "studio.json"  # lies in a folder of Carvana's layout that kit drew (studio.py)
HEADER_BYTES = 65536  # where the size of a photograph is found without reading all of it


def find_data(competition_name: str, slug: str, data_dir: Path | str | None = None) -> Path | None:
    """Return the first folder that exists, or None.

    In order: `data_dir`, $KIT_DATA/<competition_name>, data/<competition_name>, /kaggle/input/<slug>,
    /kaggle/input/competitions/<slug>. Raises FileNotFoundError if `data_dir` is given and is no folder: whoever
    names a folder must not get another's data.
    """
    if data_dir is not None:
        if not Path(data_dir).is_dir():
            raise FileNotFoundError(f"--data-dir {data_dir} is no folder; expected the folder of the data set's files")
        return Path(data_dir)
    places = [Path("data", competition_name), Path("/kaggle/input", slug), Path("/kaggle/input/competitions", slug)]
    if os.environ.get("KIT_DATA"):
        places.insert(0, Path(os.environ["KIT_DATA"], competition_name))
    return next((place for place in places if place.is_dir()), None)


def require_data(competition: type["Dataset"], data_dir: Path | str | None = None) -> Path:
    """Return find_data's folder of a competition's class. Raises FileNotFoundError naming every place and a way out."""
    name, slug = competition.name, competition.slug
    found = find_data(name, slug, data_dir)
    if found is None:
        raise FileNotFoundError(
            f"no {name} data in $KIT_DATA/{name}, data/{name}, /kaggle/input/{slug} or "
            f"/kaggle/input/competitions/{slug}. Give its folder with --data-dir, or get it by: "
            f"python -m kit download {name}"
        )
    return found


def files_by_id(
    names: Iterable[str], folder: str, pattern: re.Pattern, example: str, problems: list[str]
) -> dict[str, str]:
    """Map ids to "folder/name" for the file names of one folder; group 1 of `pattern` is the id.

    What is misnamed (not like `example`), unsafe or double (a.jpg and A.jpeg are one id) goes to `problems`.
    """
    files, first = {}, {}
    for name in names:
        match = pattern.fullmatch(name)
        if match is None:
            problems.append(f"{folder}/{name!a} is not named like {example}")
            continue
        try:
            id = check_id(match[1])
        except ValueError as error:
            problems.append(f"{folder}/{name!a}: {error}")
            continue
        if first.setdefault(id.casefold(), name) != name:
            problems.append(f"{folder}/{name} has the same id as {folder}/{first[id.casefold()]}")
            continue
        files[id] = f"{folder}/{name}"
    return files


def check_size(mask: np.ndarray, size: tuple[int, int], name: str, image: str) -> np.ndarray:
    """Return `mask` if it is of its image's `size` (height, width), else raise BadImage naming both files."""
    if mask.shape != size:
        raise BadImage(f"{name}: a mask of {mask.shape}, expected {size} like {image}")
    return mask


def picture_size(data: "DataFolder", path: str) -> tuple[int, int]:
    """(H, W) of a picture from its header, most of the file unread. Raises BadImage or OSError."""
    try:
        return image_size(data.read(path, HEADER_BYTES), path)
    except BadImage:  # colour profile and thumbnail may push the size further back
        return image_size(data.read(path), path)


def fingerprint_of(data: "DataFolder", folders: Iterable[str]) -> str:
    """SHA-256 over the sorted names and sizes in bytes of the files in `folders`; contents are not read.

    The same for folders and zips. It tells data sets apart, not an edit that keeps a file's size.
    """
    sizes = {folder: sorted(data.sizes(folder).items()) for folder in folders}
    return hashlib.sha256(repr(sizes).encode()).hexdigest()


class DataFolder:
    """The files of a competition, by paths such as "train/a.jpg": in folders, or in zips of the same name.

    "train/a.jpg" is root/train/a.jpg, else "train/a.jpg" or "a.jpg" inside root/train.zip; "labels.csv" is
    root/labels.csv, else inside root/labels.csv.zip. A folder or file wins over the zip.
    Zips are opened when first read, once a process, so that the object may be pickled, forked and read by threads.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self._archives = {}  # (process, zip's path) -> (ZipFile, {name: ZipInfo})

    def __getstate__(self):
        return {"root": self.root, "_archives": {}}

    def sizes(self, folder: str) -> dict[str, int]:
        """Map each file name of `folder` to its size in bytes."""
        if (self.root / folder).is_dir():
            return {name: (self.root / folder / name).stat().st_size for name in self.names(folder)}
        return {name: info.file_size for name, info in self._members(folder).items()}

    def names(self, folder: str) -> list[str]:
        """The sorted file names in `folder`, hidden ones left out; none where it does not exist.

        Raises ValueError listing all that is neither a regular file nor a link to one: folders, pipes, link loops.
        """
        if not (self.root / folder).is_dir():
            return sorted(self._members(folder))
        with os.scandir(self.root / folder) as entries:
            regular = {entry.name: _is_regular(entry) for entry in entries if not _is_hidden(entry.name)}
        if odd := sorted(name for name, fine in regular.items() if not fine):
            raise ValueError(f"{self.root / folder} holds what is no regular file; remove it: {list_some(odd)}")
        return sorted(regular)

    def read(self, path: str, count: int = -1) -> bytes:
        """Return the bytes of `path`, or its first `count`. Raises ValueError or OSError, with the file named."""
        top, _, name = path.rpartition("/")
        check_name(top or name)  # one folder deep, and never outside the root
        check_name(name)
        if (self.root / (top or path)).exists():
            if not (self.root / path).is_file():  # a pipe would wait for ever
                raise FileNotFoundError(f"{self.root / path} is missing, or no regular file")
            with (self.root / path).open("rb") as file:
                return file.read(count)
        archive, members = self._archive(top or path)
        if name not in members:
            raise FileNotFoundError(f"{self.root / path} is missing, as is {name} in {self._zip_path(top or path)}")
        try:
            with archive.open(members[name]) as file:
                return file.read(count)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
            raise ValueError(f"{archive.filename}: {name} cannot be read ({error}). Fetch the zip again") from error

    def path(self, name: str) -> Path | None:
        """Return the file `name` of the root as a path, a copy in the cache if it lies in a zip; None if absent."""
        if (self.root / name).is_file():
            return self.root / name
        if name not in self._members(name):
            return None
        content = self.read(name)
        copy = cache_folder() / "unzipped" / hashlib.sha256(content).hexdigest()[:16] / name
        if not copy.is_file():
            write_atomic(copy, content)
        return copy

    def _zip_path(self, top: str) -> Path:
        return self.root / f"{top}.zip"

    def _members(self, top: str) -> dict[str, zipfile.ZipInfo]:
        return self._archive(top)[1] if self._zip_path(top).is_file() else {}

    def _archive(self, top: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
        """The open zip of this process: a handle shared over a fork would share its position in the file."""
        path = self._zip_path(top)
        key = (os.getpid(), path)
        if key not in self._archives:
            try:
                archive = zipfile.ZipFile(path)
            except zipfile.BadZipFile as error:
                raise ValueError(f"{path} is damaged or cut short ({error}). Fetch it again") from error
            self._archives.setdefault(key, (archive, _list_members(archive, top)))
        return self._archives[key]


def _list_members(archive: zipfile.ZipFile, top: str) -> dict[str, zipfile.ZipInfo]:
    """Map file names to members, refusing any that a careless unpacker would put elsewhere."""
    members, odd = {}, []
    for info in archive.infolist():
        name = info.filename.removeprefix(f"{top}/")
        if info.is_dir() or any(_is_hidden(part) for part in re.split(r"[/\\]", name)):
            continue
        link = stat.S_ISLNK(info.external_attr >> 16)
        if link or "/" in name or "\\" in name or name in members:
            odd.append(info.filename)
        members[name] = info
    if odd:
        raise ValueError(
            f"{archive.filename} holds links, paths, or a name twice, expected files of {top}: {list_some(odd)}"
        )
    return members


def _is_hidden(name: str) -> bool:
    return (name.startswith(".") and name not in {".", ".."}) or name in HIDDEN


def _is_regular(entry: os.DirEntry) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False
