"""What the files of a run folder are called and say, for those that read it without PyTorch or pandas.

A fold is called by its number; a network that is trained on all images "full0", after its seed.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from kit.system.files import short_hash

Fold = int | str
AUDIT = "audit.json"  # kit.runs.allowed says what it holds
OF_FOLD = ("key", "recipe", "metric")  # of finished.json: what names the predictions and how they were scored


def is_full(fold: Fold) -> bool:
    """Whether nothing is held out: a full fit."""
    return isinstance(fold, str)


def fold_name(fold: Fold) -> str:
    """The name of its folder in a run folder: fold3, or full0."""
    return fold if is_full(fold) else f"fold{fold}"


def read_json(path: Path) -> dict:
    """The file's content, {} where it is absent. Raises ValueError naming a damaged file."""
    try:
        return json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); delete it and run the same command again") from error


def finished_json(folder: Path | str) -> dict[int, dict]:
    """finished.json of each fold of a run folder that has one, by the fold's number."""
    paths = {path.parent.name.removeprefix("fold"): path for path in Path(folder).glob("fold*/finished.json")}
    numbered = sorted((int(number), path) for number, path in paths.items() if number.isdecimal())
    return {number: read_json(path) for number, path in numbered}


def of_code(found: Mapping[int, dict], recipe: str | None) -> dict[int, dict]:
    """Those of finished.json's facts that are by this code of the recipe; all where none is."""
    own = {fold: facts for fold, facts in found.items() if facts.get("recipe") == recipe}
    return own or dict(found)


def open_leaks(folder: Path) -> list[str]:
    """The leaks of a run folder's audit.json that no reason is about, a line each."""
    return unexplained(read_json(folder / AUDIT))


def unexplained(kept: Mapping) -> list[str]:
    """The same of the content of an audit.json."""
    leaks = [str(line) for line in kept.get("leaks") or ()]
    covers = kept.get("covers", leaks) if kept.get("allowed") else ()
    return [] if {*leaks} <= {*covers} else leaks


def name_of_predictions(found: Mapping[int, dict]) -> str:
    """A name of the predictions of some folds and of how they were scored. found: finished.json of each."""
    return short_hash([(fold, *map(found[fold].get, OF_FOLD)) for fold in found])
