"""python -m kit audit: look for leaks, look-alikes and doubtful labels before they cost a competition."""

import functools
import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:  # the command line starts without NumPy's and PyTorch's seconds
    from kit.cli.audit_data import Found
    from kit.folds.auditing import Audit as DataAudit
    from kit.runs.doctor import LabelDoubt
    from kit.runs.finished import FinishedRun


@dataclass(frozen=True)
class Audit:
    """Look at all images of a data set, and fail where scores would be too high.

    Fails (exit 1): copies across folds or in the test images, groups in two folds. Without folds, copies across
    groups. Shows groups, neighbouring frames and rows of metadata that look alike; reports odd images and a shift
    between train and test. With a run also the label doctor: where held-out predictions contradict the labels.
    """

    data: Annotated[str | None, tyro.conf.Positional] = None  # a known data set, a folder, a recipe or a run folder
    data_dir: Path | None = None  # the folder of a known data set, or of the recipe's
    folds: Path | None = None  # a CSV with the columns id and fold
    of_run: Annotated[Path | None, tyro.conf.arg(name="run")] = None  # a run folder: its folds and its labels
    flags: str = ""  # of the recipe, as '--folds 5'
    allow_leak: str | None = None  # the reason why leaks are accepted: it is kept beside the folds and in the report
    json: bool = False  # print as JSON, for programs
    html: Path | None = None  # write the page with all images here
    out: Path | None = None  # write audit.html, audit_facts.json and labels.csv into this folder

    def run(self) -> int:
        """Print what was found; 1 where something fails or cannot be read."""
        try:
            with redirect_stdout(sys.stderr if self.json else sys.stdout):  # what a recipe or a reader prints
                facts, lines = self._look()
        except (ValueError, OSError, LookupError) as error:
            facts, lines = {"error": str(error), "ok": False}, [f"error: {error}"]
        print(json.dumps(facts, indent=1, default=str) if self.json else "\n".join(lines), flush=True)
        return int(not facts["ok"])

    def _look(self) -> tuple[dict, list[str]]:
        """The facts and the lines; writes the files that were asked for."""
        from kit.cli.audit_text import audit_lines, label_lines
        from kit.runs.allowed import check_reason

        if self.allow_leak is not None:
            check_reason(self.allow_leak)
        data, run_folder = self._sources()
        source = found = run = None
        lines, facts, doubts = [], {}, []
        if data is not None:
            source, found, said = self._audited(data, run_folder)
            facts, lines = found.facts(), [said, *audit_lines(found, self.allow_leak or "")]
        if run_folder is not None and (found is None or any(run_folder.glob("fold*/finished.json"))):
            run, doubts = _labels(run_folder)
            lines += label_lines(doubts)
        leaks = found.fails if found else []
        if leaks and self.allow_leak is not None:
            lines += self._keep_reason(leaks, run_folder)
        elif found is not None and run_folder is not None and self.folds is None:
            lines += self._remember(leaks, run_folder)
        facts |= {"allowed": self.allow_leak if leaks else None}
        facts |= {"labels": None if run is None else [asdict(one) for one in doubts]}
        facts |= {"ok": not leaks or self.allow_leak is not None}
        if self.html or self.out:
            from kit.folds.looks import pixels_of
            from kit.report.audit_page import audit_page

            read = functools.partial(pixels_of, source.dataset) if source else None
            allowed = (self.allow_leak or "") if leaks else ""
            lines += self._write(audit_page(found, read, run, doubts, allowed), facts, doubts if run else None)
        return facts, lines

    def _sources(self) -> tuple[str | None, Path | None]:
        """The data to look at, and the run folder; either may be None. Raises ValueError without both."""
        data, run_folder = self.data, self.of_run
        if data is None and self.data_dir is not None:
            data = str(self.data_dir)
        if data is not None and run_folder is None and Path(data, "config.json").is_file():
            data, run_folder = None, Path(data)
        if data is None and run_folder is None:
            raise ValueError("name what to look at: a known data set, a folder, a recipe, or --run RUN")
        if data is None and self.folds is not None:
            raise ValueError("--folds needs the images too: name the data set, its folder or the recipe")
        return data, run_folder

    def _audited(self, data: str, run_folder: Path | None) -> tuple["Found", "DataAudit", str]:
        """The data, its audit, and a line that says which data and folds it is of."""
        from kit.cli.audit_data import find, read_fold_table
        from kit.folds.auditing import audit

        source = find(data, self.data_dir, self.flags)
        table = self.folds or (run_folder / "folds.csv" if run_folder else None)
        folds = source.folds if table is None else read_fold_table(table, source.dataset.ids)
        of = f", folds of {table}" if table else ", folds of the recipe" if folds is not None else ""
        found = audit(source.dataset, folds, unlabelled=getattr(source.dataset, "unlabelled", ()))
        return source, found, f"{source.words}{of}"

    def _keep_reason(self, leaks: list, run_folder: Path | None) -> list[str]:
        """Keep the reason beside the folds; a line that says where."""
        from kit.folds.auditing import describe
        from kit.runs.allowed import keep_reason

        folder = run_folder or (self.folds.parent if self.folds else self.out)
        if folder is None:
            return ["the reason is kept nowhere: give --run, --folds or --out"]
        return [f"the reason is kept in {keep_reason(folder, self.allow_leak, [describe(one) for one in leaks])}"]

    def _remember(self, leaks: list, run_folder: Path) -> list[str]:
        """Keep what was found in the run folder, for its report; a line where that is not possible."""
        from kit.folds.auditing import describe
        from kit.runs.allowed import keep_leaks

        try:
            keep_leaks(run_folder, [describe(one) for one in leaks])
        except OSError as error:
            return [f"note: {run_folder} does not remember this audit ({type(error).__name__}: {error})"]
        return []

    def _write(self, page: str, facts: dict, doubts: list | None) -> list[str]:
        """Write the files; a line for each."""
        from kit.runs.doctor import write_labels
        from kit.system.files import write_atomic

        files = {self.html: page} if self.html else {}
        if self.out:
            files |= {self.out / "audit.html": page, self.out / "audit_facts.json": json.dumps(facts, indent=1)}
        for path, text in files.items():
            write_atomic(path, text)
        if self.out and doubts is not None:
            write_labels(doubts, self.out / "labels.csv")
            files[self.out / "labels.csv"] = ""
        return [f"written: {path}" for path in files]


def _labels(folder: Path) -> tuple["FinishedRun", list["LabelDoubt"]]:
    """The finished run of a folder and the labels in doubt."""
    from kit.runs.doctor import doctor
    from kit.runs.finished import read_run

    run = read_run(folder)
    return run, doctor(run)
