"""What is wrong with what a data set says of itself: name, ids, groups, classes, channels. No file is read."""

import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np

from kit.data.dataset import RGB, Dataset
from kit.data.sample_checks import DTYPES
from kit.data.tasks import TASKS, task_of
from kit.system.files import check_id, check_name, counted, list_some


def check_declared(dataset: Dataset) -> list[str]:
    """A line for each problem. Ids and groups become lists of text in place, numbers in groups included."""
    problems = [*_check_name(dataset), *_check_ids(dataset)]
    if not problems:  # groups go by the ids
        problems += _check_groups(dataset)
    return [*problems, *_check_classes(dataset), *_check_channels(dataset)]


def _check_name(dataset: Dataset) -> list[str]:
    try:
        check_name(dataset.name)
    except AttributeError:
        return ['it has no name; set name = "…" in the class']
    except ValueError as error:
        return [f"its name is used in file names: {error}"]
    return []


def _check_ids(dataset: Dataset) -> list[str]:
    if getattr(dataset, "ids", None) is None:
        return ["it has no ids; set self.ids = [...] in __init__"]
    if isinstance(dataset.ids, str | bytes) or not isinstance(dataset.ids, Iterable):
        return [f"ids is a {type(dataset.ids).__name__}, expected a list of text"]
    ids = list(dataset.ids)
    if not ids:
        return ["it has no image: ids is empty. Check the folder and the pattern that ids are made from"]
    odd = [id for id in ids if not isinstance(id, str)]
    if odd:
        kinds = ", ".join(sorted({type(id).__name__ for id in odd}))
        return [
            f"{len(odd)} of {len(ids)} ids are no text but {kinds}, such as {odd[0]!r}: "
            "self.ids = [str(id) for id in …], and let read_image and read_mask take text"
        ]
    ids = [str(id) for id in ids]  # np.str_ too
    return _unsafe(ids) + _twice(ids) or _assign(dataset, "ids", ids)


def _unsafe(ids: list[str]) -> list[str]:
    problems = []
    for id in ids:
        try:
            check_id(id)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _twice(ids: list[str]) -> list[str]:
    """Ids that are one: the same text, or the same file name on a system that this may be."""
    counts = Counter(ids)
    problems = [
        f"the id {id!r} is there {count} times; list each image once, as by list(dict.fromkeys(ids)), and its group too"
        for id, count in counts.items()
        if count > 1
    ]
    ignores_case = os.path.normcase("A") == "a" or sys.platform == "darwin"
    same: dict[str, list[str]] = {}
    for id in counts:
        composed = unicodedata.normalize("NFC", id)
        same.setdefault(composed.casefold() if ignores_case else composed, []).append(id)
    problems += [
        f"the ids {', '.join(map(ascii, group))} are one file name (their letters differ only in how they are written)"
        for group in same.values()
        if len(group) > 1
    ]
    return problems


def _check_groups(dataset: Dataset) -> list[str]:
    groups = dataset.groups
    if isinstance(groups, str | bytes) or not isinstance(groups, Iterable):
        return [f"groups is a {type(groups).__name__}, expected a list with one group an image"]
    groups = list(groups)
    if len(groups) != len(dataset.ids):
        return [f"{len(groups)} groups for {len(dataset.ids)} ids; expected one an image, in the order of ids"]
    pairs = list(zip(dataset.ids, groups, strict=True))
    missing = [id for id, group in pairs if _is_missing(group)]
    odd = [f"{id}: {group!r}" for id, group in pairs if not _is_missing(group) and not _is_plain(group)]
    problems = []
    if missing:
        problems.append(
            f"{counted(len(missing), 'image')} without a group (None, NaN or empty text); give each a group, its own "
            f"id where it stands alone: {list_some(missing)}"
        )
    if odd:
        problems.append(
            f"{counted(len(odd), 'group')} neither text nor number; join their parts to text: {list_some(odd)}"
        )
    return problems or _assign(dataset, "groups", [str(_native(group)) for group in groups])


def _is_plain(group: object) -> bool:
    return isinstance(group, str | int | float | np.generic)


