"""Patterns of paths: which files are images, which are masks, and which belong together.

images/*.tif             * and ? stand for text within one name, [abc] for one of these characters
case*/scans/*.png        ** for any number of folders
{id}/scan.png            {id} for the image's id
{train,val}/*.png        {a,b} for one of several texts, without a slash
images                   a folder: every image file in it, however deep

The suffix of an image is the same in capitals, and jpg the same as jpeg and jfif, tif as tiff: *.jpg is also a.JPEG.

Of {a,b} the files must have each text: see Pattern.missing.

Where a name can be split in several ways, each * takes as little as it can: "slice_*_*.png" splits slice_0001_266_1.5
into 0001 and 266_1.5.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from kit.datasets.names import nfc

IMAGE_SUFFIXES = frozenset(["png", "jpg", "jpeg", "jfif", "gif", "bmp", "tif", "tiff", "webp", "npy"])
NUMBER = re.compile(r"\{(\d+)\}")
WILDCARD = re.compile(r"\*\*/|\*|\?|\[!?[^\]]+\]|\{id\}|\{[^{}/]*,[^{}/]*\}")
SAME_SUFFIX = ("jpg", "jpeg", "jfif"), ("tif", "tiff")


class Pattern:
    """One pattern, matched against paths below the data's folder, with / between their parts.

    ids: a template of the id, in which {1}, {2}, … are the texts of the first, second, … wildcard; None: see id_of.
    prefix: the folders before the first wildcard, "" if there are none. is_folder: it has no wildcard.
    wildcards: how many there are, {id} not counted.
    Raises ValueError for a pattern that is absolute or leads out of the folder, and for a template that does not fit.
    """

    def __init__(self, text: str | PurePath, id_pattern: str = "[^/]+", ids: str | None = None):
        text = nfc(text.as_posix() if isinstance(text, PurePath) else text)
        text = text.removesuffix("/")  # of a folder
        if unknown := [name for name in re.findall(r"\{.*?\}", text) if not WILDCARD.fullmatch(name)]:
            raise ValueError(
                f"the pattern {text!r} has {', '.join(unknown)}, expected no other name in braces than {{id}}, or "
                "several texts, without a slash: {train,val}"
            )
        if any(part in {"", ".", ".."} for part in text.split("/")) or "\\" in text:
            raise ValueError(
                f"the pattern {text!r} is no path below the data's folder: expected parts with / between them, without "
                "a / at the start, and no . or .."
            )
        self.text, self.is_folder = text, WILDCARD.search(text) is None
        if self.is_folder:
            text += "/**"
        if text.endswith("**"):
            text += "/*"
        first = WILDCARD.search(text)
        self.prefix = text[: first.start()].rpartition("/")[0]
        self.has_id = "{id}" in text
        self._end = text[[found.end() for found in WILDCARD.finditer(text)][-1] :]
        self._choices = _texts_of(text)
        self._regex = re.compile(_translate(text, id_pattern, self._choices), re.DOTALL)
        self._ending = re.compile(_literal_end(self._end) + r"\Z", re.DOTALL)
        self.wildcards = self._regex.groups - self.has_id
        self.ids = ids
        if ids is not None:
            _check_template(ids, self)

    def match(self, path: str) -> re.Match | None:
        """The match of a path; group "id" is {id}, groups 1, 2, … are the other wildcards, in order."""
        if self.is_folder and suffix_of(path) not in IMAGE_SUFFIXES:
            return None
        return next(filter(None, map(self._regex.fullmatch, self._spelled(path))), None)

    def missing(self, paths: Iterable[str]) -> list[str]:
        """The texts of {a,b} that none of these paths has, all of which match."""
        if not self._choices:
            return []
        spelled = [self._regex.fullmatch(own) for path in paths for own in self._spelled(path)]
        texts = [{found[f"one{number}"] for found in spelled if found} for number in range(len(self._choices))]
        return [text for own, there in zip(self._choices, texts, strict=True) for text in own if text not in there]

    def _spelled(self, path: str) -> Iterator[str]:
        """The path, and where braces may hold a part of an image's suffix, with each spelling of that."""
        path, suffix = nfc(path), suffix_of(path)
        yield path
        if self._choices and suffix in IMAGE_SUFFIXES:
            for same in spellings_of(suffix):
                yield path[: -len(suffix)] + same
                yield path[: -len(suffix)] + same.upper()

    def id_of(self, path: str) -> str:
        """The id of a path that matches: by the template `ids`, or {id}, or else the place of the file."""
        if self.ids is not None:
            texts = [text.strip("/") for text in self.match(path).groups()]  # that of ** ends with a slash
            return NUMBER.sub(lambda found: texts[int(found[1]) - 1], self.ids)
        return self.match(path)["id"] if self.has_id else self.place_of(path)

    def place_of(self, path: str) -> str:
        """The path without `prefix` and the text behind the last wildcard.

        Where that text holds no dot (images/*), the file's suffix is cut off.
        """
        path = next(filter(self._regex.fullmatch, self._spelled(path)), nfc(path))
        path = path.removeprefix(f"{self.prefix}/" if self.prefix else "")
        path = path[: self._ending.search(path).start()]
        folder, slash, name = path.rpartition("/")
        return path if "." in self._end else folder + slash + (name.rpartition(".")[0] or name)


