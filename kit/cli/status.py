"""python -m kit status: all runs in a folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kit.ledger.status import run_folders, status_of, text_of
from kit.system.plain import plain


@dataclass(frozen=True)
class Status:
    """Show all runs in a folder: folds finished, running and stopped, time left, scores, and what to run next."""

    folder: Annotated[Path, tyro.conf.Positional] = Path("runs")  # of run folders, or one run folder
    json: bool = False  # one JSON object, for programs

    def run(self) -> int:
        """Print the status; 1 if there is no run, or a file is damaged."""
        found, errors = [], []
        folders = run_folders(self.folder)
        for folder in folders:
            try:
                found.append(status_of(folder))
            except (ValueError, OSError) as error:
                errors.append(str(error))
        if not folders:
            errors.append(f"no run in {self.folder}: expected run folders, each with config.json and folds.csv")
        if self.json:
            seen = {"folder": str(self.folder), "runs": [run.plain() for run in found], "errors": errors}
            print(json.dumps(plain(seen), allow_nan=False))
        else:
            print("\n".join(filter(None, [text_of(found), *(f"error: {error}" for error in errors)])))
        return int(bool(errors))
