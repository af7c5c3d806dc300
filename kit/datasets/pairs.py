"""Which folders of unknown data hold images, and which the masks of these: guessed from the names alone."""

import re
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


def find_pairs(paths: list[str]) -> list[Pairs]:
    """The pairs of folders in which names agree: beside each other (images/ and masks/, train/ and train_masks/), or
    one folder in which masks have an ending (a.png and a_mask.png). Nothing is said of the others.
    """
    folders: dict[str, list[str]] = {}
    for path in paths:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    found, spelt = [], {folder.lower(): folder for folder in folders}
    for folder, files in sorted(folders.items()):
        partners = [spelt[other] for other in _mask_folders(folder) if other in spelt]
        pairs = [_compare(folder, partner, files, folders[partner]) for partner in partners]
        pairs += [_compare_within(folder, files)]
        found += [pair for pair in pairs if pair is not None]
    return found


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
    for strip in (False, True):
        keyed = {(_without_ending(_stem(path)) if strip else _stem(path)): path for path in masks}
        if shared := by_stem.keys() & keyed:
            return _pairs(folder, partner, by_stem, keyed, shared)
    return None


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


def _pairs(folder: str, partner: str, images: dict[str, str], masks: dict[str, str], shared: set[str]) -> Pairs:
    lonely = [f"{images[stem]} has no mask in {partner or '.'}" for stem in sorted(images.keys() - shared)]
    lonely += [f"{masks[stem]} has no image in {folder or '.'}" for stem in sorted(masks.keys() - shared)]
    return Pairs(folder or ".", partner or ".", {images[stem]: masks[stem] for stem in sorted(shared)}, lonely)


def _stem(path: str) -> str:
    name = nfc(path.rpartition("/")[2])
    return name.rpartition(".")[0] or name


def _without_ending(stem: str) -> str:
    found = ENDINGS.fullmatch(stem)
    return found["stem"] if found else stem
