"""What the user says of the files, and how sets of files are named in messages."""

from collections.abc import Sequence
from dataclasses import dataclass

from kit.datasets.names import nfc
from kit.datasets.patterns import Pattern, suffix_of
from kit.new.look.file_sets import FileSet
from kit.new.look.hints import hint
from kit.new.look.pairing import with_id
from kit.new.look.questions import OpenQuestion
from kit.new.look.split_words import split_of
from kit.new.look.tables import Table
from kit.new.look.templates import Templated
from kit.system.files import list_some

SHOWN = 3  # names in a line


@dataclass(frozen=True)
class Asked:
    """What the user says of the files: patterns of images, masks and tests; None: found by looking.

    masks and tests may also be the path of a CSV: of run lengths, and of the sample submission. lacking: what images
    without a mask are, "empty" or to "skip".
    """

    images: str | None = None
    masks: str | None = None
    tests: str | None = None
    lacking: str | None = None

    @property
    def patterns(self) -> dict[str, str]:
        """The patterns of files, by their flags."""
        texts = {"--masks": self.masks, "--tests": self.tests, "--images": self.images}
        return {flag: text for flag, text in texts.items() if text is not None and not is_csv(text)}

    def sets(self, found: list[FileSet], paths: Sequence[str]) -> list[FileSet]:
        """The sets as asked for, and those that were found of the files that are left."""
        own, taken = [], set()
        for flag, text in self.patterns.items():
            pattern = Pattern(text)
            files = tuple(path for path in paths if pattern.match(path) and path not in taken)
            if not files:
                sets = list_some([shown(one) for one in found])
                raise OpenQuestion(f"no image file matches {flag} {text!r}{hint(text, paths)}; there are:{sets}", flag)
            own.append(FileSet(whole_pattern(text), files))
            taken |= set(files)
        rest = [FileSet(one.pattern, tuple(path for path in one.paths if path not in taken)) for one in found]
        rest = [one for one in rest if one.paths]
        if {"--images", "--masks"} <= self.patterns.keys():
            rest = [one for one in rest if split_of(one.pattern) == "test"]
        return [*own, *rest]


def is_csv(text: str | None) -> bool:
    """Whether a wish is the path of a CSV and no pattern."""
    return text is not None and suffix_of(text) == "csv"


def whole_pattern(text: str) -> str:
    """The pattern; of a folder with the wildcard of its files."""
    pattern = Pattern(text)
    return f"{pattern.text}/*" if pattern.is_folder else pattern.text


def ids_of(files: "FileSet | Templated") -> list[str]:
    """The ids that kit.datasets.Folder gives to the files."""
    pattern = Pattern(files.pattern, ids=getattr(files, "ids", None))
    return [nfc(pattern.id_of(path)) for path in files.paths]


def by_one_wildcard(files: FileSet) -> list[FileSet]:
    """The same files by patterns in which one of several wildcards is the id, as far as it names each file."""
    count = 0 if "{id}" in files.pattern else Pattern(files.pattern).wildcards
    every = [FileSet(with_id(files.pattern, at), files.paths) for at in range(count if count > 1 else 0)]
    return [one for one in every if len(set(ids_of(one))) == len(one.paths)]


def shortened(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + f" and {len(names) - SHOWN:,} more" * (len(names) > SHOWN)


def there(tables: Sequence[Table]) -> str:
    """The CSV files that are there, for the end of a message."""
    return f"; there are:{list_some([str(table) for table in tables])}" if tables else "; there is none"


def shown(files: FileSet) -> str:
    """A set in a list: its pattern and how many files it has."""
    return f"{files.pattern} ({len(files.paths):,})"
