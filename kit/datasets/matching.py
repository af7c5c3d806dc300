"""Files matched by patterns: images and masks by id, and everything that has no partner."""

from collections import Counter

from kit.datasets.files import DataFolder
from kit.datasets.names import describe_double
from kit.datasets.patterns import Pattern, suffix_of
from kit.system.files import check_id, list_some


class Found:
    """The files that patterns ask for. Each folder is listed once; pipes and broken links in it are problems."""

    def __init__(self, data: DataFolder, problems: list[str]):
        self.data, self._problems, self._below = data, problems, {}

    def below(self, folder: str) -> list[str]:
        """All paths below a folder."""
        if folder not in self._below:
            self._below[folder], odd = self.data.files(folder)
            self._problems += [one for one in odd if one not in self._problems]
        return self._below[folder]

    def matching(self, pattern: Pattern) -> list[str]:
        """The paths that match; ValueError with what lies there instead where there is none."""
        paths = [path for path in self.below(pattern.prefix) if pattern.match(path)]
        if not paths:
            kinds = Counter((path.rpartition("/")[0], suffix_of(path)) for path in self.below(""))
            there = [f"{folder or '.'}: {count} .{suffix}" for (folder, suffix), count in sorted(kinds.items())]
            raise ValueError(f"no file matches {pattern.text!r} in {self.data.root}, which holds{list_some(there)}")
        return paths


def pair_files(
    found: Found, images: Pattern, masks: Pattern, problems: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Paths of images and of masks by id; what has no partner goes to `problems`."""
    candidates = found.matching(masks)
    taken = set(candidates) if masks.text != images.text else set()
    own = [path for path in found.matching(images) if path not in taken]
    if not own or masks.text == images.text:
        raise ValueError(f"images={images.text!r} and masks={masks.text!r} name the same files")
    image_files = by_id(own, images, problems)
    paired = _pair(image_files, masks, images, candidates)
    problems += [
        f"{image_files[id]} has {len(paths)} masks, expected one: {', '.join(paths[:3])}{' …' * (len(paths) > 3)}"
        for id, paths in sorted(paired.items())
        if len(paths) > 1 and id in image_files
    ]
    problems += [
        f"{path} has no mask{_wanted(masks, id)}" for id, path in sorted(image_files.items()) if id not in paired
    ]
    problems += [
        f"{path} has no image" for id, paths in sorted(paired.items()) if id not in image_files for path in paths
    ]
    return image_files, {id: paths[0] for id, paths in paired.items()}


def _wanted(masks: Pattern, id: str) -> str:
    """The path that a mask should have, for a message."""
    if masks.is_folder:
        return f" {masks.text}/{id}.*"
    return f" {masks.text.replace('{id}', id)}" if masks.has_id else f" like {masks.text}"


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
        else:
            problems.append(describe_double(path, other))
    return files


def front_of(image_files: dict[str, str], test_files: dict[str, str], prefix: str) -> str:
    """A folder to put before the ids of images where test images have the same ids; "" where none has.

    prefix: the folders in which all images lie. In front stands the last of them: "train/".
    """
    front, folder = "", prefix.rpartition("/")[2] or "train"
    while any(front + id in test_files for id in image_files):
        front += f"{folder}/"
    return front


def _pair(images: dict[str, str], masks: Pattern, image_pattern: Pattern, files: list[str]) -> dict[str, list[str]]:
    """Map ids to the masks among `files`; a mask that belongs to none of `images` is under the id it would have.

    images: paths by id. masks: with {id}, a folder in which masks lie as the images do below `image_pattern.prefix`,
    or a pattern with as many wildcards as the images' one, which stand for the same text.
    Raises ValueError where `masks` is none of these.
    """
    matches = [(path, found) for path in files if (found := masks.match(path))]
    if masks.has_id:
        keyed = [(found["id"], path) for path, found in matches]
    elif masks.is_folder:
        keyed = [(masks.id_of(path), path) for path, _ in matches]
    elif masks.wildcards == image_pattern.wildcards and not image_pattern.has_id:
        ids = {image_pattern.match(path).groups(): id for id, path in images.items()}
        keyed = [(ids.get(found.groups(), path), path) for path, found in matches]
    else:
        raise ValueError(
            f"masks={masks.text!r} cannot be paired with images={image_pattern.text!r}: expected {{id}} in it, as in "
            "'masks/{id}_mask.png', or the name of a folder, or the same wildcards as in images, in the same order"
        )
    paired: dict[str, list[str]] = {}
    for id, path in keyed:
        paired.setdefault(id, []).append(path)
    return paired