def _check_template(ids: str, pattern: Pattern) -> None:
    """Raise ValueError for a template of ids that names other things than wildcards of the pattern."""
    numbers, rest = [int(number) for number in NUMBER.findall(ids)], NUMBER.sub("", ids)
    if (
        pattern.has_id
        or not numbers
        or not 1 <= min(numbers) <= max(numbers) <= pattern.wildcards
        or set(rest) & {*"{}"}
    ):
        raise ValueError(
            f"ids={ids!r} does not fit {pattern.text!r}: expected {{1}} to {{{pattern.wildcards}}}, the texts of its "
            "wildcards (*, ?, [abc], **) in their order, one of them or more, and no {id} in the pattern"
        )


def suffix_of(path: str) -> str:
    """The suffix of a file's name in small letters, without the dot."""
    return path.rpartition("/")[2].rpartition(".")[2].lower() if "." in path.rpartition("/")[2] else ""


def _translate(text: str, id_pattern: str, choices: list[list[str]]) -> str:
    """The regular expression of a pattern, a group for each wildcard; those of `choices` are one0, one1, …"""
    pieces, at, has_id, number = [], 0, False, 0
    for found in WILDCARD.finditer(text):
        pieces.append(re.escape(text[at : found.start()]))
        if found[0] == "{id}":
            pieces.append("(?P=id)" if has_id else f"(?P<id>{id_pattern})")
            has_id = True
        elif found[0].startswith("{"):
            pieces.append(f"(?P<one{number}>{'|'.join(map(re.escape, choices[number]))})")
            number += 1
        else:
            pieces.append({"**/": "((?:[^/]+/)*)", "*": "([^/]*?)", "?": "([^/])"}.get(found[0]) or _one_of(found[0]))
        at = found.end()
    return "".join(pieces) + _literal_end(text[at:])


def _texts_of(text: str) -> list[list[str]]:
    """The texts of each {a,b} of a pattern."""
    return [found[0][1:-1].split(",") for found in WILDCARD.finditer(text) if found[0][0] == "{" and "," in found[0]]


def _literal_end(text: str) -> str:
    """The regular expression of the text behind the last wildcard, an image's suffix in any of its spellings."""
    front, dot, suffix = text.rpartition(".")
    if not dot or suffix.lower() not in IMAGE_SUFFIXES:
        return re.escape(text)
    return rf"{re.escape(front)}\.(?i:{'|'.join(spellings_of(suffix))})"


def spellings_of(suffix: str) -> tuple[str, ...]:
    """The suffixes that mean the same kind of file, in small letters."""
    return next((same for same in SAME_SUFFIX if suffix.lower() in same), (suffix.lower(),))


def _one_of(text: str) -> str:
    """The regular expression of [abc] or [!abc]; a range such as [0-9] keeps its meaning."""
    inner = text[1:-1]
    sign, inner = ("^/", inner[1:]) if inner.startswith("!") else ("", inner)
    return "([" + sign + "".join(c if c.isalnum() or c == "-" else f"\\{c}" for c in inner) + "])"
