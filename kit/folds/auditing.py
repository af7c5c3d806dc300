"""The audit of a data set before training: what fails it, what is shown to a person, what is worth knowing.

found = audit(dataset, folds, tests=dataset.test_ids)
found.fails          copies across folds or in the test images, groups in two folds, ids in training and test
found.shows          groups that look like one group, neighbouring frames, twins by metadata
found.tells          what is only reported: images of odd quality, the shift between train and test
found.check()        raises ValueError where something fails
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from kit.data.dataset import Dataset, has_groups
from kit.folds.copies import UNLABELLED, Copy, find_copies
from kit.folds.looks import look_at, look_at_readable, pixels_of
from kit.folds.metadata import Rows, metadata_twins
from kit.folds.quality import Odd, odd_images
from kit.folds.sequences import Sequence as Frames
from kit.folds.sequences import find_sequences
from kit.folds.shift import Shift, find_shift
from kit.folds.twins import Twins, group_twins
from kit.system.files import counted, list_some

TEST, ALWAYS = "test", "always trained on"
SHOWN = 3  # unreadable images in a note


@dataclass(frozen=True)
class Split:
    """A group whose images are in several folds."""

    group: str
    folds: tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    """An image that is a test image too. place: where it stands among the training images."""

    id: str
    place: str


@dataclass(frozen=True)
class Audit:
    """The findings. copies: those that leak, then those that do not.

    images, tests, unlabelled: how many. shared: training images that are test images too. folds: how many, 0 where
    none were given: then groups stand for folds. has_groups: whether the data set says what belongs together.
    grouped: how many groups.
    """

    name: str
    images: int
    tests: int
    folds: int
    has_groups: bool
    grouped: int
    shared: list[Shared]
    copies: list[Copy]
    split: list[Split]
    twins: list[Twins]
    sequences: list[Frames]
    metadata: list[Rows]
    quality: list[Odd]
    shift: Shift | None
    unlabelled: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def fails(self) -> list[Copy | Split | Shared]:
        """What makes a score too high: groups in two folds, ids in training and test, copies across places."""
        return [*self.split, *self.shared, *(copy for copy in self.copies if copy.leaks)]

    @property
    def kept(self) -> list[Copy]:
        """Copies that do not leak: one fold or group keeps them together, or one of the two has no mask."""
        return [copy for copy in self.copies if not copy.leaks]

    @property
    def shows(self) -> list[Twins | Frames | Rows]:
        """What a person should look at, ranked."""
        return [*self.sequences, *self.metadata, *self.twins]

    @property
    def tells(self) -> list[Odd | Shift]:
        """What is worth knowing."""
        return [*([self.shift] if self.shift else []), *self.quality]

    def check(self) -> None:
        """Raise ValueError listing what fails."""
        if lines := [describe(one) for one in self.fails]:
            raise leak_error(self.name, lines)

    def facts(self) -> dict:
        """The same for programs, as JSON holds it."""
        names = ("name", "images", "tests", "unlabelled", "folds", "has_groups", "grouped", "notes")
        kept = {name: getattr(self, name) for name in names}
        leaking = [copy for copy in self.copies if copy.leaks]
        return {
            **kept,
            "fails": {"copies": _texts(leaking), "split": _texts(self.split), "shared": _texts(self.shared)},
            "kept_together": _texts(self.kept),
            "shows": {name: _texts(getattr(self, name)) for name in ("sequences", "metadata", "twins")},
            "tells": {"shift": asdict(self.shift) if self.shift else None, "quality": _texts(self.quality)},
        }


def _texts(found: Sequence) -> list[dict]:
    return [asdict(one) for one in found]


def leak_error(name: str, lines: Sequence[str]) -> ValueError:
    """The error that lists what fails, a line each."""
    return ValueError(
        f"the audit of {name} found {counted(len(lines), 'leak')}, so scores would be too high:{list_some(lines)}\n"
        "Give the images of each line one group, which keeps them in one fold, or leave copies out"
    )


def describe(one: Copy | Split | Shared) -> str:
    """A line about something that fails, or about a copy."""
    if isinstance(one, Shared):
        return f"{one.id} is a training image ({one.place}) and a test image"
    if isinstance(one, Split):
        return f"group {one.group} is in {', '.join(one.folds)}"
    places = f" ({one.places[0]} and {one.places[1]})" if one.places[0] != one.places[1] else f" ({one.places[0]})"
    if one.places == (f"group {one.first}", f"group {one.second}"):  # each image is its own group
        places = ""
    what = "the same pixels" if one.same else f"a copy ({one.change})"
    return f"{one.first} and {one.second}{places}: {what}"


def audit(
    dataset: Dataset,
    folds: Sequence[int] | None = None,
    *,
    tests: Sequence[str] | None = None,
    unlabelled: Sequence[str] = (),
    threads: int = 4,
) -> Audit:
    """Look at all images of a data set and compare them.

    folds: int (n,), the fold that holds out each of dataset.ids, -1: always trained on. None: copies are looked for
    across groups. tests: ids of test images that read_image knows; None: dataset.test_ids where there are any.
    unlabelled: ids of images without a mask, which are neither trained on nor predicted: a copy of one does not leak.
    A test image, or one without a mask, that cannot be read is left out, with a note. Raises ValueError for folds of
    another length, and whatever read_image raises of a training image.
    """
    ids, tests = list(dataset.ids), list(getattr(dataset, "test_ids", ()) if tests is None else tests)
    groups = dict(zip(ids, map(str, dataset.groups), strict=True))
    places = _places(groups, folds)
    trained = look_at(dataset, ids, threads)
    further = [id for id in dict.fromkeys([*tests, *unlabelled]) if id not in trained]
    found, unreadable = look_at_readable(dataset, further, threads)
    looks = trained | found
    tests = [id for id in tests if id in looks]
    shared = [Shared(id, places[id]) for id in dict.fromkeys(tests) if id in places]
    others = dict.fromkeys(unlabelled, UNLABELLED) | dict.fromkeys(tests, TEST)
    everywhere = {id: (others | places)[id] for id in looks}
    return Audit(
        name=dataset.name,
        images=len(ids),
        tests=len(tests),
        unlabelled=len(unlabelled),
        folds=0 if folds is None else len({*map(int, folds)} - {-1}),
        has_groups=has_groups(dataset),
        grouped=len(set(groups.values())),
        shared=shared,
        copies=find_copies(looks, everywhere, lambda id: pixels_of(dataset, id), threads),
        split=[] if folds is None else split_groups(groups.values(), folds),
        twins=group_twins(trained, groups),
        sequences=find_sequences(trained, places),
        metadata=metadata_twins(dataset, everywhere, groups),
        quality=odd_images({id: looks[id] for id in dict.fromkeys([*ids, *tests])}),
        shift=find_shift(trained, {id: looks[id] for id in tests}, list(groups.values())),
        notes=[*_unreadable_notes(unreadable), *_notes(dataset, folds, groups, bool(tests))],
    )


def _unreadable_notes(problems: Mapping[str, str]) -> list[str]:
    """A note on test images that cannot be read."""
    if not problems:
        return []
    shown = "; ".join(f"{id} ({problem})" for id, problem in list(problems.items())[:SHOWN])
    verbs = "cannot be read and is left out" if len(problems) == 1 else "cannot be read and are left out"
    return [f"{counted(len(problems), 'test image')} {verbs}: {shown}{'; …' * (len(problems) > SHOWN)}"]


def _places(groups: Mapping[str, str], folds: Sequence[int] | None) -> dict[str, str]:
    """Where each training image stands: its fold; without folds its group. groups: by id, in the data set's order."""
    if folds is None:
        return {id: f"group {group}" for id, group in groups.items()}
    if len(folds) != len(groups):
        raise ValueError(f"{len(folds)} folds of {len(groups)} images: expected a fold for each of dataset.ids")
    return dict(zip(groups, map(place, folds), strict=True))


