"""What a competition adds to a data set: the images to predict, the metric, and how its CSV is written."""

import hashlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.data.check import image_digest, sample_ids
from kit.data.dataset import Dataset
from kit.data.tasks import task_of
from kit.submission.dialect import Dialect
from kit.submission.labels import with_classes
from kit.system.files import short_hash


class UnknownSize(ValueError):
    """The size of an image cannot be read; the message says why."""


@dataclass(frozen=True)
class Competition:
    """A data set with its competition.

    dataset: a `kit.data.Dataset`; it reads the test images too. test_ids: str, each once, the order of the rows where
    there is no sample file. metric: a `kit.scoring` metric, or None. sample_csv: the sample submission; its keys and
    their order are those of the submission. truth_csv: the true masks of test images, where they are known.
    train_csv: the true masks of training images as run lengths: a run compares the dialect with them before training.
    Raises ValueError if the dialect cannot hold the data set's classes, or if test ids are not text or repeat.
    """

    dataset: object
    dialect: Dialect
    test_ids: Sequence[str] = ()
    metric: object | None = None
    sample_csv: Path | None = None
    truth_csv: Path | None = None
    train_csv: Path | None = None

    def __post_init__(self):
        object.__setattr__(self, "test_ids", tuple(self.test_ids))
        object.__setattr__(self, "dialect", with_classes(self.dialect, task_of(self.dataset).foreground))
        odd = [id for id in self.test_ids if not isinstance(id, str)]
        if odd:
            raise ValueError(
                f"test_ids are str, got {type(odd[0]).__name__} {odd[0]!r:.60}: test_ids = [str(id) for id in …]"
            )
        if len(set(self.test_ids)) < len(self.test_ids):
            twice = sorted({id for id in self.test_ids if self.test_ids.count(id) > 1})
            raise ValueError(
                f"{len(twice)} test ids are given more than once, {', '.join(twice[:5])}: list(dict.fromkeys(test_ids))"
            )

    def fingerprint(self, tests: str | None = None) -> str:
        """A hash of all of the competition that can change a row: the test ids, the dialect and the test images.

        tests: its test_fingerprint, where that is known; it reads files.
        """
        facts = self.dialect, self.test_ids, self.test_fingerprint() if tests is None else tests
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def test_fingerprint(self) -> str:
        """The data set's hash of its test images. Where it has none of its own, some of the images are read for it."""
        return fingerprint_of_tests(self.dataset, self.test_ids)

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of the submitted mask of a test image: the image's own, or the dialect's size."""
        return self.dialect.size or self.dataset.shape(id)


def fingerprint_of_tests(dataset: Dataset, ids: Sequence[str]) -> str:
    """A hash of a data set's test images: its own; where it has none, of some of them that are read for it."""
    own = dataset.test_fingerprint()
    if getattr(type(dataset), "test_fingerprint", None) is not Dataset.test_fingerprint:
        return own
    return short_hash((own, [image_digest(dataset, id) for id in sample_ids(ids)]))


def rules_of(rules: "Competition | Dialect") -> tuple[Dialect, "Competition | None"]:
    """Return the dialect, and the competition where one was given."""
    return (rules.dialect, rules) if isinstance(rules, Competition) else (rules, None)


def mask_shapes(
    dialect: Dialect, shapes: object, competition: "Competition | None" = None
) -> Callable[[str], tuple[int, int]] | None:
    """Return id -> (H, W) of submitted masks, as `shape_reader`. A size of the dialect's own goes before `shapes`."""
    return shape_reader(dialect.size or shapes, competition)


def shape_reader(shapes: object, competition: "Competition | None" = None) -> Callable[[str], tuple[int, int]] | None:
    """Return id -> (H, W). shapes: one for all, a mapping, a function, or None: the competition's, if there is one.

    What is returned raises UnknownSize, whatever the function or mapping raises, and for sizes that cannot be.
    """
    if shapes is None and competition is None:
        return None
    shape = _function_of(competition.shape if shapes is None else shapes)

    def read(id: str) -> tuple[int, int]:
        try:
            height, width = (operator.index(side) for side in shape(id))
        except Exception as error:  # whatever code of the user's own raises
            raise UnknownSize(f"{error!r:.200}") from error
        if min(height, width) < 1:
            raise UnknownSize(f"it is given as {height} x {width}, expected (height, width) of 1 or more")
        return height, width

    return read


def _function_of(shapes: object) -> Callable[[str], tuple[int, int]]:
    if callable(shapes):
        return shapes
    return shapes.__getitem__ if hasattr(shapes, "keys") else lambda id: shapes
