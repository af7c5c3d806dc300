"""From pairs of files to the images, masks and tests of a data set, and to the patterns that name them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.datasets.names import nfc
from kit.datasets.patterns import WILDCARD, Pattern
from kit.new.file_sets import FileSet
from kit.new.merging import merged
from kit.new.pairing import Pairing, with_id
from kit.new.split_words import split_of
from kit.new.tables import Table, ids_in
from kit.new.templates import Templated, retold, templated
from kit.system.files import list_some

if TYPE_CHECKING:
    from kit.new.study import Study

LEAST_IN_TABLE = 0.5  # of a table's keys that a set of images must have


@dataclass(frozen=True)
class Asked:
    """What the user says of the files: patterns of images, masks and tests; None: found by looking."""

    images: str | None = None
    masks: str | None = None
    tests: str | None = None

    def sets(self, found: list[FileSet], paths: Sequence[str]) -> list[FileSet]:
        """The sets as asked for, and those that were found of the files that are left."""
        own, taken = [], set()
        for text in (self.masks, self.tests, self.images):
            if text is not None:
                pattern = Pattern(text)
                files = tuple(path for path in paths if pattern.match(path) and path not in taken)
                if not files:
                    raise ValueError(
                        f"no image file matches {text!r}; there are:{list_some([_shown(one) for one in found])}"
                    )
                own.append(FileSet(whole_pattern(text), files))
                taken |= set(files)
        rest = [FileSet(one.pattern, tuple(path for path in one.paths if path not in taken)) for one in found]
        rest = [one for one in rest if one.paths]
        if self.images is not None and self.masks is not None:
            rest = [one for one in rest if split_of(one.pattern) == "test"]
        return [*own, *rest]


def find_roles(found: "Study", paths: Sequence[str], asked: Asked) -> None:
    """Fill in images, masks, tests, split and patterns. Raises ValueError where no masks are found."""
    pairings = found.layout.pairings
    if pairings:
        first, *further = pairings
        names = {split_of(pair.images.pattern) for pair in further}
        held_out = "val" if "val" in names else "test"
        further = [pair for pair in further if split_of(pair.images.pattern) == held_out]
        pairings = [first, *further]
        found.patterns["images"], found.patterns["masks"] = first.patterns()
        used, found.bands = [first], _bands(first.images, found.layout.unpaired)
        if further and not found.bands and (patterns := merged(pairings, paths)):
            found.patterns["images"], found.patterns["masks"] = patterns
            used = pairings
        for pair in used:
            _take(found, pair, "" if pair is first else held_out)
        found.unused = [_why_unused(pair) for pair in found.layout.pairings if pair not in used]
    else:
        _take_by_table(found)
    _find_tests(found)
    used = {*found.tests.values(), *found.images.values()}
    for pattern in map(Pattern, [*found.bands.values(), *found.test_bands.values()]):
        used |= {path for path in paths if pattern.match(path)}
    found.unused += [_shown(one) for one in found.layout.unpaired if not used.issuperset(one.paths)]


def _why_unused(pair: Pairing) -> str:
    is_test = split_of(pair.images.pattern) == "test"
    why = ": a test part, which is neither trained on nor held out" * is_test
    return f"{_shown(pair.images)} with masks{why}"


def _take(found: "Study", pair: Pairing, split: str) -> None:
    images = Pattern(found.patterns["images"])
    for path in pair.images.paths:
        if path in pair.shared:
            id = images.id_of(path)
            found.images[id], found.masks[id] = path, sorted(pair.shared[path])
            if split:
                found.split[id] = split
        else:
            found.problems.append(f"{path} has no mask")
    masked = {mask for masks in pair.shared.values() for mask in masks}
    found.problems += [f"{path} has no image" for path in pair.masks.paths if path not in masked]


def _take_by_table(found: "Study") -> None:
    """Images whose masks are rows of a table."""
    best: tuple[float, Table, FileSet] | None = None
    for table in found.tables:
        for files in found.layout.unpaired:
            if table.has_masks and not table.is_sample:
                for named in (files, *templated(files, table)):
                    share = ids_in(table, ids_of(named))
                    if share >= LEAST_IN_TABLE and (best is None or share > best[0]):
                        best = share, table, named
    if best is None:
        sets = [_shown(one) for one in found.layout.unpaired]
        raise ValueError(
            "no masks were found: no folder of masks belongs to the images by its names, and no CSV has their run "
            f"lengths. There are these image files:{list_some(sets)}\nName them: --images PATTERN --masks PATTERN, as "
            "in --images 'scans/*.png' --masks 'outlines/{id}_m.png'"
        )
    _, found.mask_table, files = best
    found.patterns["images"] = files.pattern
    if isinstance(files, Templated):
        found.patterns["ids"] = files.ids
    found.images = dict(zip(ids_of(files), files.paths, strict=True))


def _find_tests(found: "Study") -> None:
    """The images to predict: those that the sample names, else an unpaired set that is called test."""
    samples = [table for table in found.tables if table.has_masks and table is not found.mask_table]
    best: tuple[float, Table | None, FileSet | None] = (0.0, None, None)
    for files in _test_sets(found):
        ids, named = ids_of(files), 0.25 * (split_of(files.pattern) == "test")
        shares = [(ids_in(table, ids) * (1 + table.is_sample), table) for table in samples]
        share, table = max(shares, key=lambda one: one[0], default=(0.0, None))
        if share + named > best[0]:
            best = share + named, table if share >= LEAST_IN_TABLE else None, files
    _, found.sample, files = best
    if files is not None:
        found.patterns["tests"] = files.pattern
        found.test_bands = _bands(files, found.layout.unpaired) if found.bands else {}
        found.tests = dict(zip(ids_of(files), files.paths, strict=True))
    if found.sample is None:  # the tests may be hidden, as in a notebook's competition
        found.sample = next((table for table in samples if table.is_sample), None)
    if found.mask_table is None:
        tables = [table for table in samples if table is not found.sample]
        found.mask_table = next((table for table in tables if ids_in(table, found.images) >= LEAST_IN_TABLE), None)


def _test_sets(found: "Study") -> list[FileSet | Templated]:
    """The sets without masks, each with the patterns that may name its ids: as the images' pattern does, first."""
    named = WILDCARD.findall(found.patterns["images"])
    own = named.index("{id}") if "{id}" in named else None
    sets, images = [], set(found.images.values())
    for files in found.layout.unpaired:
        if not images.isdisjoint(files.paths):
            continue
        if "ids" in found.patterns:
            sets += retold(files, found.patterns["images"], found.patterns["ids"])
        else:
            count = Pattern(files.pattern).wildcards
            places = sorted(range(count), key=lambda at: at != own) if count > 1 else []
            patterns = [with_id(files.pattern, at) for at in places]
            patterns.insert(int(own is not None and count > 1), files.pattern)
            every = [FileSet(pattern, files.paths) for pattern in patterns]
            sets += [one for one in every if len(set(ids_of(one))) == len(one.paths)]
    return sets


