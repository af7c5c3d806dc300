"""python -m kit compare: is one run better than another, or is it luck?"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Compare:
    """Compare the out-of-fold scores of runs: a verdict, all pairs, and the images and slices that won and lost.

    Everything is read from the run folders. Runs that differ by --seed alone are found by themselves and count as one
    recipe; with two seeds or more the verdict speaks of the recipes, with one of these networks. Reading a run with a
    metric of your own executes the Python in its folder.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]  # two run folders or more; the first is the one to beat
    margin: float = 0.0  # a difference of the score up to this size makes no difference
    seeds: bool = True  # seeds of one recipe count together; --no-seeds: every run stands for itself
    html: Path | None = None  # write a page with drawings of the images that changed most
    json: bool = False  # one JSON object on the screen, nothing else

    def run(self) -> int:
        """Compare; 1 if the runs cannot be compared."""
        from kit.report.comparing import compare_recipes, join_recipes  # imported here: PyTorch takes seconds
        from kit.report.comparing_text import comparison_text
        from kit.runs import read_run
        from kit.runs.seeds import recipes_of

        try:
            recipes = join_recipes(recipes_of([read_run(folder) for folder in self.runs], find=self.seeds))
            facts = compare_recipes(recipes, self.margin)
            if self.html is not None:
                from kit.report.comparing_page import write_comparison

                write_comparison(facts, recipes, self.html)
        except (ValueError, OSError) as error:
            print(json.dumps({"error": str(error)}) if self.json else f"error: {error}")
            return 1
        print(json.dumps(facts, ensure_ascii=False, allow_nan=False) if self.json else comparison_text(facts))
        if self.html is not None and not self.json:
            print(f"page: {self.html}")
        return 0
