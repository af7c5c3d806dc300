"""python -m kit: the small jobs around a recipe.

python -m kit new recipes/mine.py --data-dir DIR                      look at a folder, and write a recipe for it
python -m kit lint submission.csv --sample sample_submission.csv    is this CSV what the competition accepts?
python -m kit lint data/carvana                                      is every image and mask sound?
python -m kit predict runs/mine --images DIR --out submission.csv    predict images with a run folder, without its data
python -m kit download pets                                          fetch a data set; without a name, list them
python -m kit bench                                                  time kit against other packages, on this machine
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.bench import JOBS
from kit.datasets.download import SOURCES, download, list_sources
from kit.datasets.files import DataFolder
from kit.new.metrics import METRICS
from kit.submission import Dialect, Problem, compare_masks, known, lint, score, truth_reader
from kit.submission.detect import Look, dialect_of, look
from kit.submission.formats import read_header
from kit.system.clock import process_started


def _choice(*choices: str) -> tyro.constructors.PrimitiveConstructorSpec:
    """How tyro reads one of `choices`, in small or capital letters."""
    spelt = {choice.casefold(): choice for choice in choices}

    def read(texts: list[str]) -> str:
        if texts[0].casefold() not in spelt:
            raise ValueError(f"{texts[0]!r} is none of {', '.join(choices)}")
        return spelt[texts[0].casefold()]

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(choices)}}}",
        instance_from_str=read,
        is_instance=lambda value: value is None or value in choices,
        str_from_instance=lambda value: [str(value)],
    )


Order = Annotated[Literal["C", "F"] | None, _choice("C", "F")]
Rows = Annotated[Literal["image", "class", "instance"] | None, _choice("image", "class", "instance")]
Metric = Annotated[Literal[*METRICS] | None, _choice(*METRICS)]
Source = Annotated[Literal[*SOURCES] | None, _choice(*SOURCES)]


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
        sample = _unzipped(self.sample)
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
    default = "; name the other with --order F" if by_default else ""
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


def _unzipped(csv: Path | None) -> Path | None:
    """The file itself, or a copy from the zip of its name in which Kaggle hands it out."""
    if csv is None or (csv.is_file() and csv.suffix != ".zip"):
        return csv
    return DataFolder(csv.parent).path(csv.name.removesuffix(".zip")) or csv


@dataclass(frozen=True)
class New:
    """Look at a competition's folder, say what was found and decided and why, and write a recipe to read and edit.

    Where the files cannot tell, it stops with the choices and the flag that chooses.
    """

    path: Annotated[Path, tyro.conf.Positional]  # the script to write, as recipes/mine.py
    data_dir: Path  # the competition's files, in folders or zips
    look: bool = False  # only print; write nothing
    json: bool = False  # print as JSON, for programs
    images: str | None = None  # a pattern of the images, as 'scans/*.png'; found where it is not given
    masks: str | None = None  # of the masks, as 'outlines/{id}_m.png'
    tests: str | None = None  # of the images to predict
    task: Literal["binary", "multiclass", "multilabel", "instances"] | None = None
    classes: tuple[str, ...] = ()  # names, the background first
    groups: str | None = None  # a regular expression with the group in parentheses, FILE.csv:ID:GROUP, or none
    metric: Metric = None  # which leads the report
    order: Order = None  # of the pixels in the CSV's runs: C along rows, F down columns
    planes: tuple[int, ...] = ()  # of files with several channels each, those to take; the first is 0
    csv_size: tuple[int, int] | None = None  # height and width of the CSV's masks, where not those of the images
    device: str = "auto"  # for which sizes and epochs are chosen: cpu or cuda

    def run(self) -> int:
        """Print and write; 1 where the data cannot tell, or where files have problems."""
        from kit.new import Asked, Wishes, new

        asked = Asked(self.images, self.masks, self.tests)
        wishes = Wishes(asked, self.task, self.classes, self.groups, self.metric, self.order)
        wishes = replace(wishes, planes=self.planes, csv_size=self.csv_size, device=self.device)
        try:
            return new(None if self.look else self.path, self.data_dir, wishes, as_json=self.json)
        except (ValueError, OSError) as error:
            print(f"error: {error}")
            return 1


@dataclass(frozen=True)
class Predict:
    """Predict images with a run folder: no training data and no recipe are needed, and the folder may be read-only.

    The CSV is written as the run's competition writes it; a run without one leaves masks as PNG files in --out. It is
    valid at every moment, also when the command is killed. Loading a run executes the Python in its folder.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]  # the run folder
    images: Path  # the folder or zip of the images; an id is a file's name, or what the run's data set says
    out: Path  # the CSV; a folder for masks where the run has no competition
    sample: Path | None = None  # the sample submission: its keys, all of them, in its order
    minutes: float | None = None  # the time limit: one network first, then more networks and views as time allows
    folds: tuple[int, ...] = ()  # the networks of these folds; all that are finished
    tta: Literal["none", "hflip", "flips", "d4"] | None = None  # the views that are averaged; the run's own
    on_bad_image: Literal["empty", "stop"] = "empty"  # an image that cannot be read: an empty mask, or an error
    device: tuple[str, ...] = ("auto",)  # a process each, as cuda:0 cuda:1; every GPU, else the CPU

    def run(self) -> int:
        """Predict; 1 if it could not, if no image could be read, or if the linter finds an error."""
        from kit.runs.predict import Request, predict  # imported here: PyTorch takes seconds

        seconds = None if self.minutes is None else 60 * self.minutes
        request = Request(
            run=self.run_dir,
            images=self.images,
            out=self.out,
            sample=_unzipped(self.sample),
            seconds=seconds,
            started=process_started(),
            folds=self.folds or "all",
            views=self.tta,
            on_bad_image=self.on_bad_image,
            devices=self.device,
        )
        try:
            errors = predict(request).errors
        except (ValueError, OSError) as error:
            errors = [str(error)]
        except KeyboardInterrupt:
            print(f"\nstopped. {self.out} holds what was predicted before; other images have empty masks")
            return 130
        for error in errors:
            print(f"error: {error}")
        return int(bool(errors))


