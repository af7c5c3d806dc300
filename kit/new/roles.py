"""From pairs of files to the images, masks and tests of a data set, and to the patterns that name them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.datasets.names import nfc
from kit.datasets.patterns import WILDCARD, Pattern, suffix_of
from kit.new.file_sets import FileSet
from kit.new.hints import hint
from kit.new.pairing import TEST_WORDS, Pairing, held_out_name, with_id
from kit.new.questions import OpenQuestion
from kit.new.tables import Table, ids_in, keys_without_image, names_of_images
from kit.new.templates import Templated, retold, templated
from kit.system.files import counted, list_some

if TYPE_CHECKING:
    from kit.new.study import Study

LEAST_IN_TABLE = 0.5  # of a table's keys that a set of images must have
INSIDE = 0.125  # so much more likely are tests among the other images than in a set that is not called test
SHOWN = 3  # names in a line


@dataclass(frozen=True)
class Asked:
    """What the user says of the files: patterns of images, masks and tests; None: found by looking.

    masks and tests may also be the path of a CSV: of run lengths, and of the sample submission.
    """

    images: str | None = None
    masks: str | None = None
    tests: str | None = None

    @property
    def patterns(self) -> dict[str, str]:
        """The patterns of files, by their flags."""
        texts = {"--masks": self.masks, "--tests": self.tests, "--images": self.images}
        return {flag: text for flag, text in texts.items() if text is not None and not is_csv(text)}

    def sets(self, found: list[FileSet], paths: Sequence[str]) -> list[FileSet]:
        """The sets as asked for, and those that were found of the files that are left."""
        own, taken = [], set()
        for flag, text in self.patterns.items():
            pattern = Pattern(text)
            files = tuple(path for path in paths if pattern.match(path) and path not in taken)
            if not files:
                there = list_some([_shown(one) for one in found])
                raise OpenQuestion(f"no image file matches {flag} {text!r}{hint(text, paths)}; there are:{there}", flag)
            own.append(FileSet(whole_pattern(text), files))
            taken |= set(files)
        rest = [FileSet(one.pattern, tuple(path for path in one.paths if path not in taken)) for one in found]
        rest = [one for one in rest if one.paths]
        if {"--images", "--masks"} <= self.patterns.keys():
            rest = [one for one in rest if TEST_WORDS.search(one.pattern)]
        return [*own, *rest]


def is_csv(text: str | None) -> bool:
    """Whether a wish is the path of a CSV and no pattern."""
    return text is not None and suffix_of(text) == "csv"


def find_roles(found: "Study", paths: Sequence[str], asked: Asked) -> None:
    """Fill in images, masks, tests, split and patterns. Raises ValueError where no masks are found."""
    pairings = found.layout.pairings
    if pairings:
        first, *further = pairings
        names = {held_out_name(pair) for pair in further}
        further = [pair for pair in further if held_out_name(pair) == ("val" if "val" in names else "test")]
        pairings = [first, *further]
        found.patterns["images"], found.patterns["masks"] = first.patterns()
        used, found.bands = [first], _bands(first.images, found.layout.unpaired)
        if further and not found.bands and (patterns := _merged(pairings, paths)):
            found.patterns["images"], found.patterns["masks"] = patterns
            used = pairings
        for pair in used:
            _take(found, pair, "" if pair is first else held_out_name(pair))
        found.unused = [f"{_shown(pair.images)} with masks" for pair in found.layout.pairings if pair not in used]
    else:
        _take_by_table(found, asked)
    _find_tests(found, asked)
    _take_lonely(found)
    _check_overlap(found, asked)
    used = {*found.tests.values(), *found.images.values(), *found.lonely.values()}
    for pattern in map(Pattern, [*found.bands.values(), *found.test_bands.values()]):
        used |= {path for path in paths if pattern.match(path)}
    found.unused += [_shown(one) for one in found.layout.unpaired if not used.issuperset(one.paths)]


def _take(found: "Study", pair: Pairing, split: str) -> None:
    images = Pattern(found.patterns["images"])
    for path in pair.images.paths:
        id = nfc(images.id_of(path))
        if path in pair.shared:
            found.images[id], found.masks[id] = path, sorted(pair.shared[path])
            if split:
                found.split[id] = split
        else:
            found.lonely[id] = path
    masked = {mask for masks in pair.shared.values() for mask in masks}
    found.problems += [f"{path} has no image" for path in pair.masks.paths if path not in masked]


def _take_by_table(found: "Study", asked: Asked) -> None:
    """Images whose masks are rows of a table."""
    best: tuple[float, Table, FileSet] | None = None
    wanted = None if asked.images is None else whole_pattern(asked.images)
    sets = [one for one in found.layout.unpaired if wanted in (None, one.pattern)]
    for table in _mask_tables(found, asked):
        for files in sets:
            for named in (files, *templated(files, table)):
                share = ids_in(table, ids_of(named))
                if share >= LEAST_IN_TABLE and (best is None or share > best[0]):
                    best = share, table, named
    if best is None:
        raise _no_masks(found, asked)
    _, found.mask_table, files = best
    found.patterns["images"] = files.pattern
    if isinstance(files, Templated):
        found.patterns["ids"] = files.ids
    every = dict(zip(ids_of(files), files.paths, strict=True))
    named = names_of_images(found.mask_table, every)
    found.images = {id: path for id, path in every.items() if id in named}
    found.lonely = {id: path for id, path in every.items() if id not in named}
    if strange := keys_without_image(found.mask_table, every):
        found.problems.append(
            f"{found.mask_table.path} has rows of {counted(len(strange), 'image')} that are not there: "
            f"{shortened(strange)}"
        )


def _mask_tables(found: "Study", asked: Asked) -> list[Table]:
    """The tables that may hold masks: the one asked for, else those that hold run lengths and are no sample."""
    if not is_csv(asked.masks):
        return [table for table in found.tables if table.has_masks and not table.is_sample]
    own = [table for table in found.tables if table.path == asked.masks and table.seen is not None]
    if not own:
        raise OpenQuestion(f"--masks {asked.masks}: no such CSV of two columns or more{_there(found)}", "--masks")
    if own[0].odd is not None:
        raise OpenQuestion(f"--masks {asked.masks}: {own[0].odd}", "--masks")
    return own


def _there(found: "Study") -> str:
    """The CSV files that are there, for the end of a message."""
    return f"; there are:{list_some([str(table) for table in found.tables])}" if found.tables else "; there is none"


def _no_masks(found: "Study", asked: Asked) -> OpenQuestion:
    """Why no masks were found, with what is there."""
    if odd := [table.odd for table in found.tables if table.odd is not None]:
        return OpenQuestion(f"no masks were found that kit reads. {odd[0]}", "--masks")
    sets = [_shown(one) for one in found.layout.unpaired]
    if given := " and ".join(asked.patterns.values()):
        why = f"{given}: no masks belong to these images by their names, and no CSV has their run lengths"
    elif is_csv(asked.masks):
        why = f"no set of images has the ids of --masks {asked.masks}, as {shortened(_keys_of(found, asked.masks))}"
    else:
        why = "no masks were found: no folder of masks belongs to the images by its names, no CSV has their run lengths"
    return OpenQuestion(
        f"{why}. There are these image files:{list_some(sets)}\nCSV files{_there(found)}\n"
        "Name them: --images PATTERN --masks PATTERN, as in --images 'scans/*.png' --masks 'outlines/{id}_m.png', or "
        "--masks FILE.csv",
        "--masks",
    )


def _keys_of(found: "Study", path: str) -> list[str]:
    return next((table.seen.keys for table in found.tables if table.path == path and table.seen), [])


def _find_tests(found: "Study", asked: Asked) -> None:
    """The images to predict: those that the sample names, also among the others; else an unpaired set called test."""
    samples = _samples(found, asked)
    best: tuple[float, Table | None, FileSet | None] = (0.0, None, None)
    for files in _test_sets(found, asked):
        ids, named = ids_of(files), 0.25 * bool(TEST_WORDS.search(files.pattern))
        shares = [(ids_in(table, ids) * (1 + table.is_sample), table) for table in samples]
        share, table = max(shares, key=lambda one: one[0], default=(0.0, None))
        if share + named > best[0]:
            best = share + named, table if share >= LEAST_IN_TABLE else None, files
    inside = [] if "--tests" in asked.patterns else [one for one in samples if one.is_sample or not one.seen.masks]
    shares = [(ids_in(table, found.lonely) * (1 + table.is_sample), table) for table in inside if found.lonely]
    share, table = max(shares, key=lambda one: one[0], default=(0.0, None))
    if share >= LEAST_IN_TABLE and share + INSIDE > best[0]:
        named = names_of_images(table, found.lonely)
        found.sample, found.tests = table, {id: path for id, path in found.lonely.items() if id in named}
        found.lonely = {id: path for id, path in found.lonely.items() if id not in named}
        found.has_named_tests = True
    else:
        _, found.sample, files = best
        if files is not None:
            found.patterns["tests"] = files.pattern
            found.test_bands = _bands(files, found.layout.unpaired) if found.bands else {}
            found.tests = dict(zip(ids_of(files), files.paths, strict=True))
    if found.sample is None:  # the tests may be hidden, as in a notebook's competition
        found.sample = next((table for table in samples if table.is_sample), None)
    if found.mask_table is None:
        tables = [table for table in samples if table is not found.sample and table.odd is None]
        found.mask_table = next((table for table in tables if ids_in(table, found.images) >= LEAST_IN_TABLE), None)
    if found.sample and found.tests:
        _compare_with_sample(found)


def _samples(found: "Study", asked: Asked) -> list[Table]:
    """The tables that may be the sample submission, or, beside mask files, the run lengths of images."""
    if is_csv(asked.tests):
        own = [table for table in found.tables if table.path == asked.tests and table.seen is not None]
        if not own:
            raise OpenQuestion(f"--tests {asked.tests}: no such CSV of two columns or more{_there(found)}", "--tests")
        own[0].is_named_sample = True
        return own
    return [table for table in found.tables if table.has_masks and table is not found.mask_table]


def _compare_with_sample(found: "Study") -> None:
    """Doubts where the sample names other images than those to predict."""
    path, tests = found.sample.path, found.tests
    if strange := keys_without_image(found.sample, tests):
        with_masks = names_of_images(found.sample, found.images)
        what = f"{path} names {counted(len(strange), 'image')} that are not among the tests: {shortened(strange)}"
        found.doubts.append(f"{what}{'; some have masks and are trained on' * bool(with_masks)}")
    named = names_of_images(found.sample, tests)
    if named and len(named) < len(tests):
        others = [id for id in tests if id not in named]
        found.doubts.append(f"{path} does not name {counted(len(others), 'test image')}: {shortened(others)}")


def _take_lonely(found: "Study") -> None:
    """Decide what images without a mask are: empty, where a CSV has no rows of empty masks; else they are left out."""
    if not found.lonely:
        return
    shown = f"{counted(len(found.lonely), 'image')}: {shortened(sorted(found.lonely.values()))}"
    if found.masks:
        found.lacking = "skip"
        found.doubts.append(f'no mask belongs to {shown}; they are left out. Where they show nothing: lacking="empty"')
    elif found.mask_table.seen.empties:
        found.lacking = "skip"
        empty = next(iter(found.mask_table.seen.empties))
        found.doubts.append(
            f"{found.mask_table.path} has rows of empty masks, written {empty!r}, and none of {shown}; left out. "
            'Where they show nothing: lacking="empty"'
        )
    else:
        found.lacking = "empty"
        found.images |= found.lonely


def _check_overlap(found: "Study", asked: Asked) -> None:
    """Raise OpenQuestion where the pattern of the images names test images too."""
    if found.has_named_tests or "ids" in found.patterns or found.bands:
        return
    pattern, masks = Pattern(found.patterns["images"]), found.patterns.get("masks")
    both = [path for path in found.tests.values() if pattern.match(path)]
    if both and not (masks and Pattern(masks, ".+").match(both[0])):
        tests = asked.tests or found.patterns["tests"]
        raise OpenQuestion(
            f"{counted(len(both), 'test image')} of {tests}, as {both[0]}, also match the images {pattern.text}: give "
            "a pattern that only the training images match: --images PATTERN",
            "--images",
        )


def _test_sets(found: "Study", asked: Asked) -> list[FileSet | Templated]:
    """The sets without masks, each with the patterns that may name its ids: as the images' pattern does, first."""
    named = WILDCARD.findall(found.patterns["images"])
    own = named.index("{id}") if "{id}" in named else None
    sets, images = [], {*found.images.values(), *found.lonely.values()}
    wanted = whole_pattern(asked.tests) if "--tests" in asked.patterns else None
    for files in found.layout.unpaired:
        if not images.isdisjoint(files.paths) or wanted not in (None, files.pattern):
            continue
        if "ids" in found.patterns:
            sets += retold(files, found.patterns["images"], found.patterns["ids"])
        elif "{id}" in files.pattern:  # as the user says
            sets.append(files)
        else:
            count = Pattern(files.pattern).wildcards
            places = sorted(range(count), key=lambda at: at != own) if count > 1 else []
            patterns = [with_id(files.pattern, at) for at in places]
            patterns.insert(int(own is not None and count > 1), files.pattern)
            every = [FileSet(pattern, files.paths) for pattern in patterns]
            sets += [one for one in every if len(set(ids_of(one))) == len(one.paths)]
    return sets


