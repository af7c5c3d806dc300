"""The members of a zip that is read in place, without those that a careless unpacker would put elsewhere."""

import re
import stat
import zipfile

from kit.datasets.names import nfc
from kit.datasets.walking import is_hidden
from kit.system.files import list_some


def list_members(archive: zipfile.ZipFile, top: str) -> dict[str, zipfile.ZipInfo]:
    """Map each file's path (NFC), without a first folder `top`, to its member; hidden files are left out.

    Raises ValueError listing links, paths that lead out of the archive, and names that are there twice.
    """
    members, odd = {}, []
    for info in archive.infolist():
        name = nfc(info.filename.removeprefix(f"{top}/"))
        parts = re.split(r"[/\\]", name)
        if info.is_dir() or any(is_hidden(part) for part in parts):
            continue
        unsafe = "\\" in name or any(part in {"", ".", ".."} for part in parts)
        if stat.S_ISLNK(info.external_attr >> 16) or unsafe or name in members:
            odd.append(info.filename)
        members[name] = info
    if odd:
        raise ValueError(
            f"{archive.filename} holds links, paths, or a name twice, expected files of {top}: {list_some(odd)}"
        )
    return members
