"""Which masks a Folder's arguments describe: its task, its classes, and where and how the masks lie."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from kit.data.tasks import TASKS
from kit.datasets.mask_classes import ClassFiles
from kit.datasets.mask_files import LayerFiles, MaskFiles
from kit.datasets.mask_objects import LabelFiles, ObjectFiles, is_of_objects
from kit.datasets.masks import Masks, MaskTable, TableMasks
from kit.datasets.patterns import Pattern
from kit.datasets.values import IGNORED, MaskValues, Values

MaskSource = str | PurePath | Mapping[str, str] | MaskTable


def task_of(task: str | None, masks: MaskSource, classes: Sequence[str] | None) -> str:
    """The task that was given; else multilabel for a file a class, and binary or multiclass by the classes."""
    if task is not None:
        if task not in TASKS:
            raise ValueError(f"task={task!r}, expected one of {', '.join(TASKS)}, or None: by the classes")
        return task
    if isinstance(masks, Mapping):
        return "multilabel"
    return "multiclass" if classes is not None and not isinstance(classes, str) and len(classes) > 2 else "binary"


def classes_of(task: str, masks: MaskSource, classes: Sequence[str] | None) -> tuple[str, ...]:
    """The names that were given, or the usual ones. Raises ValueError for names that do not fit the task."""
    if classes is None and task == "multilabel" and isinstance(masks, Mapping):
        classes = tuple(map(str, masks))
    if classes is None and task in {"binary", "instances"}:
        return "background", "foreground" if task == "binary" else "object"
    names = () if classes is None or isinstance(classes, str) else tuple(map(str, classes))
    if task == "multilabel":
        expected, fits = "one or more different names without a background", names[:1] != ("background",) and names
    elif task in {"instances", "binary"} and len(names) > 2:
        expected, fits = "two names, the background first", False
    else:
        expected, fits = "two or more different names, the background first", len(names) > 1
    if not fits or len(set(names)) != len(names):
        of_task = f" for task={task!r}" if task in {"multilabel", "instances"} else ""
        raise ValueError(f"classes={classes!r}, expected {expected}{of_task}")
    return names


def masks_of(
    masks: MaskSource, task: str, classes: tuple[str, ...], values: Values | None, ignore: object, lacking: str
) -> Masks:
    """The masks that the arguments describe. Raises ValueError for arguments that do not go together."""
    if lacking not in {"refuse", "empty", "skip"}:
        raise ValueError(
            f"lacking={lacking!r}, expected what is done about an image without a mask: 'refuse', 'empty' or 'skip'"
        )
    if isinstance(masks, MaskTable):
        given = {"values": values, "ignore": ignore, "lacking": None if lacking == "refuse" else lacking}
        if odd := [f"{name}={value!r}" for name, value in given.items() if value is not None]:
            raise ValueError(
                f"{', '.join(odd)}: expected no such argument beside a table of masks; it is about mask files. What an "
                "image without a row is, says the table: CsvMasks(…, lacking=…)"
            )
        return TableMasks(masks, task, classes if task == "multilabel" else classes[1:])
    if task in {"multilabel", "instances"} and (ignore is not None or _ignores(values)):
        raise ValueError(f"ignored pixels are known to binary and multiclass masks alone, task is {task!r}: leave them")
    if isinstance(masks, Mapping):
        return _class_files(masks, task, classes, values, lacking)
    if not isinstance(masks, str | PurePath):
        raise TypeError(
            f"masks is a {type(masks).__name__}, expected a pattern, a mapping from class names to patterns, or "
            "kit.submission.CsvMasks(file, dialect)"
        )
    pattern = Pattern(masks, ".+")
    if task == "multilabel":
        return LayerFiles(pattern, _binary(values), classes, lacking)
    if task != "instances":
        default = "binary" if len(classes) == 2 else "labels"
        return MaskFiles(pattern, MaskValues(default if values is None else values, len(classes), ignore), lacking)
    if is_of_objects(pattern):
        return ObjectFiles(pattern, _binary(values), lacking)
    if values not in (None, "labels", "components"):
        raise ValueError(
            f"values={values!r}, expected 'labels' for an image that numbers its objects, or 'components': each "
            "connected region of a binary mask is an object. Where each object has a file: masks='masks/{id}/*.png'"
        )
    return LabelFiles(pattern, values == "components", lacking)


def _class_files(
    masks: Mapping[str, str], task: str, classes: tuple[str, ...], values: Values | None, lacking: str
) -> ClassFiles:
    """A file a class, in the order of the classes."""
    if task != "multilabel":
        raise ValueError(f"masks is a mapping from class names to patterns: expected task='multilabel', got {task!r}")
    patterns = {str(name): Pattern(text, ".+") for name, text in masks.items()}
    if {*patterns} != {*classes}:
        raise ValueError(
            f"masks has patterns of {', '.join(patterns) or 'no class'}, expected one for each of the classes "
            f"{', '.join(classes)}"
        )
    return ClassFiles({name: patterns[name] for name in classes}, _binary(values), lacking)


def _binary(values: Values | None) -> MaskValues:
    """The meaning of the values of masks of one class or object."""
    rule = MaskValues("binary" if values is None else values, 2, None)
    if rule.is_colours or values == "labels":
        raise ValueError(f"values={values!r}, expected 'binary', a threshold (127) or a mapping ({{0: 0, 128: 1}})")
    return rule


def _ignores(values: object) -> bool:
    return isinstance(values, Mapping) and IGNORED in values.values()
