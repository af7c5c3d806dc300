"""What is asked for: the metric, and how the CSV is written."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kit.datasets.values import MaskValues
from kit.new.meaning import Meaning
from kit.new.metrics import DEFAULT_METRIC, METRICS
from kit.new.study import Study
from kit.submission.detect import detect, dialect_of
from kit.submission.dialect import Dialect
from kit.submission.formats import read_header


@dataclass(frozen=True)
class Goal:
    """metric: a name of METRICS. dialect: of the CSV, None where there is no sample. reasons: in words."""

    metric: str
    dialect: Dialect | None
    reasons: tuple[str, ...]


def goal_of(found: Study, meaning: Meaning, metric: str | None, order: str | None) -> Goal:
    """Find metric and dialect. Raises ValueError where the CSV cannot tell how it is written, with the flag to give."""
    chosen = metric or DEFAULT_METRIC[meaning.task]
    suited = METRICS[chosen][2]
    if meaning.task not in suited:
        fitting = ", ".join(name for name, (_, _, tasks) in METRICS.items() if meaning.task in tasks)
        raise ValueError(
            f"--metric {chosen} is of the task {' or '.join(suited)}, these masks are {meaning.task}: {fitting}"
        )
    asked = "asked for" if metric else f"the default for {meaning.task} masks; others: --metric"
    reasons = [f"{METRICS[chosen][0]} leads the report: {asked}"]
    if found.sample is None:
        return Goal(chosen, None, (*reasons, "no sample submission was found, so no CSV is written"))
    dialect, why = dialect_of_study(found, meaning, order)
    return Goal(chosen, dialect, (*reasons, why))


def dialect_of_study(found: Study, meaning: Meaning, order: str | None) -> tuple[Dialect, str]:
    """The dialect of the sample, its order found from the training masks; and the evidence."""
    sample, table = found.sample, found.mask_table
    if order is not None or table is None:
        if order is None:
            raise ValueError(
                f"{sample.path} shows the columns, but nothing shows whether runs go along rows (C) or down columns "
                "(F): there is no CSV of training masks. Say it: --order C or --order F"
            )
        return replace(
            dialect_of(sample.seen, read_header(sample.file), table and table.seen), order=order
        ), "asked for"
    try:
        found_dialect = detect(table.file, sample.file, *_readers(found, meaning))
    except ValueError as error:
        raise ValueError(f"{table.path} and {sample.path}: {error}. Say it: --order C or --order F") from error
    along = "along rows" if found_dialect.order == "C" else "down columns"
    kind = {"image": "a row an image", "class": "a row a class of each image", "instance": "a row an object"}
    evidence = "are the masks' files" if found.masks else "are smooth"
    relative = ", each start relative to the run before" * found_dialect.relative
    return found_dialect, (
        f"{sample.path}: {kind[found_dialect.rows]}; the run lengths of {table.path} {evidence} when read {along}, "
        f"counted from {found_dialect.base}{relative}"
    )


def _readers(found: Study, meaning: Meaning) -> tuple[Callable, Callable | None]:
    """Functions from an id to the size of an image, and to the union of its masks."""

    def shape(id: str) -> tuple[int, int]:
        return found.sizes[found.images[id]]

    def mask(id: str) -> np.ndarray:
        whole = np.zeros(shape(id), np.uint8)
        for path in found.masks[id]:
            whole |= rule.read(found.data.read(path), path)
        return whole

    if (
        not found.masks
        or meaning.task not in {"binary", "instances"}
        or any(len(m) > 200 for m in found.masks.values())
    ):
        return shape, None
    rule = MaskValues("binary" if meaning.values is None else meaning.values, 2, meaning.ignore)
    return shape, mask