def ids_of(files: "FileSet | Templated") -> list[str]:
    """The ids that kit.datasets.Folder gives to the files."""
    pattern = Pattern(files.pattern, ids=getattr(files, "ids", None))
    return [nfc(pattern.id_of(path)) for path in files.paths]


def _bands(first: FileSet, sets: Sequence[FileSet]) -> dict[str, str]:
    """The patterns of files that each hold a channel of the same images, by their names; {} where there is one."""
    if WILDCARD.search(first.pattern.rpartition("/")[2]) or Pattern(first.pattern).wildcards != 1:
        return {}
    keys = first.keys().keys()
    alike = [
        one for one in sets if _depth(one) == _depth(first) and not WILDCARD.search(one.pattern.rpartition("/")[2])
    ]
    alike = [one for one in alike if Pattern(one.pattern).wildcards == 1 and one.keys().keys() == keys]
    every = sorted({first.pattern, *(one.pattern for one in alike)})
    names = {pattern.rpartition("/")[2].rpartition(".")[0]: with_id(pattern, 0) for pattern in every}
    return names if len(names) > 1 else {}


def _depth(files: FileSet) -> int:
    return files.pattern.count("/")


def whole_pattern(text: str) -> str:
    """The pattern; of a folder with the wildcard of its files."""
    pattern = Pattern(text)
    return f"{pattern.text}/*" if pattern.is_folder else pattern.text


def _shown(files: FileSet) -> str:
    return f"{files.pattern} ({len(files.paths):,})"
