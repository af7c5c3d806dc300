"""python -m kit bench: time kit against other packages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.bench import JOBS


@dataclass(frozen=True)
class Bench:
    """Time kit against other packages on this machine: a table in Markdown with ratios, and plots of how cost grows.

    Jobs kernels and objects need the other packages: pip install -e '.[bench]'.
    """

    jobs: Annotated[tuple[Literal[*JOBS], ...], tyro.conf.Positional] = JOBS
    results: Path = Path("runs/bench")  # the folder of bench.md and growth.png
    strict: bool = False  # exit 1 where a ratio is below its target

    def run(self) -> int:
        """Measure and print; 1 if a package is missing, or with --strict if a ratio is too low."""
        from kit.bench.run import bench

        try:
            rows = bench(self.jobs, self.results)
        except ModuleNotFoundError as error:
            print(error)
            return 1
        return int(self.strict and not all(row.met for row in rows))
