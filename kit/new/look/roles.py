"""From pairs of files to the images, masks and tests of a data set, and to the patterns that name them."""

from collections.abc import Callable, Sequence

from kit.datasets.names import nfc
from kit.datasets.pairs import is_like_mask
from kit.datasets.patterns import WILDCARD, Pattern
from kit.new.look.asked import Asked, by_one_wildcard, ids_of, is_csv, shortened, shown, there, whole_pattern
from kit.new.look.class_files import class_files, united
from kit.new.look.file_sets import FileSet
from kit.new.look.found import Study
from kit.new.look.labels import Labels
from kit.new.look.merging import merged
from kit.new.look.pairing import Pairing
from kit.new.look.questions import OpenQuestion
from kit.new.look.split_words import is_train, split_of
from kit.new.look.tables import Table, ids_in, keys_without_image, names_of_images
from kit.new.look.templates import Templated, templated
from kit.new.look.to_predict import LEAST_IN_TABLE, bands_of, check_overlap, find_tests, take_lonely
from kit.system.files import list_some


def find_roles(found: Study, paths: Sequence[str], asked: Asked, labels: Callable[[FileSet], Labels]) -> None:
    """Fill in images, masks, tests, split and patterns. labels(files): what a few of them hold when read as masks.

    Raises ValueError where no masks are found.
    """
    pairings = found.layout.pairings
    if pairings:
        first, *further = pairings
        names = {split_of(pair.images.pattern) for pair in further}
        held_out = "val" if "val" in names else "test"
        further = [pair for pair in further if split_of(pair.images.pattern) == held_out]
        pairings = [first, *further]
        found.patterns["images"], found.patterns["masks"] = _patterns_of(found, first)
        used, found.bands = [first], bands_of(first.images, found.layout.unpaired)
        if further and not found.bands and (patterns := merged(pairings, paths)):
            found.patterns["images"], found.patterns["masks"] = patterns
            used = pairings
        layers = class_files(first, found.layout.beside, labels) if used == [first] else {}
        found.layers = {name: pair.patterns()[1] for name, pair in layers.items()}
        for pair in [united(layers)] if layers else used:
            _take(found, pair, held_out if pair in used[1:] else "")
        found.unused = [_why_unused(pair) for pair in found.layout.pairings if pair not in used]
        _note_further(found, [*used, *layers.values()], labels)
    else:
        _take_by_table(found, asked)
    find_tests(found, asked)
    take_lonely(found, asked.lacking)
    if found.layers and found.lacking == "refuse" and any(len(own) < len(found.layers) for own in found.masks.values()):
        found.lacking = "empty"  # an image has files of the classes that it shows
    check_overlap(found, asked)
    used = {*found.tests.values(), *found.images.values(), *found.lonely.values()}
    for pattern in map(Pattern, [*found.bands.values(), *found.test_bands.values()]):
        used |= {path for path in paths if pattern.match(path)}
    found.unused += [shown(one) for one in found.layout.unpaired if not used.issuperset(one.paths)]


def _patterns_of(found: Study, pair: Pairing) -> tuple[str, str]:
    """The patterns of images and masks. {id} that would name several images is read as *, and that is said."""
    images, masks = pair.patterns()
    if pair.at is None and len(WILDCARD.findall(images)) > 1 and "{id}" in images + masks:
        plain = images.replace("{id}", "*"), masks.replace("{id}", "*")
        found.doubts.append(
            f"{images} and {masks} are read as {plain[0]} and {plain[1]}, because {{id}} alone names no image here"
        )
        return plain
    return images, masks


def _note_further(found: Study, used: Sequence[Pairing], labels: Callable[[FileSet], Labels]) -> None:
    """Name the further masks of the same images that have no part; a doubt where they may be the masks as well."""
    taken = {pair.masks.pattern for pair in (*used, *found.layout.pairings)}
    further = [pair.masks for pair in found.layout.beside if pair.masks.pattern not in taken]
    found.numbered = [one.pattern for one in further if labels(one).are_objects or labels(one).coding is not None]
    for one in further:
        hint = f"; they number objects, which train as one class: --task instances --masks '{one.pattern}'" * (
            one.pattern in found.numbered
        )
        found.unused.append(f"{shown(one)}: further masks of the same images{hint}")
    alike = [one.pattern for one in further if len(labels(one).pixels) == len(labels(used[0].masks).pixels) == 2]
    if alike:
        found.doubts.append(
            f"{used[0].masks.pattern} are taken for the masks, and {shortened(alike)} are masks of two values too: "
            "--masks PATTERN takes those"
        )


