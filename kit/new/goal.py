"""What is asked for: the metric, and how the CSV is written."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kit.datasets.mask_objects import read_labels
from kit.datasets.values import MaskValues
from kit.new.meaning import Meaning
from kit.new.metrics import DEFAULT_METRIC, METRICS
from kit.new.study import Study
from kit.submission.detect import detect
from kit.submission.dialect import Dialect


@dataclass(frozen=True)
class Goal:
    """metric: a name of METRICS. dialect: of the CSV, None where there is no sample. reasons: in words."""

    metric: str
    dialect: Dialect | None
    reasons: tuple[str, ...]


def goal_of(meaning: Meaning, metric: str | None, dialect: Dialect | None, why: str) -> Goal:
    """The metric asked for, else the usual one of the task. why: how the dialect was found. Raises ValueError."""
    chosen = metric or DEFAULT_METRIC[meaning.task]
    suited = METRICS[chosen][2]
    if meaning.task not in suited:
        fitting = ", ".join(name for name, (_, _, tasks) in METRICS.items() if meaning.task in tasks)
        raise ValueError(f"--metric {chosen} is for {' or '.join(suited)} masks, these are {meaning.task}: {fitting}")
    asked = "asked for" if metric else f"the default for {meaning.task} masks; others: --metric"
    return Goal(chosen, dialect, (f"{METRICS[chosen][0]} leads the report: {asked}", why))


def dialect_of_study(found: Study, meaning: Meaning | None, order: str | None) -> tuple[Dialect | None, str]:
    """The dialect of the sample, its numbers found from the training masks; and the evidence.

    meaning: of mask files, None where the masks are in a table. Raises ValueError where nothing shows the order.
    """
    sample, table = found.sample, found.mask_table
    if sample is None and table is None:
        return None, "no sample submission was found, so no CSV is written"
    shape, mask = _readers(found, meaning)
    try:
        dialect = detect(table and table.file, (sample or table).file, shape, mask, order)
    except ValueError as error:
        files = " and ".join(one.path for one in (table, sample) if one is not None)
        advice = "" if order else ". Say it: --order C (along rows) or --order F (down columns)"
        raise ValueError(f"{files}: {error}{advice}") from error
    along = "along rows" if dialect.order == "C" else "down columns"
    kind = {"image": "a row an image", "class": "a row a class of each image"}
    kind["instance"] = "a row an object (where each image should have one row: --task binary)"
    rows = f"{(sample or table).path}: {kind[dialect.rows]}, runs {along}"
    if table is None:
        return dialect, f"{rows}, as asked for"
    evidence = "asked for" if order else "as the mask files are" if mask else "in which masks are smooth"
    relative = ", each start relative to the run before" * dialect.relative
    return dialect, f"{rows} ({evidence}); {table.path} counts from {dialect.base}{relative}"


def _readers(found: Study, meaning: Meaning | None) -> tuple[Callable, Callable | None]:
    """Functions from an id to the size of an image, and to the union of its masks."""

    def shape(id: str) -> tuple[int, int]:
        return found.sizes[found.images[id]]

    def mask(id: str) -> np.ndarray:
        whole = np.zeros(shape(id), np.uint8)
        for path in found.masks[id]:
            content = found.data.read(path)
            whole |= rule.read(content, path) if rule else (read_labels(content, path) > 0).view(np.uint8)
        return whole

    if meaning is None or meaning.task not in {"binary", "instances"} or not found.masks:
        return shape, None
    is_numbered = meaning.task == "instances" and meaning.values is None and len(found.labels.pixels) > 2
    values = "binary" if meaning.values in (None, "components") else meaning.values
    rule = None if is_numbered else MaskValues(values, 2, meaning.ignore)
    return shape, mask
