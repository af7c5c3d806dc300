"""python -m kit lint: check a submission or a folder of data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.cli.flags import Order, choice, unzipped
from kit.datasets.files import DataFolder
from kit.submission import Dialect, Problem, compare_masks, known, lint, score, truth_reader
from kit.submission.detect import CLASS_NAMES, Look, dialect_of, look
from kit.submission.formats import read_header
from kit.system.files import spread

TRIED = 40  # keys that are looked for among the images
Rows = Annotated[Literal["image", "class", "instance"] | None, choice("image", "class", "instance")]


@dataclass(frozen=True)
class Lint:
    """Check a submission, or a folder of data; print every problem, and exit 1 if one is an error.

    How the CSV is written is read from the sample file, else from the submission itself; flags overrule both. The
    first line says how the file is read, so that a wrong reading is seen.
    """

    path: Annotated[Path, tyro.conf.Positional]  # a CSV, or a data folder
    sample: Path | None = None  # the sample submission: its keys, all of them, in its order
    shape: tuple[int, int] | None = None  # height and width of the images, where all have the same
    images: Path | None = None  # the folder of the images, whose sizes are read from their headers
    order: Order = None  # of the pixels in a run: C along rows (as without it), F down columns
    columns: tuple[str, ...] | None = None  # the key, the mask and perhaps the class; as in the sample's header
    rows: Rows = None  # what has a row; as in the sample and the file
    empty: str | None = None  # the cell of an empty mask; as in the sample
    drop_empty: bool = False  # an empty mask has no row
    base: Literal[0, 1] = 1  # the number of the first pixel
    relative: bool = False  # starts count from the end of the run before
    truth: Path | None = None  # a CSV of true masks of the same dialect, to score against

    def run(self) -> int:
        """Print how the file is read, the problems and the verdict; 1 if there is an error."""
        try:
            problems = self.problems()
        except ValueError as error:
            problems = [Problem("error", "", str(error))]
        except OSError as error:
            missing = isinstance(error, FileNotFoundError) and error.filename
            print(f"{missing}: no such file" if missing else error)
            print(f"{self.path}: could not be checked, see above")
            return 1
        for problem in problems:
            print(problem)
        wrong = any(problem.severity == "error" for problem in problems)
        verdict = "not valid, see above" if wrong else "valid, but see the warnings" if problems else "valid"
        print(f"{self.path}: {verdict}")
        return int(wrong)

    def problems(self) -> list[Problem]:
        """The problems of the file or folder."""
        if self.path.is_dir():
            return _problems_of_folder(self.path)
        sample = unzipped(self.sample)
        dialect, shapes = self.dialect(sample), self._shapes()
        print(_described(dialect, self.order is None))
        print("no --sample: the ids are not checked" if sample is None else f"ids are those of {self.sample}")
        if self.shape:
            size = f"{self.shape[0]} x {self.shape[1]}"
            print(f"masks are checked for images of {size} (--shape); where sizes differ: --images DIR")
        problems = [*self._doubts(dialect), *lint(self.path, dialect, sample, shapes)]
        if self.truth is not None and not any(problem.severity == "error" for problem in problems):
            if shapes is None:
                raise ValueError("--truth needs the sizes of the images: --shape H W, or --images DIR")
            scores = score(self.path, dialect, truth_reader(self.truth, dialect, shapes))
            print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in scores.items()))
        return problems

    def dialect(self, sample: Path | None) -> Dialect:
        """The dialect: flags first, then the sample file, then the submission. Raises ValueError or OSError."""
        source = self.path if sample is None else sample
        seen = _look(source, self.columns)
        header = list(self.columns or read_header(source))
        if seen is None:
            found = Dialect(tuple(header))
        else:
            seen = replace(seen, labels=seen.labels if len(seen.labels) > 1 else self._labels() or seen.labels)
            found = dialect_of(replace(seen, empties=seen.empties if self.empty is None else {self.empty}), header)
        if self.rows is None and seen is not None and found.key == "{id}_{class}":
            found = self._with_whole_keys(found, seen)
        changes = {"rows": self.rows} if self.rows else {}
        if not self.rows and found.rows == "image" and self._repeats():
            changes = {"rows": "instance"}
        if self.rows in ("image", "instance") and found.has_classes:
            changes |= {"key": "{id}", "labels": ()} if found.class_column is None else {}
        if self.empty is not None:
            changes["empty"] = self.empty
        keep = not self.drop_empty and found.keep_empty
        return replace(
            found, order=self.order or "C", base=self.base, relative=self.relative, keep_empty=keep, **changes
        )

    def _with_whole_keys(self, found: Dialect, seen: Look) -> Dialect:
        """The dialect without classes, where keys such as 7_left and 7_right are whole names of images; and say so."""
        ends = f"keys end in {', '.join(f'_{label}' for label in found.labels[:3])}{', …' * (len(found.labels) > 3)}"
        are_ids = self._are_images(seen)
        if are_ids:
            print(f"{ends}, and are whole names of images in {self.images}")
        elif are_ids is None and not any(word in seen.key.casefold() for word in CLASS_NAMES):
            are_ids = len(found.labels) == 2
            other = "If these are classes: --rows class" if are_ids else "If whole keys are images: --rows image"
            print(f"{ends}, and are read as {'ids of images' if are_ids else 'classes'}. {other}, or --images DIR")
        rows = "instance" if seen.repeats else "image"
        return replace(found, key="{id}", labels=(), rows=rows, keep_empty=True) if are_ids else found

    def _are_images(self, seen: Look) -> bool | None:
        """Whether most keys are names of images (True), or their fronts are (False); None: neither, or no images."""
        shape = self._shapes()
        if not callable(shape):
            return None

        def count(names: list[str]) -> int:
            return sum(_is_there(shape, name) for name in names)

        keys = spread(list(dict.fromkeys(seen.keys)), TRIED)
        whole, fronts = count(keys), count([key.rpartition("_")[0] for key in keys])
        return None if not whole + fronts else whole >= fronts

    def _labels(self) -> dict[str, None]:
        """The classes of the submission: a sample may have no rows, or one class that stands for all."""
        seen = _look(self.path, self.columns)
        return {} if seen is None else seen.labels

    def _repeats(self) -> bool:
        seen = _look(self.path, self.columns)
        return seen is not None and seen.repeats

    def _doubts(self, dialect: Dialect) -> list[Problem]:
        """What the flags leave open and the files answer: to be looked at."""
        if dialect.rows != "instance" or self.rows:
            return []
        what = (
            "an id has several rows, so each row is read as an object of its image. If the competition wants one row "
            "an image: --rows image"
        )
        return [Problem("warning", "", what)]

    def _shapes(self) -> tuple[int, int] | Callable[[str], tuple[int, int]] | None:
        if self.images is None:
            return self.shape
        from kit.submission.sizes import sizes_in  # imported here: most lints need no decoder of images

        return sizes_in(self.images)


def _is_there(shape: Callable[[str], tuple[int, int]], name: str) -> bool:
    """Whether an image has a name, although it may be unreadable."""
    try:
        shape(name)
    except LookupError as error:
        return "several sizes" in str(error)
    except (ValueError, OSError):
        return True
    return True


def _look(csv: Path, columns: tuple[str, ...] | None) -> Look | None:
    """Return what the cells of a CSV show; None where it cannot be read: `lint` then names the line."""
    try:
        seen = look(csv, columns)
    except ValueError:
        return None
    return seen if columns is None or {seen.key, seen.mask} <= set(columns) else None


def _described(dialect: Dialect, by_default: bool) -> str:
    """How a file is read, in a line."""
    along = "along rows (C)" if dialect.order == "C" else "down columns (F)"
    default = ", assumed; name the other with --order F" if by_default else ""
    what = {"image": "image", "class": "class of an image", "instance": "object"}[dialect.rows]
    classes = f", classes {', '.join(dialect.labels[:12])}" if dialect.labels else ""
    return (
        f"read as: columns {','.join(dialect.columns)}; a row for each {what}{classes}; runs {along}{default}; "
        f"an empty mask is {dialect.empty!r}"
    )


def _problems_of_folder(folder: Path) -> list[Problem]:
    """Check a data folder, and in Carvana's layout the CSV of the training masks too."""
    from kit.datasets.carvana import Carvana  # imported here: the readers of data sets take seconds
    from kit.datasets.scan import scan

    found, lines, doubts = scan(folder)
    print(found)
    problems = [Problem("error", "", line) for line in lines] + [Problem("warning", "", line) for line in doubts]
    masks = DataFolder(folder).path("train_masks.csv")
    return problems if masks is None or problems else compare_masks(Carvana(folder), masks, known.CARVANA)
