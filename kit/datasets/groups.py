"""The group of each image (patient, car, scene) from its id, a function, a mapping or a CSV."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

from kit.datasets.files import DataFolder
from kit.datasets.names import nfc

WORDS = re.compile(r"[^\W_]+")  # what marks stand between
Groups = str | Callable[[str], object] | Mapping[str, object] | tuple[str, str, str]


def group_ids(ids: Sequence[str], groups: Groups, data: DataFolder, problems: list[str]) -> list[str]:
    """The group of each id, as text. `groups` as in Folder; an id without a group goes to `problems`."""
    find = _group_finder(groups, data, ids)
    found = [find(id) for id in ids]
    lacking = [id for id, group in zip(ids, found, strict=True) if _is_missing(group)]
    how = f"groups={groups!r} does not match" if isinstance(groups, str) else "`groups` gives nothing for"
    if isinstance(groups, tuple):
        how = f"the column {groups[1]} of {groups[0]} has neither the whole nor one part of"
    problems += [f"{how} the id {id}" for id in lacking]
    return [nfc(str(group)) for group in found]


def parts_of(id: str) -> set[str]:
    """All texts in an id between marks (what is no letter and no digit) or its ends: p01, slice3 and p01_slice3."""
    words = [found.span() for found in WORDS.finditer(id)]
    return {id[start:end] for at, (start, _) in enumerate(words) for _, end in words[at:]}


def part_of_id(ids: Sequence[str], groups: tuple[str, str, str], data: DataFolder) -> tuple[str, str] | None:
    """An id and the text of the id column in it, where that column holds parts of ids and no whole ids; else None."""
    rows = _read_column(data, *groups)
    if not ids or any(id in rows for id in ids):
        return None
    return next(((ids[0], part) for part in sorted(parts_of(ids[0]) & rows.keys())), None)


def _by_parts(ids: Sequence[str], rows: Mapping[str, str]) -> Mapping[str, str]:
    """The group of each id by the one text of the id column that is a part of it; `rows` where that has whole ids.

    An id with several such texts has no group.
    """
    rows = {nfc(text): group for text, group in rows.items()}
    if any(id in rows for id in ids):
        return rows
    found = {id: sorted(parts_of(id) & rows.keys()) for id in ids}
    return {id: rows[own[0]] for id, own in found.items() if len(own) == 1} if any(found.values()) else rows


def _group_finder(groups: Groups, data: DataFolder, ids: Sequence[str]) -> Callable[[str], object]:
    """A function from an id to its group, or to None."""
    if isinstance(groups, str):
        regex = re.compile(nfc(groups))
        if regex.groups != 1:
            raise ValueError(
                f"groups={groups!r} has {regex.groups} parentheses that capture, expected one: the group's name"
            )
        return lambda id: found[1] if (found := regex.search(id)) else None
    if isinstance(groups, tuple):
        groups = _by_parts(ids, _read_column(data, *groups))
    if hasattr(groups, "to_dict"):  # a column of pandas, which is not imported here because it takes a second
        groups = groups.to_dict()
    if isinstance(groups, Mapping):
        known = {nfc(str(id)): group for id, group in groups.items()}
        return known.get
    if callable(groups):
        return groups
    raise TypeError(
        f"groups is a {type(groups).__name__}, expected a regular expression, a function or mapping from id to group, "
        "or (file, id column, group column) of a CSV"
    )


def _read_column(data: DataFolder, file: str, id_column: str, group_column: str) -> dict[str, str]:
    """Map the texts of the id column to those of another column; an id may be written with its file's suffix."""
    try:
        content = data.read(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is no CSV in UTF-8: {error}. Save it in that encoding") from error
    rows = csv.DictReader(io.StringIO(content, newline=""))
    if missing := {id_column, group_column} - set(rows.fieldnames or ()):
        raise ValueError(
            f"{file} has no column {' or '.join(sorted(map(repr, missing)))}; it has {', '.join(rows.fieldnames or ())}"
        )
    found: dict[str, str] = {}
    for row in rows:
        id = row[id_column]
        for spelling in (id, id.rpartition(".")[0]):
            if spelling and found.setdefault(spelling, row[group_column]) != row[group_column] and spelling == id:
                raise ValueError(
                    f"{file} gives {id} two groups, {found[spelling]} and {row[group_column]}; expected one"
                )
    return found


def _is_missing(group: object) -> bool:
    """Whether a group is None, "", or the NaN, NaT or NA of pandas."""
    return group is None or str(group) in {"", "nan", "NaN", "NaT", "<NA>"}
