"""A data set's files by paths below its folder, whether they lie in folders or still in Kaggle's zips."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from kit.datasets.archives import list_members
from kit.datasets.names import nfc
from kit.datasets.walking import is_hidden, kind_of, walk
from kit.system.contents import Content, name_contents
from kit.system.files import cache_folder, check_name, list_some, write_atomic


class DataFolder:
    """The files of a data set, by paths ("train/a.jpg"), in folders or in zips of the same name.

    "train/a.jpg" is root/train/a.jpg, else "train/a.jpg" or "a.jpg" inside root/train.zip; "labels.csv" is
    root/labels.csv, else inside root/labels.csv.zip. A folder or file wins over the zip. A path is found in either
    Unicode spelling of its accents (NFC or NFD).
    Each process opens a zip when it first reads from it, so that the object may be pickled, forked and read by threads.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self._archives = {}  # (process, zip's path) -> (ZipFile, {name: ZipInfo})
        self._spellings = {}  # folder -> {name in NFC: name on the disk}

    def __getstate__(self):
        return {"root": self.root, "_archives": {}, "_spellings": {}}

    def names(self, folder: str) -> list[str]:
        """The sorted file names in `folder`, as spelt on the disk, without hidden ones; none where it does not exist.

        Raises ValueError listing all that is no regular file and no link to one: folders, pipes, broken links.
        """
        place = self.root / self._spelt(folder)
        if not place.is_dir():
            return self._flat_members(folder)
        with os.scandir(place) as entries:
            kinds = {entry.name: kind_of(entry) for entry in entries if not is_hidden(entry.name)}
        if odd := sorted(f"{name} ({kind})" for name, kind in kinds.items() if kind != "a file"):
            raise ValueError(
                f"{place} holds entries that are no regular files. Move them elsewhere; if the data has a "
                f"layout of its own, describe it with kit.datasets.Folder:{list_some(odd)}"
            )
        return sorted(kinds)

    def files(self, folder: str = "") -> tuple[list[str], list[str]]:
        """Sorted paths of all files below `folder`, also in zips; and a line for each entry that is no file.

        Raises ValueError for a damaged or unsafe zip.
        """
        place = self.root / self._spelt(folder) if folder else self.root
        files, odd = walk(self.root, self._spelt(folder)) if place.is_dir() else ([], [])
        if folder:
            top = folder.partition("/")[0]
            tops = [] if (self.root / self._spelt(top)).exists() else [top]
        else:
            tops = sorted(path.stem for path in self.root.glob("*.zip") if path.is_file() and not is_hidden(path.name))
            tops = [top for top in tops if not (self.root / top).exists()]
        packed = [name if name == top else f"{top}/{name}" for top in tops for name in self._members(top)]
        below = [path for path in packed if not folder or path.startswith(f"{folder}/")]
        return sorted([*(path for path in files if path not in {f"{top}.zip" for top in tops}), *below]), odd

    def contents(self, paths: Iterable[str]) -> dict[str, Content]:
        """Map each path to the CRC-32 and the size of what it holds, the same for a file in a folder and in a zip.

        A zip's list of members has both. Other files are read once, and again only after they changed.
        Raises OSError or ValueError.
        """
        by_top: dict[str, list[str]] = {}
        for path in paths:
            by_top.setdefault(path.partition("/")[0], []).append(path)
        spelt, found = {}, {}
        for top, own in by_top.items():
            if (self.root / self._spelt(top)).exists():
                spelt |= {path: self._spelt(path) for path in own}
                continue
            members = self._members(top)
            infos = {path: members.get(nfc(path.partition("/")[2] or top)) or self._member(path)[1] for path in own}
            found |= {path: (info.CRC, info.file_size) for path, info in infos.items()}
        on_disk = name_contents(self.root, spelt.values())
        return found | {path: on_disk[name] for path, name in spelt.items()}

    def read(self, path: str, count: int = -1) -> bytes:
        """Return the bytes of `path`, or its first `count`. Raises ValueError or OSError, with the file named."""
        for part in path.split("/"):
            check_name(part)  # never outside the root
        top = path.partition("/")[0]
        if (self.root / self._spelt(top)).exists():
            place = self.root / self._spelt(path)
            if not place.is_file():  # reading a pipe would wait for ever
                raise FileNotFoundError(f"{self.root / path} is missing, or no regular file")
            with place.open("rb") as file:
                return file.read(count)
        archive, member = self._member(path)
        try:
            with archive.open(member) as file:
                return file.read(count)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
            name = path.partition("/")[2] or path
            raise ValueError(f"{archive.filename}: {name} cannot be read ({error}). Fetch the zip again") from error

    def path(self, name: str) -> Path | None:
        """Return the file `name` below the root as a path, a copy in the cache if it lies in a zip; None if absent."""
        for part in name.split("/"):
            check_name(part)  # never outside the root
        if (self.root / self._spelt(name)).is_file():
            return self.root / self._spelt(name)
        try:
            content = self.read(name)
        except FileNotFoundError:
            return None
        copy = cache_folder() / "unzipped" / hashlib.sha256(content).hexdigest()[:16] / Path(name).name
        if not copy.is_file():
            write_atomic(copy, content)
        return copy

    def _spelt(self, path: str) -> str:
        """The path with each part as the disk spells it; unchanged where there is no such file."""
        if path.isascii() or (self.root / path).exists():
            return path
        spelt = ""
        for part in path.split("/"):
            if spelt not in self._spellings:
                place = self.root / spelt
                found = place.iterdir() if place.is_dir() else []
                self._spellings[spelt] = {nfc(file.name): file.name for file in found}
            own = self._spellings[spelt].get(nfc(part), part)
            spelt = f"{spelt}/{own}" if spelt else own
        return spelt

    def _flat_members(self, folder: str) -> list[str]:
        """The names of a zip's files that lie in no folder but `folder`. Raises ValueError where others do."""
        top, _, rest = folder.partition("/")
        names = [
            name.removeprefix(f"{rest}/") for name in self._members(top) if not rest or name.startswith(f"{rest}/")
        ]
        if deep := [name for name in names if "/" in name]:
            raise ValueError(
                f"{self._zip_path(top)} holds links, paths, or a name twice, expected files of {folder} alone. If the "
                f"data has a layout of its own, describe it with kit.datasets.Folder:{list_some(deep)}"
            )
        return sorted(names)

    def _member(self, path: str) -> tuple[zipfile.ZipFile, zipfile.ZipInfo]:
        """The open zip and the member that is `path`. Raises FileNotFoundError."""
        top, _, name = path.partition("/")
        if not self._zip_path(top).is_file():
            raise FileNotFoundError(f"{self.root / path} is missing, and there is no {self._zip_path(top)}")
        archive, members = self._archive(top)
        if (name := nfc(name or top)) not in members:
            raise FileNotFoundError(f"{self.root / path} is missing, as is {name} in {self._zip_path(top)}")
        return archive, members[name]

    def _zip_path(self, top: str) -> Path:
        return self.root / self._spelt(f"{top}.zip")

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
            self._archives.setdefault(key, (archive, list_members(archive, top)))
        return self._archives[key]
