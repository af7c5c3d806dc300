"""How the CSV is written: its rows by the sample submission, its numbers by the masks in it and in the training CSV."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kit.data.formats import BadImage
from kit.data.images import decode_image
from kit.data.masks import decode_mask
from kit.datasets.names import nfc
from kit.datasets.values import MaskValues
from kit.new.decisions.meaning import Meaning
from kit.new.look.asked import shortened
from kit.new.look.found import Study
from kit.new.look.questions import ORDERS, OpenQuestion
from kit.new.look.spellings import RUNS
from kit.new.look.tables import id_of_key, with_path
from kit.submission.detect import Look, UnknownOrder, dialect_of, order_of, touches, with_numbers
from kit.submission.dialect import Dialect

LEAST = 3  # different masks in a sample, from which on they are no placeholders
KINDS = {
    "image": "a row an image",
    "class": "a row a class of each image",
    "instance": "a row an object (where each image should have one row: --task binary)",
}


@dataclass(frozen=True)
class Said:
    """What the user says of the CSV; None: found."""

    order: str | None = None
    base: int | None = None
    empty: str | None = None  # the cell of an empty mask
    size: tuple[int, int] | None = None  # of the masks in the submission
    labels: tuple[str, ...] = ()  # of the classes, where no row names them


def check_said(found: Study, said: Said) -> None:
    """Raise ValueError for what the user says of a CSV where there is none, and OpenQuestion for the empty cell."""
    sample, table = found.sample, found.mask_table
    given = {"--order": said.order, "--base": said.base, "--empty": said.empty}
    if sample is None and table is None and (odd := [flag for flag, value in given.items() if value is not None]):
        raise ValueError(f"{' and '.join(odd)}: about a CSV, and no sample submission or CSV of masks was found")
    if sample is None and said.size is not None:
        raise ValueError("--csv-size: about the submission, and no sample submission was found")
    if said.empty is None and len(empties := _empties(found)) > 1:
        where = sample if sample is not None and sample.seen.empties else table
        choices = dict.fromkeys(f"'{text}'" if text != text.strip() or not text else text for text in empties)
        raise OpenQuestion(
            f"{where.path}: empty masks are written in {len(empties)} ways, and the CSV needs one",
            "--empty",
            dict.fromkeys(choices, ""),
        )


def _empties(found: Study) -> list[str]:
    """How empty masks are written: in the sample, else in the CSV of masks."""
    tables = [one for one in (found.sample, found.mask_table) if one is not None and one.seen.empties]
    return sorted(tables[0].seen.empties) if tables else []


def form_of(found: Study, said: Said) -> Dialect | None:
    """What the sample says of its rows, with the usual numbers; None without a CSV. Raises ValueError."""
    sample, table = found.sample, found.mask_table
    if sample is None and table is None:
        return None
    first = (sample or table).seen
    if not first.labels and first.class_column and said.labels and not (table and table.seen.labels):
        first = replace(first, labels=dict.fromkeys(said.labels))
    first = replace(first, empties={said.empty} if said.empty is not None else {*_empties(found)[:1]})
    path = (sample or table).path
    if first.class_column and not first.labels and not (table and table.seen.labels):
        raise OpenQuestion(
            f"{path}: no row names a class in the column {first.class_column}, so the classes are not known: --classes "
            "and their names as the CSV writes them",
            "--classes",
        )
    try:
        form = _form(found, first, (sample or table).columns, table and table.seen)
        if "{class}" in form.key and table is not None and not form_of_table(found).has_classes:
            form = _without_classes(form, first.repeats or table.seen.repeats)
        return replace(form, size=said.size)
    except ValueError as error:
        asked = f"--empty {said.empty}: " if said.empty is not None and "empty" in str(error) else ""
        raise ValueError(f"{asked}{with_path(error, path, (sample or table).file)}") from error


def form_of_table(found: Study) -> Dialect:
    """What the CSV of the masks says of its own rows, with the usual numbers. Raises ValueError."""
    seen = found.mask_table.seen
    return _form(found, replace(seen, empties=set()), found.mask_table.columns, None)


def _form(found: Study, seen: Look, columns: list[str], train: Look | None) -> Dialect:
    """dialect_of; but where the keys are ids of images as they stand, no part of them is a class."""
    dialect = dialect_of(seen, columns, train)
    known = found.images.keys() | found.tests.keys() | found.lonely.keys()
    if "{class}" not in dialect.key:
        return dialect
    named = sum(id_of_key(nfc(key), known) is not None for key in seen.keys)
    are_alike = not named and {id.rpartition("_")[2] for id in known} == set(dialect.labels)  # the tests are hidden
    if not are_alike and 2 * sum(nfc(key) in known for key in seen.keys) <= len(seen.keys):
        return dialect
    return _without_classes(dialect, seen.repeats or (train is not None and train.repeats))


def _without_classes(dialect: Dialect, repeats: bool) -> Dialect:
    """The dialect whose keys are ids as they stand. repeats: an image has several rows."""
    return replace(dialect, key="{id}", rows="instance" if repeats else "image", labels=(), keep_empty=True)


def number(found: Study, form: Dialect, meaning: Meaning | None, said: Said) -> tuple[Dialect, str]:
    """The dialect with its numbers, and the evidence in words.

    meaning: of mask files, None where the masks are in a table. Raises ValueError where nothing shows the order.
    """
    sample, table = found.sample, found.mask_table
    name = (table or sample).path
    rows = f"{(sample or table).path}: {KINDS[form.rows]}, runs "
    evidence = _evidence(found, table.seen, found.images, name) if table else None
    if evidence is None or not evidence.masks:
        return _by_sample(found, form, said, rows, name)
    shape, mask = _readers(found, meaning)
    try:
        dialect, how = _find(found, form, said, evidence, shape, mask)
        if said.base is None and sample is not None and dialect.base == 1 and _begin_with_0(sample.seen):
            dialect = _base_of_sample(found, dialect, evidence, shape)
    except UnknownOrder as error:
        raise OpenQuestion(f"{name}: {_first_part(error)}", "--order", ORDERS) from error
    except ValueError as error:
        flag = " Take --base out" if said.base is not None and "counted from" in str(error) else ""
        raise ValueError(f"{with_path(error, name, table.file)}.{flag}".rstrip(".")) from error
    relative = ", each start relative to the run before" * dialect.relative
    counts = f"from {said.base}, as asked for" if said.base is not None else f"{name} counts from {dialect.base}"
    return dialect, f"{rows}{ORDERS[dialect.order]} ({how}); {counts}{relative}"


def _find(
    found: Study, form: Dialect, said: Said, evidence: Look, shape: Callable, mask: Callable | None
) -> tuple[Dialect, str]:
    """The dialect by mask files where there are some, else by smoothness; and how the order was found."""
    path = found.mask_table.path
    if mask is None:
        dialect = with_numbers(form, evidence, shape, None, said.order, said.base)
        if said.order is not None and (other := _smooth_order(dialect, evidence, shape)) not in (None, said.order):
            raise ValueError(f"--order {said.order}: the masks in {path} are smooth {ORDERS[other]}: --order {other}")
        return dialect, "asked for" if said.order else "in which masks are smooth"
    try:
        dialect = with_numbers(form, evidence, shape, mask)
    except UnknownOrder:
        dialect = with_numbers(form, evidence, shape, mask, said.order, said.base)
    except ValueError as error:  # the files may be other masks than those of the CSV
        found.doubts.append(f"{path}: {error}")
        dialect = with_numbers(form, evidence, shape, None, said.order, said.base)
        return dialect, "asked for" if said.order else "in which masks are smooth"
    asked = {name: value for name, value in (("order", said.order), ("base", said.base)) if value is not None}
    if odd := {name: getattr(dialect, name) for name, value in asked.items() if getattr(dialect, name) != value}:
        right = " and ".join(f"{name} {value}" for name, value in odd.items())
        found.doubts.append(
            f"the rows of {path} are the mask files with {right}; the submission is written as asked for"
        )
    found.is_compared = not odd
    return replace(dialect, **asked), "asked for" if said.order else "as the mask files are"


def _smooth_order(dialect: Dialect, evidence: Look, shape: Callable) -> str | None:
    """The order in which most masks are smooth; None where they cannot tell."""
    try:
        return order_of(dialect, evidence, shape)
    except UnknownOrder:
        return None


def _base_of_sample(found: Study, dialect: Dialect, evidence: Look, shape: Callable) -> Dialect:
    """The dialect counted from 0, as the sample's runs are, where the training masks fit as well; else a doubt."""
    from_0 = replace(dialect, base=0)
    try:
        alike = touches(from_0, evidence, shape) >= touches(dialect, evidence, shape)
        with_numbers(from_0, evidence, shape, None, dialect.order, 0)
    except ValueError:
        alike = False
    if alike and not found.masks:
        return from_0
    found.doubts.append(
        f"{found.sample.path} has a run that starts at 0, and the masks in {found.mask_table.path} count from 1, as "
        "the recipe writes them: compare the competition's page; otherwise --base 0"
    )
    return dialect


