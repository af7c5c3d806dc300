"""Which images are to be predicted, and what images without a mask are."""

from collections.abc import Collection, Sequence

from kit.datasets.patterns import WILDCARD, Pattern
from kit.new.look.asked import Asked, ids_of, is_csv, shortened, there, whole_pattern
from kit.new.look.file_sets import FileSet
from kit.new.look.found import Study
from kit.new.look.pairing import with_id
from kit.new.look.questions import OpenQuestion
from kit.new.look.retelling import take_ids_of_sample
from kit.new.look.split_words import split_of
from kit.new.look.tables import Table, ids_in, keys_without_image, names_of_images
from kit.new.look.templates import Templated, retold
from kit.system.files import counted

LEAST_IN_TABLE = 0.5  # of a table's keys that a set of images must have
MOST_EMPTY, MOST_EMPTY_BESIDE_TESTS = 0.5, 0.25  # of the images, that may be taken for empty without a question
INSIDE = 0.125  # so much more likely are tests among the other images than in a set that is not called test


def find_tests(found: Study, asked: Asked) -> None:
    """The images to predict: those that the sample names, also among the others; else an unpaired set called test."""
    samples = _samples(found, asked)
    _take_ids(found, asked, samples)
    least = -1.0 if "--tests" in asked.patterns else 0.0
    best: tuple[float, Table | None, FileSet | None] = (least, None, None)
    for files in _test_sets(found, asked):
        ids, named = ids_of(files), 0.25 * (split_of(files.pattern) == "test")
        share, table = _best_table(samples, ids)
        if share + named > best[0]:
            best = share + named, table if share >= LEAST_IN_TABLE else None, files
    inside = [] if "--tests" in asked.patterns else [one for one in samples if one.is_sample or not one.seen.masks]
    share, table = _best_table(inside if found.lonely else [], found.lonely)
    if share >= LEAST_IN_TABLE and share + INSIDE > best[0]:
        named = names_of_images(table, found.lonely)
        found.sample, found.tests = table, {id: path for id, path in found.lonely.items() if id in named}
        found.lonely = {id: path for id, path in found.lonely.items() if id not in named}
        found.has_named_tests = True
    else:
        _, found.sample, files = best
        if files is not None:
            found.patterns["tests"] = files.pattern
            found.test_bands = bands_of(files, found.layout.unpaired) if found.bands else {}
            found.tests = dict(zip(ids_of(files), files.paths, strict=True))
    if found.sample is None:  # the tests may be hidden, as in a notebook's competition
        found.sample = next((table for table in samples if table.is_sample), None)
    if found.mask_table is None:
        tables = [table for table in samples if table is not found.sample and table.odd is None]
        found.mask_table = next((table for table in tables if ids_in(table, found.images) >= LEAST_IN_TABLE), None)
    if found.sample and found.tests:
        _compare_with_sample(found)


def _best_table(tables: Sequence[Table], ids: Collection[str]) -> tuple[float, Table | None]:
    """The table of which most keys are of these ids, and that share; of a sample submission it counts twice."""
    shares = [(ids_in(table, ids) * (1 + table.is_sample), table) for table in tables]
    return max(shares, key=lambda one: one[0], default=(0.0, None))


def _take_ids(found: Study, asked: Asked, samples: Sequence[Table]) -> None:
    """Take the ids that a sample makes of several parts of a path, where it names no test in another way."""
    if all(ids_in(table, ids_of(files)) < LEAST_IN_TABLE for files in _test_sets(found, asked) for table in samples):
        images = {*found.images.values(), *found.lonely.values()}
        sets = [one for one in found.layout.unpaired if images.isdisjoint(one.paths)]
        if "--tests" in asked.patterns:
            sets = [one for one in sets if one.pattern == whole_pattern(asked.tests)]
        take_ids_of_sample(found, sets, samples)


