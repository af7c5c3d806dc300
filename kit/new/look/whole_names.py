"""Images whose names end in one of a few words, as 7_left.jpg and 7_right.jpg, and that are named one by one.

By their endings they look like sets of files that belong together, a file of each for an image. Rows of a CSV, or
masks, that have the whole names of the images say more: such a name is an id, and no part of it is a class or channel.
"""

from collections.abc import Callable, Sequence

from kit.datasets.names import nfc
from kit.new.look.file_sets import FileSet, split_ending
from kit.new.look.questions import OpenQuestion
from kit.new.look.tables import Table
from kit.submission.names import IMAGE_ENDING

LEAST_NAMED = 0.5  # of the keys of a table, or the names of masks, that must be names of images
Groups = dict[tuple[str, bool], list[FileSet]]


def by_whole_names(
    sets: Sequence[FileSet], tables: Sequence[Table], is_mask: Callable[[FileSet], bool], is_asked: bool
) -> list[FileSet]:
    """The sets, those that differ in their endings alone as one where a CSV or masks have the names of their images.

    is_mask(files): whether they look like masks. is_asked: the user says which are the images. Raises OpenQuestion
    where names without their endings are images too.
    """
    groups: Groups = {}
    for files in sets:
        whole, ending = split_ending(files.pattern)
        groups.setdefault((whole if ending else files.pattern, is_mask(files)), []).append(files)
    several = {key: own for key, own in groups.items() if len(own) > 1 and not key[1]}
    by_masks = (
        [names for (_, is_masks), own in groups.items() if is_masks for names in _named_by(own)] if several else []
    )
    by_rows = [_keys(table) for table in tables] if several else []
    named = {key: own for key, own in several.items() if _are_named(own, [*by_rows, *by_masks])}
    for (whole, _), own in named.items() if not is_asked else ():
        _ask_where_split(whole, own, [one for one in sets if one not in own and not is_mask(one)])
    endings = {_endings(own) for own in named.values()}
    result = []
    for (whole, _), own in groups.items():  # the masks and tests of such images have the same endings
        is_one = len(own) > 1 and _endings(own) in endings
        result += [FileSet(whole, tuple(sorted(path for one in own for path in one.paths)))] if is_one else own
    return sorted(result)


def _named_by(masks: Sequence[FileSet]) -> list[set[str]]:
    """The names that masks say images have: their own, and those without their endings."""
    own, short = set(), set()
    for files in masks:
        names, ending = _names(files), split_ending(files.pattern)[1]
        own, short = own | names, short | {name.removesuffix(ending) for name in names}
    return [own, short]


def _are_named(own: Sequence[FileSet], every: Sequence[set[str]]) -> bool:
    """Whether names are of files with several of the endings."""
    parts = [_names(files) for files in own]
    whole = set().union(*parts)
    return any(
        sum(bool(names & part) for part in parts) > 1 and len(names & whole) >= LEAST_NAMED * len(names)
        for names in every
    )


def _ask_where_split(whole: str, own: Sequence[FileSet], others: Sequence[FileSet]) -> None:
    """Raise OpenQuestion where what is before the endings names images as well."""
    fronts = {name: split_ending(files.pattern)[1] for files in own for name in _names(files)}
    fronts = {name.removesuffix(ending): ending for name, ending in fronts.items()}
    for files in others:
        if 2 * len(both := fronts.keys() & _names(files)) > len(fronts):
            example = min(both)
            ending = fronts[example]
            raise OpenQuestion(
                f"the name {example}{ending} may be of an image of {whole}, or of the class {ending[1:]} of the image "
                f"{example} of {files.pattern}: say which files are the images",
                "--images",
                {f"'{whole}'": "names are whole ids", f"'{files.pattern}'": "names end in a class"},
            )


def _endings(own: Sequence[FileSet]) -> frozenset[str]:
    return frozenset(split_ending(files.pattern)[1] for files in own)


def _names(files: FileSet) -> set[str]:
    """The names of the files without folders and suffix."""
    return {nfc(path.rpartition("/")[2].rpartition(".")[0]) for path in files.paths}


def _keys(table: Table) -> set[str]:
    """The keys of a table of masks as names of images."""
    return {nfc(IMAGE_ENDING.sub("", key)) for key in table.seen.keys} if table.has_masks else set()
