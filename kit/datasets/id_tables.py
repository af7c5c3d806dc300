"""Test images that lie among the training images, and that a CSV names: `tests` of Folder.

kit.submission.CsvIds("sample_submission.csv", dialect) is such a table.
"""

from collections.abc import Collection
from typing import Protocol, runtime_checkable

from kit.datasets.files import DataFolder
from kit.datasets.matching import Files, Found


@runtime_checkable
class IdTable(Protocol):
    """Ids in a CSV below the data's folder. file: its path there."""

    file: str

    def read_ids(self, data: DataFolder) -> list[str]:
        """The ids that the CSV names, each once. Raises ValueError for a CSV of another form, or FileNotFoundError."""
        ...


def _ending(named: Collection[str], images: Files) -> str:
    """The ending, as ".png", that the named ids have and those of the images lack; "" where that is not all."""
    fronts = {name.rpartition(".")[0] for name in named} & images.keys()
    endings = {name.rpartition(".")[2] for name in named if name.rpartition(".")[0] in fronts}
    return f".{endings.pop()}" if len(endings) == 1 else ""


def share_out(found: Found, images: Files, table: IdTable) -> tuple[Files, Files]:
    """The images that the table does not name, and those that it does. An id without an image goes to the problems.

    Raises ValueError where it names none of the images, or all.
    """
    named = set(table.read_ids(found.data))
    tests = {id: paths for id, paths in images.items() if id in named}
    if not tests and (ending := _ending(named, images)):
        raise ValueError(
            f"{table.file} names the images with their ending, as {min(named)}, and their ids are without: give its "
            f'dialect the key, dataclasses.replace(dialect, key="{{id}}{ending}")'
        )
    if not tests or len(tests) == len(images):
        count = "none" if not tests else "all"
        some = ", ".join(sorted(named)[:3]) or "no id"
        raise ValueError(
            f"{table.file} names {count} of {len(images):,} images, expected those that are to be predicted. It names "
            f"{some}; images are called {', '.join(sorted(images)[:3])}. Where the test images have a folder of their "
            "own: tests='test/*.png'"
        )
    found.problems += [f"{table.file} names {id}, and no image has this id" for id in sorted(named - images.keys())]
    return {id: paths for id, paths in images.items() if id not in named}, tests
