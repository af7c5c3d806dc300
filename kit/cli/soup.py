"""python -m kit soup: averages of the weights of a run's last epochs, as a run of its own."""

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kit.cli.texts import gain_cell, score_cell


@dataclass(frozen=True)
class Soup:
    """Average the weights of the last epochs of each fold, and leave the networks as a run of its own.

    The folds keep the weights of their last epochs where the recipe trains with Plan(..., keep=5). Tried are each epoch
    alone, the mean of the last 2, 3, ..., and a greedy average; statistics of batch normalisation are computed anew on
    training images. The average of a fold is the one that scores best on the other folds, so the new run's scores are
    honest, and kit compare, tune, blend, predict and bundle take it as any other run. Each average that is tried costs
    a prediction of all held-out images. It executes the Python in the run folder.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]  # the run folder
    images: Path  # the folder or zip of the training images
    out: Path | None = None  # the new run folder; runs/mine_soup of runs/mine
    last: int | None = None  # choose nothing: the mean of so many last epochs, for every fold
    tests: Path | None = None  # the test images: keep their predictions, from which kit blend makes its CSV
    device: str = "auto"
    json: bool = False  # print one JSON object, the content of soup.json, and nothing else

    def run(self) -> int:
        """Choose, write, and print what was found; 1 where that could not be done."""
        from kit.ledger.recording import record_run  # imported here: PyTorch takes seconds
        from kit.runs.finished import read_run
        from kit.runs.soup import make_soup

        out = self.out or self.run_dir.with_name(f"{self.run_dir.resolve().name}_soup")
        try:
            with contextlib.redirect_stdout(sys.stderr if self.json else sys.stdout):
                run = read_run(self.run_dir)
                made = make_soup(run, self.images, out, last=self.last, tests=self.tests, device=self.device)
                if made.out is not None:
                    record_run(made.out, None if run.saved.metric is None else run.metric)
        except (ValueError, OSError) as error:
            print(json.dumps({"error": str(error)}) if self.json else f"error: {error}")
            return 1
        print(json.dumps(made.facts, allow_nan=False) if self.json else "\n".join(table(made.facts)))
        return 0


def table(facts: dict) -> list[str]:
    """The content of soup.json as lines for a terminal."""
    lines = [f"{facts['metric']}: {facts['images']:,} images, {facts['groups']:,} groups", ""]
    rows = [(epochs_text(one["epochs"]), one["score"]) for one in facts["tried"]]
    lines += [f"{name:40}{score_cell(value)}" for name, value in rows]
    lines += ["", f"{'best, on the same images':40}{score_cell(facts['tuned'])}  {epochs_text(facts['best'])}"]
    lines.append(f"{'each fold as chosen on the others':40}{score_cell(facts['cross_fitted'])}")
    if facts["gain"] and facts["gain"]["value"] is not None:
        lines.append(f"{'gain over the run':40}{gain_cell(facts['gain'])}")
    lines += [f"fold {fold}: {epochs_text(epochs)}" for fold, epochs in facts["picks"].items()]
    lines += [f"{fit}: {epochs_text(facts['best'])}" for fit in facts["full_fits"]]
    nothing = "nothing is written: of every fold the run's own weights are the choice"
    return [*lines, "", facts["run"] or nothing]


def epochs_text(epochs: list[int]) -> str:
    """What is averaged, in words."""
    if len(epochs) < 2:
        return f"epoch {epochs[0]}" if epochs else "the run's own weights"
    return f"mean of epochs {', '.join(map(str, epochs))}"