def _by_sample(found: Study, form: Dialect, said: Said, rows: str, name: str) -> tuple[Dialect, str]:
    """The dialect without masks of training images: by the masks in the sample, else as the user says."""
    sample = found.sample
    evidence = None if sample is None else _evidence(found, sample.seen, found.tests, sample.path)
    if evidence is not None:
        evidence.masks = list({cell: (key, cell) for key, cell in evidence.masks}.values())
    if evidence is not None and len(evidence.masks) >= LEAST:

        def shape(id: str) -> tuple[int, int]:
            return form.size or found.sizes[found.tests[id]]

        try:
            dialect = with_numbers(form, evidence, shape, None, said.order, said.base)
        except ValueError:
            pass
        else:
            how = "asked for" if said.order else "in which its own masks are smooth"
            counts = f"; it counts from {dialect.base}" if said.base is None else f"; from {said.base}, as asked for"
            return replace(dialect, relative=False), f"{rows}{ORDERS[dialect.order]} ({how}){counts}"
    base = said.base
    if base is None:
        base = 0 if sample is not None and _begin_with_0(sample.seen) else 1
    if said.order is None:
        held = "can be read" if found.mask_table and found.mask_table.seen.masks else "are there"
        raise OpenQuestion(
            f"{name}: no masks in a CSV {held}, so nothing shows in which order pixels are counted", "--order", ORDERS
        )
    why = "as asked for" if said.base is not None else "by the runs of the sample" if base == 0 else "else: --base 0"
    return replace(form, order=said.order, base=base), f"{rows}{ORDERS[said.order]}, as asked for; from {base}, {why}"