def _why_unused(pair: Pairing) -> str:
    is_test = split_of(pair.images.pattern) == "test"
    return f"{shown(pair.images)} with masks{': a test part, which is neither trained on nor held out' * is_test}"


def _take(found: Study, pair: Pairing, split: str) -> None:
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


def _take_by_table(found: Study, asked: Asked) -> None:
    """Images whose masks are rows of a table."""
    best: tuple[tuple, Table, FileSet] | None = None
    wanted = None if asked.images is None else whole_pattern(asked.images)
    sets = [one for one in found.layout.unpaired if wanted in (None, one.pattern)]
    for table in _mask_tables(found, asked):
        for files in sets:
            for named in (files, *by_one_wildcard(files), *templated(files, table)):
                share = ids_in(table, ids_of(named))
                rank = share, *_likeliness(files)
                if share >= LEAST_IN_TABLE and (best is None or rank > best[0]):
                    best = rank, table, named
    if best is None:
        raise _no_masks(found, asked)
    _, found.mask_table, files = best
    found.patterns["images"] = files.pattern
    if isinstance(files, Templated):
        found.patterns["ids"] = files.ids
    every = dict(zip(ids_of(files), files.paths, strict=True))
    if len(every) < len(files.paths):
        raise OpenQuestion(f"{files.pattern} gives several images one id: put {{id}} where all differ", "--images")
    named = names_of_images(found.mask_table, every)
    found.images = {id: path for id, path in every.items() if id in named}
    found.lonely = {id: path for id, path in every.items() if id not in named}
    if strange := keys_without_image(found.mask_table, every):
        found.problems.append(f"{found.mask_table.path} has rows without an image, of {shortened(strange)}")


def _likeliness(files: FileSet) -> tuple[bool, ...]:
    """How likely a set is of training images, by its name alone: compared where several have the ids of a CSV."""
    return not is_like_mask(files.paths[0]), split_of(files.pattern) != "test", is_train(files.pattern)


def _mask_tables(found: Study, asked: Asked) -> list[Table]:
    """The tables that may hold masks: the one asked for, else those that hold run lengths and are no sample."""
    if not is_csv(asked.masks):
        return [table for table in found.tables if table.has_masks and not table.is_sample]
    own = [table for table in found.tables if table.path == asked.masks and table.seen is not None]
    if not own:
        raise OpenQuestion(f"--masks {asked.masks}: no such CSV of two columns or more{there(found.tables)}", "--masks")
    if own[0].odd is not None:
        raise OpenQuestion(f"--masks {asked.masks}: {own[0].odd}", "--masks")
    return own


def _no_masks(found: Study, asked: Asked) -> OpenQuestion:
    """Why no masks were found, with what is there."""
    if odd := [table.odd for table in found.tables if table.odd is not None]:
        return OpenQuestion(f"no masks were found that kit reads. {odd[0]}", "--masks")
    sets = [shown(one) for one in found.layout.unpaired]
    if given := " and ".join(asked.patterns.values()):
        why = f"{given}: no masks belong to these images by their names, and no CSV has their run lengths"
    elif is_csv(asked.masks):
        why = f"no set of images has the ids of --masks {asked.masks}, as {shortened(_keys_of(found, asked.masks))}"
    else:
        why = "no masks were found: no folder of masks belongs to the images by its names, no CSV has their run lengths"
    return OpenQuestion(
        f"{why}. There are these image files:{list_some(sets)}\nCSV files{there(found.tables)}\n"
        "Name them: --images PATTERN --masks PATTERN, as in --images 'scans/*.png' --masks 'outlines/{id}_m.png', or "
        "--masks FILE.csv",
        "--masks",
    )


def _keys_of(found: Study, path: str) -> list[str]:
    return next((table.seen.keys for table in found.tables if table.path == path and table.seen), [])
