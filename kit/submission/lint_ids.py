"""The keys of a submission: safe, known, each once, none missing, in the order of the sample file."""

import bisect
import contextlib
from pathlib import Path

from kit.submission.competition import Competition
from kit.submission.dialect import Cells, Dialect
from kit.submission.names import form_of, one_name, rough_name
from kit.submission.problems import Problems
from kit.submission.tables import FATAL, Row, check_key, read_table

Name = tuple[str, str | None]  # the key, and the cell of the class's column where there is one
SHORT = 100  # characters of a mask that may be a sample's placeholder


class Expected:
    """The rows that a submission should have: of the sample file, or of the test ids.

    source: where they come from, for messages. places: their names in NFC, with their place and their own spelling.
    own: (key, class, mask) of the sample's rows: placeholders, no predictions. Where objects of several classes have a
    row each, an image may have rows of any class: then `images` counts, and not `places`.
    """

    def __init__(self, source: str, dialect: Dialect):
        self.source = source
        self.places: dict[Name, tuple[int, Name]] = {}
        self.own: set[Cells] = set()
        self.repeats = 0  # rows whose name came before
        self.images: dict[str, tuple[int, str]] = {}  # of rows of objects: id in NFC -> its place, its own spelling
        self._mask_at = dialect.columns.index(dialect.mask_column)
        self._dialect = dialect
        self._rough: dict[str, str] | None = None

    def add(self, cells: Cells) -> None:
        """Add a row. A name that comes twice keeps its first place."""
        name = self._dialect.name_of(cells)
        self.repeats += _composed(name) in self.places
        self.places.setdefault(_composed(name), (len(self.places), name))
        if self._dialect.rows == "instance":
            with contextlib.suppress(ValueError):
                id = self._dialect.parse_id(cells)
                self.images.setdefault(one_name(id), (len(self.images), id))
        if len(cells[self._mask_at]) <= SHORT:
            self.own.add(cells)

    def spread(self) -> None:
        """Where the sample's only class is a placeholder, as 0 of the classes 1 to 4, expect its ids with any class."""
        named, labels = {label for _, label in self.places}, self._dialect.labels
        if len(named) == 1 and len(labels) > 1 and self._dialect.class_column and not named & {*labels}:
            names = [(name[0], label) for _, name in self.places.values() for label in labels]
            self.places = {_composed(name): (place, name) for place, name in enumerate(names)}

    def find(self, name: Name, id: str | None) -> tuple[int, str, str] | None:
        """The place of a row, and its key as it should be and as it is; None where no such row is expected.

        id: of the row, None where it has none. Where its class may be any, ids are compared in place of keys.
        """
        if not (self._dialect.rows == "instance" and self._dialect.has_classes):
            found = self.places.get(_composed(name))
            return found and (found[0], found[1][0], name[0])
        found = None if id is None else self.images.get(one_name(id))
        return found and (*found, id)

    def nearest(self, key: str) -> str | None:
        """The expected key that `key` most likely means, or None."""
        if self._rough is None:
            self._rough = {rough_name(name[0]): name[0] for _, name in self.places.values()}
        return self._rough.get(rough_name(key))


def expected_of_sample(path: Path, dialect: Dialect, problems: Problems) -> Expected | None:
    """Return the rows of the sample file; None if it cannot be read.

    Its own faults are reported as the sample's, but for another separator or a byte-order mark, which hinder nothing.
    """
    expected, own = Expected("the sample file", dialect), Problems()
    for row in read_table(path, dialect, own):
        if row.cells is None:
            expected.places.setdefault((one_name(row.key), None), (len(expected.places), (row.key, None)))
        else:
            expected.add(row.cells)
    for problem in own.list(None if own.unread else (*FATAL, "columns")):
        if problem.severity == "error":
            what = problem.what.replace("Leave them out", "kit writes no such columns: add them to the CSV yourself")
            problems.error("problems of the sample file", f"sample file {path.name}: {problem.where}", what)
    if expected.repeats and dialect.rows != "instance":
        what = (
            f"{expected.repeats:,} rows repeat an id of a row before; one row is expected of each id. If each object "
            'has a row: rows="instance" (--rows instance)'
        )
        problems.warning("repeated ids of the sample file", f"sample file {path.name}", what)
    expected.spread()
    return None if own.unread else expected


