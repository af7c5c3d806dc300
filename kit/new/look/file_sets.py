"""Files that are alike in place and name: a folder of files becomes a few patterns.

    stage1_train/*/images/*.png      220 files
    stage1_train/*/masks/*.png       8,501
    train/*_mask.gif                 512
    train/*/band_08.npy              64

A folder name becomes * where its neighbours hold the same things (the patients of a study). A file name stays where
many folders hold it. The ending of a name stays where it says mask, or where each stem comes with every ending.
"""

import re
from collections import Counter
from typing import NamedTuple

from kit.datasets.pairs import IMAGE_WORDS, MASK_WORDS
from kit.datasets.patterns import Pattern, spellings_of, suffix_of
from kit.new.look.split_words import SPLIT_WORDS

LEAST_ALIKE = 4  # folders that are alike become one pattern from here on
ALIKE = 0.6  # the share of them that hold the same things
MOST_ENDINGS = 24
REPEATED = 0.9  # of the folders that are alike, which hold a file of one name
CHANNEL = re.compile(r"(?:band|channel|chan|ch|b|c|wavelength)[_\-. ]?\d+\.", re.IGNORECASE)  # a file a channel
ENDING = re.compile(r"(.*\*)([_\-. ][^*/]*)(\.[^.*/]+)")  # of a pattern: scans/*_left.png
MASK_ENDING = re.compile(rf".+?([_\-. ](?:{'|'.join(sorted(MASK_WORDS, key=len, reverse=True))}))", re.IGNORECASE)


class FileSet(NamedTuple):
    """Files of one pattern."""

    pattern: str
    paths: tuple[str, ...]

    def keys(self) -> dict[tuple[str, ...], str]:
        """The path by what its wildcards stand for."""
        pattern, keys = Pattern(self.pattern), {}
        for path in self.paths:
            keys.setdefault(pattern.match(path).groups(), path)  # a.jpg and a.JPEG: the first
        return keys


class _Folder:
    """A folder, or several that are alike: their folders by name, and their files as (name, path)."""

    def __init__(self) -> None:
        self.folders: dict[str, _Folder] = {}
        self.files: list[tuple[str, str]] = []
        self.merged = 1  # how many folders these are

    def holds(self) -> frozenset[str]:
        """What kinds of things are inside: the suffixes of files, and folders."""
        names = frozenset(f"{name}/" for name in self.folders)
        return frozenset(f".{suffix_of(name)}" for name, _ in self.files) | (names if len(names) <= 3 else {"*/"})


def split_ending(pattern: str) -> tuple[str, str]:
    """The pattern without the ending of its files' stems, and the ending: scans/*_left.png is scans/*.png, _left."""
    found = ENDING.fullmatch(pattern)
    return (found[1] + found[3], found[2]) if found else (pattern, "")


def file_sets(paths: list[str]) -> list[FileSet]:
    """The sets of `paths` (relative, with / between their parts), by their patterns."""
    root = _Folder()
    for path in paths:
        here = root
        *folders, name = path.split("/")
        for folder in folders:
            here = here.folders.setdefault(folder, _Folder())
        here.files.append((name, path))
    return sorted(_sets_of(root, ""))


def _sets_of(folder: _Folder, front: str) -> list[FileSet]:
    sets = [FileSet(front + _respelt(name, found), tuple(sorted(found))) for name, found in _names_of(folder).items()]
    for name, inner in _merged(folder.folders).items():
        sets += _sets_of(inner, f"{front}{name}/")
    return sets


def _merged(folders: dict[str, _Folder]) -> dict[str, _Folder]:
    """The folders, those that are alike as one of the name *."""
    folders = _numbered(folders)
    named = {name for name in folders if _is_telling(name) or name == "*"}
    rest = {name: folder for name, folder in folders.items() if name not in named}
    if len(rest) < LEAST_ALIKE:
        return folders
    holds = Counter(folder.holds() for folder in rest.values())
    usual = holds.most_common(1)[0][0]
    if sum(count for held, count in holds.items() if held & usual) < ALIKE * len(rest):
        return folders
    return {"*": _union(list(rest.values()))} | {name: folders[name] for name in named}


def _numbered(folders: dict[str, _Folder]) -> dict[str, _Folder]:
    """Folders that differ in their numbers, or behind their first word (Patient A, Patient B), as one of the name *."""
    alike = {re.sub(r"\d+", "#", name) for name in folders}
    words = {re.split(r"[_\-. \d]", name)[0].casefold() for name in folders}
    is_numbered = len(alike) == 1 and "#" in next(iter(alike))
    is_named = len(words) == 1 and len(next(iter(words))) > 2 and not any(map(_is_telling, folders))
    return {"*": _union(list(folders.values()))} if len(folders) > 1 and (is_numbered or is_named) else folders