def shortened(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + f" and {len(names) - SHOWN:,} more" * (len(names) > SHOWN)


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


def _merged(pairings: list[Pairing], paths: Sequence[str]) -> tuple[str, str] | None:
    """One pattern of all images and one of all masks, as */*.jpg and *annot/*.png; None where there are none."""
    images = _common([pair.images.pattern for pair in pairings])
    masks = _common([pair.masks.pattern for pair in pairings])
    if images is None or masks is None or not all(pair.at is None for pair in pairings):
        return None
    image_pattern, mask_pattern = Pattern(images), Pattern(masks)
    masked = {path for path in paths if mask_pattern.match(path)}
    if masked != {path for pair in pairings for path in pair.masks.paths}:
        return None
    if {path for path in paths if image_pattern.match(path)} - masked != {
        p for pair in pairings for p in pair.images.paths
    }:
        return None
    agree = all(
        image_pattern.match(image).groups() == mask_pattern.match(own[0]).groups()
        for pair in pairings
        for image, own in pair.shared.items()
    )
    return (images, masks) if agree else None


def _common(patterns: list[str]) -> str | None:
    """The patterns with * where their parts differ; None where they have other numbers of parts."""
    split = [pattern.split("/") for pattern in patterns]
    if len({len(parts) for parts in split}) > 1:
        return None
    return "/".join(_common_part(list(dict.fromkeys(parts))) for parts in zip(*split, strict=True))


def _common_part(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    front = os.path.commonprefix(parts)  # noqa: RUF071 (letters are meant, not folders)
    back = os.path.commonprefix([part[len(front) :][::-1] for part in parts])[::-1]  # noqa: RUF071
    return f"{front}*{back}".replace("**", "*")


def whole_pattern(text: str) -> str:
    """The pattern; of a folder with the wildcard of its files."""
    pattern = Pattern(text)
    return f"{pattern.text}/*" if pattern.is_folder else pattern.text


def _shown(files: FileSet) -> str:
    return f"{files.pattern} ({len(files.paths):,})"