def expected_of_competition(competition: Competition) -> Expected | None:
    """Return the rows of a competition without a sample file; None if it has no test ids either."""
    if not competition.test_ids:
        return None
    expected = Expected("the competition's test ids", competition.dialect)
    filled = [(index, "1 1") for index in range(1, max(1, len(competition.dialect.labels)) + 1)]
    for id in competition.test_ids:
        for cells in competition.dialect.cells(id, filled):
            expected.add(cells)
    expected.own.clear()
    return expected


class IdLint:
    """Checks the keys row by row; `finish` reports rows that are missing or out of order."""

    def __init__(self, problems: Problems, dialect: Dialect, expected: Expected | None):
        self._problems = problems
        self._dialect = dialect
        self._expected = expected
        self._seen: dict[Name, int] = {}  # and the line of the last row of that name
        self._labels: dict[str, set[int]] = {}  # the classes of each image, where none are expected by name
        self._found: dict[int, str] = {}  # of each place in the sample that was met: where its first row is
        self._images: dict[str, int] = {}  # of rows of objects: the line of the last row of each image
        self._last: str | None = None
        self._split: set[str] = set()
        self._rows = self._own = 0  # own: the sample's own rows
        self._own_unread: list[tuple[str, str]] = []  # (where, why) of those that are no rows of this dialect

    def check(self, row: Row) -> tuple[str, tuple[str, int | None] | None]:
        """Check one row -> where it is, for messages, and (id, class index); None if it is of no known image."""
        name = (row.key, None) if row.cells is None else self._dialect.name_of(row.cells)
        shown = repr(row.key) if name[1] is None else f"{row.key!r}, {name[1]!r}"
        where = f"line {row.line} ({shown:.90})"
        parsed = self._parse(where, row, name)
        self._rows, self._own = self._rows + 1, self._own + self.is_samples_own(row)
        known = self._check_known(where, row, name, parsed)
        self._check_place(where, row, _composed(name), None if parsed is None else one_name(parsed[0]))
        return where, parsed if known else None

    def is_samples_own(self, row: Row) -> bool:
        """Whether the row is one of the sample file, mask and all: a placeholder."""
        return self._expected is not None and row.cells in self._expected.own

    def finish(self) -> None:
        """Report the rows that are out of order, and those that are missing."""
        if self._own_unread and self._own == self._rows:  # the sample itself, with its placeholder of a class
            return
        for where, why in self._own_unread:
            self._problems.error("unknown classes or ids", where, why)
        met = list(self._found.items())
        for place, where in [met[index] for index in misplaced(list(self._found))]:
            what = f"reordered, it is row {place + 1} of {self._expected.source}"
            self._problems.warning("reordered ids", where, what)
        if not self._dialect.keep_empty:
            if self._dialect.rows == "instance" and self._expected:
                self._find_images_without_rows(self._expected)
            return
        for name, (_, (key, label)) in (self._expected.places if self._expected else {}).items():
            if name not in self._seen:
                shown = repr(key) if label is None else f"{key!r}, {label!r},"
                self._problems.error("missing ids", "missing", f"{shown} of {self._expected.source} has no row")
        if self._expected is None and self._dialect.rows == "class":
            self._find_missing_classes()

    def _parse(self, where: str, row: Row, name: Name) -> tuple[str, int | None] | None:
        try:
            check_key(row.key)
        except ValueError as error:
            self._problems.error("unsafe ids", where, str(error))
        if row.cells is None:
            return None
        try:
            id, index = self._dialect.parse_key(*name)
        except ValueError as error:
            if self.is_samples_own(row):  # right where the file is the sample itself, which `finish` knows
                self._own_unread.append((where, str(error)))
            else:
                self._problems.error("unknown classes or ids", where, str(error))
            return None
        if index is not None:
            self._labels.setdefault(id, set()).add(index)
        return id, index

    def _check_known(self, where: str, row: Row, name: Name, parsed: tuple[str, int | None] | None) -> bool:
        """Return whether the row belongs to an image of the competition, as far as is known."""
        if self._expected is None or row.cells is None:
            return parsed is not None
        found = self._expected.find(name, parsed and parsed[0])
        if found is None:
            if parsed is not None:
                nearest = self._expected.nearest(row.key)
                near = f". It has {nearest!r}: write it so" if nearest not in (None, row.key) else ""
                what = f"unknown, {self._expected.source} {_has_no(self._expected, name)}{near}"
                self._problems.error("unknown ids", where, what)
            return False
        place, spelled, own = found
        if spelled != own:
            what = (
                f"the name is {spelled!r} of {self._expected.source} in other bytes ({form_of(own)}, expected "
                f"{form_of(spelled)}), and competitions compare bytes. Write its spelling: "
                f'unicodedata.normalize("{form_of(spelled)}", id). No file has to be renamed'
            )
            self._problems.error("spellings", where, what)
        self._found.setdefault(place, where)
        return True

    def _check_place(self, where: str, row: Row, name: Name, image: str | None) -> None:
        """Report a second row of a name: an error where one is expected, a warning where an image's rows lie apart."""
        if self._dialect.rows != "instance":
            if name in self._seen and row.cells is not None:
                what = (
                    f"duplicate, the id came before in line {self._seen[name]}. Keep one row, or name the dialect if "
                    'each object has its own: rows="instance" (--rows instance)'
                )
                self._problems.error("duplicate ids", where, what)
        elif image is not None:
            before = self._images.get(image)
            if before is not None and image != self._last and image not in self._split:
                self._split.add(image)
                what = f"the rows of one image lie apart, the last was line {before}. Sort the rows by image"
                self._problems.warning("split images", where, what)
            self._images[image] = row.line
        self._seen[name] = row.line
        self._last = image

    def _find_images_without_rows(self, expected: Expected) -> None:
        """Report them in one line: an image without objects has none, and so has a forgotten one."""
        missing = [id for image, (_, id) in expected.images.items() if image not in self._images]
        if missing:
            shown = ", ".join(map(repr, missing[:5])) + ", …" * (len(missing) > 5)
            count = f"{len(missing):,} of {len(expected.images):,} images have no row"
            what = f"{count} ({shown}): right where they have no objects"
            self._problems.warning("missing images", "", what)

    def _find_missing_classes(self) -> None:
        classes = range(1, len(self._dialect.labels) + 1)
        for id, found in self._labels.items():
            for index in classes:
                if index not in found:
                    what = f"{id!r} has no row of the class {self._dialect.label(index)!r}"
                    self._problems.error("missing classes", "missing", what)


def misplaced(places: list[int]) -> list[int]:
    """Which of different `places` must move for the rest to rise: all but a longest rising part (patience sorting)."""
    lowest, last = [], []  # of the rising parts of each length: the lowest end, and its index
    before = []  # the index that comes before each in its part
    for index, place in enumerate(places):
        length = bisect.bisect(lowest, place)
        before.append(last[length - 1] if length else -1)
        lowest[length : length + 1], last[length : length + 1] = [place], [index]
    index, rising = last[-1] if last else -1, set()
    while index >= 0:
        rising.add(index)
        index = before[index]
    return [index for index in range(len(places)) if index not in rising]


def _composed(name: Name) -> Name:
    return one_name(name[0]), name[1] and one_name(name[1])


def _has_no(expected: Expected, name: Name) -> str:
    key, label = _composed(name)
    if label is not None and any(place[0] == key for place in expected.places):
        labels = [place[1] for place in expected.places if place[0] == key]
        return f"has {key!r} with the classes {', '.join(map(str, labels[:20]))}"
    return "has no such id"