def _samples(found: Study, asked: Asked) -> list[Table]:
    """The tables that may be the sample submission, or, beside mask files, the run lengths of images."""
    if is_csv(asked.tests):
        own = [table for table in found.tables if table.path == asked.tests and table.seen is not None]
        if not own:
            raise OpenQuestion(
                f"--tests {asked.tests}: no such CSV of two columns or more{there(found.tables)}", "--tests"
            )
        own[0].is_named_sample = True
        return own
    return [table for table in found.tables if table.has_masks and table is not found.mask_table]


def _compare_with_sample(found: Study) -> None:
    """Doubts where the sample names other images than those to predict. Raises OpenQuestion where it names none."""
    path, tests = found.sample.path, found.tests
    if found.sample.seen.keys and not names_of_images(found.sample, tests):
        raise OpenQuestion(
            f"{path} names images as {found.sample.seen.keys[0]!r}, and the tests of {found.patterns['tests']} have "
            f"ids as {min(tests)!r}: none is the same. Give a pattern in which {{id}} is what the CSV has, --tests "
            "PATTERN; or rename the files; or, where they are not the CSV's images, move them to another folder",
            "--tests",
        )
    if strange := keys_without_image(found.sample, tests):
        with_masks = names_of_images(found.sample, found.images)
        what = f"{path} names {counted(len(strange), 'image')} that are not among the tests: {shortened(strange)}"
        found.doubts.append(f"{what}{'; some have masks and are trained on' * bool(with_masks)}")
    named = names_of_images(found.sample, tests)
    if named and len(named) < len(tests):
        others = [id for id in tests if id not in named]
        found.doubts.append(f"{path} does not name {counted(len(others), 'test image')}: {shortened(others)}")


def take_lonely(found: Study, said: str | None) -> None:
    """Decide what images without a mask are: as said; else empty, where a CSV has no rows of empty ones; else left out.

    Where so many are empty that this is a guess, check_lonely asks.
    """
    if not found.lonely:
        return
    empties = found.mask_table.seen.empties if found.mask_table is not None and not found.masks else ()
    found.lacking = said or ("skip" if found.masks or empties else "empty")
    found.doubts += [_doubt_of_lonely(found, next(iter(empties), None))] * (said is None)
    if found.lacking == "empty":
        found.images |= found.lonely


def _doubt_of_lonely(found: Study, empty: str | None) -> str:
    shown = f"{counted(len(found.lonely), 'image')}: {shortened(sorted(found.lonely.values()))}"
    if found.masks:
        return f'no mask belongs to {shown}; they are left out. Where they show nothing: lacking="empty"'
    path = found.mask_table.path
    if found.lacking == "empty":
        return f'{path} has no row of {shown}; taken for empty. Where nobody has drawn their masks: lacking="skip"'
    return (
        f"{path} has rows of empty masks, written {empty!r}, and none of {shown}; left out. "
        'Where they show nothing: lacking="empty"'
    )


def check_lonely(found: Study, said: str | None) -> None:
    """Raise OpenQuestion where so many images have no row of the CSV that they may not be drawn yet.

    Also where the user said what images without a mask are, and there are none.
    """
    if said is not None and not found.lonely and not found.layers:
        raise OpenQuestion(f"--lacking {said}: every image has a mask, so leave it out", "--lacking")
    most = MOST_EMPTY_BESIDE_TESTS if found.has_named_tests else MOST_EMPTY
    share = len(found.lonely) / max(1, len(found.images))
    if said is None and not found.masks and found.lacking == "empty" and share >= most:
        raise OpenQuestion(
            f"{found.mask_table.path} has no row of {len(found.lonely):,} of {len(found.images):,} images, as "
            f"{shortened(sorted(found.lonely.values()))}: they may show nothing, or nobody has drawn their masks",
            "--lacking",
            {"empty": "they show nothing", "skip": "they are left out"},
        )


def check_overlap(found: Study, asked: Asked) -> None:
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


def _test_sets(found: Study, asked: Asked) -> list[FileSet | Templated]:
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


def bands_of(first: FileSet, sets: Sequence[FileSet]) -> dict[str, str]:
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
