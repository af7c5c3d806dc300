"""Ids from file names. Names are compared in Unicode's composed form, NFC: macOS writes "é" as two characters (NFD)."""

import re
import unicodedata
from collections.abc import Iterable, Mapping

from kit.system.files import check_name


def nfc(text: str) -> str:
    """The text in Unicode's composed form, in which ids and names are compared."""
    return unicodedata.normalize("NFC", text)


def files_by_id(
    names: Iterable[str], folder: str, pattern: re.Pattern, example: str, problems: list[str]
) -> dict[str, str]:
    """Map ids (NFC) to "folder/name" for the file names of one folder; group 1 of `pattern` is the id.

    The path keeps the file's own spelling. Files that are not named like `example`, unsafe ids, and two files for one
    id (a.jpg and A.jpeg) go to `problems`.
    """
    files, first = {}, {}
    for name in names:
        match = pattern.fullmatch(nfc(name))
        if match is None:
            problems.append(
                f"{folder}/{name!a} is not named like {example}: expected no other files. Move it elsewhere"
            )
            continue
        try:
            id = check_name(match[1])
        except ValueError as error:
            problems.append(f"{folder}/{name!a}: {error}")
            continue
        other = first.setdefault(id.casefold(), name)
        if other != name:
            problems.append(describe_double(f"{folder}/{name}", f"{folder}/{other}"))
            continue
        files[id] = f"{folder}/{name}"
    return files


def describe_double(path: str, other: str) -> str:
    """The problem of two files with one id, in words, with advice that loses no data."""
    if nfc(path) == nfc(other):
        return (
            f"{other!a} and {path!a} are one name in two Unicode spellings: expected one file for each id. They look "
            "alike in most programs. Compare the two files, keep one, and move the other elsewhere"
        )
    return f"{path} has the same id as {other}: expected one file for each id. Rename one, or move it elsewhere"


def unpaired(images: Mapping[str, str], masks: Mapping[str, str], mask_of: str, image_of: str) -> list[str]:
    """A line for each image without a mask and each mask without an image.

    images, masks: paths by id. mask_of, image_of: the path that is missing, with {} in place of the id.
    """
    lonely = [f"{images[id]} has no {mask_of.format(id)}" for id in sorted(images.keys() - masks)]
    return lonely + [f"{masks[id]} has no {image_of.format(id)}" for id in sorted(masks.keys() - images)]
