"""A problem of a submission, and the list in which a lint collects them."""

from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Problem(NamedTuple):
    """One problem. An error: the competition would refuse the file or score it wrongly. A warning: look at it."""

    severity: Severity
    where: str  # the line and the id, the file, or ""
    what: str  # what was found, what was expected, what to do

    def __str__(self) -> str:
        mark = "warning: " if self.severity == "warning" else ""
        return f"{mark}{self.where}: {self.what}" if self.where else f"{mark}{self.what}"


class Problems:
    """Problems by kind; of each kind the first 20, and how many more there are."""

    shown = 20

    def __init__(self):
        self.unread = False  # True after damage: the rest of the file was not read, so nothing is known to be missing
        self._kinds: dict[tuple[str, Severity], list[Problem]] = {}
        self._counts: dict[tuple[str, Severity], int] = {}

    def error(self, kind: str, where: str, what: str) -> None:
        """Add an error. kind: a plural, as in "missing ids"; it stands in the line that counts the rest."""
        self._add(kind, Problem("error", where, what))

    def warning(self, kind: str, where: str, what: str) -> None:
        """Add a warning. kind: as of an error."""
        self._add(kind, Problem("warning", where, what))

    def drop(self, kind: str) -> None:
        """Forget the problems of a kind, which follow from another one."""
        for name in [name for name in self._counts if name[0] == kind]:
            del self._counts[name], self._kinds[name]

    def list(self, kinds: tuple[str, ...] | None = None) -> list[Problem]:
        """The problems of these kinds, or all: errors first, a kind after the other, in the order they were met in."""
        found = []
        for (kind, severity), problems in sorted(self._kinds.items(), key=lambda item: item[0][1] == "warning"):
            if kinds is not None and kind not in kinds:
                continue
            found += problems
            if more := self._counts[kind, severity] - len(problems):
                found.append(Problem(severity, "", f"... and {more:,} more {kind}"))
        return found

    def first(self, kinds: tuple[str, ...]) -> Problem | None:
        """The first error of these kinds, or None."""
        return next((self._kinds[kind, "error"][0] for kind in kinds if (kind, "error") in self._kinds), None)

    def _add(self, kind: str, problem: Problem) -> None:
        key = kind, problem.severity
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._counts[key] <= self.shown:
            self._kinds.setdefault(key, []).append(problem)