@dataclass(frozen=True)
class Download:
    """Fetch a data set, check and unpack it; without a name, list them with their sizes and licences."""

    name: tyro.conf.Positional[Source] = None
    to: Path | None = None  # the folder; data/<name>
    url: str | None = None  # another address of its archive, as of a mirror; the checksum stays the same

    def run(self) -> int:
        """Fetch or list; 1 if it could not be fetched, 130 after Ctrl-C."""
        if self.name is None:
            print("\n".join(list_sources()))
            return 0
        try:
            download(self.name, self.to, self.url)
        except (ValueError, OSError) as error:
            print(error)
            return 1
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here")
            return 130
        return 0


@dataclass(frozen=True)
class Bench:
    """Time kit against other packages on this machine: a table in Markdown with ratios, and plots of how cost grows.

    Needs the extra: pip install -e '.[bench]'.
    """

    jobs: Annotated[tuple[Literal[*JOBS], ...], tyro.conf.Positional] = JOBS
    results: Path = Path("runs/bench")  # the folder of bench.md and growth.png
    strict: bool = False  # exit 1 where a ratio is below its target

    def run(self) -> int:
        """Measure and print; 1 if a package is missing, or with --strict if a ratio is too low."""
        from kit.bench.run import bench

        try:
            rows = bench(self.jobs, self.results)
        except ImportError as error:
            print(f"{error}: the benchmarks need more packages, pip install -e '.[bench]'")
            return 1
        return int(self.strict and not all(row.met for row in rows))


def main() -> int:
    """Run the command that was asked for; return its exit status."""
    commands = {"new": New, "lint": Lint, "predict": Predict, "download": Download, "bench": Bench}
    about = __doc__.splitlines()[0]
    return tyro.extras.subcommand_cli_from_dict(commands, prog="python -m kit", description=about).run()
