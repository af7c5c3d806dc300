"""Run the benchmarks' jobs and print their table."""

import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch

from kit.bench.measure import Row, machine, table
from kit.runs.provenance import command
from kit.system.files import write_atomic


def bench(jobs: Sequence[str], results: Path) -> list[Row]:
    """Run the jobs, print their table and leave it in `results`, bench.md, beside growth.png. The rows.

    Raises ModuleNotFoundError before anything is measured where a job needs a package that is not installed; its
    message names both.
    """
    modules = {job: _module(job) for job in jobs}
    torch.set_num_threads(1)  # kit's kernels are serial, and so are the others here
    results.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="kit-bench-") as scratch:
        for job, module in modules.items():
            print(f"{job} …", flush=True)
            found += module.rows(Path(scratch), results)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    text = f"`{command()}`, {machine(device)}\n\n{table(found)}\n"
    write_atomic(results / "bench.md", text)
    print(f"\n{text}")
    return found


def _module(job: str) -> ModuleType:
    try:
        return importlib.import_module(f"kit.bench.{job}")
    except ModuleNotFoundError as error:
        package = error.name.partition(".")[0]
        raise ModuleNotFoundError(
            f"the job {job} compares kit with the package {package}, which is not installed: "
            "pip install -e '.[bench]', or name other jobs",
            name=error.name,
        ) from error
