"""What the masks mean: the task, the classes, and how Folder reads them. Decided from what a sample of them holds.

What the user says of task and classes is obeyed, or refused with the reason.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from kit.data.images import decode_image
from kit.new.decisions.coded import doubts_of, question_about
from kit.new.decisions.label_numbers import are_all_in_csv, class_numbers
from kit.new.decisions.legend import legend_of
from kit.new.decisions.values import (
    BLACK,
    PLAIN_BINARY,
    Meaning,
    named,
    of_classes,
    of_foreground,
    of_soft,
    of_two,
)
from kit.new.look.found import Study
from kit.new.look.labels import Labels
from kit.new.look.numbers import MOST_CLASSES, VOID, WHOLE
from kit.submission.detect import dialect_of
from kit.system.files import spread

OBJECTS = ("background", "object")
TRIED = 8  # masks that are read to find out what their channels are
FIRST = 6  # of the masks of an image that are compared
FAR = 200  # numbers below it, with 255 and nothing between: 255 is void


def meaning_of(found: Study, task: str | None = None, classes: Sequence[str] = ()) -> Meaning:
    """Decide what the masks mean. task, classes: where the user says so.

    Raises ValueError with the choices where the masks cannot tell, and with the reason where they are not what is said.
    """
    coding = found.labels.coding
    if coding is None:
        return _meaning_of(found, task, classes)
    is_told = len(classes) > 2 or legend_of(found.naming, sorted(found.labels.pixels))  # a name for each value
    are_plain = len(coding.numbers) == 1 and not coding.plain and found.labels.are_objects  # as numbered from 1001 on
    if task is None and not is_told and not are_plain:
        raise question_about(coding)
    meaning = _meaning_of(found, task, classes)
    meaning.doubts += doubts_of(coding, meaning)
    return meaning


def _meaning_of(found: Study, task: str | None, classes: Sequence[str]) -> Meaning:
    labels = found.labels
    if found.layers:
        return _of_layers(found, task, classes)
    if any(len(own) > 1 for own in found.masks.values()):
        return _of_objects_by_file(found, task, classes)
    if task == "multilabel":
        return _of_channels(found, classes)
    if not labels.masks:
        raise ValueError("no mask could be read")
    if task == "instances" or (task is None and _are_objects(found, classes)):
        _check_others(found)
        return _of_numbers(labels, classes)
    if labels.is_soft or (task == "binary" and labels.may_be_soft):
        return of_soft(labels, task, classes)
    if len(labels.pixels) > 2 and task == "binary" and not labels.outlines():
        return of_foreground(labels, classes)
    if len(labels.pixels) > MOST_CLASSES:
        raise ValueError(
            f"the masks hold {len(labels.pixels):,} different values: too many for classes. Where each value is an "
            "object of its own, say so: --task instances; where all but 0 are one class: --task binary"
        )
    of_csv, values = labels_in_csv(found), sorted(labels.pixels)
    is_of_two = len(values) <= 2 and (len(classes) <= 2 or not {0, 1}.issuperset(values))
    has_more = task != "binary" and len(class_numbers(values, of_csv)) > 1  # classes that no mask of the sample shows
    if is_of_two and not has_more and not are_all_in_csv(values, legend_of(found.naming, values) or {}, of_csv):
        return of_two(labels, task, classes)
    return of_classes(labels, task, classes, found.naming, of_csv)


def labels_in_csv(found: Study) -> tuple[str, ...]:
    """The labels of the classes in the sample submission; none where it has no classes, or cannot be read."""
    if found.sample is None or found.sample.seen is None:
        return ()
    try:
        return dialect_of(found.sample.seen, found.sample.columns).labels
    except ValueError:  # said where the dialect is asked for
        return ()


def _are_objects(found: Study, classes: Sequence[str]) -> bool:
    """Whether the values number objects. Raises ValueError where neither masks nor CSV nor `classes` can tell."""
    kind, why = found.labels.verdict
    if kind != "unclear" or len(classes) > 2 or legend_of(found.naming, sorted(found.labels.pixels)):
        return kind == "objects" and len(classes) <= 2
    for table in (found.sample, found.mask_table):
        if table is not None and table.seen is not None and (table.seen.repeats or table.seen.labels):
            return table.seen.repeats
    raise ValueError(
        f"the values of the masks may be classes, or number single objects: {why}. Say which: --task multiclass or "
        "--task instances"
    )


def _check_others(found: Study) -> None:
    """Raise ValueError where the masks show classes, and others of the same images number objects."""
    kind, why = found.labels.verdict
    if found.numbered and kind == "classes" and found.labels.coding is None:
        raise ValueError(
            f"--task instances: {found.patterns['masks']} show classes ({why}), and {found.numbered[0]} number objects "
            f"of the same images: add --masks '{found.numbered[0]}'"
        )


def _of_objects_by_file(found: Study, task: str | None, classes: Sequence[str]) -> Meaning:
    counts = sorted(len(own) for own in found.masks.values())
    reason = (
        f"a file an object: {sum(counts):,} masks of {len(counts):,} images, {counts[0]} to {counts[-1]} an image, "
        f"{counts[len(counts) // 2]} in the middle"
    )
    if task not in (None, "instances"):
        raise ValueError(
            f"--task {task} does not suit these masks: {reason}. Such files are read as --task instances alone, which "
            "trains the network on all objects of an image as one foreground"
        )
    if task is None and (shown := _one_thing_several_times(found)):
        raise ValueError(
            f"the mask files of an image cover the same pixels, as {shown}: they may be one thing, drawn several times "
            "or by several people. Name those to use: --masks PATTERN; or say that each is an object: --task instances"
        )
    return Meaning("instances", named(classes, OBJECTS, reason), reasons=[reason])


def _one_thing_several_times(found: Study) -> str:
    """Two masks of an image that cover one another, where most images have such a pair; "" else."""
    several = [own for own in found.masks.values() if len(own) > 1]
    pairs = [pair for own in spread(several, TRIED) if (pair := _covering(found, own[:FIRST]))]
    return " and ".join(pairs[0]) if 2 * len(pairs) > min(TRIED, len(several)) else ""


def _covering(found: Study, paths: Sequence[str]) -> tuple[str, str] | None:
    """Two of these masks of one image whose IoU is above one half; None where there are none."""
    layers = [decode_image(found.data.read(path), path)[..., 0] > 0 for path in paths]
    for (one, a), (other, b) in itertools.combinations(zip(paths, layers, strict=True), 2):
        if a.shape == b.shape and 2 * np.count_nonzero(a & b) > np.count_nonzero(a | b):
            return one, other
    return None


def _of_layers(found: Study, task: str | None, classes: Sequence[str]) -> Meaning:
    """A file a class."""
    names, labels = tuple(found.layers), found.labels
    shown = ", ".join(found.layers.values())
    if task not in (None, "multilabel"):
        raise ValueError(
            f"--task {task} does not suit these masks: a file a class, {shown}. Read all as --task multilabel, or name "
            "one: --masks PATTERN"
        )
    own = of_soft(labels, None, ()) if labels.is_soft else of_two(labels, None, ())
    doubt = f"each of {shown} is taken for a class. Where one of them is the mask: --masks PATTERN"
    return Meaning(
        "multilabel",
        _foreground_names(classes, names, shown),
        own.values,
        reasons=[f"a file a class, and classes may overlap: {', '.join(names)}"],
        doubts=[doubt, *own.doubts],
    )


def _of_numbers(labels: Labels, classes: Sequence[str]) -> Meaning:
    """A file an image whose values number the objects, or whose connected regions are the objects."""
    names = named(classes, OBJECTS, "objects are of one class")
    values = sorted(labels.pixels)
    if refusal := _why_no_numbers(labels, values):
        raise ValueError(f"--task instances does not suit these masks: {refusal}")
    if len(values) <= 2:
        shown = " and ".join(map(str, values))
        return Meaning("instances", names, "components", reasons=[f"values {shown}: a connected region is an object"])
    kind, why = labels.verdict
    whole = sum(piece.is_whole for piece in labels.pieces)
    doubts = [f"{len(labels.pieces) - whole} of {len(labels.pieces)} numbers of a mask are in several pieces"]
    has_doubt = whole < WHOLE * len(labels.pieces)
    return Meaning(
        "instances", names, reasons=[why if kind == "objects" else "as asked for"], doubts=doubts * has_doubt
    )


def _why_no_numbers(labels: Labels, values: list) -> str:
    """Why the values cannot be read as objects; "" where they can."""
    if labels.is_soft:
        return "they have soft edges. Save them with two values, or say --task binary"
    if any(isinstance(value, float) for value in values):
        return "they hold fractions, expected whole numbers"
    if labels.background not in (0, BLACK):
        return (
            f"{labels.background} fills the images' edges; expected 0, or black, where there is no object. Save it so"
        )
    if len(values) <= 2:
        is_plain = not labels.colours and any(set(values) <= near for near in PLAIN_BINARY)
        if not is_plain or labels.palette.get(0, BLACK) != BLACK:
            return (
                f"they hold {values[0]} and {values[-1]}; expected 0 and 1, or 0 and 255, or a number for each object"
            )
    elif not labels.colours and values[-1] == VOID and values[-2] < FAR:
        return f"{VOID} beside numbers up to {values[-2]} means ignored pixels, which objects cannot have. Save it as 0"
    return ""


def _of_channels(found: Study, classes: Sequence[str]) -> Meaning:
    """A channel a class, as the user says. Raises ValueError for other masks."""
    paths = spread([own[0] for own in found.masks.values()], TRIED)
    layers = [decode_image(found.data.read(path), path) for path in paths]
    counts = {one.shape[2] for one in layers}
    values = {value for one in layers for value in np.unique(one).tolist()}
    is_grey = counts == {3} and all((one == one[..., :1]).all() for one in layers)
    if len(counts) > 1 or found.labels.palette or is_grey or not any(values <= near for near in PLAIN_BINARY):
        raise ValueError(
            "--task multilabel does not suit these masks: classes that overlap need a channel each, of 0 and 255, or a "
            f"file each. {paths[0]} has {layers[0].shape[2]} with the values {np.unique(layers[0]).tolist()[:5]}"
        )
    found.problems[:] = [one for one in found.problems if one not in found.labels.problems]  # as masks of one class
    count = counts.pop()
    usual = ("foreground",) if count == 1 else tuple(f"class {number}" for number in range(1, count + 1))
    names = _foreground_names(classes, usual, paths[0])
    return Meaning("multilabel", names, reasons=[f"as asked for, each of {count} channels is a class"])


def _foreground_names(classes: Sequence[str], usual: Sequence[str], path: str) -> tuple[str, ...]:
    """The names of classes that overlap; a background before them is left out."""
    if len(classes) == len(usual) + 1 and classes[0].casefold() == "background":
        classes = classes[1:]
    return named(classes, usual, f"{path} has {len(usual)}, and no background")
