"""Ids by the sample submission, where it joins the parts of a path: case09_slice_001 of case09/img/slice_001.png."""

from collections.abc import Sequence

from kit.datasets.names import nfc
from kit.datasets.patterns import Pattern
from kit.new.look.file_sets import FileSet
from kit.new.look.found import Study
from kit.new.look.tables import Table
from kit.new.look.templates import Templated, retold, templated


def take_ids_of_sample(found: Study, sets: Sequence[FileSet], samples: Sequence[Table]) -> None:
    """Give images with mask files the ids that a sample gives to the tests, where a template makes its keys of them.

    sets: those that may be tests. Nothing changes where the images' folders and names are built in another way.
    """
    if not found.masks or found.bands or found.layers or "{id}" in "".join(found.patterns.values()):
        return
    for files in sets:
        for table in samples:
            for tests in templated(files, table):
                if _retell(found, tests):
                    return


def _retell(found: Study, tests: Templated) -> bool:
    """Rename the ids of all images by the template of the tests; whether that can be done."""
    paths = {**found.images, **found.lonely}
    own = FileSet(found.patterns["images"], tuple(paths.values()))
    masks = FileSet(found.patterns["masks"], tuple(mask for each in found.masks.values() for mask in each))
    whole, parts = _alike(own, tests), _alike(masks, tests)
    if whole is None or parts is None:
        return False
    pattern = Pattern(whole, ids=tests.ids)
    names = {id: nfc(pattern.id_of(path)) for id, path in paths.items()}
    if len(set(names.values())) < len(names):
        return False
    found.patterns |= {"images": whole, "masks": parts, "ids": tests.ids}
    for field in ("images", "masks", "lonely", "split"):
        setattr(found, field, {names[id]: value for id, value in getattr(found, field).items()})
    return True


def _alike(files: FileSet, tests: Templated) -> str | None:
    """The pattern of the files with the wildcards of the tests' pattern; None where it cannot have them."""
    return next((one.pattern for one in retold(files, tests.pattern, tests.ids)), None)
