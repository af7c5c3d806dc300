"""Ids that are put together from several parts of a path, as case101_day20_slice_0001 of UW-Madison.

train/*/*/scans/slice_*_*_*_*_*.png with ids="{2}_slice_{3}"
"""

import re
from collections import Counter
from typing import NamedTuple

from kit.datasets.names import nfc
from kit.datasets.patterns import WILDCARD, Pattern
from kit.new.look.file_sets import FileSet
from kit.new.look.tables import Table
from kit.submission.names import IMAGE_ENDING

TRIED, MOST_KEYS = 8, 400  # files, and keys of a table with the longest part of a file's path
LEAST_RIGHT = 0.9  # of the files whose id must be in the table


class Templated(NamedTuple):
    """Files of one pattern, whose ids are made by a template of the pattern's wildcards."""

    pattern: str
    paths: tuple[str, ...]
    ids: str


def templated(files: FileSet, table: Table) -> list[Templated]:
    """The files with the template that makes keys of `table` of them; none where there is none.

    Keys may have an image's ending, and a class behind a mark, which are not of the id.
    """
    keys = {IMAGE_ENDING.sub("", nfc(key)) for key in table.seen.keys} if table.seen else set()
    fronts = {IMAGE_ENDING.sub("", front) for key in keys if (front := key.rpartition("_")[0])}
    ways = [(keys, True), (fronts, True), (keys, False)]  # last: all ids end in the same text
    patterns = dict.fromkeys([files.pattern, _split_name(files)])
    found = (_by_keys(files, pattern, *way) for way in ways for pattern in patterns)
    return next(filter(None, found), [])


def _by_keys(files: FileSet, pattern: str, keys: set[str], is_whole: bool) -> list[Templated]:
    """The files with the template of most keys. is_whole: it must end with a part of the path."""
    if "{id}" in pattern or Pattern(pattern).wildcards < 2 or not keys:
        return []
    texts = [tuple(map(nfc, Pattern(pattern).match(path).groups())) for path in files.paths]
    guesses = Counter(guess for parts in texts[:: max(1, len(texts) // TRIED)] for guess in _guesses(parts, keys))
    for guess, _ in guesses.most_common(10):
        right = sum(_filled(guess, parts) in keys for parts in texts)
        if right >= LEAST_RIGHT * len(texts) and (guess.endswith("}") or not is_whole):
            return [Templated(pattern, files.paths, guess)]
    return []


def retold(files: FileSet, pattern: str, ids: str) -> list[Templated]:
    """The files with a template that was found for others, where their folders and names are built alike."""
    own = files.pattern if _stem(files.pattern) == _stem(pattern) else _split_name(files)
    same = Pattern(own).wildcards == Pattern(pattern).wildcards and own.count("/") == pattern.count("/")
    return [Templated(own, files.paths, ids)] if same else []


def _stem(pattern: str) -> str:
    """The pattern of the files' names without their suffix."""
    return pattern.rpartition("/")[2].rpartition(".")[0]


def _split_name(files: FileSet) -> str:
    """The pattern with a wildcard for each part of the file's name: slice_*_*.png for *.png; the same part stays."""
    found = list(WILDCARD.finditer(files.pattern))
    last = found[-1] if found else None
    if last is None or last[0] != "*" or "/" in files.pattern[last.end() :]:
        return files.pattern
    pattern = Pattern(files.pattern)
    texts = [pattern.match(path).groups()[-1].split("_") for path in files.paths]
    if len({len(parts) for parts in texts}) > 1 or len(texts[0]) < 2:
        return files.pattern
    columns = [set(column) for column in zip(*texts, strict=True)]
    name = "_".join(
        next(iter(one)) if len(one) == 1 and not re.search(r"\d", next(iter(one))) else "*" for one in columns
    )
    return files.pattern[: last.start()] + name + files.pattern[last.end() :]


def _guesses(parts: tuple[str, ...], keys: set[str]) -> set[str]:
    """Templates that make a key of these parts."""
    longest = max(parts, key=len)
    found = set()
    for key in [key for key in keys if longest in key][:MOST_KEYS]:
        template, at = "", 0
        while at < len(key):
            fitting = [place for place, part in enumerate(parts) if part and key.startswith(part, at)]
            if fitting:
                place = max(fitting, key=lambda one: len(parts[one]))
                template, at = f"{template}{{{place + 1}}}", at + len(parts[place])
            else:
                template, at = template + key[at], at + 1
        found.add(template)
    return {one for one in found if one.count("{") > 1}


def _filled(template: str, parts: tuple[str, ...]) -> str:
    return re.sub(r"\{(\d+)\}", lambda place: parts[int(place[1]) - 1], template)
