"""A blend as `kit blend` leaves it beside its CSV: which networks of which runs, with which weights and rule.

    blend = read_blend("submissions/blend.json")
    blend.members                 the runs that take part, their networks and weights
    blend.saved                   how new images are predicted: that of the first member with the blend's own rule

A run's folder is looked for below the JSON file first, as in a bundle, then as it was given to `kit blend`. The weights
hold while the out-of-fold predictions are those that they were chosen on.
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kit.prediction.blended import blended, weights_of_networks
from kit.prediction.chosen import chosen_on
from kit.prediction.levels import mean_levels
from kit.prediction.object_levels import joined
from kit.prediction.rule import Rule
from kit.prediction.saved import SavedRun, read_saved, wanted_folds
from kit.system.run_folder import Fold

SUFFIX, FORMAT = ".json", 1
AGAIN = "Choose the blend again (python -m kit blend)"
OF_A_BLEND = ("task", "classes", "dialect", "ids", "scale")  # that all members share


@dataclass(frozen=True)
class Member:
    """Networks of one run. folds: theirs. weights: whole numbers, of each class, or one for all.

    name: of the run in the blend. cost: what one network takes for one image, in a unit that all members share.
    """

    folder: Path
    folds: tuple[Fold, ...]
    weights: tuple[int, ...] = (1,)
    name: str = ""
    cost: float = 1.0


@dataclass(frozen=True)
class Mixing:
    """How the levels of all networks of a blend become those that its rule takes.

    weights: of each member. dialect: kit.submission.Dialect, or None.
    """

    weights: tuple[tuple[int, ...], ...]
    rule: Rule
    dialect: object | None

    def __call__(self, levels: Sequence[np.ndarray], size: tuple[int, int], counts: Sequence[int]) -> np.ndarray:
        """The levels of the blend. levels: u8 (K, h, w) of each network, member by member, of whom each has counts[r].

        size: (height, width) of the image; the mask has that of the dialect. Of one member alone, as the run's own.
        """
        if len(self.weights) == 1:
            return joined(levels) if self.rule.detected else mean_levels(levels)
        weights = weights_of_networks(np.array(self.weights).T, counts)
        return blended(levels, weights, self.dialect.mask_size(size) if self.dialect else size, self.rule)


@dataclass(frozen=True)
class SavedBlend:
    """A blend. runs: predictor.json of each member. facts: the content of the file."""

    path: Path
    members: tuple[Member, ...]
    runs: tuple[SavedRun, ...]
    rule: Rule
    facts: dict

    @property
    def saved(self) -> SavedRun:
        """How new images are predicted: the first member's, with the blend's rule."""
        return dataclasses.replace(self.runs[0], rule=self.rule, tuned=self.facts["chosen"].get("tuned", False))

    @property
    def mixing(self) -> Mixing:
        """How the members' levels become one."""
        return Mixing(tuple(one.weights for one in self.members), self.rule, self.runs[0].dialect)

    def of_folds(self, folds: Literal["all", "full"] | Sequence[int]) -> "SavedBlend":
        """The same blend of other networks of each member; "all": those that the CSV of `kit blend` is of.

        Raises ValueError for networks that a member lacks.
        """
        if folds == "all":
            return self
        found = [wanted_folds(one.folder, folds, run) for one, run in zip(self.members, self.runs, strict=True)]
        members = [dataclasses.replace(one, folds=tuple(own)) for one, own in zip(self.members, found, strict=True)]
        return dataclasses.replace(self, members=tuple(members))


def is_blend(path: Path | str) -> bool:
    """Whether a path means a blend and not a run folder."""
    return Path(path).suffix == SUFFIX and not Path(path).is_dir()


def read_blend(path: Path | str) -> SavedBlend:
    """Read the JSON of a blend, and predictor.json of its members.

    Raises FileNotFoundError where the file, or a member's folder, is missing; ValueError where the file is no blend,
    a member has other predictions than those that the weights were chosen on, or members do not fit one another.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: expected the JSON that python -m kit blend writes beside its CSV")
    try:
        facts = json.loads(path.read_text())
        if facts["format"] > FORMAT:
            raise ValueError("it was written by a newer version of kit; install that one")
        rule, members = Rule(**facts["chosen"]["rule"]), _members(path, facts)
    except FileNotFoundError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} cannot be read as a blend ({what}). {AGAIN}") from error
    runs = [read_saved(one.folder) for one in members]
    for one, run in zip(members[1:], runs[1:], strict=True):
        for name in OF_A_BLEND:
            if getattr(run, name) != getattr(runs[0], name):
                raise ValueError(f"{members[0].folder} and {one.folder} differ in {name} by now. {AGAIN}")
    return SavedBlend(path, tuple(members), tuple(runs), rule, facts)


def facts_of(blend: SavedBlend) -> dict:
    """The content of a file by which the blend can be read where its runs lie in `runs` below it."""
    each = [
        {"name": one.name, "folder": f"runs/{one.name}", "networks": list(one.folds), "cost": one.cost}
        for one in blend.members
    ]
    weights = [list(own) for own in zip(*(one.weights for one in blend.members), strict=True)]
    tuned = {"tuned": True} if blend.saved.tuned else {}
    return {"format": FORMAT, "runs": each, "chosen": {"whole_weights": weights, "rule": blend.rule.facts, **tuned}}


def _members(path: Path, facts: dict) -> list[Member]:
    """The runs that have a weight."""
    weights = np.array(facts["chosen"]["whole_weights"], int)
    if weights.ndim != 2 or weights.shape[1] != len(facts["runs"]) or (weights < 0).any() or not weights.any():
        raise ValueError(f"whole_weights are {weights.tolist()}, expected one of each of {len(facts['runs'])} runs")
    own = [(run, each) for run, each in zip(facts["runs"], weights.T.tolist(), strict=True) if any(each)]
    costs = [_cost(run) for run, _ in own]
    costs = [1.0] * len(own) if None in costs else costs
    return [_member(path, run, each, cost) for (run, each), cost in zip(own, costs, strict=True)]


def _member(path: Path, run: dict, weights: list[int], cost: float) -> Member:
    folder = path.parent / run["folder"]
    folder = folder if folder.is_dir() else Path(run["folder"])
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}, a run of the blend {path}, is missing: call kit from where its path begins")
    if "key" in run and _key_of(folder, run["folds"]) != run["key"]:
        raise ValueError(f"it was chosen on other predictions of {folder} than those of now")
    return Member(folder, tuple(run["networks"]), tuple(weights), run["name"], cost)


def _key_of(folder: Path, folds: Sequence[int]) -> str:
    try:
        return chosen_on(folder, folds)
    except KeyError:  # a fold is not finished any more
        return ""


def _cost(run: dict) -> float | None:
    """Seconds of one network for one image; None where they are not known."""
    if "cost" in run:
        return float(run["cost"])
    seconds = run.get("seconds")
    return seconds / run["test_images"] / len(run["networks"]) if seconds and run.get("test_images") else None
