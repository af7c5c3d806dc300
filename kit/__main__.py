"""python -m kit: the small jobs around a recipe.

python -m kit lint submission.csv --sample sample_submission.csv    is this CSV what the competition accepts?
python -m kit lint data/carvana                                      is every picture and mask sound?
python -m kit download pets                                          fetch a data set; without a name, list them
python -m kit bench                                                  time kit against other packages, on this machine
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.bench import JOBS
from kit.datasets.download import SOURCES, download, list_sources
from kit.datasets.files import DataFolder
from kit.submission import lint as submission
from kit.submission import rle


@dataclass(frozen=True)
class Lint:
    """Check a submission, or a folder of Carvana's files; print every problem and exit 1 if there is one."""

    path: Annotated[Path, tyro.conf.Positional]  # a CSV, or a data folder
    sample: Path | None = None  # the sample submission: its ids, all of them, in its order
    shape: tuple[int, int] = (1280, 1918)  # height and width of the pictures
    order: Literal["C", "F"] = "C"  # of the run lengths: C along rows, F down columns
    columns: tuple[str, str] = submission.COLUMNS
    truth: Path | None = None  # a CSV of true masks, to score against

    def run(self) -> int:
        """Print the problems and the verdict; 1 if there is a problem."""
        try:
            problems = self.problems()
        except ValueError as error:
            problems = [str(error)]
        except OSError as error:
            missing = isinstance(error, FileNotFoundError) and error.filename
            print(f"{missing}: no such file" if missing else error)
            print(f"{self.path}: could not be checked, see above")
            return 1
        for problem in problems:
            print(problem)
        print(f"{self.path}: {'not valid, see above' if problems else 'valid'}")
        return 1 if problems else 0

    def problems(self) -> list[str]:
        """The problems, a line each."""
        if self.path.is_dir():
            from kit.datasets.scan import scan  # here: it imports the readers of all data sets

            found, problems = scan(self.path)
            print(found)
            return problems
        if self.sample is None:
            print("no --sample: the ids are not checked")
        print(f"masks are checked for pictures of {self.shape[0]} x {self.shape[1]} (--shape)")
        problems = submission.lint(self.path, _unzipped(self.sample), self.shape, self.order, self.columns)
        if self.truth is not None and not problems:
            masks = dict(submission.read_rows(self.truth, self.columns))
            scores = submission.score(self.path, lambda name: self._mask(masks.get(name)), self.order, self.columns)
            print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in scores.items()))
        return problems

    def _mask(self, encoded: str | None):
        return None if encoded is None else rle.decode(encoded, self.shape, self.order)


def _unzipped(csv: Path | None) -> Path | None:
    """The file itself, or a copy from the zip of its name in which Kaggle hands it out."""
    if csv is None or (csv.is_file() and csv.suffix != ".zip"):
        return csv
    return DataFolder(csv.parent).path(csv.name.removesuffix(".zip")) or csv


@dataclass(frozen=True)
class Download:
    """Fetch a data set, checked and unpacked; without a name, list them with their sizes and licences."""

    name: Annotated[Literal[*SOURCES] | None, tyro.conf.Positional] = None
    to: Path | None = None  # the folder; data/<name>
    url: str | None = None  # another address of its archive, such as a mirror; it is checked all the same

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
    """Time kit against other packages on this machine: a table in Markdown, with ratios, and plots of how cost grows.

    Needs the extra: pip install -e '.[bench]'.
    """

    jobs: Annotated[tuple[Literal[*JOBS], ...], tyro.conf.Positional] = JOBS
    results: Path = Path("runs/bench")  # bench.md and growth.png
    strict: bool = False  # exit 1 where a ratio is below what was wanted of it

    def run(self) -> int:
        """Measure and print; 1 if a package is missing, or with --strict a ratio too low."""
        from kit.bench.run import bench

        try:
            rows = bench(self.jobs, self.results)
        except ImportError as error:
            print(f"{error}: the benchmarks need more packages, pip install -e '.[bench]'")
            return 1
        return int(self.strict and not all(row.met for row in rows))


def main() -> int:
    """Run the command that was asked for; its exit status."""
    commands = {"lint": Lint, "download": Download, "bench": Bench}
    about = __doc__.splitlines()[0]
    return tyro.extras.subcommand_cli_from_dict(commands, prog="python -m kit", description=about).run()


if __name__ == "__main__":
    sys.exit(main())
