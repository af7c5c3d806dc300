"""Is this CSV what the competition accepts? Every row is checked: its key, its mask, and where it stands.

lint_ids.py     keys and classes: safe, known, once, in order, none missing
lint_masks.py   masks: well formed, inside their image
lint_objects.py rows of objects: apart, none empty beside others, of one part each
lint_order.py   whether rows and columns of pixels are swapped
"""

import re
from pathlib import Path

from kit.data.tasks import task_of
from kit.submission.competition import Competition, mask_shapes, rules_of
from kit.submission.dialect import Dialect
from kit.submission.lint_ids import Expected, IdLint, expected_of_competition, expected_of_sample
from kit.submission.lint_masks import MaskLint
from kit.submission.lint_order import COMPARE
from kit.submission.problems import Problem, Problems
from kit.submission.runtext import EMPTY_TOKENS
from kit.submission.tables import read_rows, read_table
from kit.system.files import raise_all


def lint(
    csv: Path, rules: Competition | Dialect, sample_csv: Path | None = None, shapes: object = None
) -> list[Problem]:
    """Return all that is wrong with a submission, errors first; [] when it is right.

    Of each kind of problem the first 20 are named, and the number of the others.
    rules: the competition, or its dialect alone. sample_csv: its keys must all be there; None: the competition's
    sample, else its test ids, else ids are not compared. shapes: (H, W) of all images, or a mapping or function
    from id to (H, W); None: the competition's, else unknown, which is a warning. Where the dialect has a size, every
    mask has it. A sample of a header alone, as of a hidden test set, says nothing of ids; then the competition's count.
    An empty mask is right. A file of nothing else, another order of rows than the sample's, and what could not be
    checked are warnings. Content never raises; a file that cannot be opened raises OSError.
    """
    dialect, competition = rules_of(rules)
    problems = Problems()
    if sample_csv is None and competition is not None:
        sample_csv = competition.sample_csv
    expected = None if sample_csv is None else expected_of_sample(Path(sample_csv), dialect, problems)
    blank = expected is not None and not expected.places
    if sample_csv is None or blank:
        expected = None if competition is None else expected_of_competition(competition)
    if blank and expected is None:
        what = "it holds a header and no rows, so ids are not compared. Lint again with the one that has them"
        problems.warning("blank samples", f"sample file {Path(sample_csv).name}", what)
    ids = IdLint(problems, dialect, expected)
    apart = competition is None or not task_of(competition.dataset).overlaps
    masks = MaskLint(problems, dialect, mask_shapes(dialect, shapes, competition), _advice(dialect, competition), apart)
    for row in read_table(Path(csv), dialect, problems):
        where, name = ids.check(row)
        if row.cells is not None:
            masks.check(row, where, name, ids.is_samples_own(row))
    if not problems.unread:
        ids.finish()
        masks.finish(wanted=expected is not None or not blank)
    return problems.list()


def _advice(dialect: Dialect, competition: Competition | None) -> str | None:
    """What to do where no mask shows its order; None where a run has compared it with the training CSV."""
    if competition is None:
        return COMPARE
    along = "along rows" if dialect.order == "C" else "down columns"
    page = f"Pixels are counted {along}, as the dialect says: see that the competition's page says so too"
    return page if competition.train_csv is None else None


def check_sample(competition: Competition) -> None:
    """Raise ValueError unless the sample file asks for the rows of the competition's test images, in any order.

    `lint` would find it too, but after training.
    """
    expected = expected_of_competition(competition)
    if competition.sample_csv is None or expected is None:
        return
    problems = Problems()
    asked = expected_of_sample(Path(competition.sample_csv), competition.dialect, problems)
    if asked is not None and not asked.places:  # a header alone, as of a hidden test set
        asked = None
    if asked is not None and not errors_of(problems.list()):
        _check_empty(competition, problems)
    lacking = [] if asked is None else _only_in(asked, expected)
    more = [] if asked is None or competition.dialect.rows == "instance" else _only_in(expected, asked)
    raise_all(
        [
            *errors_of(problems.list()),
            *(f"{name} is in {Path(competition.sample_csv).name}, but is no test image's" for name in lacking),
            *(f"{name} is a test image's, but is not in {Path(competition.sample_csv).name}" for name in more),
        ],
        "problems with test_ids or the dialect, whose keys must be those of the sample file",
    )


def _check_empty(competition: Competition, problems: Problems) -> None:
    """Add a problem where the sample writes empty masks in another way than the dialect."""
    dialect = competition.dialect
    place = dialect.columns.index(dialect.mask_column)
    cells = {row[place] for row in read_rows(Path(competition.sample_csv), dialect)}
    words = {
        token for token in EMPTY_TOKENS if token and not re.fullmatch("[0-9 ]+", token)
    }  # a 0 may stand for nothing
    for cell in sorted(cells & words - {dialect.empty}):
        what = f"an empty mask is {cell!r} in the sample, and {dialect.empty!r} in the dialect: Dialect(empty={cell!r})"
        problems.error("empty masks", Path(competition.sample_csv).name, what)


def _only_in(one: Expected, other: Expected) -> list[str]:
    """The names of rows in `one` alone, as text."""
    return [
        " ".join(repr(part) for part in one.places[name][1] if part is not None)
        for name in one.places
        if name not in other.places
    ]


def errors_of(problems: list[Problem]) -> list[str]:
    """Return the errors among `problems`, a text each; a run stops at them, not at warnings."""
    return [str(problem) for problem in problems if problem.severity == "error"]
