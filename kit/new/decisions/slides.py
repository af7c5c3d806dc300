"""Slides: images too large to decode whole. What differs in their recipe, and the scale at which networks see them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kit.data.run_masks import RunMask
from kit.datasets.run_tables import class_number, read_run_table
from kit.new.decisions.sizing import FEWEST, MOST, Device, Sizing, batch_of
from kit.new.decisions.values import Meaning
from kit.new.look.found import Study
from kit.new.look.parts import can_be_read_in_parts

PIXELS = 64_000_000  # of the middle one from which on images are slides
TILES, CROPS = {"cpu": 256, "cuda": 512}, {"cpu": 400, "cuda": 2000}  # pixels a side; crops of an epoch
MOST_OF_TILE = 1 / 3  # of a tile's side: how large an object may be, so that its surroundings are seen
ANY_SIZE = (1, 2**60)  # as if a slide were one row
TOP_RUN = 0.9  # the quantile of the runs of a mask that is about as long as its objects


class Slides(NamedTuple):
    """How slides are trained on. scale: they are shrunk by it. crops: of an epoch. masks: as the data set has them."""

    scale: int
    crops: int
    masks: str | tuple[str, ...] | dict[str, str]
    order: str | None  # of the run lengths
    rows: str | None  # "instance": the CSV has a row an object
    sizing: Sizing


def are_slides(found: Study) -> bool:
    """Whether most images are too large to decode, and of kinds that are read in parts. In zips they are a problem."""
    areas = [height * width for path in found.images.values() for height, width in [found.sizes.get(path, (0, 0))]]
    if np.median(areas) < PIXELS:
        return False
    return all(can_be_read_in_parts(found.data, path) for path in found.images.values())


def slides_of(found: Study, meaning: Meaning, device: Device) -> Slides:
    """Decide for slides. Raises ValueError, with the reason, for masks that slides cannot have."""
    is_read = meaning.task in {"binary", "multiclass"} or bool(found.layers) or meaning.table is not None
    if not is_read or meaning.task == "instances" or "ids" in found.patterns or found.bands or found.planes:
        raise ValueError(
            f"the images are slides, which are read in parts, with {meaning.task} masks and files of one pattern each: "
            "expected masks of classes, in a file an image, a file a class, or run lengths (objects of one class: "
            "--task binary unites them)"
        )
    if found.lonely and (found.masks or found.lacking != "empty"):
        raise ValueError(
            f"{len(found.lonely)} slides have no mask, as {next(iter(found.lonely.values()))}, and would be taken for "
            "empty: move them to a folder of their own, as test/"
        )
    if found.masks and found.lacking == "empty":
        raise ValueError("some slides have no mask file, or not of each class: slides need one. Add empty masks")
    if found.has_named_tests:
        raise ValueError(f"{found.sample.path} names slides among those of training: move them to a folder, as test/")
    masks, order, rows = found.patterns.get("masks"), None, None
    if found.layers:
        masks = dict(zip(meaning.classes, found.layers.values(), strict=True))
    if meaning.table is not None:
        own = meaning.table
        if own.base != 1 or own.relative:
            raise ValueError(
                f"{found.mask_table.path} counts from {own.base}{' relative to the run before' * own.relative}; slides "
                "need run lengths that count from 1. Write them anew"
            )
        masks, order, rows = _table_of(found), own.order, "instance" if found.mask_table.seen.repeats else None
        _check_rows(found, meaning)
    tile = TILES[device.kind]
    scale, why = _scale_of(found, tile, device)
    batch, crops = batch_of(tile * tile, 10**6, device), CROPS[device.kind]
    work = device.work
    epochs = int(min(MOST, max(FEWEST, work / (crops * tile * tile))))
    reasons = (
        f"slides, of which only parts are read: {why}; training sees crops of {tile}×{tile}, and prediction goes by "
        "overlapping tiles of that size",
        f"{epochs} epochs of {crops:,} crops in batches of {batch}, half of them around the foreground",
    )
    return Slides(scale, crops, masks, order, rows, Sizing(None, False, (tile, tile), batch, epochs, reasons))


def task_of_rows(found: Study, labels: Sequence[str]) -> str:
    """multilabel where classes of a CSV overlap in some slide, else multiclass. Raises ValueError for odd rows."""
    return "multilabel" if _overlapping(found, labels) else "multiclass"


def _check_rows(found: Study, meaning: Meaning) -> None:
    """Note whether classes overlap. Raises ValueError for rows that Slides would refuse, or read as other classes."""
    names = meaning.classes if meaning.task == "multilabel" else meaning.classes[1:]
    for place, label in enumerate(meaning.table.labels if len(names) > 1 else (), start=1):
        if class_number(label, ("", *names), found.mask_table.path) != place:
            wanted = ["background"] * (meaning.task == "multiclass") + list(meaning.table.labels)
            raise ValueError(
                f"{found.mask_table.path} names the class {label}, which is class {place} of {', '.join(names)}: name "
                f"classes as the CSV does: --classes {' '.join(wanted)}"
            )
    overlapping = _overlapping(found, names)
    if overlapping and meaning.task == "multiclass":
        raise ValueError(
            f"--task multiclass: classes overlap in {found.mask_table.path}, as in {overlapping}; expected one class a "
            "pixel: --task multilabel"
        )
    if len(names) > 1:
        meaning.reasons.append(
            f"the classes overlap, as in {overlapping}" if overlapping else "classes overlap nowhere"
        )


def _overlapping(found: Study, names: Sequence[str]) -> str | None:
    """A slide whose classes overlap by the CSV; None where none does. Run lengths tell in any order and size."""
    rows = read_run_table(found.data, _table_of(found), ("", *names), rows="instance")
    for id, texts in rows.items():
        try:
            if RunMask.of_text(texts, ANY_SIZE, "C").overlaps():
                return id
        except ValueError as error:
            raise ValueError(f"{found.mask_table.path}, {id}: {error}") from error
    return None


def _table_of(found: Study) -> tuple[str, ...]:
    """The CSV of masks and its columns, as kit.datasets.Slides takes them."""
    seen = found.mask_table.seen
    return tuple(filter(None, [found.mask_table.path, seen.key, seen.mask, seen.class_column]))


def _scale_of(found: Study, tile: int, device: Device) -> tuple[int, str]:
    """By which whole number slides are shrunk, and why: by the time to predict all, and the size of objects."""
    sizes = [found.sizes[path] for path in (*found.images.values(), *found.tests.values()) if path in found.sizes]
    work = device.work
    by_time = math.ceil(math.sqrt(sum(height * width for height, width in sizes) / work))
    length = _object_length(found)
    by_objects = math.ceil(length / (MOST_OF_TILE * tile))
    most = max(1, min(min(size) for size in sizes) // tile)
    scale = min(max(by_time, by_objects, 1), most)
    if scale == 1:
        return 1, "at their own scale"
    about = (
        f"objects are about {length} pixels long" if by_objects >= by_time else "so many pixels take this device long"
    )
    return scale, f"shrunk by {scale}, because {about}"


def _object_length(found: Study) -> int:
    """About how many pixels an object is long, by the runs of the masks in the CSV; 0 where there are none."""
    cells = [] if found.mask_table is None else [cell for _, cell in found.mask_table.seen.masks]
    lengths = [np.quantile(np.array(cell.split()[1::2], np.int64), TOP_RUN) for cell in cells if cell.strip()]
    return int(np.median(lengths)) if lengths else 0