def _union(folders: list[_Folder]) -> _Folder:
    """All that several folders hold, as of one."""
    one = _Folder()
    one.merged = sum(folder.merged for folder in folders)
    one.files = [file for folder in folders for file in folder.files]
    for name in dict.fromkeys(name for folder in folders for name in folder.folders):
        one.folders[name] = _union([folder.folders[name] for folder in folders if name in folder.folders])
    return one


def _is_telling(name: str) -> bool:
    """Whether a folder's name says what its files are."""
    parts = re.split(r"[_\-. \d]+", name.lower())
    words = {*IMAGE_WORDS, *MASK_WORDS, *SPLIT_WORDS}
    return name.lower() in words or bool(words & set(parts))


def _names_of(folder: _Folder) -> dict[str, list[str]]:
    """The paths of a folder's files by the patterns of their names."""
    repeated = Counter(_plain(name) for name, _ in folder.files)
    sets: dict[str, list[str]] = {}
    by_suffix: dict[str, list[tuple[str, str]]] = {}
    numbered = Counter(re.sub(r"\d+", "#", name) for name in repeated)
    for name, path in [(_plain(name), path) for name, path in folder.files]:
        is_alone = numbered[re.sub(r"\d+", "#", name)] == 1 or CHANNEL.match(name)
        if is_alone and repeated[name] >= max(2, REPEATED * folder.merged):
            sets.setdefault(name, []).append(path)
        else:
            by_suffix.setdefault(name.rpartition(".")[2] if "." in name else "", []).append((name, path))
    for suffix, files in by_suffix.items():
        end = f".{suffix}" if suffix else ""
        for ending, found in _by_ending([(name.removesuffix(end), path) for name, path in files]).items():
            pattern = files[0][0] if len(files) == 1 and folder.merged == 1 else f"*{ending}{end}"
            sets.setdefault(pattern, []).extend(found)
    return sets


def _plain(name: str) -> str:
    """A file's name with the first spelling of its suffix: a.jpg for a.JPEG."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}.{spellings_of(suffix)[0]}" if dot else name


def _respelt(name: str, paths: list[str]) -> str:
    """A pattern of plain names with the suffix that most of the paths have."""
    suffix = Counter(path.rpartition(".")[2] for path in paths).most_common(1)[0][0]
    return f"{name.rpartition('.')[0]}.{suffix}" if "." in name else name


def _by_ending(files: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Paths by the ending of their stems: of masks, or one that every stem comes with; "" for those without one."""
    telling = {stem: found[1] for stem, _ in files if (found := MASK_ENDING.fullmatch(stem))}
    rest = [stem for stem, _ in files if stem not in telling]
    telling |= _crossed_endings(rest)
    sets: dict[str, list[str]] = {}
    for stem, path in files:
        sets.setdefault(telling.get(stem, ""), []).append(path)
    return sets


def _crossed_endings(stems: list[str]) -> dict[str, str]:
    """The ending of each stem, where every part before it comes with nearly every ending; no numbers.

    An ending is the last word, or all words but the first.
    """
    ways = (r"(.+?)([_\-. ][^_\-. ]*[^_\-. \d][^_\-. ]*)", r"([^_\-. ]+)([_\-. ].*[^_\-. \d].*)")
    return next(filter(None, (_crossed(stems, way) for way in ways)), {})


def _crossed(stems: list[str], way: str) -> dict[str, str]:
    """The same, with the regular expression of a front and an ending."""
    split = {stem: found for stem in stems if (found := re.fullmatch(way, stem))}
    fronts, endings = {found[1] for found in split.values()}, {found[2] for found in split.values()}
    if len(split) < len(stems) or not 2 <= len(endings) <= MOST_ENDINGS or len(fronts) < 2:
        return {}
    if len({re.sub(r"\d+", "#", ending) for ending in endings}) == 1 and not CHANNEL.match(f"{min(endings)[1:]}."):
        return {}  # the slices of each patient
    if len(split) < 0.8 * len(fronts) * len(endings):
        return {}
    words = {found[0] if (found := re.search(r"(?<=.)[_\-. ][^\W\d_]+\Z", front)) else "" for front in fronts}
    common = words.pop() if len(words) == 1 else ""  # s1_rater_a and s2_rater_b: _rater is of the endings
    return {stem: common + found[2] for stem, found in split.items()}
