"""Which images belong together: groupings by ids, folders and tables, judged by how alike the images of a group are."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kit.datasets.groups import parts_of
from kit.datasets.names import nfc
from kit.new.look.alikeness import alikeness
from kit.new.look.tables import Table, facts_of
from kit.submission.formats import read_columns

CLEAR = 0.75  # from here on images of a group are alike enough that a split through it would leak
NAMED = 0.4  # the same where the name of a column says that it is one
LEAST_GROUPS, ENOUGH = 3, 10
GROUP_NAMES = re.compile(
    r"group|patient|subject|person|animal|case|stud(?:y|ies)|scan|series|slide|specimen|sample_?id|donor|volume|stack|"
    r"site|location|scene|region|field|well|plate|video|clip|sequence|session|vehicle|car_?id|mosaic|photo",
    re.IGNORECASE,
)
IN_IDS = (  # patterns with the group in parentheses, and what they are in words
    (r"^([^/]+)/", "the first folder of the id"),
    (r"^(.+)/[^/]+$", "the folders of the id"),
    (r"^([^/_\-. ]+)[_\-. ]", "the id up to its first mark"),
    (r"^(.+?)[_\-. ]?\d+$", "the id without the number at its end"),
    (r"^(.+)[_\-. ][^_\-. ]+$", "the id without its last part"),
)


@dataclass(frozen=True)
class Grouping:
    """One way to group images. argument: what Folder takes as `groups`. alike: see kit.new.look.alikeness."""

    argument: str | tuple[str, str, str]
    words: str
    groups: tuple[str, ...]  # of each id
    alike: float
    is_named: bool = False  # a column whose name says so

    @property
    def count(self) -> int:
        """How many groups."""
        return len(set(self.groups))

    @property
    def is_clear(self) -> bool:
        """Whether it should be used."""
        unknown = np.isnan(self.alike) and self.is_named  # images too large to compare
        return self.count >= LEAST_GROUPS and (unknown or self.alike >= (NAMED if self.is_named else CLEAR))

    def __str__(self) -> str:
        if np.isnan(self.alike):
            return f"{self.argument}, {self.words}: {self.count} groups"
        return (
            f"{self.words}: {self.count} groups; two images of one are more alike than two of different ones in "
            f"{self.alike:.0%} of pairs"
        )


def find_groupings(
    ids: Sequence[str], tables: Sequence[Table], vector: Callable[[str], np.ndarray]
) -> tuple[list[Grouping], list[str]]:
    """All groupings with two images or more in most groups, the one to use first; and doubts in words.

    vector(id): of kit.new.look.alikeness.describe. First come the clear ones; of these a column whose name says that it
    groups, else the coarsest that leaves ENOUGH groups: a split through one of them leaks, through its parts too.
    """
    found: dict[tuple[int, ...], Grouping] = {}
    for argument, words, groups, is_named in [*_by_ids(ids), *_by_tables(ids, tables)]:
        if not _is_possible(groups):
            continue
        partition = tuple(np.unique(groups, return_inverse=True)[1].tolist())
        if partition not in found or (is_named and not found[partition].is_named):
            alike = found[partition].alike if partition in found else alikeness(ids, groups, vector)
            found[partition] = Grouping(argument, words, tuple(groups), alike, is_named)
    order = sorted(found.values(), key=_rank)
    return order, [f"not used: {one}" for one in order if not one.is_clear and one.alike >= 0.6]


def _rank(one: Grouping) -> tuple:
    few = one.count < ENOUGH
    return not one.is_clear, not one.is_named, few, -one.count if few else one.count


def _by_ids(ids: Sequence[str]) -> list[tuple]:
    every = []
    for pattern, words in IN_IDS:
        matches = [re.search(pattern, id) for id in ids]
        if all(matches):
            groups = [match[1] for match in matches]
            every.append((pattern, words, groups, all(GROUP_NAMES.search(group) for group in groups)))
    return every


def _by_tables(ids: Sequence[str], tables: Sequence[Table]) -> list[tuple]:
    every = []
    for table in tables:
        facts = None if table.has_masks else facts_of(table, ids)
        if facts is None:
            every += [] if table.has_masks else _by_parts(ids, table)
            continue
        id_column, rows = facts
        for column in table.columns:
            if column != id_column and all(id in rows for id in ids):
                groups = [rows[id][column] for id in ids]
                if all(groups):
                    named = bool(GROUP_NAMES.search(column))
                    every.append(((table.path, id_column, column), f"{column} of {table.path}", groups, named))
    return every


def _by_parts(ids: Sequence[str], table: Table) -> list[tuple]:
    """The groupings of a table with a row a patient, or other group, whose name is a part of each id."""
    rows, every = list(read_columns(table.file)), []
    parts = {id: parts_of(id) for id in ids}
    for column in table.columns:
        values = {nfc(row[column]): row for row in rows}
        own = {id: found.pop() for id in ids if len(found := parts[id] & values.keys()) == 1}
        is_named = bool(GROUP_NAMES.search(column))
        numbers = all(value.isdecimal() for value in own.values())  # as ages, that slices have by chance
        if len(own) < len(ids) or (numbers and not is_named):
            continue
        # another column is as alike as the parts that it holds: only its name can say that it groups them
        for other in [name for name in table.columns if name == column or GROUP_NAMES.search(name)]:
            values_of = {}
            for row in rows:
                values_of.setdefault(nfc(row[column]), set()).add(row[other])
            groups = [next(iter(values_of[own[id]])) for id in ids if len(values_of[own[id]]) == 1]
            if len(groups) == len(ids) and all(groups):
                words = f"{other} of {table.path}" + f" by {column}" * (other != column)
                words += f", a part of each id, as {own[ids[0]]} of {ids[0]}"
                every.append(((table.path, column, other), words, groups, bool(GROUP_NAMES.search(other))))
    return every


def _is_possible(groups: Sequence[str]) -> bool:
    """Whether there are several groups, and most images are in one with another image."""
    counts = Counter(groups)
    together = sum(count for count in counts.values() if count > 1)
    return LEAST_GROUPS <= len(counts) < len(groups) and together >= 0.3 * len(groups)