def place(fold: int) -> str:
    """Where an image of a fold stands, in words."""
    return ALWAYS if fold < 0 else f"fold {int(fold)}"


def split_groups(groups: Sequence[str], folds: Sequence[int]) -> list[Split]:
    """The groups whose images are in several folds. Images that are always trained on do not count."""
    seen: dict[str, set[int]] = {}
    for group, fold in zip(groups, folds, strict=True):
        if fold >= 0:
            seen.setdefault(group, set()).add(int(fold))
    return [Split(group, tuple(map(place, sorted(found)))) for group, found in seen.items() if len(found) > 1]


def _notes(dataset: Dataset, folds: Sequence[int] | None, groups: Mapping[str, str], has_tests: bool) -> list[str]:
    """What the audit could not see."""
    notes = []
    if folds is None:
        what = "groups" if has_groups(dataset) else "images, as no groups are given"
        notes.append(f"No folds are given: copies are looked for across {what}.")
    elif not has_groups(dataset):
        notes.append("No groups are given: images of one patient, car or scene may stand in several folds.")
    if not has_tests:
        notes.append("No test images are known: copies in them were not looked for.")
    if folds is not None and (np.asarray(folds) < 0).any():
        always = {group for group, fold in zip(groups.values(), folds, strict=True) if fold < 0}
        held = {group for group, fold in zip(groups.values(), folds, strict=True) if fold >= 0}
        if shared := sorted(always & held):
            names = ", ".join(shared[:5]) + ", …" * (len(shared) > 5)
            notes.append(f"The data set's own split shares {counted(len(shared), 'group')} with training: {names}.")
    return notes