def _evidence(found: Study, seen: Look, images: dict[str, str], path: str) -> Look:
    """The rows of a CSV whose runs and images can be read. What cannot goes to the problems, with its name."""
    masks, unreadable, malformed = [], {}, {}
    for key, cell in seen.masks:
        id = id_of_key(nfc(key), images)
        if not RUNS.fullmatch(cell):
            malformed.setdefault(key)
        elif id is None:
            continue  # said where the images are found
        elif images[id] not in found.sizes:
            unreadable.setdefault(images[id])
        elif any(found.sizes.get(mask) != found.sizes[images[id]] for mask in found.masks.get(id, ())):
            continue  # said by the headers
        else:
            masks.append((key, cell))
    if malformed and not (found.sample and found.sample.odd):
        found.problems.append(f"{path}: the runs of {shortened(list(malformed))} are no 'start length …'")
    if unreadable and not masks:
        found.doubts.append(f"{path} names images that cannot be read: {shortened(list(unreadable))}")
    return replace(seen, masks=masks)


def _first_part(error: Exception) -> str:
    """An error of kit.submission without what is to be done in Python."""
    return str(error).partition(". Give ")[0].partition(": name it in the dialect")[0]


def _begin_with_0(seen: Look) -> bool:
    """Whether a run starts at pixel 0."""
    return any(RUNS.fullmatch(cell) and int(cell.split()[0]) == 0 for _, cell in seen.masks)


def _readers(found: Study, meaning: Meaning | None) -> tuple[Callable, Callable | None]:
    """Functions from a key to the size of an image, and to the union of its masks; None where classes are numbered."""

    def shape(key: str) -> tuple[int, int]:
        return found.sizes[found.images[id_of_key(nfc(key), found.images)]]

    @functools.cache
    def mask(key: str) -> np.ndarray:
        id, whole = id_of_key(nfc(key), found.images), np.zeros(shape(key), np.uint8)
        for path in found.masks.get(id, ()):
            own = read(found.data.read(path), path)
            if own.shape != whole.shape:
                raise BadImage(f"{path}: {own.shape} pixels, expected {whole.shape} like {found.images[id]}")
            whole |= own
        return whole

    if meaning is None or meaning.task not in {"binary", "instances"} or not found.masks:
        return shape, None
    if meaning.task == "instances":
        read = _filled
    else:
        read = MaskValues("binary" if meaning.values is None else meaning.values, 2, meaning.ignore).read
    return shape, mask


def _filled(content: bytes, path: str) -> np.ndarray:
    """Where a mask of objects is not 0, nor black: u8 (H, W)."""
    try:
        return (np.asarray(decode_mask(content, path)) > 0).view(np.uint8)
    except BadImage as error:
        if "colour" not in error.found:
            raise
        return decode_image(content, path, channels=3).any(axis=2).view(np.uint8)
