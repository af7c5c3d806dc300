"""python -m kit new: look at a folder, and write a recipe for it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kit.cli.flags import Order, choice
from kit.new.decisions.metrics import METRICS

Metric = Annotated[Literal[*METRICS] | None, choice(*METRICS)]


@dataclass(frozen=True)
class New:
    """Look at a competition's folder, say what was found and decided and why, and write a recipe to read and edit.

    Where the files do not show it, it stops with the choices and the flag that chooses.
    """

    path: Annotated[Path, tyro.conf.Positional]  # the script to write, as recipes/mine.py
    data_dir: Path  # the competition's files, in folders or zips
    look: bool = False  # only print; write nothing
    json: bool = False  # print as JSON, for programs
    images: str | None = None  # a pattern of the images, as 'scans/*.png'; found where it is not given
    masks: str | None = None  # of the masks, as 'outlines/{id}_m.png'; or the CSV of their run lengths
    tests: str | None = None  # of the images to predict; or the CSV that names them, as the sample submission
    lacking: Literal["empty", "skip"] | None = None  # images without a mask show nothing, or are left out
    task: Literal["binary", "multiclass", "multilabel", "instances"] | None = None
    classes: tuple[str, ...] = ()  # names, the background first
    groups: str | None = None  # a regular expression with the group in parentheses, FILE.csv:ID:GROUP, or none
    metric: Metric = None  # which leads the report
    order: Order = None  # of the pixels in the CSV's runs: C along rows, F down columns
    base: Literal[0, 1] | None = None  # the number of the first pixel in the CSV's runs
    empty: str | None = None  # the cell of an empty mask in the CSV, where the files have several
    planes: tuple[int, ...] = ()  # of files with several channels each, those to take; the first is 0
    csv_size: tuple[int, int] | None = None  # height and width of the CSV's masks, where not those of the images
    slides: bool = False  # read images in parts, as is done from about 8,000 × 8,000 pixels on
    device: str = "auto"  # for which sizes and epochs are chosen: cpu or cuda

    def run(self) -> int:
        """Print and write; 1 where something must be asked, or where files have problems."""
        from kit.new import Asked, Wishes, new

        asked = Asked(self.images, self.masks, self.tests, self.lacking)
        wishes = Wishes(asked, self.task, self.classes, self.groups, self.metric, self.order)
        wishes = replace(wishes, base=self.base, empty=self.empty, slides=self.slides)
        wishes = replace(wishes, planes=self.planes, csv_size=self.csv_size, device=self.device)
        try:
            return new(None if self.look else self.path, self.data_dir, wishes, as_json=self.json)
        except (ValueError, OSError) as error:
            print(json.dumps({"error": str(error)}) if self.json else f"error: {error}")
            return 1
