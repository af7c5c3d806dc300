"""Look at a folder: every file's name and size, and the content of a sample, without a word from the user.

    found = study(Path("data/mine"))

Nothing is decided here; kit.new.decisions.choices does it, and kit.new.writing writes the recipe.
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from kit.data.masks import decode_mask
from kit.datasets.files import DataFolder
from kit.datasets.kinds import Kind, kind_of
from kit.datasets.patterns import IMAGE_SUFFIXES, WILDCARD, suffix_of
from kit.datasets.places import no_folder
from kit.datasets.reading import complaints
from kit.new.look.alikeness import describe
from kit.new.look.asked import Asked, is_csv, whole_pattern
from kit.new.look.file_sets import FileSet, file_sets
from kit.new.look.found import Study
from kit.new.look.labels import Labels, read_labels
from kit.new.look.legends import not_read, read_legends
from kit.new.look.lists import find_split
from kit.new.look.numbers import brightness_of
from kit.new.look.pairing import Layout, find_layout, is_mask
from kit.new.look.parts import LARGE, Parts, TooLarge, size_of
from kit.new.look.questions import OpenQuestion, question_of
from kit.new.look.roles import find_roles
from kit.new.look.tables import read_tables
from kit.new.look.upright import measure, sides
from kit.new.look.whole_names import by_whole_names
from kit.system.files import list_some, spread
from kit.system.threads import threads_for

PEEK = 4  # files of each set that are read to find out which are masks
TESTS = 8  # images to predict that are read, to compare their type with that of the others
SAMPLE, IMAGES = 2000, 160  # masks and images that are read whole,
PIXELS = 150_000_000  # but of large masks only so many pixels
LONG = 2000  # files from which on their headers take long enough for a progress bar


def study(root: Path, asked: Asked = Asked()) -> Study:  # noqa: B008 (frozen)
    """Look at the folder. Raises FileNotFoundError, and ValueError where it holds no image or no masks are found."""
    if not Path(root).is_dir():
        raise FileNotFoundError(no_folder(root))
    data = DataFolder(root)
    paths, odd = data.files()
    problems = [f"{one}: no regular file" for one in odd]
    images = [path for path in paths if suffix_of(path) in IMAGE_SUFFIXES]
    if not images:
        raise ValueError(f"{root} holds no image file, expected one of .{', .'.join(sorted(IMAGE_SUFFIXES))}")
    peeked, parts = {}, Parts(data)

    def peek(files: FileSet) -> Labels:
        if files.pattern not in peeked:
            peeked[files.pattern] = read_labels(data.read, spread(files.paths, PEEK), parts.part)
        return peeked[files.pattern]

    sets, tables = file_sets(images), read_tables(data, paths, problems)
    so_far = [("files", f"{one.pattern}: {len(one.paths):,}") for one in sets]
    so_far += [("table", str(table)) for table in tables]
    try:
        sets = by_whole_names(sets, tables, lambda files: is_mask(files, peek(files)), bool(asked.images))
        sets = asked.sets(sets, images)
        problems += _spellings(sets)
        found = Study(data, _layout_of(sets, peek, asked), tables, problems=problems)
        find_roles(found, images, asked, peek)
    except ValueError as error:
        question, so_far = question_of(error, asked.patterns), [*so_far, *(("problem", one) for one in problems)]
        raise OpenQuestion(question.text, question.flag, dict(question.choices), so_far) from error
    if not found.split and (listed := find_split(data, paths, found.images)):
        found.split, found.split_list = dict.fromkeys(listed.ids, "listed"), listed.path
    found.legends = [one for one in read_legends(data, paths) if one.path != found.split_list]
    found.likely = [path for path in not_read(paths, found.legends) if path != found.split_list]
    _read_sizes(found)
    _read_samples(found)
    return found


def _layout_of(sets: list[FileSet], peek: Callable[[FileSet], Labels], asked: Asked) -> Layout:
    """Images and masks among the sets, as far as the user does not say that a set is of tests, or masks in a CSV."""
    if is_csv(asked.masks):
        return Layout(unpaired=[one for one in sets if WILDCARD.search(one.pattern)])
    whole = {flag: whole_pattern(text) for flag, text in asked.patterns.items()}
    tests = [one for one in sets if one.pattern == whole.get("--tests")]
    layout = find_layout([one for one in sets if one not in tests], peek, whole.get("--images"), whole.get("--masks"))
    layout.unpaired += tests
    return layout


def _spellings(sets: Sequence[FileSet]) -> list[str]:
    """A line for each two sets that differ in capital letters alone, and for each file in two spellings."""
    first: dict[str, FileSet] = {}
    lines = []
    for one in sets:
        other = first.setdefault(one.pattern.casefold(), one)
        if other is not one:
            counts = f"{other.pattern} ({len(other.paths)}) and {one.pattern} ({len(one.paths)})"
            lines.append(f"{counts} differ in capital letters alone, and are not read together: rename one kind")
    for one in [one for one in sets if len(one.paths) > 1]:
        kept = set(one.keys().values())
        twice = [path for path in one.paths if path not in kept]
        lines += [f"{path} differs from another file in its suffix alone: keep one of the two" for path in twice]
    return lines


def image_vector(found: Study) -> Callable[[str], np.ndarray]:
    """A function from an id to kit.new.look.alikeness.describe of its image."""

    parts = Parts(found.data, found.sizes)

    @functools.cache
    def vector(id: str) -> np.ndarray:
        try:
            return describe(parts.read(found.images[id]))
        except TooLarge:
            return np.full(1, np.nan, np.float32)
        except (ValueError, OSError):  # listed by the headers, or by the check before training
            return np.zeros(1, np.float32)

    return vector


def _read_sizes(found: Study) -> None:
    """Read the header of every image and mask; list what cannot be read, and masks that differ from their image."""
    masks = {path: id for id, own in found.masks.items() for path in own}
    paths = [*found.images.values(), *masks, *found.tests.values()]

    def read(path: str) -> tuple[int, int] | str:
        try:
            return size_of(found.data, path)
        except (ValueError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        sizes = tqdm(pool.map(read, paths), "headers", total=len(paths), leave=False, disable=len(paths) < LONG)
        for path, size in zip(paths, sizes, strict=True):
            if isinstance(size, str):
                found.problems.append(size)
            else:
                found.sizes[path] = size
    for path, id in masks.items():
        size, wanted = found.sizes.get(path), found.sizes.get(found.images[id])
        if size and wanted and size != wanted:
            found.problems.append(_describe_size(path, size, wanted, found.images[id]))


def _describe_size(path: str, size: tuple[int, int], wanted: tuple[int, int], image: str) -> str:
    why = ""
    if size == wanted[::-1]:
        why = ": height and width are swapped"
    elif max(abs(size[0] - wanted[0]), abs(size[1] - wanted[1])) == 1:
        why = ": off by one pixel"
    return f"{path}: {size[0]}×{size[1]} pixels, and {image} has {wanted[0]}×{wanted[1]}{why}"


def _sampled(found: Study) -> list[str]:
    """The masks of which a sample is read: the first of each image, of a file a class all."""
    count = None if found.layers else 1
    return [path for id in found.ids for path in found.masks.get(id, [])[:count]]


def _read_samples(found: Study) -> None:
    """Read some masks whole, and some images with theirs."""
    sizes = [min(height * width, LARGE) for height, width in found.sizes.values()]
    most = max(24, PIXELS // int(np.median(sizes))) if sizes else 24
    masks = spread(_sampled(found), min(SAMPLE, most))
    if masks:
        found.labels = read_labels(found.data.read, masks, Parts(found.data, found.sizes).part)
        found.problems += found.labels.problems
    ids, parts = spread(found.ids, IMAGES), Parts(found.data, found.sizes)
    with ThreadPoolExecutor(threads_for()) as pool:
        measured = list(pool.map(lambda id: _look_at(found, parts, id), ids))
    found.kinds = Counter(seen.kind for seen in measured if seen is not None)
    found.labels.brightness = [one for seen in measured if seen is not None for one in seen.brightness]
    if not found.kinds:
        raise ValueError(
            f"none of {len(ids)} images that were tried can be read:{list_some(_complaints(found, ids[:5]))}"
        )
    found.sides = sides([seen.sides for seen in measured if seen is not None and seen.sides is not None])
    _compare_tests(found, parts)


def _compare_tests(found: Study, parts: Parts) -> None:
    """A doubt where all of some images to predict are of another type of values than the images with masks."""
    read = {}
    for path in spread(list(found.tests.values()), TESTS):
        with contextlib.suppress(ValueError, OSError):  # listed by the headers
            read[path] = parts.read(path).dtype.name
    known = {kind.dtype for kind in found.kinds}
    if read and known.isdisjoint(read.values()):
        path, dtype = next(iter(read.items()))
        found.doubts.append(
            f"the images to predict are {dtype}, as {path}, and those with masks {' or '.join(sorted(known))}: the "
            "network would see other values than in training, so prediction refuses them. Convert one of the two"
        )


class _Seen(NamedTuple):
    """What one image shows. sides: of kit.new.look.upright.measure. brightness: see kit.new.look.labels.Labels."""

    kind: Kind
    sides: np.ndarray | None
    brightness: list[tuple[object, float]]


def _look_at(found: Study, parts: Parts, id: str) -> _Seen | None:
    """What an image and its masks show; None where it cannot be read, or would have to be read whole."""
    path = found.images[id]
    try:
        image, size = parts.read(path), found.sizes.get(path)
        if image.shape[:2] != size:  # of a large image no part is looked at beside its mask
            return _Seen(kind_of(image), None, [])
        masks = _masks_of(found, id, image.shape[:2])
        whole = None if masks is None else np.any([mask != _background(found) for mask in masks], axis=0)
        return _Seen(kind_of(image), measure(image, whole), brightness_of(image, masks or []))
    except (ValueError, OSError):  # said by the headers, or by the check before training
        return None


def _background(found: Study) -> int:
    return 0 if found.labels.colours else found.labels.background


def _complaints(found: Study, ids: list[str]) -> list[str]:
    """Why images cannot be read."""
    return complaints([(Parts(found.data, found.sizes).read, found.images[id]) for id in ids])


def _masks_of(found: Study, id: str, size: tuple[int, int]) -> list[np.ndarray] | None:
    """Some masks of an image as they are stored (H, W); None where one cannot be read, or there are none."""
    masks = []
    for path in spread(found.masks.get(id, []), 20):
        try:
            mask = np.asarray(decode_mask(found.data.read(path), path))
        except (ValueError, OSError):
            return None
        if mask.shape == size:
            masks.append(mask)
    return masks or None
