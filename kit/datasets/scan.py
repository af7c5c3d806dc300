"""Is a data folder sound? The check behind `python -m kit lint FOLDER`, for known layouts and for any other.

A folder with the layout of a known data set is checked as that. In any other folder every image file is decoded
strictly, images and their masks are compared, as far as names show which belong together: which have no partner, which
differ in size. Images of one folder must have one type and number of channels. What could not be compared is a doubt.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kit.data.dataset import Dataset
from kit.data.images import decode_image
from kit.datasets.blood_cells import BloodCells
from kit.datasets.camvid import CamVid
from kit.datasets.carvana import Carvana
from kit.datasets.files import DataFolder
from kit.datasets.kinds import Kind, kind_of, mixed
from kit.datasets.nuclei import Nuclei
from kit.datasets.pairs import Pairs, find_pairs, unpaired_masks
from kit.datasets.patterns import IMAGE_SUFFIXES, suffix_of
from kit.datasets.pets import Pets
from kit.datasets.reading import complaints, read_size, unreadable
from kit.datasets.voc import VOC
from kit.system.files import counted


class Scan(NamedTuple):
    """What was found, in words, and the problems and doubts, a line each."""

    found: str
    problems: list[str]
    doubts: list[str]  # what may be wrong, and what could not be looked at


def scan(folder: Path | str) -> Scan:
    """Check all files below `folder`. Raises FileNotFoundError if it is no folder, ValueError for a damaged zip."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; expected the folder of a data set's files")
    for layout, is_layout, opened in LAYOUTS:
        if is_layout(folder):
            return _scan_known(layout, folder, opened)
    return _scan_any(folder)


def _has(*parts: str) -> Callable[[Path], bool]:
    """A test whether a folder holds all `parts`, as folders or as zips."""
    return lambda folder: all((folder / part).is_dir() or (folder / f"{part}.zip").is_file() for part in parts)


def _voc_year(folder: Path) -> int | None:
    places = ("VOCdevkit/VOC{}", "VOC{}", "TrainVal/VOCdevkit/VOC{}")
    years = [year for year in (2012, 2011) for place in places if (folder / place.format(year)).is_dir()]
    return years[0] if years else 2012 if (folder / "ImageSets/Segmentation").is_dir() else None


def _open_voc(folder: Path) -> VOC:
    year = _voc_year(folder)
    return VOC(folder, year=2011 if folder.resolve().name == "VOC2011" else year)


LAYOUTS: tuple[tuple[str, Callable[[Path], bool], Callable[[Path], Dataset]], ...] = (
    ("Carvana's", _has("train", "train_masks"), Carvana),
    ("CamVid's", _has("train", "trainannot"), CamVid),
    ("the blood cells'", _has("Train_Data"), BloodCells),
    ("Oxford-IIIT Pet's", lambda folder: _has("images")(folder) and (folder / "annotations/trimaps").is_dir(), Pets),
    ("Data Science Bowl 2018's", _has("stage1_train"), Nuclei),
    ("PASCAL VOC's", lambda folder: _voc_year(folder) is not None, _open_voc),
)


def _scan_known(layout: str, folder: Path, opened: Callable[[Path], Dataset]) -> Scan:
    """Check a folder as the data set whose layout it has."""
    found = f"{folder} has {layout} layout and is checked as that."
    try:
        dataset = opened(folder)
    except ValueError as error:
        return Scan(
            f"{found}\nNot checked: whether the images and masks can be read; first mend the list of files.",
            str(error).splitlines(),
            [],
        )
    tests = getattr(dataset, "test_ids", [])
    counts = f"{counted(len(dataset.ids), 'image')} with masks" + (f", {len(tests)} to predict" if tests else "")
    return Scan(
        f"{found}\n{counts}; every one is decoded.", unreadable(dataset, [*dataset.ids, *tests], dataset.ids), []
    )


def _scan_any(folder: Path) -> Scan:
    """Decode every image file, and compare the files of parallel folders."""
    data = DataFolder(folder)
    files, odd = data.files()
    images = [path for path in files if suffix_of(path) in IMAGE_SUFFIXES]
    problems = [
        f"{one}: cannot be read as a file. Move it elsewhere, or replace it by the file that is meant" for one in odd
    ]
    if not images:
        problems.append(f"no image file in {folder}; expected one of .{', .'.join(sorted(IMAGE_SUFFIXES))}")
    kinds: dict[str, Kind] = {}
    problems += complaints([(lambda path: _decode(data, path, kinds), path) for path in images])
    pairs, doubts = find_pairs(images), []
    for one in pairs:
        (doubts if one.by_stems else problems).extend(one.lonely)
        problems += complaints([(lambda image, one=one: _compare(data, image, one), image) for image in one.masks])
    trained_on = {path for one in pairs for path in one.masks}
    problems += mixed({path: kind for path, kind in kinds.items() if path in trained_on})
    doubts += mixed({path: kind for path, kind in kinds.items() if path not in trained_on})
    doubts += _unknown_pairs(images, pairs)
    found = "\n".join(_describe(folder, images, files, pairs))
    return Scan(found, list(dict.fromkeys(problems)), list(dict.fromkeys(doubts)))


def _decode(data: DataFolder, path: str, kinds: dict[str, Kind]) -> None:
    kinds[path] = kind_of(decode_image(data.read(path), path))


def _unknown_pairs(images: list[str], pairs: list[Pairs]) -> list[str]:
    """A line that says whose sizes were not compared."""
    lonely = unpaired_masks(images, pairs)
    why = "Name the patterns in kit.datasets.Folder, which compares all"
    if not pairs and images:
        return [f"pairs unknown: no file's name shows which mask is of which image. Sizes were not compared. {why}"]
    if not lonely:
        return []
    return [
        f"pairs unknown: {counted(len(lonely), 'file')} named like masks belong to no image that names show, such as "
        f"{lonely[0]}. Their sizes were not compared. {why}"
    ]


def _compare(data: DataFolder, image: str, pairs: Pairs) -> None:
    """Raise ValueError if an image and its mask differ in size. Files that cannot be decoded are reported elsewhere."""
    mask = pairs.masks[image]
    try:
        sizes = read_size(data, image), read_size(data, mask)
    except (ValueError, OSError):
        return
    if sizes[0] != sizes[1]:
        raise ValueError(f"{mask}: {sizes[1]} pixels (height, width), expected {sizes[0]} like {image}")


def _describe(folder: Path, images: list[str], files: list[str], pairs: list[Pairs]) -> list[str]:
    """What was looked at and what was not, a line each."""
    kinds = Counter(suffix_of(path) for path in images)
    lines = [f"{folder} has the layout of no data set that kit knows."]
    if images:
        listed = ", ".join(f"{count} .{kind}" for kind, count in kinds.most_common())
        lines.append(f"{counted(len(images), 'image file')} decoded: {listed}.")
    lines += [
        f"{one.images_folder} and {one.masks_folder} are compared: {counted(len(one.masks), 'pair')}"
        f"{', found by the names of files' * one.by_stems}."
        for one in pairs
    ]
    others = Counter(suffix_of(path) for path in files if suffix_of(path) not in IMAGE_SUFFIXES)
    if others:
        listed = ", ".join(
            f"{count} {'.' + kind if kind else 'without a suffix'}" for kind, count in others.most_common(10)
        )
        lines.append(f"Not looked at, because they are no image files: {listed}.")
    lines.append(
        "Not checked: what the values of masks mean, which images belong together, CSV files. kit.datasets.Folder "
        "checks the first two, once you name the classes, values and groups."
    )
    return lines
