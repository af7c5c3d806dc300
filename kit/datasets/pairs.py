"""Which folders of unknown data hold images, and which the masks of these: guessed from the names alone."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from kit.datasets.names import nfc

IMAGE_WORDS = ("images", "image", "imgs", "img", "jpegimages", "photos", "scans", "pictures", "imagestr", "raw")
MASK_WORDS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "segmentationclass",
    "segmentations", "segmentation", "segs", "seg", "gt", "groundtruth", "ground_truth", "targets", "target", "truth",
    "labelstr", "manual", "output",
)  # fmt: skip
ENDINGS = re.compile(rf"(?P<stem>.+?)[_\-. ]?(?:{'|'.join(sorted(MASK_WORDS, key=len, reverse=True))})", re.IGNORECASE)


class Pairs(NamedTuple):
    """A folder of images and one of masks; they may be the same."""

    images_folder: str
    masks_folder: str
    masks: dict[str, str]  # the mask of each image that has one, by paths
    lonely: list[str]  # a line for each image without a mask and each mask without an image
    by_stems: bool = False  # the folders' names do not agree, only the files' stems: what is lonely is in doubt


def find_pairs(paths: list[str]) -> list[Pairs]:
    """The pairs of folders in which names agree: beside each other (images/ and masks/, train/ and train_masks/), or
    one folder in which masks have an ending (a.png and a_mask.png). The files of all other folders are paired by their
    stems, where each stem is there once: scans/train/a.tif and labels/p7/a_seg.png.
    """
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(_folder(path), []).append(path)
    found, spelt = [], {folder.lower(): folder for folder in folders}
    for folder, files in sorted(folders.items()):
        partners = [spelt[other] for other in _mask_folders(folder) if other in spelt]
        pairs = [_compare(folder, partner, files, folders[partner]) for partner in partners]
        pairs += [_compare_within(folder, files)]
        found += [pair for pair in pairs if pair is not None]
    across = _compare_across(_outside(paths, found))
    return found if across is None else [*found, across]


def unpaired_masks(paths: list[str], pairs: list[Pairs]) -> list[str]:
    """The files that are named like masks, or lie in folders that are, and that no pair has or reports."""
    return [path for path in _outside(paths, pairs) if is_like_mask(path)]


def is_like_mask(path: str) -> bool:
    """Whether the last telling folder or the end of the stem says that a file is a mask."""
    for part in reversed(path.lower().split("/")[:-1]):
        if part in IMAGE_WORDS:
            return False
        if part in MASK_WORDS or ENDINGS.fullmatch(part):
            return True
    return _without_ending(_stem(path)) != _stem(path)


def _outside(paths: list[str], pairs: list[Pairs]) -> list[str]:
    """The paths that lie in no folder of a pair."""
    folders = {_folder(path) for pair in pairs for path in (*pair.masks, *pair.masks.values())}
    return [path for path in paths if _folder(path) not in folders]


def _mask_folders(folder: str) -> list[str]:
    """The names that the folder of its masks may have, in small letters."""
    parts = folder.lower().split("/")
    options = []
    for at, part in enumerate(parts):
        words = MASK_WORDS if part in IMAGE_WORDS else ()
        words = [*words, *(f"{part}{joint}{word}" for word in MASK_WORDS for joint in ("_", "-", ""))]
        options += ["/".join([*parts[:at], word, *parts[at + 1 :]]) for word in words]
    return options


def _compare(folder: str, partner: str, images: list[str], masks: list[str]) -> Pairs | None:
    """Pair two folders by the files' stems, or by the stems of masks without their ending; None where none agree."""
    by_stem = {_stem(path): path for path in images}
    whole, cut = {_stem(path): path for path in masks}, {_without_ending(_stem(path)): path for path in masks}
    keyed = max(whole, cut, key=lambda stems: len(by_stem.keys() & stems))
    shared = by_stem.keys() & keyed
    return _pairs(folder, partner, by_stem, keyed, shared) if shared else None


def _compare_within(folder: str, files: list[str]) -> Pairs | None:
    """Pair the files of one folder whose masks have an ending; None where there are none."""
    stems = {_stem(path): path for path in files}
    masks = {
        _without_ending(stem): path
        for stem, path in stems.items()
        if _without_ending(stem) != stem and _without_ending(stem) in stems
    }
    endings = {stem for stem in stems if _without_ending(stem) != stem}
    images = {stem: path for stem, path in stems.items() if stem not in endings}
    if not masks:
        return None
    lonely = {_without_ending(stem): stems[stem] for stem in endings}
    return _pairs(folder, folder, images, lonely, images.keys() & lonely)


def _compare_across(paths: list[str]) -> Pairs | None:
    """Pair files of any folders by stems that are there once; None where there are none.

    Lonely are files beside paired ones.
    """
    masks = [path for path in paths if is_like_mask(path)]
    images = _once(_stem(path) for path in paths if not is_like_mask(path))
    by_stem = {stem: path for path in paths if not is_like_mask(path) and (stem := _stem(path)) in images}
    names = max((_stem, _key_of_mask), key=lambda name: len(by_stem.keys() & _once(map(name, masks))))
    keys = _once(map(names, masks))
    keyed = {key: path for path in masks if (key := names(path)) in keys}
    shared = by_stem.keys() & keyed
    if not shared:
        return None
    here, there = ({_folder(files[stem]) for stem in shared} for files in (by_stem, keyed))
    near = {stem: path for stem, path in by_stem.items() if _folder(path) in here}
    several = {_stem(path) for path in paths if not is_like_mask(path)} - images  # as in train/ and test/: in doubt
    masks_near = {stem: path for stem, path in keyed.items() if _folder(path) in there and stem not in several}
    common = [posixpath.commonpath(folders) if all(folders) else "" for folders in (here, there)]
    return _pairs(*common, near, masks_near, shared)._replace(by_stems=True)


def _once(stems: Iterable[str]) -> set[str]:
    """The stems that come once."""
    return {stem for stem, count in Counter(stems).items() if count == 1}


def _pairs(folder: str, partner: str, images: dict[str, str], masks: dict[str, str], shared: set[str]) -> Pairs:
    lonely = [f"{images[stem]} has no mask in {partner or '.'}" for stem in sorted(images.keys() - shared)]
    lonely += [f"{masks[stem]} has no image in {folder or '.'}" for stem in sorted(masks.keys() - shared)]
    return Pairs(folder or ".", partner or ".", {images[stem]: masks[stem] for stem in sorted(shared)}, lonely)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _key_of_mask(path: str) -> str:
    return _without_ending(_stem(path))


def _stem(path: str) -> str:
    name = nfc(path.rpartition("/")[2])
    return name.rpartition(".")[0] or name


def _without_ending(stem: str) -> str:
    found = ENDINGS.fullmatch(stem)
    return found["stem"] if found else stem
