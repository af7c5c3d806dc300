"""What masks mean that are run lengths in a CSV: the task and the classes, by the rows, as the user says or refused."""

import contextlib
from dataclasses import replace

import numpy as np

from kit.datasets.masks import Wanted
from kit.new.decisions.csv_labels import in_order
from kit.new.decisions.meaning import Meaning
from kit.new.decisions.rows import form_of_table
from kit.new.look.found import Study
from kit.new.look.tables import Table, names_of_images
from kit.submission.csv_masks import CsvMasks, CsvRows
from kit.submission.dialect import Dialect
from kit.submission.formats import read_columns
from kit.submission.runtext import EMPTY_TOKENS
from kit.system.files import counted, spread

LOOKED_AT = 200  # images whose classes are compared
USUAL = {"binary": ("background", "foreground"), "instances": ("background", "object")}


def meaning_of_rows(found: Study, dialect: Dialect, task: str | None, classes: tuple[str, ...], final: bool) -> Meaning:
    """Decide what the rows mean. dialect: of the submission; final: its order is known.

    Raises ValueError with the reason where `task` or `classes` do not fit the rows.
    """
    table, seen = found.mask_table, found.mask_table.seen
    chosen = task or _usual_task(dialect)
    _check_task(chosen, dialect, table.path)
    named = names_of_images(table, found.ids)
    reasons = [f"run lengths in {table.path}, {len(seen.keys):,} rows of {counted(len(named), 'image')}"]
    if found.lacking == "empty":
        reasons.append(f"{counted(len(found.ids) - len(named), 'image')} without a row taken for empty")
    is_united = seen.repeats and chosen != "instances"
    rows = "instance" if seen.repeats or chosen == "instances" else dialect.rows
    if is_united:
        reasons.append("some images have several rows" + " of a class" * dialect.has_classes + ", which are united")
    form = form_of_table(found)
    if form.has_classes != dialect.has_classes:
        raise ValueError(
            f"rows of {table.path} {'name' if form.has_classes else 'do not name'} a class, and those of "
            f"{found.sample.path} {'do' if dialect.has_classes else 'do not'}: one cannot be made of the other"
        )
    own = replace(
        dialect,
        columns=form.columns,
        key=form.key,
        class_column=form.class_column,
        rows=rows,
        size=None,
        keep_empty=dialect.keep_empty and not (is_united and dialect.has_classes),
    )
    names = _names(chosen, dialect, classes, table.path)
    own = replace(own, labels=in_order(own.labels, names))
    meaning = Meaning(chosen, names, reasons=reasons, table=own, lacking=found.lacking)
    _note_absent(table, meaning)
    if final and len(dialect.labels) > 1:
        _compare_classes(found, meaning)
    return meaning


def _note_absent(table: Table, meaning: Meaning) -> None:
    """Note the classes of which no row of the table holds a mask: the sample may name more than were drawn."""
    own, seen, drawn, written = meaning.table, table.seen, set(), set()
    if not own.labels:
        return
    for row in read_columns(table.file):
        with contextlib.suppress(ValueError):  # a row of something else: said by the check before training
            _, number = own.parse_key(row[seen.key], own.class_column and row[own.class_column])
            written.add(number)
            if row[seen.mask] not in EMPTY_TOKENS:
                drawn.add(number)
    if len(written) < len(own.labels):
        meaning.table = replace(own, keep_empty=False)  # not each class of an image has a row
    names = meaning.classes if meaning.task == "multilabel" else meaning.classes[1:]
    meaning.absent = tuple(name for at, name in enumerate(names, start=1) if at not in drawn)
    if meaning.absent:
        meaning.doubts.append(f"{table.path} has no mask of {', '.join(meaning.absent)}: see `absent`")


def _usual_task(dialect: Dialect) -> str:
    if len(dialect.labels) == 1:
        return "binary" if dialect.rows == "class" else "instances"
    return "multilabel" if dialect.labels else {"image": "binary", "instance": "instances"}[dialect.rows]