def _is_missing(group: object) -> bool:
    """Whether a group is None, NaN, pandas' NA or NaT, or empty text."""
    if group is None or type(group).__name__ in {"NAType", "NaTType"}:
        return True
    if isinstance(group, str):
        return not group.strip()
    return isinstance(group, float | np.floating | np.datetime64) and bool(group != group)


def _native(group: object) -> object:
    """A NumPy value as Python's own; a whole float as an int: a column of patients with a gap becomes 3.0."""
    group = group.item() if isinstance(group, np.generic) and not isinstance(group, np.datetime64) else group
    return int(group) if isinstance(group, float) and group.is_integer() else group


def _assign(dataset: Dataset, name: str, values: list[str]) -> list[str]:
    now = getattr(dataset, name)
    if isinstance(now, list) and [type(one) for one in now] == [str] * len(values) and now == values:
        return []  # as it should be, or made from the ids at each question
    try:
        setattr(dataset, name, values)
    except AttributeError:  # a property: it must give text itself
        return [f"{name} is a property that returns no list of text; return [str(one) for one in …]"]
    return []


def _check_classes(dataset: Dataset) -> list[str]:
    classes = getattr(dataset, "classes", None)
    if not isinstance(classes, tuple | list) or not all(isinstance(name, str) for name in classes):
        return [f'classes is {classes!r}, expected the names: classes = ("background", "thing")']
    problems = _check_task(dataset)
    if double := [name for name, count in Counter(classes).items() if count > 1]:
        problems.append(f"the class names {', '.join(double)} are there twice")
    if getattr(dataset, "num_classes", len(classes)) != len(classes):
        problems.append(f"num_classes is {dataset.num_classes}, but classes has {len(classes)} names; leave it out")
    if unknown := [name for name in getattr(dataset, "absent", ()) if name not in classes]:
        problems.append(f"absent names {', '.join(map(repr, unknown))}, which classes does not have")
    return problems


def _check_task(dataset: Dataset) -> list[str]:
    """What is wrong with the task, and with the number of classes that it asks for."""
    task, classes = task_of(dataset), dataset.classes
    found = f"{len(classes)} class{'es' * (len(classes) != 1)}"
    if task.name not in TASKS:
        return [f"task is {task.name!r}, expected {', '.join(TASKS[:-1])} or {TASKS[-1]}"]
    if task.overlaps:
        if len(classes) > 1 and classes[0].casefold() == "background":
            return [
                f"classes of task multilabel are the foreground alone; leave {classes[0]!r} out, and its layer out of "
                "read_mask"
            ]
        return [] if 1 <= len(classes) <= 255 else [f"{found} of task multilabel, expected 1 to 255"]
    if task.has_objects and len(classes) != 2:
        return [f"{found} of task instances, expected the background and one class of objects"]
    if not 2 <= len(classes) <= 255:
        return [f"{found}, expected 2 to 255, the background (or all else) first"]
    if task.name == "binary" and len(classes) > 2:
        return [f"{found} of task binary, expected 2; leave task out, or name it multiclass"]
    return []


def _check_channels(dataset: Dataset) -> list[str]:
    channels = getattr(dataset, "channels", RGB)
    if not isinstance(channels, tuple | list) or not channels or not all(isinstance(name, str) for name in channels):
        return [f'channels is {channels!r}, expected their names: channels = ("grey",)']
    problems = []
    mean, std = getattr(dataset, "mean", None), getattr(dataset, "std", None)
    if (mean is None) != (std is None):
        problems.append("of mean and std one is given and one is None; give both or neither")
    elif mean is not None and (len(mean) != len(channels) or len(std) != len(channels)):
        found = f"{counted(len(mean), 'mean')} and {counted(len(std), 'std')}"
        problems.append(f"{found} for {counted(len(channels), 'channel')}; expected one each")
    elif mean is not None and not (np.isfinite([*mean, *std]).all() and min(std) > 0):
        problems.append(f"mean is {mean} and std {std}; expected finite numbers, each std above 0")
    dtype = getattr(dataset, "dtype", None)
    if dtype is not None and dtype not in DTYPES:
        problems.append(f"dtype is {dtype!r}, expected {', '.join(DTYPES)}, or None to let the check find it")
    return problems
