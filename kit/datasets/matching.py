"""Files matched by patterns: images and masks by id, and everything that has no partner."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from kit.datasets.files import DataFolder
from kit.datasets.names import describe_double
from kit.datasets.patterns import Pattern, suffix_of
from kit.system.files import check_id, list_some

LACKING = "; if images without a mask hold no object: lacking='empty'; if they are to be left out: lacking='skip'"
Files = dict[str, tuple[str, ...]]  # the paths of each id: one, or one a channel


class Images(NamedTuple):
    """The images of a data set as their masks see them. tests: those that must have no mask, by id."""

    pattern: Pattern
    paths: dict[str, str]  # by id; the first where a channel is a file
    tests: Mapping[str, str] = MappingProxyType({})


class Found:
    """The files that patterns ask for. Each folder is listed once; pipes and broken links in it are problems."""

    def __init__(self, data: DataFolder, problems: list[str]):
        self.data, self.problems, self._below = data, problems, {}

    def below(self, folder: str) -> list[str]:
        """All paths below a folder."""
        if folder not in self._below:
            self._below[folder], odd = self.data.files(folder)
            self.problems += [one for one in odd if one not in self.problems]
        return self._below[folder]

    def matching(self, pattern: Pattern) -> list[str]:
        """The paths that match; ValueError with what lies there instead where there is none."""
        paths = [path for path in self.below(pattern.prefix) if pattern.match(path)]
        if not paths:
            kinds = Counter((path.rpartition("/")[0], suffix_of(path)) for path in self.below(""))
            there = [f"{folder or '.'}: {count} .{suffix}" for (folder, suffix), count in sorted(kinds.items())]
            raise ValueError(f"no file matches {pattern.text!r} in {self.data.root}, which holds{list_some(there)}")
        return paths


def find_images(found: Found, patterns: Mapping[str, Pattern], masks: Sequence[Pattern] = ()) -> Files:
    """The paths of images by id. patterns: one, or one a channel by the channel's name; masks: files that are none.

    What has an unsafe or a double id, or lacks a channel, goes to the problems. Raises ValueError if nothing is left.
    """
    texts = [pattern.text for pattern in patterns.values()]
    if same := [pattern.text for pattern in masks if pattern.text in texts]:
        raise ValueError(f"images={same[0]!r} and masks={same[0]!r} name the same files")
    taken = {path for pattern in masks for path in found.matching(pattern)}
    channels: dict[str, dict[str, str]] = {}
    for name, pattern in patterns.items():
        own = [path for path in found.matching(pattern) if path not in taken]
        if not own:
            named = ", ".join(repr(mask.text) for mask in masks)
            raise ValueError(f"images={pattern.text!r} and masks={named} name the same files")
        channels[name] = by_id(own, pattern, found.problems)
    ids = dict.fromkeys(id for files in channels.values() for id in files)
    found.problems += [
        f"the id {id} has no file of the channel {name}, expected {patterns[name].text.replace('{id}', id)}"
        for name, files in channels.items()
        for id in sorted(ids.keys() - files)
    ]
    return {
        id: tuple(files[id] for files in channels.values())
        for id in ids
        if all(id in files for files in channels.values())
    }


def by_id(paths: list[str], pattern: Pattern, problems: list[str]) -> dict[str, str]:
    """Paths by id; unsafe and double ids go to `problems`."""
    files, first = {}, {}
    for path in paths:
        id = pattern.id_of(path)
        try:
            check_id(id)
        except ValueError as error:
            problems.append(f"{path!a}: {error}")
            continue
        other = first.setdefault(id.casefold(), path)
        if other == path:
            files[id] = path
        elif pattern.ids is None:
            problems.append(describe_double(path, other))
        else:
            problems.append(f"{path} and {other} have the id {id}: let ids={pattern.ids!r} name more of the wildcards")
    return files


def front_of(image_files: Mapping[str, object], test_files: Mapping[str, object], prefix: str) -> str:
    """A folder to put before the ids of images where test images have the same ids; "" where none has.

    prefix: the folders in which all images lie. In front stands the last of them: "train/".
    """
    front, folder = "", prefix.rpartition("/")[2] or "train"
    while any(front + id in test_files for id in image_files):
        front += f"{folder}/"
    return front


def find_masks(found: Found, masks: Pattern, images: Images) -> dict[str, list[str]]:
    """The mask files of each id; those that belong to no image go to the problems.

    masks: a pattern with {id}; a folder in which masks lie as the images do below the images' prefix; or a pattern with
    as many wildcards as the images' one, which stand for the same text.
    Raises ValueError where `masks` is none of these, or matches nothing.
    """
    paired: dict[str, list[str]] = {}
    for id, path in _keyed(found.matching(masks), masks, images):
        paired.setdefault(id, []).append(path)
    for id, paths in sorted(paired.items()):
        if id in images.tests:
            why = f"is the mask of {id}, which `tests` names. Move it elsewhere, or take the id out of the CSV of tests"
        else:
            why = "has no image"
        found.problems += [f"{path} {why}" for path in paths if id not in images.paths]
    return {id: paths for id, paths in paired.items() if id in images.paths}


def _keyed(files: list[str], masks: Pattern, images: Images) -> list[tuple[str, str]]:
    """The id and the path of each mask; a mask that belongs to no image has the id that it would have."""
    if masks.has_id:
        return [(masks.match(path)["id"], path) for path in files]
    every = {**images.tests, **images.paths}
    if masks.is_folder:
        ids = {} if images.pattern.ids is None else {images.pattern.place_of(p): id for id, p in every.items()}
        return [(ids.get(masks.place_of(path), masks.place_of(path)), path) for path in files]
    if masks.wildcards == images.pattern.wildcards and not images.pattern.has_id:
        ids = {images.pattern.match(path).groups(): id for id, path in every.items()}
        return [(ids.get(masks.match(path).groups(), path), path) for path in files]
    raise ValueError(
        f"masks={masks.text!r} cannot be paired with images={images.pattern.text!r}: expected {{id}} in it, as in "
        "'masks/{id}_mask.png', or the name of a folder, or the same wildcards as in images, in the same order"
    )


def lacking_masks(paired: Collection[str], masks: Pattern, images: Images, advice: str = LACKING) -> list[str]:
    """A line for each image that has no mask."""
    lacking = [(id, path) for id, path in sorted(images.paths.items()) if id not in paired]
    return [f"{path} has no mask{_wanted(masks, id)}{advice}" for id, path in lacking]


def several_masks(paired: Mapping[str, Sequence[str]], images: Images) -> list[str]:
    """A line for each image that has several masks."""
    return [
        f"{images.paths[id]} has {len(paths)} masks, expected one: {', '.join(paths[:3])}{' …' * (len(paths) > 3)}"
        "; if each file is an object: task='instances'"
        for id, paths in sorted(paired.items())
        if len(paths) > 1
    ]


def _wanted(masks: Pattern, id: str) -> str:
    """The path that a mask should have, for a message."""
    if masks.is_folder:
        return f" {masks.text}/{id}.*"
    return f" {masks.text.replace('{id}', id)}" if masks.has_id else f" like {masks.text}"
