"""Which finished runs are seeds of one recipe: runs that differ by their seed alone.

    recipes_of(runs)        {"carvana_unet": [run of seed 0, run of seed 1], "carvana_fcn": [run]}

config.json of a run folder holds the flags, a hash of the recipe's code and what names the data.
"""

from collections.abc import Mapping, Sequence

from kit.runs.finished import FinishedRun
from kit.runs.flags import ALWAYS_FREE
from kit.system.files import short_hash
from kit.system.run_folder import read_json

SEED = "seed"  # the flag's name
UNKNOWN = "unknown"  # the hash of code in a notebook


def recipes_of(runs: Sequence[FinishedRun], *, find: bool = True) -> dict[str, list[FinishedRun]]:
    """The runs by recipe, in their order; a recipe is called as its first run.

    Runs of one recipe have the same code, flags, data, views and rule, and each another seed. find=False: every run
    stands for itself. Where all runs are seeds of one recipe, they stand for themselves too: then the question is
    which of these networks is better. Raises ValueError for a run that is given twice.
    """
    folders = [run.folder.resolve() for run in runs]
    if twice := [str(run.folder) for run, folder in zip(runs, folders, strict=True) if folders.count(folder) > 1]:
        raise ValueError(f"{twice[0]} is given twice: a run has no difference to itself")
    groups: dict[object, list[FinishedRun]] = {}
    for run in runs:
        key = _recipe_key(run) if find else run.folder
        is_new = _seed(run) not in map(_seed, groups.get(key, []))  # the same seed again is no other seed
        groups.setdefault(key if is_new else run.folder, []).append(run)
    if len(groups) == 1:
        groups = {run.folder: [run] for run in runs}
    names = run_names(runs)
    return {names[runs.index(own[0])]: own for own in groups.values()}


def run_names(runs: Sequence[FinishedRun]) -> list[str]:
    """A name of each run for tables: its folder's, or as much of the path as makes the names differ."""
    for length in (1, 2, 3):
        names = ["/".join(run.folder.resolve().parts[-length:]) for run in runs]
        if len(set(names)) == len(names):
            return names
    return [str(run.folder.resolve()) for run in runs]


def are_seeds(runs: Sequence[FinishedRun]) -> bool:
    """Whether the runs are seeds of one recipe, so that their networks differ by chance alone."""
    return len({_recipe_key(run) for run in runs}) == 1


def _recipe_key(run: FinishedRun) -> object:
    """What the seeds of a recipe share. A run that may not be a seed of another has a key of its own."""
    kept = read_json(run.folder / "config.json")
    flags, code = kept.get("config", {}), kept.get("recipe", UNKNOWN)
    if code == UNKNOWN or SEED not in flags:
        return run.folder.resolve()
    own = {name: value for name, value in flags.items() if name not in ALWAYS_FREE | {SEED}}
    identity = {name: value for name, value in kept.get("identity", {}).items() if name != SEED}
    return short_hash([code, sorted(own.items()), sorted(identity.items()), repr(run.saved.tta), repr(run.rule)])


def seeds_of(recipes: Mapping[str, Sequence[FinishedRun]]) -> dict[str, list[object]]:
    """The seeds of each recipe's runs; None where a run has no such flag."""
    return {name: [_seed(run) for run in own] for name, own in recipes.items()}


def _seed(run: FinishedRun) -> object:
    return read_json(run.folder / "config.json").get("config", {}).get(SEED)