def _check_task(task: str, dialect: Dialect, path: str) -> None:
    """Raise ValueError where the rows cannot be masks of the task."""
    count, several = len(dialect.labels), len(dialect.labels) > 1
    shown = f"{path} has rows of {', '.join(dialect.labels[:6])}{', …' * (count > 6)}"
    if task in {"multilabel", "multiclass"} and not count:
        raise ValueError(
            f"--task {task}: no column and no key of {path} names a class, so there is one foreground alone"
        )
    if task == "multiclass" and not several:
        raise ValueError(f"--task multiclass: {shown} alone, expected two classes or more: --task binary")
    if task in {"binary", "instances"} and several:
        raise ValueError(
            f"--task {task}: {shown}, and {task} masks are of one class: --task multilabel where classes may overlap, "
            "--task multiclass where they do not"
        )
    if task == "instances" and dialect.rows != "instance":
        raise ValueError(
            f"--task instances: {path} has one row an image, which does not tell objects apart. For --task binary the "
            "recipe can find objects in its predictions: Rule(objects=True)"
        )


def _names(task: str, dialect: Dialect, classes: tuple[str, ...], path: str) -> tuple[str, ...]:
    """The names asked for, else those of the CSV. Raises ValueError for another number of names."""
    labels = tuple(f"class {label}" if label.isdecimal() else label for label in dialect.labels)
    if task in USUAL:
        usual = ("background", labels[0] if labels and not dialect.labels[0].isdecimal() else USUAL[task][1])
    else:
        usual = dialect.labels if task == "multilabel" else ("background", *labels)
    if task == "multilabel" and len(classes) == len(usual) + 1 and classes[0].casefold() == "background":
        classes = classes[1:]
    if classes and len(classes) != len(usual):
        first = "without a background" if task == "multilabel" else "the background first"
        raise ValueError(
            f"--classes names {len(classes)}, and {path} has {len(usual)} for {task} masks, {first}: {', '.join(usual)}"
        )
    return tuple(classes) or usual


def _compare_classes(found: Study, meaning: Meaning) -> None:
    """Note the classes' shares and whether they overlap. Raises ValueError where multiclass masks would."""
    ids = spread(found.ids, LOOKED_AT)
    size = {id: found.sizes[found.images[id]] for id in found.ids if found.images[id] in found.sizes}
    names = meaning.classes[1:] if meaning.task == "multiclass" else meaning.classes
    try:
        rows = open_rows(found, meaning, "multilabel", names)
        masks = [rows.read(id, size[id]) for id in ids if id in size]
    except ValueError as error:
        found.problems.append(str(error))
        return
    overlapping = [id for id, mask in zip([id for id in ids if id in size], masks, strict=True) if _overlaps(mask)]
    if meaning.task == "multilabel":
        if not overlapping:
            meaning.reasons.append(f"the classes of {len(masks)} images overlap nowhere; --task multiclass says so")
        return
    if overlapping:
        raise ValueError(
            f"--task multiclass: classes overlap in {len(overlapping)} of {len(masks)} images of "
            f"{found.mask_table.path}, as in {overlapping[0]}; expected one class a pixel: --task multilabel"
        )
    pixels = np.array([[np.count_nonzero(mask[..., k]) for k in range(mask.shape[2])] for mask in masks])
    total = sum(mask.shape[0] * mask.shape[1] for mask in masks)
    shares = pixels.sum(axis=0) / total
    meaning.shares = (float(1 - shares.sum()), *map(float, shares))
    meaning.rarest = float(min(share for share in (pixels > 0).mean(axis=0) if share > 0))
    meaning.reasons.append(f"the classes of {len(masks)} images overlap nowhere")


def open_rows(found: Study, meaning: Meaning, task: str, names: tuple[str, ...]) -> CsvRows:
    """The masks of the CSV, with the foreground `names`, read once.

    Raises one ValueError with all that is wrong with its rows.
    """

    def size(id: str) -> tuple[int, int]:
        if found.images[id] not in found.sizes:
            raise ValueError(f"the size of {id} is unknown")
        return found.sizes[found.images[id]]

    key = meaning.table, meaning.lacking, task, names
    if key not in found.opened:
        wanted = Wanted(found.data, task, names, found.ids, size, found.tests)
        found.opened[key] = CsvMasks(found.mask_table.path, meaning.table, meaning.lacking).open_masks(wanted)
    return found.opened[key]


def _overlaps(mask: np.ndarray) -> bool:
    """Whether a pixel of a mask (H, W, K) is of two classes."""
    return bool((mask.sum(axis=2, dtype=np.uint8) > 1).any())
